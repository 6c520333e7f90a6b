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
//! Budgets are told what requests cost from here as well: what is in the books stays until it is *told*. Where that would
//! take half of the journal's room, the books come first, and what is booked goes untold.
//!
//! What comes in the same moment is written together: it is taken first, and written by one [`Journal::flush`].
//!
//! A disk that is full or broken stops nothing: ends wait in memory, are handed over from there, and are written when
//! the disk takes them again.

mod facts;
mod frame;
mod handover;
mod replay;
mod running;
#[cfg(test)]
mod tests;
mod write;

pub use facts::{Bounds, Ends, Health, Kept, Next, Segment};
pub use frame::{Draft, ends};
pub use handover::{Handover, Level, Step, last_patience_ms};
pub use replay::{Found, Replay, UNREADABLE_RECORD, records};

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
    /// What the next flush writes: begins and ends as they came.
    gathered: Vec<u8>,
    gathered_ends: u64,
    ends: Ends,
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
    taken: u64,
    /// All up to this number were told to whoever counts what is spent.
    told: u64,
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
            gathered: Vec::new(),
            gathered_ends: 0,
            ends: Ends::default(),
            segments: VecDeque::new(),
            last_number: 0,
            copied_bytes: None,
            anchor: 0,
            total_bytes: 0,
            last_seq: 0,
            watermark: 0,
            taken: 0,
            told: u64::MAX,
            health: Health::Fine,
            retry_at_ms: 0,
        }
    }

    /// Takes what is to be booked if nothing more is heard of this request; a later begin of the same request takes its
    /// place. It is written by the next [`Journal::flush`].
    pub fn begin(&mut self, id: RequestId, draft: Draft) {
        let frame = draft.seal(Kind::Begin, id, 0);
        self.gathered.extend_from_slice(&frame);
        self.open.insert(id, frame);
    }

    /// Takes what is booked of this request, under the next number; false when it is lost.
    #[must_use]
    pub fn end(&mut self, id: RequestId, draft: Draft, now_ms: u64) -> bool {
        if self.unwritten_bytes + draft.len() > self.bounds.memory_bytes {
            self.flush(now_ms);
            if self.unwritten_bytes + draft.len() > self.bounds.memory_bytes {
                self.open.remove(&id);
                self.ends.lost += 1;
                return false;
            }
        }
        self.last_seq += 1;
        let seq = self.last_seq;
        let frame = draft.seal(Kind::End, id, seq);
        self.gathered.extend_from_slice(&frame);
        self.gathered_ends += 1;
        // Its begin stays open: until the end is on disk, or in the books, it is all there is.
        self.unwritten_bytes += frame.len();
        self.recent_bytes += frame.len();
        self.recent.push_back(Recent { id, seq, frame, is_written: false });
        true
    }

    /// Writes what was taken since the last time. What the disk does not take waits in memory.
    pub fn flush(&mut self, now_ms: u64) -> Kept {
        let is_ready = self.make_ready(now_ms);
        let kept = if is_ready && self.append_gathered(now_ms) { Kept::OnDisk } else { Kept::InMemory };
        match kept {
            Kept::OnDisk => self.ends.on_disk += self.gathered_ends,
            Kept::InMemory => self.ends.in_memory += self.gathered_ends,
        }
        self.gathered_ends = 0;
        self.gathered.clear();
        // What a moment of many requests needed is not kept.
        self.gathered.shrink_to(USUAL_GATHERED);
        while self.recent_bytes > RECENT_BYTES && self.recent.front().is_some_and(|r| r.is_written) {
            self.forget_first();
        }
        kept
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

    /// The disk has refused the journal before anything was written: it is left alone for a while.
    pub fn cannot_begin(&mut self, now_ms: u64) {
        self.fail(now_ms);
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

    /// Ends that memory alone has.
    #[must_use]
    pub fn in_memory_alone(&self) -> usize {
        self.recent.iter().filter(|recent| !recent.is_written).count()
    }

    /// The records have come this far; what need not be held in memory any more goes.
    pub fn advance(&mut self, progress: Progress) {
        self.watermark = self.watermark.max(progress.watermark.min(self.last_seq));
        self.taken = progress.taken;
        self.forget_needless();
    }

    /// All up to this number were told to those who count what is spent; what is above stays, though it is in the books. It
    /// may go back, to what is there still: somebody else is to be told. At first nobody is: everything counts as told.
    pub fn set_told(&mut self, told: u64) {
        if self.told != told {
            self.told = told;
            self.forget_needless();
        }
    }

    /// The first number from this one on that is still here; the one after the last when none is.
    #[must_use]
    pub fn first_from(&self, from: u64) -> u64 {
        let in_memory = self.recent.front().map(|first| first.seq.max(from));
        let on_disk = self.segments.iter().filter(|segment| segment.last >= from.max(1));
        let on_disk = on_disk.map(|segment| segment.first.max(from));
        on_disk.chain(in_memory).min().unwrap_or(self.last_seq + 1).max(from)
    }

    /// Takes out the segments that nobody needs any more; `synced` is the newest segment that has reached the disk
    /// itself.
    pub fn take_removable(&mut self, synced: u64) -> Vec<u64> {
        let mut removable = Vec::new();
        if synced < self.anchor {
            return removable;
        }
        while let Some(first) = self.segments.front() {
            if first.number >= self.anchor || first.last > self.needless() {
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
            self.flush(now_ms);
        }
    }

    /// What became of the ends so far.
    #[must_use]
    pub fn ends(&self) -> Ends {
        self.ends
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
        self.open.is_empty() && self.watermark == self.last_seq && self.told >= self.last_seq
    }

    /// Nobody needs what is up to this number.
    fn needless(&self) -> u64 {
        let is_short = self.total_bytes > self.bounds.total_bytes / 2
            || self.unwritten_bytes > self.bounds.memory_bytes / 2;
        if is_short { self.watermark } else { self.watermark.min(self.told) }
    }

    fn forget_needless(&mut self) {
        let on_disk = self.taken.min(self.told);
        while self
            .recent
            .front()
            .is_some_and(|r| r.seq <= self.needless() || (r.is_written && r.seq <= on_disk))
        {
            self.forget_first();
        }
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
/// Room for what is gathered that is kept.
const USUAL_GATHERED: usize = 64 << 10;
