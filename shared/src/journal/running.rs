//! What is under way, told from the open begins: nothing else has to remember it.

use super::Journal;
use super::frame::HEAD;
use crate::ids::RequestId;
use bytes::Bytes;
use std::collections::{BinaryHeap, HashSet};

impl<D> Journal<D> {
    /// How many requests are under way, or have an end that no disk has yet.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.open.len()
    }

    /// The newest begins of the oldest `max` requests under way, the oldest first, and how many more are under way.
    #[must_use]
    pub fn running(&self, max: usize) -> (Vec<(RequestId, Bytes)>, usize) {
        // A request has ended when its end is taken; its begin stands until the disk has the end.
        let unwritten = self.recent.iter().rev().take_while(|recent| !recent.is_written);
        let ended: HashSet<RequestId> = unwritten.map(|recent| recent.id).collect();
        let mut oldest: BinaryHeap<(RequestId, &Bytes)> = BinaryHeap::new();
        for (&id, frame) in &self.open {
            let has_room = oldest.len() < max;
            if (has_room || oldest.peek().is_some_and(|(newest, _)| id < *newest)) && !ended.contains(&id) {
                oldest.push((id, frame));
                if !has_room {
                    oldest.pop();
                }
            }
        }
        let still_open = ended.iter().filter(|id| self.open.contains_key(id)).count();
        let left_out = self.open.len() - still_open - oldest.len();
        let begin = |(id, frame): (RequestId, &Bytes)| (id, frame.slice(HEAD..));
        (oldest.into_sorted_vec().into_iter().map(begin).collect(), left_out)
    }
}
