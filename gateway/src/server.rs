//! Puts a gateway together and takes it down again.
//!
//! Pingora's `Server` is not used: it sleeps out its grace period and ends the process itself. Its services
//! run here on the caller's runtime, with listeners that were bound before anything starts, so that a taken
//! port is an error with a name, port 0 works, and the stop waits for streams and for nothing else.

use crate::background::{self, Background, Stages};
use crate::config::{GatewayConfig, Listen};
use crate::events;
use crate::hub::Hub;
use crate::ops::Ops;
use crate::proxy::Proxy;
use egress::TrustError;
use parking_lot::Mutex;
use pingora::apps::http_app::HttpServer;
use pingora::listeners::ListenerConfig;
use pingora::protocols::l4::stream::L4BufferSettings;
use pingora::server::Fds;
use pingora::services::Service as _;
use pingora::services::listening::Service;
use shared::ids::Revision;
use shared::ports::{
    BreakerStore, ConfigFeed, MetricsPart, NodeRegistry, QuotaStore, ResponseStore, SessionStore, UsageStream,
};
use shared::secret::HubKey;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::IntoRawFd;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::net::TcpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

/// What a gateway is made of.
pub struct GatewayParts {
    /// Its configuration.
    pub config: GatewayConfig,
    /// Where the published configuration comes from.
    pub feed: Arc<dyn ConfigFeed>,
    /// Where usage goes.
    pub usage: Arc<dyn UsageStream>,
    /// Who is told that this node is there.
    pub nodes: Arc<dyn NodeRegistry>,
    /// Where breakers and cool-downs are kept.
    pub breakers: Arc<dyn BreakerStore>,
    /// Where conversations are bound to their providers.
    pub sessions: Arc<dyn SessionStore>,
    /// Where it is remembered which provider made a response.
    pub responses: Arc<dyn ResponseStore>,
    /// Where budgets are kept.
    pub quotas: Arc<dyn QuotaStore>,
    /// Opens the sealed provider secrets.
    pub hub_key: Arc<HubKey>,
    /// What the operators' `/metrics` shows besides the gateway's own.
    pub metrics_parts: Vec<Arc<dyn MetricsPart>>,
}

/// Why a gateway does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("{variable}={address}: cannot listen")]
    Bind {
        /// The variable that names the address.
        variable: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The certificate authorities for providers cannot be used.
    #[error("UPSTREAM_CA_FILE cannot be used")]
    Authorities(#[source] TrustError),
    /// What is counted cannot be registered: two metrics have one name.
    #[error("the metrics cannot be registered")]
    Metrics(#[from] prometheus::Error),
    /// The sockets that were handed over cannot be used.
    #[error("the sockets cannot be used")]
    Listeners(#[source] io::Error),
}

/// The sockets that a gateway listens on. A process can hand them to its successor.
#[derive(Debug)]
pub struct Listeners {
    /// For the seats.
    pub seats: TcpListener,
    /// For the operators.
    pub ops: TcpListener,
}

impl Listeners {
    fn bind(listen: &Listen) -> Result<Self, StartError> {
        Ok(Self { seats: bind("GATEWAY_LISTEN", listen.gateway)?, ops: bind("OPS_LISTEN", listen.ops)? })
    }

    /// The same sockets again.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { seats: self.seats.try_clone()?, ops: self.ops.try_clone()? })
    }
}

/// A running gateway.
pub struct GatewayHandle {
    /// Where seats are served.
    pub address: SocketAddr,
    /// Where `/live`, `/ready` and `/metrics` are.
    pub ops_address: SocketAddr,
    hub: Arc<Hub>,
    /// For a successor. Closed with the seats' listener: a socket that somebody holds goes on queueing connections.
    listeners: Listeners,
    stop: Stop,
}

struct Stop {
    /// True from the moment the stop is asked for: `/ready` fails.
    draining: watch::Sender<bool>,
    /// True from the moment the seats' listener is closed.
    seats_closed: watch::Sender<bool>,
    /// True from the moment the operators' listener is closed.
    ops_closed: watch::Sender<bool>,
    /// True when everything may go.
    all_closed: watch::Sender<bool>,
    /// Ends when nobody is answered at the operators' listener any more.
    ops_end: JoinHandle<()>,
    connections: TaskTracker,
    tasks: TaskTracker,
    drain_delay: Duration,
    grace: Duration,
}

/// Starts a gateway on the current runtime.
pub async fn start(parts: GatewayParts) -> Result<GatewayHandle, StartError> {
    let listeners = Listeners::bind(&parts.config.listen)?;
    start_on(listeners, parts).await
}

/// The same on sockets that listen already: a predecessor's.
pub async fn start_on(listeners: Listeners, parts: GatewayParts) -> Result<GatewayHandle, StartError> {
    let GatewayParts {
        config,
        feed,
        usage,
        nodes,
        breakers,
        sessions,
        responses,
        quotas,
        hub_key,
        metrics_parts,
    } = parts;
    let known = || Ok((listeners.seats.local_addr()?, listeners.ops.local_addr()?, listeners.try_clone()?));
    let (address, ops_address, served) = known().map_err(StartError::Listeners)?;
    let mut fds = Fds::new();
    fds.add(SEATS.to_owned(), served.seats.into_raw_fd());
    fds.add(OPS.to_owned(), served.ops.into_raw_fd());
    let fds = Arc::new(Mutex::new(fds));

    let (hub, reports, words) = Hub::new(&config, breakers, sessions, responses, quotas)?;
    let hub = Arc::new(hub);
    let (draining, is_draining) = watch::channel(false);
    let (seats_closed, are_seats_closed) = watch::channel(false);
    let (ops_closed, are_ops_closed) = watch::channel(false);
    let (all_closed, is_all_closed) = watch::channel(false);
    let (connections, tasks) = (TaskTracker::new(), TaskTracker::new());
    // Before the listeners serve: a configuration that was kept is in force for the first request.
    let GatewayConfig { probing, snapshot_file, .. } = config;
    let background = Background { feed, usage, nodes, reports, words, hub_key, probing, snapshot_file };
    let stages = Stages { is_draining: is_draining.clone(), is_over: is_all_closed };
    background::spawn(background, &hub, &stages, &tasks);
    hub.live.caught_up().await;

    let proxy = Proxy::new(hub.clone(), connections.clone(), is_draining.clone());
    let mut seats = Service::new("seats".to_owned(), proxy);
    // Pingora reads heads and bodies into buffers of its own, and `wire` gathers what is written: more of them would
    // only be copied through, and kept for each connection that idles.
    seats.add_listener(ListenerConfig::tcp(SEATS).l4_buffer(L4BufferSettings::unbuffered()));
    let door = Ops::new(hub.clone(), is_draining, metrics_parts);
    let mut ops = Service::new("ops".to_owned(), HttpServer::new_app(door));
    ops.add_tcp(OPS);

    let seat_fds = fds.clone();
    tasks.spawn(async move { seats.start_service(Some(seat_fds), are_seats_closed, 1).await });
    let ops_end = tasks.spawn(async move { ops.start_service(Some(fds), are_ops_closed, 1).await });
    tasks.close();
    let stop = Stop {
        draining,
        seats_closed,
        ops_closed,
        all_closed,
        ops_end,
        connections,
        tasks,
        drain_delay: config.limits.drain_delay,
        grace: config.limits.shutdown_grace,
    };
    Ok(GatewayHandle { address, ops_address, hub, listeners, stop })
}

impl GatewayHandle {
    /// Waits until a configuration is in force, for five seconds at most: without one every request is a 503.
    pub async fn configured(&self) {
        let mut revision = self.hub.live.revision();
        // The sender lives in `hub`; whoever has nothing after that starts all the same.
        let _ = timeout(CONFIGURED_WITHIN, revision.wait_for(|revision| *revision != Revision(0))).await;
    }

    /// Stops in good order: not ready, listener closed, streams finished or the grace over.
    pub async fn stop(self) {
        let _ = self.stop.draining.send(true);
        tokio::time::sleep(self.stop.drain_delay).await;
        self.end().await;
    }

    /// The sockets, for a successor.
    #[must_use]
    pub fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    /// Stops when a successor serves the same sockets already: it alone answers operators, and seats whose connections
    /// are kept have a moment to move over to it with their next request.
    pub async fn stop_for_successor(mut self) {
        let _ = self.stop.ops_closed.send(true);
        // While this one may still answer at the door that both share, it must not say that it is on its way out.
        let _ = timeout(OPS_END, &mut self.stop.ops_end).await;
        let _ = self.stop.draining.send(true);
        tokio::time::sleep(MOVE_OVER).await;
        self.end().await;
    }

    async fn end(self) {
        let Self { hub, listeners, stop, .. } = self;
        drop(listeners);
        let _ = stop.seats_closed.send(true);
        stop.connections.close();
        if timeout(stop.grace, stop.connections.wait()).await.is_err() {
            events::grace_over(stop.connections.len(), hub.load.running());
        }
        let _ = stop.ops_closed.send(true);
        let _ = stop.all_closed.send(true);
        if timeout(TASKS_END, stop.tasks.wait()).await.is_err() {
            events::tasks_stay(stop.tasks.len(), hub.journal.marks().unbooked());
        }
    }
}

fn bind(variable: &'static str, wanted: SocketAddr) -> Result<TcpListener, StartError> {
    let listen = || -> io::Result<TcpListener> {
        let socket = if wanted.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(wanted)?;
        socket.listen(BACKLOG)?.into_std()
    };
    listen().map_err(|source| StartError::Bind { variable, address: wanted, source })
}

/// Names of the listeners in the table of descriptors, by which Pingora finds them.
const SEATS: &str = "seats";
const OPS: &str = "ops";
const BACKLOG: u32 = 4096;
/// A configuration that is there is compiled in milliseconds.
const CONFIGURED_WITHIN: Duration = Duration::from_secs(5);
/// Operators' questions are answered in less.
const OPS_END: Duration = Duration::from_secs(2);
/// Longer than the journal waits for the books.
const TASKS_END: Duration = Duration::from_secs(15);
/// A busy seat sends its next request within this time, and is told to make a new connection for the one after.
const MOVE_OVER: Duration = Duration::from_secs(2);
