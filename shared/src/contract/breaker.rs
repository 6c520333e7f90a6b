//! Breaker and cool-downs of a provider as they are kept and travel, and what is said to whoever keeps them.
//!
//! All moments are by the clock of the store that wrote them. Numbers (`version`, `generation`, `fence`) are issued by
//! one counter that only grows and never lags behind that clock's milliseconds, so that they stay in order over a store
//! that lost everything. The rules are in [`crate::rules::breaker`] and [`crate::rules::cooldown`].

mod words;

pub use words::{CoolAsk, Mark, Order, Pass, PermitAsk, Report, Taken};

use super::codec::check_schema;
use crate::ids::{ProviderId, RequestId};
use crate::time::UnixMillis;
use serde::{Deserialize, Serialize};

/// Raised when a reader of the last number would misunderstand a document of this one.
pub const CIRCUIT_SCHEMA: u32 = 1;

/// How a provider stands. One that never failed has no document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CircuitDoc {
    /// [`CIRCUIT_SCHEMA`] of the writer.
    pub schema: u32,
    /// Whose.
    pub provider_id: ProviderId,
    /// The number of its last change.
    pub version: u64,
    /// The number of its last transition: what was admitted before it says nothing about what came after. 0 = never.
    pub generation: u64,
    /// What it was judged under; all of it is void under others.
    pub terms: Terms,
    /// The breaker.
    #[serde(flatten)]
    pub circuit: Circuit,
    /// What the last transition was made for; `None` before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// When that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<UnixMillis>,
    /// The last results that led here, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<Sample>,
    /// Cool-downs, those that are over and remembered too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cooldowns: Vec<Cooldown>,
}

impl CircuitDoc {
    /// A provider that nothing is held against, since this generation.
    #[must_use]
    pub fn fresh(provider_id: ProviderId, terms: Terms, generation: u64) -> Self {
        Self {
            schema: CIRCUIT_SCHEMA,
            provider_id,
            version: generation,
            generation,
            terms,
            circuit: Circuit::Closed { failures: 0 },
            cause: None,
            changed_at: None,
            samples: Vec::new(),
            cooldowns: Vec::new(),
        }
    }

    /// As it is kept.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        // Only memory could fail here.
        serde_json::to_vec(self)
    }

    /// What [`Self::to_json`] or a script wrote; `None` for what this release cannot read.
    #[must_use]
    pub fn from_json(json: &[u8]) -> Option<Self> {
        let doc: Self = serde_json::from_slice(json).ok()?;
        check_schema(doc.schema, CIRCUIT_SCHEMA).is_ok().then_some(doc)
    }
}

/// What a provider is judged under: its settings, and which account it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// `circuit_breaker_failure_threshold`: failures in a row that open the breaker; 0 = it never opens.
    pub failure_threshold: u32,
    /// `circuit_breaker_open_duration_ms`.
    pub open_duration_ms: u64,
    /// `circuit_breaker_half_open_success_threshold`.
    pub half_open_success_threshold: u32,
    /// [`Terms::account_of`] its address and secret: with another secret nothing holds that was said of the old one.
    pub account: u32,
}

impl Terms {
    /// A mark of what makes an account: type, URL, sealed secret.
    #[must_use]
    pub fn account_of(parts: &[&[u8]]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        for part in parts {
            hasher.update(part);
            hasher.update(&[0]);
        }
        hasher.finalize()
    }
}

impl Default for Terms {
    fn default() -> Self {
        Self { failure_threshold: 5, open_duration_ms: 1_800_000, half_open_success_threshold: 2, account: 0 }
    }
}

/// A breaker. CLOSED = traffic flows, OPEN = none, HALF_OPEN = one probe at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Circuit {
    /// Traffic flows.
    Closed {
        /// Failures in a row.
        failures: u32,
    },
    /// No traffic.
    Open {
        /// When a probe is due.
        until: UnixMillis,
    },
    /// One probe at a time.
    HalfOpen {
        /// Probes that succeeded since it opened.
        successes: u32,
        /// The probe that is out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        permit: Option<Permit>,
    },
}

/// A breaker's state without what goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CircuitState {
    /// Traffic flows.
    Closed,
    /// No traffic.
    Open,
    /// One probe at a time.
    HalfOpen,
}

impl CircuitState {
    /// The name used in JSON, logs and metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

impl Circuit {
    /// The state to be shown: an open breaker whose time is over waits for its probe.
    #[must_use]
    pub fn state(&self, now: UnixMillis) -> CircuitState {
        match self {
            Self::Closed { .. } => CircuitState::Closed,
            Self::Open { until } if now < *until => CircuitState::Open,
            Self::Open { .. } | Self::HalfOpen { .. } => CircuitState::HalfOpen,
        }
    }
}

/// The right to probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permit {
    /// The node that has it.
    pub owner: String,
    /// Its number: a result with another one is not this probe's.
    pub fence: u64,
    /// When it lapses, should nothing be heard of it.
    pub until: UnixMillis,
}

/// What a transition was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Failures in a row: CLOSED → OPEN.
    Failures,
    /// Its time was over: OPEN → HALF_OPEN.
    Due,
    /// Smart probing found it well: OPEN → HALF_OPEN.
    Probed,
    /// A probe failed: HALF_OPEN → OPEN.
    ProbeFailed,
    /// Enough probes succeeded: HALF_OPEN → CLOSED.
    Recovered,
    /// By hand: → CLOSED.
    Reset,
    /// The provider's settings or secret changed, or it was switched off: → CLOSED.
    TermsChanged,
}

impl Cause {
    /// The name used in JSON, logs and metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Failures => "failures",
            Self::Due => "due",
            Self::Probed => "probed",
            Self::ProbeFailed => "probe_failed",
            Self::Recovered => "recovered",
            Self::Reset => "reset",
            Self::TermsChanged => "terms_changed",
        }
    }
}

/// One result, as evidence. No bodies.
///
/// The releases before smart probing wrote no `model`, and read past it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// When the attempt ended, by its node's clock.
    pub at: UnixMillis,
    /// Its request; `None` for a probe of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<RequestId>,
    /// The number of the attempt in the request. Of a probe of ours: how many have found the provider well since its
    /// breaker tripped, this one included; all but the last in vain.
    #[serde(default)]
    pub attempt: u32,
    /// The requested model, unless its name is longer than any real one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The upstream's status, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// How it ended: the attempt's word in the decision chain.
    pub label: String,
}

/// An upstream said, or let us know, when to come back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cooldown {
    /// Why.
    pub kind: CoolKind,
    /// For this requested model alone; `None` = for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// When it is over.
    pub until: UnixMillis,
    /// Milliseconds that it is remembered after that: another one meanwhile is a repetition.
    pub memory_ms: u64,
    /// How often in a row, 1 = the first time.
    pub strikes: u32,
    /// The number of the change that set it.
    pub number: u64,
    /// The result that set it.
    pub sample: Sample,
}

/// Why a provider cools down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CoolKind {
    /// The account is refused.
    Credential,
    /// The account's rate.
    RateLimit,
    /// The vendor has no capacity. Never excludes a provider, see [`crate::rules::cooldown`].
    Overload,
    /// The account does not have the model.
    ModelMissing,
}

impl CoolKind {
    /// The name used in JSON, logs and metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Credential => "credential",
            Self::RateLimit => "rate_limit",
            Self::Overload => "overload",
            Self::ModelMissing => "model_missing",
        }
    }
}

/// Milliseconds after which a node reads by itself: heals a lost announcement, and keeps the node there.
pub const READ_MS: u64 = 2_000;

/// The longest that a permit is held without a word, in milliseconds: a thinking model's silence.
pub const MAX_HOLD_MS: u64 = 900_000;

/// How long an unchanged document is kept, in milliseconds: the longest open duration and the longest memory, twice.
pub const CIRCUIT_KEEP_MS: u64 = 2 * 86_400_000;
