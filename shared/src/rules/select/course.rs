//! The steps of a choice as a gateway goes them and writes them down, when nothing fails: it takes the session's provider,
//! or draws, asks the budget of whom it has drawn, and draws again when there is no room.

use super::{Draws, Out, OutReason, SelectFacts, Selection, reuse, select};
use crate::contract::usage::{ChainStep, DecisionChain};
use crate::ids::{ProviderId, Revision};

/// What a choice comes to.
#[derive(Clone, Debug)]
pub struct Course {
    /// As a log row would have them.
    pub steps: Vec<ChainStep>,
    /// Who would be asked; `None`: nobody is left.
    pub provider: Option<ProviderId>,
}

/// Chooses, for who explains: a gateway goes the same steps between its calls. `bound`: the provider that the session is bound
/// to; `full`: who has no room; `seed` and `draw`: which number of which seed the first draw takes.
#[must_use]
pub fn course(
    facts: &SelectFacts<'_>,
    bound: Option<ProviderId>,
    full: impl Fn(ProviderId) -> bool,
    (revision, seed, draw): (Revision, u64, u64),
) -> Course {
    let (mut draws, mut out) = (Draws::at(seed, draw), facts.out.to_vec());
    let mut steps = Vec::new();
    let mut reused = bound.filter(|id| reuse(facts, *id).is_ok());
    let provider = loop {
        let taken = match reused.take() {
            Some(provider_id) => {
                steps.push(ChainStep::Reused { provider_id });
                provider_id
            }
            None => match select(&SelectFacts { out: &out, ..*facts }, &mut draws) {
                Selection::Chosen(chosen) => {
                    let id = chosen.provider_id;
                    steps.push(chosen.into());
                    id
                }
                Selection::Exhausted(excluded) => {
                    steps.push(excluded.into());
                    break None;
                }
            },
        };
        if !full(taken) {
            break Some(taken);
        }
        out.push(Out { provider_id: taken, why: OutReason::LimitReached });
    };
    let mut chain = DecisionChain { revision, seed, steps };
    chain.fit();
    Course { steps: chain.steps, provider }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::GroupSet;
    use crate::protocol::Dialect;
    use crate::rules::select::{Pool, Reason};
    use crate::testing::provider;
    use crate::time::{UnixMillis, Zone};
    use std::collections::HashSet;

    fn go(bound: Option<i64>, full: &[i64]) -> Course {
        let pool = Pool::new(&[provider(1), provider(2)], &HashSet::new(), &Zone::default());
        let groups = GroupSet::default();
        let facts = SelectFacts {
            pool: &pool,
            groups: &groups,
            dialect: Dialect::Anthropic,
            model: None,
            client: None,
            at: UnixMillis(1_790_000_000_000),
            table: None,
            out: &[],
            only: None,
        };
        course(&facts, bound.map(ProviderId), |id| full.contains(&id.0), (Revision(1), 7, 0))
    }

    #[test]
    fn a_session_s_provider_is_taken_without_a_draw_and_whoever_has_no_room_is_passed_over() {
        assert_eq!(go(Some(1), &[]).steps, [ChainStep::Reused { provider_id: ProviderId(1) }]);
        let Course { steps, provider } = go(Some(1), &[1]);
        assert_eq!(provider, Some(ProviderId(2)));
        let [ChainStep::Reused { .. }, ChainStep::Selected { provider_id, excluded, .. }] = &steps[..] else {
            panic!("{steps:?}")
        };
        assert_eq!(*provider_id, ProviderId(2));
        let out: Vec<_> = excluded.iter().map(|out| (out.reason.as_str(), &out.provider_ids[..])).collect();
        assert_eq!(out, [(Reason::LimitReached.label(), &[ProviderId(1)][..])]);
    }

    #[test]
    fn each_draw_takes_the_next_number_until_nobody_is_left() {
        let Course { steps, provider } = go(None, &[1, 2]);
        assert_eq!(provider, None);
        let kinds = steps.iter().map(|step| match step {
            ChainStep::Selected { provider_id, .. } => provider_id.0,
            ChainStep::Exhausted { excluded } => i64::from(excluded[0].count) * 10,
            other => panic!("{other:?}"),
        });
        let kinds: Vec<_> = kinds.collect();
        assert!(kinds == [1, 2, 20] || kinds == [2, 1, 20], "{kinds:?}");
        // The first draw is the same whoever has room.
        assert_eq!(go(None, &[]).steps[..], steps[..1]);
    }
}
