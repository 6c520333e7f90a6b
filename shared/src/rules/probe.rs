//! Smart probing: when a small question of our own finds out whether the provider of an open breaker is well, which node
//! asks it, and for which model. A provider that answers goes to HALF_OPEN before its time ([`super::breaker::probed`]).
//!
//! - **Turns.** From the moment a breaker opened, its time is cut into turns as long as the wait. The gateways that are
//!   ready, in the order of their ids, take turns, so that a fleet asks as often as one gateway does, and one that cannot
//!   reach the provider costs the others a turn, not the recovery. Nodes that see the fleet or the time a little
//!   differently ask once more or once less; nothing depends on it. Where in the first quarter of its turn a node
//!   asks is drawn.
//! - **Back-off.** The wait is the interval, doubled for each probe since the breaker tripped that found the provider
//!   well in vain: requests of seats failed at it all the same. It is at most the open duration, after which a probe is
//!   not needed. The count is kept in the breaker's own evidence ([`Sample::attempt`] of a probe), so that it is the
//!   fleet's, outlives its nodes, and ends with what it is about.
//!
//! Knows nothing of connections; what is asked is [`super::provider_test::Preset::smallest`].

use crate::contract::breaker::{Cause, Circuit, CircuitDoc, Sample};
use crate::model::Provider;
use crate::model::rules::{MatchType, Pattern, allows};
use crate::time::UnixMillis;
use rand::Rng;

/// What a plan is made from.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// How the provider stands.
    pub doc: &'a CircuitDoc,
    /// `PROBE_INTERVAL_MS`.
    pub interval_ms: u64,
    /// The gateways that are ready, in the order of their ids.
    pub ring: &'a [String],
    /// The one that asks.
    pub node: &'a str,
}

/// When this node asks next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Then.
    Ask {
        /// When.
        at: UnixMillis,
        /// What [`Sample::attempt`] says if the provider is well.
        count: u32,
    },
    /// Not at all, as things stand.
    Wait(Why),
}

/// Why a node does not ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The breaker is not open, or its time is over: requests probe.
    NotOpen,
    /// This node is not among those that are ready, or nobody can say.
    NotThere,
    /// The breaker's time is over before this node's next turn.
    TooLate,
}

/// Plans the next probe by this node after `now`.
pub fn plan(facts: &Facts<'_>, now: UnixMillis, rng: &mut impl Rng) -> Plan {
    let Facts { doc, interval_ms, ring, node } = *facts;
    let (Circuit::Open { until }, Some(opened)) = (&doc.circuit, doc.changed_at) else {
        return Plan::Wait(Why::NotOpen);
    };
    if now >= *until {
        return Plan::Wait(Why::NotOpen);
    }
    let Some(place) = ring.iter().position(|other| other == node) else {
        return Plan::Wait(Why::NotThere);
    };
    let vain = probes_in_vain(doc);
    let wait_ms = wait_ms(interval_ms, vain, doc.terms.open_duration_ms);
    let (place, nodes) = (as_u64(place), as_u64(ring.len()));
    // Turn 0 is the wait after it opened. Providers that open together begin at different nodes.
    let next = now.since(opened) / wait_ms + 1;
    let holder = next.wrapping_add(doc.generation).wrapping_add(doc.provider_id.0.unsigned_abs()) % nodes;
    let turn = next + (place + nodes - holder) % nodes;
    let late_ms = rng.random_range(0..=wait_ms / 4);
    let at = opened.plus_ms(turn.saturating_mul(wait_ms).saturating_add(late_ms));
    if at >= *until {
        return Plan::Wait(Why::TooLate);
    }
    Plan::Ask { at, count: vain.saturating_add(1) }
}

/// The requested model that a probe asks for: one that the configuration names, else what seats asked for last, else
/// `usual`.
#[must_use]
pub fn model<'a>(provider: &'a Provider, samples: &'a [Sample], usual: &'a str) -> &'a str {
    let named = |pattern: &'a Pattern| {
        (pattern.match_type() == MatchType::Exact).then_some(pattern.text()).filter(|name| !name.is_empty())
    };
    let is_served = |name: &&str| allows(&provider.allowed_models, name);
    let allowed = provider.allowed_models.iter().find_map(|rule| named(&rule.0));
    let redirect = || provider.model_redirects.iter().filter_map(|r| named(&r.source)).find(is_served);
    let asked = || samples.iter().rev().filter_map(|sample| sample.model.as_deref()).find(is_served);
    allowed.or_else(redirect).or_else(asked).unwrap_or(usual)
}

/// How many probes since the breaker tripped found the provider well, when requests failed at it all the same.
fn probes_in_vain(doc: &CircuitDoc) -> u32 {
    match doc.cause {
        Some(Cause::ProbeFailed) => {
            let probe = doc.samples.iter().rev().find(|sample| sample.request_id.is_none());
            probe.map_or(0, |probe| probe.attempt)
        }
        _ => 0,
    }
}

fn wait_ms(interval_ms: u64, vain: u32, open_duration_ms: u64) -> u64 {
    let doubled = interval_ms.saturating_mul(1_u64.checked_shl(vain).unwrap_or(u64::MAX));
    doubled.min(open_duration_ms).max(1)
}

fn as_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
