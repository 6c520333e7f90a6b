//! The operators' door of a process of its own: `/live`, `/ready`, `/metrics`, on its own listener.
//!
//! It opens before anything else and closes last, so that it can say what the control plane waits for. It has a thread
//! and runtime of its own: what it reports on may hang.

use crate::service::Admin;
use crate::service::health::Health;
use crate::start::StartError;
use actix_web::dev::ServerHandle;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::{Data, get};
use actix_web::{App, HttpResponse, HttpServer};
use arc_swap::ArcSwap;
use std::fmt::Write as _;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use tokio::sync::oneshot;

/// A running door.
pub struct Ops {
    address: SocketAddr,
    stage: Data<Stage>,
    server: ServerHandle,
}

type Stage = ArcSwap<Standing>;

/// How far the control plane is.
enum Standing {
    /// Not up yet.
    Starting,
    /// It serves.
    Serving(Admin),
    /// It is on its way out.
    Draining(Option<Admin>),
}

impl Ops {
    /// Opens the door on `OPS_LISTEN`.
    pub async fn open(wanted: SocketAddr) -> Result<Self, StartError> {
        let bind_error = |source| StartError::BindOps { address: wanted, source };
        let listener = TcpListener::bind(wanted).map_err(bind_error)?;
        let address = listener.local_addr().map_err(bind_error)?;
        let stage = Data::new(ArcSwap::from_pointee(Standing::Starting));
        let (up, started) = oneshot::channel();
        let shown = stage.clone();
        let thread = std::thread::Builder::new().name("ops".to_owned());
        thread
            .spawn(move || {
                actix_web::rt::System::new().block_on(async move {
                    let server = match serve(listener, shown) {
                        Ok(server) => server,
                        Err(error) => {
                            let _ = up.send(Err(error));
                            return;
                        }
                    };
                    let _ = up.send(Ok(server.handle()));
                    if let Err(error) = server.await {
                        tracing::error!(%error, "the operators' listener ended by itself");
                    }
                });
            })
            .map_err(StartError::Thread)?;
        let server = started.await.map_err(|_| StartError::Ended)?.map_err(bind_error)?;
        Ok(Self { address, stage, server })
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on it reports on this control plane.
    pub fn serving(&self, admin: &Admin) {
        self.stage.store(Arc::new(Standing::Serving(admin.clone())));
    }

    /// From now on `/ready` fails.
    pub fn draining(&self) {
        let admin = match &**self.stage.load() {
            Standing::Starting | Standing::Draining(None) => None,
            Standing::Serving(admin) | Standing::Draining(Some(admin)) => Some(admin.clone()),
        };
        self.stage.store(Arc::new(Standing::Draining(admin)));
    }

    /// Closes it.
    pub async fn close(self) {
        self.server.stop(false).await;
    }
}

fn serve(listener: TcpListener, stage: Data<Stage>) -> io::Result<actix_web::dev::Server> {
    let server = HttpServer::new(move || {
        App::new()
            .app_data(stage.clone())
            .route("/live", get().to(live))
            .route("/ready", get().to(ready))
            .route("/metrics", get().to(metrics))
            .default_service(get().to(nothing))
    });
    Ok(server.workers(1).disable_signals().listen(listener)?.run())
}

async fn live() -> &'static str {
    "live\n"
}

async fn nothing() -> HttpResponse {
    HttpResponse::NotFound().body("/live, /ready and /metrics are here\n")
}

async fn ready(stage: Data<Stage>) -> HttpResponse {
    let standing = stage.load_full();
    let admin = match &*standing {
        Standing::Starting => {
            return HttpResponse::ServiceUnavailable().body("starting: waiting for the database (DSN)\n");
        }
        Standing::Draining(_) => return HttpResponse::ServiceUnavailable().body("draining\n"),
        Standing::Serving(admin) => admin,
    };
    let health = Health::of(admin).await;
    match health.newest {
        None => HttpResponse::ServiceUnavailable().body("the database (DSN) does not answer\n"),
        Some(_) if health.is_published() => HttpResponse::Ok().body("ready\n"),
        Some(_) => HttpResponse::Ok().body("degraded: changes are not published right now (REDIS_URL)\n"),
    }
}

async fn metrics(stage: Data<Stage>) -> HttpResponse {
    let standing = stage.load_full();
    let health = match &*standing {
        Standing::Serving(admin) | Standing::Draining(Some(admin)) => Health::of(admin).await,
        Standing::Starting | Standing::Draining(None) => Health { newest: None, published: None },
    };
    let mut text = String::new();
    for (name, help, value) in [
        ("cch_admin_database_up", "1 while the database answers.", u64::from(health.newest.is_some())),
        ("cch_admin_config_published", "1 while the newest configuration is published.", {
            u64::from(health.is_published())
        }),
        ("cch_admin_config_revision", "The newest configuration in the database; 0: not known.", {
            health.newest.map_or(0, |revision| revision.0)
        }),
        ("cch_admin_config_published_revision", "The newest published configuration; 0: not known.", {
            health.published.map_or(0, |revision| revision.0)
        }),
    ] {
        // Writing into memory does not fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
    }
    HttpResponse::Ok().insert_header((CONTENT_TYPE, TEXT)).body(text)
}

/// Prometheus' text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
