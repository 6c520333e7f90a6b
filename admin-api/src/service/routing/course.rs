//! The steps of a choice as a gateway goes them and writes them down, when nothing fails: it takes the session's provider,
//! or draws, asks the budget of whom it has drawn, and draws again when there is no room.

use shared::contract::usage::{ChainStep, DecisionChain};
use shared::ids::{ProviderId, Revision};
use shared::rules::select::{Draws, Out, OutReason, SelectFacts, Selection, reuse, select};

/// What a choice comes to.
pub struct Course {
    /// As a log row would have them.
    pub steps: Vec<ChainStep>,
    /// Who would be asked; `None`: nobody is left.
    pub provider: Option<ProviderId>,
}

/// Chooses. `bound`: the provider that the session is bound to; `full`: who has no room.
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
