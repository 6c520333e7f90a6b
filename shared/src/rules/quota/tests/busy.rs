//! What a busy user costs: requests of one node, drawn from what it has put aside ahead, by a clock that the test turns.

use crate::ids::{JournalId, RequestId, UserId};
use crate::model::Limits;
use crate::money::NanoUsd;
use crate::rules::quota::escrow::{Drawing, Grant, worth};
use crate::rules::quota::local::{LiveHold, Local};
use crate::rules::quota::pace::Pace;
use crate::rules::quota::{
    Account, AccountId, Admission, Ahead, Ask, Charge, HoldId, ScopeId, Settle, Terms,
};
use crate::time::{UnixMillis, Zone};

const USER: AccountId = AccountId::User(UserId(1));
const START: UnixMillis = UnixMillis(1_795_608_000_000);
const CENT: NanoUsd = NanoUsd(10_000_000);

/// A node, and a store that answers at once.
struct Node {
    local: Local,
    pace: Pace,
    account: Account,
    scopes: Vec<(ScopeId, Terms)>,
    /// What has ended and is not told, by the numbers of their records.
    untold: Vec<HoldId>,
    told: u64,
    made: u64,
    calls: u64,
    now_ms: u64,
}

impl Node {
    fn new(limit: NanoUsd) -> Self {
        let limits = Limits { total: Some(limit), ..Limits::default() };
        Self {
            local: Local::default(),
            pace: Pace::default(),
            account: Account::new(1),
            scopes: vec![(ScopeId::Owner, Terms::of(&limits, &Zone::default(), START))],
            untold: Vec::new(),
            told: 0,
            made: 0,
            calls: 0,
            now_ms: 0,
        }
    }

    fn now(&self) -> UnixMillis {
        START.plus_ms(self.now_ms)
    }

    fn journal() -> JournalId {
        JournalId::from_parts(START, &[7; 10])
    }

    /// A request comes, and is let in.
    fn begin(&mut self) -> HoldId {
        self.made += 1;
        let hold = HoldId(RequestId::from_parts(self.made, &[0; 10]), 0);
        let drawing = Drawing { hold, need: CENT, scopes: &self.scopes, epoch: 1 };
        let is_worth = self.local.is_worth(USER, &drawing, self.now_ms);
        if !is_worth && self.local.draw(USER, &drawing, None, self.now_ms).is_some() {
            return hold;
        }
        let ask = Ask {
            hold,
            owner: Self::journal(),
            need: CENT,
            lives_ms: 900_000,
            scopes: self.scopes.clone(),
            is_counted: true,
            session: None,
            escrow: is_worth.then(|| Ahead { worth: worth(CENT), nodes: 2 }),
        };
        self.calls += 1;
        let Admission::Admitted { at, escrowed, standing } = self.account.admit(&ask, 1, self.now()) else {
            panic!("there is room");
        };
        self.local.admitted(USER, LiveHold { id: hold, key: None, need: CENT, at }, &standing);
        if escrowed > NanoUsd::ZERO {
            let (id, scopes) = (hold.escrow(), self.scopes.clone());
            let grant = Grant { id, amount: escrowed, scopes, epoch: 1, at, standing };
            self.local.granted(USER, grant, self.now_ms);
        }
        hold
    }

    fn end(&mut self, hold: HoldId) {
        let can_wait = self.local.ended(USER, hold, CENT, self.now_ms);
        self.pace.ended(can_wait, self.now_ms);
        self.untold.push(hold);
    }

    /// Tells what is to be told by now.
    fn tell(&mut self) {
        if self.untold.is_empty() || !self.pace.is_due(self.now_ms) {
            return;
        }
        self.pace.goes();
        let holds = std::mem::take(&mut self.untold);
        let backs = self.local.backs_with(USER, &holds, 1);
        let charge = |(seq, hold): (u64, &HoldId)| Charge {
            seq,
            hold: *hold,
            cost: CENT,
            at: self.now(),
            is_interrupted: false,
            from: self.local.drawn_from(USER, *hold, 1),
            scopes: self.scopes.clone(),
        };
        let charges = (self.told + 1..).zip(&holds).map(charge).collect();
        let settle = Settle { journal: Self::journal(), charges, backs };
        self.told += holds.len() as u64;
        self.calls += 1;
        assert!(self.account.settle(&settle, 1, self.now()));
        holds.iter().for_each(|hold| self.local.told(USER, *hold));
        self.local.heard_back(USER, &settle.backs);
    }

    /// So many requests, one after the other in each of so many seats; each takes so long.
    fn serves(&mut self, seats: usize, each: u64, takes_ms: u64) {
        let mut running: Vec<(u64, u64, HoldId)> =
            (0..seats).map(|_| (each - 1, self.now_ms + takes_ms, self.begin())).collect();
        while !running.is_empty() {
            self.now_ms += 1;
            for (left, ends_ms, hold) in std::mem::take(&mut running) {
                if ends_ms > self.now_ms {
                    running.push((left, ends_ms, hold));
                    continue;
                }
                self.end(hold);
                if left > 0 {
                    running.push((left - 1, self.now_ms + takes_ms, self.begin()));
                }
            }
            if self.now_ms.is_multiple_of(1_000) {
                self.local.rest(self.now_ms);
            }
            self.tell();
        }
    }
}

/// Issue 6.
#[test]
fn with_room_for_a_thousand_requests_fewer_than_one_in_twenty_is_a_call_of_the_store() {
    // From fifty requests a second on: what has ended is told once a second.
    for takes_ms in [5, 20, 50, 100, 320] {
        let mut node = Node::new(NanoUsd(CENT.0 * 1_060));
        node.serves(1, 60, 20);
        let before = node.calls;
        node.serves(16, 30, takes_ms);
        let calls = node.calls - before;
        assert!(calls * 20 < 16 * 30, "{calls} calls for 480 requests of {takes_ms} ms");
    }
}

#[test]
fn what_is_drawn_is_charged_once_and_no_nano_stays_behind() {
    let mut node = Node::new(NanoUsd(CENT.0 * 1_060));
    node.serves(16, 30, 20);
    // What nobody draws from goes back, and the last that ended is told.
    node.now_ms += 10_000;
    node.local.rest(node.now_ms);
    node.tell();
    for (account, backs) in node.local.backs(None) {
        node.account.give_back(&backs, node.now());
        node.local.heard_back(account, &backs);
    }
    let total = node.account.standing(&node.scopes, node.now()).windows[0];
    assert_eq!((total.spent, total.held), (NanoUsd(CENT.0 * 480), NanoUsd::ZERO));
}
