//! What requests of a key for a model have cost lately.

use moka::sync::Cache;
use parking_lot::Mutex;
use shared::contract::usage::{Outcome, UsageRecord};
use shared::ids::KeyId;
use shared::money::NanoUsd;
use shared::rules::quota::need::{Guess, History};
use std::fmt;
use std::sync::Arc;

/// By key and model, for those that were asked for last: what is forgotten begins with the rule of thumb again.
pub struct Histories(Cache<(KeyId, String), Arc<Mutex<History>>>);

impl Default for Histories {
    fn default() -> Self {
        Self(Cache::new(KNOWN))
    }
}

impl fmt::Debug for Histories {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Histories").finish_non_exhaustive()
    }
}

impl Histories {
    /// What a key's requests for a model have cost says of the next one.
    #[must_use]
    pub fn guess(&self, key: KeyId, model: &str) -> Guess {
        let known = self.0.get(&(key, model.to_owned()));
        known.map(|history| history.lock().guess()).unwrap_or_default()
    }

    /// Adds what an answer to a body of so many bytes has cost. Nothing of answers that nobody read to their end.
    pub fn note(&self, record: &UsageRecord, model: &str, body_bytes: usize) {
        let is_whole = |outcome| matches!(outcome, Outcome::Served | Outcome::Drained);
        let Some(last) = record.attempts.last().filter(|attempt| is_whole(attempt.outcome)) else { return };
        if last.flags.is_estimate || last.flags.is_unpriced {
            return;
        }
        // A tried one that failed may have cost something too: it is what a request takes that is guessed.
        let total: NanoUsd = record.attempts.iter().map(|attempt| attempt.cost.total).sum();
        let body_bytes = u64::try_from(body_bytes).unwrap_or(u64::MAX);
        let key = (record.request.caller.key_id, model.to_owned());
        self.0.get_with(key, Arc::default).lock().note(
            body_bytes,
            total - last.cost.output,
            last.cost.output,
        );
    }
}

/// Some ten megabytes when all are full.
const KNOWN: u64 = 8_192;

#[cfg(test)]
mod tests {
    use super::*;
    use shared::contract::usage::{AttemptEntry, CostBreakdown, UsageFlags};
    use shared::ids::ProviderId;
    use shared::model::price::Factors;

    fn record(outcome: Outcome, flags: UsageFlags) -> UsageRecord {
        let mut record = shared::testing::usage_record(1);
        record.attempts = vec![AttemptEntry {
            attempt: 1,
            provider_id: ProviderId(1),
            upstream_model: None,
            outcome,
            usage: Default::default(),
            cost: CostBreakdown {
                input: NanoUsd(3_000),
                output: NanoUsd(70),
                total: NanoUsd(3_070),
                ..CostBreakdown::default()
            },
            flags,
            admitted_at: None,
            held: NanoUsd(0),
        }];
        record
    }

    #[test]
    fn what_whole_answers_cost_is_remembered_by_key_and_model() {
        let histories = Histories::default();
        let estimate = UsageFlags { is_estimate: true, ..UsageFlags::default() };
        for _ in 0..20 {
            histories.note(&record(Outcome::Served, UsageFlags::default()), "a", 1_000);
            histories.note(&record(Outcome::Failed, UsageFlags::default()), "b", 1_000);
            histories.note(&record(Outcome::Served, estimate), "c", 1_000);
        }
        let expected =
            |key, model| histories.guess(KeyId(key), model).expected(2_000, None, Factors::default());
        assert_eq!(expected(1, "a"), NanoUsd(6_070));
        for (key, model) in [(2, "a"), (1, "b"), (1, "c")] {
            assert_eq!(expected(key, model), NanoUsd(0), "{key} {model}");
        }
    }
}
