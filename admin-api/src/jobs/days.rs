//! Sums the days that are over, so that statistics need not read their hours: each new day, at the first start those that
//! were there before, and those again whose hours changed. A day is a transaction, in which the database does the work.
//!
//! Several admin-apis may run this at once: a day is made by the first. They must be told the same zone (`TZ`): each makes
//! the days of its own, and would replace the other's. Even then no number is wrong, only slower to come.

use super::every;
use crate::repo::db::Db;
use crate::repo::refusal::Refusal;
use crate::repo::usage_days::{first_hour, make_once, that_hold};
use crate::service::now;
use jiff::tz::TimeZone;
use sea_orm::DbErr;
use shared::rules::usage_days::{Span, due};
use shared::time::UnixMillis;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Sums days.
pub struct Days {
    db: Db,
    zone: TimeZone,
}

impl Days {
    /// A job that sums the days of this zone and has not looked yet.
    #[must_use]
    pub fn new(db: Db, zone: TimeZone) -> Self {
        Self { db, zone }
    }

    /// Sums what was found at the start, then steps every ten minutes, until told to stop.
    pub async fn run(self, found: Vec<Span>, stop: CancellationToken) {
        let first = async {
            if let Err(error) = self.sum(found).await {
                tracing::warn!(%error, "days cannot be summed yet; trying again in ten minutes");
            }
        };
        stop.run_until_cancelled(first).await;
        every(TICK, stop, "days cannot be summed", || async { self.step(now()).await.map(|_| ()) }).await;
    }

    /// Sums what is over by `now` and has no sums that hold; answers how many days those were.
    pub async fn step(&self, now: UnixMillis) -> Result<usize, DbErr> {
        self.sum(self.find(now).await?).await
    }

    /// The days that are over by `now` and have no sums that hold, newest first.
    pub async fn find(&self, now: UnixMillis) -> Result<Vec<Span>, DbErr> {
        let Some(oldest) = first_hour(self.db.reader()).await? else { return Ok(Vec::new()) };
        Ok(due(&self.zone, now, oldest, &that_hold(self.db.reader()).await?))
    }

    async fn sum(&self, days: Vec<Span>) -> Result<usize, DbErr> {
        let mut made = 0;
        for day in days {
            match make_once(&self.db, day).await {
                Ok(is_new) => made += usize::from(is_new),
                // A day that comes to more than a column holds stays with its hours; the others do not wait for it.
                Err(error) if Refusal::of(&error).is_some() => {
                    tracing::warn!(%error, day = %day.start, "this day cannot be summed");
                }
                Err(error) => return Err(error),
            }
        }
        if made > 0 {
            tracing::info!(days = made, "days are summed");
        }
        Ok(made)
    }
}

const TICK: Duration = Duration::from_secs(600);
