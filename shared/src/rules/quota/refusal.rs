//! A refusal in the words of logs and of people.

use super::words::{Refusal, RequestsNow, ScopeId, What, WindowNow};
use crate::money::NanoUsd;
use crate::time::UnixMillis;

impl WindowNow {
    /// Nothing has room in it any more.
    #[must_use]
    pub fn is_used_up(&self) -> bool {
        self.spent + self.held >= self.limit
    }

    /// The refusal of what needs so much, as this window stands.
    #[must_use]
    pub fn refusal(&self, need: NanoUsd) -> Refusal {
        let Self { scope, kind, limit, spent, held, escrowed, resets_at, .. } = *self;
        Refusal { scope, what: What::Money { kind, limit, spent, held, escrowed, need }, resets_at }
    }
}

impl RequestsNow {
    /// How many more there may be now.
    #[must_use]
    pub fn remaining(&self) -> u32 {
        self.limit.saturating_sub(self.current)
    }
}

impl Refusal {
    /// The stable word for `blocked_by` and `code`: the limit's name in the API, without its unit.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self.what {
            What::Money { kind, .. } => kind.limit_name(),
            What::Requests { .. } => "rpm_limit",
            What::Sessions { .. } => "limit_concurrent_sessions",
        }
    }

    /// True for a limit on money, which a client does not wait for; the others pass in seconds or minutes.
    #[must_use]
    pub fn is_money(&self) -> bool {
        matches!(self.what, What::Money { .. })
    }

    /// True when nodes may have put aside ahead what this request could have: they give it back when they are asked.
    #[must_use]
    pub fn may_be_in_escrow(&self) -> bool {
        self.fits_when_back(self.escrowed())
    }

    /// What of the window is put aside ahead, here and at other nodes; nothing, where money is not what stands against it.
    #[must_use]
    pub fn escrowed(&self) -> NanoUsd {
        match self.what {
            What::Money { escrowed, .. } => escrowed,
            What::Requests { .. } | What::Sessions { .. } => NanoUsd::ZERO,
        }
    }

    /// Would there be room for it, if so much of what is held came back?
    #[must_use]
    pub fn fits_when_back(&self, back: NanoUsd) -> bool {
        let What::Money { limit, spent, held, need, .. } = self.what else { return false };
        back > NanoUsd::ZERO && spent < limit && spent + held + need <= limit + back
    }

    /// Seconds until it may be let in, at least 1; `None`: nobody knows, or never.
    #[must_use]
    pub fn retry_after_secs(&self, now: UnixMillis) -> Option<u64> {
        self.resets_at.map(|resets_at| resets_at.since(now).div_ceil(1_000).max(1))
    }

    /// What the caller reads: limit, current, and when it opens again.
    #[must_use]
    pub fn message(&self) -> String {
        let whose = match self.scope {
            ScopeId::Owner => "user",
            ScopeId::Key(_) => "key",
        };
        let opens = match self.resets_at {
            Some(at) => format!(" It opens again at {}.", at.to_rfc3339_secs()),
            None => String::new(),
        };
        match self.what {
            What::Money { kind, limit, spent, held, need, .. } => {
                let name = kind.in_words();
                let running = match held.0 {
                    0 => String::new(),
                    _ => format!(", ${held} are held by requests that run"),
                };
                if spent >= limit {
                    return format!(
                        "The {name} of this {whose} is used up: ${spent} of ${limit} are spent.{opens}"
                    );
                }
                // Whoever asks for nobody's request in particular.
                let cost = match need.0 {
                    0 => String::new(),
                    _ => format!(", and it may cost ${need}"),
                };
                format!(
                    "The {name} of this {whose} has no room for this request: ${spent} of ${limit} are spent{running}{cost}.\
                     {opens}"
                )
            }
            What::Requests { limit, current } => format!(
                "This {whose} is at its limit of requests: {current} of {limit} in the last minute.{opens}"
            ),
            What::Sessions { limit, current } => format!(
                "This {whose} is at its limit of concurrent sessions: {current} of {limit} are active.{opens}"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::KeyId;
    use crate::rules::quota::Kind;

    fn money(spent: i64, held: i64, resets_at: Option<i64>) -> Refusal {
        let what = What::Money {
            kind: Kind::Daily,
            limit: NanoUsd(10_000_000_000),
            spent: NanoUsd(spent),
            held: NanoUsd(held),
            escrowed: NanoUsd(0),
            need: NanoUsd(500_000_000),
        };
        Refusal { scope: ScopeId::Owner, what, resets_at: resets_at.map(UnixMillis) }
    }

    #[test]
    fn a_refusal_names_limit_current_and_reset() {
        let midnight = Some(1_790_035_200_000);
        for (refusal, label, message) in [
            (
                money(10_000_000_000, 0, midnight),
                "limit_daily",
                "The daily budget of this user is used up: $10.00 of $10.00 are spent. It opens again at \
                 2026-09-22T00:00:00Z.",
            ),
            (
                money(9_000_000_000, 750_000_000, None),
                "limit_daily",
                "The daily budget of this user has no room for this request: $9.00 of $10.00 are spent, $0.75 are \
                 held by requests that run, and it may cost $0.50.",
            ),
            (
                Refusal {
                    scope: ScopeId::Key(KeyId(1)),
                    what: What::Requests { limit: 60, current: 60 },
                    resets_at: None,
                },
                "rpm_limit",
                "This key is at its limit of requests: 60 of 60 in the last minute.",
            ),
            (
                Refusal {
                    scope: ScopeId::Owner,
                    what: What::Sessions { limit: 2, current: 2 },
                    resets_at: midnight.map(UnixMillis),
                },
                "limit_concurrent_sessions",
                "This user is at its limit of concurrent sessions: 2 of 2 are active. It opens again at \
                 2026-09-22T00:00:00Z.",
            ),
        ] {
            assert_eq!((refusal.label(), refusal.message().as_str()), (label, message));
        }
    }

    #[test]
    fn a_window_is_used_up_when_what_is_spent_and_held_fills_it_and_refuses_in_its_own_words() {
        let window = |spent, held| WindowNow {
            scope: ScopeId::Owner,
            kind: Kind::Daily,
            limit: NanoUsd(10_000_000_000),
            spent: NanoUsd(spent),
            held: NanoUsd(held),
            escrowed: NanoUsd(0),
            starts_at: None,
            resets_at: Some(UnixMillis(7)),
        };
        let used_up = |spent, held| window(spent, held).is_used_up();
        assert_eq!(
            [
                used_up(10_000_000_000, 0),
                used_up(9_000_000_000, 1_000_000_000),
                used_up(9_000_000_000, 999_999_999)
            ],
            [true, true, false]
        );
        let refusal = window(9_000_000_000, 750_000_000).refusal(NanoUsd(500_000_000));
        assert_eq!(refusal, money(9_000_000_000, 750_000_000, Some(7)));
    }

    #[test]
    fn what_is_in_escrow_is_asked_back_where_all_of_it_makes_room() {
        let refusal = |spent, escrowed| Refusal {
            scope: ScopeId::Owner,
            what: What::Money {
                kind: Kind::Total,
                limit: NanoUsd(100),
                spent: NanoUsd(spent),
                held: NanoUsd(50),
                escrowed: NanoUsd(escrowed),
                need: NanoUsd(10),
            },
            resets_at: None,
        };
        let may_be = |spent, escrowed| refusal(spent, escrowed).may_be_in_escrow();
        assert_eq!(
            [may_be(41, 0), may_be(41, 1), may_be(60, 20), may_be(60, 19), may_be(100, 50)],
            [false, true, true, false, false]
        );
        let what = What::Sessions { limit: 1, current: 1 };
        assert!(!Refusal { what, ..refusal(41, 1) }.may_be_in_escrow());
    }

    #[test]
    fn a_wait_is_whole_seconds_and_never_none() {
        let wait = |resets_at| money(0, 0, resets_at).retry_after_secs(UnixMillis(10_000));
        assert_eq!(wait(None), None);
        assert_eq!([wait(Some(9_000)), wait(Some(10_001)), wait(Some(12_001))], [Some(1), Some(1), Some(3)]);
    }
}
