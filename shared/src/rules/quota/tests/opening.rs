//! An account that is opened from the books says what one says that was told each row.

use crate::ids::{JournalId, KeyId, RequestId, UserId};
use crate::model::{DailyMode, FiveHoursMode, Limits, WallTime};
use crate::money::NanoUsd;
use crate::rules::quota::opening::{Lump, MARGIN_MS, Reading, scopes_of_user, spends};
use crate::rules::quota::window::{DAY_MS, FIVE_HOURS_MS};
use crate::rules::quota::{
    Account, Charge, HoldId, Kind, Opening, ScopeId, Settle, Standing, Terms, WindowNow, scopes_of_caller,
};
use crate::testing::{key, user};
use crate::time::{HOUR_MS, UnixMillis, Zone};
use proptest::prelude::*;
use std::collections::BTreeMap;

const NOW: i64 = 1_792_900_000_000;

/// A row of the ledger: when it was let in, how much earlier it began, what it cost.
#[derive(Clone, Copy, Debug)]
struct Row {
    at: i64,
    before: i64,
    key: i64,
    cost: i64,
}

#[derive(Debug)]
struct Books {
    rows: Vec<Row>,
    zone: Zone,
    user: Limits,
    keys: BTreeMap<KeyId, Limits>,
}

impl Books {
    fn scopes(&self) -> BTreeMap<ScopeId, Terms> {
        scopes_of_user(&self.user, &self.keys, &self.zone, UnixMillis(NOW))
    }

    fn terms(&self, id: i64, now: i64) -> Vec<(ScopeId, Terms)> {
        let (mut person, mut seat) = (user(1), key(id, 1));
        person.limits = self.user.clone();
        seat.limits = self.keys[&KeyId(id)].clone();
        assert_eq!(person.id, UserId(1));
        scopes_of_caller(&person, &seat, &self.zone, UnixMillis(now))
    }

    /// Told each row when it was let in.
    fn told(&self) -> Account {
        let mut account = Account::new(1);
        let mut rows = self.rows.clone();
        rows.sort_by_key(|row| row.at);
        for (seq, row) in (1..).zip(rows) {
            let charge = Charge {
                seq,
                hold: HoldId(RequestId::from_parts(seq, &[0; 10]), 0),
                cost: NanoUsd(row.cost),
                at: UnixMillis(row.at),
                is_interrupted: false,
                from: None,
                scopes: self.terms(row.key, row.at),
            };
            let journal = JournalId::from_parts(UnixMillis(1), &[0; 10]);
            assert!(account.settle(
                &Settle { journal, charges: vec![charge], backs: Vec::new() },
                1,
                UnixMillis(row.at)
            ));
        }
        account
    }

    /// Opened with what the books say: rows where they are read, sums of hours elsewhere.
    fn opened(&self, lump_ms: i64) -> Account {
        let terms = self.scopes();
        let reading = Reading::of(terms.values(), UnixMillis(NOW));
        let mut rows: BTreeMap<_, Lump> = BTreeMap::new();
        let mut sums = Vec::new();
        for row in &self.rows {
            let began = UnixMillis(row.at - row.before);
            let at = UnixMillis(row.at);
            if let Some(counts) = reading.sum_at(began.hour_start()) {
                sums.push((row.key, Lump { first: counts, last: counts, amount: row.cost }));
            } else if row.cost > 0 {
                let edge = reading.edges().partition_point(|edge| *edge <= at);
                let one = Lump { first: at, last: at, amount: 0 };
                let lump = rows.entry((row.key, edge, row.at / lump_ms)).or_insert(one);
                (lump.first, lump.last) = (lump.first.min(at), lump.last.max(at));
                lump.amount += row.cost;
            }
        }
        let of = |scope: ScopeId, key: i64| scope == ScopeId::Owner || scope == ScopeId::Key(KeyId(key));
        let spends = terms.into_iter().map(|(scope, terms)| {
            let sums = sums.iter().filter(|(key, _)| of(scope, *key)).map(|(_, lump)| *lump);
            let rows = rows.iter().filter(|((key, ..), _)| of(scope, *key)).map(|(_, lump)| *lump);
            spends(scope, terms, &sums.collect::<Vec<_>>(), &rows.collect::<Vec<_>>(), UnixMillis(NOW))
        });
        let spends: Vec<_> = spends.collect();
        for spends in &spends {
            assert!(spends.at.is_sorted_by_key(|(at, _)| *at));
            assert!(spends.at.len() < 200, "{}", spends.at.len());
        }
        Account::opened(1, &Opening { spends, ..Opening::default() }, UnixMillis(NOW))
    }

    /// Of all windows, limited or not: of key 1, the user and key 2.
    fn standing(&self, account: &Account, now: i64) -> Standing {
        let [mut one, two] = [1, 2].map(|key| self.terms(key, now));
        one.extend(two.into_iter().take(1));
        account.standing(&one, UnixMillis(now))
    }

    /// Nothing was spent with a key for five hours of the last day: one knows when its five hours began.
    fn has_rested(&self, scope: ScopeId) -> bool {
        let of = |row: &&Row| scope == ScopeId::Owner || scope == ScopeId::Key(KeyId(row.key));
        let mut moments: Vec<_> = self.rows.iter().filter(of).filter(|r| r.cost > 0).map(|r| r.at).collect();
        moments.extend([NOW - DAY_MS, NOW]);
        moments.sort_unstable();
        let recent: Vec<_> = moments.into_iter().filter(|at| *at >= NOW - DAY_MS).collect();
        recent.windows(2).any(|pair| pair[1] - pair[0] >= FIVE_HOURS_MS)
    }
}

fn row() -> impl Strategy<Value = Row> {
    let back = prop_oneof![0..6 * HOUR_MS, 0..26 * HOUR_MS, 0..9 * DAY_MS, 0..70 * DAY_MS];
    (back, -MARGIN_MS / 2..MARGIN_MS, 1..=2_i64, 0..1_000_i64).prop_map(|(back, before, key, cost)| Row {
        at: NOW - back,
        before,
        key,
        cost,
    })
}

fn limits() -> impl Strategy<Value = Limits> {
    let marker = || proptest::option::weighted(0.3, prop_oneof![0..DAY_MS, 0..40 * DAY_MS]);
    let time = prop_oneof![Just("00:00"), Just("02:37"), Just("17:05")];
    (any::<bool>(), any::<bool>(), time, marker(), marker()).prop_map(
        |(is_fixed, is_day, time, reset, five)| {
            let limit = Some(NanoUsd(1_000_000_000));
            let marker = |back: Option<i64>| back.map(|back| UnixMillis(NOW - back));
            Limits {
                five_hours: limit,
                five_hours_mode: if is_fixed { FiveHoursMode::Fixed } else { FiveHoursMode::Rolling },
                daily: limit,
                daily_mode: if is_day { DailyMode::Fixed } else { DailyMode::Rolling },
                daily_reset_time: WallTime::parse(time).unwrap(),
                weekly: limit,
                monthly: limit,
                total: limit,
                reset_at: marker(reset),
                five_hours_reset_at: marker(five),
                ..Limits::default()
            }
        },
    )
}

fn books(rows: impl Strategy<Value = Vec<Row>>) -> impl Strategy<Value = Books> {
    let zone = prop_oneof![
        Just("UTC"),
        Just("Europe/Berlin"),
        Just("Asia/Kathmandu"),
        Just("America/Sao_Paulo"),
        Just("Pacific/Chatham")
    ];
    (rows, zone, limits(), limits(), limits()).prop_map(|(rows, zone, user, one, two)| Books {
        rows,
        zone: Zone::parse(zone).unwrap(),
        user,
        keys: [(KeyId(1), one), (KeyId(2), two)].into(),
    })
}

/// Now, and whenever a bucket or window may have ended since.
fn moments() -> impl Iterator<Item = i64> {
    [0, 60_000, 7 * 60_000, HOUR_MS, 4 * HOUR_MS, 11 * HOUR_MS, 23 * HOUR_MS].into_iter().map(|ms| NOW + ms)
}

fn is_never_less(told: &WindowNow, opened: &WindowNow) -> bool {
    told.spent <= opened.spent && told.resets_at <= opened.resets_at
}

proptest! {
    #[test]
    fn an_opened_account_says_to_the_nano_what_one_says_that_was_told_each_row(
        books in books(proptest::collection::vec(row(), 0..60)),
    ) {
        let (told, opened) = (books.told(), books.opened(1));
        for now in moments() {
            for (told, opened) in books.standing(&told, now).windows.iter().zip(books.standing(&opened, now).windows) {
                if books.has_rested(told.scope) {
                    prop_assert_eq!(*told, opened, "{}", now - NOW);
                } else {
                    prop_assert!(is_never_less(told, &opened), "{:?} {:?}", told, opened);
                }
            }
        }
    }

    /// Somebody who never rests: what is said of five hours may be too much, of all else it is right.
    #[test]
    fn who_never_rests_is_not_told_less(
        mut books in books(proptest::collection::vec(row(), 0..60)),
        pause in 20_000..3 * HOUR_MS, shift in 0..HOUR_MS,
    ) {
        let all = (NOW - 3 * DAY_MS + shift..NOW).step_by(usize::try_from(pause).unwrap());
        books.rows.extend(all.map(|at| Row { at, before: 5, key: 1, cost: 7 }));
        let (told, opened) = (books.told(), books.opened(60_000));
        for now in moments() {
            for (told, opened) in books.standing(&told, now).windows.iter().zip(books.standing(&opened, now).windows) {
                let is_fixed = told.kind == Kind::FiveHours && told.starts_at != Some(UnixMillis(now - FIVE_HOURS_MS));
                let slack = if is_fixed { 60_000 } else { 0 };
                let ends_at = |window: &WindowNow| window.resets_at.map(|at| at.0);
                prop_assert!(told.spent.0 <= opened.spent.0, "{}: {:?} {:?}", now - NOW, told, opened);
                prop_assert!(ends_at(told) <= ends_at(&opened).map(|at| at + slack), "{:?} {:?}", told, opened);
            }
        }
    }
}

#[test]
fn rows_are_read_around_edges_and_of_the_last_day() {
    let books = Books {
        rows: Vec::new(),
        zone: Zone::parse("UTC").unwrap(),
        user: Limits { reset_at: Some(UnixMillis(1_000)), ..Limits::default() },
        keys: BTreeMap::new(),
    };
    let reading = Reading::of(books.scopes().values(), UnixMillis(NOW));
    let at = |text: &str| UnixMillis::parse_rfc3339(text).unwrap();
    // It is Sunday, 2026-10-25, 03:46:40.
    let expected = [
        at("1970-01-01T00:00:00Z")..at("1970-01-01T02:00:00Z"),
        at("2026-09-30T23:00:00Z")..at("2026-10-01T02:00:00Z"),
        at("2026-10-18T23:00:00Z")..at("2026-10-19T02:00:00Z"),
        at("2026-10-24T02:00:00Z")..UnixMillis(i64::MAX),
    ];
    assert_eq!(reading.rows(), expected);
    let parts = reading.parts();
    assert_eq!(parts.len(), 7, "{parts:?}");
    assert!(parts.is_sorted());
    assert_eq!(parts.last(), Some(&at("2026-10-24T02:00:00Z")));
    let sum_at = |text: &str| reading.sum_at(at(text));
    assert_eq!(sum_at("1970-01-01T03:00:00Z"), Some(UnixMillis(1_000)));
    assert_eq!(sum_at("2026-10-01T02:00:00Z"), Some(at("2026-10-01T00:00:00Z")));
    assert_eq!(sum_at("2026-10-01T01:00:00Z"), None);
    assert_eq!(sum_at("2026-10-25T01:00:00Z"), None);
}
