//! Holds that were given up, until the store has heard of it.

use super::Budgets;
use super::figures::Word;
use crate::events;
use parking_lot::Mutex;
use shared::rules::quota::{AccountId, HoldId};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

/// Holds that are still to be released, the oldest first.
#[derive(Default)]
pub struct Releases {
    waiting: Mutex<VecDeque<(AccountId, HoldId)>>,
    put: Notify,
}

impl Releases {
    /// Adds one. When there is no room, it stays until its deadline, and is charged by then as if it had been spent.
    pub fn put(&self, account: AccountId, hold: HoldId) {
        let mut waiting = self.waiting.lock();
        if waiting.len() < BOUND {
            waiting.push_back((account, hold));
        } else {
            events::release_lost(hold.0);
        }
        drop(waiting);
        self.put.notify_one();
    }

    /// Whoever asks now may have to take back what he asked: is there room for that?
    pub fn has_room(&self) -> bool {
        self.waiting.lock().len() < BOUND / 2
    }

    fn first(&self) -> Option<(AccountId, HoldId)> {
        self.waiting.lock().front().copied()
    }

    fn is_empty(&self) -> bool {
        self.waiting.lock().is_empty()
    }
}

/// Tells the store of them, for ever.
pub async fn run(budgets: &Budgets) {
    loop {
        drain(budgets).await;
        if budgets.releases.is_empty() {
            budgets.releases.put.notified().await;
        } else {
            sleep(AGAIN_AFTER).await;
        }
    }
}

/// Tells the store of those that there are, for so long at most.
pub async fn finish(budgets: &Budgets, patience: Duration) {
    let _ = timeout(patience, drain(budgets)).await;
}

async fn drain(budgets: &Budgets) {
    while let Some((account, hold)) = budgets.releases.first() {
        budgets.tally.say(Word::Release);
        if budgets.store.release(account, hold).await.is_err() {
            return;
        }
        budgets.releases.waiting.lock().pop_front();
    }
}

/// Some ten megabytes.
const BOUND: usize = 100_000;
const AGAIN_AFTER: Duration = Duration::from_millis(250);
