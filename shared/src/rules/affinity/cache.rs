//! What a node knows of bindings, so that the store is not asked for each request of a running session.
//!
//! Pure: the store is asked by the caller, with a [`Ticket`] taken before. Invariants:
//! - What is [`Lookup::Fresh`] was in force at the store within the last [`FRESH_MS`].
//! - What the store could not be told ([`BindingCache::stand_in`]) is never fresh, and is gone by until the store has
//!   something newer.
//! - What was known longer is still told ([`Lookup::Ask`]), for when the store is away; not what nobody asked for during
//!   `SESSION_TTL`: its prompt cache is cold.
//! - News win over what is cached by their generation. Answers win over what was cached *before they were asked for*
//!   whatever their generation, because a store may have gone back in time; over what came in meanwhile, again by generation.
//!   So nothing old is written back.
//! - At most `bound` sessions; who was not asked for longest is forgotten first, by halves.

use super::{Binding, Identity, Known};
use crate::ids::ProviderId;
use crate::ports::SessionNews;
use crate::rules::session::SessionKey;
use crate::time::UnixMillis;
use std::collections::HashMap;

/// The bindings a node knows.
#[derive(Debug)]
pub struct BindingCache {
    /// Used since the last turnover.
    young: HashMap<SessionKey, Entry>,
    /// Used before it.
    old: HashMap<SessionKey, Entry>,
    half: usize,
    ttl_ms: u64,
    /// Counts what comes in.
    seq: u64,
    /// Answers to what was asked before this are not kept: news may have been missed, or what they said is forgotten.
    void_before: u64,
    /// What came in before this may be out of date.
    stale_before: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The generation of the binding, or the last one that is known to have ended.
    generation: u64,
    binding: Option<Binding>,
    stands_in: bool,
    /// When the store was asked, or spoke.
    at: UnixMillis,
    slid_at: UnixMillis,
    used_at: UnixMillis,
    seq: u64,
}

impl Entry {
    /// As the store told it at this moment.
    fn told(binding: Binding, at: UnixMillis) -> Self {
        let generation = binding.generation;
        Self { generation, binding: Some(binding), stands_in: false, at, slid_at: at, used_at: at, seq: 0 }
    }
}

/// A question to the store, or a word to it, whose answer is still to come.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Ticket {
    seq: u64,
    at: UnixMillis,
}

/// What a node knows of a session.
#[derive(Clone, Copy, Debug)]
pub enum Lookup {
    /// This.
    Fresh(Known),
    /// Ask the store and hand its answer over with [`BindingCache::answered`].
    Ask {
        /// With this.
        ticket: Ticket,
        /// What was known last: for when the store does not answer.
        known: Option<Known>,
    },
}

impl BindingCache {
    /// Knows nothing yet, and never more than `bound` sessions. `ttl_ms` is `SESSION_TTL` in milliseconds.
    #[must_use]
    pub fn new(bound: usize, ttl_ms: u64) -> Self {
        let half = (bound / 2).max(1);
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            half,
            ttl_ms,
            seq: 0,
            void_before: 0,
            stale_before: 0,
        }
    }

    /// What is known of a session.
    pub fn look_up(&mut self, key: &SessionKey, now: UnixMillis) -> Lookup {
        let ttl_ms = self.ttl_ms;
        let entry = self.entry(key).map(|entry| {
            if now.since(entry.used_at) >= ttl_ms {
                entry.binding = None;
            }
            entry.used_at = now;
            *entry
        });
        let is_fresh = |entry: &Entry| {
            // A clock that was set back makes nothing fresh.
            let is_recent = now >= entry.at && now.since(entry.at) < FRESH_MS.min(ttl_ms);
            is_recent && entry.seq >= self.stale_before && !entry.stands_in
        };
        let known = entry.and_then(|entry| {
            let Entry { slid_at, stands_in, .. } = entry;
            entry.binding.map(|binding| Known { binding, slid_at, stands_in })
        });
        match known {
            Some(known) if entry.is_some_and(|entry| is_fresh(&entry)) => Lookup::Fresh(known),
            known => Lookup::Ask { ticket: self.ticket(now), known },
        }
    }

    /// To be taken before the store is asked for, or told, anything.
    pub fn ticket(&self, now: UnixMillis) -> Ticket {
        Ticket { seq: self.seq, at: now }
    }

    /// The store said that this is in force: the answer to a read or a bind.
    pub fn answered(&mut self, key: SessionKey, ticket: Ticket, binding: Option<Binding>) {
        if ticket.seq < self.void_before {
            return;
        }
        let before = self.entry(&key).copied();
        let is_newer = |entry: Entry| binding.is_some_and(|binding| binding.generation > entry.generation);
        // Something came in since the question, or the store has not been told what stands here.
        let is_held = before.is_some_and(|entry| entry.seq > ticket.seq || entry.stands_in);
        if is_held && !before.is_some_and(is_newer) {
            return;
        }
        match (binding, self.entry(&key)) {
            (Some(binding), _) => self.keep(key, Entry::told(binding, ticket.at)),
            (None, Some(entry)) => entry.binding = None,
            (None, None) => {}
        }
    }

    /// The store prolonged the life of this generation and says how many slow turns it has now; `None`: it is not in
    /// force.
    pub fn touched(&mut self, key: SessionKey, ticket: Ticket, generation: u64, slow_turns: Option<u32>) {
        let Some(slow_turns) = slow_turns else {
            return self.ended(key, generation, ticket.at);
        };
        if ticket.seq < self.void_before {
            return;
        }
        let Some(entry) = self.entry(&key) else { return };
        if let Some(binding) = entry.binding.as_mut().filter(|binding| binding.generation == generation) {
            binding.slow_turns = slow_turns;
            for moment in [&mut entry.at, &mut entry.slid_at, &mut entry.used_at] {
                *moment = (*moment).max(ticket.at);
            }
        }
    }

    /// The store did not answer when this session was to be bound or moved: this node goes by it meanwhile.
    pub fn stand_in(&mut self, key: SessionKey, to: ProviderId, identity: Identity, now: UnixMillis) {
        let generation = self.entry(&key).map_or(0, |entry| entry.generation);
        let binding = Binding { provider_id: to, identity, generation, slow_turns: 0 };
        self.keep(key, Entry { stands_in: true, ..Entry::told(binding, now) });
    }

    /// Somebody changed something.
    pub fn hear(&mut self, news: &SessionNews, now: UnixMillis) {
        match news {
            SessionNews::Moved { key, binding } => {
                let before = self.entry(key).copied();
                if before.is_none_or(|entry| binding.generation > entry.generation) {
                    let used_at = before.map_or(now, |entry| entry.used_at);
                    self.keep(*key, Entry { used_at, ..Entry::told(*binding, now) });
                }
            }
            SessionNews::Ended { key, generation } => self.ended(*key, *generation, now),
            SessionNews::Missed => {
                self.seq += 1;
                self.void_before = self.seq;
                self.stale_before = self.seq;
            }
        }
    }

    /// Sessions it has something about.
    #[must_use]
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// True when it knows nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn ended(&mut self, key: SessionKey, generation: u64, now: UnixMillis) {
        let before = self.entry(&key).copied();
        // What stands in was served after that one, which it replaced.
        let is_over = |entry: Entry| {
            generation > entry.generation || (generation == entry.generation && !entry.stands_in)
        };
        if before.is_none_or(is_over) {
            let entry = Entry {
                generation,
                binding: None,
                stands_in: false,
                at: now,
                slid_at: now,
                used_at: before.map_or(now, |entry| entry.used_at),
                seq: 0,
            };
            self.keep(key, entry);
        }
    }

    fn keep(&mut self, key: SessionKey, entry: Entry) {
        self.seq += 1;
        let entry = Entry { seq: self.seq, ..entry };
        self.old.remove(&key);
        self.young.insert(key, entry);
        self.turn_over();
    }

    /// An entry, which is among the young ones from now on.
    fn entry(&mut self, key: &SessionKey) -> Option<&mut Entry> {
        if let Some(entry) = self.old.remove(key) {
            self.young.insert(*key, entry);
            self.turn_over();
        }
        // Turned over just now, it is among the old ones.
        self.young.get_mut(key).or_else(|| self.old.get_mut(key))
    }

    fn turn_over(&mut self) {
        if self.young.len() >= self.half {
            self.old = std::mem::take(&mut self.young);
            // What ended is forgotten with the rest: an answer from before must not bring it back.
            self.seq += 1;
            self.void_before = self.seq;
        }
    }
}

/// How long what is known is gone by without asking, in milliseconds.
pub const FRESH_MS: u64 = 5_000;

#[cfg(test)]
mod tests;
