//! What a dead process left: its ends are handed over, its open begins are booked as interrupted, and then its directory
//! goes, once budgets were told what it says. A crash, a new binary and a second process on the same directory are all this one case.

use super::directory::Abandoned;
use super::scan::{Scan, identity};
use super::source::Adopted;
use super::{Cache, UsageJournal};
use crate::events;
use crate::hub::now;
use shared::contract::begin::Begin;
use shared::ids::JournalId;
use shared::journal::{Handover, Level, Next, Replay, Step, records};
use shared::ports::{PortError, UsageBatch, UsageStream};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

/// A journal that was adopted.
pub struct Left {
    directory: Abandoned,
    found: shared::journal::Found,
    handover: Handover,
    /// For whoever tells budgets what it says.
    adopted: Arc<Adopted>,
    cache: Cache,
}

impl Left {
    /// Adopts all journals whose processes are gone. Blocks.
    pub fn adopt(journal: &UsageJournal, root: &Path) -> Vec<Self> {
        let at = now();
        let of_root = identity(root, at);
        let (abandoned, there) = match Abandoned::all(root) {
            Ok(found) => found,
            // The first process here.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Default::default(),
            Err(error) => {
                events::journal_unreadable(root, &error);
                return Vec::new();
            }
        };
        // What can be locked is nobody's: this process's own has lost its name to another one.
        let abandoned: Vec<_> =
            abandoned.into_iter().filter(|directory| directory.id != journal.id()).collect();
        // Before it is said that they are there, so that no beat names one and not who adopts it.
        journal.adopting.lock().extend(abandoned.iter().map(|directory| directory.id));
        // Before any of them is adopted: whoever has one in hands has said that it is there.
        journal.note_scan(Scan { root: of_root, there, at });
        let read = |directory: Abandoned| {
            let id = directory.id;
            let left = Self::read(journal, directory);
            if left.is_none() {
                journal.adopting.lock().remove(&id);
            }
            left
        };
        abandoned.into_iter().filter_map(read).collect()
    }

    fn read(journal: &UsageJournal, directory: Abandoned) -> Option<Self> {
        let mut replay = Replay::default();
        let read = directory.segments().and_then(|numbers| {
            for number in numbers {
                let mut file = File::open(directory.segment(number))?;
                // Our own journal will rest on what is read here.
                file.sync_all()?;
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes)?;
                replay.read(number, &bytes);
            }
            Ok(())
        });
        if let Err(error) = read {
            events::journal_unreadable(directory.path(), &error);
            return None;
        }
        let found = replay.finish();
        for (id, begin) in &found.open {
            let cut = Begin::read(*id, begin).and_then(|mut record| {
                record.was_interrupted();
                Ok(record.to_bytes()?)
            });
            match cut {
                Ok(record) => journal.end_at_once(*id, &record),
                Err(error) => events::begin_unreadable(*id, &error),
            }
        }
        events::journal_adopted(directory.id, &found);
        let handover = Handover::from(found.floor);
        let handed_on = journal.journal.lock().last_seq();
        let path = directory.path().to_owned();
        let adopted = Arc::new(Adopted::new(directory.id, found.clone(), path, handed_on));
        journal.note_adopted(adopted.clone());
        Some(Self { directory, found, handover, adopted, cache: Cache::default() })
    }

    /// Whose it was.
    pub fn id(&self) -> JournalId {
        self.directory.id
    }

    /// Hands a batch over and takes away what is booked and told. `own` says how far that is so of our own.
    pub async fn step(
        &mut self,
        own: Level,
        (max, now_ms): (usize, u64),
        stream: &Arc<dyn UsageStream>,
    ) -> Result<Step, PortError> {
        let first = self.handover.first();
        let records = match self.found.next(first, max) {
            Next::Nothing => Vec::new(),
            Next::Here(records) => records,
            Next::There(number) => {
                let last = self.found.end_of(number);
                if !self.handover.may_read(now_ms) {
                    return Ok(Step::Stuck);
                }
                let Ok(segment) = self.cache.segment(number, last, self.directory.segment(number)).await
                else {
                    self.handover.unreadable(now_ms);
                    return Ok(Step::Stuck);
                };
                records(&segment, first, last, max)
            }
        };
        let mut step = Step::Idle;
        if self.handover.asks(!records.is_empty(), self.found.last_seq, now_ms) {
            let batch = UsageBatch { journal: self.id(), floor: self.handover.watermark(), first, records };
            step = self.handover.heard(stream.append(batch).await?);
        }
        let marks = &self.adopted.marks;
        marks.set_floor(self.handover.watermark());
        for number in self.found.take_needless(marks.level(), own, self.adopted.handed_on) {
            let _ = tokio::fs::remove_file(self.directory.segment(number)).await;
        }
        Ok(step)
    }

    /// True when nothing of it is needed any more.
    pub fn is_done(&self) -> bool {
        self.found.segments.is_empty() && self.adopted.is_released()
    }

    /// Takes its directory away.
    pub fn remove(self, journal: &UsageJournal) {
        let id = self.id();
        journal.adopting.lock().remove(&id);
        match self.directory.remove() {
            Ok(()) => events::journal_done(id),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => events::journal_unreadable(self.directory.path(), &error),
        }
    }
}
