use super::*;
use crate::ids::{RequestId, UserId};
use crate::rules::quota::{Kind, WindowNow};
use crate::time::Zone;

const USER: AccountId = AccountId::User(UserId(1));
const FLEET: Fleet = Fleet { policy: OutagePolicy::Bounded, nodes: 2 };

fn id(n: u64) -> HoldId {
    HoldId(RequestId::from_parts(n, &[0; 10]), 0)
}

fn hold(n: u64, need: i64) -> LiveHold {
    LiveHold { id: id(n), key: Some(KeyId(1)), need: NanoUsd(need), at: UnixMillis(10) }
}

fn standing(spent: i64, held: i64) -> Standing {
    let window = WindowNow {
        scope: ScopeId::Owner,
        kind: Kind::Total,
        limit: NanoUsd(100),
        spent: NanoUsd(spent),
        held: NanoUsd(held),
        escrowed: NanoUsd(0),
        starts_at: None,
        resets_at: None,
    };
    Standing { windows: vec![window], ..Standing::default() }
}

fn alone(local: &mut Local, n: u64, need: i64) -> bool {
    goes(local, hold(n, need), Doubt::None, FLEET)
}

fn goes(local: &mut Local, hold: LiveHold, doubt: Doubt, fleet: Fleet) -> bool {
    let limits = Limits { total: Some(NanoUsd(100)), ..Limits::default() };
    let scopes = [(ScopeId::Owner, Terms::of(&limits, &Zone::default(), hold.at))];
    local.alone(USER, &Asked { hold, doubt, is_strict: false, scopes: &scopes }, fleet) == Verdict::Go
}

#[test]
fn what_a_node_lets_in_alone_weighs_on_its_share_until_the_store_says_that_it_counts_it() {
    let mut local = Local::default();
    local.admitted(USER, hold(1, 10), &standing(10, 10));
    // 80 are left, 40 of them are this node's.
    assert!(alone(&mut local, 2, 30));
    assert!(!alone(&mut local, 3, 11) && alone(&mut local, 3, 10));
    // Cheaper than was thought, and dearer.
    local.ended(USER, id(2), NanoUsd(25), 0);
    assert!(!alone(&mut local, 4, 6) && alone(&mut local, 4, 5));
    assert!(!local.given_up(USER, id(4)), "the store has never heard of it");
    // Told, but the last word of the store is older.
    local.told(USER, id(2));
    local.declared(USER, id(3));
    assert!(!alone(&mut local, 5, 6));
    local.admitted(USER, hold(6, 20), &standing(35, 40));
    assert!(!alone(&mut local, 7, 13) && alone(&mut local, 7, 12), "25 are left");
    assert!(local.holds(USER, id(3)) && !local.holds(USER, id(2)));
}

#[test]
fn what_runs_is_declared_and_what_has_ended_is_not() {
    let mut local = Local::default();
    local.admitted(USER, hold(1, 10), &standing(0, 10));
    local.admitted(USER, hold(2, 10), &standing(0, 20));
    assert!(alone(&mut local, 3, 1));
    assert!(alone(&mut local, 4, 1));
    local.ended(USER, id(2), NanoUsd(5), 0);
    local.ended(USER, id(4), NanoUsd(5), 0);
    assert_eq!(local.under_way(USER), [hold(1, 10), hold(3, 1)]);
    assert_eq!(local.held(), (2, NanoUsd(11)));
    assert_eq!(local.let_in_alone(USER), [hold(3, 1)]);
    local.declared(USER, id(3));
    assert_eq!(local.let_in_alone(USER), []);
    assert!(local.given_up(USER, id(3)) && local.given_up(USER, id(1)), "the store has them");
    local.told(USER, id(2));
    assert!(!local.holds(USER, id(2)));
    assert!(local.given_up(USER, id(2)), "nobody knows: it may");
}

#[test]
fn what_is_given_up_while_it_is_declared_is_taken_back_from_the_store() {
    for list in [Local::under_way, Local::let_in_alone] {
        let mut local = Local::default();
        assert!(alone(&mut local, 1, 1) && alone(&mut local, 2, 1));
        assert!(!local.given_up(USER, id(2)), "nobody was told of it");
        assert_eq!(list(&mut local, USER), [hold(1, 1)]);
        assert!(local.given_up(USER, id(1)));
    }
}

#[test]
fn a_store_that_is_away_for_hours_fills_no_memory_and_what_was_spent_meanwhile_weighs_all_the_same() {
    let mut local = Local::default();
    let fleet = Fleet { policy: OutagePolicy::Open, nodes: 1 };
    local.admitted(USER, hold(0, 1), &standing(0, 1));
    assert!(goes(&mut local, hold(1, 1), Doubt::None, fleet));
    let last = 3 * MOST_HOLDS as u64;
    for n in 2..=last {
        assert!(goes(&mut local, hold(n, 1), Doubt::None, fleet));
        local.ended(USER, id(n), NanoUsd(2), 0);
    }
    assert!(local.accounts[&USER].holds.len() <= MOST_HOLDS);
    assert!(local.holds(USER, id(0)) && local.holds(USER, id(1)), "what runs is known");
    let all = 1 + 2 * i64::try_from(last - 1).unwrap();
    assert_eq!(local.accounts[&USER].own, NanoUsd(all));
    // The store is back, and is told in order. The last word that is heard before the end leaves what is untold.
    local.declared(USER, id(1));
    (2..last).for_each(|n| local.told(USER, id(n)));
    local.admitted(USER, hold(last + 1, 1), &standing(9, 0));
    assert!(local.accounts[&USER].own > NanoUsd(0));
    local.told(USER, id(last));
    local.admitted(USER, hold(last + 2, 1), &standing(9, 0));
    assert_eq!(local.accounts[&USER].own, NanoUsd(0));
}

#[test]
fn what_the_store_was_asked_for_in_vain_is_taken_back_from_it() {
    let mut local = Local::default();
    assert!(goes(&mut local, hold(1, 10), Doubt::MayBeHeld, FLEET));
    assert!(local.given_up(USER, id(1)));
}

#[test]
fn what_is_not_limited_any_more_and_what_is_too_old_is_forgotten() {
    let mut local = Local::default();
    local.admitted(USER, hold(1, 10), &standing(80, 10));
    assert!(alone(&mut local, 2, 5));
    local.forget(|_| true, UnixMillis(10));
    assert!(local.holds(USER, id(1)) && !alone(&mut local, 3, 1));
    local.forget(|_| true, UnixMillis(11));
    assert!(!local.holds(USER, id(1)) && alone(&mut local, 3, 5), "nor does it weigh");
    local.forget(|_| false, UnixMillis(0));
    assert!(!local.holds(USER, id(3)));
}
