//! What stands against every request of an account, by how its limits stand: for whoever explains. Whether a certain request
//! is let in is for [`Account`](super::Account) alone to say; here nothing is counted and nothing put aside.

use super::words::{Refusal, RequestsNow, ScopeId, SessionsNow, Standing, What};
use super::{Kind, WindowNow};
use crate::money::NanoUsd;

/// What a request counts for, beside its money.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// For the requests of a minute.
    pub is_request: bool,
    /// For the conversations at a time, as one that has no place yet.
    pub is_new_session: bool,
}

impl Standing {
    /// The first limit that stands against each request that counts so, however little it costs, in the order of
    /// [`Account::admit`](super::Account::admit). What nodes put aside ahead stands against nobody: they give it back. Whoever
    /// is at the requests of a minute may come in sooner than `resets_at`, never later.
    #[must_use]
    pub fn refusal(&self, counts: Counts) -> Option<Refusal> {
        let money = |kind| {
            let windows = self.windows.iter().filter(|window| window.kind == kind && window.is_used_up());
            key_first(windows.map(|window: &WindowNow| window.refusal(NanoUsd::ZERO)))
                .into_iter()
                .find(|refusal| !refusal.may_be_in_escrow())
        };
        let sessions = || {
            let full = |now: &&SessionsNow| counts.is_new_session && now.current >= now.limit;
            key_first(self.sessions.iter().filter(full).map(SessionsNow::refusal)).into_iter().next()
        };
        let requests = || {
            let full = |now: &&RequestsNow| counts.is_request && now.remaining() == 0;
            key_first(self.requests.iter().filter(full).map(RequestsNow::refusal)).into_iter().next()
        };
        let [total, rest @ ..] = Kind::ALL;
        money(total).or_else(sessions).or_else(requests).or_else(|| rest.into_iter().find_map(money))
    }
}

impl RequestsNow {
    fn refusal(&self) -> Refusal {
        let what = What::Requests { limit: self.limit, current: self.current };
        Refusal { scope: self.scope, what, resets_at: self.resets_at }
    }
}

impl SessionsNow {
    fn refusal(&self) -> Refusal {
        let what = What::Sessions { limit: self.limit, current: self.current };
        Refusal { scope: self.scope, what, resets_at: None }
    }
}

/// As a request's scopes are looked at.
fn key_first(refusals: impl Iterator<Item = Refusal>) -> Vec<Refusal> {
    let mut refusals: Vec<_> = refusals.collect();
    refusals.sort_by_key(|refusal| refusal.scope == ScopeId::Owner);
    refusals
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{JournalId, KeyId, RequestId};
    use crate::model::Limits;
    use crate::rules::quota::{Account, Admission, Ahead, Ask, HoldId, Terms};
    use crate::time::{UnixMillis, Zone};
    use proptest::prelude::*;

    const NOW: UnixMillis = UnixMillis(1_790_000_000_000);

    fn ask(number: u64, scopes: &[(ScopeId, Terms)], need: i64, session: u64) -> Ask {
        Ask {
            hold: HoldId(RequestId::from_parts(number, &[0; 10]), 0),
            owner: JournalId::from_parts(NOW, &[1; 10]),
            need: NanoUsd(need),
            lives_ms: 900_000,
            scopes: scopes.to_vec(),
            is_counted: true,
            session: Some((session, 300_000)),
            escrow: None,
        }
    }

    fn any_limits() -> impl Strategy<Value = Limits> {
        let money = || prop::option::of(1_i64..6);
        let count = || prop::option::of(1_u32..6);
        (money(), money(), money(), count(), count()).prop_map(
            |(total, daily, weekly, requests, sessions)| Limits {
                total: total.map(NanoUsd),
                daily: daily.map(NanoUsd),
                weekly: weekly.map(NanoUsd),
                requests_per_minute: requests,
                concurrent_sessions: sessions,
                ..Limits::default()
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// Held to what an account says to the least that can be asked for.
        #[test]
        fn it_is_the_refusal_of_the_least_request(
            of_user in any_limits(),
            of_key in any_limits(),
            asks in prop::collection::vec((0_i64..3, 0_u64..6), 0..8),
            session in 0_u64..8,
        ) {
            let terms = |limits: &Limits| Terms::of(limits, &Zone::default(), NOW);
            let scopes = [(ScopeId::Key(KeyId(1)), terms(&of_key)), (ScopeId::Owner, terms(&of_user))];
            let mut account = Account::new(1);
            let mut known = Vec::new();
            for (number, (need, of)) in (0..).zip(asks) {
                if let Admission::Admitted { .. } = account.admit(&ask(number, &scopes, need, of), 1, NOW) {
                    known.push(of);
                }
            }
            // The order in which limits are shown is another one.
            let shown = [scopes[1].clone(), scopes[0].clone()];
            let counts = Counts { is_request: true, is_new_session: !known.contains(&session) };
            let told = account.standing(&shown, NOW).refusal(counts);
            let said = match account.admit(&ask(99, &scopes, 1, session), 1, NOW) {
                Admission::Refused(refusal) => Some(refusal),
                _ => None,
            };
            prop_assert_eq!(told.map(|refusal| (refusal.label(), refusal.scope)), said.map(|r| (r.label(), r.scope)));
            if let (Some(told), Some(said)) = (told, said) && !said.is_money() {
                prop_assert_eq!(told.what, said.what);
                prop_assert!(told.resets_at.is_none() || told.resets_at >= said.resets_at);
            }
        }
    }

    #[test]
    fn what_is_put_aside_ahead_stands_against_nobody() {
        let limits = Limits { total: Some(NanoUsd(100)), ..Limits::default() };
        let scopes = [(ScopeId::Owner, Terms::of(&limits, &Zone::default(), NOW))];
        let mut account = Account::new(1);
        let escrow = Some(Ahead { worth: NanoUsd(1_000), nodes: 1 });
        let admitted = account.admit(&Ask { escrow, ..ask(1, &scopes, 10, 1) }, 1, NOW);
        assert!(matches!(admitted, Admission::Admitted { .. }));
        let standing = account.standing(&scopes, NOW);
        assert!(standing.windows[0].escrowed > NanoUsd::ZERO);
        let counts = Counts { is_request: true, is_new_session: true };
        assert_eq!(standing.refusal(counts), None);
        let mut full = standing;
        full.windows[0].spent = NanoUsd(100);
        assert_eq!(full.refusal(counts).map(|refusal| refusal.label()), Some("limit_total"));
    }
}
