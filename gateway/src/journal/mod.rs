//! The usage journal on disk: every request is written down before a provider hears of it and before its seat has the
//! last byte (design §8). What is written and what may go is decided in [`shared::journal`]; here are the files, the
//! clock and the tasks.
//!
//! `begin` and `end` write on the caller's thread, one of them for all that are ready in the same moment ([`intake`]):
//! that costs less than waking a writer. A disk that stops answering is noticed by the sync beside them ([`keeper`]) and left alone.

mod directory;
pub mod farewell;
mod intake;
pub mod keeper;
mod left;
pub mod scan;
pub mod ship;
pub mod source;

use crate::events;
use bytes::Bytes;
use directory::Directory;
use intake::{Entry, Intake, Turn};
use parking_lot::{Mutex, MutexGuard};
use scan::Scan;
use shared::contract::begin::Begin;
use shared::contract::usage::UsageRecord;
use shared::ids::{JournalId, RequestId};
use shared::journal::{Bounds, Draft, Ends, Health, Journal, Next};
use shared::ports::{PortError, Progress};
use source::{Adopted, Marks};
use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

/// Where journals are, and how much this one may take.
#[derive(Debug, Clone)]
pub struct JournalConfig {
    /// The directory of all journals of this machine. Not a variable: the process that has a directory of its own says
    /// so. `None`: records wait in memory alone.
    pub root: Option<PathBuf>,
    /// `JOURNAL_MAX_MB`: MiB of disk for records that are not in the books yet. Default 4096. Beyond it records wait in
    /// memory, and are lost, counted and told when that is full as well.
    pub total_bytes: u64,
}

/// The journal of this process.
pub struct UsageJournal {
    id: JournalId,
    root: Option<PathBuf>,
    intake: Intake,
    journal: Mutex<Journal<Directory>>,
    /// How many requests ran when it was last written.
    under_way: AtomicUsize,
    written: Notify,
    is_dirty: AtomicBool,
    clock: Instant,
    marks: Arc<Marks>,
    /// Journals that were adopted, for whoever tells what they say.
    adopted: Mutex<Vec<Arc<Adopted>>>,
    /// All that are being adopted, from the first look into them until they are gone.
    adopting: Mutex<BTreeSet<JournalId>>,
    scan: watch::Sender<Option<Scan>>,
    /// Something was written.
    news: Notify,
    adopts: Notify,
}

/// How the journal is, for operators.
#[derive(Debug, Clone, Copy)]
pub struct Standing {
    /// Can the disk be written?
    pub health: Health,
    /// Bytes on disk.
    pub bytes: u64,
    /// What became of the ends so far.
    pub ends: Ends,
}

impl UsageJournal {
    /// A journal of this name. Its directory is made here, before anything is held for the process (design §8); what cannot be
    /// made now is tried again. Blocks.
    #[must_use]
    pub fn new(id: JournalId, config: &JournalConfig) -> Self {
        let bounds = Bounds {
            segment_bytes: SEGMENT_BYTES,
            total_bytes: config.total_bytes,
            memory_bytes: MEMORY_BYTES,
        };
        let mut journal = Journal::new(Directory::new(config.root.as_deref(), id), bounds);
        if config.root.is_some() && journal.disk_mut().claim().is_err() {
            journal.cannot_begin(0);
        }
        Self {
            id,
            root: config.root.clone(),
            intake: Intake::default(),
            journal: Mutex::new(journal),
            under_way: AtomicUsize::new(0),
            written: Notify::new(),
            is_dirty: AtomicBool::new(false),
            clock: Instant::now(),
            marks: Arc::new(Marks::new(0, 0, u64::MAX)),
            adopted: Mutex::default(),
            adopting: Mutex::default(),
            scan: watch::Sender::new(None),
            news: Notify::new(),
            adopts: Notify::new(),
        }
    }

    /// Its name, which is the node's as well.
    #[must_use]
    pub fn id(&self) -> JournalId {
        self.id
    }

    /// Writes down what is to be booked should the process die now.
    pub async fn begin(&self, id: RequestId, draft: Draft) {
        self.written(self.intake.put(Entry::Begin(id, draft))).await;
    }

    /// Writes down what is to be booked.
    pub async fn end(&self, record: &UsageRecord) {
        let id = record.request.id;
        match Draft::written(|bytes| record.write(bytes)) {
            Ok(draft) => self.written(self.intake.put(Entry::End(id, draft))).await,
            // Only memory could fail here.
            Err(_) => events::usage_lost(id),
        }
    }

    /// Waits until this is written. Whoever else is ready now goes first: one write serves all, which is what makes the
    /// journal cheap under load. Nor does anybody stop a thread for the one who writes, unless the disk is slow. Where
    /// nobody else is under way there is nobody to wait for.
    async fn written(&self, turn: Turn) {
        if self.under_way.load(Ordering::Relaxed) <= ALONE
            && let Some(journal) = self.journal.try_lock()
        {
            return self.write(journal);
        }
        for _ in 0..YIELDS {
            tokio::task::yield_now().await;
            if self.intake.is_written(turn) {
                return;
            }
            if let Some(journal) = self.journal.try_lock() {
                return self.write(journal);
            }
        }
        let journal = self.journal.lock();
        if !self.intake.is_written(turn) {
            self.write(journal);
        }
    }

    /// Writes all that came until now.
    fn write(&self, mut journal: MutexGuard<'_, Journal<Directory>>) {
        let now_ms = self.now_ms();
        let turn = self.intake.take(|entry| match entry {
            Entry::Begin(id, draft) => journal.begin(id, draft),
            Entry::End(id, draft) => {
                if !journal.end(id, draft, now_ms) {
                    events::usage_lost(id);
                }
            }
        });
        journal.flush(now_ms);
        self.marks.set_last(journal.last_seq());
        self.under_way.store(journal.under_way(), Ordering::Relaxed);
        self.intake.note_written(turn);
        drop(journal);
        self.note_written();
    }

    /// The same for a record that is written already, where waiting for others is worth nothing.
    fn end_at_once(&self, id: RequestId, record: &[u8]) {
        let mut journal = self.journal.lock();
        if !journal.end(id, Draft::of_bytes(record), self.now_ms()) {
            events::usage_lost(id);
        }
        journal.flush(self.now_ms());
        self.marks.set_last(journal.last_seq());
        drop(journal);
        self.note_written();
    }

    /// What runs: of the oldest `max` requests whose begins stand what is to be booked should the process die now, the
    /// oldest first, and how many more there are. Blocks for up to [`LOCK_PATIENCE`]; `None` when a disk that does not
    /// answer has the journal for longer than that.
    #[must_use]
    pub fn running(&self, max: usize) -> Option<(Vec<UsageRecord>, usize)> {
        // The lock is held for this line alone, some ten microseconds for ten thousand requests.
        let (begins, left_out) = self.journal.try_lock_for(LOCK_PATIENCE)?.running(max);
        let count = begins.len();
        let records: Vec<UsageRecord> =
            begins.iter().filter_map(|(id, begin)| Begin::read(*id, begin).ok()).collect();
        let unread = count - records.len();
        Some((records, left_out + unread))
    }

    /// How it is. Blocks for up to [`LOCK_PATIENCE`]; `None` when a disk that does not answer has the journal for longer than that.
    #[must_use]
    pub fn standing(&self) -> Option<Standing> {
        let journal = self.journal.try_lock_for(LOCK_PATIENCE)?;
        Some(Standing { health: journal.health(), bytes: journal.total_bytes(), ends: journal.ends() })
    }

    /// How far it is.
    #[must_use]
    pub fn marks(&self) -> &Arc<Marks> {
        &self.marks
    }

    /// Waits until something was written since the last time. For one who waits.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// The same for a journal that was adopted.
    pub async fn adopts(&self) {
        self.adopts.notified().await;
    }

    /// Journals that were adopted since the last time.
    #[must_use]
    pub fn take_adopted(&self) -> Vec<Arc<Adopted>> {
        std::mem::take(&mut *self.adopted.lock())
    }

    /// The last look at what is in the root; changes when something else is there than before.
    #[must_use]
    pub fn scan(&self) -> watch::Receiver<Option<Scan>> {
        self.scan.subscribe()
    }

    /// The journals that this process is adopting, from the first look into them until they are gone.
    #[must_use]
    pub fn adopting(&self) -> Vec<JournalId> {
        self.adopting.lock().iter().copied().collect()
    }

    fn note_scan(&self, scan: Scan) {
        self.scan.send_if_modified(|last| {
            let said = |scan: &Scan| (scan.root.clone(), scan.there.clone());
            let is_news = last.as_ref().map(said) != Some(said(&scan));
            *last = Some(scan);
            is_news
        });
    }

    fn note_adopted(&self, adopted: Arc<Adopted>) {
        self.adopted.lock().push(adopted);
        self.adopts.notify_one();
    }

    /// The journal, with what was told by now, unless somebody has it for longer than that: a disk may not answer.
    fn try_locked(&self, patience: Duration) -> Option<MutexGuard<'_, Journal<Directory>>> {
        let mut journal = self.journal.try_lock_for(patience)?;
        // Behind the lock: what goes now is in the books by what is known now.
        journal.set_told(self.marks.told());
        Some(journal)
    }

    /// One wake-up for all that is written until the keeper comes by.
    fn note_written(&self) {
        self.news.notify_one();
        if !self.is_dirty.swap(true, Ordering::AcqRel) {
            self.written.notify_one();
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The records from this number on, at most `max`.
    async fn read(&self, from: u64, max: usize, cache: &mut Cache) -> Result<Vec<Bytes>, PortError> {
        let (number, last, path) = {
            let journal = self.journal.try_lock_for(LOCK_PATIENCE).ok_or(PortError::Unavailable)?;
            match journal.next(from, max) {
                Next::Nothing => return Ok(Vec::new()),
                Next::Here(records) => return Ok(records),
                Next::There(number) => (number, journal.end_of(number), journal.disk().segment(number)),
            }
        };
        let segment = cache.segment(number, last, path).await?;
        Ok(shared::journal::records(&segment, from, last, max))
    }

    /// Notes how far the books are. False: a disk that does not answer has the journal.
    fn advance(&self, progress: Progress) -> bool {
        let Some(mut journal) = self.try_locked(LOCK_PATIENCE) else { return false };
        journal.advance(progress);
        self.marks.set_floor(journal.watermark());
        true
    }
}

/// The segment that was read last: it is handed over in many steps.
#[derive(Debug, Default)]
struct Cache {
    read: Option<(u64, u64, Bytes)>,
    /// The segment that could not be read last: said once, not with each try.
    unreadable: Option<u64>,
    /// A read that a disk does not answer: it is waited for again, and no other thread with it.
    reading: Option<(u64, u64, Reading)>,
}

type Reading = JoinHandle<io::Result<Vec<u8>>>;

impl Cache {
    /// The bytes of a segment that ends with this number.
    async fn segment(&mut self, number: u64, last: u64, path: PathBuf) -> Result<Bytes, PortError> {
        if let Some((_, _, bytes)) = self.read.as_ref().filter(|(n, l, _)| (*n, *l) == (number, last)) {
            return Ok(bytes.clone());
        }
        let bytes = match self.fetch(number, last, path.clone()).await {
            Ok(bytes) => Bytes::from(bytes),
            Err(error) => {
                if self.unreadable.replace(number) != Some(number) {
                    events::journal_unreadable(&path, &error);
                }
                if error.kind() != io::ErrorKind::NotFound {
                    return Err(PortError::Unreadable);
                }
                // Somebody took it away. To wait for it would hold up all that came after it.
                Bytes::new()
            }
        };
        self.read = Some((number, last, bytes.clone()));
        Ok(bytes)
    }

    /// Reads a segment, or waits on for who reads it.
    async fn fetch(&mut self, number: u64, last: u64, path: PathBuf) -> io::Result<Vec<u8>> {
        let before = self.reading.take().filter(|(n, l, _)| (*n, *l) == (number, last));
        let mut reading =
            before.map_or_else(|| spawn_blocking(|| std::fs::read(path)), |(.., reading)| reading);
        match timeout(READ_PATIENCE, &mut reading).await {
            Ok(read) => read?,
            Err(_) => {
                self.reading = Some((number, last, reading));
                Err(io::ErrorKind::TimedOut.into())
            }
        }
    }
}

/// Thousands of requests; a start after a crash reads a segment at a time.
const SEGMENT_BYTES: u64 = 8 << 20;
/// Ends that wait for a disk that takes none: some ten thousand.
const MEMORY_BYTES: usize = 64 << 20;
/// How often somebody who waits for another's write lets others go first, before it waits on its thread: a write takes
/// some microseconds.
const YIELDS: usize = 32;
/// Requests under way when one begins, or ends, and runs alone.
const ALONE: usize = 1;
/// How long what is only looked at waits for the journal: a beat must not wait for a disk.
const LOCK_PATIENCE: Duration = Duration::from_millis(100);
/// How long the read of a segment may take: a disk may not answer.
const READ_PATIENCE: Duration = Duration::from_secs(2);
/// How long a loss of power may cost (design §8).
const SYNC_EVERY: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests;
