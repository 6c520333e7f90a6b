//! Holds that were given up, until the store has heard of it.

use super::Budgets;
use super::figures::Word;
use crate::events;
use parking_lot::Mutex;
use shared::rules::quota::{AccountId, HoldId};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

/// Holds that are still to be released, the oldest first.
pub struct Releases {
    waiting: Mutex<Waiting>,
    put: Notify,
    /// Somebody waits for it.
    hurry: Notify,
    /// How many the store has heard of.
    heard: watch::Sender<u64>,
}

#[derive(Default)]
struct Waiting {
    holds: VecDeque<(AccountId, HoldId)>,
    /// How many went before the first of them.
    gone: u64,
    /// For some there was no room.
    has_lost: bool,
}

impl Default for Releases {
    fn default() -> Self {
        Self {
            waiting: Mutex::default(),
            put: Notify::new(),
            hurry: Notify::new(),
            heard: watch::Sender::new(0),
        }
    }
}

impl Releases {
    /// Adds one. When there is no room, it is given back by whoever adopts this process's journal, or else stays until its deadline, and
    /// is charged by then as if it had been spent.
    pub fn put(&self, account: AccountId, hold: HoldId) {
        let mut waiting = self.waiting.lock();
        if waiting.holds.len() < BOUND {
            waiting.holds.push_back((account, hold));
        } else {
            waiting.has_lost = true;
            events::release_lost(hold.0);
        }
        drop(waiting);
        self.put.notify_one();
    }

    /// Whoever asks now may have to take back what he asked: is there room for that?
    pub fn has_room(&self) -> bool {
        self.waiting.lock().holds.len() < BOUND / 2
    }

    /// Waits until the store has heard of all that is given up of an account by now, for so long at most. False: there is nothing.
    pub async fn told(&self, account: AccountId, patience: Duration) -> bool {
        let Some(number) = self.last_of(account) else { return false };
        self.hurry.notify_one();
        let mut heard = self.heard.subscribe();
        let _ = timeout(patience, heard.wait_for(|heard| *heard >= number)).await;
        true
    }

    /// How many are heard of when the last one of an account is.
    fn last_of(&self, account: AccountId) -> Option<u64> {
        let waiting = self.waiting.lock();
        let place = waiting.holds.iter().rposition(|(of, _)| *of == account)?;
        Some(waiting.gone + u64::try_from(place).unwrap_or(u64::MAX) + 1)
    }

    fn first(&self) -> Option<(AccountId, HoldId)> {
        self.waiting.lock().holds.front().copied()
    }

    /// The store has heard of `first`. It is taken out only if it is still the first: at a stop two tasks drain the queue at once.
    fn is_heard(&self, first: (AccountId, HoldId)) {
        let gone = {
            let mut waiting = self.waiting.lock();
            if waiting.holds.front() != Some(&first) {
                return;
            }
            waiting.holds.pop_front();
            waiting.gone += 1;
            waiting.gone
        };
        self.heard.send_replace(gone);
    }

    /// The store has heard of all that was ever given up.
    pub fn are_all_heard(&self) -> bool {
        let waiting = self.waiting.lock();
        waiting.holds.is_empty() && !waiting.has_lost
    }

    fn is_empty(&self) -> bool {
        self.waiting.lock().holds.is_empty()
    }
}

/// Tells the store of them, for ever.
pub async fn run(budgets: &Budgets) {
    loop {
        drain(budgets).await;
        if budgets.releases.is_empty() {
            budgets.releases.put.notified().await;
        } else {
            tokio::select! {
                () = sleep(AGAIN_AFTER) => {}
                () = budgets.releases.hurry.notified() => {}
            }
        }
    }
}

/// Tells the store of those that there are, for so long at most.
pub async fn finish(budgets: &Budgets, patience: Duration) {
    let _ = timeout(patience, async {
        while !budgets.releases.is_empty() {
            drain(budgets).await;
            sleep(LAST_PAUSE).await;
        }
    })
    .await;
}

async fn drain(budgets: &Budgets) {
    while let Some((account, hold)) = budgets.releases.first() {
        budgets.tally.say(Word::Release);
        if budgets.store.release(account, hold).await.is_err() {
            return;
        }
        budgets.releases.is_heard((account, hold));
    }
}

/// Some ten megabytes.
const BOUND: usize = 100_000;
const AGAIN_AFTER: Duration = Duration::from_millis(250);
/// A process that ends has no time.
pub(super) const LAST_PAUSE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;
    use shared::ids::{RequestId, UserId};

    #[test]
    fn two_who_tell_the_store_at_once_lose_none_that_was_not_told() {
        let releases = Releases::default();
        let account = AccountId::User(UserId(1));
        let [one, two] = [1, 2].map(|n| HoldId(RequestId::from_bytes([n; 16]), 0));
        releases.put(account, one);
        releases.put(account, two);
        let (first, same) = (releases.first().unwrap(), releases.first().unwrap());
        releases.is_heard(first);
        releases.is_heard(same);
        assert_eq!(releases.first(), Some((account, two)));
        assert_eq!(releases.last_of(account), Some(2), "one is heard of");
    }
}
