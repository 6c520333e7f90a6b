//! Budgets while their store is away (design §7, `REDIS_OUTAGE_POLICY`).

use super::scope::Scope;
use super::window::{Kind, Terms, Window};
use super::words::{ScopeId, Standing, WindowNow};
use crate::money::NanoUsd;
use crate::time::UnixMillis;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What budgets do while their store is away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutagePolicy {
    /// What is only expected goes on within this node's share of what was left; what is strict waits.
    #[default]
    Bounded,
    /// Everything goes on.
    Open,
    /// Everything waits.
    Closed,
}

impl OutagePolicy {
    /// The policy of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "bounded" => Some(Self::Bounded),
            "open" => Some(Self::Open),
            "closed" => Some(Self::Closed),
            _ => None,
        }
    }
}

/// How each window stood when the store was last heard of it.
#[derive(Clone, Debug, Default)]
pub struct Heard(BTreeMap<(ScopeId, Kind), WindowNow>);

impl Heard {
    /// The store has said this, of those whose limits counted then.
    pub fn hear(&mut self, standing: &Standing) {
        self.0.extend(standing.windows.iter().map(|window| ((window.scope, window.kind), *window)));
    }

    /// How a window stands, as far as is known. One that the store was never heard of, or that has begun anew since, is unspent: its
    /// limit is known from the configuration.
    fn now(&self, scope: ScopeId, window: &Window, now: UnixMillis) -> WindowNow {
        let unspent = Scope::default().window_now(scope, window, now);
        let Some(heard) = self.0.get(&(scope, window.kind)) else { return unspent };
        let is_over = heard.resets_at.is_some_and(|resets_at| resets_at <= now);
        let is_reset = window
            .reset_at
            .is_some_and(|at| at <= now && heard.starts_at.is_none_or(|starts_at| starts_at < at));
        match is_over || is_reset {
            true => WindowNow { held: heard.held, escrowed: heard.escrowed, ..unspent },
            false => WindowNow { limit: window.limit, ..*heard },
        }
    }
}

/// What a node knows by itself.
#[derive(Clone, Copy, Debug)]
pub struct Alone<'a> {
    /// Whose limits count, as they are configured, in the order in which they are looked at.
    pub scopes: &'a [(ScopeId, Terms)],
    /// What the store has said of them.
    pub heard: &'a Heard,
    /// What this node's requests have cost since then, and what is put aside for those that run.
    pub own: NanoUsd,
    /// Gateways that were there, this one included.
    pub nodes: u32,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Go,
    /// This node's share of what was left is used up.
    UsedUp(WindowNow),
    /// Nobody can say what is left: 429 `quota_unreachable`, to be tried again soon.
    Unreachable,
}

/// Decides without the store. Each node may spend an equal share of what was left in a window when it was last heard of, so that
/// all together do not spend more; one that has begun anew since, or was never heard of, is whole.
#[must_use]
pub fn without_store(
    policy: OutagePolicy,
    is_strict: bool,
    alone: &Alone<'_>,
    need: NanoUsd,
    now: UnixMillis,
) -> Verdict {
    match policy {
        OutagePolicy::Open => return Verdict::Go,
        OutagePolicy::Closed => return Verdict::Unreachable,
        OutagePolicy::Bounded if is_strict => return Verdict::Unreachable,
        OutagePolicy::Bounded => {}
    }
    let wanted = alone.own.0.saturating_add(need.0);
    let windows = alone
        .scopes
        .iter()
        .flat_map(|(scope, terms)| terms.windows().map(|window| alone.heard.now(*scope, &window, now)));
    let mut over = windows.filter(|window| wanted > share(window, alone.nodes));
    over.next().map_or(Verdict::Go, Verdict::UsedUp)
}

fn share(window: &WindowNow, nodes: u32) -> i64 {
    let left = window.limit.0.saturating_sub(window.spent.0).saturating_sub(window.held.0);
    left.max(0) / i64::from(nodes.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::KeyId;
    use crate::model::Limits;
    use crate::time::Zone;
    use proptest::prelude::*;

    const NOON: UnixMillis = UnixMillis(1_790_000_000_000);

    /// A daily limit of this much.
    fn scopes(limit: i64) -> Vec<(ScopeId, Terms)> {
        let limits = Limits { daily: Some(NanoUsd(limit)), ..Limits::default() };
        vec![(ScopeId::Owner, Terms::of(&limits, &Zone::default(), NOON))]
    }

    fn heard(limit: i64, spent: i64, held: i64) -> Heard {
        let (_, terms) = &scopes(limit)[0];
        let unspent = Scope::default().window_now(ScopeId::Owner, &terms.window(Kind::Daily).unwrap(), NOON);
        let window = WindowNow { spent: NanoUsd(spent), held: NanoUsd(held), ..unspent };
        let mut heard = Heard::default();
        heard.hear(&Standing { windows: vec![window], ..Standing::default() });
        heard
    }

    /// With four nodes, at this moment.
    fn say(
        (policy, is_strict): (OutagePolicy, bool),
        heard: &Heard,
        scopes: &[(ScopeId, Terms)],
        (own, need): (i64, i64),
        at: UnixMillis,
    ) -> Verdict {
        let alone = Alone { scopes, heard, own: NanoUsd(own), nodes: 4 };
        without_store(policy, is_strict, &alone, NanoUsd(need), at)
    }

    #[test]
    fn each_policy_does_as_it_is_called() {
        let (heard, scopes) = (heard(1_000, 600, 0), scopes(1_000));
        let bounded = |is_strict, own, need, at| {
            say((OutagePolicy::Bounded, is_strict), &heard, &scopes, (own, need), at)
        };
        assert_eq!(bounded(true, 0, 1, NOON), Verdict::Unreachable);
        assert_eq!(bounded(false, 60, 40, NOON), Verdict::Go);
        assert!(matches!(bounded(false, 60, 41, NOON), Verdict::UsedUp(window) if window.spent.0 == 600));
        assert_eq!(bounded(false, 60, 190, NOON.plus_ms(86_400_000)), Verdict::Go, "the window is a new one");
        let of_nothing = say((OutagePolicy::Bounded, false), &heard, &[], (9, 9), NOON);
        assert_eq!(of_nothing, Verdict::Go, "nothing is limited");
        for (policy, said) in
            [(OutagePolicy::Open, Verdict::Go), (OutagePolicy::Closed, Verdict::Unreachable)]
        {
            assert_eq!(say((policy, true), &heard, &scopes, (5_000, 1), NOON), said);
            assert_eq!(say((policy, false), &heard, &scopes, (5_000, 1), NOON), said);
        }
    }

    #[test]
    fn what_the_store_was_never_heard_of_is_limited_all_the_same() {
        let bounded = |heard: &Heard, scopes: &[(ScopeId, Terms)], need| {
            say((OutagePolicy::Bounded, false), heard, scopes, (0, need), NOON)
        };
        assert_eq!(bounded(&Heard::default(), &scopes(1_000), 250), Verdict::Go);
        assert!(matches!(bounded(&Heard::default(), &scopes(1_000), 251), Verdict::UsedUp(_)));
        // A limit that was changed since is the one that counts.
        assert_eq!(bounded(&heard(1_000, 600, 0), &scopes(2_000), 350), Verdict::Go);
        assert!(matches!(bounded(&heard(1_000, 600, 0), &scopes(800), 51), Verdict::UsedUp(_)));
        // Another key's window stands against nobody else.
        let of_key = |n| scopes(1_000).into_iter().map(move |(_, terms)| (ScopeId::Key(KeyId(n)), terms));
        let mut of_other = heard(1_000, 0, 0);
        let used_up = WindowNow {
            scope: ScopeId::Key(KeyId(1)),
            spent: NanoUsd(1_000),
            ..of_other.0[&(ScopeId::Owner, Kind::Daily)]
        };
        of_other.hear(&Standing { windows: vec![used_up], ..Standing::default() });
        assert!(matches!(bounded(&of_other, &of_key(1).collect::<Vec<_>>(), 1), Verdict::UsedUp(_)));
        assert_eq!(bounded(&of_other, &of_key(2).collect::<Vec<_>>(), 1), Verdict::Go);
    }

    #[test]
    fn who_was_reset_since_begins_anew() {
        let mut scopes = scopes(1_000);
        let used_up = heard(1_000, 1_000, 0);
        let at = NOON.plus_ms(60_000);
        let bounded =
            |scopes: &[(ScopeId, Terms)]| say((OutagePolicy::Bounded, false), &used_up, scopes, (0, 250), at);
        assert!(matches!(bounded(&scopes), Verdict::UsedUp(_)));
        scopes[0].1.limits.reset_at = Some(NOON.plus_ms(1_000));
        assert_eq!(bounded(&scopes), Verdict::Go);
        scopes[0].1.limits.reset_at = Some(at.plus_ms(1));
        assert!(matches!(bounded(&scopes), Verdict::UsedUp(_)), "not yet");
    }

    proptest! {
        #[test]
        fn all_nodes_together_stay_within_what_was_left(
            spent in 0_i64..1_200,
            held in 0_i64..300,
            is_heard: bool,
            nodes in 1_u32..6,
            needs in prop::collection::vec((0_usize..6, 0_i64..200), 0..60),
        ) {
            let (heard, left) = match is_heard {
                true => (heard(1_000, spent, held), (1_000 - spent - held).max(0)),
                false => (Heard::default(), 1_000),
            };
            let scopes = scopes(1_000);
            let mut own = [0; 6];
            for (node, need) in needs {
                let node = node % nodes as usize;
                let alone = Alone { scopes: &scopes, heard: &heard, own: NanoUsd(own[node]), nodes };
                if without_store(OutagePolicy::Bounded, false, &alone, NanoUsd(need), NOON) == Verdict::Go {
                    own[node] += need;
                }
            }
            prop_assert!(own.iter().sum::<i64>() <= left);
        }
    }
}
