//! The rules of the control plane: what is valid, what is sealed, what is recorded, what is one transaction.
//!
//! Knows nothing of HTTP. Every change goes through [`change::Change`]: row, audit entry and `revision += 1`
//! in one transaction. The functions take owned arguments and run on the control plane's own runtime
//! ([`Admin::run`]), so that a caller who goes away leaves no half-done work and no connection that belongs to a
//! dead runtime.

pub mod books;
pub mod budgets;
pub mod change;
pub mod check;
pub mod circuits;
pub mod error_rules;
mod generations;
pub mod groups;
pub mod health;
pub mod key_check;
pub mod keys;
pub mod ledger_check;
pub mod limit_resets;
mod limits;
pub mod nodes;
pub mod prices;
pub mod provider_tests;
pub mod providers;
pub mod quotas;
pub mod routing;
pub mod seats;
pub mod sessions;
pub mod settings;
pub mod snapshot;
pub mod users;
pub mod vault;

use crate::error::Error;
use crate::outside::Outside;
use crate::repo::db::Db;
use shared::ids::Revision;
use shared::ports::{ActiveSessions, BreakerStore, NodeRegistry, QuotaStore};
use shared::time::{UnixMillis, Zone};
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use vault::Vault;

/// What the services work with. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Admin {
    inner: Arc<Inner>,
}

struct Inner {
    db: Db,
    vault: Vault,
    runtime: Handle,
    publishing: Publishing,
    gateways: Gateways,
    outside: Outside,
    timezone: Zone,
}

/// What is known of the gateways.
#[derive(Clone)]
pub struct Gateways {
    /// Who serves, and by which configuration.
    pub nodes: Arc<dyn NodeRegistry>,
    /// How their providers stand.
    pub breakers: Arc<dyn BreakerStore>,
    /// Which conversations run there.
    pub sessions: Arc<dyn ActiveSessions>,
    /// What their budgets hold.
    pub quotas: Arc<dyn QuotaStore>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("db", &self.db).finish_non_exhaustive()
    }
}

/// How services talk to the reconciler.
#[derive(Clone, Debug)]
pub struct Publishing {
    /// Wakes the reconciler.
    pub nudge: Arc<Notify>,
    /// The newest revision it has seen published.
    pub published: watch::Receiver<Option<Revision>>,
}

impl Admin {
    /// Puts the parts together. `runtime` must outlive the database's connections.
    #[must_use]
    pub fn new(
        db: Db,
        vault: Vault,
        runtime: Handle,
        publishing: Publishing,
        gateways: Gateways,
        outside: Outside,
        timezone: Zone,
    ) -> Self {
        Self { inner: Arc::new(Inner { db, vault, runtime, publishing, gateways, outside, timezone }) }
    }

    /// Runs a service on the control plane's runtime, within the usual deadline, whoever polls the answer.
    pub async fn run<F, W, T>(&self, work: F) -> Result<T, Error>
    where
        F: FnOnce(Admin) -> W,
        W: Future<Output = Result<T, Error>> + Send + 'static,
        T: Send + 'static,
    {
        self.run_within(DEADLINE, work).await
    }

    /// The same for one that waits for somebody else than the database.
    pub async fn run_within<F, W, T>(&self, deadline: Duration, work: F) -> Result<T, Error>
    where
        F: FnOnce(Admin) -> W,
        W: Future<Output = Result<T, Error>> + Send + 'static,
        T: Send + 'static,
    {
        let bounded = tokio::time::timeout(deadline, work(self.clone()));
        match self.inner.runtime.spawn(bounded).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => Err(Error::Deadline),
            Err(_) => Err(Error::Broken),
        }
    }

    /// Waits until a revision is published; false when that takes longer than a second.
    pub async fn is_published(&self, revision: Revision) -> bool {
        let mut published = self.inner.publishing.published.clone();
        let reached = published.wait_for(|newest| *newest >= Some(revision));
        matches!(tokio::time::timeout(PUBLISH_DEADLINE, reached).await, Ok(Ok(_)))
    }

    /// The newest revision known to be published.
    #[must_use]
    pub fn published(&self) -> Option<Revision> {
        *self.inner.publishing.published.borrow()
    }

    /// The database.
    #[must_use]
    pub fn db(&self) -> &Db {
        &self.inner.db
    }

    /// Who serves, and by which configuration.
    #[must_use]
    pub fn nodes(&self) -> &dyn NodeRegistry {
        &*self.inner.gateways.nodes
    }

    /// How providers stand.
    #[must_use]
    pub fn breakers(&self) -> &dyn BreakerStore {
        &*self.inner.gateways.breakers
    }

    /// Which conversations run.
    #[must_use]
    pub fn sessions(&self) -> &dyn ActiveSessions {
        &*self.inner.gateways.sessions
    }

    /// What budgets hold.
    #[must_use]
    pub fn quotas(&self) -> &dyn QuotaStore {
        &*self.inner.gateways.quotas
    }

    /// Speaks with providers.
    #[must_use]
    pub fn outside(&self) -> &Outside {
        &self.inner.outside
    }

    /// `TZ` of this process: the zone where no admin has set one.
    #[must_use]
    pub fn timezone(&self) -> &Zone {
        &self.inner.timezone
    }

    /// Seals and opens secrets.
    #[must_use]
    pub fn vault(&self) -> &Vault {
        &self.inner.vault
    }

    fn nudge(&self) {
        self.inner.publishing.nudge.notify_one();
    }
}

/// Who acts, for the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// `admin_token`, or the part of the system that acts by itself.
    pub name: &'static str,
    /// Where the call came from.
    pub client_ip: Option<String>,
    /// `x-request-id` of the answer.
    pub request_id: Option<String>,
}

impl Actor {
    /// A part of the system that acts by itself, e.g. `bootstrap`.
    #[must_use]
    pub fn system(name: &'static str) -> Self {
        Self { name, client_ip: None, request_id: None }
    }
}

/// A stored row: its editable fields and what the database adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored<F> {
    /// Row id.
    pub id: i64,
    /// What an admin can set.
    pub fields: F,
    /// The configuration revision of its last change; its ETag.
    pub revision: Revision,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When it was last changed.
    pub updated_at: UnixMillis,
}

/// The result of a change and the configuration revision it made; `None` when it changed nothing.
#[derive(Clone, Debug)]
pub struct Changed<T> {
    /// The result.
    pub value: T,
    /// The revision to wait for.
    pub revision: Option<Revision>,
}

impl<T> Changed<T> {
    /// The same change with another result.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Changed<U> {
        Changed { value: f(self.value), revision: self.revision }
    }
}

/// Which revisions of a row the caller is willing to change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum IfMatch {
    /// Whichever is there.
    #[default]
    Any,
    /// One of these.
    OneOf(Vec<Revision>),
}

impl IfMatch {
    /// Refuses a row that was changed since.
    pub fn check(&self, current: Revision) -> Result<(), Error> {
        match self {
            Self::Any => Ok(()),
            Self::OneOf(revisions) if revisions.contains(&current) => Ok(()),
            Self::OneOf(_) => Err(Error::RevisionMismatch),
        }
    }
}

/// The time now.
#[must_use]
pub fn now() -> UnixMillis {
    UnixMillis(jiff::Timestamp::now().as_millisecond())
}

/// How long a service may take, waiting for the database included.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long a changing call waits for its revision to be published (design §9).
const PUBLISH_DEADLINE: Duration = Duration::from_secs(1);
