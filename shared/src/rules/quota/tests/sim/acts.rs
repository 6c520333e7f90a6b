//! What nodes do with requests that are let in.

use super::node::{Adopted, Begin, Disk, Record};
use super::truth::{Request, State};
use super::world::{LIVES_MS, Reply, Word, World};
use crate::money::NanoUsd;
use crate::rules::quota::{Ask, Charge, HoldId, Settle};
use crate::time::UnixMillis;
use rand::Rng;
use rand::seq::IndexedRandom;

impl World {
    pub(super) fn begin(&mut self, i: usize) {
        let node = &mut self.nodes[i];
        if let Some((hold, begin)) = node.let_in.pop_first() {
            node.disk.begins.insert(hold, begin);
        }
    }

    pub(super) fn give_up(&mut self, i: usize) {
        let node = &mut self.nodes[i];
        if let Some((hold, _)) = node.let_in.pop_first() {
            let was_drawn = node.escrows.given_up(hold);
            if !was_drawn {
                node.to_release.push_back(hold);
            }
            let request = self.request(hold);
            request.state = State::Out;
            // Of one that was drawn the store never heard.
            request.is_resolved |= was_drawn;
        }
    }

    pub(super) fn end(&mut self, i: usize) {
        let begins: Vec<_> = self.nodes[i].disk.begins.iter().map(|(hold, begin)| (*hold, *begin)).collect();
        let Some((hold, begin)) = begins.choose(&mut self.rng).copied() else { return };
        let request = self.request(hold);
        request.state = State::Spent(begin.at);
        let cost = request.cost;
        let Begin { key, at } = begin;
        self.nodes[i].escrows.ended(hold, NanoUsd(cost));
        self.nodes[i].disk.end(Record { hold, key, cost, at, is_interrupted: false });
    }

    /// The next thing that a node has to tell the store.
    pub(super) fn tell(&mut self, i: usize) {
        if let Some((hold, begin, amount, owner)) = self.nodes[i].to_declare.front().copied() {
            let ask = Ask {
                hold,
                owner,
                need: NanoUsd(amount),
                lives_ms: LIVES_MS,
                scopes: self.scopes(begin.key, self.now),
                is_counted: false,
                session: None,
                escrow: None,
            };
            self.request(hold).is_resolved = false;
            let epoch = self.nodes[i].epoch;
            if self.call(&Word::Declare(ask, begin.at, epoch)).is_some() {
                self.nodes[i].to_declare.pop_front();
            }
            return;
        }
        let (journal, epoch) = (self.nodes[i].disk.journal, self.nodes[i].epoch);
        if epoch == self.epoch {
            self.declared.insert(journal);
        }
        if let Some(hold) = self.nodes[i].to_release.front().copied() {
            if self.call(&Word::Release(hold)).is_some() {
                self.nodes[i].to_release.pop_front();
                if !hold.is_escrow() {
                    self.request(hold).is_resolved = true;
                }
            }
            return;
        }
        self.settle_own(i);
        for j in 0..self.nodes[i].adopted.len() {
            let Adopted { disk, acked, .. } = self.nodes[i].adopted[j].clone();
            if let Some(acked) = self.settle(&disk, acked, epoch) {
                self.nodes[i].adopted[j].acked = acked;
            }
        }
        self.give_up_holds(i);
        self.finish_adopting(i);
    }

    /// Some of its own records together, whichever of them the store has heard already.
    pub(super) fn settle_own(&mut self, i: usize) {
        let most = self.rng.random_range(1..=3);
        let node = &mut self.nodes[i];
        let (journal, epoch) = (node.disk.journal, node.epoch);
        let records = node.disk.records.range(node.acked + 1..).take(most);
        let records: Vec<(u64, Record)> = records.map(|(seq, record)| (*seq, record.clone())).collect();
        let Some((last, _)) = records.last() else { return };
        let holds: Vec<HoldId> = records.iter().map(|(_, record)| record.hold).collect();
        let from: Vec<_> = holds.iter().map(|hold| node.escrows.drawn_from(*hold, epoch)).collect();
        let backs = node.escrows.backs_with(&holds, epoch);
        let charges = records.iter().zip(from).map(|((seq, record), from)| self.charge(*seq, record, from));
        let settle = Settle { journal, charges: charges.collect(), backs: backs.clone() };
        if let Some(Reply::IsDone(true)) = self.call(&Word::Settle(settle, epoch)) {
            self.counts.together += u64::from(records.len() > 1);
            let node = &mut self.nodes[i];
            node.acked = *last;
            node.escrows.told(&holds);
            node.escrows.heard(&backs);
            node.delete();
            for hold in holds {
                self.request(hold).is_resolved = true;
            }
        }
    }

    fn charge(&self, seq: u64, record: &Record, from: Option<HoldId>) -> Charge {
        Charge {
            seq,
            hold: record.hold,
            cost: NanoUsd(record.cost),
            at: UnixMillis(record.at),
            is_interrupted: record.is_interrupted,
            from,
            scopes: self.scopes(record.key, self.now),
        }
    }

    /// A record of somebody who is dead.
    pub(super) fn settle(&mut self, disk: &Disk, acked: u64, epoch: u64) -> Option<u64> {
        let (seq, record) = disk.records.range(acked + 1..).next()?;
        let charges = vec![self.charge(*seq, record, None)];
        let settle = Settle { journal: disk.journal, charges, backs: Vec::new() };
        match self.call(&Word::Settle(settle, epoch)) {
            Some(Reply::IsDone(true)) => {
                self.request(record.hold).is_resolved = true;
                Some(*seq)
            }
            _ => None,
        }
    }

    /// The store knows all of a dead process's journal, and the books do not yet.
    fn give_up_holds(&mut self, i: usize) {
        let node = &self.nodes[i];
        let told = node
            .adopted
            .iter()
            .find(|adopted| adopted.acked >= adopted.disk.last_seq && node.acked >= adopted.cut_until);
        let Some(owner) = told.map(|adopted| adopted.disk.journal) else { return };
        if node.to_declare.is_empty() && self.rng.random_bool(0.5) {
            let _ = self.call(&Word::ReleaseHolds(owner, node.epoch));
        }
    }

    pub(super) fn finish_adopting(&mut self, i: usize) {
        let (booked, epoch) = (self.booked.clone(), self.epoch);
        let node = &mut self.nodes[i];
        let own = (node.acked, booked.get(&node.disk.journal).copied().unwrap_or(0));
        let done = node.adopted.iter().position(|adopted| {
            let last = adopted.disk.last_seq;
            let is_booked = booked.get(&adopted.disk.journal).copied().unwrap_or(0) >= last;
            is_booked && adopted.acked >= last && own.0 >= adopted.cut_until && own.1 >= adopted.cut_until
        });
        let Some(done) = done.filter(|_| node.epoch == epoch && node.to_declare.is_empty()) else { return };
        let owner = node.adopted[done].disk.journal;
        if self.call(&Word::ReleaseOwner(owner)).is_some() {
            self.nodes[i].adopted.remove(done);
            // What was let in there and never began.
            let never_began = |r: &&mut Request| r.owner == owner && r.state == State::Out;
            self.requests.iter_mut().filter(never_began).for_each(|request| request.is_resolved = true);
        }
    }

    pub(super) fn crash(&mut self, i: usize) {
        let node = self.nodes.swap_remove(i);
        self.counts.crashed += 1;
        // What was let in and had not begun costs nobody anything; the store is told with the journal's end.
        for hold in node.let_in.keys() {
            let request = self.request(*hold);
            request.state = State::Out;
            request.is_resolved |= request.from.is_some();
        }
        self.counts.cut +=
            node.disk.begins.keys().filter(|hold| self.drawn_from(**hold).is_some()).count() as u64;
        self.know_no_escrow(node.disk.journal);
        self.declared.remove(&node.disk.journal);
        self.dead.push(node.disk);
        self.dead.extend(node.adopted.into_iter().map(|adopted| adopted.disk));
        self.start_node();
    }

    pub(super) fn adopt(&mut self, i: usize) {
        let Some(disk) = self.dead.pop() else { return };
        for (hold, begin) in &disk.begins {
            self.counts.interrupted += 1;
            self.request(*hold).state = State::Spent(begin.at);
        }
        let requests = self.requests.clone();
        let cost_of = |hold| requests.iter().find(|request| request.hold == hold).unwrap().cost;
        self.nodes[i].adopt(disk, cost_of);
        if !self.is_open || self.nodes[i].epoch != self.epoch {
            self.declare(i);
        }
    }

    pub(super) fn learn(&mut self, i: usize) {
        if self.nodes[i].epoch != self.epoch {
            self.nodes[i].epoch = self.epoch;
            self.nodes[i].escrows.begin_anew();
            self.know_no_escrow(self.nodes[i].disk.journal);
            self.declare(i);
        }
    }

    /// All that a node may hold, and all that it has settled and does not know to be booked, begins anew.
    pub(super) fn declare(&mut self, i: usize) {
        self.declared.remove(&self.nodes[i].disk.journal);
        let node = &mut self.nodes[i];
        let mut all = Vec::new();
        let mut of_disk = |disk: &Disk| {
            all.extend(disk.begins.iter().map(|(hold, begin)| (*hold, *begin, None, disk.journal)));
            all.extend(disk.records.values().map(|record| {
                let begin = Begin { key: record.key, at: record.at };
                (record.hold, begin, Some(record.cost), disk.journal)
            }));
        };
        of_disk(&node.disk);
        for adopted in &mut node.adopted {
            of_disk(&adopted.disk);
            adopted.acked = adopted.disk.deleted;
        }
        let let_in = node.let_in.iter();
        all.extend(let_in.map(|(hold, begin)| (*hold, *begin, None, node.disk.journal)));
        node.acked = node.disk.deleted;
        // What was drawn in this epoch is held by what it was drawn from.
        all.retain(|(hold, ..)| node.escrows.drawn_from(*hold, node.epoch).is_none());
        let all = all.into_iter().map(|(hold, begin, cost, owner)| {
            let need = self.requests.iter().find(|request| request.hold == hold).unwrap().need;
            (hold, begin, cost.unwrap_or(need), owner)
        });
        self.nodes[i].to_declare = all.collect();
    }
}
