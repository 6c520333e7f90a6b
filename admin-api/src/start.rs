//! Puts the control plane together, runs it in a thread of its own, and ends it in order.
//!
//! Two runtimes live in that thread: actix's for HTTP, and one that owns the database's connections and the jobs.
//! The second outlives the first: a connection that was opened on an HTTP worker would die with it, just when
//! the last records are booked. The end: server → consumer (to the last record) → database closed.

mod patience;

use crate::auth::{Gate, guard};
use crate::config::AdminConfig;
use crate::door::Door;
use crate::jobs::clean::Cleaner;
use crate::jobs::consume::Consumer;
use crate::jobs::days::Days;
use crate::jobs::journals::QuietJournals;
use crate::jobs::open::Opener;
use crate::jobs::reconcile::Reconciler;
use crate::outside::Outside;
use crate::repo::db::{Db, OpenError};
use crate::routes::mount;
use crate::service::key_check::is_right_key;
use crate::service::vault::Vault;
use crate::service::{Admin, Gateways, error_rules, now, prices, settings};
use crate::telemetry::{Metrics, Page, observe};
use actix_web::dev::{Server, ServerHandle};
use actix_web::middleware::from_fn;
use actix_web::web::Data;
use actix_web::{App, HttpServer};
use egress::TrustError;
use patience::Patience;
use shared::ports::{ActiveSessions, BreakerStore, NodeRegistry, Publisher, QuotaStore, UsageSource};
use shared::time::Zone;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What the control plane is made of.
pub struct Options {
    /// Its variables.
    pub config: AdminConfig,
    /// What it talks to.
    pub far: FarSides,
    /// A socket that is bound already; else `ADMIN_LISTEN` is bound.
    pub listener: Option<TcpListener>,
    /// What a start does while the database is away.
    pub when_away: WhenAway,
    /// Where it counts what it does.
    pub metrics: Arc<Metrics>,
}

/// What a start does while the database is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenAway {
    /// It fails.
    Fail,
    /// It says so and waits, for as long as that may pass by itself ([`StartError::may_pass`]).
    Wait,
}

/// What the control plane talks to besides its database.
#[derive(Clone)]
pub struct FarSides {
    /// Where configurations are published.
    pub publisher: Arc<dyn Publisher>,
    /// Where usage comes from.
    pub usage: Arc<dyn UsageSource>,
    /// Who serves, and by which configuration.
    pub nodes: Arc<dyn NodeRegistry>,
    /// How their providers stand.
    pub breakers: Arc<dyn BreakerStore>,
    /// Which conversations run there.
    pub sessions: Arc<dyn ActiveSessions>,
    /// What their budgets hold.
    pub quotas: Arc<dyn QuotaStore>,
}

/// Why the control plane does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The database cannot be opened.
    #[error(transparent)]
    Database(#[from] OpenError),
    /// The catalogue cannot be brought up to date.
    #[error("the price catalogue cannot be refreshed")]
    Prices(#[source] crate::error::Error),
    /// The rules of this release cannot be put into the database.
    #[error("the default error rules cannot be brought up to date")]
    ErrorRules(#[source] crate::error::Error),
    /// The settings cannot be brought up to date.
    #[error("TZ cannot be put into the settings")]
    Settings(#[source] crate::error::Error),
    /// The address cannot be bound.
    #[error("ADMIN_LISTEN={address}: cannot listen")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The operators' address cannot be bound.
    #[error("OPS_LISTEN={address}: cannot listen")]
    BindOps {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The certificate authorities for providers cannot be used.
    #[error("UPSTREAM_CA_FILE cannot be used")]
    Authorities(#[source] TrustError),
    /// The stored secrets were sealed under another key.
    #[error("HUB_SECRET_KEY is not the one under which the secrets in this database were sealed")]
    OtherHubKey,
    /// A thread or runtime cannot be made.
    #[error("no thread or runtime to run in")]
    Thread(#[source] io::Error),
    /// The metrics contradict each other: a bug.
    #[error("the metrics cannot be made")]
    Metrics(#[from] prometheus::Error),
    /// The thread ended before it was up: a bug.
    #[error("the control plane ended while it started")]
    Ended,
}

/// A running control plane.
pub struct AdminHandle {
    address: SocketAddr,
    page: Arc<Page>,
    stop: CancellationToken,
    ended: oneshot::Receiver<Result<(), StopError>>,
}

/// What did not end in good order. Everything else did, and nothing is left running.
#[derive(Debug, Error)]
pub enum StopError {
    /// The server had ended by itself before.
    #[error("the admin server ended by itself")]
    Server(#[source] io::Error),
    /// The database was not closed cleanly.
    #[error("the database was not closed cleanly")]
    Database(#[source] sea_orm::DbErr),
    /// The thread ended by a panic: a bug.
    #[error("the control plane broke off")]
    Broken,
}

/// Starts the control plane on `ADMIN_LISTEN`; see [`start_with`].
pub async fn start(config: AdminConfig, far: FarSides) -> Result<AdminHandle, StartError> {
    let metrics = Arc::new(Metrics::new()?);
    start_with(Options { config, far, listener: None, when_away: WhenAway::Fail, metrics }).await
}

/// Starts the control plane; answers when it serves and its configuration was offered to the publisher. Needs
/// no runtime of the caller's.
pub async fn start_with(options: Options) -> Result<AdminHandle, StartError> {
    let (up, started) = oneshot::channel();
    let (end, ended) = oneshot::channel();
    let stop = CancellationToken::new();
    let until = stop.clone();
    let thread = std::thread::Builder::new().name("admin".to_owned());
    thread
        .spawn(move || {
            let ended = run(options, until, up);
            if let Err(Err(error)) = end.send(ended) {
                tracing::error!(%error, "the control plane ended badly");
            }
        })
        .map_err(StartError::Thread)?;
    let (address, page) = started.await.map_err(|_| StartError::Ended)??;
    Ok(AdminHandle { address, page, stop, ended })
}

impl AdminHandle {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// For calling services from inside the process, e.g. at the first start.
    #[must_use]
    pub fn admin(&self) -> &Admin {
        self.page.admin()
    }

    /// Its part of the operators' page.
    #[must_use]
    pub fn page(&self) -> Arc<Page> {
        self.page.clone()
    }

    /// Ends it in order: the server finishes its requests, usage is booked to the last record, the database is
    /// closed. Call it after the gateway has ended, so that its last records are there.
    pub async fn stop(mut self) -> Result<(), StopError> {
        self.stop.cancel();
        (&mut self.ended).await.unwrap_or(Err(StopError::Broken))
    }
}

impl Drop for AdminHandle {
    /// A forgotten handle must not leave a server behind.
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

type Up = oneshot::Sender<Result<(SocketAddr, Arc<Page>), StartError>>;

/// The life of the thread. What keeps it from starting is told to `up`.
fn run(options: Options, stop: CancellationToken, mut up: Up) -> Result<(), StopError> {
    let runtime = match Builder::new_multi_thread()
        .worker_threads(DATABASE_THREADS)
        .thread_name("admin-db")
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            answer(up, Err(StartError::Thread(error)));
            return Ok(());
        }
    };
    let assembled = runtime.block_on(async {
        tokio::select! {
            assembled = assemble(options, &runtime) => assembled,
            // Nobody waits for this start any more.
            () = up.closed() => Err(StartError::Ended),
        }
    });
    let parts = match assembled {
        Ok(parts) => parts,
        Err(error) => {
            answer(up, Err(error));
            return Ok(());
        }
    };
    let Parts { page, metrics, gate, listener, address, jobs, stop_jobs } = parts;
    let served = actix_web::rt::System::new().block_on(async {
        let server = match serve(listener, page.admin().clone(), gate, metrics) {
            Ok(server) => server,
            Err(source) => {
                answer(up, Err(StartError::Bind { address, source }));
                return Ok(());
            }
        };
        answer(up, Ok((address, page.clone())));
        let handle = server.handle();
        actix_web::rt::spawn(end_server(handle, stop));
        server.await
    });
    stop_jobs.cancel();
    let closed = runtime.block_on(async {
        jobs.wait().await;
        page.admin().db().close().await
    });
    runtime.shutdown_timeout(RUNTIME_DEADLINE);
    served.map_err(StopError::Server)?;
    closed.map_err(StopError::Database)
}

struct Parts {
    page: Arc<Page>,
    metrics: Arc<Metrics>,
    gate: Data<Gate>,
    listener: TcpListener,
    address: SocketAddr,
    jobs: TaskTracker,
    stop_jobs: CancellationToken,
}

/// Opens, seeds, publishes once, and starts the jobs.
async fn assemble(options: Options, runtime: &Runtime) -> Result<Parts, StartError> {
    let Options {
        config,
        far: FarSides { publisher, usage, nodes, breakers, sessions, quotas },
        listener,
        when_away,
        metrics,
    } = options;
    // Before the database: a taken port must not cost a migration. Nobody is let in before there is one.
    let door = Door::reserve(config.listen, listener)?;
    let mut patience = Patience::new(when_away);
    let open = async || Ok(Db::open(&config.database, config.pool_max, config.auto_migrate).await?);
    let db = patience.with(open).await?;
    let outside = Outside::new(config.upstream_ca_file.as_deref()).map_err(StartError::Authorities)?;
    let vault = Vault::new(config.hub_key);
    let is_right_key = async || Ok(is_right_key(&db, &vault).await.map_err(OpenError::from)?);
    if !patience.with(is_right_key).await? {
        return Err(StartError::OtherHubKey);
    }
    let reconciler = Reconciler::new(db.clone(), publisher).counted(metrics.clone());
    let admin = Admin::new(
        db.clone(),
        vault,
        runtime.handle().clone(),
        reconciler.publishing(),
        Gateways { nodes: nodes.clone(), breakers, sessions, quotas: quotas.clone() },
        outside,
        config.timezone.clone(),
    );
    let zone = patience.with(async || bring_up_to_date(&admin).await).await?;
    if let Err(error) = reconciler.step().await {
        tracing::error!(%error, "configuration cannot be published yet");
    }
    let cleaner = Cleaner::new(db.clone());
    // Booking makes what is missing; it should not have to.
    if let Err(error) = cleaner.make_ahead(now()).await {
        tracing::error!(%error, "the coming days of the request log cannot be made yet");
    }
    let days = Days::new(db.clone(), zone.rules());
    let unsummed = days.find(now()).await.unwrap_or_else(|error| {
        tracing::error!(%error, "days that are over cannot be looked for yet");
        Vec::new()
    });
    let (jobs, stop_jobs) = (TaskTracker::new(), CancellationToken::new());
    jobs.spawn(reconciler.run(stop_jobs.clone()));
    jobs.spawn(QuietJournals::new(db.clone()).run(stop_jobs.clone()));
    jobs.spawn(cleaner.run(stop_jobs.clone()));
    jobs.spawn(days.run(unsummed, stop_jobs.clone()));
    jobs.spawn(Opener::new(db.clone(), quotas, nodes).counted(metrics.clone()).run(stop_jobs.clone()));
    jobs.spawn(Consumer::new(db, usage.clone()).counted(metrics.clone()).run(stop_jobs.clone()));
    jobs.close();
    let gate = Data::new(Gate::new(&config.admin_token));
    let (listener, address) = door.open()?;
    let page = Arc::new(Page::new(admin, usage, metrics.clone()));
    Ok(Parts { page, metrics, gate, listener, address, jobs, stop_jobs })
}

/// Puts into the database what comes with the release and with the environment; answers the zone that is in force.
async fn bring_up_to_date(admin: &Admin) -> Result<Zone, StartError> {
    prices::refresh_seed(admin.clone()).await.map_err(StartError::Prices)?;
    error_rules::sync_defaults(admin.clone()).await.map_err(StartError::ErrorRules)?;
    settings::adopt_timezone(admin.clone()).await.map_err(StartError::Settings)?;
    let settings = settings::read(admin.clone()).await.map_err(StartError::Settings)?;
    Ok(settings.settings.published.timezone)
}

fn serve(listener: TcpListener, admin: Admin, gate: Data<Gate>, metrics: Arc<Metrics>) -> io::Result<Server> {
    let (admin, metrics) = (Data::new(admin), Data::from(metrics));
    let server = HttpServer::new(move || {
        App::new()
            .app_data(Data::clone(&admin))
            .app_data(Data::clone(&gate))
            .app_data(Data::clone(&metrics))
            .wrap(from_fn(guard))
            .wrap(from_fn(observe))
            .configure(mount)
    });
    let server = server.workers(HTTP_WORKERS).shutdown_timeout(SERVER_DEADLINE_SECS).disable_signals();
    Ok(server.listen(listener)?.run())
}

async fn end_server(handle: ServerHandle, stop: CancellationToken) {
    stop.cancelled().await;
    handle.stop(true).await;
}

/// The caller may have gone away while the control plane started; the drop of its handle ends it.
fn answer<T>(up: oneshot::Sender<T>, value: T) {
    let _ = up.send(value);
}

/// Admins are few; the seats are served elsewhere.
const HTTP_WORKERS: usize = 2;
const DATABASE_THREADS: usize = 2;
/// How long the server waits for requests under way; each has its own shorter deadline.
const SERVER_DEADLINE_SECS: u64 = 15;
const RUNTIME_DEADLINE: Duration = Duration::from_secs(1);
