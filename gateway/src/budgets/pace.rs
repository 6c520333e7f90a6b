//! The journal's news and the clock, as [`Pace`] wants to hear of them.

use super::Budgets;
use parking_lot::MutexGuard;
use shared::rules::quota::pace::Pace;
use std::time::Duration;
use tokio::time::sleep;

impl Budgets {
    /// Waits until something was written that is to be told by now.
    pub async fn news(&self) {
        loop {
            let due_in_ms = self.pace().due_in_ms(self.now_ms());
            tokio::select! {
                () = self.journal.news() => {}
                () = sleep(Duration::from_millis(due_in_ms.unwrap_or(0))), if due_in_ms.is_some() => {}
            }
            if self.pace().is_due(self.now_ms()) {
                return;
            }
        }
    }

    /// When what has ended is told.
    pub fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock()
    }
}
