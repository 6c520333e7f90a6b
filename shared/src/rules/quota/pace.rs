//! When the store hears of what has ended: at once, where it holds the money by itself or somebody waits for it; in a while, where
//! the request was let in from what this node has put aside ahead. Until then that is held, and nothing is promised twice.
//!
//! All moments are milliseconds of the node's own clock.

/// Which records wait.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    /// What was written by then is told at once.
    at_once_until_ms: u64,
    /// Records that can wait.
    waiting: u32,
    /// When the first of them ended.
    since_ms: u64,
}

impl Pace {
    /// A record is about to be written down.
    pub fn ended(&mut self, can_wait: bool, now_ms: u64) {
        if !can_wait {
            self.at_once_until_ms = self.at_once_until_ms.max(now_ms + WRITTEN_WITHIN_MS);
            return;
        }
        if self.waiting == 0 {
            self.since_ms = now_ms;
        }
        self.waiting = self.waiting.saturating_add(1);
    }

    /// Is what was written to be told now?
    #[must_use]
    pub fn is_due(&self, now_ms: u64) -> bool {
        now_ms <= self.at_once_until_ms
            || self.waiting >= ENOUGH
            || self.due_in_ms(now_ms).is_none_or(|due_in_ms| due_in_ms == 0)
    }

    /// In how many milliseconds something is to be told at the latest; `None`: nothing waits.
    #[must_use]
    pub fn due_in_ms(&self, now_ms: u64) -> Option<u64> {
        (self.waiting > 0).then(|| (self.since_ms + WAITS_MS).saturating_sub(now_ms))
    }

    /// All that was written is told now.
    pub fn goes(&mut self) {
        self.waiting = 0;
    }
}

/// Between the end of a request and its record in the journal. One that takes longer waits like others.
const WRITTEN_WITHIN_MS: u64 = 20;
/// Records that are worth a word.
const ENOUGH: u32 = 256;
/// How long one waits for others.
const WAITS_MS: u64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_store_holds_by_itself_is_told_at_once_and_the_rest_together_or_after_a_second() {
        let mut pace = Pace::default();
        assert!(pace.is_due(1_000), "nothing says that it can wait");
        pace.ended(true, 1_000);
        assert!(!pace.is_due(1_000) && !pace.is_due(1_999) && pace.is_due(2_000));
        assert_eq!(pace.due_in_ms(1_200), Some(800));
        pace.ended(false, 1_500);
        assert!(pace.is_due(1_500) && pace.is_due(1_520) && !pace.is_due(1_521));
        pace.goes();
        assert_eq!(pace.due_in_ms(1_521), None);
        (0..255).for_each(|_| pace.ended(true, 3_000));
        assert!(!pace.is_due(3_000));
        pace.ended(true, 3_000);
        assert!(pace.is_due(3_000));
    }
}
