//! Budgets while their store is away (design §7, `REDIS_OUTAGE_POLICY`).

use super::words::{Standing, WindowNow};
use crate::money::NanoUsd;
use crate::time::UnixMillis;
use serde::{Deserialize, Serialize};

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

/// What a node knows by itself.
#[derive(Clone, Copy, Debug)]
pub struct Alone<'a> {
    /// How the windows stood when the store was last heard; empty: it never was.
    pub last: &'a Standing,
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
/// all together do not spend more; a window that has begun anew since is whole.
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
    let is_over = |window: &&WindowNow| wanted > share(window, alone.nodes, now);
    alone.last.windows.iter().find(is_over).map_or(Verdict::Go, |window| Verdict::UsedUp(*window))
}

fn share(window: &WindowNow, nodes: u32, now: UnixMillis) -> i64 {
    let is_new = window.resets_at.is_some_and(|resets_at| resets_at <= now);
    let spent = if is_new { 0 } else { window.spent.0 };
    let left = window.limit.0.saturating_sub(spent).saturating_sub(window.held.0);
    left.max(0) / i64::from(nodes.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::quota::{Kind, ScopeId};
    use proptest::prelude::*;

    fn window(spent: i64, held: i64) -> WindowNow {
        WindowNow {
            scope: ScopeId::Owner,
            kind: Kind::Daily,
            limit: NanoUsd(1_000),
            spent: NanoUsd(spent),
            held: NanoUsd(held),
            escrowed: NanoUsd(0),
            starts_at: Some(UnixMillis(0)),
            resets_at: Some(UnixMillis(500)),
        }
    }

    fn say(policy: OutagePolicy, is_strict: bool, last: &Standing, own: i64, need: i64, now: i64) -> Verdict {
        let alone = Alone { last, own: NanoUsd(own), nodes: 4 };
        without_store(policy, is_strict, &alone, NanoUsd(need), UnixMillis(now))
    }

    #[test]
    fn each_policy_does_as_it_is_called() {
        let last = Standing { windows: vec![window(600, 0)], ..Standing::default() };
        let bounded =
            |is_strict, own, need, now| say(OutagePolicy::Bounded, is_strict, &last, own, need, now);
        assert_eq!(bounded(true, 0, 1, 0), Verdict::Unreachable);
        assert_eq!(bounded(false, 60, 40, 0), Verdict::Go);
        assert_eq!(bounded(false, 60, 41, 0), Verdict::UsedUp(last.windows[0]));
        assert_eq!(bounded(false, 60, 190, 500), Verdict::Go, "the window is a new one");
        assert_eq!(
            say(OutagePolicy::Bounded, false, &Standing::default(), 9, 9, 0),
            Verdict::Go,
            "nothing is limited"
        );
        for (policy, said) in
            [(OutagePolicy::Open, Verdict::Go), (OutagePolicy::Closed, Verdict::Unreachable)]
        {
            assert_eq!(say(policy, true, &last, 5_000, 1, 0), said);
            assert_eq!(say(policy, false, &last, 5_000, 1, 0), said);
        }
    }

    proptest! {
        #[test]
        fn all_nodes_together_stay_within_what_was_left(
            spent in 0_i64..1_200,
            held in 0_i64..300,
            nodes in 1_u32..6,
            needs in prop::collection::vec((0_usize..6, 0_i64..200), 0..60),
        ) {
            let last = Standing { windows: vec![window(spent, held)], ..Standing::default() };
            let mut own = [0; 6];
            for (node, need) in needs {
                let node = node % nodes as usize;
                let alone = Alone { last: &last, own: NanoUsd(own[node]), nodes };
                let now = UnixMillis(1);
                if without_store(OutagePolicy::Bounded, false, &alone, NanoUsd(need), now) == Verdict::Go {
                    own[node] += need;
                }
            }
            prop_assert!(own.iter().sum::<i64>() <= (1_000 - spent - held).max(0));
        }
    }
}
