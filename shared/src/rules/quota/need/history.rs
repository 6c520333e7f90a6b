//! What a request probably costs, by what others have cost.

use crate::contract::usage::{AttemptEntry, Outcome, UsageRecord};
use crate::model::price::{Factors, ModelPrice};
use crate::money::{NanoUsd, item_cost};
use std::collections::VecDeque;

/// What the requests of a key for a model have cost lately, to guess what the next one costs (design §7, `expected`).
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Of each request, the oldest first: pico-USD a byte of the body, and nano-USD of output.
    samples: VecDeque<(u64, i64)>,
    said: Guess,
    /// Samples that `said` does not know.
    unsaid: usize,
}

/// What a history says of the next request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guess {
    /// What 19 of 20 did not pass: pico-USD a byte, and nano-USD of output. `None`: there are too few to say.
    most: Option<(u64, i64)>,
}

impl History {
    /// Learns from the record of a request of so many bytes; nothing of an answer that nobody read to its end, and of costs that are
    /// guesses themselves. An attempt before that failed may have cost something too: it is what a request takes that is guessed.
    pub fn learn(&mut self, record: &UsageRecord, body_bytes: u64) {
        let Some(last) = record.attempts.last().filter(|attempt| is_telling(attempt)) else { return };
        let total: NanoUsd = record.attempts.iter().map(|attempt| attempt.cost.total).sum();
        self.note(body_bytes, total - last.cost.output, last.cost.output);
    }

    /// Adds what a request of so many bytes has cost.
    fn note(&mut self, body_bytes: u64, input: NanoUsd, output: NanoUsd) {
        if self.samples.len() == KEPT {
            self.samples.pop_front();
        }
        let input = u128::try_from(input.0).unwrap_or(0) * 1_000 / u128::from(body_bytes.max(1));
        self.samples.push_back((u64::try_from(input).unwrap_or(u64::MAX), output.0.max(0)));
        self.unsaid += 1;
        let is_first = self.said.most.is_none();
        if self.samples.len() >= ENOUGH && (is_first || self.unsaid >= STALE) {
            self.said.most = Some((self.most(|sample| sample.0), self.most(|sample| sample.1)));
            self.unsaid = 0;
        }
    }

    /// What it says.
    #[must_use]
    pub fn guess(&self) -> Guess {
        self.said
    }

    /// The 95th of a hundred.
    fn most<T: Ord + Copy + Default>(&self, part: impl Fn(&(u64, i64)) -> T) -> T {
        let mut parts = [T::default(); KEPT];
        let count = self.samples.len();
        for (place, sample) in parts.iter_mut().zip(&self.samples) {
            *place = part(sample);
        }
        let rank = (count * 95).div_ceil(100).saturating_sub(1);
        match parts.get_mut(..count) {
            Some(parts) if rank < count => *parts.select_nth_unstable(rank).1,
            _ => T::default(),
        }
    }
}

fn is_telling(attempt: &AttemptEntry) -> bool {
    let is_whole = matches!(attempt.outcome, Outcome::Served | Outcome::Drained);
    is_whole && !attempt.flags.is_estimate && !attempt.flags.is_unpriced
}

impl Guess {
    /// What a request of so many bytes probably costs: more than 19 of 20 did. Before there are twenty: a token for four bytes at
    /// the input's price, and 4 096 tokens of output.
    #[must_use]
    pub fn expected(self, body_bytes: u64, model: Option<&ModelPrice>, factors: Factors) -> NanoUsd {
        let Some((per_byte, output)) = self.most else {
            let rates = model.map(|model| model.base).unwrap_or_default();
            let item = |count, rate: Option<_>| {
                item_cost(count, rate.unwrap_or_default(), factors.provider, factors.group)
            };
            return item(body_bytes.div_ceil(4), rates.input) + item(USUAL_OUTPUT, rates.output);
        };
        let input = u128::from(per_byte) * u128::from(body_bytes) / 1_000;
        NanoUsd(i64::try_from(input).unwrap_or(i64::MAX)) + NanoUsd(output)
    }
}

/// Samples that are kept.
const KEPT: usize = 64;
/// Samples that say something.
const ENOUGH: usize = 20;
/// Samples after which it is looked at them again: it costs as much as the rest of an admission.
const STALE: usize = 8;
/// Output tokens that are expected of a request about which nothing is known.
const USUAL_OUTPUT: u64 = 4_096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::usage::{CostBreakdown, TokenUsage, UsageFlags};
    use crate::ids::ProviderId;
    use crate::money::Multiplier;
    use crate::rules::pricing::seed;

    fn record(outcome: Outcome, flags: UsageFlags) -> UsageRecord {
        let attempt = |attempt, outcome, input, output| AttemptEntry {
            attempt,
            provider_id: ProviderId(1),
            upstream_model: None,
            outcome,
            usage: TokenUsage::default(),
            cost: CostBreakdown {
                input: NanoUsd(input),
                output: NanoUsd(output),
                total: NanoUsd(input + output),
                ..CostBreakdown::default()
            },
            flags,
            admitted_at: None,
            held: NanoUsd(0),
            is_covered: false,
        };
        let mut record = crate::testing::usage_record(1);
        record.attempts = vec![attempt(1, Outcome::Failed, 500, 0), attempt(2, outcome, 2_500, 70)];
        record
    }

    #[test]
    fn whole_answers_that_were_counted_and_priced_are_learnt_from() {
        let [estimate, unpriced, fine] =
            [(true, false), (false, true), (false, false)].map(|(is_estimate, is_unpriced)| UsageFlags {
                is_estimate,
                is_unpriced,
                ..UsageFlags::default()
            });
        for (outcome, flags, expected) in [
            (Outcome::Served, fine, 6_070),
            (Outcome::Drained, fine, 6_070),
            (Outcome::Failed, fine, 0),
            (Outcome::Cancelled, fine, 0),
            (Outcome::Interrupted, fine, 0),
            (Outcome::Served, estimate, 0),
            (Outcome::Served, unpriced, 0),
        ] {
            let mut history = History::default();
            for _ in 0..ENOUGH {
                history.learn(&record(outcome, flags), 1_000);
            }
            // Nothing is expected where nothing was learnt and nothing is known of the model.
            let guess = history.guess().expected(2_000, None, Factors::default());
            assert_eq!(guess, NanoUsd(expected), "{outcome:?} {flags:?}");
        }
    }

    #[test]
    fn a_guess_is_the_rule_of_thumb_until_twenty_have_been_seen_then_what_19_of_20_cost() {
        let one = Factors { provider: Multiplier::ONE, group: Multiplier::ONE };
        let seed = seed().unwrap();
        let model = seed.get("claude-sonnet-4-5");
        let mut history = History::default();
        let usual = NanoUsd(1_000 * 3_000 + 4_096 * 15_000);
        for n in 0..20 {
            assert_eq!(history.guess().expected(4_000, model, one), usual, "{n} samples");
            // Twice as dear as any before.
            history.note(1_000, NanoUsd(1_000 << n), NanoUsd(10 << n));
        }
        assert_eq!(history.guess().expected(2_000, model, one), NanoUsd((2_000 << 18) + (10 << 18)));
        for _ in 0..64 {
            history.note(1_000, NanoUsd(500), NanoUsd(7));
        }
        let expected = history.guess().expected(2_000, model, one);
        assert_eq!(expected, NanoUsd(1_007), "what is old is forgotten");
    }
}
