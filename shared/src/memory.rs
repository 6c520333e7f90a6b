//! In-process adapters of all ports: for `standalone` and for tests.

use crate::contract::snapshot::Snapshot;
use crate::contract::usage::UsageRecord;
use crate::ids::Revision;
use crate::ports::{ConfigFeed, PortError, Publisher, UsageSink, UsageSource};
use async_trait::async_trait;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// The newest snapshot, shared between a publisher and its readers.
#[derive(Debug)]
pub struct MemoryConfig {
    newest: watch::Sender<Option<Arc<Snapshot>>>,
    applied: watch::Sender<Option<Revision>>,
}

impl MemoryConfig {
    /// Nothing is published yet.
    #[must_use]
    pub fn new() -> Self {
        Self { newest: watch::Sender::new(None), applied: watch::Sender::new(None) }
    }

    /// The revision in force at the reader, as it last told; `None` while there is no reader.
    #[must_use]
    pub fn in_force(&self) -> watch::Receiver<Option<Revision>> {
        self.applied.subscribe()
    }
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl ConfigFeed for MemoryConfig {
    async fn next(&self, after: Option<Revision>) -> Result<Arc<Snapshot>, PortError> {
        let mut receiver = self.newest.subscribe();
        let is_newer =
            |newest: &Option<Arc<Snapshot>>| newest.as_ref().is_some_and(|s| Some(s.revision) > after);
        let newest = receiver.wait_for(is_newer).await.map_err(|_| PortError::Unavailable)?;
        newest.clone().ok_or(PortError::Unavailable)
    }

    fn applied(&self, revision: Revision) {
        self.applied.send_replace(Some(revision));
    }
}

#[async_trait]
impl Publisher for MemoryConfig {
    async fn published(&self) -> Result<Option<Revision>, PortError> {
        Ok(self.newest.borrow().as_ref().map(|s| s.revision))
    }

    async fn publish(&self, snapshot: Snapshot) -> Result<(), PortError> {
        let is_published = self.newest.send_if_modified(|newest| {
            let is_newer = newest.as_ref().is_none_or(|old| old.revision < snapshot.revision);
            if is_newer {
                *newest = Some(Arc::new(snapshot));
            }
            is_newer
        });
        if is_published { Ok(()) } else { Err(PortError::Stale) }
    }
}

/// A bounded queue of usage records. Full = [`PortError::Full`]; nothing is dropped silently.
///
/// A plain locked queue that the consumer polls: waking a consumer on another runtime for each request
/// costs a system call (`reference/pingora.md` §3.2.7).
#[derive(Debug)]
pub struct MemoryUsage {
    records: Mutex<VecDeque<UsageRecord>>,
    bound: usize,
}

impl MemoryUsage {
    /// A queue of at most `bound` records.
    #[must_use]
    pub fn new(bound: usize) -> Self {
        Self { records: Mutex::new(VecDeque::new()), bound }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<UsageRecord>> {
        // A panic while holding the lock leaves a whole queue behind: each operation is one call on it.
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl UsageSink for MemoryUsage {
    async fn record(&self, record: UsageRecord) -> Result<(), PortError> {
        let mut records = self.lock();
        if records.len() >= self.bound {
            return Err(PortError::Full);
        }
        records.push_back(record);
        Ok(())
    }
}

#[async_trait]
impl UsageSource for MemoryUsage {
    async fn peek(&self, max: usize) -> Result<Vec<UsageRecord>, PortError> {
        Ok(self.lock().iter().take(max).cloned().collect())
    }

    async fn acknowledge(&self, count: usize) -> Result<(), PortError> {
        let mut records = self.lock();
        let count = count.min(records.len());
        records.drain(..count);
        Ok(())
    }
}
