//! Once more, elsewhere, or enough: the bounds of a request's attempts, and what it ends with (design §5).
//!
//! [`Plan`] is the state of one request: tries at the current provider, switches, the one re-send after a
//! timer. [`ResendBudget`] is the state of one node. [`final_answer`] says what the seat gets when all failed.
//! Pure: `now` is an argument; nothing here knows providers, bytes or dialects.
//!
//! Bounds: at most `max_attempts` tries in a row at one provider; at most [`MAX_SWITCHES`] switches; nothing
//! after the deadline; a request cut by a timer is re-sent at most once; a re-send that may have cost an
//! upstream work takes a token from the budget. Refusals before work are free: eligible providers bound them.

use super::classify::{FailureClass, Next, Verdict};
use crate::time::UnixMillis;

/// How often a request may change its provider.
pub const MAX_SWITCHES: u32 = 20;

/// How far the attempts of one request have come.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    deadline: Option<UnixMillis>,
    attempts: u32,
    attempts_here: u32,
    attempts_before: u32,
    switches: u32,
    has_resent_after_timer: bool,
    rounds: u32,
}

/// What to do after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask the same provider again.
    SameProvider,
    /// Mark this provider as tried and draw another; nobody there = the end.
    OtherProvider,
    /// The same, but when nobody is there, [`Plan::return_to_last`] and ask this one again.
    OtherProviderElseSame,
    /// Enough.
    End(EndReason),
}

/// Why a request is not tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The request itself is at fault.
    RequestFault,
    /// The deadline has come.
    Deadline,
    /// A timer cut it a second time.
    TimedOutTwice,
    /// [`MAX_SWITCHES`] are used up.
    Switches,
    /// The node re-sends too much already.
    ResendBudget,
}

impl EndReason {
    /// The name used in decision chains.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::RequestFault => "request_fault",
            Self::Deadline => "deadline",
            Self::TimedOutTwice => "timed_out_twice",
            Self::Switches => "switches",
            Self::ResendBudget => "resend_budget",
        }
    }
}

impl Plan {
    /// A request that was not tried yet; after `deadline` (`None`: never) nothing is re-sent.
    #[must_use]
    pub fn new(deadline: Option<UnixMillis>) -> Self {
        Self { deadline, ..Self::default() }
    }

    /// The number that the next attempt will have.
    #[must_use]
    pub fn next(&self) -> u32 {
        self.attempts.saturating_add(1)
    }

    /// Counts an attempt that begins; returns its number in the request, from 1.
    pub fn begin(&mut self) -> u32 {
        self.attempts = self.attempts.saturating_add(1);
        self.attempts_here = self.attempts_here.saturating_add(1);
        self.attempts
    }

    /// Decides what follows a failed attempt. `max_attempts` is that provider's.
    pub fn after(
        &mut self,
        verdict: &Verdict,
        max_attempts: u32,
        budget: &mut ResendBudget,
        now: UnixMillis,
    ) -> Step {
        let has_try_left = self.attempts_here < max_attempts;
        let step = match verdict.next {
            Next::Stop => return Step::End(EndReason::RequestFault),
            Next::RetrySameProvider if has_try_left => Step::SameProvider,
            Next::NextProviderElseSame if has_try_left => Step::OtherProviderElseSame,
            Next::RetrySameProvider | Next::NextProvider | Next::NextProviderElseSame => Step::OtherProvider,
        };
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            return Step::End(EndReason::Deadline);
        }
        let is_timer = verdict.class == FailureClass::Timeout;
        if is_timer && self.has_resent_after_timer {
            return Step::End(EndReason::TimedOutTwice);
        }
        if step != Step::SameProvider && self.switches >= MAX_SWITCHES {
            return Step::End(EndReason::Switches);
        }
        if verdict.may_have_cost_work && !budget.try_spend(now) {
            return Step::End(EndReason::ResendBudget);
        }
        self.has_resent_after_timer |= is_timer;
        if step != Step::SameProvider {
            self.switches += 1;
            self.attempts_before = std::mem::take(&mut self.attempts_here);
        }
        step
    }

    /// Nobody is left, but the seat's stream has begun, so that its client will not ask again by itself: how many
    /// milliseconds to wait before all are asked once more; `None` when that is worth nothing or there is no time.
    pub fn next_round(&mut self, failed: &[FailedAttempt], now: UnixMillis) -> Option<u64> {
        if failed.is_empty() || matches!(final_answer(failed), FinalAnswer::Relay { .. }) {
            return None;
        }
        let told_ms =
            failed.iter().filter_map(|a| a.retry_after_secs).min().unwrap_or(0).saturating_mul(1_000);
        let wait_ms = told_ms.max(ROUND_PAUSE_MS << self.rounds.min(MAX_ROUND_DOUBLINGS));
        let is_in_time = self.deadline.is_some_and(|deadline| now.plus_ms(wait_ms) < deadline);
        if !is_in_time || self.switches >= MAX_SWITCHES {
            return None;
        }
        self.rounds += 1;
        self.attempts_here = 0;
        Some(wait_ms)
    }

    /// Nobody else was there after [`Step::OtherProviderElseSame`]: the last provider is asked again, and
    /// its earlier tries still count.
    pub fn return_to_last(&mut self) {
        self.switches = self.switches.saturating_sub(1);
        self.attempts_here = self.attempts_before;
    }
}

/// When the client of a request gives up, by the first of its SDK's own words that is a time in seconds: `x-stainless-timeout` has
/// that of the request, and is no number where only the client has one; `x-stainless-read-timeout` has what is in force, and is all
/// that OpenAI's says in Python. Without one, after the ten minutes that all of the vendors' SDKs wait (reference/protocols.md).
/// Nothing is tried again after that.
#[must_use]
pub fn caller_deadline<'a>(arrived_at: UnixMillis, told: impl IntoIterator<Item = &'a str>) -> UnixMillis {
    let mut told = told.into_iter().filter_map(|text| text.trim().parse::<f64>().ok());
    let secs = told.find(|secs| (1.0..=86_400.0).contains(secs)).unwrap_or(SDK_TIMEOUT_SECS);
    arrived_at.plus_ms(std::time::Duration::from_secs_f64(secs).as_millis().try_into().unwrap_or(u64::MAX))
}

/// How much a node may re-send: a token bucket that earns a fifth of a token per request, or ten a second if
/// that is more, and holds at most [`ResendBudget::BURST`]. So over any span of `t` seconds with `n`
/// requests the re-sends stay below `BURST + 10·t + n/5`, and an outage is not answered by a storm.
#[derive(Clone, Debug)]
pub struct ResendBudget {
    /// Thousandths of a token.
    millitokens: u64,
    /// When time was last paid for.
    paid_until: UnixMillis,
}

impl ResendBudget {
    /// The most tokens it holds: ten seconds of the least rate.
    pub const BURST: u64 = 100;

    /// A full bucket.
    #[must_use]
    pub fn new(now: UnixMillis) -> Self {
        Self { millitokens: Self::BURST * 1_000, paid_until: now }
    }

    /// Counts a request that arrives (not its re-sends).
    pub fn on_request(&mut self, now: UnixMillis) {
        let by_time = self.pay_time(now);
        self.add(MILLITOKENS_PER_REQUEST.saturating_sub(by_time));
    }

    /// Takes a token for a re-send, if there is one.
    pub fn try_spend(&mut self, now: UnixMillis) -> bool {
        self.pay_time(now);
        let rest = self.millitokens.checked_sub(1_000);
        self.millitokens = rest.unwrap_or(self.millitokens);
        rest.is_some()
    }

    fn pay_time(&mut self, now: UnixMillis) -> u64 {
        // A clock that goes back pays nothing and is taken as it is.
        let earned = now.since(self.paid_until).saturating_mul(MILLITOKENS_PER_MS);
        self.paid_until = now;
        self.add(earned);
        earned
    }

    fn add(&mut self, millitokens: u64) {
        self.millitokens = self.millitokens.saturating_add(millitokens).min(Self::BURST * 1_000);
    }
}

/// A failed attempt, as far as the final answer goes by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailedAttempt {
    /// What its end meant.
    pub verdict: Verdict,
    /// How long the upstream asked to wait.
    pub retry_after_secs: Option<u64>,
}

/// What a seat gets when no attempt succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FinalAnswer {
    /// The answer of this attempt (its place in the list), status and body unmodified.
    Relay {
        /// Whose.
        attempt: usize,
    },
    /// 429 in dialect: every account was at its rate.
    RateLimited {
        /// When the first of them is free again.
        retry_after_secs: u64,
    },
    /// 503 in dialect.
    Unavailable {
        /// What went wrong, each word once, in the order it came up; empty when nobody was tried.
        reasons: Vec<&'static str>,
        /// The shortest wait an upstream asked for.
        retry_after_secs: Option<u64>,
    },
}

/// What the seat gets after these attempts, all failed, in their order.
///
/// A request's fault ends with the upstream's own words. So does a model (or a path) that *every* provider
/// says it does not have: the first body, which is what the seat would have read without a gateway. When all
/// refused for their rate, the honest answer is a 429 with the shortest wait; but in our words, because the
/// upstream's name its account. All else is a 503 that names the classes.
#[must_use]
pub fn final_answer(attempts: &[FailedAttempt]) -> FinalAnswer {
    let class = |a: &FailedAttempt| a.verdict.class;
    let is_missing =
        |a: &FailedAttempt| matches!(class(a), FailureClass::ModelMissing | FailureClass::NotFound);
    if let Some(attempt) = attempts.iter().position(|a| a.verdict.next == Next::Stop) {
        return FinalAnswer::Relay { attempt };
    }
    if !attempts.is_empty() && attempts.iter().all(is_missing) {
        let about_model = attempts.iter().position(|a| class(a) == FailureClass::ModelMissing);
        return FinalAnswer::Relay { attempt: about_model.unwrap_or(0) };
    }
    let shortest_wait = attempts.iter().filter_map(|a| a.retry_after_secs).min();
    if !attempts.is_empty() && attempts.iter().all(|a| class(a) == FailureClass::RateLimit) {
        return FinalAnswer::RateLimited { retry_after_secs: shortest_wait.unwrap_or(UNTOLD_WAIT_SECS) };
    }
    let mut reasons: Vec<&'static str> = Vec::new();
    for reason in attempts.iter().map(|a| class(a).public_label()) {
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    FinalAnswer::Unavailable { reasons, retry_after_secs: shortest_wait }
}

/// The first pause before all providers are asked once more; it doubles up to 16 s.
const ROUND_PAUSE_MS: u64 = 1_000;
const MAX_ROUND_DOUBLINGS: u32 = 4;
const SDK_TIMEOUT_SECS: f64 = 600.0;

/// 20 % of a token.
const MILLITOKENS_PER_REQUEST: u64 = 200;

/// Ten tokens a second.
const MILLITOKENS_PER_MS: u64 = 10;

/// What a rate-limited seat waits when no upstream said how long.
pub const UNTOLD_WAIT_SECS: u64 = 5;

#[cfg(test)]
mod tests;
