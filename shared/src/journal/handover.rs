//! Handing a journal's records over: what is handed next, when the far side is asked how far the books are, and what of a
//! dead process's journal may go.

use super::Found;
use crate::ports::Progress;

/// How far a journal's records have been handed over, and when the far side is asked again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handover {
    progress: Progress,
    asked_at_ms: Option<u64>,
    rests_until_ms: u64,
}

/// How a turn went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Records moved.
    Moved,
    /// There was nothing to do, or no room.
    Idle,
    /// The journal's disk does not answer.
    Stuck,
}

/// How far a journal is: in the books, and told to whoever counts what is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// All up to this number are in the books.
    pub floor: u64,
    /// All up to this number were told.
    pub told: u64,
}

impl Level {
    /// All up to this number are both.
    #[must_use]
    pub fn done(self) -> u64 {
        self.floor.min(self.told)
    }
}

impl Handover {
    /// Of a journal that is in the books up to `floor`.
    #[must_use]
    pub fn from(floor: u64) -> Self {
        Self { progress: Progress { taken: floor, watermark: floor }, ..Self::default() }
    }

    /// The number that is handed over next.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.progress.taken + 1
    }

    /// All up to this number are in the books, as far as was heard.
    #[must_use]
    pub fn watermark(&self) -> u64 {
        self.progress.watermark
    }

    /// May its disk be read? Not just after it could not be.
    #[must_use]
    pub fn may_read(&self, now_ms: u64) -> bool {
        now_ms >= self.rests_until_ms
    }

    /// Its disk could not be read.
    pub fn unreadable(&mut self, now_ms: u64) {
        self.rests_until_ms = now_ms.saturating_add(UNREADABLE_RESTS_MS);
    }

    /// Is the far side asked now? With records always; without, only where it has something to say, and not at each turn.
    pub fn asks(&mut self, has_records: bool, last_seq: u64, now_ms: u64) -> bool {
        let is_due = self.asked_at_ms.is_none_or(|at| now_ms.saturating_sub(at) >= ASK_EVERY_MS);
        let asks = has_records || (self.progress.watermark < last_seq && is_due);
        if asks {
            self.asked_at_ms = Some(now_ms);
        }
        asks
    }

    /// The next turn asks, however short a while ago it was asked: somebody waits for the end.
    pub fn hurry(&mut self) {
        self.asked_at_ms = None;
    }

    /// What the far side answered.
    pub fn heard(&mut self, progress: Progress) -> Step {
        let before = std::mem::replace(&mut self.progress, progress).taken;
        if progress.taken == before { Step::Idle } else { Step::Moved }
    }
}

impl Found {
    /// Takes out the segments of a dead process's journal that nobody needs. Its begins are needed until our own ends for them,
    /// up to number `handed_on` of our own journal, are in the books and told.
    pub fn take_needless(&mut self, its: Level, own: Level, handed_on: u64) -> Vec<u64> {
        if own.done() < handed_on { Vec::new() } else { self.take_removable(its.done()) }
    }

    /// True when all of it was told, and all that was cut with it.
    #[must_use]
    pub fn is_told(&self, its: Level, own: Level, handed_on: u64) -> bool {
        its.told >= self.last_seq && own.told >= handed_on
    }

    /// True when nobody needs anything of it any more.
    #[must_use]
    pub fn is_finished(&self, its: Level, own: Level, handed_on: u64) -> bool {
        its.done() >= self.last_seq && own.done() >= handed_on
    }
}

/// How long a process that ends waits for the books, in milliseconds: what the disk has can wait for the next process, what
/// only memory has is worth some patience.
#[must_use]
pub fn last_patience_ms(is_on_disk: bool) -> u64 {
    if is_on_disk { 2_000 } else { 10_000 }
}

/// How often the far side is asked how far the books are when there is nothing to hand over.
const ASK_EVERY_MS: u64 = 1_000;
/// How soon a segment that could not be read is tried again.
const UNREADABLE_RESTS_MS: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Segment;
    use proptest::prelude::*;

    fn progress(taken: u64, watermark: u64) -> Progress {
        Progress { taken, watermark }
    }

    #[test]
    fn records_are_handed_over_at_once_and_the_books_are_asked_for_once_a_second() {
        let mut handover = Handover::from(4);
        assert_eq!(handover.first(), 5);
        assert!(!handover.asks(false, 4, 0), "there is nothing to hear");
        assert!(handover.asks(true, 6, 0));
        assert_eq!(handover.heard(progress(6, 4)), Step::Moved);
        assert!(!handover.asks(false, 6, 999));
        assert!(handover.asks(true, 7, 999), "what came meanwhile does not wait");
        assert_eq!(handover.heard(progress(6, 4)), Step::Idle, "there was no room");
        assert!(!handover.asks(false, 7, 1_998));
        assert!(handover.asks(false, 7, 1_999));
        handover.hurry();
        assert!(handover.asks(false, 7, 1_999));
    }

    #[test]
    fn a_disk_that_could_not_be_read_has_a_rest() {
        let mut handover = Handover::default();
        assert!(handover.may_read(0));
        handover.unreadable(5);
        assert!(!handover.may_read(10_004));
        assert!(handover.may_read(10_005));
    }

    #[test]
    fn what_memory_alone_has_is_waited_for_longer() {
        assert!(last_patience_ms(false) > last_patience_ms(true));
    }

    fn found(ends: u64) -> Found {
        let segments = (1..=ends).map(|n| Segment { number: n, first: n, last: n, bytes: 1 }).collect();
        Found { segments, last_seq: ends, ..Found::default() }
    }

    proptest! {
        #[test]
        fn of_a_dead_processs_journal_nothing_goes_that_is_not_booked_and_told_or_whose_begins_are_needed(
            ends in 0_u64..6, floor in 0_u64..6, told in 0_u64..6,
            own_floor in 0_u64..4, own_told in 0_u64..4, handed_on in 0_u64..4,
        ) {
            let mut found = found(ends);
            let (its, own) = (Level { floor, told }, Level { floor: own_floor, told: own_told });
            let gone = found.take_needless(its, own, handed_on);
            for number in &gone {
                prop_assert!(*number <= floor && *number <= told);
                prop_assert!(own_floor >= handed_on && own_told >= handed_on);
            }
            if found.is_finished(its, own, handed_on) {
                prop_assert!(found.segments.is_empty());
            }
        }

        /// A far side of little room that loses what it has taken at any moment: all comes into the books in the end.
        #[test]
        fn whatever_the_far_side_loses_all_is_handed_over(
            count in 1_u64..60, room in 1_u64..7, losses in prop::collection::vec(prop::bool::ANY, 0..12),
        ) {
            let mut handover = Handover::default();
            let (mut taken, mut booked, mut now_ms) = (0, 0, 0);
            let mut losses = losses.into_iter();
            for _ in 0..10_000 {
                if handover.watermark() == count {
                    break;
                }
                let has_records = handover.first() <= count;
                if handover.asks(has_records, count, now_ms) {
                    if has_records && handover.first() == taken + 1 {
                        taken = (taken + room).min(count);
                    }
                    let answer = progress(taken, booked);
                    if losses.next() == Some(true) {
                        taken = booked;
                    } else {
                        booked = taken;
                    }
                    handover.heard(answer);
                }
                now_ms += 100;
            }
            prop_assert_eq!(handover.watermark(), count);
        }
    }
}
