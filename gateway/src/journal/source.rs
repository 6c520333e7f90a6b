//! A journal as those read it who tell what requests cost: by number, beside whoever writes it and hands it over.

use super::directory::segment;
use super::{Cache, LOCK_PATIENCE, UsageJournal};
use bytes::Bytes;
use shared::ids::JournalId;
use shared::journal::{Found, Level, Next, records};
use shared::ports::PortError;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How far a journal is. The floor may lag behind the books; nothing of it is deleted above it that was not told.
#[derive(Debug)]
pub struct Marks {
    last: AtomicU64,
    floor: AtomicU64,
    told: AtomicU64,
}

impl Marks {
    /// Nothing of it may go before `told` is moved on.
    pub(super) fn new(last: u64, floor: u64, told: u64) -> Self {
        Self { last: AtomicU64::new(last), floor: AtomicU64::new(floor), told: AtomicU64::new(told) }
    }

    /// The last number.
    pub fn last(&self) -> u64 {
        self.last.load(Ordering::SeqCst)
    }

    /// All up to this number are in the books.
    pub fn floor(&self) -> u64 {
        self.floor.load(Ordering::SeqCst)
    }

    /// All up to this number were told to whoever counts what is spent.
    pub fn told(&self) -> u64 {
        self.told.load(Ordering::SeqCst)
    }

    /// Records that are not in the books, as far as is known.
    pub fn unbooked(&self) -> u64 {
        self.last().saturating_sub(self.floor())
    }

    /// How far it is in both.
    pub(super) fn level(&self) -> Level {
        Level { floor: self.floor(), told: self.told() }
    }

    /// From now on nothing goes that is above this number.
    pub fn set_told(&self, told: u64) {
        self.told.store(told, Ordering::SeqCst);
    }

    pub(super) fn set_last(&self, last: u64) {
        self.last.store(last, Ordering::SeqCst);
    }

    pub(super) fn set_floor(&self, floor: u64) {
        self.floor.store(floor, Ordering::SeqCst);
    }
}

/// The journal of a dead process, as its reader sees it.
pub struct Adopted {
    /// Whose it was.
    pub id: JournalId,
    pub(super) marks: Arc<Marks>,
    pub(super) found: Found,
    pub(super) path: PathBuf,
    /// Number in our own journal of the last of its interrupted requests.
    pub(super) handed_on: u64,
    is_released: AtomicBool,
}

impl Adopted {
    pub(super) fn new(id: JournalId, found: Found, path: PathBuf, handed_on: u64) -> Self {
        let marks = Arc::new(Marks::new(found.last_seq, found.floor, 0));
        Self { id, marks, found, path, handed_on, is_released: AtomicBool::new(false) }
    }

    /// How far it is.
    pub fn marks(&self) -> &Arc<Marks> {
        &self.marks
    }

    /// The last number of our own journal by which its interrupted requests have ended.
    pub fn handed_on(&self) -> u64 {
        self.handed_on
    }

    /// Nothing is held for it any more, so that it may go.
    pub fn release(&self) {
        self.is_released.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_released(&self) -> bool {
        self.is_released.load(Ordering::SeqCst)
    }
}

/// A journal that can be read.
pub struct Source {
    of: Of,
    cache: Cache,
}

enum Of {
    Own(Arc<UsageJournal>),
    Adopted(Arc<Adopted>),
}

/// Records, one number after the other.
pub struct Stretch {
    /// The number of the first; beyond what was asked for when that is gone.
    pub first: u64,
    /// The records.
    pub records: Vec<Bytes>,
}

impl Source {
    /// The journal of this process.
    pub fn own(journal: Arc<UsageJournal>) -> Self {
        Self { of: Of::Own(journal), cache: Cache::default() }
    }

    /// One that a dead process left.
    pub fn adopted(adopted: Arc<Adopted>) -> Self {
        Self { of: Of::Adopted(adopted), cache: Cache::default() }
    }

    /// Its name.
    pub fn id(&self) -> JournalId {
        match &self.of {
            Of::Own(journal) => journal.id(),
            Of::Adopted(adopted) => adopted.id,
        }
    }

    /// How far it is.
    pub fn marks(&self) -> &Arc<Marks> {
        match &self.of {
            Of::Own(journal) => &journal.marks,
            Of::Adopted(adopted) => &adopted.marks,
        }
    }

    /// The dead process's journal that it is.
    pub fn as_adopted(&self) -> Option<&Arc<Adopted>> {
        match &self.of {
            Of::Own(_) => None,
            Of::Adopted(adopted) => Some(adopted),
        }
    }

    /// A dead process's journal of which nobody needs anything any more, once `own` is as far as it must be.
    pub fn finished(&self, own: &Marks) -> Option<&Arc<Adopted>> {
        let Of::Adopted(adopted) = &self.of else { return None };
        adopted.found.is_finished(adopted.marks.level(), own.level(), adopted.handed_on).then_some(adopted)
    }

    /// A dead process's journal of which all was told and the books do not have all yet, once `own` is told as far as it must be.
    pub fn told(&self, own: &Marks) -> Option<&Arc<Adopted>> {
        let Of::Adopted(adopted) = &self.of else { return None };
        let (its, own) = (adopted.marks.level(), own.level());
        let is_so = adopted.found.is_told(its, own, adopted.handed_on)
            && !adopted.found.is_finished(its, own, adopted.handed_on);
        is_so.then_some(adopted)
    }

    /// The first number behind the segment that has this one: what is in it cannot be read.
    pub fn past(&self, from: u64) -> u64 {
        let last = match &self.of {
            Of::Own(own) => {
                let journal = own.journal.try_lock_for(LOCK_PATIENCE);
                journal.map_or(from, |journal| match journal.next(journal.first_from(from), 1) {
                    Next::There(number) => journal.end_of(number),
                    Next::Nothing | Next::Here(_) => from,
                })
            }
            Of::Adopted(adopted) => match adopted.found.next(adopted.found.first_from(from), 1) {
                Next::There(number) => adopted.found.end_of(number),
                Next::Nothing | Next::Here(_) => from,
            },
        };
        last.max(from) + 1
    }

    /// The records from this number on that are still there, at most `max`.
    pub async fn read(&mut self, from: u64, max: usize) -> Result<Stretch, PortError> {
        let (first, next, last, path) = match &self.of {
            Of::Own(own) => {
                let journal = own.journal.try_lock_for(LOCK_PATIENCE).ok_or(PortError::Unavailable)?;
                let first = journal.first_from(from);
                let next = journal.next(first, max);
                let (last, path) = match &next {
                    Next::There(number) => (journal.end_of(*number), journal.disk().segment(*number)),
                    Next::Nothing | Next::Here(_) => (0, PathBuf::new()),
                };
                (first, next, last, path)
            }
            Of::Adopted(adopted) => {
                let first = adopted.found.first_from(from);
                let next = adopted.found.next(first, max);
                let (last, path) = match &next {
                    Next::There(number) => (adopted.found.end_of(*number), segment(&adopted.path, *number)),
                    Next::Nothing | Next::Here(_) => (0, PathBuf::new()),
                };
                (first, next, last, path)
            }
        };
        let records = match next {
            Next::Nothing => Vec::new(),
            Next::Here(records) => records,
            Next::There(number) => {
                let bytes = self.cache.segment(number, last, path).await?;
                records(&bytes, first, last, max)
            }
        };
        Ok(Stretch { first, records })
    }
}
