//! A control plane under test, on a database of its own.

use admin_api::config::AdminConfig;
use admin_api::telemetry::Metrics;
use admin_api::{AdminHandle, FarSides, Options, StartError, WhenAway, start_with};
use serde_json::{Value, json};
use shared::contract::snapshot::Snapshot;
use shared::ids::Revision;
use shared::memory::{MemoryBreakers, MemoryConfig, MemoryNodes, MemoryQuotas, MemorySessions, MemoryUsage};
use shared::ports::{ConfigFeed, ConfigNews, Publisher};
use shared::time::UnixMillis;
use shared::vars::Vars;
use std::future::Future;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;
use testbed::{Client, Postgres};

pub const TOKEN: &str = "the-admin-token-of-the-tests";

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Sqlite,
    Postgres,
}

/// A database that does not exist yet and is gone with this value.
pub struct Database {
    pub kind: Kind,
    pub dsn: String,
    directory: TempDir,
    _server: Option<Arc<Postgres>>,
}

impl Database {
    pub fn new(kind: Kind) -> Self {
        let directory = tempfile::tempdir().unwrap();
        match kind {
            Kind::Sqlite => {
                let dsn = format!("sqlite://{}", directory.path().join("hub.sqlite").display());
                Self { kind, dsn, directory, _server: None }
            }
            Kind::Postgres => Self::of(Postgres::shared()),
        }
    }

    /// One of this server's.
    pub fn of(server: Arc<Postgres>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        // The temporary directory's name is unique on this machine.
        let name = directory.path().file_name().unwrap().to_str().unwrap().replace('.', "");
        Self { kind: Kind::Postgres, dsn: server.dsn(&name), directory, _server: Some(server) }
    }

    /// The SQLite file.
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("hub.sqlite")
    }

    pub fn config(&self, more: &[(&str, &str)]) -> AdminConfig {
        let lookup = |name: &str| {
            let set = more.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
            set.or_else(|| match name {
                "DSN" => Some(self.dsn.clone()),
                "ADMIN_TOKEN" => Some(TOKEN.to_owned()),
                "HUB_SECRET_KEY" => Some("5e".repeat(32)),
                "DB_POOL_MAX" => Some("4".to_owned()),
                _ => None,
            })
        };
        let mut vars = Vars::new(&lookup);
        let config = AdminConfig::read(&mut vars);
        vars.finish_required(config).unwrap()
    }
}

/// A running control plane with its in-process far sides.
pub struct Hub {
    pub client: Client,
    pub handle: AdminHandle,
    pub published: Arc<MemoryConfig>,
    pub usage: Arc<MemoryUsage>,
    pub nodes: Arc<MemoryNodes>,
    pub breakers: Arc<MemoryBreakers>,
    pub sessions: Arc<MemorySessions>,
    pub quotas: Arc<MemoryQuotas>,
}

impl Hub {
    pub async fn start(database: &Database) -> Self {
        Self::start_with(database, Arc::new(MemoryConfig::new()), &[]).await.unwrap()
    }

    pub async fn start_with(
        database: &Database,
        published: Arc<MemoryConfig>,
        variables: &[(&str, &str)],
    ) -> Result<Self, StartError> {
        let publisher: Arc<dyn Publisher> = published.clone();
        Self::start_publishing(database, published, publisher, variables).await
    }

    /// Starts with another publisher than the one that is looked at.
    pub async fn start_publishing(
        database: &Database,
        published: Arc<MemoryConfig>,
        publisher: Arc<dyn Publisher>,
        variables: &[(&str, &str)],
    ) -> Result<Self, StartError> {
        let usage = Arc::new(MemoryUsage::new(100_000));
        let nodes = Arc::new(MemoryNodes::new());
        let breakers = Arc::new(MemoryBreakers::new(|| BREAKERS_AT));
        let sessions = Arc::new(MemorySessions::new(300_000, || BREAKERS_AT));
        let quotas = Arc::new(MemoryQuotas::new(admin_api::service::now));
        let handle = start_with(Options {
            config: database.config(variables),
            far: FarSides {
                publisher,
                usage: usage.clone(),
                nodes: nodes.clone(),
                breakers: breakers.clone(),
                sessions: sessions.clone(),
                quotas: quotas.clone(),
            },
            listener: Some(TcpListener::bind("127.0.0.1:0").unwrap()),
            when_away: WhenAway::Fail,
            metrics: Arc::new(Metrics::new().unwrap()),
        })
        .await?;
        Ok(Self {
            client: Client::new(handle.address()).under(TOKEN),
            handle,
            published,
            usage,
            nodes,
            breakers,
            sessions,
            quotas,
        })
    }

    /// The newest published configuration.
    pub async fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot_after(None).await
    }

    /// The newest published configuration, once it is newer than `after`.
    pub async fn snapshot_after(&self, after: Option<Revision>) -> Arc<Snapshot> {
        self.published.changed(after).await;
        match self.published.read(None).await.unwrap() {
            ConfigNews::Whole(snapshot) => snapshot,
            other => panic!("{other:?}"),
        }
    }

    /// The newest published revision.
    pub async fn revision(&self) -> Revision {
        self.published.published().await.unwrap().unwrap()
    }

    /// Makes a user; answers `{user, key}`.
    pub async fn make_user(&self, name: &str) -> Value {
        self.client.post("/api/v1/users", json!({ "name": name })).await.expect(201)
    }

    /// Makes a provider; answers it.
    pub async fn make_provider(&self, name: &str) -> Value {
        let body = json!({
            "name": name, "provider_type": "claude", "url": "https://api.example.com", "key": "sk-upstream-secret",
        });
        self.client.post("/api/v1/providers", body).await.expect(201)
    }
}

/// Runs a test on a fresh control plane.
pub fn on<F: Future<Output = ()>>(kind: Kind, test: impl FnOnce(Hub) -> F) {
    with_database(kind, |database| async move {
        let hub = Hub::start(&database).await;
        test(hub).await;
    });
}

/// Runs a test on a fresh database.
pub fn with_database<F: Future<Output = ()>>(kind: Kind, test: impl FnOnce(Arc<Database>) -> F) {
    let database = Arc::new(Database::new(kind));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(test(database));
}

/// Makes a test on each database of functions that take a [`Hub`] (`on`) or a database (`with_database`).
macro_rules! on_both {
    ($runner:ident: $($test:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[test] fn $test() { crate::hub::$runner(crate::hub::Kind::Sqlite, super::$test); })+
        }
        mod on_postgres {
            $(#[test] fn $test() { crate::hub::$runner(crate::hub::Kind::Postgres, super::$test); })+
        }
    };
}
pub(crate) use on_both;

/// What the breakers' clock shows.
pub const BREAKERS_AT: UnixMillis = UnixMillis(1_790_000_000_000);
