//! Keeps a decision chain within its 4 KiB (design §5): what can be told from the rest goes first, detail
//! next, steps last; whatever goes is counted in its place.

use super::usage::{Candidate, ChainStep, DecisionChain, Exclusion};
use crate::ids::ProviderId;

/// The most bytes of a stored chain, as JSON.
pub const MAX_CHAIN_BYTES: usize = 4 << 10;

impl DecisionChain {
    /// What an attempt came to after all: its answer had begun.
    pub fn ended(&mut self, attempt: u32, how: &str) {
        let step = self.steps.iter_mut().rev().find_map(|step| match step {
            ChainStep::Attempted { attempt: number, result, .. } if *number == attempt => Some(result),
            _ => None,
        });
        if let Some(result) = step {
            how.clone_into(result);
        }
    }

    /// Cuts the chain to [`MAX_CHAIN_BYTES`]. In this order, as far as it is needed: candidates of a later
    /// draw that follow from the draw before; the ids of exclusions; candidates of the first draw beyond
    /// [`KEPT_CANDIDATES`], and candidates and exclusions of later draws; steps in the middle.
    pub fn fit(&mut self) {
        if self.rough_len() <= MAX_CHAIN_BYTES {
            return;
        }
        let cuts: [fn(&mut Self); 4] =
            [Self::cut_derivable, Self::cut_exclusion_ids, Self::cut_draws, Self::cut_steps];
        for cut in cuts {
            if serde_json::to_vec(self).map_or(0, |json| json.len()) <= MAX_CHAIN_BYTES {
                return;
            }
            cut(self);
        }
    }

    /// The chain cut to fit, when it does not already.
    #[must_use]
    pub fn fitted(&self) -> Option<Self> {
        (self.rough_len() > MAX_CHAIN_BYTES).then(|| {
            let mut chain = self.clone();
            chain.fit();
            chain
        })
    }

    /// The draws with all their candidates: those left out because they follow from an earlier draw are
    /// filled in again. `None` for a draw that cannot be told: its candidates were cut, or draws before it.
    pub fn draws(&self) -> impl Iterator<Item = Option<Vec<Candidate>>> {
        let mut last = None;
        let mut has_gap = false;
        self.steps.iter().filter_map(move |step| match step {
            ChainStep::Selected { provider_id, priority, candidates, candidates_left_out, .. } => {
                let all = match (candidates.is_empty(), candidates_left_out) {
                    _ if has_gap => None,
                    (true, 0) => after(last.as_ref(), *priority),
                    (_, 0) => Some(candidates.clone()),
                    _ => None,
                };
                last = all.clone().map(|all| Draw { priority: *priority, all, drawn: *provider_id });
                Some(all)
            }
            ChainStep::LeftOut { .. } => {
                has_gap = true;
                None
            }
            ChainStep::Reused { .. }
            | ChainStep::Exhausted { .. }
            | ChainStep::Attempted { .. }
            | ChainStep::Stopped { .. } => None,
        })
    }

    /// Never below the length as JSON: every number is taken at its longest.
    fn rough_len(&self) -> usize {
        let excluded = |list: &[Exclusion]| {
            list.iter().map(|e| 80 + e.reason.len() + 21 * e.provider_ids.len()).sum::<usize>()
        };
        let steps = self.steps.iter().map(|step| match step {
            ChainStep::Selected { candidates, excluded: list, .. } => {
                160 + 60 * candidates.len() + excluded(list)
            }
            ChainStep::Exhausted { excluded: list } => 40 + excluded(list),
            ChainStep::Attempted { result, direct_after, .. } => {
                255 + result.len() + direct_after.as_ref().map_or(0, String::len)
            }
            ChainStep::Stopped { reason } => 40 + reason.len(),
            ChainStep::Reused { .. } | ChainStep::LeftOut { .. } => 60,
        });
        80 + steps.sum::<usize>()
    }

    fn cut_derivable(&mut self) {
        let mut last: Option<Draw> = None;
        for step in &mut self.steps {
            if let ChainStep::Selected { provider_id, priority, candidates, .. } = step {
                let all = candidates.clone();
                if after(last.as_ref(), *priority).is_some_and(|derived| derived == all) {
                    candidates.clear();
                }
                last = Some(Draw { priority: *priority, all, drawn: *provider_id });
            }
        }
    }

    fn cut_exclusion_ids(&mut self) {
        for step in &mut self.steps {
            if let ChainStep::Selected { excluded, .. } | ChainStep::Exhausted { excluded } = step {
                excluded.iter_mut().for_each(|exclusion| exclusion.provider_ids.clear());
            }
        }
    }

    fn cut_draws(&mut self) {
        let mut kept = KEPT_CANDIDATES;
        for step in &mut self.steps {
            if let ChainStep::Selected { candidates, candidates_left_out, excluded, .. } = step {
                if candidates.len() > kept {
                    let cut = candidates.split_off(kept).len();
                    *candidates_left_out = u32::try_from(cut).unwrap_or(u32::MAX);
                }
                if kept == 0 {
                    excluded.clear();
                }
                kept = 0;
            }
        }
    }

    fn cut_steps(&mut self) {
        let middle = self.steps.len().saturating_sub(KEPT_LAST_STEPS);
        if middle > KEPT_FIRST_STEPS {
            let steps = u32::try_from(middle - KEPT_FIRST_STEPS).unwrap_or(u32::MAX);
            self.steps.splice(KEPT_FIRST_STEPS..middle, [ChainStep::LeftOut { steps }]);
        }
    }
}

struct Draw {
    priority: u32,
    all: Vec<Candidate>,
    drawn: ProviderId,
}

/// Who is there for the next draw of a tier when only the drawn one has left; none left or another tier: no
/// telling.
fn after(last: Option<&Draw>, priority: u32) -> Option<Vec<Candidate>> {
    let last = last.filter(|last| last.priority == priority)?;
    let rest = last.all.iter().filter(|c| c.provider_id != last.drawn).copied();
    Some(rest.collect::<Vec<_>>()).filter(|rest| !rest.is_empty())
}

const KEPT_CANDIDATES: usize = 24;
const KEPT_FIRST_STEPS: usize = 4;
const KEPT_LAST_STEPS: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(ids: std::ops::Range<i64>) -> Vec<Candidate> {
        ids.map(|id| Candidate { provider_id: ProviderId(id), weight: 10 }).collect()
    }

    fn selected(id: i64, ids: std::ops::Range<i64>) -> ChainStep {
        let excluded = vec![Exclusion {
            reason: "other_group".to_owned(),
            count: 400,
            provider_ids: (0..20).map(ProviderId).collect(),
        }];
        ChainStep::Selected {
            provider_id: ProviderId(id),
            priority: 0,
            candidates: candidates(ids),
            candidates_left_out: 0,
            excluded,
        }
    }

    fn attempted(id: i64) -> ChainStep {
        ChainStep::Attempted {
            attempt: 1,
            provider_id: ProviderId(id),
            result: "overloaded".to_owned(),
            status: Some(529),
            duration_ms: 12,
            error_rule_id: None,
            direct_after: None,
            resends: 0,
        }
    }

    fn len(chain: &DecisionChain) -> usize {
        serde_json::to_vec(chain).unwrap().len()
    }

    #[test]
    fn a_short_chain_is_kept_whole() {
        let steps = vec![selected(0, 0..20), attempted(0), selected(1, 1..20), attempted(1)];
        let whole = DecisionChain { steps, ..DecisionChain::default() };
        let mut chain = whole.clone();
        chain.fit();
        assert_eq!(chain, whole);
    }

    #[test]
    fn an_answer_that_broke_is_told_at_its_own_attempt() {
        let mut chain = DecisionChain { steps: vec![attempted(1)], ..DecisionChain::default() };
        chain.ended(2, "cut_after_content");
        assert_eq!(chain.steps, [attempted(1)]);
        chain.ended(1, "cut_after_content");
        assert!(matches!(&chain.steps[0], ChainStep::Attempted { result, status: Some(529), .. }
            if result == "cut_after_content"));
    }

    #[test]
    fn later_draws_are_told_from_the_first() {
        let steps = (0..6).flat_map(|id| [selected(id, id..40), attempted(id)]).collect();
        let whole = DecisionChain { steps, ..DecisionChain::default() };
        let mut chain = whole.clone();
        chain.fit();
        assert!(len(&chain) <= MAX_CHAIN_BYTES);
        assert!(chain.draws().eq(whole.draws()));
        assert_eq!(chain.draws().nth(3), Some(Some(candidates(3..40))));
    }

    #[test]
    fn the_worst_chain_fits_and_says_what_it_lost() {
        let steps = (0..21).flat_map(|id| [selected(id, 0..500), attempted(id), attempted(id)]).collect();
        let mut chain = DecisionChain { steps, seed: u64::MAX, ..DecisionChain::default() };
        chain.fit();
        assert!(len(&chain) <= MAX_CHAIN_BYTES, "{}", len(&chain));
        assert!(matches!(chain.steps[0], ChainStep::Selected { candidates_left_out: 476, .. }));
        assert!(chain.steps.iter().any(|step| matches!(step, ChainStep::LeftOut { steps: 47 })));
        assert_eq!(chain.draws().next(), Some(None));
    }
}
