//! In-process adapters of all ports: for `standalone` and for tests.

use crate::contract::node::NodeBeat;
use crate::contract::snapshot::Snapshot;
use crate::contract::usage::UsageRecord;
use crate::ids::Revision;
use crate::ports::{
    Backlog, ConfigFeed, ConfigNews, Delivery, NodeRegistry, PortError, Publisher, Receipt, UsageSink,
    UsageSource,
};
use async_trait::async_trait;
use std::collections::{BTreeMap, VecDeque};
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
    async fn changed(&self, after: Option<Revision>) {
        let mut receiver = self.newest.subscribe();
        let is_newer =
            |newest: &Option<Arc<Snapshot>>| newest.as_ref().is_some_and(|s| Some(s.revision) > after);
        // The sender lives in `self`: it cannot be gone.
        let _ = receiver.wait_for(is_newer).await;
    }

    async fn read(&self, after: Option<Revision>) -> Result<ConfigNews, PortError> {
        Ok(match &*self.newest.borrow() {
            None => ConfigNews::Nothing,
            Some(newest) if Some(newest.revision) <= after => ConfigNews::Level(newest.revision),
            Some(newest) => ConfigNews::Whole(newest.clone()),
        })
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
    queue: Mutex<Queue>,
    bound: usize,
}

#[derive(Debug, Default)]
struct Queue {
    records: VecDeque<(Receipt, UsageRecord)>,
    handed_over: u64,
}

impl MemoryUsage {
    /// A queue of at most `bound` records.
    #[must_use]
    pub fn new(bound: usize) -> Self {
        Self { queue: Mutex::default(), bound }
    }

    /// Records that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.lock().records.len()
    }

    /// Lets the oldest `count` records go, unseen.
    pub fn discard(&self, count: usize) {
        let records = &mut self.lock().records;
        let count = count.min(records.len());
        records.drain(..count);
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // A panic while holding the lock leaves a whole queue behind: each operation is one call on it.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl UsageSink for MemoryUsage {
    async fn record(&self, record: UsageRecord) -> Result<(), PortError> {
        let mut queue = self.lock();
        if queue.records.len() >= self.bound {
            return Err(PortError::Full);
        }
        queue.handed_over += 1;
        let receipt = Receipt(0, queue.handed_over);
        queue.records.push_back((receipt, record));
        Ok(())
    }
}

#[async_trait]
impl UsageSource for MemoryUsage {
    async fn take(&self, max: usize) -> Result<Delivery, PortError> {
        let records = self.lock().records.iter().take(max).cloned().collect();
        Ok(Delivery { records, unreadable: Vec::new() })
    }

    async fn acknowledge(&self, receipts: &[Receipt]) -> Result<(), PortError> {
        let mut queue = self.lock();
        for receipt in receipts {
            // In order, as they were taken: the first one is at the front.
            if let Ok(place) = queue.records.binary_search_by_key(receipt, |(receipt, _)| *receipt) {
                queue.records.remove(place);
            }
        }
        Ok(())
    }

    async fn backlog(&self) -> Result<Backlog, PortError> {
        let queue = self.lock();
        // No clock here: a record is handed over when its request has ended.
        let ended =
            |record: &UsageRecord| record.request.started_at.plus_ms(record.request.timing.duration_ms);
        Ok(Backlog {
            waiting: u64::try_from(queue.records.len()).unwrap_or(u64::MAX),
            // It is not kept who looked at what: all of it is still here.
            lent: 0,
            oldest_at: queue.records.front().map(|(_, record)| ended(record)),
        })
    }
}

/// Nodes of one process. They end with it, so that none has to be missed: who beat and did not leave is there.
#[derive(Debug, Default)]
pub struct MemoryNodes {
    beats: Mutex<BTreeMap<String, NodeBeat>>,
}

impl MemoryNodes {
    /// Nobody is there yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, NodeBeat>> {
        self.beats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl NodeRegistry for MemoryNodes {
    async fn beat(&self, beat: NodeBeat) -> Result<(), PortError> {
        self.lock().insert(beat.id.clone(), beat);
        Ok(())
    }

    async fn leave(&self, id: &str) -> Result<(), PortError> {
        self.lock().remove(id);
        Ok(())
    }

    async fn nodes(&self) -> Result<Vec<NodeBeat>, PortError> {
        Ok(self.lock().values().cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::conformance;

    #[tokio::test]
    async fn the_in_process_adapters_conform() {
        let config = MemoryConfig::new();
        conformance::config(&config, &config).await;
        let usage = MemoryUsage::new(conformance::USAGE_BOUND);
        conformance::usage(&usage, &usage).await;
        conformance::nodes(&MemoryNodes::new()).await;
    }
}
