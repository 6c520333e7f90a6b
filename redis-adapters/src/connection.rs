//! A connection to Redis that is kept: made anew whenever it is lost, and whoever has to mend something is told.

use crate::config::{ConfigError, RedisConfig};
use fred::clients::Client;
use fred::error::ErrorKind;
use fred::interfaces::{ClientLike, EventInterface};
use fred::types::config::{
    ConnectionConfig, PerformanceConfig, ReconnectPolicy, TcpConfig, UnresponsiveConfig,
};
use std::future::Future;
use std::time::{Duration, Instant};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// What looks after a connection. It ends with this value; [`Upkeep::close`] waits for that.
pub(crate) struct Upkeep {
    tasks: TaskTracker,
    stop: CancellationToken,
    _ends: DropGuard,
}

impl Upkeep {
    fn new() -> Self {
        let stop = CancellationToken::new();
        Self { tasks: TaskTracker::new(), stop: stop.clone(), _ends: stop.drop_guard() }
    }

    /// Runs this until the end. Needs the runtime that it will live on.
    pub fn until_closed(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(self.stop.clone().run_until_cancelled_owned(work));
    }

    /// Ends the connection and waits until nothing is left of it, for two seconds at most.
    pub async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// A client that keeps connecting.
pub(crate) fn connect(config: &RedisConfig) -> Result<(Client, Upkeep), ConfigError> {
    let connection = ConnectionConfig {
        connection_timeout: CONNECT_DEADLINE,
        internal_command_timeout: CONNECT_DEADLINE,
        max_command_attempts: 1,
        max_command_buffer_len: MAX_WAITING_CALLS,
        unresponsive: UnresponsiveConfig { max_timeout: Some(DEAD_AFTER), interval: Duration::from_secs(1) },
        tcp: TcpConfig { nodelay: Some(true), ..TcpConfig::default() },
        ..ConnectionConfig::default()
    };
    let mut policy = ReconnectPolicy::new_exponential(0, FIRST_RETRY_MS, LONGEST_RETRY_MS, 2);
    policy.set_jitter(RETRY_JITTER_MS);
    let client =
        Client::new(config.to_fred()?, Some(PerformanceConfig::default()), Some(connection), Some(policy));
    let upkeep = Upkeep::new();
    upkeep.until_closed(tell_wrong_password(client.clone(), config.address()));
    upkeep.tasks.spawn(supervise(client.clone(), config.address(), upkeep.stop.clone()));
    Ok((client, upkeep))
}

/// Connects, and again whenever the client gives up, until `stop`; then says goodbye.
async fn supervise(client: Client, address: String, stop: CancellationToken) {
    let mut told = "";
    while !stop.is_cancelled() {
        let began = Instant::now();
        let mut connection = client.connect();
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = stop.cancelled() => {
                let goodbye = async {
                    let _ = client.quit().await;
                    let _ = connection.await;
                };
                let _ = timeout(CONNECT_DEADLINE, goodbye).await;
                return;
            }
        };
        // Ends when the server refuses us (a wrong password, say); a later try may not be refused.
        let reason = match ended {
            Ok(Err(error)) => error.kind().to_str(),
            Ok(Ok(())) | Err(_) => "ended",
        };
        // Told once, not with each try; after a time of good service it is news again.
        if told != reason || began.elapsed() > DEAD_AFTER {
            tracing::error!(redis = %address, reason, "Redis (REDIS_URL) refuses the connection; trying again, going on without it");
        }
        told = reason;
        let _ = stop.run_until_cancelled(tokio::time::sleep(REFUSED_RETRY)).await;
    }
}

/// The client tries a refused password again without a word; whoever has to mend it must be told. Once: until another
/// error, or service, makes it news again.
async fn tell_wrong_password(client: Client, address: String) {
    let (mut errors, mut connections) = (client.error_rx(), client.reconnect_rx());
    let mut is_told = false;
    loop {
        tokio::select! {
            error = errors.recv() => match error {
                Ok((error, _)) if *error.kind() == ErrorKind::Auth => {
                    if !is_told {
                        tracing::error!(redis = %address, "Redis refuses the password of REDIS_URL; trying again, going on without it");
                    }
                    is_told = true;
                }
                Err(RecvError::Closed) => return,
                Ok(_) | Err(RecvError::Lagged(_)) => {}
            },
            connection = connections.recv() => match connection {
                Err(RecvError::Closed) => return,
                Ok(_) | Err(RecvError::Lagged(_)) => is_told = false,
            },
        }
    }
}

const CONNECT_DEADLINE: Duration = Duration::from_secs(2);
/// A connection that owes an answer for so long is given up and made anew.
const DEAD_AFTER: Duration = Duration::from_secs(3);
/// Calls wait for a deadline at most; more than these at a time are refused.
const MAX_WAITING_CALLS: usize = 4_096;
const FIRST_RETRY_MS: u32 = 50;
const LONGEST_RETRY_MS: u32 = 1_000;
const RETRY_JITTER_MS: u32 = 25;
const REFUSED_RETRY: Duration = Duration::from_secs(1);
