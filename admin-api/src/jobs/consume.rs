//! Books usage: takes records from the source, writes them, and only then lets the source forget them.
//!
//! A crash between writing and acknowledging brings the same records again; booking is idempotent. A database
//! that is away is asked again with growing pauses; records wait at the source meanwhile. A record that the database
//! refuses for good would make all that follow wait for ever: it is set aside, whole, and told. So is an entry that
//! this release cannot read.

use crate::repo::db::Db;
use crate::repo::refusal::Refusal;
use crate::service::books::{Booked, Watermarks, book, set_aside, set_aside_unreadable};
use crate::telemetry::Metrics;
use sea_orm::DbErr;
use shared::contract::usage::UsageRecord;
use shared::ports::{Lent, PortError, Receipt, UsageSource};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use thiserror::Error;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Why a step failed. Nothing is lost: the same records come again.
#[derive(Debug, Error)]
pub enum ConsumeError {
    /// The source cannot be reached.
    #[error("usage source: {0}")]
    Source(#[from] PortError),
    /// The database refuses or is away.
    #[error("database: {0}")]
    Database(#[from] DbErr),
    /// The database did not answer in time.
    #[error("the database did not answer within {} s", BOOK_DEADLINE.as_secs())]
    Deadline,
}

/// What a step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Consumed {
    /// Records taken from the source.
    pub records: usize,
    /// What of them was new.
    pub booked: Booked,
    /// How many of them were set aside.
    pub refused: usize,
}

/// Brings usage from the source to the books.
pub struct Consumer {
    db: Db,
    source: Arc<dyn UsageSource>,
    /// Records set aside since the start.
    refused: AtomicUsize,
    metrics: Option<Arc<Metrics>>,
}

impl Consumer {
    /// A consumer of this source.
    #[must_use]
    pub fn new(db: Db, source: Arc<dyn UsageSource>) -> Self {
        Self { db, source, refused: AtomicUsize::new(0), metrics: None }
    }

    /// The same, counted here.
    #[must_use]
    pub fn counted(self, metrics: Arc<Metrics>) -> Self {
        Self { metrics: Some(metrics), ..self }
    }

    /// Steps until told to stop, then until the source is empty or the deadline for that has passed.
    pub async fn run(self, stop: CancellationToken) {
        let mut pause = IDLE_PAUSE;
        let mut was_fine = true;
        while !stop.is_cancelled() {
            pause = match self.step().await {
                // A full batch: there is more.
                Ok(consumed) if consumed.records == BATCH => continue,
                Ok(_) => {
                    if !was_fine {
                        tracing::info!("usage is booked again");
                    }
                    was_fine = true;
                    IDLE_PAUSE
                }
                Err(error) => {
                    // Told once, not with each try.
                    if was_fine {
                        tracing::error!(%error, "usage cannot be booked; trying again");
                    }
                    was_fine = false;
                    (pause * 2).min(LONGEST_PAUSE)
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        match timeout(DRAIN_DEADLINE, self.drain()).await {
            Ok(Ok(records)) => tracing::info!(records, "usage is booked to the last record"),
            Ok(Err(error)) => tracing::error!(%error, "usage could not be booked to the last record"),
            Err(_) => tracing::error!("usage could not be booked to the last record in time"),
        }
    }

    /// Books everything the source has; answers how many records that were.
    pub async fn drain(&self) -> Result<usize, ConsumeError> {
        let mut records = 0;
        loop {
            match self.step().await?.records {
                0 => return Ok(records),
                n => records += n,
            }
        }
    }

    /// Books one batch.
    pub async fn step(&self) -> Result<Consumed, ConsumeError> {
        let done = self.book_next().await;
        if let Some(metrics) = &self.metrics {
            metrics.count_usage(done.as_ref());
        }
        done
    }

    async fn book_next(&self) -> Result<Consumed, ConsumeError> {
        let lent = self.source.take(BATCH).await?;
        if lent.is_empty() {
            return Ok(Consumed::default());
        }
        for lent in &lent.unreadable {
            self.refuse_unreadable(lent).await?;
        }
        let mut consumed = self.book_all(&lent.records).await?;
        consumed.records += lent.unreadable.len();
        consumed.refused += lent.unreadable.len();
        Ok(consumed)
    }

    async fn book_all(&self, lent: &[Lent<UsageRecord>]) -> Result<Consumed, ConsumeError> {
        if lent.is_empty() {
            return Ok(Consumed::default());
        }
        match in_time(book(&self.db, lent)).await? {
            Ok((booked, watermarks)) => {
                self.let_go(lent, &watermarks).await?;
                Ok(Consumed { records: lent.len(), booked, refused: 0 })
            }
            Err(error) if Refusal::of(&error).is_some() => self.book_singly(lent).await,
            Err(error) => Err(error.into()),
        }
    }

    /// Books records one at a time, because the database refuses something of them together.
    async fn book_singly(&self, lent: &[Lent<UsageRecord>]) -> Result<Consumed, ConsumeError> {
        let mut consumed = Consumed::default();
        for lent in lent {
            let one = std::slice::from_ref(lent);
            match in_time(book(&self.db, one)).await? {
                Ok((booked, watermarks)) => {
                    consumed.booked.requests += booked.requests;
                    consumed.booked.attempts += booked.attempts;
                    self.let_go(one, &watermarks).await?;
                }
                Err(error) => {
                    let refusal = Refusal::of(&error).ok_or(error)?;
                    self.refuse(lent, &refusal).await?;
                    consumed.refused += 1;
                }
            }
            consumed.records += 1;
        }
        Ok(consumed)
    }

    /// What cannot be read stays whole as well: a later release may read it.
    async fn refuse_unreadable(&self, lent: &Lent<String>) -> Result<(), ConsumeError> {
        let (is_new, watermarks) = in_time(set_aside_unreadable(&self.db, lent)).await??;
        let refused = self.refused.fetch_add(usize::from(is_new), Ordering::Relaxed) + usize::from(is_new);
        let receipt = lent.receipt;
        tracing::error!(?receipt, refused, "usage cannot be read: kept in usage_dead_letters");
        self.let_go(std::slice::from_ref(lent), &watermarks).await
    }

    async fn refuse(&self, lent: &Lent<UsageRecord>, refusal: &Refusal) -> Result<(), ConsumeError> {
        let (is_new, watermarks) = in_time(set_aside(&self.db, lent, refusal)).await??;
        let refused = self.refused.fetch_add(usize::from(is_new), Ordering::Relaxed) + usize::from(is_new);
        let request_id = lent.record.request.id;
        tracing::error!(%request_id, reason = %refusal, refused, "usage is refused by the database: kept in usage_dead_letters");
        self.let_go(std::slice::from_ref(lent), &watermarks).await
    }

    async fn let_go<T>(&self, lent: &[Lent<T>], watermarks: &Watermarks) -> Result<(), ConsumeError> {
        let receipts: Vec<Receipt> = lent.iter().map(|lent| lent.receipt).collect();
        Ok(self.source.acknowledge(&receipts, watermarks).await?)
    }
}

async fn in_time<T>(work: impl Future<Output = T>) -> Result<T, ConsumeError> {
    timeout(BOOK_DEADLINE, work).await.map_err(|_| ConsumeError::Deadline)
}

/// Records a transaction: large enough for thousands a second, small enough that others get their turn on SQLite.
const BATCH: usize = 1_000;
/// A look at an empty queue costs a lock, or a call on Redis; records are in the log a moment after their request.
const IDLE_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const BOOK_DEADLINE: Duration = Duration::from_secs(30);
const DRAIN_DEADLINE: Duration = Duration::from_secs(30);
