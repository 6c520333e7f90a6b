//! The one way to change the configuration: rows, audit entry and `revision += 1` in one transaction.
//!
//! `begin` raises the revision first, which locks its row: changes follow one another, revisions are committed
//! in order, and what is read inside the change cannot change under it. A change that is dropped before `commit`
//! leaves nothing behind.

use super::{Actor, Admin, Changed, now};
use crate::error::{Error, Resource};
use crate::repo::entity::audit_log;
use crate::repo::{audit, revision};
use sea_orm::{ActiveValue::Set, DatabaseTransaction};
use serde_json::Value;
use shared::ids::Revision;
use shared::time::UnixMillis;

/// A change under way.
pub struct Change {
    /// Where its statements go.
    pub tx: DatabaseTransaction,
    /// The revision it makes.
    pub revision: Revision,
    /// When it began.
    pub now: UnixMillis,
    admin: Admin,
    actor: Actor,
}

/// What the audit log says of a change. Before and after hold no secrets.
#[derive(Clone, Debug)]
pub struct Entry {
    /// e.g. `create`; the log says `user.create`.
    pub verb: &'static str,
    /// What was changed.
    pub resource: Resource,
    /// Which one.
    pub id: String,
    /// As it was.
    pub before: Option<Value>,
    /// As it is.
    pub after: Option<Value>,
}

impl Change {
    /// Begins a change.
    pub async fn begin(admin: &Admin, actor: &Actor) -> Result<Self, Error> {
        let tx = admin.db().write().await?;
        let revision = revision::raise(&tx).await?;
        Ok(Self { tx, revision, now: now(), admin: admin.clone(), actor: actor.clone() })
    }

    /// The revision as the database has it.
    #[must_use]
    pub fn revision_column(&self) -> i64 {
        self.revision.0.cast_signed()
    }

    /// Records and commits the change, and wakes the reconciler.
    pub async fn commit<T>(self, value: T, entry: Entry) -> Result<Changed<T>, Error> {
        let row = row(&self.actor, entry, Some(self.revision), self.now);
        audit::insert(&self.tx, row).await?;
        self.tx.commit().await?;
        self.admin.nudge();
        Ok(Changed { value, revision: Some(self.revision) })
    }

    /// Ends a change that turned out to change nothing: no revision, no entry.
    pub async fn nothing<T>(self, value: T) -> Result<Changed<T>, Error> {
        self.tx.rollback().await?;
        Ok(Changed { value, revision: None })
    }
}

/// Records what changes nothing but must be known, such as a reveal.
pub async fn record(admin: &Admin, actor: &Actor, entry: Entry) -> Result<(), Error> {
    let tx = admin.db().write().await?;
    audit::insert(&tx, row(actor, entry, None, now())).await?;
    Ok(tx.commit().await?)
}

fn row(actor: &Actor, entry: Entry, revision: Option<Revision>, now: UnixMillis) -> audit_log::ActiveModel {
    audit_log::ActiveModel {
        created_at_ms: Set(now.0),
        actor: Set(actor.name.to_owned()),
        client_ip: Set(actor.client_ip.clone()),
        request_id: Set(actor.request_id.clone()),
        action: Set(format!("{}.{}", entry.resource, entry.verb)),
        resource_type: Set(entry.resource.as_str().to_owned()),
        resource_id: Set(entry.id),
        revision: Set(revision.map(|r| r.0.cast_signed())),
        before_json: Set(entry.before.map(|v| v.to_string())),
        after_json: Set(entry.after.map(|v| v.to_string())),
        ..Default::default()
    }
}
