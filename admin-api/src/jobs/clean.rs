//! Keeps the request log within its days: makes those that come, and drops what is older than the settings keep.
//!
//! On Postgres a day is a table and is dropped whole; on SQLite rows are deleted a small batch at a time, each in a
//! transaction of its own, so that booking gets its turn between them. The ledger and the hourly sums are never touched.
//! Several admin-apis may run this at once: one at a time works, the others leave it to that one.

use super::every;
use crate::error::Error;
use crate::repo::catalogue;
use crate::repo::db::Db;
use crate::repo::log_parts::{delete_before, discard, make, parts, take_turn};
use crate::service::{now, settings};
use sea_orm::{DbBackend, DbErr};
use shared::rules::log_days::{LogPart, is_past, kept_from, made_ahead};
use shared::time::UnixMillis;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What a step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Days made ahead.
    pub made: usize,
    /// Days dropped.
    pub dropped: usize,
    /// Rows deleted where no day could be dropped.
    pub deleted: u64,
}

/// Cleans the request log up.
pub struct Cleaner {
    db: Db,
}

impl Cleaner {
    /// A cleaner that has not looked yet.
    #[must_use]
    pub fn new(db: Db) -> Self {
        Self { db }
    }

    /// Steps every ten minutes, until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        every(TICK, stop, "the request log cannot be cleaned up", || async {
            let Cleaned { made: _, dropped, deleted } = self.step(now()).await?;
            if dropped > 0 || deleted > 0 {
                tracing::info!(days = dropped, rows = deleted, "the request log is cleaned up");
            }
            Ok::<(), Error>(())
        })
        .await;
    }

    /// Makes the days ahead of `now` and drops what is past keeping.
    pub async fn step(&self, now: UnixMillis) -> Result<Cleaned, Error> {
        let settings = settings::stored(&catalogue::settings(self.db.reader()).await?)?.settings;
        let kept = kept_from(now, settings.log_retention_days);
        let mut cleaned = Cleaned { made: self.make_ahead(now).await?, ..Cleaned::default() };
        if self.db.reader().get_database_backend() == DbBackend::Postgres {
            let there = parts(self.db.reader()).await?;
            for part in there.into_iter().filter(|part| kept.is_some_and(|kept| is_past(*part, kept))) {
                cleaned.dropped += usize::from(discard(&self.db, part).await?);
            }
            // What a clock that was never set has dated is in a part that stays; its rows go like SQLite's.
            let (_, undated) = LogPart::Before.bounds();
            cleaned.deleted = self.delete_all(kept.min(undated)).await?;
        } else {
            cleaned.deleted = self.delete_all(kept).await?;
        }
        Ok(cleaned)
    }

    /// Makes the days ahead of `now`; answers how many were missing.
    pub async fn make_ahead(&self, now: UnixMillis) -> Result<usize, DbErr> {
        if self.db.reader().get_database_backend() != DbBackend::Postgres {
            return Ok(0);
        }
        let tx = self.db.write().await?;
        let made = if take_turn(&tx).await? { make(&tx, &made_ahead(now).collect()).await? } else { 0 };
        tx.commit().await?;
        Ok(made)
    }

    async fn delete_all(&self, before: Option<UnixMillis>) -> Result<u64, DbErr> {
        let Some(before) = before else { return Ok(0) };
        let mut deleted = 0;
        loop {
            let tx = self.db.write().await?;
            let rows = if take_turn(&tx).await? { delete_before(&tx, before, BATCH).await? } else { 0 };
            tx.commit().await?;
            deleted += rows;
            if rows < BATCH {
                return Ok(deleted);
            }
        }
    }
}

const TICK: Duration = Duration::from_secs(600);
/// A few milliseconds' work, for which booking waits on SQLite.
const BATCH: u64 = 500;
