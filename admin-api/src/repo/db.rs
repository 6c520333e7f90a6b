//! Connections: opened, migrated, bounded in number and time, closed.
//!
//! Postgres has one pool. SQLite has one writer, where writers queue fairly instead of polling for the file's
//! lock, and a pool of readers beside it (WAL: a reader never waits for the writer).

use super::refusal::sqlx_error;
use crate::config::DatabaseUrl;
use migrations::{Migrator, MigratorTrait};
use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sea_orm::sqlx::{self, postgres::PgConnectOptions};
use sea_orm::{
    AccessMode, ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction,
    DbBackend, DbErr, IsolationLevel, SqliteTransactionMode, SqlxError, Statement, TransactionOptions,
    TransactionTrait,
};
use std::fs::{File, OpenOptions};
use std::future::Future;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;
use tokio::time::timeout;

/// Why the database cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The SQLite file's directory is not there.
    #[error("the database's directory {path} does not exist")]
    NoDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// The SQLite file cannot be made or opened.
    #[error("the database file {path} cannot be opened")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no such database, and this opening makes none.
    #[error("there is no database {name}; a start with AUTO_MIGRATE makes it")]
    NoDatabase {
        /// Its name on the server, or the file.
        name: String,
    },
    /// Schema steps are pending, and applying them is switched off.
    #[error("{count} schema steps are pending, and AUTO_MIGRATE is off")]
    PendingSteps {
        /// How many.
        count: usize,
    },
    /// Nobody listens there, or nobody answers.
    #[error("no database lets us in at {place} (DSN) within {} s", ACQUIRE_DEADLINE.as_secs())]
    Unreachable {
        /// Host and port.
        place: String,
    },
    /// There is no way to it: no such host, no such socket.
    #[error("the database cannot be reached at {place} (DSN): {reason}")]
    NoWay {
        /// Host and port, or the socket's directory.
        place: String,
        /// What the system says.
        reason: String,
    },
    /// The database did not answer in time.
    #[error("the database did not answer within {} s", .0.as_secs())]
    Deadline(Duration),
    /// Anything else the database says. Not a source: sea-orm's errors repeat what is below them.
    #[error("the database refuses: {0}")]
    Database(DbErr),
}

impl From<DbErr> for OpenError {
    fn from(error: DbErr) -> Self {
        Self::Database(error)
    }
}

impl OpenError {
    /// True for what may pass without a hand: nobody there yet, still starting, too many connections. A wrong name or
    /// password will be wrong again.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::NoWay { .. } | Self::Deadline(_) => true,
            Self::NoDirectory { .. }
            | Self::File { .. }
            | Self::NoDatabase { .. }
            | Self::PendingSteps { .. } => false,
            Self::Database(error) => may_pass(error),
        }
    }
}

/// True when the database is away, not when it refuses: see [`OpenError::may_pass`].
#[must_use]
pub fn may_pass(error: &DbErr) -> bool {
    match sqlx_error(error) {
        Some(SqlxError::Io(_) | SqlxError::PoolTimedOut | SqlxError::PoolClosed) => true,
        // Connection, resources, operator (a shutdown, still starting), system.
        Some(SqlxError::Database(error)) => {
            let code = error.code().unwrap_or_default();
            ["08", "53", "57", "58"].iter().any(|class| code.starts_with(class))
        }
        _ => false,
    }
}

/// An open database with the schema of this release.
#[derive(Debug, Clone)]
pub struct Db {
    writer: DatabaseConnection,
    reader: DatabaseConnection,
}

impl Db {
    /// Opens the database, with `auto_migrate` makes it when it is missing, and brings its schema up to date.
    pub async fn open(url: &DatabaseUrl, pool_max: u32, auto_migrate: bool) -> Result<Self, OpenError> {
        let opening = async {
            match url {
                DatabaseUrl::Sqlite(path) => Self::open_sqlite(path, pool_max, auto_migrate).await,
                DatabaseUrl::Postgres(dsn) => Self::open_postgres(dsn.expose(), pool_max, auto_migrate).await,
            }
        };
        let db = in_time(OPEN_DEADLINE, opening).await?;
        in_time(MIGRATE_DEADLINE, db.migrate(auto_migrate)).await?;
        Ok(db)
    }

    /// Begins a transaction that will write. Writers of one SQLite file follow one another.
    pub async fn write(&self) -> Result<DatabaseTransaction, DbErr> {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        self.writer.begin_with_options(options).await
    }

    /// For single reads.
    #[must_use]
    pub fn reader(&self) -> &DatabaseConnection {
        &self.reader
    }

    /// Begins a transaction in which all reads show one moment.
    pub async fn read_moment(&self) -> Result<DatabaseTransaction, DbErr> {
        let options = match self.reader.get_database_backend() {
            // A deferred transaction reads one snapshot of the WAL from its first read on.
            DbBackend::Sqlite => TransactionOptions::default(),
            _ => TransactionOptions {
                isolation_level: Some(IsolationLevel::RepeatableRead),
                access_mode: Some(AccessMode::ReadOnly),
                sqlite_transaction_mode: None,
            },
        };
        self.reader.begin_with_options(options).await
    }

    /// Asks the database for a sign of life.
    pub async fn ping(&self) -> Result<(), DbErr> {
        let statement = Statement::from_string(self.reader.get_database_backend(), "SELECT 1");
        self.reader.query_one_raw(statement).await.map(|_| ())
    }

    /// How the connections stand. How many callers wait for one, sqlx does not tell.
    #[must_use]
    pub fn pools(&self) -> Vec<Pool> {
        match self.reader.get_database_backend() {
            DbBackend::Sqlite => vec![
                Pool::of("reader", self.reader.get_sqlite_connection_pool()),
                Pool::of("writer", self.writer.get_sqlite_connection_pool()),
            ],
            _ => vec![Pool::of("shared", self.reader.get_postgres_connection_pool())],
        }
    }

    /// Closes all connections; on SQLite the WAL is folded into the file.
    pub async fn close(&self) -> Result<(), DbErr> {
        self.reader.close_by_ref().await?;
        self.writer.close_by_ref().await
    }

    async fn open_sqlite(path: &Path, pool_max: u32, make_missing: bool) -> Result<Self, OpenError> {
        has_directory(path)?;
        if !make_missing && !path.exists() {
            return Err(OpenError::NoDatabase { name: path.display().to_string() });
        }
        let turn = take_turn(path).await?;
        make_file(path)?;
        let writer = Database::connect(sqlite_options(path, 1)).await?;
        let reader = Database::connect(sqlite_options(path, pool_max)).await?;
        drop(turn);
        Ok(Self { writer, reader })
    }

    async fn open_postgres(dsn: &str, pool_max: u32, make_missing: bool) -> Result<Self, OpenError> {
        let pool = match Database::connect(postgres_options(dsn, pool_max)).await {
            Err(error) if is_missing_database(&error) => {
                let name = database_name(dsn);
                if !make_missing {
                    return Err(OpenError::NoDatabase { name });
                }
                make_database(dsn, &name).await?;
                Database::connect(postgres_options(dsn, pool_max)).await?
            }
            connected => connected.map_err(|error| not_opened(dsn, error))?,
        };
        Ok(Self { writer: pool.clone(), reader: pool })
    }

    /// One transaction for all steps: a start that fails half-way leaves the old schema behind. Several starting
    /// processes follow one another.
    async fn migrate(&self, auto_migrate: bool) -> Result<(), OpenError> {
        if !auto_migrate {
            let count = Migrator::get_pending_migrations(&self.writer).await?.len();
            return if count == 0 { Ok(()) } else { Err(OpenError::PendingSteps { count }) };
        }
        let transaction = self.write().await?;
        if transaction.get_database_backend() == DbBackend::Postgres {
            // A step that copies a large table takes as long as it takes; so does waiting for another process's steps.
            transaction.execute_unprepared("SET LOCAL statement_timeout = 0").await?;
            transaction.execute_unprepared(MIGRATION_LOCK).await?;
        }
        Migrator::up(&transaction, None).await?;
        sea_orm::TransactionSession::commit(transaction).await?;
        Ok(())
    }
}

/// How the connections of a pool stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// What it is for.
    pub name: &'static str,
    /// Connections at work.
    pub in_use: u32,
    /// Connections that wait for work.
    pub idle: u32,
    /// The most it may have.
    pub max: u32,
}

impl Pool {
    fn of<D: sqlx::Database>(name: &'static str, pool: &sqlx::Pool<D>) -> Self {
        let (size, idle) = (pool.size(), u32::try_from(pool.num_idle()).unwrap_or(u32::MAX));
        // Two looks: a connection may have come back between them.
        Self { name, in_use: size.saturating_sub(idle), idle, max: pool.options().get_max_connections() }
    }
}

async fn in_time<T>(
    deadline: Duration,
    work: impl Future<Output = Result<T, OpenError>>,
) -> Result<T, OpenError> {
    timeout(deadline, work).await.map_err(|_| OpenError::Deadline(deadline))?
}

/// Openers of one file follow one another: SQLite waits for nobody when a new file is switched to its WAL. The turn
/// ends when the returned file is dropped.
async fn take_turn(path: &Path) -> Result<File, OpenError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".opening");
    let failed = |source| OpenError::File { path: path.to_owned(), source };
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(PathBuf::from(name));
    let file = file.map_err(failed)?;
    let locked = tokio::task::spawn_blocking(move || file.lock().map(|()| file)).await;
    locked.map_err(io::Error::other).flatten().map_err(failed)
}

fn has_directory(path: &Path) -> Result<(), OpenError> {
    match path.parent().filter(|p| !p.as_os_str().is_empty()) {
        Some(directory) if !directory.is_dir() => Err(OpenError::NoDirectory { path: directory.to_owned() }),
        Some(_) | None => Ok(()),
    }
}

/// Makes the file with nobody else able to read it; SQLite gives its WAL the same rights. One that is there is not
/// touched: closing a file ends all locks that its process has on it, SQLite's too.
fn make_file(path: &Path) -> Result<(), OpenError> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(OpenError::File { path: path.to_owned(), source }),
    }
}

fn sqlite_options(path: &Path, connections: u32) -> ConnectOptions {
    let path = path.to_owned();
    let mut options = bounded("sqlite:", connections);
    options.map_sqlx_sqlite_opts(move |o| {
        o.filename(&path)
            .journal_mode(SqliteJournalMode::Wal)
            // What the consumer has acknowledged must survive a loss of power.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(ACQUIRE_DEADLINE)
            .foreign_keys(true)
    });
    options
}

fn postgres_options(dsn: &str, connections: u32) -> ConnectOptions {
    let mut options = bounded(dsn, connections);
    options.statement_timeout(STATEMENT_DEADLINE).set_application_name("claude-code-hub");
    options
}

fn bounded(url: &str, connections: u32) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_DEADLINE)
        .connect_timeout(ACQUIRE_DEADLINE)
        .sqlx_logging(false)
        .record_stmt_in_spans(false);
    options
}

/// sqlx tries a refused connection again until its pool's deadline, and then speaks of the pool alone.
fn not_opened(dsn: &str, error: DbErr) -> OpenError {
    let Ok(options) = dsn.parse::<PgConnectOptions>() else { return OpenError::Database(error) };
    let place = match options.get_socket() {
        Some(directory) => directory.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    };
    match sqlx_error(&error) {
        Some(SqlxError::PoolTimedOut) => OpenError::Unreachable { place },
        Some(SqlxError::Io(reason)) => OpenError::NoWay { place, reason: reason.to_string() },
        _ => OpenError::Database(error),
    }
}

/// SQLSTATE 3D000: invalid catalog name.
fn is_missing_database(error: &DbErr) -> bool {
    sqlstate(error).as_deref() == Some("3D000")
}

fn sqlstate(error: &DbErr) -> Option<String> {
    sqlx_error(error)?.as_database_error()?.code().map(|code| code.into_owned())
}

fn database_name(dsn: &str) -> String {
    let parsed = dsn.parse::<PgConnectOptions>().ok();
    parsed.and_then(|o| o.get_database().map(str::to_owned)).unwrap_or_default()
}

async fn make_database(dsn: &str, name: &str) -> Result<(), OpenError> {
    let mut options = postgres_options(dsn, 1);
    options.map_sqlx_postgres_opts(|o| o.database("postgres"));
    let server = Database::connect(options).await?;
    let quoted = name.replace('"', "\"\"");
    let made = server.execute_unprepared(&format!("CREATE DATABASE \"{quoted}\"")).await;
    server.close().await?;
    match made {
        // SQLSTATE 42P04, 23505: another process made it in the same moment.
        Err(error) if matches!(sqlstate(&error).as_deref(), Some("42P04" | "23505")) => Ok(()),
        made => Ok(made.map(|_| ())?),
    }
}

/// How long opening may take.
const OPEN_DEADLINE: Duration = Duration::from_secs(120);
/// How long all schema steps together may take. Copying ten million rows of the request log takes minutes.
const MIGRATE_DEADLINE: Duration = Duration::from_secs(3600);
/// How long to wait for a connection, or for SQLite's lock.
const ACQUIRE_DEADLINE: Duration = Duration::from_secs(5);
/// How long one statement may run on Postgres. Longer than any caller waits: it frees the server.
const STATEMENT_DEADLINE: Duration = Duration::from_secs(60);
/// Any fixed number; it only has to be ours.
const MIGRATION_LOCK: &str = "SELECT pg_advisory_xact_lock(6034782190234)";

#[cfg(test)]
mod tests {
    use super::*;
    use sea_orm::RuntimeErr;

    #[test]
    fn a_server_that_lets_nobody_in_is_named_without_its_password() {
        let error = DbErr::Conn(RuntimeErr::SqlxError(sea_orm::sqlx::Error::PoolTimedOut.into()));
        let told = not_opened("postgres://u:secret@db.example:5433/hub", error).to_string();
        assert_eq!(told, "no database lets us in at db.example:5433 (DSN) within 5 s");
    }
}
