//! What a dead process left: its ends are handed over, its open begins are booked as interrupted, and then its directory
//! goes, once budgets were told what it says. A crash, a new binary and a second process on the same directory are all this one case.

use super::directory::Abandoned;
use super::source::Adopted;
use super::{ASK_EVERY, Cache, UsageJournal};
use crate::events;
use shared::contract::begin::Begin;
use shared::ids::JournalId;
use shared::journal::{Next, Replay, records};
use shared::ports::{PortError, Progress, UsageBatch, UsageStream};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A journal that was adopted.
pub struct Left {
    directory: Abandoned,
    found: shared::journal::Found,
    progress: Progress,
    /// For whoever tells budgets what it says.
    adopted: Arc<Adopted>,
    asked_at: Option<Instant>,
    /// Its disk did not answer: it is looked at again then.
    rests_until: Option<Instant>,
    cache: Cache,
}

/// How a step went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Records moved.
    Moved,
    /// There was nothing to do, or no room.
    Idle,
    /// Its disk does not answer.
    Stuck,
}

impl Left {
    /// Adopts all journals whose processes are gone. Blocks.
    pub fn adopt(journal: &UsageJournal, root: &Path) -> Vec<Self> {
        let abandoned = match Abandoned::all(root) {
            Ok(abandoned) => abandoned,
            // The first process here.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                events::journal_unreadable(root, &error);
                Vec::new()
            }
        };
        abandoned.into_iter().filter_map(|directory| Self::read(journal, directory)).collect()
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
            match Begin::read(*id, begin).and_then(|record| Ok(record.to_json()?)) {
                Ok(json) => journal.end_at_once(*id, &json),
                Err(error) => events::begin_unreadable(*id, &error),
            }
        }
        events::journal_adopted(directory.id, &found);
        let progress = Progress { taken: found.floor, watermark: found.floor };
        let handed_on = journal.journal.lock().last_seq();
        let path = directory.path().to_owned();
        let adopted = Arc::new(Adopted::new(directory.id, found.clone(), path, handed_on));
        journal.note_adopted(adopted.clone());
        Some(Self {
            directory,
            found,
            progress,
            adopted,
            asked_at: None,
            rests_until: None,
            cache: Cache::default(),
        })
    }

    /// Whose it was.
    pub fn id(&self) -> JournalId {
        self.directory.id
    }

    /// Hands a batch over and takes away what is booked and told. `own_done` says up to which number that is so of our own.
    pub async fn step(
        &mut self,
        own_done: u64,
        max: usize,
        stream: &Arc<dyn UsageStream>,
    ) -> Result<Step, PortError> {
        let first = self.progress.taken + 1;
        let records = match self.found.next(first, max) {
            Next::Nothing => Vec::new(),
            Next::Here(records) => records,
            Next::There(number) => {
                let last = self.found.end_of(number);
                if self.rests_until.is_some_and(|until| Instant::now() < until) {
                    return Ok(Step::Stuck);
                }
                let Ok(segment) = self.cache.segment(number, last, self.directory.segment(number)).await
                else {
                    self.rests_until = Some(Instant::now() + UNREADABLE_RESTS);
                    return Ok(Step::Stuck);
                };
                records(&segment, first, last, max)
            }
        };
        let before = self.progress.taken;
        let may_ask = self.asked_at.is_none_or(|at| at.elapsed() >= ASK_EVERY);
        if self.progress.watermark < self.found.last_seq && (may_ask || !records.is_empty()) {
            self.asked_at = Some(Instant::now());
            let batch = UsageBatch { journal: self.id(), floor: self.progress.watermark, first, records };
            self.progress = stream.append(batch).await?;
        }
        let marks = &self.adopted.marks;
        marks.set_floor(self.progress.watermark);
        // Its begins are needed until our own ends for them are booked and told.
        if own_done >= self.adopted.handed_on {
            for number in self.found.take_removable(self.progress.watermark.min(marks.told())) {
                let _ = tokio::fs::remove_file(self.directory.segment(number)).await;
            }
        }
        Ok(if self.progress.taken == before { Step::Idle } else { Step::Moved })
    }

    /// True when nothing of it is needed any more.
    pub fn is_done(&self) -> bool {
        self.found.segments.is_empty() && self.adopted.is_released()
    }

    /// Takes its directory away.
    pub fn remove(self) {
        let id = self.id();
        match self.directory.remove() {
            Ok(()) => events::journal_done(id),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => events::journal_unreadable(self.directory.path(), &error),
        }
    }
}

/// How soon a segment that could not be read is tried again.
const UNREADABLE_RESTS: Duration = Duration::from_secs(10);
