//! What is said to whoever keeps breakers and cool-downs.

use super::{Cause, CoolKind, Sample, Terms};
use crate::ids::ProviderId;

/// What an attempt was admitted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pass {
    /// The newest number that its node knew.
    pub seen: u64,
    /// [`super::Permit::fence`] of a probe.
    pub fence: Option<u64>,
}

/// What an attempt's end means for the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The upstream served.
    Success,
    /// It counts against the account.
    Failure,
    /// It says nothing about the account; a permit goes back.
    Neutral,
}

impl Mark {
    /// The script's word for it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Neutral => "neutral",
        }
    }
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// At whom.
    pub provider_id: ProviderId,
    /// Under which terms it was admitted.
    pub terms: Terms,
    /// By what it was admitted.
    pub pass: Pass,
    /// What it means for the breaker.
    pub mark: Mark,
    /// The cool-down it asks for.
    pub cool: Option<CoolAsk>,
    /// The evidence.
    pub sample: Sample,
}

/// A cool-down that is asked for: `first_ms`, doubled with each repetition up to `longest_ms`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoolAsk {
    /// Why.
    pub kind: CoolKind,
    /// For this requested model alone; `None` = for all.
    pub model: Option<String>,
    /// Milliseconds, the first time.
    pub first_ms: u64,
    /// Milliseconds at most.
    pub longest_ms: u64,
    /// [`super::Cooldown::memory_ms`].
    pub memory_ms: u64,
}

/// Somebody wants to probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PermitAsk {
    /// Whom.
    pub provider_id: ProviderId,
    /// Under which terms.
    pub terms: Terms,
    /// The newest number that the node knows.
    pub seen: u64,
    /// Who asks.
    pub node: String,
    /// How long the probe may take, in milliseconds; no more than [`super::MAX_HOLD_MS`] are given.
    pub hold_ms: u64,
}

/// The answer to a [`PermitAsk`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Probe, and report by this pass.
    Granted(Pass),
    /// The breaker is closed: go ahead by this pass.
    Unneeded(Pass),
    /// It is not due, or another probe is out.
    Refused,
}

/// What is done to breakers apart from attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Nothing is held against this provider any more. With `only_if`, only if that is its generation still, so that
    /// several nodes that notice the same thing reset once.
    Reset {
        /// Whom.
        provider_id: ProviderId,
        /// Its terms from now on.
        terms: Terms,
        /// Why.
        cause: Cause,
        /// A generation.
        only_if: Option<u64>,
    },
    /// Nothing is held against anybody any more.
    ResetAll,
    /// Smart probing found this provider well: if it is open in this generation still, a probe is due.
    Probed {
        /// Whom.
        provider_id: ProviderId,
        /// In which generation.
        generation: u64,
        /// The evidence.
        sample: Sample,
    },
}
