//! What came to be written and waits for whoever writes next.
//!
//! Kept apart from the journal, so that to add to it takes nanoseconds also while somebody writes. Bounded by the requests
//! under way: each waits here for one entry at most.

use parking_lot::Mutex;
use shared::ids::RequestId;
use shared::journal::Draft;
use std::sync::atomic::{AtomicU64, Ordering};

/// Something to write.
pub enum Entry {
    /// What is to be booked should the process die.
    Begin(RequestId, Draft),
    /// What is to be booked.
    End(RequestId, Draft),
}

/// When something came: what came before it has an earlier turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Turn(u64);

/// The entries, in the order in which they came.
#[derive(Default)]
pub struct Intake {
    waiting: Mutex<Waiting>,
    /// The entries being written: its memory is used again. Only the one who writes is here.
    taken: Mutex<Vec<Entry>>,
    written: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    entries: Vec<Entry>,
    turn: u64,
}

impl Intake {
    /// Adds an entry.
    pub fn put(&self, entry: Entry) -> Turn {
        let mut waiting = self.waiting.lock();
        waiting.entries.push(entry);
        waiting.turn += 1;
        Turn(waiting.turn)
    }

    /// Hands out all entries; answers the turn of the last one.
    pub fn take(&self, handle: impl FnMut(Entry)) -> Turn {
        let mut taken = self.taken.lock();
        let turn = {
            let mut waiting = self.waiting.lock();
            std::mem::swap(&mut *taken, &mut waiting.entries);
            Turn(waiting.turn)
        };
        taken.drain(..).for_each(handle);
        // What a moment of many requests needed is not kept.
        taken.shrink_to(USUAL_ENTRIES);
        turn
    }

    /// All up to this turn has been written, as far as the disk took it.
    pub fn note_written(&self, turn: Turn) {
        self.written.fetch_max(turn.0, Ordering::AcqRel);
    }

    /// Was that so for this turn?
    pub fn is_written(&self, turn: Turn) -> bool {
        turn.0 <= self.written.load(Ordering::Acquire)
    }
}

/// Room for entries that is kept.
const USUAL_ENTRIES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(n: u8) -> Entry {
        Entry::Begin(RequestId::from_bytes([n; 16]), Draft::of_bytes(b"{}"))
    }

    #[test]
    fn what_comes_while_somebody_writes_waits_for_the_next_write() {
        let intake = Intake::default();
        let (first, second) = (intake.put(begin(1)), intake.put(begin(2)));
        let mut taken = Vec::new();
        let mut late = None;
        let turn = intake.take(|entry| {
            let (Entry::Begin(id, _) | Entry::End(id, _)) = entry;
            taken.push(id.to_bytes()[0]);
            late.get_or_insert_with(|| intake.put(begin(3)));
        });
        assert_eq!(taken, [1, 2], "in the order in which they came");
        assert!(!intake.is_written(first), "taken is not written");
        intake.note_written(turn);
        assert!(intake.is_written(first) && intake.is_written(second));
        assert!(!late.is_some_and(|late| intake.is_written(late)));
        let turn = intake.take(|_| {});
        intake.note_written(turn);
        assert!(late.is_some_and(|late| intake.is_written(late)));
    }
}
