//! The store that is lost and comes back, and the admin side: it keeps the books, begins epochs, opens the account and resets it.

use super::node::Disk;
use super::world::{Reply, Word, World};
use crate::rules::quota::{Life, Opening, ScopeId, Spends};
use crate::time::UnixMillis;
use rand::Rng;
use rand::seq::IndexedRandom;

impl World {
    /// The ledger hears of the next record of a journal; its node, that it did.
    pub(super) fn book(&mut self) {
        let nodes = self.nodes.iter();
        let disks = nodes.flat_map(|node| {
            std::iter::once(&node.disk).chain(node.adopted.iter().map(|adopted| &adopted.disk))
        });
        let disks: Vec<Disk> = disks.cloned().collect();
        let disk = disks.choose(&mut self.rng).unwrap();
        let booked = self.booked.entry(disk.journal).or_default();
        if let Some((seq, record)) = disk.records.range(*booked + 1..).next() {
            *booked = *seq;
            self.ledger.entry(record.hold).or_insert((record.key, record.at, record.cost));
            if record.is_interrupted {
                self.interrupted.push(record.hold);
            }
        }
        let booked = *booked;
        if self.rng.random_bool(0.7)
            && let Some(node) = self.nodes.iter_mut().find(|node| node.disk.journal == disk.journal)
        {
            node.floor = booked;
            node.delete();
        }
    }

    /// It starts again: with nothing, or with what it has written down.
    pub(super) fn lose(&mut self) {
        let old = self.dump.clone().filter(|_| self.rng.random_bool(0.5));
        self.counts.set_back += u64::from(old.is_some());
        self.store = old.unwrap_or_default().started_again();
        self.asides.clear();
        self.requests.iter_mut().for_each(|request| request.is_charged = false);
        self.store_epoch = 0;
        self.is_lost = true;
    }

    pub(super) fn notice(&mut self) {
        if self.is_lost && self.is_up {
            self.is_lost = false;
            self.begin_anew();
        }
    }

    /// A new epoch: the store has lost what it had, or the account is under limits of another generation.
    pub(super) fn begin_anew(&mut self) {
        self.is_open = false;
        self.epoch += 1;
        self.declared.clear();
    }

    /// The admin side opens the account, when everybody has declared and no journal waits for somebody to adopt it.
    pub(super) fn open(&mut self) {
        let all = self.nodes.iter().all(|node| self.declared.contains(&node.disk.journal));
        if self.is_open || self.is_lost || !all || !self.dead.is_empty() {
            return;
        }
        let spends = self.limits.keys().map(|scope| {
            let of = self.ledger.values().filter(|(key, _, _)| match scope {
                ScopeId::Owner => true,
                ScopeId::Key(own) => own == key,
            });
            let mut spends: Vec<_> = of.map(|(_, at, cost)| (UnixMillis(*at), *cost)).collect();
            spends.sort_unstable();
            Spends { scope: *scope, terms: self.terms(*scope, self.now), at: spends }
        });
        let (journals, interrupted) = (self.booked.clone(), self.interrupted.clone());
        let opening = Opening { spends: spends.collect(), journals, interrupted };
        self.made += 1;
        let new = Life(self.made.to_string());
        // None where it is open already: the word came late, or its reply was lost.
        let life = self.is_up.then(|| self.store.life(self.epoch, new.clone())).flatten().unwrap_or(new);
        match self.call(&Word::Open(self.epoch, life, opening)) {
            Some(Reply::IsDone(true)) => {
                self.is_open = true;
                self.counts.opened += 1;
            }
            // The word may still be under way.
            None if self.rng.random_bool(0.1) => self.lose(),
            _ => {}
        }
    }

    pub(super) fn reset(&mut self) {
        let marker = Some(UnixMillis(self.now));
        for limits in self.limits.values_mut() {
            match self.rng.random_range(0..3) {
                0 => limits.reset_at = marker,
                1 => limits.five_hours_reset_at = marker,
                _ => {}
            }
        }
        // Told once, by who resets. A store that is lost or away hears of it with the next question.
        self.is_loose |= !self.is_up || !self.store.is_open(self.epoch);
        if self.is_up {
            let scopes: Vec<_> =
                self.limits.keys().map(|scope| (*scope, self.terms(*scope, self.now))).collect();
            self.store.keep(&scopes, UnixMillis(self.now));
        }
    }
}
