//! When the store hears of what has ended: at once, where it holds the money by itself; in a while, where the request was let in
//! from what this node has put aside ahead. Until then that is held, and nothing is promised twice.

use super::Budgets;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::sleep;

/// Which records wait. All moments are milliseconds of the node's own clock.
#[derive(Debug, Default)]
pub struct Pace {
    /// What was written by then is told at once.
    at_once_until_ms: AtomicU64,
    /// Records that can wait.
    waiting: AtomicU32,
    /// When the first of them ended.
    since_ms: AtomicU64,
}

impl Pace {
    /// A record is about to be written down.
    pub fn ended(&self, can_wait: bool, now_ms: u64) {
        if !can_wait {
            self.at_once_until_ms.fetch_max(now_ms + WRITTEN_WITHIN_MS, Ordering::AcqRel);
        } else if self.waiting.fetch_add(1, Ordering::AcqRel) == 0 {
            self.since_ms.store(now_ms, Ordering::Release);
        }
    }

    /// Is what was written to be told now?
    #[must_use]
    pub fn is_due(&self, now_ms: u64) -> bool {
        let waiting = self.waiting.load(Ordering::Acquire);
        now_ms <= self.at_once_until_ms.load(Ordering::Acquire)
            || waiting == 0
            || waiting >= ENOUGH
            || self.due_in(now_ms) == Some(Duration::ZERO)
    }

    /// In what time something is to be told at the latest; `None`: nothing waits.
    #[must_use]
    pub fn due_in(&self, now_ms: u64) -> Option<Duration> {
        let since_ms = self.since_ms.load(Ordering::Acquire);
        let waits = self.waiting.load(Ordering::Acquire) > 0;
        waits.then(|| Duration::from_millis((since_ms + WAITS_MS).saturating_sub(now_ms)))
    }

    /// All that was written is told now.
    pub fn goes(&self) {
        self.waiting.store(0, Ordering::Release);
    }
}

impl Budgets {
    /// Waits until something was written that is to be told by now.
    pub async fn news(&self) {
        loop {
            let due_in = self.pace.due_in(self.now_ms());
            tokio::select! {
                () = self.journal.news() => {}
                () = sleep(due_in.unwrap_or_default()), if due_in.is_some() => {}
            }
            if self.pace.is_due(self.now_ms()) {
                return;
            }
        }
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
        let pace = Pace::default();
        assert!(pace.is_due(1_000), "nothing says that it can wait");
        pace.ended(true, 1_000);
        assert!(!pace.is_due(1_000) && !pace.is_due(1_999) && pace.is_due(2_000));
        assert_eq!(pace.due_in(1_200), Some(Duration::from_millis(800)));
        pace.ended(false, 1_500);
        assert!(pace.is_due(1_500) && pace.is_due(1_520) && !pace.is_due(1_521));
        pace.goes();
        assert_eq!(pace.due_in(1_521), None);
        (0..255).for_each(|_| pace.ended(true, 3_000));
        assert!(!pace.is_due(3_000));
        pace.ended(true, 3_000);
        assert!(pace.is_due(3_000));
    }
}
