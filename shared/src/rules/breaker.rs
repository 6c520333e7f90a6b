//! The breaker of each provider: when it stops being asked, and how it comes back (design §5).
//!
//! - **Trip.** `circuit_breaker_failure_threshold` failures in a row (by the order in which they end, over all nodes):
//!   CLOSED → OPEN for `circuit_breaker_open_duration_ms`. One success in between, and the count begins anew. There is no
//!   window of time. A threshold of 0 switches the breaker off: it counts nothing and blocks nobody.
//! - **What counts** is [`mark`]: refusals of the account, broken, late and false answers; never rate limits, overloads,
//!   missing models, requests at fault or what went wrong with us. The network only where an operator says so.
//! - **Recovery.** When its time is over, or smart probing finds it well earlier, whoever wants to ask takes the permit:
//!   OPEN → HALF_OPEN. There is one permit for the whole fleet. `circuit_breaker_half_open_success_threshold` successes
//!   of such probes, one after the other: HALF_OPEN → CLOSED. One failure: OPEN again, for the whole time.
//! - **Permits** have an owner, a number (the fence) and a moment at which they lapse. That of an owner that is gone, or
//!   whose moment has passed, is free for the next one who asks; from then on the first one's result counts for nothing.
//!   A probe that ends without saying anything about the account (its seat left, say) gives its permit back.
//! - **Late results.** Each transition has a number, its generation. What was admitted by a node that did not know of it
//!   says nothing about what came after, and is passed over: it neither trips, closes nor cools down anything.
//! - **Terms.** State belongs to the settings and the account (URL, secret) it was made under. Under others it is void,
//!   at once for whoever reads it ([`table::Table::standing`]), and in the store with the next word about it.
//! - **Evidence.** OPEN, HALF_OPEN and a count each hold the last [`MAX_SAMPLES`] results that led there.
//!
//! Here is what one word does to one provider's document; [`fleet`] is the store of all documents as a model and in
//! memory, [`table`] what a node reads for each request. `contract/lua/breaker_*_v1.lua` do the same in Redis and are
//! held to [`fleet`] by a test. Knows nothing of requests, the wire or clocks.

pub mod fleet;
pub mod table;

use super::classify::{FailureClass, Verdict};
use super::cooldown;
use crate::contract::breaker::{
    Cause, Circuit, CircuitDoc, MAX_HOLD_MS, Mark, Pass, Permit, PermitAsk, Report, Sample, Taken, Terms,
};
use crate::time::UnixMillis;

/// What an operator decides for all providers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// `ENABLE_CIRCUIT_BREAKER_ON_NETWORK_ERRORS`: failures of the network count.
    pub counts_network_errors: bool,
}

/// What a failure means for the breaker.
#[must_use]
pub fn mark(verdict: &Verdict, policy: Policy) -> Mark {
    let counts = match verdict.class {
        FailureClass::Credential
        | FailureClass::Server
        | FailureClass::Timeout
        | FailureClass::FakeSuccess => true,
        FailureClass::Transport => policy.counts_network_errors,
        FailureClass::RateLimit
        | FailureClass::Overload
        | FailureClass::ModelMissing
        | FailureClass::NotFound
        | FailureClass::RequestFault
        | FailureClass::Ours => false,
    };
    if counts { Mark::Failure } else { Mark::Neutral }
}

/// What a document becomes by the end of an attempt; `None` when nothing changes. `number` is the next number.
#[must_use]
pub fn after_report(doc: &CircuitDoc, report: &Report, now: UnixMillis, number: u64) -> Option<CircuitDoc> {
    if report.pass.seen < doc.generation {
        return None;
    }
    let mut next = doc.clone();
    let mut has_changed = next.meet(report.terms, now, number);
    has_changed |= match report.mark {
        Mark::Success => next.succeeded(report, now, number),
        Mark::Failure => next.failed(report, now, number),
        Mark::Neutral => next.came_to_nothing(report),
    };
    if let Some(ask) = &report.cool {
        has_changed |= cooldown::set(&mut next.cooldowns, ask, &report.sample, now, number);
    }
    has_changed.then(|| next.numbered(number))
}

/// Who gets the permit, and what the document becomes by it (`None`: nothing changes). `is_there` knows the nodes.
#[must_use]
pub fn after_ask(
    doc: &CircuitDoc,
    ask: &PermitAsk,
    now: UnixMillis,
    number: u64,
    is_there: impl Fn(&str) -> bool,
) -> (Taken, Option<CircuitDoc>) {
    let knows = |doc: &CircuitDoc| Pass { seen: doc.version.max(ask.seen), fence: None };
    let mut next = doc.clone();
    if doc.terms != ask.terms {
        if ask.seen < doc.generation {
            return (Taken::Refused, None);
        }
        next.meet(ask.terms, now, number);
        let next = next.numbered(number);
        return (Taken::Unneeded(knows(&next)), Some(next));
    }
    if doc.terms.failure_threshold == 0 {
        return (Taken::Unneeded(knows(doc)), None);
    }
    let successes = match &doc.circuit {
        Circuit::Closed { .. } => return (Taken::Unneeded(knows(doc)), None),
        Circuit::Open { until } if now < *until => return (Taken::Refused, None),
        Circuit::Open { .. } => {
            next.enter(Circuit::HalfOpen { successes: 0, permit: None }, Cause::Due, now, number);
            0
        }
        Circuit::HalfOpen { permit: Some(permit), .. } if !is_lapsed(permit, now, &is_there) => {
            return (Taken::Refused, None);
        }
        Circuit::HalfOpen { successes, .. } => *successes,
    };
    let until = now.plus_ms(ask.hold_ms.min(MAX_HOLD_MS));
    let permit = Permit { owner: ask.node.clone(), fence: number, until };
    next.circuit = Circuit::HalfOpen { successes, permit: Some(permit) };
    let next = next.numbered(number);
    let pass = Pass { seen: next.version.max(ask.seen), fence: Some(number) };
    (Taken::Granted(pass), Some(next))
}

/// What a document becomes when its permit has lapsed; `None` when there is none, or it has not.
#[must_use]
pub fn without_lapsed(
    doc: &CircuitDoc,
    now: UnixMillis,
    number: u64,
    is_there: impl Fn(&str) -> bool,
) -> Option<CircuitDoc> {
    let Circuit::HalfOpen { successes, permit: Some(permit) } = &doc.circuit else { return None };
    is_lapsed(permit, now, is_there).then(|| {
        let circuit = Circuit::HalfOpen { successes: *successes, permit: None };
        CircuitDoc { circuit, ..doc.clone() }.numbered(number)
    })
}

/// Nothing is held against the provider any more.
#[must_use]
pub fn reset(doc: &CircuitDoc, terms: Terms, cause: Cause, now: UnixMillis, number: u64) -> CircuitDoc {
    let mut next = doc.clone();
    next.drop_all(terms, cause, now, number);
    next.numbered(number)
}

/// Smart probing found the provider of an open breaker well; `None` when it is not open in this generation.
#[must_use]
pub fn probed(
    doc: &CircuitDoc,
    generation: u64,
    sample: &Sample,
    now: UnixMillis,
    number: u64,
) -> Option<CircuitDoc> {
    let is_it = doc.generation == generation && matches!(doc.circuit, Circuit::Open { .. });
    is_it.then(|| {
        let mut next = doc.clone();
        next.witness(sample);
        next.enter(Circuit::HalfOpen { successes: 0, permit: None }, Cause::Probed, now, number);
        next.numbered(number)
    })
}

/// What is kept when a node comes back with what it saw by itself; `None` when it has nothing to say. The later
/// generation is believed, all of it; within one, counts stay as the store has them, and cool-downs join.
#[must_use]
pub fn merged(kept: &CircuitDoc, local: &CircuitDoc, now: UnixMillis, number: u64) -> Option<CircuitDoc> {
    if local.generation > kept.generation {
        return Some(local.clone().numbered(number));
    }
    if local.generation < kept.generation || local.terms != kept.terms {
        return None;
    }
    let mut next = kept.clone();
    cooldown::join(&mut next.cooldowns, &local.cooldowns, now).then(|| next.numbered(number))
}

fn is_lapsed(permit: &Permit, now: UnixMillis, is_there: impl Fn(&str) -> bool) -> bool {
    now >= permit.until || !is_there(&permit.owner)
}

impl CircuitDoc {
    /// State under other terms is void.
    fn meet(&mut self, terms: Terms, now: UnixMillis, number: u64) -> bool {
        let is_void = self.terms != terms;
        if is_void {
            self.drop_all(terms, Cause::TermsChanged, now, number);
        }
        is_void
    }

    fn drop_all(&mut self, terms: Terms, cause: Cause, now: UnixMillis, number: u64) {
        self.terms = terms;
        self.samples.clear();
        self.cooldowns.clear();
        self.enter(Circuit::Closed { failures: 0 }, cause, now, number);
    }

    fn succeeded(&mut self, report: &Report, now: UnixMillis, number: u64) -> bool {
        let mut has_changed = cooldown::succeeded(&mut self.cooldowns, report.pass.seen);
        match &self.circuit {
            Circuit::Closed { failures } if *failures > 0 => {
                self.circuit = Circuit::Closed { failures: 0 };
                self.samples.clear();
                has_changed = true;
            }
            Circuit::HalfOpen { successes, permit } if is_probe(report, permit) => {
                let successes = successes.saturating_add(1);
                self.witness(&report.sample);
                if successes >= self.terms.half_open_success_threshold {
                    self.enter(Circuit::Closed { failures: 0 }, Cause::Recovered, now, number);
                } else {
                    self.circuit = Circuit::HalfOpen { successes, permit: None };
                }
                has_changed = true;
            }
            Circuit::Closed { .. } | Circuit::HalfOpen { .. } | Circuit::Open { .. } => {}
        }
        has_changed
    }

    fn failed(&mut self, report: &Report, now: UnixMillis, number: u64) -> bool {
        let threshold = self.terms.failure_threshold;
        let open = Circuit::Open { until: now.plus_ms(self.terms.open_duration_ms) };
        match &self.circuit {
            Circuit::Closed { failures } if threshold > 0 => {
                let failures = failures.saturating_add(1);
                if failures == 1 {
                    // What is there led to CLOSED, not to where this may lead.
                    self.samples.clear();
                }
                self.witness(&report.sample);
                if failures >= threshold {
                    self.enter(open, Cause::Failures, now, number);
                } else {
                    self.circuit = Circuit::Closed { failures };
                }
                true
            }
            Circuit::HalfOpen { permit, .. } if is_probe(report, permit) => {
                self.witness(&report.sample);
                self.enter(open, Cause::ProbeFailed, now, number);
                true
            }
            Circuit::Closed { .. } | Circuit::HalfOpen { .. } | Circuit::Open { .. } => false,
        }
    }

    fn came_to_nothing(&mut self, report: &Report) -> bool {
        match &self.circuit {
            Circuit::HalfOpen { successes, permit } if is_probe(report, permit) => {
                self.circuit = Circuit::HalfOpen { successes: *successes, permit: None };
                true
            }
            Circuit::Closed { .. } | Circuit::HalfOpen { .. } | Circuit::Open { .. } => false,
        }
    }

    fn enter(&mut self, circuit: Circuit, cause: Cause, now: UnixMillis, number: u64) {
        self.circuit = circuit;
        self.generation = number;
        self.cause = Some(cause);
        self.changed_at = Some(now);
    }

    fn witness(&mut self, sample: &Sample) {
        if self.samples.len() >= MAX_SAMPLES {
            self.samples.remove(0);
        }
        self.samples.push(sample.clone());
    }

    fn numbered(mut self, number: u64) -> Self {
        self.version = number;
        self
    }
}

fn is_probe(report: &Report, permit: &Option<Permit>) -> bool {
    permit.as_ref().is_some_and(|permit| Some(permit.fence) == report.pass.fence)
}

/// How much evidence is kept.
pub const MAX_SAMPLES: usize = 8;

#[cfg(test)]
mod tests;
