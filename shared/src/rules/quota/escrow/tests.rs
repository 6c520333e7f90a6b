use super::*;
use crate::ids::{KeyId, RequestId};
use crate::model::Limits;
use crate::rules::quota::{Kind, Standing, WindowNow};
use crate::time::Zone;

impl Escrows {
    /// What may still be let in for a scope in this epoch.
    pub(in crate::rules::quota) fn drawable(&self, scope: ScopeId, epoch: u64, now_ms: u64) -> NanoUsd {
        let of_scope = |escrow: &&Escrow| escrow.scopes.iter().any(|(of, _)| *of == scope);
        let is_open = |escrow: &&Escrow| {
            !escrow.is_closed
                && escrow.epoch == epoch
                && now_ms.saturating_sub(escrow.since_ms) < DRAWN_FOR_MS
        };
        NanoUsd(self.all.iter().filter(of_scope).filter(is_open).map(|escrow| escrow.free().max(0)).sum())
    }
}

fn hold(n: u64) -> HoldId {
    HoldId(RequestId::from_parts(n, &[0; 10]), 0)
}

fn scopes(key: i64, total: i64) -> Vec<(ScopeId, Terms)> {
    let limits = Limits { total: Some(NanoUsd(total)), ..Limits::default() };
    vec![(ScopeId::Key(KeyId(key)), Terms::of(&limits, &Zone::default(), STORE))]
}

/// One that was granted 100 at 1 s by the node's clock.
fn granted(key: i64) -> Escrows {
    let mut escrows = Escrows::default();
    grant(&mut escrows, key, hold(0), 100);
    escrows
}

fn grant(escrows: &mut Escrows, key: i64, hold: HoldId, amount: i64) {
    let window = WindowNow {
        scope: ScopeId::Key(KeyId(key)),
        kind: Kind::Total,
        limit: NanoUsd(1_000),
        spent: NanoUsd(300),
        held: NanoUsd(150),
        escrowed: NanoUsd(120),
        starts_at: None,
        resets_at: None,
    };
    let grant = Grant {
        id: hold.escrow(),
        amount: NanoUsd(amount),
        scopes: scopes(key, 1_000),
        epoch: 1,
        at: STORE,
        standing: Standing { windows: vec![window], ..Standing::default() },
    };
    escrows.granted(grant, 1_000);
}

fn draw(escrows: &mut Escrows, n: u64, need: i64, now_ms: u64) -> Option<Drawn> {
    draw_as(escrows, n, need, &scopes(1, 1_000), 1, now_ms)
}

fn draw_as(
    escrows: &mut Escrows,
    n: u64,
    need: i64,
    scopes: &[(ScopeId, Terms)],
    epoch: u64,
    now_ms: u64,
) -> Option<Drawn> {
    escrows.draw(&Drawing { hold: hold(n), need: NanoUsd(need), scopes, epoch }, now_ms)
}

fn is_worth(escrows: &mut Escrows, scopes: &[(ScopeId, Terms)], now_ms: u64) -> bool {
    escrows.is_worth(&Drawing { hold: hold(99), need: NanoUsd(1), scopes, epoch: 1 }, now_ms)
}

#[test]
fn a_grant_is_what_is_worth_the_while_and_no_more_than_half_of_a_nodes_share() {
    let of = |worth, nodes, need, room| granted_of(Ahead { worth: NanoUsd(worth), nodes }, need, room);
    fn granted_of(ahead: Ahead, need: i64, room: i64) -> i64 {
        super::granted(ahead, NanoUsd(need), room).0
    }
    assert_eq!(of(320, 2, 10, 10_000), 320);
    assert_eq!(of(320, 2, 10, 100_000), 2_000, "a fiftieth");
    assert_eq!(of(320, 2, 10, 1_000), 250);
    assert_eq!(of(320, 2, 10, 160), 40);
    assert_eq!(of(320, 2, 10, 159), 0, "hardly more than one request");
    assert_eq!([of(0, 1, 0, 0), of(0, 0, 0, 1), of(0, 0, 0, 2)], [0, 0, 0], "nothing of nothing");
    assert_eq!(of(i64::MAX, 1, i64::MAX, crate::rules::quota::MAX_AMOUNT), 0);
    assert_eq!(worth(NanoUsd(10)), NanoUsd(640));
}

#[test]
fn only_requests_that_come_close_upon_each_other_are_worth_it_and_none_after_a_recall() {
    let mut escrows = Escrows::default();
    let rare: Vec<bool> = (0..20).map(|n| is_worth(&mut escrows, &scopes(1, 9), n * 250)).collect();
    assert!(rare.iter().all(|is_worth| !is_worth));
    let often: Vec<bool> = (0..10).map(|n| is_worth(&mut escrows, &scopes(2, 9), 10_000 + n * 249)).collect();
    assert_eq!(often.iter().position(|is_worth| *is_worth), Some(8));
    assert!(!is_worth(&mut escrows, &scopes(1, 9), 12_300), "another key");
    escrows.recall(12_300);
    for (at_ms, is_worth_it) in [(12_301, false), (14_299, false), (14_300, true)] {
        let asked: Vec<bool> = (0..9).map(|_| is_worth(&mut escrows, &scopes(2, 9), at_ms)).collect();
        assert_eq!(asked.contains(&true), is_worth_it, "{at_ms}");
    }
}

#[test]
fn what_is_drawn_counts_until_the_store_is_told_and_what_it_did_not_cost_is_drawn_again() {
    let mut escrows = granted(1);
    let drawn = draw(&mut escrows, 1, 60, 1_500).unwrap();
    assert_eq!(drawn.at, STORE.plus_ms(500), "by the store's clock");
    assert_eq!((drawn.standing.windows[0].spent.0, drawn.standing.windows[0].held.0), (300, 150));
    assert!(escrows.ended(hold(1), NanoUsd(25)) && escrows.ended(hold(1), NanoUsd(25)));
    assert_eq!(escrows.free(), NanoUsd(75));
    let drawn = draw(&mut escrows, 2, 75, 1_600).unwrap();
    assert_eq!((drawn.standing.windows[0].spent.0, drawn.standing.windows[0].held.0), (325, 125));
    assert_eq!(drawn.standing.windows[0].escrowed.0, 95);
    assert!(escrows.given_up(hold(2)) && !escrows.given_up(hold(2)) && !escrows.ended(hold(9), NanoUsd(1)));
    assert_eq!(escrows.drawn_from(hold(1), 1), Some(hold(0).escrow()));
    assert_eq!(escrows.drawn_from(hold(1), 2), None, "of another epoch the store knows nothing");
    escrows.told(&[hold(1)]);
    assert_eq!((escrows.free(), escrows.drawn_from(hold(1), 1)), (NanoUsd(75), None));
    // Dearer than it needed: the rest comes from what is free.
    assert!(draw(&mut escrows, 3, 50, 1_700).is_some());
    escrows.ended(hold(3), NanoUsd(75));
    assert_eq!((escrows.free(), escrows.drawn_from(hold(3), 1)), (NanoUsd(0), Some(hold(0).escrow())));
    assert!(draw(&mut escrows, 4, 1, 1_800).is_none());
}

#[test]
fn what_costs_more_than_there_is_leaves_others_what_they_were_promised() {
    let mut escrows = granted(1);
    let id = hold(0).escrow();
    draw(&mut escrows, 1, 50, 1_000).unwrap();
    draw(&mut escrows, 2, 40, 1_000).unwrap();
    escrows.ended(hold(1), NanoUsd(61));
    assert_eq!(escrows.drawn_from(hold(1), 1), None, "charged by itself");
    assert_eq!(escrows.free(), NanoUsd(10), "what it needed is not promised again");
    escrows.recall(1_001);
    assert_eq!(escrows.backs(), [Back::Part(id, NanoUsd(10))], "nor given back before it is charged");
    let backs = escrows.backs_with(&[hold(1)], 1);
    assert_eq!(backs, [Back::Part(id, NanoUsd(60))]);
    escrows.told(&[hold(1)]);
    escrows.heard(&backs);
    assert_eq!(escrows.backs(), []);
    escrows.ended(hold(2), NanoUsd(40));
    assert_eq!(escrows.drawn_from(hold(2), 1), Some(id));
    assert_eq!(escrows.backs_with(&[hold(2)], 1), [Back::Whole(id)]);
    // One that is drawn from goes on.
    let mut escrows = granted(1);
    draw(&mut escrows, 1, 50, 1_000).unwrap();
    escrows.ended(hold(1), NanoUsd(101));
    let backs = escrows.backs_with(&[hold(1)], 1);
    assert_eq!(backs, [Back::Part(id, NanoUsd(50))]);
    escrows.told(&[hold(1)]);
    escrows.heard(&backs);
    assert_eq!(escrows.free(), NanoUsd(50));
    assert!(draw(&mut escrows, 2, 50, 1_001).is_some());
}

#[test]
fn nothing_is_drawn_for_other_limits_in_another_epoch_too_late_or_beyond_what_is_free() {
    let mut escrows = granted(1);
    assert!(draw_as(&mut escrows, 1, 1, &scopes(2, 1_000), 1, 1_000).is_none(), "another key");
    assert!(draw_as(&mut escrows, 1, 1, &scopes(1, 999), 1, 1_000).is_none(), "another limit");
    assert!(draw_as(&mut escrows, 1, 1, &scopes(1, 1_000), 2, 1_000).is_none(), "another epoch");
    assert!(draw(&mut escrows, 1, 100, 8_999).is_some());
    assert!(draw(&mut escrows, 2, 1, 8_999).is_none(), "used up");
    assert!(draw(&mut granted(1), 1, 1, 9_000).is_none(), "too old");
    const { assert!(DRAWN_FOR_MS < crate::contract::keys::NODE_TTL_SECS * 1_000) };
    escrows.begin_anew();
    assert!(escrows.is_empty() && !escrows.ended(hold(1), NanoUsd(1)));
}

#[test]
fn nothing_is_drawn_of_what_was_put_aside_before_a_day_began_by_the_stores_clock() {
    // Whose clock is behind, does not see that it began.
    let limits = Limits { daily: Some(NanoUsd(1_000)), ..Limits::default() };
    let midnight = UnixMillis(STORE.0 + 12 * 3_600_000);
    let scopes = vec![(ScopeId::Owner, Terms::of(&limits, &Zone::default(), STORE))];
    let mut escrows = Escrows::default();
    let at = UnixMillis(midnight.0 - 1_000);
    let (id, amount) = (hold(0).escrow(), NanoUsd(100));
    escrows.granted(
        Grant { id, amount, scopes: scopes.clone(), epoch: 1, at, standing: Standing::default() },
        1_000,
    );
    assert!(draw_as(&mut escrows, 1, 10, &scopes, 1, 1_999).is_some());
    assert!(draw_as(&mut escrows, 2, 10, &scopes, 1, 2_000).is_none());
}

#[test]
fn what_is_used_up_goes_back_with_the_last_settle_of_what_was_drawn() {
    let mut escrows = granted(1);
    let id = hold(0).escrow();
    draw(&mut escrows, 1, 40, 1_000).unwrap();
    draw(&mut escrows, 2, 50, 1_000).unwrap();
    assert!(draw(&mut escrows, 3, 20, 1_001).is_none());
    grant(&mut escrows, 1, hold(3), 64);
    assert!(draw(&mut escrows, 4, 20, 1_002).is_some());
    escrows.ended(hold(1), NanoUsd(10));
    assert_eq!(escrows.backs(), [], "it can wait for the settle");
    let told = [hold(1)];
    let backs = escrows.backs_with(&told, 1);
    assert_eq!(backs, [Back::Part(id, NanoUsd(40))], "10 that nobody drew, 30 that were not spent");
    escrows.told(&told);
    escrows.heard(&backs);
    assert_eq!(escrows.backs(), []);
    escrows.ended(hold(2), NanoUsd(50));
    assert_eq!(escrows.backs_with(&[hold(2)], 2), [], "of another epoch the store knows nothing");
    let backs = escrows.backs_with(&[hold(2)], 1);
    assert_eq!(backs, [Back::Whole(id)]);
    escrows.told(&[hold(2)]);
    escrows.heard(&backs);
    assert_eq!(escrows.all.len(), 1);
    assert_eq!(escrows.drawn_from(hold(4), 1), Some(hold(3).escrow()));
}

#[test]
fn what_nobody_draws_from_goes_back_and_what_is_recalled_at_once() {
    let mut escrows = granted(1);
    let id = hold(0).escrow();
    escrows.rest(5_999);
    assert_eq!(escrows.backs(), []);
    draw(&mut escrows, 1, 30, 3_000).unwrap();
    escrows.rest(7_999);
    assert_eq!(escrows.backs(), []);
    escrows.rest(8_000);
    assert_eq!(escrows.backs(), [Back::Part(id, NanoUsd(70))]);
    assert_eq!(escrows.backs(), [Back::Part(id, NanoUsd(70))], "until it is heard");
    // What was not heard in time says less than what there is to say by now.
    escrows.ended(hold(1), NanoUsd(20));
    escrows.recall(8_001);
    assert_eq!(escrows.backs(), [Back::Part(id, NanoUsd(80))], "somebody waits for it");
    escrows.heard(&[Back::Part(id, NanoUsd(70))]);
    assert_eq!(escrows.backs(), [Back::Part(id, NanoUsd(80))]);
    escrows.heard(&[Back::Part(id, NanoUsd(80))]);
    assert_eq!(escrows.backs(), []);
    escrows.told(&[hold(1)]);
    assert_eq!(escrows.backs(), [Back::Whole(id)]);
    escrows.heard(&[Back::Whole(id)]);
    assert!(escrows.is_empty() && escrows.draws.is_empty());
    let mut unused = granted(1);
    unused.recall(1_001);
    assert_eq!(unused.backs(), [Back::Whole(id)]);
    assert!(draw(&mut unused, 1, 1, 1_001).is_none());
}

#[test]
fn what_has_ended_is_told_together_but_not_where_somebody_was_just_refused() {
    let mut escrows = granted(1);
    assert!(!Escrows::default().can_wait(1_000), "the store holds it by itself");
    assert!(escrows.can_wait(1_000));
    escrows.recall(5_000);
    assert!(!escrows.can_wait(5_000) && !escrows.can_wait(6_999) && escrows.can_wait(7_000));
}

#[test]
fn of_what_the_store_has_put_aside_a_node_knows_its_own() {
    let mut escrows = granted(1);
    let own = |escrows: &Escrows| escrows.put_aside(ScopeId::Key(KeyId(1))).0;
    assert_eq!((own(&escrows), escrows.put_aside(ScopeId::Owner).0), (100, 0));
    draw(&mut escrows, 1, 30, 1_000).unwrap();
    draw(&mut escrows, 2, 20, 1_000).unwrap();
    assert_eq!(own(&escrows), 100, "what runs is put aside as well");
    escrows.ended(hold(1), NanoUsd(10));
    assert_eq!(own(&escrows), 90, "the store may have been told");
    escrows.recall(1_001);
    assert_eq!(own(&escrows), 20);
}

const STORE: UnixMillis = UnixMillis(1_795_608_000_000);
