//! The operators' door of a process of its own: `/live`, `/ready`, `/metrics`, on its own listener.
//!
//! It opens before anything else and closes last, so that it can say what the control plane waits for. It has a thread
//! and runtime of its own: what it reports on may hang.

use crate::service::health::Health;
use crate::start::StartError;
use crate::telemetry::{Metrics, Page};
use actix_web::dev::ServerHandle;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::{Data, get};
use actix_web::{App, HttpResponse, HttpServer};
use arc_swap::ArcSwap;
use shared::ports::MetricsPart;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use tokio::sync::oneshot;

/// A running door.
pub struct Ops {
    address: SocketAddr,
    door: Data<Door>,
    server: ServerHandle,
}

/// What the door's answers are made of.
struct Door {
    stage: ArcSwap<Standing>,
    /// Shown from the start, before there is a control plane to look at.
    metrics: Arc<Metrics>,
    /// What the page shows besides.
    parts: Vec<Arc<dyn MetricsPart>>,
}

/// How far the control plane is.
enum Standing {
    /// Not up yet.
    Starting,
    /// It serves.
    Serving(Arc<Page>),
    /// It is on its way out.
    Draining(Option<Arc<Page>>),
}

impl Ops {
    /// Opens the door on `OPS_LISTEN`. `/metrics` shows these metrics, from [`Ops::serving`] on with what their
    /// control plane can tell, and then the parts.
    pub async fn open(
        wanted: SocketAddr,
        metrics: Arc<Metrics>,
        parts: Vec<Arc<dyn MetricsPart>>,
    ) -> Result<Self, StartError> {
        let bind_error = |source| StartError::BindOps { address: wanted, source };
        let listener = TcpListener::bind(wanted).map_err(bind_error)?;
        let address = listener.local_addr().map_err(bind_error)?;
        let door = Data::new(Door { stage: ArcSwap::from_pointee(Standing::Starting), metrics, parts });
        let (up, started) = oneshot::channel();
        let shown = door.clone();
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
        Ok(Self { address, door, server })
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on it reports on this control plane.
    pub fn serving(&self, page: Arc<Page>) {
        self.door.stage.store(Arc::new(Standing::Serving(page)));
    }

    /// From now on `/ready` fails.
    pub fn draining(&self) {
        let page = match &**self.door.stage.load() {
            Standing::Starting | Standing::Draining(None) => None,
            Standing::Serving(page) | Standing::Draining(Some(page)) => Some(page.clone()),
        };
        self.door.stage.store(Arc::new(Standing::Draining(page)));
    }

    /// Closes it.
    pub async fn close(self) {
        self.server.stop(false).await;
    }
}

fn serve(listener: TcpListener, door: Data<Door>) -> io::Result<actix_web::dev::Server> {
    let server = HttpServer::new(move || {
        App::new()
            .app_data(door.clone())
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

async fn ready(door: Data<Door>) -> HttpResponse {
    let standing = door.stage.load_full();
    let admin = match &*standing {
        Standing::Starting => {
            return HttpResponse::ServiceUnavailable().body("starting: waiting for the database (DSN)\n");
        }
        Standing::Draining(_) => return HttpResponse::ServiceUnavailable().body("draining\n"),
        Standing::Serving(page) => page.admin(),
    };
    let health = Health::of(admin).await;
    match health.newest {
        None => HttpResponse::ServiceUnavailable().body("the database (DSN) does not answer\n"),
        Some(_) if health.is_published() => HttpResponse::Ok().body("ready\n"),
        Some(_) => HttpResponse::Ok().body("degraded: changes are not published right now (REDIS_URL)\n"),
    }
}

async fn metrics(door: Data<Door>) -> HttpResponse {
    let mut text = match &*door.stage.load_full() {
        Standing::Serving(page) | Standing::Draining(Some(page)) => page.text().await,
        Standing::Starting | Standing::Draining(None) => door.metrics.text(),
    };
    for part in &door.parts {
        text.push_str(&part.text().await);
    }
    HttpResponse::Ok().insert_header((CONTENT_TYPE, TEXT)).body(text)
}

/// Prometheus' text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
