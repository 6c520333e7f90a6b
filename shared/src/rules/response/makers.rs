//! Who made which responses: so many, for so long, the oldest going first.
//!
//! Pure. Invariants: at most `bound` responses; none is told after its time; a response that is told again stays where it
//! was in the order.

use super::ResponseKey;
use crate::ids::ProviderId;
use crate::time::UnixMillis;
use std::collections::{HashMap, VecDeque};

/// The makers of the last responses.
#[derive(Debug)]
pub struct Makers {
    made: HashMap<ResponseKey, Made>,
    /// In which they came; as many as there are in `made`.
    order: VecDeque<ResponseKey>,
    bound: usize,
    ttl_ms: u64,
}

#[derive(Clone, Copy, Debug)]
struct Made {
    by: ProviderId,
    at: UnixMillis,
}

impl Makers {
    /// Nobody made anything yet. At most `bound` are remembered, each for `ttl_ms` milliseconds.
    #[must_use]
    pub fn new(bound: usize, ttl_ms: u64) -> Self {
        Self { made: HashMap::new(), order: VecDeque::new(), bound, ttl_ms }
    }

    /// Who made a response, as far as it is remembered.
    #[must_use]
    pub fn find(&self, key: ResponseKey, now: UnixMillis) -> Option<ProviderId> {
        self.made.get(&key).filter(|made| now.since(made.at) < self.ttl_ms).map(|made| made.by)
    }

    /// Remembers who made a response; who is told last did.
    pub fn put(&mut self, key: ResponseKey, by: ProviderId, now: UnixMillis) {
        if self.made.insert(key, Made { by, at: now }).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > self.bound || self.is_first_over(now) {
            if let Some(first) = self.order.pop_front() {
                self.made.remove(&first);
            }
        }
    }

    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.made.len()
    }

    /// True when nothing is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.made.is_empty()
    }

    fn is_first_over(&self, now: UnixMillis) -> bool {
        let first = self.order.front().and_then(|first| self.made.get(first));
        first.is_some_and(|made| now.since(made.at) >= self.ttl_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::response_key;

    const TTL_MS: u64 = 1_000;

    #[test]
    fn of_too_many_the_oldest_go_first() {
        let mut makers = Makers::new(3, TTL_MS);
        let now = UnixMillis(0);
        assert!(makers.is_empty());
        for n in 0..5 {
            makers.put(response_key(n), ProviderId(1), now);
        }
        // Told again: it stays where it was.
        makers.put(response_key(2), ProviderId(2), now);
        let found = |makers: &Makers| (0..6).map(|n| makers.find(response_key(n), now)).collect::<Vec<_>>();
        let (one, two) = (Some(ProviderId(1)), Some(ProviderId(2)));
        assert_eq!(found(&makers), [None, None, two, one, one, None]);
        makers.put(response_key(5), ProviderId(1), now);
        assert_eq!(found(&makers), [None, None, None, one, one, one]);
        assert_eq!((makers.len(), makers.order.len()), (3, 3));
    }

    #[test]
    fn what_is_too_old_is_not_told_and_leaves_with_what_comes() {
        let mut makers = Makers::new(100, TTL_MS);
        makers.put(response_key(1), ProviderId(1), UnixMillis(0));
        makers.put(response_key(2), ProviderId(1), UnixMillis(500));
        assert_eq!(makers.find(response_key(1), UnixMillis(999)), Some(ProviderId(1)));
        assert_eq!(makers.find(response_key(1), UnixMillis(1_000)), None);
        makers.put(response_key(3), ProviderId(1), UnixMillis(1_000));
        assert_eq!(makers.len(), 2);
        makers.put(response_key(3), ProviderId(1), UnixMillis(9_000));
        assert_eq!(makers.len(), 1);
    }

    #[test]
    fn room_for_nothing_remembers_nothing() {
        let mut makers = Makers::new(0, TTL_MS);
        makers.put(response_key(1), ProviderId(1), UnixMillis(0));
        assert_eq!((makers.len(), makers.order.len()), (0, 0));
    }
}
