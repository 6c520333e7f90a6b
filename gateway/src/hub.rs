//! What all requests of a process share. A handful of parts, each with its own small door.

use crate::budgets::Budgets;
use crate::circuits::Circuits;
use crate::config::{GatewayConfig, TrustedProxies};
use crate::dispatch::upstream::Upstreams;
use crate::guards::authenticate::Failures;
use crate::guards::receive::BodyMemory;
use crate::journal::UsageJournal;
use crate::live::InForce;
use crate::responses::Responses;
use crate::server::StartError;
use crate::sessions::{Sessions, Word};
use crate::telemetry::Metrics;
use shared::contract::breaker::Report;
use shared::ids::JournalId;
use shared::ports::{BreakerStore, QuotaStore, ResponseStore, SessionStore};
use shared::rules::retry::ResendBudget;
use shared::time::UnixMillis;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;

/// What all requests share.
pub struct Hub {
    /// The configuration in force.
    pub live: Arc<InForce>,
    /// Who is asked, and who is not for now.
    pub circuits: Arc<Circuits>,
    /// What may be spent.
    pub budgets: Arc<Budgets>,
    /// Which conversations stay where.
    pub sessions: Arc<Sessions>,
    /// Which responses can be gone on from, and where.
    pub responses: Arc<Responses>,
    /// Connections to providers.
    pub upstreams: Upstreams,
    /// Where requests are written down.
    pub journal: Arc<UsageJournal>,
    /// What arrives and from whom.
    pub door: Door,
    /// What runs.
    pub load: Load,
    /// What is counted.
    pub metrics: Metrics,
}

/// What arrives and from whom.
pub struct Door {
    /// Wrong credentials so far.
    pub failures: Failures,
    /// Memory for request bodies.
    pub body_memory: BodyMemory,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: TrustedProxies,
    /// How long an answer may stand still.
    pub waits: Waits,
}

/// How long an answer may stand still.
pub struct Waits {
    /// How long a seat that waits for a stream may hear nothing; `None`: for ever.
    pub stream_keep_alive: Option<Duration>,
    /// How long a model that thinks may be silent, at least, in milliseconds.
    pub thinking_idle_ms: u64,
    /// How long a seat may take nothing of what it is sent.
    pub write_deadline: Duration,
}

impl Hub {
    /// The shared parts of a process, and what is told to the stores behind them.
    pub fn new(
        config: &GatewayConfig,
        breakers: Arc<dyn BreakerStore>,
        sessions: Arc<dyn SessionStore>,
        responses: Arc<dyn ResponseStore>,
        quotas: Arc<dyn QuotaStore>,
    ) -> Result<(Self, mpsc::Receiver<Report>, mpsc::Receiver<Word>), StartError> {
        let upstreams =
            Upstreams::new(config.upstream_ca_file.as_deref()).map_err(StartError::Authorities)?;
        let id = JournalId::from_parts(now(), &rand::random());
        let (circuits, reports) = Circuits::new(id.to_string(), config.circuits, breakers);
        let (sessions, words) = Sessions::new(sessions, config.session_ttl);
        let journal = Arc::new(UsageJournal::new(id, &config.journal));
        let live = Arc::new(InForce::new(config.limits.config_max_age));
        let hub = Self {
            circuits,
            budgets: Budgets::new(quotas, journal.clone(), live.clone(), config.outage_policy),
            sessions,
            responses: Responses::new(responses),
            live,
            upstreams,
            journal,
            door: Door {
                failures: Failures::new(),
                body_memory: BodyMemory::new(config.limits.body_memory_bytes),
                trusted_proxies: config.trusted_proxies.clone(),
                waits: Waits {
                    stream_keep_alive: config.stream_keep_alive,
                    thinking_idle_ms: u64::try_from(config.thinking_idle.as_millis()).unwrap_or(u64::MAX),
                    write_deadline: config.write_deadline,
                },
            },
            load: Load { running: AtomicUsize::new(0), resend: Mutex::new(ResendBudget::new(now())) },
            metrics: Metrics::new()?,
        };
        Ok((hub, reports, words))
    }
}

/// What runs: requests in flight and the budget for sending them again.
pub struct Load {
    running: AtomicUsize,
    resend: Mutex<ResendBudget>,
}

impl Load {
    /// Counts a request until the guard is dropped.
    #[must_use]
    pub fn enter(hub: &Arc<Hub>) -> Running {
        hub.load.running.fetch_add(1, Ordering::AcqRel);
        hub.load.with_budget(|budget| budget.on_request(now()));
        Running(hub.clone())
    }

    /// Requests in flight.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running.load(Ordering::Acquire)
    }

    /// Asks the node's re-send budget.
    pub fn with_budget<T>(&self, ask: impl FnOnce(&mut ResendBudget) -> T) -> T {
        ask(&mut self.resend.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A request in flight.
pub struct Running(Arc<Hub>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.load.running.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The present.
#[must_use]
pub fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
