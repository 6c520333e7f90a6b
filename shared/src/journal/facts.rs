//! What is said of a journal.

use bytes::Bytes;

/// A segment and the numbers of the ends in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its number: segments are read in the order of their numbers.
    pub number: u64,
    /// Number of its first end; 0 without any.
    pub first: u64,
    /// Number of its last end; 0 without any.
    pub last: u64,
    /// Its size.
    pub bytes: u64,
}

impl Segment {
    pub(super) fn holds(&self, seq: u64) -> bool {
        self.last > 0 && (self.first..=self.last).contains(&seq)
    }

    pub(super) fn add(&mut self, seq: u64) {
        if self.first == 0 {
            self.first = seq;
        }
        self.last = self.last.max(seq);
    }
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

/// What became of what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It outlives the process.
    OnDisk,
    /// It waits in memory: for the disk, and to be handed over.
    InMemory,
}

/// What became of the ends so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// Written at once.
    pub on_disk: u64,
    /// The disk did not take them; they waited in memory.
    pub in_memory: u64,
    /// Memory had no room for them either.
    pub lost: u64,
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
