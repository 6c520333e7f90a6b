//! The world: what happens, one step after the other, and what must hold after each.

use super::counts::Counts;
use super::node::{Disk, Node};
use super::truth::{Aside, Request};
use crate::ids::{JournalId, KeyId};
use crate::model::{DailyMode, FiveHoursMode, Limits, WallTime};
use crate::money::NanoUsd;
use crate::rules::quota::{
    Account, Admission, Ask, Back, Edges, HoldId, Life, Opening, ScopeId, Settle, Terms,
};
use crate::time::{UnixMillis, Zone};
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

/// A word to the store.
#[derive(Clone, Debug)]
pub(super) enum Word {
    Admit(Ask, u64),
    Settle(Settle, u64),
    Release(HoldId),
    ReleaseHolds(JournalId, u64),
    ReleaseOwner(JournalId),
    GiveBack(Vec<Back>),
    Declare(Ask, i64, u64),
    Open(u64, Life, Opening),
}

pub(super) enum Reply {
    Admission(Admission),
    IsDone(bool),
}

pub struct World {
    pub(super) rng: SmallRng,
    /// The store's clock.
    pub(super) now: i64,
    pub(super) is_strict: bool,
    pub(super) zone: Zone,
    pub(super) limits: BTreeMap<ScopeId, Limits>,
    /// The terms that were asked for last: they change with the day.
    calendars: RefCell<BTreeMap<ScopeId, Terms>>,
    pub(super) store: Account,
    /// What it has written to its disk.
    pub(super) dump: Option<Account>,
    pub(super) is_up: bool,
    /// The store has lost what it had, and the admin side does not know yet.
    pub(super) is_lost: bool,
    /// The epoch that nodes are told of.
    pub(super) epoch: u64,
    /// False until the account is opened in it.
    pub(super) is_open: bool,
    pub(super) declared: BTreeSet<JournalId>,
    pub(super) nodes: Vec<Node>,
    pub(super) dead: Vec<Disk>,
    /// What the ledger has: each request once.
    pub(super) ledger: BTreeMap<HoldId, (KeyId, i64, i64)>,
    pub(super) interrupted: Vec<HoldId>,
    pub(super) booked: BTreeMap<JournalId, u64>,
    /// A reset could not be told: what counts since then may be more than was spent.
    pub(super) is_loose: bool,
    /// Words that arrive after their sender has stopped waiting.
    pub(super) late: Vec<(i64, Word)>,
    pub(super) requests: Vec<Request>,
    /// By scope: how much more than they needed those could cost that ran at the last admission.
    pub(super) excess: BTreeMap<ScopeId, i64>,
    /// By scope: since when spending counted at the last admission in the five hours that begin with a spending. A store that lost
    /// what it had divides them anew, without what was corrected to nothing: then more counts than counted when it was let in.
    pub(super) first_from: BTreeMap<ScopeId, UnixMillis>,
    /// What the store really keeps of what was put aside ahead.
    pub(super) asides: BTreeMap<HoldId, Aside>,
    /// The newest epoch that the store has heard of since it lost what it had.
    pub(super) store_epoch: u64,
    /// Every escrow that a node heard of: when it was granted, and in which epoch.
    pub(super) grants: BTreeMap<HoldId, (i64, u64)>,
    pub(super) made: u64,
    pub(super) counts: Counts,
}

impl World {
    pub fn run(seed: u64) {
        Self::counted(seed);
    }

    pub fn counted(seed: u64) -> Counts {
        let mut world = Self::new(seed);
        for _ in 0..world.rng.random_range(60..220) {
            world.step();
            world.is_right();
        }
        world.ends_well();
        world.counts
    }

    pub(super) fn new(seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let zones = ["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/Sao_Paulo"];
        let zone = Zone::parse(zones.choose(&mut rng).unwrap()).unwrap();
        // Around the end of summer time, too.
        let now = 1_792_800_000_000 + rng.random_range(0..12 * 86_400_000);
        let scopes = [ScopeId::Owner, ScopeId::Key(KeyId(1)), ScopeId::Key(KeyId(2))];
        let limits = scopes.map(|scope| (scope, limits(&mut rng, scope == ScopeId::Owner))).into();
        let mut world = Self {
            now,
            is_strict: rng.random_bool(0.6),
            zone,
            limits,
            calendars: RefCell::default(),
            store: Account::new(1),
            dump: None,
            is_up: true,
            is_lost: false,
            epoch: 1,
            is_open: true,
            declared: BTreeSet::new(),
            nodes: Vec::new(),
            dead: Vec::new(),
            ledger: BTreeMap::new(),
            interrupted: Vec::new(),
            booked: BTreeMap::new(),
            is_loose: false,
            late: Vec::new(),
            requests: Vec::new(),
            excess: BTreeMap::new(),
            first_from: BTreeMap::new(),
            asides: BTreeMap::new(),
            store_epoch: 1,
            grants: BTreeMap::new(),
            made: 0,
            counts: Counts::default(),
            rng,
        };
        for _ in 0..world.rng.random_range(1..4) {
            world.start_node();
        }
        world
    }

    pub(super) fn start_node(&mut self) {
        self.made += 1;
        let mut chance = [0; 10];
        chance[..8].copy_from_slice(&self.made.to_be_bytes());
        let journal = JournalId::from_parts(UnixMillis(self.now), &chance);
        let node = Node::new(journal, self.now, self.rng.random_range(-2_000..=2_000), self.epoch);
        // It has nothing to declare.
        self.declared.insert(journal);
        self.nodes.push(node);
    }

    pub(super) fn step(&mut self) {
        self.pass_time();
        let i = self.rng.random_range(0..self.nodes.len());
        match self.rng.random_range(0..100) {
            0..30 => self.ask(i),
            30..45 => self.begin(i),
            45..60 => self.end(i),
            60..75 => self.tell(i),
            75..79 => self.book(),
            79..82 => self.rest(i),
            82..83 => self.dump = Some(self.store.clone()),
            83..85 => self.give_up(i),
            85..87 => self.crash(i),
            87..91 => self.adopt(i),
            91..92 => self.lose(),
            92..93 => self.is_up = !self.is_up || self.rng.random_bool(0.3),
            93..95 if self.rng.random_bool(0.1) => self.begin_anew(),
            93..95 => self.notice(),
            95..98 => self.open(),
            98..99 => self.reset(),
            _ => self.learn(i),
        }
        if !self.is_up && self.rng.random_bool(0.2) {
            self.is_up = true;
        }
    }

    pub(super) fn pass_time(&mut self) {
        let ms = match self.rng.random_range(0..100) {
            // Shortly before a day begins anew, if that is not far.
            0..2 => {
                let [_, _, next, _] = self.terms(ScopeId::Owner, self.now).day.0;
                let left = next.0 - self.now - self.rng.random_range(0..3_000);
                if (0..6 * 3_600_000).contains(&left) { left } else { 0 }
            }
            2..90 => self.rng.random_range(0..2_000),
            90..97 => self.rng.random_range(0..900_000),
            97..99 => self.rng.random_range(0..6 * 3_600_000),
            // Days, so that windows begin anew; less in all than charges can be corrected.
            _ => self.rng.random_range(0..10 * 3_600_000),
        };
        self.pass(ms);
    }

    /// What is due meanwhile arrives in its time.
    pub(super) fn pass(&mut self, ms: i64) {
        let until = self.now + ms;
        let mut due: Vec<_> = self.late.extract_if(.., |(at, _)| *at <= until).collect();
        due.sort_by_key(|(at, _)| *at);
        for (at, word) in due {
            self.now = at;
            self.apply(&word);
        }
        self.now = until;
        for aside in self.asides.values_mut().filter(|aside| aside.at + LIVES_MS as i64 <= until) {
            self.counts.overdue += u64::from(!aside.is_overdue);
            aside.is_overdue = true;
        }
    }

    pub(super) fn terms(&self, scope: ScopeId, now: i64) -> Terms {
        let limits = &self.limits[&scope];
        let mut calendars = self.calendars.borrow_mut();
        if let Some(terms) = calendars.get_mut(&scope) {
            let holds = |edges: &Edges| (edges.0[1].0..edges.0[2].0).contains(&now);
            if holds(&terms.day) && holds(&terms.week) && holds(&terms.month) {
                terms.limits.clone_from(limits);
                return terms.clone();
            }
        }
        let terms = Terms::of(limits, &self.zone, UnixMillis(now));
        calendars.insert(scope, terms.clone());
        terms
    }

    pub(super) fn scopes(&self, key: KeyId, now: i64) -> Vec<(ScopeId, Terms)> {
        [ScopeId::Key(key), ScopeId::Owner].map(|scope| (scope, self.terms(scope, now))).into()
    }

    /// A word and its reply, or silence: it was lost, or comes late, or its reply was lost.
    pub(super) fn call(&mut self, word: &Word) -> Option<Reply> {
        let later = self.now + self.rng.random_range(0..120_000);
        let fate = self.rng.random_range(0..100);
        let is_once = matches!(word, Word::Admit(..));
        if !self.is_up || fate < 4 {
            self.counts.lost += 1;
            return None;
        }
        match fate {
            4..8 => {
                self.late.push((later, word.clone()));
                None
            }
            8..12 => {
                self.apply(word);
                None
            }
            12..15 if !is_once => {
                self.late.push((later, word.clone()));
                Some(self.apply(word))
            }
            _ => Some(self.apply(word)),
        }
    }

    pub(super) fn apply(&mut self, word: &Word) -> Reply {
        let now = UnixMillis(self.now);
        match word {
            Word::Admit(ask, epoch) => {
                let admission = self.store.admit(ask, *epoch, now);
                self.is_put_aside(ask, &admission);
                return Reply::Admission(admission);
            }
            Word::Settle(settle, epoch) => {
                let is_done = self.store.settle(settle, *epoch, now);
                if is_done {
                    self.is_told(settle);
                }
                return Reply::IsDone(is_done);
            }
            Word::Release(hold) => {
                self.store.release(*hold, now);
                self.asides.remove(hold);
            }
            Word::ReleaseHolds(owner, epoch) => {
                self.store.release_holds(*owner, *epoch, now);
                if self.store.is_open(*epoch) {
                    self.asides.retain(|_, aside| aside.owner != *owner);
                }
            }
            Word::ReleaseOwner(owner) => {
                self.store.release_owner(*owner, now);
                self.asides.retain(|_, aside| aside.owner != *owner);
            }
            Word::GiveBack(backs) => {
                self.store.give_back(backs, now);
                self.is_given_back(backs);
            }
            Word::Declare(ask, at, epoch) => {
                self.reaches(*epoch);
                self.store.declare(ask, UnixMillis(*at), *epoch);
            }
            Word::Open(epoch, life, opening) => {
                let is_open = self.store.open(*epoch, life, opening, now);
                if is_open {
                    self.reaches(*epoch);
                }
                self.counts.stale += u64::from(!is_open);
                return Reply::IsDone(is_open);
            }
        }
        Reply::IsDone(true)
    }

    pub(super) fn request(&mut self, hold: HoldId) -> &mut Request {
        self.requests.iter_mut().find(|request| request.hold == hold).unwrap()
    }
}

/// Limits that some requests reach: windows by lot, each now and then without one.
fn limits(rng: &mut SmallRng, is_owner: bool) -> Limits {
    let size = if is_owner { 1_500 } else { 1_000 };
    let mut limit = |chance| rng.random_bool(chance).then(|| NanoUsd(rng.random_range(size / 2..size * 3)));
    let [five_hours, daily, weekly, monthly, total] =
        [limit(0.5), limit(0.5), limit(0.3), limit(0.3), limit(0.2)];
    Limits {
        five_hours,
        five_hours_mode: if rng.random_bool(0.5) { FiveHoursMode::Fixed } else { FiveHoursMode::Rolling },
        daily,
        daily_mode: if rng.random_bool(0.5) { DailyMode::Fixed } else { DailyMode::Rolling },
        daily_reset_time: WallTime::parse(if rng.random_bool(0.5) { "00:00" } else { "02:37" }).unwrap(),
        weekly,
        monthly,
        total,
        ..Limits::default()
    }
}

/// How long a request may run before its hold is charged.
pub(super) const LIVES_MS: u64 = 3_600_000;
