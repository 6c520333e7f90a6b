//! What is known of a segment without reading it.

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
