//! A breaker around a far side that must not be waited for: Redis.
//!
//! Trip: two failures in a row, the second of a call that began within [`WINDOW_MS`] of the first one's end;
//! one busy moment is none. While open, calls are refused at once, so
//! that an absence costs microseconds instead of deadlines. Recovery: after a pause one call is let through to
//! probe; its success closes the breaker, its failure doubles the pause, from [`FIRST_PAUSE_MS`] up to
//! [`LONGEST_PAUSE_MS`]. A probe that never reports (its caller was dropped) is given up after the longest
//! pause. Knows nothing of sockets or deadlines.
//!
//! What counts as a failure is decided here too: [`is_answer`].

use crate::time::UnixMillis;

/// How a link stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkBreaker {
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed { failed_at: Option<UnixMillis> },
    Open { until: UnixMillis, pause_ms: u64 },
    Probing { since: UnixMillis, pause_ms: u64 },
}

impl Default for State {
    fn default() -> Self {
        Self::Closed { failed_at: None }
    }
}

impl LinkBreaker {
    /// May a call go out? The one that is let through while the breaker is open is the probe.
    pub fn admit(&mut self, now: UnixMillis) -> bool {
        match self.state {
            State::Closed { .. } => true,
            State::Open { until, pause_ms } => {
                let is_due = now >= until;
                if is_due {
                    self.state = State::Probing { since: now, pause_ms };
                }
                is_due
            }
            State::Probing { since, pause_ms } => {
                let is_lost = now.since(since) >= LONGEST_PAUSE_MS;
                if is_lost {
                    self.state = State::Probing { since: now, pause_ms };
                }
                is_lost
            }
        }
    }

    /// A call was answered. True when that closed the breaker.
    pub fn succeeded(&mut self) -> bool {
        let was_open = !matches!(self.state, State::Closed { .. });
        self.state = State::default();
        was_open
    }

    /// A call that began at `began` was not answered. True when that opened the breaker.
    pub fn failed(&mut self, began: UnixMillis, now: UnixMillis) -> bool {
        let open = |pause_ms: u64| State::Open { until: now.plus_ms(pause_ms), pause_ms };
        let (state, has_opened) = match self.state {
            State::Closed { failed_at: Some(at) } if began.since(at) <= WINDOW_MS => {
                (open(FIRST_PAUSE_MS), true)
            }
            State::Closed { .. } => (State::Closed { failed_at: Some(now) }, false),
            // A straggler from before it opened changes nothing.
            State::Open { .. } => (self.state, false),
            State::Probing { pause_ms, .. } => (open((pause_ms * 2).min(LONGEST_PAUSE_MS)), false),
        };
        self.state = state;
        has_opened
    }

    /// True while calls are refused, but for the probe.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !matches!(self.state, State::Closed { .. })
    }
}

/// How a call went wrong, by what the client library says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallError {
    /// Redis answered with an error, or the client refused the call itself.
    Reply,
    /// Redis wants to know first who calls.
    NotKnown,
    /// The answer is another node's to give.
    Elsewhere,
    /// No connection, no answer in time, or nothing that can be read.
    NoAnswer,
}

/// True for what Redis itself said and would say again: the call is refused, the link is sound. `code` is the first
/// word of the message.
#[must_use]
pub fn is_answer(error: CallError, code: &str) -> bool {
    match error {
        CallError::Reply => !PASSING_CODES.contains(&code),
        CallError::NotKnown | CallError::Elsewhere | CallError::NoAnswer => false,
    }
}

/// What Redis says while it cannot serve yet: it loads its data, waits for its master, is one's replica, or runs
/// somebody's endless script.
const PASSING_CODES: [&str; 6] = ["LOADING", "MASTERDOWN", "READONLY", "CLUSTERDOWN", "TRYAGAIN", "BUSY"];
/// A second call in this time after a failure that fails as well opens the breaker (design §13).
pub const WINDOW_MS: u64 = 100;
/// The first pause before a probe.
pub const FIRST_PAUSE_MS: u64 = 50;
/// The longest pause between probes: how late a return may be noticed.
pub const LONGEST_PAUSE_MS: u64 = 500;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ms: i64) -> UnixMillis {
        UnixMillis(ms)
    }

    #[test]
    fn one_busy_moment_is_none_two_close_together_open_it() {
        let mut breaker = LinkBreaker::default();
        assert!(!breaker.failed(at(0), at(250)) && breaker.admit(at(250)));
        assert!(!breaker.failed(at(351), at(400)) && breaker.admit(at(400)));
        breaker.succeeded();
        assert!(!breaker.failed(at(400), at(450)) && breaker.admit(at(450)));
        assert!(breaker.failed(at(420), at(460)));
        assert!(!breaker.admit(at(509)) && breaker.is_open());
    }

    #[test]
    fn one_caller_that_waits_out_its_deadline_twice_opens_it() {
        let mut breaker = LinkBreaker::default();
        assert!(!breaker.failed(at(0), at(250)));
        assert!(breaker.failed(at(250), at(500)));
    }

    #[test]
    fn one_probe_goes_through_and_decides() {
        let mut breaker = LinkBreaker::default();
        breaker.failed(at(0), at(0));
        breaker.failed(at(0), at(0));
        assert!(breaker.admit(at(50)) && !breaker.admit(at(50)));
        assert!(!breaker.failed(at(50), at(60)));
        assert!(!breaker.admit(at(159)) && breaker.admit(at(160)), "the pause doubles");
        assert!(breaker.succeeded() && breaker.admit(at(161)) && breaker.admit(at(161)));
        assert!(!breaker.succeeded());
    }

    #[test]
    fn a_refusal_is_an_answer_and_what_passes_is_none() {
        for code in ["ERR", "OOM", "NOPERM", "WRONGTYPE", "MISCONF", "BUSYGROUP", "NOGROUP", ""] {
            assert!(is_answer(CallError::Reply, code), "{code}");
        }
        for code in PASSING_CODES {
            assert!(!is_answer(CallError::Reply, code), "{code}");
        }
        for error in [CallError::NotKnown, CallError::Elsewhere, CallError::NoAnswer] {
            assert!(!is_answer(error, "ERR"), "{error:?}");
        }
    }

    #[test]
    fn a_probe_that_never_reports_is_given_up() {
        let mut breaker = LinkBreaker::default();
        breaker.failed(at(0), at(0));
        breaker.failed(at(0), at(0));
        assert!(breaker.admit(at(50)));
        assert!(!breaker.admit(at(549)) && breaker.admit(at(550)));
    }

    proptest! {
        /// Whatever happened before: who keeps asking is let through within the longest pause.
        #[test]
        fn it_never_stays_shut(steps in prop::collection::vec((0..3_u8, 0..200_i64), 0..60)) {
            let mut breaker = LinkBreaker::default();
            let mut now = 0;
            for (step, wait) in steps {
                now += wait;
                match step {
                    0 => { breaker.admit(at(now)); }
                    1 => { breaker.failed(at(now - 1), at(now)); }
                    _ => { breaker.succeeded(); }
                }
            }
            let longest = i64::try_from(LONGEST_PAUSE_MS).unwrap();
            prop_assert!((now..=now + longest).any(|ms| breaker.admit(at(ms))));
        }
    }
}
