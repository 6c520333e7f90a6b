//! A gateway: what it remembers, and what is on its disk.

use crate::ids::{JournalId, KeyId};
use crate::rules::quota::HoldId;
use crate::rules::quota::escrow::Escrows;
use std::collections::{BTreeMap, VecDeque};

/// What a journal keeps of a request that ended.
#[derive(Clone, Debug)]
pub struct Record {
    pub hold: HoldId,
    pub key: KeyId,
    pub cost: i64,
    pub at: i64,
    pub is_interrupted: bool,
}

/// What a journal keeps of one that runs.
#[derive(Clone, Copy, Debug)]
pub struct Begin {
    pub key: KeyId,
    pub at: i64,
}

/// A journal: what outlives its process.
#[derive(Clone, Debug)]
pub struct Disk {
    pub journal: JournalId,
    pub begins: BTreeMap<HoldId, Begin>,
    pub records: BTreeMap<u64, Record>,
    pub last_seq: u64,
    /// Records up to this one are not there any more.
    pub deleted: u64,
}

impl Disk {
    pub fn new(journal: JournalId) -> Self {
        Self { journal, begins: BTreeMap::new(), records: BTreeMap::new(), last_seq: 0, deleted: 0 }
    }

    pub fn end(&mut self, record: Record) {
        self.begins.remove(&record.hold);
        self.last_seq += 1;
        self.records.insert(self.last_seq, record);
    }
}

/// A dead process's journal, in the hands of a living one.
#[derive(Clone, Debug)]
pub struct Adopted {
    pub disk: Disk,
    /// Up to which record the store knows it, in the node's epoch.
    pub acked: u64,
    /// The adopter's own record that ends its last request that was cut.
    pub cut_until: u64,
}

/// A living process.
#[derive(Debug)]
pub struct Node {
    pub disk: Disk,
    /// When it started: its own clock, that nobody puts right, shows nothing then.
    pub since: i64,
    /// Its clock is so much ahead of the store's.
    pub skew: i64,
    /// The epoch it goes by.
    pub epoch: u64,
    /// Let in and not begun: whose and when.
    pub let_in: BTreeMap<HoldId, Begin>,
    /// Given up; the store is still to be told.
    pub to_release: VecDeque<HoldId>,
    /// Still to be declared in this epoch: holds, whose, when, how much.
    pub to_declare: VecDeque<(HoldId, Begin, i64, JournalId)>,
    /// Up to which record the store knows its journal, in this epoch.
    pub acked: u64,
    /// Up to which record it was told that it is booked.
    pub floor: u64,
    pub adopted: Vec<Adopted>,
    /// What it has put aside ahead.
    pub escrows: Escrows,
}

impl Node {
    pub fn new(journal: JournalId, now: i64, skew: i64, epoch: u64) -> Self {
        Self {
            disk: Disk::new(journal),
            since: now,
            skew,
            epoch,
            let_in: BTreeMap::new(),
            to_release: VecDeque::new(),
            to_declare: VecDeque::new(),
            acked: 0,
            floor: 0,
            adopted: Vec::new(),
            escrows: Escrows::default(),
        }
    }

    /// What its own clock shows, in milliseconds.
    pub fn clock_ms(&self, now: i64) -> u64 {
        u64::try_from(now - self.since).unwrap() + 1
    }

    /// Takes a dead process's journal over: what was cut gets an end in the adopter's own.
    pub fn adopt(&mut self, disk: Disk, cost_of: impl Fn(HoldId) -> i64) {
        for (hold, begin) in &disk.begins {
            let cost = cost_of(*hold);
            self.disk.end(Record { hold: *hold, key: begin.key, cost, at: begin.at, is_interrupted: true });
        }
        self.adopted.push(Adopted { acked: disk.deleted, cut_until: self.disk.last_seq, disk });
    }

    /// What is booked and settled goes.
    pub fn delete(&mut self) {
        let until = self.floor.min(self.acked);
        self.disk.deleted = self.disk.deleted.max(until);
        self.disk.records = self.disk.records.split_off(&(self.disk.deleted + 1));
    }
}
