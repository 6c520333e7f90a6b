//! Forgets the journals of gateways that are long gone: their ranges tell nobody anything any more.

use crate::repo::db::Db;
use crate::repo::journals::forget;
use crate::service::now;
use sea_orm::DbErr;
use shared::time::UnixMillis;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

/// Forgets what was quiet for 90 days. A journal that is there all the same, of a gateway that nobody used for so long,
/// loses nothing: each of its records says up to where it was told.
pub struct QuietJournals {
    db: Db,
}

impl QuietJournals {
    /// A job that has not looked yet.
    #[must_use]
    pub fn new(db: Db) -> Self {
        Self { db }
    }

    /// Steps once an hour, until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let mut tick = interval_at(Instant::now() + TICK, TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let step = async {
                tick.tick().await;
                self.step(now()).await
            };
            // Each of its transactions is whole or not at all.
            let Some(step) = stop.run_until_cancelled(step).await else { return };
            match step {
                Ok(0) => {}
                Ok(rows) => tracing::info!(rows, "journals that are long gone are forgotten"),
                Err(error) => {
                    tracing::warn!(%error, "journals that are long gone cannot be forgotten; trying again in an hour");
                }
            }
        }
    }

    /// Forgets what is quiet since 90 days before `now`; answers how many rows that were.
    pub async fn step(&self, now: UnixMillis) -> Result<u64, DbErr> {
        let before = UnixMillis(now.0.saturating_sub(QUIET_MS));
        let mut forgotten = 0;
        loop {
            let tx = self.db.write().await?;
            let rows = forget(&tx, before, BATCH).await?;
            tx.commit().await?;
            forgotten += rows;
            if rows == 0 {
                return Ok(forgotten);
            }
        }
    }
}

const TICK: Duration = Duration::from_secs(3_600);
const QUIET_MS: i64 = 90 * 86_400_000;
/// Journals a transaction: a moment's work, for which booking waits on SQLite.
const BATCH: u64 = 100;
