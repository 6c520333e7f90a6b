//! Watches the store of budgets: whether it answers, and under which epoch; and how many gateways there are.

use super::Budgets;
use crate::events;
use shared::contract::node::NodeKind;
use shared::ports::NodeRegistry;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Watches for ever.
pub async fn run(budgets: &Budgets, nodes: Arc<dyn NodeRegistry>) {
    let mut count_at = Instant::now();
    loop {
        let pause = look(budgets).await;
        if count_at <= Instant::now() && !budgets.tellings.governed().is_empty() {
            count(budgets, &*nodes).await;
            count_at = Instant::now() + COUNT_EVERY;
        }
        tokio::select! {
            () = budgets.epochs.look.notified() => {}
            () = sleep(pause) => {}
        }
    }
}

/// One look; answers when the next one is due.
async fn look(budgets: &Budgets) -> Duration {
    let epochs = &budgets.epochs;
    let epoch = budgets.store.epoch().await;
    let is_away = epoch.is_err();
    let is_news = epochs.is_away.send_if_modified(|known| std::mem::replace(known, is_away) != is_away);
    let is_governed = !budgets.tellings.governed().is_empty();
    match epoch {
        Err(error) => {
            if is_news && is_governed {
                events::budgets_away(error);
            }
            AWAY_PAUSE
        }
        Ok(epoch) => {
            if is_news && is_governed {
                events::budgets_back();
            }
            epochs.stored.send_if_modified(|known| std::mem::replace(known, epoch) != epoch);
            // Without limits anywhere, nobody waits for an epoch.
            if epoch.is_none() && is_governed { NONE_PAUSE } else { IDLE_PAUSE }
        }
    }
}

/// When nobody can be asked, the last number stands.
async fn count(budgets: &Budgets, nodes: &dyn NodeRegistry) {
    let Ok(beats) = nodes.nodes().await else { return };
    let gateways = beats.iter().filter(|beat| beat.kind == NodeKind::Gateway).count();
    budgets.nodes.store(u32::try_from(gateways).unwrap_or(u32::MAX).max(1), Ordering::Relaxed);
}

const IDLE_PAUSE: Duration = Duration::from_secs(1);
/// A new epoch is about to begin, and requests wait for it.
const NONE_PAUSE: Duration = Duration::from_millis(50);
const AWAY_PAUSE: Duration = Duration::from_millis(250);
const COUNT_EVERY: Duration = Duration::from_secs(5);
