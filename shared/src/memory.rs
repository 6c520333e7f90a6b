//! In-process adapters of all ports: for `standalone` and for tests.

mod breakers;
mod news;
mod quotas;
mod responses;
mod sessions;

pub use breakers::MemoryBreakers;
pub use news::NewsQueue;
pub use quotas::MemoryQuotas;
pub use responses::MemoryResponses;
pub use sessions::MemorySessions;

use crate::contract::in_flight::InFlight;
use crate::contract::node::{NodeBeat, NodeKind};
use crate::contract::snapshot::Snapshot;
use crate::contract::usage::UsageRecord;
use crate::ids::{JournalId, Revision};
use crate::ports::{
    Backlog, ConfigFeed, ConfigNews, Delivery, NodeInFlight, NodeRegistry, Place, PortError, Progress,
    Publisher, Receipt, UsageBatch, UsageSource, UsageStream,
};
use crate::rules::journal::intake;
use async_trait::async_trait;
use bytes::Bytes;
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

/// Usage on its way from journals to the books. Bounded: what has no room stays in its journal.
///
/// A plain locked queue that the consumer polls: waking a consumer on another runtime for each request
/// costs a system call (`reference/pingora.md` §3.2.7).
#[derive(Debug)]
pub struct MemoryUsage {
    stream: Mutex<Stream>,
    bound: usize,
}

#[derive(Debug, Default)]
struct Stream {
    entries: VecDeque<Entry>,
    handed_over: u64,
    journals: BTreeMap<JournalId, Progress>,
}

#[derive(Clone, Debug)]
struct Entry {
    receipt: Receipt,
    place: Place,
    record: Bytes,
}

impl MemoryUsage {
    /// At most `bound` records of each journal wait.
    #[must_use]
    pub fn new(bound: usize) -> Self {
        Self { stream: Mutex::default(), bound }
    }

    /// Records that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.lock().entries.len()
    }

    /// Lets the oldest `count` records go, unseen, as if they were in the books.
    pub fn discard(&self, count: usize) {
        let stream = &mut *self.lock();
        let count = count.min(stream.entries.len());
        for entry in stream.entries.drain(..count) {
            raise(&mut stream.journals, entry.place.journal, entry.place.seq);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Stream> {
        // A panic while holding the lock leaves a whole stream behind: what is taken is said last.
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn raise(journals: &mut BTreeMap<JournalId, Progress>, journal: JournalId, watermark: u64) {
    let progress = journals.entry(journal).or_default();
    progress.watermark = progress.watermark.max(watermark);
    progress.taken = progress.taken.max(progress.watermark);
}

#[async_trait]
impl UsageStream for MemoryUsage {
    async fn append(&self, batch: UsageBatch) -> Result<Progress, PortError> {
        let stream = &mut *self.lock();
        let UsageBatch { journal, floor, first, records } = batch;
        let known = stream.journals.get(&journal).copied();
        let intake = intake(known, floor, first, records.len(), self.bound as u64);
        for n in intake.records.clone() {
            stream.handed_over += 1;
            let place = Place { journal, seq: first + n as u64, floor };
            let receipt = Receipt(0, stream.handed_over);
            stream.entries.push_back(Entry { receipt, place, record: records[n].clone() });
        }
        stream.journals.insert(journal, intake.progress);
        Ok(intake.progress)
    }
}

#[async_trait]
impl UsageSource for MemoryUsage {
    async fn take(&self, max: usize) -> Result<Delivery, PortError> {
        let entries: Vec<Entry> = self.lock().entries.iter().take(max).cloned().collect();
        let mut delivery = Delivery::default();
        for Entry { receipt, place, record } in entries {
            delivery.add(receipt, Some(place), &record);
        }
        Ok(delivery)
    }

    async fn acknowledge(
        &self,
        receipts: &[Receipt],
        watermarks: &[(JournalId, u64)],
    ) -> Result<(), PortError> {
        let stream = &mut *self.lock();
        for receipt in receipts {
            // In order, as they were taken: the first one is at the front.
            if let Ok(place) = stream.entries.binary_search_by_key(receipt, |entry| entry.receipt) {
                stream.entries.remove(place);
            }
        }
        for (journal, watermark) in watermarks {
            raise(&mut stream.journals, *journal, *watermark);
        }
        Ok(())
    }

    async fn backlog(&self) -> Result<Backlog, PortError> {
        let stream = self.lock();
        // No clock here: a record is handed over when its request has ended.
        let ended =
            |record: UsageRecord| record.request.started_at.plus_ms(record.request.timing.duration_ms);
        let oldest = stream.entries.front().and_then(|entry| UsageRecord::from_bytes(&entry.record));
        Ok(Backlog {
            waiting: u64::try_from(stream.entries.len()).unwrap_or(u64::MAX),
            // It is not kept who looked at what: all of it is still here.
            lent: 0,
            oldest_at: oldest.map(ended),
        })
    }
}

/// Nodes of one process. They end with it, so that none has to be missed: who beat and did not leave is there.
#[derive(Debug, Default)]
pub struct MemoryNodes {
    told: Mutex<BTreeMap<String, Told>>,
}

/// What a node told last.
#[derive(Debug)]
struct Told {
    beat: NodeBeat,
    in_flight: Option<InFlight>,
}

impl MemoryNodes {
    /// Nobody is there yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Told>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl NodeRegistry for MemoryNodes {
    async fn beat(&self, beat: NodeBeat, in_flight: Option<InFlight>) -> Result<(), PortError> {
        let mut told = self.lock();
        let before = told.remove(&beat.id).and_then(|told| told.in_flight);
        told.insert(beat.id.clone(), Told { beat, in_flight: in_flight.or(before) });
        Ok(())
    }

    async fn leave(&self, id: &str) -> Result<(), PortError> {
        self.lock().remove(id);
        Ok(())
    }

    async fn nodes(&self) -> Result<Vec<NodeBeat>, PortError> {
        Ok(self.lock().values().map(|told| told.beat.clone()).collect())
    }

    async fn in_flight(&self) -> Result<Vec<NodeInFlight>, PortError> {
        let node =
            |(id, told): (&String, &Told)| NodeInFlight { id: id.clone(), told: told.in_flight.clone() };
        let told = self.lock();
        Ok(told.iter().filter(|(_, told)| told.beat.kind != NodeKind::Left).map(node).collect())
    }

    fn is_in_process(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::conformance;
    use crate::time::UnixMillis;
    use std::sync::atomic::{AtomicI64, Ordering};

    #[tokio::test]
    async fn the_in_process_adapters_conform() {
        let config = MemoryConfig::new();
        conformance::config(&config, &config).await;
        let usage = MemoryUsage::new(12);
        conformance::usage(&usage, &usage, 12).await;
        let (before, after) = (MemoryUsage::new(12), MemoryUsage::new(12));
        conformance::usage_before_a_loss(&before, &before).await;
        conformance::usage_after_a_loss(&after, &after).await;
        conformance::nodes(&MemoryNodes::new()).await;
        // Each look at the clock is a millisecond later.
        static CLOCK: AtomicI64 = AtomicI64::new(1_790_000_000_000);
        let now = || UnixMillis(CLOCK.fetch_add(1, Ordering::Relaxed));
        conformance::breakers(&MemoryBreakers::new(now)).await;
        conformance::quotas(&MemoryQuotas::new(now)).await;
    }
}
