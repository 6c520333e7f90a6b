//! How requests are let in, and what nodes put aside ahead of them.

use super::node::Begin;
use super::truth::{self, Aside, Request, State};
use super::world::{LIVES_MS, Reply, Word, World};
use crate::ids::{JournalId, KeyId, RequestId};
use crate::money::NanoUsd;
use crate::rules::quota::escrow::{self, Drawing, Grant};
use crate::rules::quota::{Admission, Ahead, Ask, Back, HoldId, Refusal, ScopeId, Settle};
use crate::time::UnixMillis;
use rand::Rng;
use std::collections::BTreeSet;

impl World {
    /// Requests of one key, close upon each other.
    pub(super) fn ask(&mut self, i: usize) {
        let key = KeyId(self.rng.random_range(1..=2));
        let is_burst = self.rng.random_bool(0.2);
        self.ask_for(i, key);
        for _ in 0..if is_burst { self.rng.random_range(1..=4) } else { 0 } {
            let ms = self.rng.random_range(0..500);
            self.pass(ms);
            self.is_right();
            self.ask_for(i, key);
        }
    }

    fn ask_for(&mut self, i: usize, key: KeyId) {
        let hold = self.new_hold();
        // Many small ones, so that something is put aside ahead of them.
        let most = if self.rng.random_bool(0.5) { 20 } else { 300 };
        let need = self.rng.random_range(0..=most);
        let most = if self.is_strict { need } else { 3 * need };
        let cost = self.rng.random_range(0..=most);
        let (state, owner) = (State::Out, self.nodes[i].disk.journal);
        let request = Request {
            hold,
            key,
            owner,
            need,
            cost,
            state,
            is_resolved: false,
            from: None,
            is_charged: false,
        };
        self.requests.push(request);
        if self.draw(i, hold) {
            return;
        }
        let Some(refusal) = self.ask_store(i, hold) else { return };
        self.is_no_false_refusal(&refusal, self.kept(refusal.scope, &BTreeSet::new()));
        if !refusal.may_be_in_escrow() {
            return self.is_nothing_to_recall(&refusal);
        }
        let gave_back = self.recall();
        self.pass(20);
        let again = if self.rng.random_bool(0.5) { hold } else { self.new_hold() };
        let request = self.request(hold);
        (request.hold, request.is_resolved) = (again, false);
        match self.ask_store(i, again) {
            Some(refusal) => self.is_no_false_refusal(&refusal, self.kept(refusal.scope, &gave_back)),
            None if self.request(again).state != State::Out => self.counts.admitted_after += 1,
            None => {}
        }
    }

    fn new_hold(&mut self) -> HoldId {
        self.made += 1;
        HoldId(RequestId::from_parts(self.made, &[0; 10]), 0)
    }

    /// Lets it in from what the node has put aside, if it can.
    fn draw(&mut self, i: usize, hold: HoldId) -> bool {
        let Request { key, need, .. } = *self.request(hold);
        let scopes = self.scopes(key, self.now + self.nodes[i].skew);
        let (now, node) = (self.now, &mut self.nodes[i]);
        let (epoch, clock_ms) = (node.epoch, node.clock_ms(now));
        let drawing = Drawing { hold, need: NanoUsd(need), scopes: &scopes, epoch };
        let Some(drawn) = node.escrows.draw(&drawing, clock_ms) else { return false };
        let from = node.escrows.drawn_from(hold, epoch);
        let (granted_at, of_epoch) = self.grants[&from.unwrap()];
        assert_eq!(epoch, of_epoch, "of the epoch that its node knows");
        assert!(now - granted_at < DRAWN_FOR_MS + LATEST_MS, "{granted_at} is too long ago");
        let is_of_before = scopes.iter().any(|(_, of)| of.begin_between(UnixMillis(granted_at), drawn.at));
        assert!(!is_of_before, "{granted_at} is of the day before");
        assert!(
            (0..=LATEST_MS).contains(&(now - drawn.at.0)),
            "{drawn:?} is when it was let in, or just before"
        );
        node.let_in.insert(hold, Begin { key, at: drawn.at.0 });
        let is_blind = self.is_lost || epoch != self.epoch;
        self.counts.drawn += 1;
        self.counts.drawn_blind += u64::from(is_blind);
        let request = self.request(hold);
        (request.state, request.from) = (State::Running(drawn.at.0), from);
        let excess = (request.cost - need).max(0);
        for scope in [ScopeId::Owner, ScopeId::Key(key)] {
            *self.excess.entry(scope).or_default() += excess;
        }
        true
    }

    /// Asks the store; returns why not.
    fn ask_store(&mut self, i: usize, hold: HoldId) -> Option<Refusal> {
        let Request { key, need, .. } = *self.request(hold);
        let scopes = self.scopes(key, self.now + self.nodes[i].skew);
        let (now, node) = (self.now, &mut self.nodes[i]);
        let drawing = Drawing { hold, need: NanoUsd(need), scopes: &scopes, epoch: node.epoch };
        let is_worth = node.escrows.is_worth(&drawing, node.clock_ms(now));
        let worth = escrow::worth(NanoUsd(need)).0;
        let nodes = self.rng.random_range(1..=2);
        let ask = Ask {
            hold,
            owner: node.disk.journal,
            need: NanoUsd(need),
            lives_ms: LIVES_MS,
            scopes,
            is_counted: true,
            session: None,
            // More often than it is worth it.
            escrow: (is_worth || self.rng.random_bool(0.5))
                .then(|| Ahead { worth: NanoUsd(self.rng.random_range(0..=worth)), nodes }),
        };
        match self.call(&Word::Admit(ask.clone(), self.nodes[i].epoch)) {
            Some(Reply::Admission(Admission::Admitted { at, escrowed, standing })) => {
                self.request(hold).state = State::Running(at.0);
                self.nodes[i].let_in.insert(hold, Begin { key, at: at.0 });
                self.counts.admitted += 1;
                for scope in [ScopeId::Owner, ScopeId::Key(key)] {
                    self.first_from.insert(scope, self.store.first_counts_from(scope, UnixMillis(self.now)));
                    self.excess.insert(scope, truth::excess(&self.requests, scope));
                }
                if escrowed > NanoUsd::ZERO {
                    let (id, epoch) = (hold.escrow(), self.nodes[i].epoch);
                    let grant = Grant { id, amount: escrowed, scopes: ask.scopes, epoch, at, standing };
                    self.grants.insert(id, (at.0, epoch));
                    self.counts.granted += 1;
                    let late_ms = self.rng.random_range(0..=LATEST_MS as u64);
                    let node = &mut self.nodes[i];
                    node.escrows.granted(grant, node.clock_ms(now) + late_ms);
                }
            }
            Some(Reply::Admission(Admission::Refused(refusal))) => {
                self.request(hold).is_resolved = true;
                self.counts.refused += 1;
                return Some(refusal);
            }
            Some(Reply::Admission(Admission::Unseeded)) => self.request(hold).is_resolved = true,
            _ => {
                self.nodes[i].to_release.push_back(hold);
                if ask.escrow.is_some() {
                    self.nodes[i].to_release.push_back(hold.escrow());
                }
            }
        }
        None
    }

    /// All nodes are asked to give back what is free; returns who heard it, and was heard.
    fn recall(&mut self) -> BTreeSet<JournalId> {
        let mut gave_back = BTreeSet::new();
        for i in 0..self.nodes.len() {
            if self.rng.random_bool(0.2) {
                continue;
            }
            let (now, node) = (self.now, &mut self.nodes[i]);
            self.counts.recalled += u64::from(node.escrows.free() > NanoUsd::ZERO);
            node.escrows.recall(node.clock_ms(now));
            if self.give_back(i) {
                gave_back.insert(self.nodes[i].disk.journal);
            }
        }
        gave_back
    }

    /// What nobody draws from goes back by itself.
    pub(super) fn rest(&mut self, i: usize) {
        let (now, node) = (self.now, &mut self.nodes[i]);
        node.escrows.rest(node.clock_ms(now));
        self.give_back(i);
    }

    fn give_back(&mut self, i: usize) -> bool {
        let backs = self.nodes[i].escrows.backs();
        let is_heard = backs.is_empty() || self.call(&Word::GiveBack(backs.clone())).is_some();
        if is_heard {
            self.nodes[i].escrows.heard(&backs);
        }
        is_heard
    }

    pub(super) fn drawn_from(&self, hold: HoldId) -> Option<HoldId> {
        self.requests.iter().find(|request| request.hold == hold)?.from
    }

    /// Nobody knows any more what was drawn from what.
    pub(super) fn know_no_escrow(&mut self, owner: JournalId) {
        let of = self.requests.iter_mut().filter(|request| request.owner == owner);
        of.for_each(|request| request.from = None);
    }

    /// The store has let something in.
    pub(super) fn is_put_aside(&mut self, ask: &Ask, admission: &Admission) {
        let Admission::Admitted { at, escrowed: NanoUsd(left @ 1..), .. } = *admission else { return };
        let Some((ScopeId::Key(key), _)) = ask.scopes.first() else { return };
        let aside = Aside { owner: ask.owner, key: *key, at: at.0, left, returned: 0, is_overdue: false };
        self.asides.entry(ask.hold.escrow()).or_insert(aside);
    }

    /// The store has heard of an epoch: with the one before everything is gone.
    pub(super) fn reaches(&mut self, epoch: u64) {
        if epoch > self.store_epoch {
            self.store_epoch = epoch;
            self.asides.clear();
        }
    }

    /// The store has heard a settle.
    pub(super) fn is_told(&mut self, settle: &Settle) {
        let holds = settle.charges.iter().map(|charge| charge.hold).collect::<Vec<_>>();
        let known = holds.into_iter().filter(|hold| self.request(*hold).is_charged).count();
        self.counts.divided += u64::from(known > 0 && known < settle.charges.len());
        for charge in &settle.charges {
            let request = self.request(charge.hold);
            let is_known = std::mem::replace(&mut request.is_charged, true);
            if let Some(aside) = charge.from.and_then(|from| self.asides.get_mut(&from))
                && !is_known
            {
                aside.left = (aside.left - charge.cost.0).max(0);
            }
        }
        self.is_given_back(&settle.backs);
    }

    /// The store has got something back.
    pub(super) fn is_given_back(&mut self, backs: &[Back]) {
        for back in backs {
            match back {
                Back::Whole(id) => {
                    self.asides.remove(id);
                }
                Back::Part(id, returned) => {
                    if let Some(aside) = self.asides.get_mut(id).filter(|aside| returned.0 > aside.returned) {
                        let more = returned.0 - std::mem::replace(&mut aside.returned, returned.0);
                        aside.left = (aside.left - more).max(0);
                        self.counts.returned += 1;
                    }
                }
            }
        }
    }
}

/// How long an escrow is drawn from.
const DRAWN_FOR_MS: i64 = 8_000;
/// How late a grant is heard at most.
const LATEST_MS: i64 = 300;
