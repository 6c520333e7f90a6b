//! Forgets the journals of gateways that are long gone: their ranges tell nobody anything any more.

use super::every;
use crate::repo::db::Db;
use crate::repo::journals::forget;
use crate::service::now;
use sea_orm::DbErr;
use shared::time::UnixMillis;
use std::time::Duration;
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
        every(TICK, stop, "quiet journals cannot be forgotten", || async {
            let rows = self.step(now()).await?;
            if rows > 0 {
                tracing::info!(rows, "journals that are long gone are forgotten");
            }
            Ok::<(), DbErr>(())
        })
        .await;
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
