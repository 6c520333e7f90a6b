//! What the segments of a dead process say.

use super::frame::{Frames, Kind, ends};
use super::{Next, Segment};
use crate::ids::RequestId;
use bytes::Bytes;
use std::collections::BTreeMap;

/// Reads segments, oldest first.
#[derive(Debug, Default)]
pub struct Replay {
    found: Found,
}

/// What they say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Requests that began and did not end: what is to be booked of them.
    pub open: BTreeMap<RequestId, Bytes>,
    /// The segments, with the numbers of their ends.
    pub segments: Vec<Segment>,
    /// All up to this number is in the books for certain.
    pub floor: u64,
    /// The last number.
    pub last_seq: u64,
    /// Bytes behind the last frame that could be read, of all segments. A process that dies while it writes leaves the
    /// beginning of one frame.
    pub unread_bytes: u64,
}

impl Found {
    /// The records from this number on, at most `max`.
    #[must_use]
    pub fn next(&self, from: u64, max: usize) -> Next {
        if let Some(segment) = self.segments.iter().find(|segment| segment.holds(from)) {
            return Next::There(segment.number);
        }
        // A hole that no floor explains was a segment's damaged end.
        let later = self.segments.iter().map(|segment| segment.first).filter(|first| *first > from).min();
        match later {
            None => Next::Nothing,
            Some(first) => {
                let count = usize::try_from(first - from).unwrap_or(usize::MAX).min(max);
                Next::Here(vec![Bytes::from_static(UNREADABLE_RECORD.as_bytes()); count])
            }
        }
    }

    /// The first number from this one on that is still here; the one after the last when none is. It may be in the books: whoever
    /// counts what is spent is told from there on.
    #[must_use]
    pub fn first_from(&self, from: u64) -> u64 {
        let segments = self.segments.iter().filter(|segment| segment.last >= from.max(1));
        segments.map(|segment| segment.first.max(from)).min().unwrap_or(self.last_seq + 1).max(from)
    }

    /// The last number in this segment.
    #[must_use]
    pub fn end_of(&self, number: u64) -> u64 {
        self.segments.iter().find(|segment| segment.number == number).map_or(0, |segment| segment.last)
    }

    /// Takes out the segments that hold nothing above `watermark`.
    pub fn take_removable(&mut self, watermark: u64) -> Vec<u64> {
        // From the oldest on: an end is never older than a begin of its request, so that none is left without.
        let count = self.segments.iter().take_while(|segment| segment.last <= watermark).count();
        self.segments.drain(..count).map(|segment| segment.number).collect()
    }
}

impl Replay {
    /// Reads the next segment.
    pub fn read(&mut self, number: u64, bytes: &[u8]) {
        let mut segment = Segment { number, first: 0, last: 0, bytes: bytes.len() as u64 };
        let mut frames = Frames::of(bytes);
        for frame in frames.by_ref() {
            match frame.kind {
                Kind::Begin => {
                    self.found.open.insert(frame.id, Bytes::copy_from_slice(frame.record));
                }
                Kind::End => {
                    self.found.open.remove(&frame.id);
                    if self.found.last_seq == 0 {
                        // What was before went with its segments, because it was in the books.
                        self.found.floor = self.found.floor.max(frame.seq.saturating_sub(1));
                    }
                    self.found.last_seq = self.found.last_seq.max(frame.seq);
                    segment.add(frame.seq);
                }
                Kind::Floor => self.found.floor = self.found.floor.max(frame.seq),
                Kind::Other => {}
            }
        }
        self.found.unread_bytes += (bytes.len() - frames.at()) as u64;
        self.found.segments.push(segment);
    }

    /// What they say.
    #[must_use]
    pub fn finish(self) -> Found {
        self.found
    }
}

/// Stands for a record whose bytes are damaged. It is no record, so that the books set it aside and go on.
pub const UNREADABLE_RECORD: &str = r#"{"unreadable":true}"#;

/// The records of a segment from number `from` to `last`, at most `max`; what cannot be read is told in its place, so
/// that the numbers go on.
#[must_use]
pub fn records(segment: &[u8], from: u64, last: u64, max: usize) -> Vec<Bytes> {
    let mut records = Vec::new();
    let mut wanted = from;
    let unreadable = Bytes::from_static(UNREADABLE_RECORD.as_bytes());
    for (seq, record) in ends(segment, from) {
        while wanted < seq && records.len() < max {
            records.push(unreadable.clone());
            wanted += 1;
        }
        if records.len() >= max {
            return records;
        }
        // A segment that broke can repeat what the one before has.
        if seq == wanted {
            records.push(Bytes::copy_from_slice(record));
            wanted += 1;
        }
    }
    while wanted <= last && records.len() < max {
        records.push(unreadable.clone());
        wanted += 1;
    }
    records
}
