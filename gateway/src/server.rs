//! Puts a gateway together and takes it down again.
//!
//! Pingora's `Server` is not used: it sleeps out its grace period and ends the process itself. Its services
//! run here on the caller's runtime, with listeners that were bound before anything starts, so that a taken
//! port is an error with a name, port 0 works, and the stop waits for streams and for nothing else.

use crate::background::{self, Background, Stages};
use crate::config::GatewayConfig;
use crate::events;
use crate::hub::Hub;
use crate::ops::Ops;
use crate::proxy::Proxy;
use parking_lot::Mutex;
use pingora::apps::http_app::HttpServer;
use pingora::listeners::ListenerConfig;
use pingora::protocols::l4::stream::L4BufferSettings;
use pingora::server::Fds;
use pingora::services::Service as _;
use pingora::services::listening::Service;
use shared::ports::{ConfigFeed, NodeRegistry, UsageSink};
use shared::secret::HubKey;
use std::io;
use std::net::SocketAddr;
use std::os::fd::IntoRawFd;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::net::TcpSocket;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

/// What a gateway is made of.
pub struct GatewayParts {
    /// Its configuration.
    pub config: GatewayConfig,
    /// Where the published configuration comes from.
    pub feed: Arc<dyn ConfigFeed>,
    /// Where usage goes.
    pub usage: Arc<dyn UsageSink>,
    /// Who is told that this node is there.
    pub nodes: Arc<dyn NodeRegistry>,
    /// Opens the sealed provider secrets.
    pub hub_key: Arc<HubKey>,
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
}

/// A running gateway.
pub struct GatewayHandle {
    /// Where seats are served.
    pub address: SocketAddr,
    /// Where `/live`, `/ready` and `/metrics` are.
    pub ops_address: SocketAddr,
    hub: Arc<Hub>,
    stop: Stop,
}

struct Stop {
    /// True from the moment the stop is asked for: `/ready` fails.
    draining: watch::Sender<bool>,
    /// True from the moment the seats' listener is closed.
    seats_closed: watch::Sender<bool>,
    /// True when everything may go.
    all_closed: watch::Sender<bool>,
    tasks: TaskTracker,
    drain_delay: Duration,
    grace: Duration,
}

/// Starts a gateway on the current runtime.
pub async fn start(parts: GatewayParts) -> Result<GatewayHandle, StartError> {
    let GatewayParts { config, feed, usage, nodes, hub_key } = parts;
    let fds = Arc::new(Mutex::new(Fds::new()));
    let address = bind("GATEWAY_LISTEN", config.listen.gateway, SEATS, &fds)?;
    let ops_address = bind("OPS_LISTEN", config.listen.ops, OPS, &fds)?;

    let hub = Arc::new(Hub::new(&config, usage));
    let (draining, is_draining) = watch::channel(false);
    let (seats_closed, are_seats_closed) = watch::channel(false);
    let (all_closed, is_all_closed) = watch::channel(false);
    let tasks = TaskTracker::new();
    // Before the listeners serve: a configuration that was kept is in force for the first request.
    let background = Background { feed, nodes, hub_key, snapshot_file: config.snapshot_file };
    let stages = Stages { is_draining: is_draining.clone(), is_over: is_all_closed.clone() };
    background::spawn(background, &hub, &stages, &tasks);

    let mut seats = Service::new("seats".to_owned(), Proxy::new(hub.clone(), tasks.clone()));
    // Pingora reads heads and bodies into buffers of its own, and `wire` gathers what is written: more of them would
    // only be copied through, and kept for each connection that idles.
    seats.add_listener(ListenerConfig::tcp(SEATS).l4_buffer(L4BufferSettings::unbuffered()));
    let mut ops = Service::new("ops".to_owned(), HttpServer::new_app(Ops::new(hub.clone(), is_draining)));
    ops.add_tcp(OPS);

    let seat_fds = fds.clone();
    tasks.spawn(async move { seats.start_service(Some(seat_fds), are_seats_closed, 1).await });
    tasks.spawn(async move { ops.start_service(Some(fds), is_all_closed, 1).await });
    tasks.close();
    let stop = Stop {
        draining,
        seats_closed,
        all_closed,
        tasks,
        drain_delay: config.limits.drain_delay,
        grace: config.limits.shutdown_grace,
    };
    Ok(GatewayHandle { address, ops_address, hub, stop })
}

impl GatewayHandle {
    /// Stops in good order: not ready, listener closed, streams finished or the grace over.
    pub async fn stop(self) {
        let stop = self.stop;
        let _ = stop.draining.send(true);
        tokio::time::sleep(stop.drain_delay).await;
        let _ = stop.seats_closed.send(true);
        if timeout(stop.grace, self.hub.load.idle()).await.is_err() {
            events::grace_over(self.hub.load.running());
        }
        let _ = stop.all_closed.send(true);
        let _ = timeout(TASKS_END, stop.tasks.wait()).await;
    }
}

/// Binds a listener under a fixed name, by which Pingora finds it.
fn bind(
    variable: &'static str,
    wanted: SocketAddr,
    name: &str,
    fds: &Arc<Mutex<Fds>>,
) -> Result<SocketAddr, StartError> {
    let listen = || -> io::Result<(SocketAddr, i32)> {
        let socket = if wanted.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(wanted)?;
        let listener = socket.listen(BACKLOG)?.into_std()?;
        Ok((listener.local_addr()?, listener.into_raw_fd()))
    };
    let (address, fd) = listen().map_err(|source| StartError::Bind { variable, address: wanted, source })?;
    fds.lock().add(name.to_owned(), fd);
    Ok(address)
}

/// Names of the listeners in the table of descriptors.
const SEATS: &str = "seats";
const OPS: &str = "ops";
const BACKLOG: u32 = 4096;
const TASKS_END: Duration = Duration::from_secs(5);
