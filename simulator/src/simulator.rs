//! The listener: accepts connections, speaks TLS, HTTP/1.1 and HTTP/2 on them, and ends with its owner.

use crate::control;
use crate::script::{Script, Scripts};
use crate::served::{Served, Totals};
use crate::stage::{Line, Severed, Stage, Wire};
use crate::tls::Identity;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::Builder;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How a listener is started.
#[derive(Clone, Debug)]
pub struct SimulatorConfig {
    /// Speaks TLS (ALPN h2 and http/1.1) with a certificate for localhost, 127.0.0.1 and ::1. Without it:
    /// HTTP/1.1, and HTTP/2 with prior knowledge.
    pub tls: bool,
    /// For requests that bring no script.
    pub default_script: Script,
    /// Where to listen.
    pub bind: SocketAddr,
    /// How many records are kept; the oldest leaves first.
    pub served_cap: usize,
    /// SHA-256 of all bodies goes into the records. Costs CPU by the byte.
    pub digest_bodies: bool,
}

impl Default for SimulatorConfig {
    /// A free port of 127.0.0.1, no TLS, 200 000 records, digests.
    fn default() -> Self {
        Self {
            tls: false,
            default_script: Script::default(),
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            served_cap: 200_000,
            digest_bodies: true,
        }
    }
}

/// A listening upstream. Dropping it cuts its connections.
pub struct Simulator {
    addr: SocketAddr,
    ca_pem: Option<String>,
    stage: Arc<Stage>,
    tasks: TaskTracker,
    cancelled: CancellationToken,
}

impl Simulator {
    /// Binds and listens, on the caller's tokio runtime.
    ///
    /// # Errors
    /// When the address cannot be bound or no certificate can be made.
    pub async fn start(config: SimulatorConfig) -> io::Result<Self> {
        let listener = TcpListener::bind(config.bind).await?;
        let addr = listener.local_addr()?;
        let identity = config.tls.then(Identity::make).transpose()?;
        let (acceptor, ca_pem) = identity.map(|found| (found.acceptor, found.ca_pem)).unzip();
        let stage = Stage::new(addr.port(), config.default_script, config.served_cap, config.digest_bodies);
        let simulator = Self {
            addr,
            ca_pem,
            stage: Arc::new(stage),
            tasks: TaskTracker::new(),
            cancelled: CancellationToken::new(),
        };
        let server = Server {
            acceptor,
            stage: Arc::clone(&simulator.stage),
            tasks: simulator.tasks.clone(),
            cancelled: simulator.cancelled.clone(),
        };
        simulator.tasks.spawn(accept(listener, Arc::new(server)));
        Ok(simulator)
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// As a provider's URL, without a path.
    #[must_use]
    pub fn base_url(&self) -> String {
        let scheme = if self.ca_pem.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.addr)
    }

    /// The authority to trust, with TLS.
    #[must_use]
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// From the next request on every request without its own script gets this one.
    pub fn set_script(&self, script: Script) {
        self.stage.set_scripts(Scripts(vec![script]));
    }

    /// The next POST without its own script gets the first, the next but one the second; the last one stays.
    pub fn set_sequence(&self, scripts: impl IntoIterator<Item = Script>) {
        self.stage.set_scripts(Scripts(scripts.into_iter().collect()));
    }

    /// The kept records, oldest first, those in progress included.
    #[must_use]
    pub fn served(&self) -> Vec<Served> {
        self.stage.book.served()
    }

    /// The record of the request that was answered with this id.
    #[must_use]
    pub fn served_by(&self, request_id: &str) -> Option<Served> {
        self.stage.book.by_id(request_id)
    }

    /// The records of the requests that came with this `x-sim-id`.
    #[must_use]
    pub fn served_marked(&self, marker: &str) -> Vec<Served> {
        self.stage.book.by_marker(marker)
    }

    /// The sums over all requests.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.stage.book.totals()
    }

    /// Forgets all records and sums.
    pub fn clear(&self) {
        self.stage.book.clear();
    }

    /// Stops listening, cuts every connection and waits until all tasks have ended.
    pub async fn shutdown(self) {
        self.cancelled.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.cancelled.cancel();
    }
}

/// What a connection needs.
struct Server {
    acceptor: Option<TlsAcceptor>,
    stage: Arc<Stage>,
    tasks: TaskTracker,
    cancelled: CancellationToken,
}

async fn accept(listener: TcpListener, server: Arc<Server>) {
    let mut connections = 0;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = server.cancelled.cancelled() => return,
        };
        match accepted {
            Ok((socket, _)) => {
                connections += 1;
                let wire = Arc::new(Wire::new(connections));
                let served = Arc::clone(&server);
                server.tasks.spawn(async move {
                    tokio::select! {
                        () = connection(&served, socket, wire) => {}
                        () = served.cancelled.cancelled() => {}
                    }
                });
            }
            // Out of file descriptors, most likely: connections have to end first.
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Serves one connection to its end. How it ends stands in the records of its requests.
async fn connection(server: &Server, socket: TcpStream, wire: Arc<Wire>) {
    if socket.set_nodelay(true).is_err() {
        return;
    }
    match &server.acceptor {
        None => serve(server, socket, wire).await,
        Some(acceptor) => {
            if let Ok(stream) = acceptor.accept(socket).await {
                serve(server, stream, wire).await;
            }
        }
    }
}

async fn serve<S>(server: &Server, stream: S, wire: Arc<Wire>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stage = Arc::clone(&server.stage);
    let io = TokioIo::new(Line::new(stream, Arc::clone(&wire)));
    let service = service_fn(move |request| {
        let (stage, wire) = (Arc::clone(&stage), Arc::clone(&wire));
        async move {
            if control::is_control(request.uri().path()) {
                Ok::<_, Severed>(control::answer(&stage, request).await)
            } else {
                stage.perform(wire, request).await
            }
        }
    });
    let mut http = Builder::new(Tracked(server.tasks.clone()));
    http.http1().max_headers(MOST_HEADERS);
    http.http2()
        .max_concurrent_streams(MOST_STREAMS)
        .max_header_list_size(HEADER_BYTES)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW);
    // An error is a cut, a client that left, or no HTTP: nothing to do about it here.
    let _ = http.serve_connection(io, service).await;
}

/// Runs HTTP/2 streams on the listener's tracker.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F> Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, stream: F) {
        self.0.spawn(stream);
    }
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
const MOST_HEADERS: usize = 256;
const HEADER_BYTES: u32 = 256 * 1024;
const MOST_STREAMS: u32 = 100;
const WINDOW: u32 = 4 * 1024 * 1024;
