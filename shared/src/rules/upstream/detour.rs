//! When a provider is reached without its proxy.
//!
//! The time for a connection is that of both ways together: the proxy has half of it, the direct way what is left. Only a
//! failure of the proxy itself leads to the direct way: what the provider's own server refuses there, it refuses here too.

use super::proxy::ProxyFailure;
use std::time::Duration;

/// What is known before a provider is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detour {
    /// True when it may be reached without its proxy.
    pub has_other_way: bool,
    /// True when its proxy let somebody wait in vain a short while ago.
    pub is_hung: bool,
}

/// What is done first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstTry {
    /// The usual way is tried for so long.
    Usual(Duration),
    /// The proxy is left out, for what it failed with before.
    Direct(ProxyFailure),
}

/// What follows a try on the usual way that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextTry {
    /// That was all.
    GiveUp,
    /// The direct way, because of the proxy.
    Direct {
        /// What it failed with.
        after: ProxyFailure,
        /// True when the next requests should not wait for it either.
        is_hung: bool,
    },
}

impl Detour {
    /// What is done first, when both ways together have `limit`.
    #[must_use]
    pub fn first(self, limit: Duration) -> FirstTry {
        match self {
            Self { has_other_way: true, is_hung: true } => FirstTry::Direct(ProxyFailure::TimedOut),
            Self { has_other_way: true, is_hung: false } => FirstTry::Usual(limit / 2),
            // Where there is no other way the proxy is asked each time.
            Self { has_other_way: false, .. } => FirstTry::Usual(limit),
        }
    }

    /// What follows a failure on the usual way; `proxy`: it was its proxy's.
    #[must_use]
    pub fn after(self, proxy: Option<ProxyFailure>) -> NextTry {
        match proxy {
            Some(after) if self.has_other_way => {
                NextTry::Direct { after, is_hung: after == ProxyFailure::TimedOut }
            }
            Some(_) | None => NextTry::GiveUp,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);
    const BOTH: Detour = Detour { has_other_way: true, is_hung: false };
    const ONE: Detour = Detour { has_other_way: false, is_hung: false };
    const FAILURES: [ProxyFailure; 6] = [
        ProxyFailure::Unreachable,
        ProxyFailure::TimedOut,
        ProxyFailure::Tls,
        ProxyFailure::Auth,
        ProxyFailure::Refused,
        ProxyFailure::Protocol,
    ];

    #[test]
    fn a_proxy_that_hangs_leaves_time_for_the_direct_way() {
        assert_eq!(BOTH.first(LIMIT), FirstTry::Usual(LIMIT / 2));
        assert_eq!(ONE.first(LIMIT), FirstTry::Usual(LIMIT));
    }

    #[test]
    fn a_proxy_that_hung_is_left_out_only_where_there_is_another_way() {
        let hung = |way: Detour| Detour { is_hung: true, ..way }.first(LIMIT);
        assert_eq!(hung(BOTH), FirstTry::Direct(ProxyFailure::TimedOut));
        assert_eq!(hung(ONE), FirstTry::Usual(LIMIT));
    }

    #[test]
    fn each_failure_of_the_proxy_leads_to_the_direct_way_and_only_hanging_is_remembered() {
        for after in FAILURES {
            let is_hung = after == ProxyFailure::TimedOut;
            assert_eq!(BOTH.after(Some(after)), NextTry::Direct { after, is_hung });
            assert_eq!(ONE.after(Some(after)), NextTry::GiveUp);
        }
    }

    #[test]
    fn what_the_server_itself_refuses_is_not_tried_again() {
        assert_eq!(BOTH.after(None), NextTry::GiveUp);
    }
}
