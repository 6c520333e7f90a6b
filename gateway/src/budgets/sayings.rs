//! What records say about budgets, kept from their end until they are told: reading them again from the journal costs as much as
//! all the rest of a decision.

use parking_lot::Mutex;
use shared::contract::usage::UsageRecord;
use shared::ids::RequestId;
use shared::rules::quota::{Said, said_by};
use std::collections::HashMap;

/// By request. What is not here is read from the journal.
#[derive(Debug, Default)]
pub struct Sayings(Mutex<HashMap<RequestId, Said>>);

impl Sayings {
    /// The record of this request is about to be written down, and says so much.
    pub fn put(&self, request: RequestId, said: Said) {
        let mut sayings = self.0.lock();
        if sayings.len() >= BOUND {
            // The store is away, or records were lost.
            sayings.clear();
        }
        sayings.insert(request, said);
    }

    /// What a record of the journal says; nothing, when this release cannot read it.
    pub fn take(&self, record: &[u8]) -> Said {
        let known = UsageRecord::id_in(record).and_then(|id| self.0.lock().remove(&id));
        known.or_else(|| said_by(record)).unwrap_or_default()
    }
}

/// A megabyte.
const BOUND: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;
    use shared::testing::usage_record;
    use shared::time::UnixMillis;

    #[test]
    fn what_is_kept_is_what_the_journal_says_and_is_said_once() {
        let sayings = Sayings::default();
        let mut record = usage_record(1);
        record.request.admitted_at = Some(UnixMillis(7));
        let bytes = record.to_bytes().unwrap();
        let said = said_by(&bytes).unwrap();
        assert!(!said.owed.is_empty());
        sayings.put(record.request.id, Said::of(&record));
        assert_eq!(sayings.0.lock().len(), 1);
        assert_eq!(sayings.take(&bytes), said);
        assert!(sayings.0.lock().is_empty());
        assert_eq!(sayings.take(&bytes), said, "from the journal");
        assert_eq!(sayings.take(b"{}"), Said::default());
    }

    #[test]
    fn nobody_comes_for_what_was_lost() {
        let sayings = Sayings::default();
        for n in 0..=BOUND as u64 {
            let record = usage_record(n);
            sayings.put(record.request.id, Said::of(&record));
        }
        assert_eq!(sayings.0.lock().len(), 1);
    }
}
