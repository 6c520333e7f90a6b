//! Requests of a minute, conversations at a time, and words that come late.

use crate::ids::{JournalId, RequestId};
use crate::model::Limits;
use crate::money::NanoUsd;
use crate::rules::quota::{
    Account, Admission, Ask, Charge, HoldId, Life, MAX_AMOUNT, Opening, Refusal, ScopeId, Settle, Standing,
    Terms, What,
};
use crate::time::{UnixMillis, Zone};

fn journal() -> JournalId {
    JournalId::from_parts(UnixMillis(1), &[1; 10])
}

fn ask(n: u64, limits: &Limits, now: i64) -> Ask {
    Ask {
        hold: HoldId(RequestId::from_parts(n, &[0; 10]), 0),
        owner: journal(),
        need: NanoUsd(10),
        lives_ms: 60_000,
        scopes: vec![(ScopeId::Owner, Terms::of(limits, &Zone::default(), UnixMillis(now)))],
        is_counted: true,
        session: None,
        escrow: None,
    }
}

fn settle(ask: &Ask, seq: u64, cost: i64) -> Settle {
    let charge = Charge {
        seq,
        hold: ask.hold,
        cost: NanoUsd(cost),
        at: UnixMillis(NOON),
        is_interrupted: false,
        from: None,
        scopes: ask.scopes.clone(),
    };
    Settle { journal: journal(), charges: vec![charge], backs: Vec::new() }
}

fn spent(account: &Account, limits: &Limits) -> i64 {
    let scopes = [(ScopeId::Owner, Terms::of(limits, &Zone::default(), UnixMillis(NOON)))];
    account.standing(&scopes, UnixMillis(NOON)).windows[0].spent.0
}

fn refusal(admission: Admission) -> Refusal {
    match admission {
        Admission::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_standing_counts_the_requests_of_the_last_minute_and_the_conversations_that_run() {
    let limits = Limits { requests_per_minute: Some(3), concurrent_sessions: Some(2), ..Limits::default() };
    let mut account = Account::new(1);
    let scopes = ask(0, &limits, NOON).scopes;
    let stands = |account: &Account, now| {
        let standing = account.standing(&scopes, UnixMillis(now));
        assert_eq!((standing.windows.len(), standing.requests.len(), standing.sessions.len()), (0, 1, 1));
        let (requests, sessions) = (standing.requests[0], standing.sessions[0]);
        assert_eq!((requests.limit, sessions.limit), (3, 2));
        let resets_in = requests.resets_at.map(|at| at.0 - NOON);
        ((requests.current, requests.remaining(), resets_in), sessions.current)
    };
    assert_eq!(stands(&account, NOON), ((0, 3, None), 0));
    let session = Some((7, 100_000));
    for (n, after) in [(0, 0), (1, 12_000)] {
        let ask = Ask { session, ..ask(n, &limits, NOON) };
        let Admission::Admitted { standing, .. } = account.admit(&ask, 1, UnixMillis(NOON + after)) else {
            panic!("{n} is let in")
        };
        assert_eq!(
            (standing.requests[0].current, standing.sessions[0].current),
            (n as u32 + 1, 1),
            "with itself"
        );
    }
    // Noon is where five seconds begin; the second came in those from 12:00:10 on.
    assert_eq!(stands(&account, NOON + 64_999), ((2, 1, Some(75_000)), 1));
    assert_eq!(stands(&account, NOON + 65_000), ((1, 2, Some(75_000)), 1));
    assert_eq!(stands(&account, NOON + 75_000), ((0, 3, None), 1));
    assert_eq!(stands(&account, NOON + 111_999).1, 1);
    assert_eq!(stands(&account, NOON + 112_000).1, 0);
    // Nothing is told of what is not limited.
    let free = ask(0, &Limits { requests_per_minute: Some(0), ..Limits::default() }, NOON).scopes;
    assert_eq!(account.standing(&free, UnixMillis(NOON)), Standing::default());
}

#[test]
fn a_minute_holds_so_many_requests_and_refused_ones_do_not_count() {
    let limits = Limits { requests_per_minute: Some(3), ..Limits::default() };
    let mut account = Account::new(1);
    let mut at = |n, now| account.admit(&ask(n, &limits, now), 1, UnixMillis(now));
    for n in 0..3 {
        assert!(matches!(at(n, NOON + 1_000 * n.cast_signed()), Admission::Admitted { .. }));
    }
    for n in 3..40 {
        let refused = refusal(at(n, NOON + 3_000));
        assert_eq!(refused.what, What::Requests { limit: 3, current: 3 });
        assert_eq!(
            refused.resets_at,
            Some(UnixMillis(NOON + 65_000)),
            "when the first of them is out of all minutes"
        );
    }
    assert!(matches!(at(90, NOON + 65_000), Admission::Admitted { .. }));
}

#[test]
fn what_is_not_counted_is_let_in_beside_a_full_minute() {
    let limits = Limits { requests_per_minute: Some(1), ..Limits::default() };
    let mut account = Account::new(1);
    account.admit(&ask(1, &limits, NOON), 1, UnixMillis(NOON));
    let uncounted = Ask { is_counted: false, ..ask(2, &limits, NOON) };
    assert!(matches!(account.admit(&uncounted, 1, UnixMillis(NOON)), Admission::Admitted { .. }));
}

#[test]
fn a_conversation_that_runs_is_always_let_in_and_a_new_one_when_another_is_over() {
    let limits = Limits { concurrent_sessions: Some(2), ..Limits::default() };
    let mut account = Account::new(1);
    let mut made = 0;
    let mut at = |session, now| {
        made += 1;
        account.admit(
            &Ask { session: Some((session, 300_000)), ..ask(made, &limits, now) },
            1,
            UnixMillis(now),
        )
    };
    assert!(matches!(at(1, NOON), Admission::Admitted { .. }));
    assert!(matches!(at(2, NOON + 1), Admission::Admitted { .. }));
    let refused = refusal(at(3, NOON + 2));
    assert_eq!(refused.what, What::Sessions { limit: 2, current: 2 });
    assert_eq!(refused.resets_at, Some(UnixMillis(NOON + 300_000)));
    assert!(matches!(at(1, NOON + 299_000), Admission::Admitted { .. }), "it runs");
    assert!(matches!(at(3, NOON + 300_001), Admission::Admitted { .. }), "the second is over");
    assert_eq!(refusal(at(2, NOON + 300_002)).what, What::Sessions { limit: 2, current: 2 });
}

#[test]
fn a_hold_past_its_deadline_is_charged_and_corrected_by_the_settle_that_comes_late() {
    let limits = Limits { total: Some(NanoUsd(100)), ..Limits::default() };
    let mut account = Account::new(1);
    let first = ask(1, &limits, NOON);
    account.admit(&first, 1, UnixMillis(NOON));
    assert_eq!((spent(&account, &limits), account.held(ScopeId::Owner)), (0, NanoUsd(10)));
    account.release(HoldId(RequestId::from_parts(99, &[0; 10]), 0), UnixMillis(NOON + 60_000));
    assert_eq!((spent(&account, &limits), account.held(ScopeId::Owner)), (10, NanoUsd(0)));
    assert!(account.settle(&settle(&first, 1, 3), 1, UnixMillis(NOON + 90_000)));
    assert_eq!((spent(&account, &limits), account.held(ScopeId::Owner)), (3, NanoUsd(0)));
}

#[test]
fn an_admission_that_arrives_after_it_was_given_up_holds_nothing() {
    let limits = Limits { total: Some(NanoUsd(100)), ..Limits::default() };
    let mut account = Account::new(1);
    let late = ask(1, &limits, NOON);
    account.release(late.hold, UnixMillis(NOON));
    assert_eq!(account.admit(&late, 1, UnixMillis(NOON + 30_000)), Admission::Over);
    assert_eq!(account.held(ScopeId::Owner), NanoUsd(0));
}

#[test]
fn what_is_declared_late_for_a_journal_of_which_nothing_more_comes_is_not_put_aside() {
    let mut account = Account::new(1);
    let late = ask(1, &Limits { total: Some(NanoUsd(100)), ..Limits::default() }, NOON);
    account.release_owner(journal(), UnixMillis(NOON));
    account.declare(&late, UnixMillis(NOON), 1);
    assert_eq!(account.admit(&late, 1, UnixMillis(NOON)), Admission::Over);
    assert_eq!(account.held(ScopeId::Owner), NanoUsd(0));
}

#[test]
fn what_a_dead_process_held_is_given_up_under_the_epoch_in_which_all_of_it_was_told_and_no_other() {
    let limits = Limits { total: Some(NanoUsd(100)), ..Limits::default() };
    let mut account = Account::new(2);
    let held = ask(1, &limits, NOON);
    account.admit(&held, 2, UnixMillis(NOON));
    for (epoch, left) in [(1, 10), (3, 10), (2, 0)] {
        account.release_holds(journal(), epoch, UnixMillis(NOON));
        assert_eq!(account.held(ScopeId::Owner), NanoUsd(left), "{epoch}");
    }
    account.declare(&held, UnixMillis(NOON), 2);
    assert_eq!(account.held(ScopeId::Owner), NanoUsd(10), "its records may have to be told again");
}

#[test]
fn a_record_is_charged_once_however_often_it_is_told() {
    let limits = Limits { total: Some(NanoUsd(100)), ..Limits::default() };
    let mut account = Account::new(1);
    let first = ask(1, &limits, NOON);
    account.admit(&first, 1, UnixMillis(NOON));
    for _ in 0..3 {
        assert!(account.settle(&settle(&first, 1, 7), 1, UnixMillis(NOON)));
    }
    assert_eq!(spent(&account, &limits), 7);
    assert!(!account.settle(&settle(&first, 2, 7), 2, UnixMillis(NOON)), "another epoch");
    assert_eq!(spent(&account, &limits), 7);
}

#[test]
fn what_is_declared_although_it_was_let_in_is_not_put_aside_again_by_the_same_word_when_it_is_over() {
    let limits = Limits { total: Some(NanoUsd(50)), ..Limits::default() };
    let mut account = Account::new(1);
    let first = ask(1, &limits, NOON);
    account.admit(&first, 1, UnixMillis(NOON));
    account.declare(&first, UnixMillis(NOON), 1);
    assert!(account.settle(&settle(&first, 1, 7), 1, UnixMillis(NOON)));
    account.declare(&first, UnixMillis(NOON), 1);
    assert_eq!(account.held(ScopeId::Owner), NanoUsd(0));
}

/// Soak 24020: a Redis that came back with an old copy, twice. What had been charged in the epoch between was not in the books yet.
#[test]
fn a_charge_is_put_aside_again_under_another_epoch() {
    let limits = Limits { total: Some(NanoUsd(50)), ..Limits::default() };
    let (declared, again, cut) = (ask(1, &limits, NOON), ask(2, &limits, NOON), ask(3, &limits, NOON));
    let mut account = Account::new(1);
    account.declare(&declared, UnixMillis(NOON), 1);
    for (ask, seq) in [(&declared, 1), (&again, 2), (&again, 2)] {
        assert!(account.settle(&settle(ask, seq, 10), 1, UnixMillis(NOON)));
    }
    let mut interrupted = settle(&cut, 3, 10);
    interrupted.charges[0].is_interrupted = true;
    assert!(account.settle(&interrupted, 1, UnixMillis(NOON)));
    let given_up = ask(4, &limits, NOON);
    account.release(given_up.hold, UnixMillis(NOON));
    for ask in [&declared, &again, &cut, &given_up] {
        account.declare(ask, UnixMillis(NOON), 1);
        assert_eq!(account.held(ScopeId::Owner), NanoUsd(0), "its word comes late");
    }
    for ask in [&declared, &again, &cut, &given_up] {
        account.declare(ask, UnixMillis(NOON), 2);
    }
    assert_eq!(account.held(ScopeId::Owner), NanoUsd(30), "all but what was given up");
    let life = account.life(2, Life("2".to_owned())).unwrap();
    assert!(account.open(2, &life, &Opening::default(), UnixMillis(NOON)));
    assert!(account.settle(&interrupted, 2, UnixMillis(NOON)));
    assert_eq!((spent(&account, &limits), account.held(ScopeId::Owner)), (10, NanoUsd(20)));
}

#[test]
fn amounts_stop_at_what_a_double_can_count() {
    let limits = Limits { total: Some(NanoUsd(i64::MAX)), ..Limits::default() };
    let mut account = Account::new(1);
    for (seq, cost) in [(1, 100_000_000_000_001), (2, MAX_AMOUNT), (3, 1)] {
        let one = ask(seq, &limits, NOON);
        assert!(account.settle(&settle(&one, seq, cost), 1, UnixMillis(NOON)));
    }
    assert_eq!(spent(&account, &limits), MAX_AMOUNT);
}

/// A multiple of five seconds.
const NOON: i64 = 1_795_608_000_000;
