//! The usage journal: what a gateway writes to its disk so that no request is forgotten (design §8). Decisions only;
//! the files are the gateway's.
//!
//! A journal is a row of segments. *Begin* holds what is to be booked should the process die: it is written before a
//! provider gets the first byte. *End* holds what was: it is written before the seat gets the last byte, and has the
//! next number. A new segment begins with copies of all begins that are still open, so that a segment whose ends
//! are all in the books can go; before them stands how far the books are.
//!
//! ```text
//!  segment 1                                  segment 2
//!  floor 0 │ begin A │ begin B │ end A (1)    floor 0 │ begin B │ begin C │ end C (2) │ end B (3)
//! ```
//! A disk that is full or broken stops nothing: ends wait in memory, are handed over from there, and are written when
//! the disk takes them again.

mod frame;
mod replay;
mod segment;
#[cfg(test)]
mod tests;

pub use frame::{Draft, ends};
pub use replay::{Found, Replay, UNREADABLE_RECORD, records};
pub use segment::Segment;

use crate::ids::RequestId;
use crate::ports::Progress;
use bytes::Bytes;
use frame::{HEAD, Kind};
use std::collections::{HashMap, VecDeque};
use std::io;

/// Where segments are written: a directory, or a test's memory.
pub trait Disk {
    /// Begins a segment with this; what is appended from now on goes there. After an error nothing of it stays, and
    /// the segment before is the last one still.
    fn create(&mut self, number: u64, head: &[u8]) -> io::Result<()>;

    /// Adds to the segment begun last. An error may leave a part of it behind.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// How much a journal may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// A segment ends when it has this many bytes beside its copies, or a quarter of all: only whole segments go.
    pub segment_bytes: u64,
    /// All segments together.
    pub total_bytes: u64,
    /// Ends that the disk does not take and that wait in memory.
    pub memory_bytes: usize,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It outlives the process.
    OnDisk,
    /// It waits in memory: for the disk, and to be handed over.
    InMemory,
    /// Memory has no room for it either: nobody knows of it any more.
    Lost,
}

/// Can the disk be written?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Yes.
    Fine,
    /// The journal's own bound is reached.
    Full,
    /// It answers with errors.
    Failing,
    /// It does not answer.
    Stalled,
}

/// Where the records to hand over next are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// There are none.
    Nothing,
    /// In memory: these.
    Here(Vec<Bytes>),
    /// In this segment.
    There(u64),
}

/// The journal of a running process.
pub struct Journal<D> {
    disk: D,
    bounds: Bounds,
    /// The newest begin of each request under way, as it was or is to be written.
    open: HashMap<RequestId, Bytes>,
    /// The newest ends, one after the other; those that the disk did not take yet at the back.
    recent: VecDeque<Recent>,
    recent_bytes: usize,
    unwritten_bytes: usize,
    segments: VecDeque<Segment>,
    /// The last number that was tried.
    last_number: u64,
    /// Bytes of the last segment's copies; `None` when the last one cannot be added to.
    copied_bytes: Option<u64>,
    /// The newest segment that has copies of all that was open: none before it is needed for its begins.
    anchor: u64,
    total_bytes: u64,
    last_seq: u64,
    watermark: u64,
    health: Health,
    retry_at_ms: u64,
}

struct Recent {
    id: RequestId,
    seq: u64,
    frame: Bytes,
    is_written: bool,
}

impl<D: Disk> Journal<D> {
    /// An empty journal on an empty directory.
    pub fn new(disk: D, bounds: Bounds) -> Self {
        let segment_bytes = bounds.segment_bytes.min(bounds.total_bytes / 4);
        Self {
            disk,
            bounds: Bounds { segment_bytes, ..bounds },
            open: HashMap::new(),
            recent: VecDeque::new(),
            recent_bytes: 0,
            unwritten_bytes: 0,
            segments: VecDeque::new(),
            last_number: 0,
            copied_bytes: None,
            anchor: 0,
            total_bytes: 0,
            last_seq: 0,
            watermark: 0,
            health: Health::Fine,
            retry_at_ms: 0,
        }
    }

    /// Writes what is to be booked if nothing more is heard of this request. A later begin of the same request takes
    /// its place.
    pub fn begin(&mut self, id: RequestId, draft: Draft, now_ms: u64) -> Kept {
        let frame = draft.seal(Kind::Begin, id, 0);
        let is_ready = self.make_ready(frame.len(), now_ms);
        let is_written = is_ready && self.append(&frame, now_ms);
        self.open.insert(id, frame);
        if is_written { Kept::OnDisk } else { Kept::InMemory }
    }

    /// Writes what is booked of this request, under the next number.
    pub fn end(&mut self, id: RequestId, draft: Draft, now_ms: u64) -> Kept {
        let is_ready = self.make_ready(draft.len(), now_ms);
        if !is_ready && self.unwritten_bytes + draft.len() > self.bounds.memory_bytes {
            self.open.remove(&id);
            return Kept::Lost;
        }
        self.last_seq += 1;
        let seq = self.last_seq;
        let frame = draft.seal(Kind::End, id, seq);
        let is_written = is_ready && self.append(&frame, now_ms);
        if is_written {
            self.open.remove(&id);
            if let Some(segment) = self.segments.back_mut() {
                segment.add(seq);
            }
        } else {
            // Its begin stays open: until the end is on disk, or in the books, it is all there is.
            self.unwritten_bytes += frame.len();
        }
        self.recent_bytes += frame.len();
        self.recent.push_back(Recent { id, seq, frame, is_written });
        while self.recent_bytes > RECENT_BYTES && self.recent.front().is_some_and(|r| r.is_written) {
            self.forget_first();
        }
        if is_written { Kept::OnDisk } else { Kept::InMemory }
    }

    /// The records from this number on, at most `max`.
    #[must_use]
    pub fn next(&self, from: u64, max: usize) -> Next {
        if from > self.last_seq {
            return Next::Nothing;
        }
        if let Some(first) = self.recent.front().filter(|first| first.seq <= from) {
            let skipped = usize::try_from(from - first.seq).unwrap_or(usize::MAX);
            let frames = self.recent.iter().skip(skipped).take(max);
            return Next::Here(frames.map(|recent| recent.frame.slice(HEAD..)).collect());
        }
        match self.segments.iter().find(|segment| segment.holds(from)) {
            Some(segment) => Next::There(segment.number),
            // Only what is in the books is neither here nor there.
            None => Next::Nothing,
        }
    }

    /// The last number in this segment that is not in memory as well.
    #[must_use]
    pub fn end_of(&self, number: u64) -> u64 {
        let last = self.segments.iter().find(|s| s.number == number).map_or(0, |segment| segment.last);
        self.recent.front().map_or(last, |first| last.min(first.seq - 1))
    }

    /// The disk answered a sync with an error: what was written may not be there. Nothing is added to that segment.
    /// True when that is news; to hear it again does not put off the next try.
    pub fn sync_failed(&mut self, now_ms: u64) -> bool {
        let is_news = self.health == Health::Fine;
        if is_news {
            self.fail(now_ms);
        }
        is_news
    }

    /// True when all ends are on disk or in the books.
    #[must_use]
    pub fn is_on_disk(&self) -> bool {
        self.unwritten_bytes == 0
    }

    /// The records have come this far; what need not be held in memory any more goes.
    pub fn advance(&mut self, progress: Progress) {
        self.watermark = self.watermark.max(progress.watermark.min(self.last_seq));
        let (taken, watermark) = (progress.taken, self.watermark);
        while self.recent.front().is_some_and(|r| r.seq <= watermark || (r.is_written && r.seq <= taken)) {
            self.forget_first();
        }
    }

    /// Takes out the segments that nobody needs any more; `synced` is the newest segment that has reached the disk
    /// itself.
    pub fn take_removable(&mut self, synced: u64) -> Vec<u64> {
        let mut removable = Vec::new();
        if synced < self.anchor {
            return removable;
        }
        while let Some(first) = self.segments.front() {
            if first.number >= self.anchor || first.last > self.watermark {
                break;
            }
            self.total_bytes -= first.bytes;
            removable.push(first.number);
            self.segments.pop_front();
        }
        removable
    }

    /// The disk does not answer, or answers again.
    pub fn stall(&mut self, is_stalled: bool) {
        if is_stalled {
            self.health = Health::Stalled;
        } else if self.health == Health::Stalled {
            // What is written next shows whether it is fine.
            self.health = Health::Failing;
        }
    }

    /// Writes what waits for the disk, if the disk takes it again.
    pub fn catch_up(&mut self, now_ms: u64) {
        if self.health != Health::Fine || self.unwritten_bytes > 0 {
            self.make_ready(0, now_ms);
        }
    }

    /// Where it is written.
    pub fn disk(&self) -> &D {
        &self.disk
    }

    /// The same, to look after it.
    pub fn disk_mut(&mut self) -> &mut D {
        &mut self.disk
    }

    /// Can the disk be written, as far as is known?
    #[must_use]
    pub fn health(&self) -> Health {
        self.health
    }

    /// The last number given.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// All up to this number are in the books.
    #[must_use]
    pub fn watermark(&self) -> u64 {
        self.watermark
    }

    /// Bytes on disk.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// True when nothing of it is needed any more.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.open.is_empty() && self.watermark == self.last_seq
    }

    /// Is there a segment that takes `more` bytes? Makes one where that is what is missing.
    fn make_ready(&mut self, more: usize, now_ms: u64) -> bool {
        if self.health == Health::Stalled {
            return false;
        }
        let wanted = (more + self.unwritten_bytes) as u64;
        if self.total_bytes + wanted > self.bounds.total_bytes {
            self.health = Health::Full;
            // Copies of long requests can fill it alone. Once all ends are in the books, it is begun anew.
            let is_stuck = self.segments.iter().all(|segment| segment.last <= self.watermark);
            if !is_stuck || now_ms < self.retry_at_ms {
                return false;
            }
            self.retry_at_ms = now_ms + RETRY_MS;
            return self.new_segment(now_ms);
        }
        let size = self.segments.back().map_or(0, |segment| segment.bytes);
        match self.copied_bytes {
            // After a pause the numbers may have a hole, which the head of a new segment explains.
            Some(copied) if size - copied < self.bounds.segment_bytes && self.health == Health::Fine => true,
            _ => now_ms >= self.retry_at_ms && self.new_segment(now_ms),
        }
    }

    /// Begins a segment with what is open and with the ends that the disk did not take so far.
    fn new_segment(&mut self, now_ms: u64) -> bool {
        self.last_number += 1;
        let number = self.last_number;
        let mut head = frame::floor(self.watermark).to_vec();
        for frame in self.open.values() {
            head.extend_from_slice(frame);
        }
        let copied_bytes = head.len() as u64;
        let mut segment = Segment { number, first: 0, last: 0, bytes: 0 };
        for waiting in self.recent.iter().filter(|recent| !recent.is_written) {
            head.extend_from_slice(&waiting.frame);
            segment.add(waiting.seq);
        }
        if self.disk.create(number, &head).is_err() {
            return self.fail(now_ms);
        }
        segment.bytes = head.len() as u64;
        self.total_bytes += segment.bytes;
        self.segments.push_back(segment);
        self.copied_bytes = Some(copied_bytes);
        self.anchor = number;
        for waiting in self.recent.iter_mut().filter(|recent| !recent.is_written) {
            waiting.is_written = true;
            self.open.remove(&waiting.id);
        }
        self.unwritten_bytes = 0;
        self.health = Health::Fine;
        true
    }

    fn append(&mut self, frame: &[u8], now_ms: u64) -> bool {
        if self.disk.append(frame).is_err() {
            return self.fail(now_ms);
        }
        if let Some(segment) = self.segments.back_mut() {
            segment.bytes += frame.len() as u64;
        }
        self.total_bytes += frame.len() as u64;
        true
    }

    /// A segment that failed is not added to any more: what follows a torn frame cannot be read.
    fn fail(&mut self, now_ms: u64) -> bool {
        self.copied_bytes = None;
        self.retry_at_ms = now_ms + RETRY_MS;
        self.health = Health::Failing;
        false
    }

    fn forget_first(&mut self) {
        if let Some(first) = self.recent.pop_front() {
            self.recent_bytes -= first.frame.len();
            if !first.is_written {
                self.open.remove(&first.id);
                self.unwritten_bytes -= first.frame.len();
            }
        }
    }
}

/// Ends that are kept in memory although the disk has them: what is handed over in the next moment need not be read.
const RECENT_BYTES: usize = 4 << 20;
/// How long a disk that failed is left alone.
const RETRY_MS: u64 = 1_000;
