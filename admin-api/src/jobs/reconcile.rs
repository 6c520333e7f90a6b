//! Publishes the configuration: compares the database's revision with the published one and closes the gap.
//!
//! Not a step of the request that made a change: it runs every 500 ms and at once when nudged, so that a change
//! is published also when the process that committed it died, the publisher was away, or nobody waited.

use crate::error::Error;
use crate::repo::db::Db;
use crate::repo::revision;
use crate::service::{Publishing, snapshot};
use crate::telemetry::Metrics;
use shared::ids::Revision;
use shared::ports::{PortError, Publisher};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

/// Why a step failed. The next one tries again.
#[derive(Debug, Error)]
pub enum ReconcileError {
    /// The database cannot be read.
    #[error(transparent)]
    Database(#[from] Error),
    /// The publisher cannot be reached.
    #[error("publisher: {0}")]
    Publisher(#[from] PortError),
    /// A step took too long.
    #[error("no answer within {} s", STEP_DEADLINE.as_secs())]
    Deadline,
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There was nothing to publish.
    Level,
    /// It published.
    Published,
    /// Another admin-api was faster.
    Overtaken,
}

/// Keeps the published configuration at the database's revision.
pub struct Reconciler {
    db: Db,
    publisher: Arc<dyn Publisher>,
    nudge: Arc<Notify>,
    published: watch::Sender<Option<Revision>>,
    metrics: Option<Arc<Metrics>>,
}

impl Reconciler {
    /// A reconciler that has not looked yet.
    #[must_use]
    pub fn new(db: Db, publisher: Arc<dyn Publisher>) -> Self {
        Self {
            db,
            publisher,
            nudge: Arc::new(Notify::new()),
            published: watch::Sender::new(None),
            metrics: None,
        }
    }

    /// The same, counted here.
    #[must_use]
    pub fn counted(self, metrics: Arc<Metrics>) -> Self {
        Self { metrics: Some(metrics), ..self }
    }

    /// How services talk to it.
    #[must_use]
    pub fn publishing(&self) -> Publishing {
        Publishing { nudge: Arc::clone(&self.nudge), published: self.published.subscribe() }
    }

    /// Steps at once when nudged, else twice a second, until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut was_fine = true;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
                () = self.nudge.notified() => {}
            }
            match self.step().await {
                Ok(revision) => {
                    if !was_fine {
                        tracing::info!(%revision, "configuration is published again");
                    }
                    was_fine = true;
                }
                Err(error) => {
                    // Told once, not twice a second.
                    if was_fine {
                        tracing::error!(%error, "configuration cannot be published");
                    }
                    was_fine = false;
                }
            }
        }
    }

    /// Publishes the newest revision if it is not; answers what is published then.
    pub async fn step(&self) -> Result<Revision, ReconcileError> {
        let closed = timeout(STEP_DEADLINE, self.close_gap()).await;
        let closed = closed.unwrap_or(Err(ReconcileError::Deadline));
        if let Some(metrics) = &self.metrics {
            metrics.count_reconcile(closed.as_ref().map(|(_, outcome)| *outcome));
        }
        closed.map(|(revision, _)| revision)
    }

    async fn close_gap(&self) -> Result<(Revision, Outcome), ReconcileError> {
        let wanted = revision::newest(self.db.reader()).await.map_err(Error::from)?;
        let mut published = self.publisher.published().await?;
        let mut outcome = Outcome::Level;
        if published < Some(wanted) {
            let snapshot = snapshot::build(&self.db).await?;
            let built = snapshot.revision;
            (published, outcome) = match self.publisher.publish(snapshot).await {
                Ok(()) => (Some(built), Outcome::Published),
                Err(PortError::Stale) => (self.publisher.published().await?, Outcome::Overtaken),
                Err(error) => return Err(error.into()),
            };
            tracing::debug!(revision = %built, "configuration published");
        }
        self.published.send_if_modified(|seen| {
            let is_news = *seen < published;
            *seen = (*seen).max(published);
            is_news
        });
        Ok((published.unwrap_or(wanted), outcome))
    }
}

const TICK: Duration = Duration::from_millis(500);
const STEP_DEADLINE: Duration = Duration::from_secs(30);
