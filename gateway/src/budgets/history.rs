//! What requests of a key for a model have cost lately.

use moka::sync::Cache;
use parking_lot::Mutex;
use shared::contract::usage::UsageRecord;
use shared::ids::KeyId;
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

    /// Adds what a request of so many bytes has cost, as far as that says anything.
    pub fn note(&self, record: &UsageRecord, model: &str, body_bytes: usize) {
        let body_bytes = u64::try_from(body_bytes).unwrap_or(u64::MAX);
        let key = (record.request.caller.key_id, model.to_owned());
        self.0.get_with(key, Arc::default).lock().learn(record, body_bytes);
    }
}

/// Some ten megabytes when all are full.
const KNOWN: u64 = 8_192;

#[cfg(test)]
mod tests {
    use super::*;
    use shared::contract::usage::{AttemptEntry, CostBreakdown, Outcome};
    use shared::ids::ProviderId;
    use shared::model::price::Factors;
    use shared::money::NanoUsd;

    #[test]
    fn what_requests_cost_is_remembered_by_key_and_model() {
        let histories = Histories::default();
        let mut record = shared::testing::usage_record(1);
        record.attempts = vec![AttemptEntry {
            attempt: 1,
            provider_id: ProviderId(1),
            upstream_model: None,
            outcome: Outcome::Served,
            usage: Default::default(),
            cost: CostBreakdown {
                input: NanoUsd(3_000),
                output: NanoUsd(70),
                total: NanoUsd(3_070),
                ..CostBreakdown::default()
            },
            flags: Default::default(),
            admitted_at: None,
            held: NanoUsd(0),
            is_covered: false,
        }];
        for _ in 0..20 {
            histories.note(&record, "a", 1_000);
        }
        let expected =
            |key, model| histories.guess(KeyId(key), model).expected(2_000, None, Factors::default());
        assert_eq!(expected(1, "a"), NanoUsd(6_070));
        for (key, model) in [(2, "a"), (1, "b")] {
            assert_eq!(expected(key, model), NanoUsd(0), "{key} {model}");
        }
    }
}
