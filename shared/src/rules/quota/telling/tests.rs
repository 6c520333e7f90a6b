use super::*;
use crate::ids::{JournalId, KeyId, ProviderId, RequestId, UserId};
use crate::model::Limits;
use crate::money::NanoUsd;
use crate::rules::quota::{Account, Charge, HoldId, Life, Opening, ScopeId, Settle, Spends, Terms, epoch_of};
use crate::time::{UnixMillis, Zone};
use proptest::prelude::*;

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
const ACCOUNTS: [AccountId; 3] =
    [AccountId::User(UserId(1)), AccountId::User(UserId(2)), AccountId::Provider(ProviderId(1))];

fn scopes() -> Vec<(ScopeId, Terms)> {
    let limits = Limits { total: Some(NanoUsd(1 << 50)), ..Limits::default() };
    vec![(ScopeId::Owner, Terms::of(&limits, &Zone::default(), NOW))]
}

#[derive(Clone, Debug)]
enum Op {
    /// A request ends: what it costs each account.
    End([i64; 3]),
    /// The books take so many more records.
    Book(usize),
    /// The node hears how far they are.
    Hear,
    /// What is not needed goes.
    Delete,
    /// Limits are set or taken away.
    Govern(usize, bool),
    /// An account is opened.
    Open(usize),
    /// The store loses everything.
    Lose,
    /// So many records are looked at; each call fails whose bit is set, and of these some were heard.
    Tell {
        most: usize,
        failing: u32,
        can_tell: bool,
    },
    /// The process dies; another adopts its journal.
    Restart,
    Wait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let cost = || prop_oneof![2 => Just(0_i64), 3 => 1_i64..1_000];
    prop_oneof![
        8 => [cost(), cost(), cost()].prop_map(Op::End),
        4 => (0_usize..9).prop_map(Op::Book),
        3 => Just(Op::Hear),
        3 => Just(Op::Delete),
        2 => (0_usize..3, any::<bool>()).prop_map(|(n, is_governed)| Op::Govern(n, is_governed)),
        4 => (0_usize..3).prop_map(Op::Open),
        1 => Just(Op::Lose),
        9 => (1_usize..6, prop_oneof![Just(0), any::<u32>()], prop::bool::weighted(0.9))
            .prop_map(|(most, failing, can_tell)| Op::Tell { most, failing, can_tell }),
        1 => Just(Op::Restart),
        2 => (0_u64..6_000).prop_map(Op::Wait),
    ]
}

struct World {
    journal: JournalId,
    /// What each record costs; the first has number 1.
    records: Vec<[i64; 3]>,
    booked: u64,
    floor: u64,
    deleted: u64,
    governed: Governed,
    generations: [u32; 3],
    telling: Telling,
    store: [Account; 3],
    store_epoch: u64,
    now_ms: u64,
}

impl World {
    fn new() -> Self {
        Self {
            journal: JournalId::from_parts(NOW, &[1; 10]),
            records: Vec::new(),
            booked: 0,
            floor: 0,
            deleted: 0,
            governed: Governed::default(),
            generations: [0; 3],
            telling: Telling::default(),
            store: Default::default(),
            store_epoch: 1,
            now_ms: 0,
        }
    }

    fn last(&self) -> u64 {
        self.records.len() as u64
    }

    fn step(&mut self, op: &Op) {
        match op {
            Op::End(costs) => self.records.push(*costs),
            Op::Book(count) => self.booked = (self.booked + *count as u64).min(self.last()),
            Op::Hear => self.floor = self.booked,
            Op::Delete => {
                let needless = self.floor.min(self.telling.told(Some(&self.governed)));
                self.deleted = self.deleted.max(needless);
            }
            Op::Govern(n, is_governed) => self.govern(*n, *is_governed),
            Op::Open(n) => self.open(*n),
            Op::Lose => {
                self.store = Default::default();
                self.store_epoch += 1;
                self.telling = Telling::from(self.floor);
            }
            Op::Tell { most, failing, can_tell } => self.tell(*most, *failing, *can_tell),
            Op::Restart => self.telling = Telling::from(self.deleted),
            Op::Wait(ms) => self.now_ms += ms,
        }
    }

    fn govern(&mut self, n: usize, is_governed: bool) {
        if is_governed == self.governed.generation(ACCOUNTS[n]).is_some() {
            return;
        }
        if is_governed {
            self.generations[n] += 1;
        }
        let mut after = self.governed.0.clone();
        match is_governed {
            true => after.insert(ACCOUNTS[n], self.generations[n]),
            false => after.remove(&ACCOUNTS[n]),
        };
        let after = Governed::from_iter(after);
        self.telling.govern(&self.governed, &after, self.floor);
        self.governed = after;
    }

    fn epoch(&self, n: usize) -> u64 {
        epoch_of(self.store_epoch, self.generations[n])
    }

    fn open(&mut self, n: usize) {
        if self.governed.generation(ACCOUNTS[n]).is_none() {
            return;
        }
        let spent = self.records[..self.booked as usize].iter().map(|costs| costs[n]).sum();
        let terms = scopes().remove(0).1;
        let opening = Opening {
            spends: vec![Spends { scope: ScopeId::Owner, terms, at: vec![(NOW, spent)] }],
            journals: [(self.journal, self.booked)].into(),
            interrupted: Vec::new(),
        };
        let epoch = self.epoch(n);
        let Some(life) = self.store[n].life(epoch, Life(epoch.to_string())) else { return };
        assert!(self.store[n].open(epoch, &life, &opening, NOW));
    }

    fn tell(&mut self, most: usize, failing: u32, can_tell: bool) {
        let moment = Moment { last: self.last(), now_ms: self.now_ms, can_tell };
        let Some(mut from) = self.telling.next(moment) else { return };
        if from < self.deleted {
            self.telling.lift(from, self.deleted);
            from = self.deleted;
        }
        let to = (from + most as u64).min(self.last());
        let of = |seq: u64| {
            let hold = HoldId(RequestId::from_parts(seq, &[0; 10]), 0);
            let costs = self.records[seq as usize - 1];
            ACCOUNTS.into_iter().zip(costs).filter(|(_, cost)| *cost > 0).map(move |(account, cost)| {
                let cost = NanoUsd(cost);
                (seq, Owed { account, key: Some(KeyId(1)), hold, cost, at: NOW, is_interrupted: false })
            })
        };
        let charges: Vec<(u64, Owed)> = (from + 1..=to).flat_map(of).collect();
        let pass = self.telling.pass((from, to), &charges, &self.governed, moment);
        let mut calls = 0;
        let mut are_told = Vec::new();
        for due in &pass.due {
            calls += 1;
            let has_answer = can_tell && failing.rotate_right(calls) & 1 == 0;
            let is_heard = has_answer || (can_tell && failing.rotate_right(calls + 7) & 1 == 0);
            are_told.push(is_heard && self.settle(due, &charges) && has_answer);
        }
        self.telling.passed(&pass, &are_told, &self.governed, moment);
    }

    fn settle(&mut self, due: &Due, charges: &[(u64, Owed)]) -> bool {
        let n = ACCOUNTS.iter().position(|account| *account == due.account).unwrap();
        let charge = |n: &usize| {
            let (seq, owed) = charges[*n];
            let Owed { hold, cost, at, is_interrupted, .. } = owed;
            Charge { seq, hold, cost, at, is_interrupted, from: None, scopes: scopes() }
        };
        let charges = due.charges.iter().map(charge).collect();
        let epoch = self.epoch(n);
        self.store[n].settle(&Settle { journal: self.journal, charges, backs: Vec::new() }, epoch, NOW)
    }

    /// Everybody is there, and all is told.
    fn settle_all(&mut self) {
        (0..3).for_each(|n| self.open(n));
        for _ in 0..4 * (self.records.len() + 4) {
            self.step(&Op::Wait(10_000));
            self.step(&Op::Tell { most: 3, failing: 0, can_tell: true });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 800, ..ProptestConfig::default() })]

    #[test]
    fn every_account_is_told_every_record_above_its_opening_once(ops in prop::collection::vec(op(), 1..120)) {
        let mut world = World::new();
        for op in &ops {
            world.step(op);
            prop_assert!(world.deleted <= world.booked);
        }
        world.settle_all();
        for (n, account) in ACCOUNTS.into_iter().enumerate() {
            if world.governed.generation(account).is_some() {
                let spent = world.records.iter().map(|costs| costs[n]).sum::<i64>();
                let standing = world.store[n].standing(&scopes(), NOW);
                prop_assert_eq!(standing.windows[0].spent, NanoUsd(spent), "{:?}", account);
            }
        }
        let told = world.telling.told(Some(&world.governed));
        prop_assert!(told >= world.last(), "all may go: {}", told);
        let idle = Moment { last: world.last(), now_ms: u64::MAX, can_tell: true };
        prop_assert_eq!(world.telling.next(idle), None);
    }
}

fn charge(account: AccountId) -> Owed {
    let hold = HoldId(RequestId::from_parts(1, &[0; 10]), 0);
    Owed { account, key: None, hold, cost: NanoUsd(1), at: NOW, is_interrupted: false }
}

#[test]
fn who_cannot_be_told_is_left_behind_and_comes_after_while_the_others_go_on() {
    let [first, second, _] = ACCOUNTS;
    let governed: Governed = [(first, 1), (second, 1)].into_iter().collect();
    let mut telling = Telling::from(10);
    let at = |now_ms| Moment { last: 14, now_ms, can_tell: true };
    let charges = [(11, charge(first)), (12, charge(second)), (13, charge(first)), (14, charge(second))];
    let pass = telling.pass((10, 14), &charges, &governed, at(0));
    telling.passed(&pass, &[true, false], &governed, at(0));
    assert_eq!(telling.told(Some(&governed)), 11, "what is to be told again stays");
    assert_eq!((telling.next(at(49)), telling.next(at(50))), (None, Some(11)));
    assert_eq!(telling.wake_at_ms(), Some(50));
    let pass = telling.pass((11, 14), &charges[1..], &governed, at(50));
    assert_eq!(pass.due.iter().map(|due| due.account).collect::<Vec<_>>(), [second]);
    telling.passed(&pass, &[false], &governed, at(50));
    assert_eq!((telling.next(at(149)), telling.next(at(150))), (None, Some(11)), "each time later");
    telling.retry(|account| account == second);
    assert_eq!(telling.next(at(60)), Some(11), "it has answered somebody");
    telling.passed(&pass, &[true], &governed, at(60));
    assert_eq!((telling.told(Some(&governed)), telling.next(at(60))), (14, None));
}

#[test]
fn what_is_due_to_an_account_is_told_together_in_its_order() {
    let [first, second, _] = ACCOUNTS;
    let governed: Governed = [(first, 1), (second, 1)].into_iter().collect();
    let telling = Telling::from(2);
    let moment = Moment { last: 6, now_ms: 0, can_tell: true };
    let charges: Vec<(u64, Owed)> = [(2, first), (3, first), (4, second), (5, first), (5, first)]
        .map(|(seq, of)| (seq, charge(of)))
        .into();
    let due = telling.pass((1, 6), &charges, &governed, moment).due;
    let due: Vec<_> = due.into_iter().map(|due| (due.account, due.first, due.charges)).collect();
    assert_eq!(due, [(first, 3, vec![1, 3, 4]), (second, 4, vec![2])]);
}

#[test]
fn while_nothing_is_limited_nothing_is_kept() {
    let mut telling = Telling::from(0);
    let none = Governed::default();
    assert_eq!(telling.told(Some(&none)), u64::MAX);
    assert_eq!(telling.told(None), 0, "while nobody knows what is limited, all is");
    let some: Governed = [(ACCOUNTS[0], 1), (ACCOUNTS[1], 0)].into_iter().collect();
    assert_eq!(some.accounts().count(), 1, "generation 0 is nobody's");
    telling.govern(&none, &some, 7);
    assert_eq!(telling.told(Some(&some)), 7);
}
