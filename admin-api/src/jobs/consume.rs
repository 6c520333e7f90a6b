//! Books usage: takes records from the source, writes them, and only then lets the source forget them.
//!
//! A crash between writing and acknowledging brings the same records again; booking is idempotent. A database
//! that is away is asked again with growing pauses; records wait at the source meanwhile.

use crate::repo::db::Db;
use crate::service::books::{Booked, book};
use sea_orm::DbErr;
use shared::ports::{PortError, UsageSource};
use std::sync::Arc;
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
}

/// Brings usage from the source to the books.
pub struct Consumer {
    db: Db,
    source: Arc<dyn UsageSource>,
}

impl Consumer {
    /// A consumer of this source.
    #[must_use]
    pub fn new(db: Db, source: Arc<dyn UsageSource>) -> Self {
        Self { db, source }
    }

    /// Steps until told to stop, then until the source is empty or the deadline for that has passed.
    pub async fn run(self, stop: CancellationToken) {
        let mut pause = IDLE_PAUSE;
        while !stop.is_cancelled() {
            pause = match self.step().await {
                // A full batch: there is more.
                Ok(consumed) if consumed.records == BATCH => continue,
                Ok(_) => IDLE_PAUSE,
                Err(error) => {
                    let pause = (pause * 2).min(LONGEST_PAUSE);
                    tracing::error!(%error, retry_in_ms = pause.as_millis(), "usage cannot be booked");
                    pause
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
        let records = self.source.peek(BATCH).await?;
        if records.is_empty() {
            return Ok(Consumed::default());
        }
        let booking = timeout(BOOK_DEADLINE, book(&self.db, &records));
        let booked = booking.await.map_err(|_| ConsumeError::Deadline)??;
        self.source.acknowledge(records.len()).await?;
        Ok(Consumed { records: records.len(), booked })
    }
}

/// Records a transaction: large enough for thousands a second, small enough to be quick.
const BATCH: usize = 256;
/// A look at an empty in-process queue costs a lock; records are in the log a moment after their request.
const IDLE_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const BOOK_DEADLINE: Duration = Duration::from_secs(30);
const DRAIN_DEADLINE: Duration = Duration::from_secs(30);
