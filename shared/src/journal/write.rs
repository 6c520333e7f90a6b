//! How what was gathered comes to disk, and what happens when the disk does not take it.

use super::{Disk, Health, Journal, Segment, frame};

impl<D: Disk> Journal<D> {
    /// Is there a segment that takes what was gathered? Makes one where that is what is missing.
    pub(super) fn make_ready(&mut self, now_ms: u64) -> bool {
        if self.health == Health::Stalled {
            return false;
        }
        let wanted = self.gathered.len().max(self.unwritten_bytes) as u64;
        if self.needed_bytes() + wanted > self.bounds.total_bytes {
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

    /// Bytes on disk without the segments that go with the next sync.
    fn needed_bytes(&self) -> u64 {
        let until = self.needless();
        let needless = self.segments.iter().take_while(|s| s.number < self.anchor && s.last <= until);
        self.total_bytes - needless.map(|segment| segment.bytes).sum::<u64>()
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
        for waiting in self.recent.iter().filter(|recent| !recent.is_written) {
            head.extend_from_slice(&waiting.frame);
        }
        if self.disk.create(number, &head).is_err() {
            return self.fail(now_ms);
        }
        let bytes = head.len() as u64;
        self.total_bytes += bytes;
        self.segments.push_back(Segment { number, first: 0, last: 0, bytes });
        self.copied_bytes = Some(copied_bytes);
        self.anchor = number;
        self.note_written();
        self.gathered.clear();
        self.health = Health::Fine;
        true
    }

    /// A segment that failed is not added to any more: what follows a torn frame cannot be read.
    pub(super) fn fail(&mut self, now_ms: u64) -> bool {
        self.copied_bytes = None;
        self.retry_at_ms = now_ms + RETRY_MS;
        self.health = Health::Failing;
        false
    }

    pub(super) fn append_gathered(&mut self, now_ms: u64) -> bool {
        if self.gathered.is_empty() {
            return true;
        }
        if self.disk.append(&self.gathered).is_err() {
            return self.fail(now_ms);
        }
        let length = self.gathered.len() as u64;
        self.total_bytes += length;
        if let Some(segment) = self.segments.back_mut() {
            segment.bytes += length;
        }
        self.note_written();
        true
    }

    /// All ends that were taken are in the last segment now.
    fn note_written(&mut self) {
        let (mut first, mut last) = (0, 0);
        for recent in self.recent.iter_mut().rev().take_while(|recent| !recent.is_written) {
            recent.is_written = true;
            self.open.remove(&recent.id);
            first = recent.seq;
            last = last.max(recent.seq);
        }
        self.unwritten_bytes = 0;
        if let Some(segment) = self.segments.back_mut().filter(|_| last > 0) {
            segment.add(first);
            segment.add(last);
        }
    }
}

/// How long a disk that failed is left alone.
const RETRY_MS: u64 = 1_000;
