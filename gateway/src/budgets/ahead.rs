//! What this node has put aside ahead, on its way back: what nobody draws from, and what somebody else waits for.

use super::Budgets;
use super::declare::AT_A_TIME;
use super::figures::Word;
use super::releases::LAST_PAUSE;
use futures::stream::{self, StreamExt as _};
use shared::ports::PortError;
use shared::rules::quota::{AccountId, Back};
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

/// Gives back, for ever.
pub async fn run(budgets: &Budgets) {
    let mut recalls = budgets.store.recalls();
    let mut tick = interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_heard = true;
    loop {
        let recalled = tokio::select! {
            recalled = recalls.recv(), if is_heard => recalled,
            _ = tick.tick() => {
                budgets.local().rest(budgets.now_ms());
                give_back(budgets, None).await;
                continue;
            }
        };
        match recalled {
            Ok(account) => {
                budgets.local().recall(account, budgets.now_ms());
                // What has ended and waited to be told is room as well.
                budgets.wake.notify_one();
                give_back(budgets, Some(account)).await;
            }
            // What they were about goes back by itself.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => is_heard = false,
        }
    }
}

/// Gives all back, for so long at most.
pub async fn finish(budgets: &Budgets, patience: Duration) {
    budgets.local().recall_all(budgets.now_ms());
    let _ = timeout(patience, async {
        loop {
            give_back(budgets, None).await;
            if budgets.local().backs(None).is_empty() {
                return;
            }
            sleep(LAST_PAUSE).await;
        }
    })
    .await;
}

/// Tells the store of what there is to give back. What is not heard is told again with the next look.
async fn give_back(budgets: &Budgets, of: Option<AccountId>) {
    let backs = budgets.local().backs(of);
    let tell = |(account, backs): (AccountId, Vec<Back>)| async move {
        budgets.tally.say(Word::GiveBack);
        budgets.store.give_back(account, &backs).await?;
        budgets.local().heard_back(account, &backs);
        Ok::<_, PortError>(())
    };
    let mut told = stream::iter(backs).map(tell).buffer_unordered(AT_A_TIME);
    while let Some(Ok(())) = told.next().await {}
}

impl Budgets {
    /// Gives back what this node has put aside ahead in an account, because somebody is refused here. True when there was something.
    pub(super) async fn give_back_own(&self, account: AccountId) -> bool {
        {
            let mut local = self.local();
            local.recall(account, self.now_ms());
            if local.backs(Some(account)).is_empty() {
                return false;
            }
        }
        give_back(self, Some(account)).await;
        true
    }
}

const LOOK_EVERY: Duration = Duration::from_secs(1);
