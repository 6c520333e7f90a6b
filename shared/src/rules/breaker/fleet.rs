//! The documents of all providers as the whole fleet sees them: the store as a pure machine.
//!
//! [`crate::memory::MemoryBreakers`] runs it behind a lock; the Lua in Redis is held to it. One counter gives out all
//! numbers: one more than the last, or the clock's milliseconds if that is more. So they go on growing over a store that
//! lost everything, and none is ever given twice.
//!
//! Who reads in its own name is there for [`NODE_TTL_SECS`] from then on: that is whom permits are believed to belong to.
//! A node that starts and finds nobody else begins with a clean slate (a cold start of the fleet).

use super::{after_ask, after_report, merged, probed, reset, without_lapsed};
use crate::contract::breaker::{CIRCUIT_KEEP_MS, CircuitDoc, Order, PermitAsk, Report, Taken, Terms};
use crate::contract::keys::NODE_TTL_SECS;
use crate::ids::ProviderId;
use crate::ports::{CircuitNews, Since, Told};
use crate::time::UnixMillis;
use std::collections::BTreeMap;

/// All there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    docs: BTreeMap<ProviderId, CircuitDoc>,
    head: Option<Head>,
    nodes: BTreeMap<String, UnixMillis>,
}

/// Where its numbers stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    /// The first number: who knows another one has missed that all was lost.
    born: u64,
    /// The last number.
    last: u64,
    /// The number of the last reset of all: the generation of those that have no document.
    floor: u64,
}

impl Fleet {
    /// The last number that was given out; 0 = none.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.head.map_or(0, |head| head.last)
    }

    /// A node starts. True when nobody else was there, and all state is gone for that.
    pub fn join(&mut self, node: &str, now: UnixMillis) -> bool {
        self.head(now);
        let is_alone = !self.nodes.keys().any(|other| other != node && self.is_there(other, now));
        if is_alone {
            self.nodes.clear();
            self.clear(now);
        }
        self.nodes.insert(node.to_owned(), now);
        is_alone
    }

    /// A node goes on purpose.
    pub fn leave(&mut self, node: &str) {
        self.nodes.remove(node);
    }

    /// What changed since then; a node that reads in its own name is there.
    pub fn read(&mut self, node: Option<&str>, since: Since, now: UnixMillis) -> CircuitNews {
        self.head(now);
        if let Some(node) = node {
            self.nodes.insert(node.to_owned(), now);
        }
        self.docs.retain(|_, doc| is_kept(doc, now));
        self.take_lapsed_permits_back(now);
        let head = self.head(now);
        let is_whole = since.born != head.born || since.upto > head.last;
        let is_news = |doc: &&CircuitDoc| is_whole || doc.version > since.upto;
        let docs = self.docs.values().filter(is_news).cloned().collect();
        let upto = Since { born: head.born, upto: head.last };
        CircuitNews { at: now, is_whole, upto, floor: head.floor, docs }
    }

    /// How an attempt ended.
    pub fn report(&mut self, report: &Report, now: UnixMillis) -> Told {
        let (doc, number) = self.find(report.provider_id, report.terms, now);
        let next = after_report(&doc, report, now, number);
        let has_moved = next.as_ref().is_some_and(|next| next.generation != doc.generation);
        self.keep(next, number);
        Told { at: now, doc: self.docs.get(&report.provider_id).cloned(), has_moved }
    }

    /// Somebody wants to probe; who asks is there.
    pub fn take_permit(&mut self, ask: &PermitAsk, now: UnixMillis) -> (Taken, Told) {
        self.nodes.insert(ask.node.clone(), now);
        let (doc, number) = self.find(ask.provider_id, ask.terms, now);
        let (taken, next) = after_ask(&doc, ask, now, number, |node| self.is_there(node, now));
        let has_moved = next.as_ref().is_some_and(|next| next.generation != doc.generation);
        self.keep(next, number);
        (taken, Told { at: now, doc: self.docs.get(&ask.provider_id).cloned(), has_moved })
    }

    /// Does what is ordered.
    pub fn order(&mut self, order: &Order, now: UnixMillis) -> Told {
        let number = self.number(now);
        let (provider_id, next) = match order {
            Order::ResetAll => {
                self.clear(now);
                return Told { at: now, doc: None, has_moved: true };
            }
            Order::Reset { provider_id, terms, cause, only_if } => {
                let known = self.docs.get(provider_id);
                let is_it = only_if.is_none_or(|only| known.is_some_and(|doc| doc.generation == only));
                let floor = self.head(now).floor;
                let doc = self.docs.get(provider_id).cloned();
                let doc = doc.unwrap_or_else(|| CircuitDoc::fresh(*provider_id, *terms, floor));
                (*provider_id, is_it.then(|| reset(&doc, *terms, *cause, now, number)))
            }
            Order::Probed { provider_id, generation, sample } => {
                let doc = self.docs.get(provider_id);
                (*provider_id, doc.and_then(|doc| probed(doc, *generation, sample, now, number)))
            }
        };
        let has_moved = self.keep(next, number);
        Told { at: now, doc: self.docs.get(&provider_id).cloned(), has_moved }
    }

    /// A node comes back with what it saw by itself.
    pub fn merge(&mut self, local: &[CircuitDoc], now: UnixMillis) -> UnixMillis {
        let head = self.head(now);
        let newest = local.iter().map(|doc| doc.version).max().unwrap_or(0);
        let number = next_number(head.last.max(newest), now);
        for doc in local {
            let kept = self.docs.get(&doc.provider_id).cloned();
            let kept = kept.unwrap_or_else(|| CircuitDoc::fresh(doc.provider_id, doc.terms, head.floor));
            let next = merged(&kept, doc, now, number);
            self.keep(next, number);
        }
        now
    }

    /// A provider's document, or the one it would have, and the next number.
    fn find(&mut self, id: ProviderId, terms: Terms, now: UnixMillis) -> (CircuitDoc, u64) {
        let floor = self.head(now).floor;
        let doc = self.docs.get(&id).cloned();
        (doc.unwrap_or_else(|| CircuitDoc::fresh(id, terms, floor)), self.number(now))
    }

    /// False when there is nothing to keep.
    fn keep(&mut self, next: Option<CircuitDoc>, number: u64) -> bool {
        let Some(next) = next else { return false };
        if let Some(head) = &mut self.head {
            head.last = head.last.max(number);
        }
        self.docs.insert(next.provider_id, next);
        true
    }

    fn clear(&mut self, now: UnixMillis) {
        let number = self.number(now);
        self.docs.clear();
        if let Some(head) = &mut self.head {
            (head.last, head.floor) = (number, number);
        }
    }

    fn take_lapsed_permits_back(&mut self, now: UnixMillis) {
        let number = self.number(now);
        let is_there = |node: &str| self.is_there(node, now);
        let mend = |doc: &CircuitDoc| without_lapsed(doc, now, number, is_there);
        let mended: Vec<CircuitDoc> = self.docs.values().filter_map(mend).collect();
        for doc in mended {
            self.keep(Some(doc), number);
        }
    }

    fn is_there(&self, node: &str, now: UnixMillis) -> bool {
        self.nodes.get(node).is_some_and(|at| now.since(*at) <= NODE_TTL_SECS * 1_000)
    }

    fn number(&mut self, now: UnixMillis) -> u64 {
        next_number(self.head(now).last, now)
    }

    fn head(&mut self, now: UnixMillis) -> Head {
        let born = u64::try_from(now.0).unwrap_or(0).max(1);
        *self.head.get_or_insert(Head { born, last: born, floor: 0 })
    }
}

/// The number after `last`.
#[must_use]
pub fn next_number(last: u64, now: UnixMillis) -> u64 {
    last.saturating_add(1).max(u64::try_from(now.0).unwrap_or(0))
}

/// False for what nobody spoke of for so long that it is as good as new.
#[must_use]
pub fn is_kept(doc: &CircuitDoc, now: UnixMillis) -> bool {
    let version = i64::try_from(doc.version).unwrap_or(i64::MAX);
    now < UnixMillis(version).plus_ms(CIRCUIT_KEEP_MS)
}
