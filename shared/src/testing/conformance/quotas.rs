//! What every store of budgets must do.

use crate::ids::{JournalId, KeyId, ProviderId, RequestId, UserId};
use crate::model::Limits;
use crate::money::NanoUsd;
use crate::ports::{At, QuotaStore};
use crate::rules::quota::{
    AccountId, Admission, Ahead, Ask, Back, Charge, HoldId, Life, MAX_AMOUNT, Opening, ScopeId, Settle,
    Spends, Terms, What,
};
use crate::testing::open_account;
use crate::time::{UnixMillis, Zone};
use std::collections::BTreeMap;

/// A store that is not used yet: what is let in is held, what is held is settled once, and nothing is ever above a limit.
pub async fn quotas(store: &dyn QuotaStore) {
    knows_its_epoch_and_who_is_wanted(store).await;
    let one = AccountId::User(UserId(1));
    let total = Limits { total: Some(NanoUsd(1_000)), ..Limits::default() };
    let first = ask(1, &total, 100);
    assert_eq!(store.admit(one, &first, 1).await.unwrap().said, Admission::Unseeded);
    opens(store, one, &total).await;
    opens_in_the_life_that_it_named(store, &total).await;
    charges_each_record_once(store, &total).await;
    holds(store, one, &total).await;
    counts(store).await;
    knows_late_words(store, &total).await;
    counts_exactly(store).await;
    counts_requests_and_sessions(store).await;
    puts_aside_ahead(store).await;
    takes_back_once(store).await;
    recalls(store).await;
}

async fn knows_its_epoch_and_who_is_wanted(store: &dyn QuotaStore) {
    assert_eq!(store.epoch().await.unwrap(), None, "nobody has begun one");
    assert_eq!(store.last_epoch().await.unwrap(), None);
    for epoch in [1, (1 << 20) - 1] {
        store.begin(epoch).await.unwrap();
        assert_eq!(store.epoch().await.unwrap(), Some(epoch));
        assert_eq!(store.last_epoch().await.unwrap(), Some(epoch));
    }
    let all = [AccountId::User(UserId(7)), AccountId::User(UserId(8)), AccountId::Provider(ProviderId(7))];
    for account in all.iter().chain(&all) {
        store.want(*account).await.unwrap();
    }
    let mut taken = store.take_wanted(2).await.unwrap();
    assert_eq!(taken.len(), 2);
    taken.extend(store.take_wanted(2).await.unwrap());
    taken.sort_unstable();
    assert_eq!(taken, all, "each once");
    assert_eq!(store.take_wanted(2).await.unwrap(), []);
}

async fn opens(store: &dyn QuotaStore, account: AccountId, limits: &Limits) {
    let scopes = scopes(limits);
    let opening = |nano| Opening {
        spends: vec![Spends { scope: ScopeId::Owner, terms: scopes[0].1.clone(), at: vec![(NOW, nano)] }],
        journals: BTreeMap::from([(journal(), 7)]),
        interrupted: Vec::new(),
    };
    assert!(opened(store, account, 1, &opening(200)).await);
    // Once in an epoch, whoever says what.
    assert!(opened(store, account, 1, &opening(999)).await);
    let (is_open, standing) = store.standing(account, &scopes, 1).await.unwrap().said;
    assert!(is_open);
    assert_eq!(standing.windows[0].spent, NanoUsd(200));
    let (is_open, _) = store.standing(account, &scopes, 2).await.unwrap().said;
    assert!(!is_open, "not in another epoch");
    assert!(store.settle(account, &settle(&ask(2, limits, 0), 7, 500), 1).await.unwrap().said);
    assert_eq!(spent(store, account, limits).await, 200, "the ledger had it already");
}

/// What was read for another store than this one opens nothing.
async fn opens_in_the_life_that_it_named(store: &dyn QuotaStore, limits: &Limits) {
    let account = AccountId::User(UserId(3));
    let is_open = async |epoch| store.standing(account, &[], epoch).await.unwrap().said.0;
    let life = async |epoch| store.life(account, epoch).await.unwrap().said;
    let open =
        async |epoch, life: &Life| store.open(account, epoch, life, &Opening::default()).await.unwrap().said;
    for other in ["", "other"] {
        assert!(!open(1, &Life(other.to_owned())).await, "it has named none yet");
    }
    let own = life(1).await.unwrap();
    assert_eq!(life(1).await, Some(own.clone()), "to all who ask");
    assert!(!open(1, &Life("other".to_owned())).await);
    assert!(!is_open(1).await);
    assert!(!store.settle(account, &settle(&ask(4, limits, 0), 1, 5), 1).await.unwrap().said);

    assert!(open(1, &own).await);
    assert!(is_open(1).await);
    assert_eq!(life(1).await, None, "there is nothing to open");
    assert!(open(1, &Life("other".to_owned())).await, "it is open, whoever comes late");

    store.declare(account, &ask(5, limits, 100), NOW, 2).await.unwrap();
    assert_eq!(life(2).await, Some(own.clone()), "another epoch, and nothing was lost");
    assert!(!open(1, &own).await, "what was read for an older epoch comes too late");
    assert!(!is_open(1).await);
    assert!(open(2, &own).await);
}

/// However records are divided when they are told, again, late, or over both sides of what the ledger had.
async fn charges_each_record_once(store: &dyn QuotaStore, limits: &Limits) {
    let account = AccountId::User(UserId(4));
    let opening = Opening { journals: [(journal(), 2)].into(), ..Opening::default() };
    assert!(opened(store, account, 1, &opening).await);
    let mut sum = 0;
    for (first, last, news) in [(1, 4, 3..5), (3, 3, 0..0), (4, 5, 5..6), (3, 7, 6..8), (3, 5, 0..0)] {
        // Each costs twice what the one before did.
        let charges = |seq: u64| settle(&ask(80 + seq, limits, 0), seq, 1 << seq).charges;
        let told = Settle {
            journal: journal(),
            charges: (first..=last).flat_map(charges).collect(),
            backs: Vec::new(),
        };
        assert!(store.settle(account, &told, 1).await.unwrap().said);
        sum += news.map(|seq| 1 << seq).sum::<i64>();
        assert_eq!(spent(store, account, limits).await, sum, "{first} to {last}");
    }
    let of_one_record = [(90, 8, 100), (91, 8, 200)];
    let charges = of_one_record.map(|(n, seq, cost)| settle(&ask(n, limits, 0), seq, cost).charges);
    let told = Settle { journal: journal(), charges: charges.concat(), backs: Vec::new() };
    for _ in 0..2 {
        assert!(store.settle(account, &told, 1).await.unwrap().said);
        assert_eq!(spent(store, account, limits).await, sum + 300, "all of one record");
    }
}

/// 800 of 1 000 are left: eight of ten are let in, and as they are settled others are.
async fn holds(store: &dyn QuotaStore, account: AccountId, limits: &Limits) {
    for n in 10..20 {
        let said = store.admit(account, &ask(n, limits, 100), 1).await.unwrap().said;
        let is_in = matches!(said, Admission::Admitted { .. });
        assert_eq!(is_in, n < 18, "{n}: {said:?}");
        if let Admission::Refused(refusal) = said {
            let What::Money { spent, held, need, limit, .. } = refusal.what else { panic!("{refusal:?}") };
            assert_eq!([spent.0, held.0, need.0, limit.0], [200, 800, 100, 1_000]);
            assert_eq!((refusal.scope, refusal.resets_at), (ScopeId::Owner, None));
        }
    }
    let again = store.admit(account, &ask(10, limits, 100), 1).await.unwrap().said;
    assert!(matches!(again, Admission::Admitted { .. }), "it is known: {again:?}");
    for _ in 0..2 {
        assert!(store.settle(account, &settle(&ask(10, limits, 100), 8, 30), 1).await.unwrap().said);
    }
    store.release(account, ask(11, limits, 100).hold).await.unwrap();
    let (_, standing) = store.standing(account, &scopes(limits), 1).await.unwrap().said;
    assert_eq!((standing.windows[0].spent.0, standing.windows[0].held.0), (230, 600));
    assert!(!store.settle(account, &settle(&ask(12, limits, 100), 9, 1), 2).await.unwrap().said);
    store.release_owner(account, journal()).await.unwrap();
    let (_, standing) = store.standing(account, &scopes(limits), 1).await.unwrap().said;
    assert_eq!(
        (standing.windows[0].spent.0, standing.windows[0].held.0),
        (230, 0),
        "nothing of it can come any more"
    );
}

/// Requests of a minute and conversations, of a key and its user.
async fn counts(store: &dyn QuotaStore) {
    let account = AccountId::User(UserId(2));
    let own = Limits { requests_per_minute: Some(2), ..Limits::default() };
    let all = Limits { concurrent_sessions: Some(2), ..Limits::default() };
    opens(store, account, &Limits { total: Some(NanoUsd(1_000)), ..Limits::default() }).await;
    let ask = |n, key, session| Ask {
        scopes: vec![(ScopeId::Key(KeyId(key)), terms(&own)), (ScopeId::Owner, terms(&all))],
        session: Some((session, 3_600_000)),
        ..ask(n, &own, 0)
    };
    let say = async |ask: Ask| match store.admit(account, &ask, 1).await.unwrap().said {
        Admission::Refused(refusal) => Some((refusal.scope, refusal.what, refusal.resets_at.is_some())),
        _ => None,
    };
    assert_eq!(say(ask(30, 1, 1)).await, None);
    assert_eq!(say(ask(31, 1, 2)).await, None);
    let full = What::Requests { limit: 2, current: 2 };
    assert_eq!(say(ask(32, 1, 2)).await, Some((ScopeId::Key(KeyId(1)), full, true)));
    let full = What::Sessions { limit: 2, current: 2 };
    assert_eq!(say(ask(33, 2, 3)).await, Some((ScopeId::Owner, full, true)));
    assert_eq!(say(ask(34, 2, 2)).await, None, "it runs");
}

async fn knows_late_words(store: &dyn QuotaStore, limits: &Limits) {
    let account = AccountId::Provider(ProviderId(1));
    let declared = ask(40, limits, 400);
    store.declare(account, &declared, NOW, 3).await.unwrap();
    store.declare(account, &declared, NOW, 3).await.unwrap();
    store.declare(account, &ask(41, limits, 400), NOW, 2).await.unwrap();
    let (is_open, standing) = store.standing(account, &scopes(limits), 3).await.unwrap().said;
    assert_eq!((is_open, standing.windows[0].held.0), (false, 400), "of this epoch, once");
    assert!(opened(store, account, 3, &Opening::default()).await);
    assert!(store.settle(account, &settle(&declared, 1, 5), 3).await.unwrap().said);
    store.declare(account, &declared, NOW, 3).await.unwrap();
    let given_up = ask(42, limits, 400);
    store.release(account, given_up.hold).await.unwrap();
    assert_eq!(store.admit(account, &given_up, 3).await.unwrap().said, Admission::Over);
    let (_, standing) = store.standing(account, &scopes(limits), 3).await.unwrap().said;
    assert_eq!((standing.windows[0].spent.0, standing.windows[0].held.0), (5, 0));
    // Under another epoch nothing is charged, and what was given up is so all the same.
    for ask in [&declared, &given_up] {
        store.declare(account, ask, NOW, 4).await.unwrap();
    }
    let (_, standing) = store.standing(account, &scopes(limits), 4).await.unwrap().said;
    assert_eq!((standing.windows[0].spent.0, standing.windows[0].held.0), (0, 400));
}

/// More digits than a double prints by itself.
async fn counts_exactly(store: &dyn QuotaStore) {
    let limits = Limits { total: Some(NanoUsd(MAX_AMOUNT)), ..Limits::default() };
    for (id, amount) in [(50, 99_999_999_999_999), (51, 100_000_000_000_001), (52, MAX_AMOUNT - 1)] {
        let account = AccountId::User(UserId(id));
        assert!(opened(store, account, 1, &Opening::default()).await);
        let big = ask(60, &limits, amount);
        assert!(matches!(store.admit(account, &big, 1).await.unwrap().said, Admission::Admitted { .. }));
        let (_, standing) = store.standing(account, &scopes(&limits), 1).await.unwrap().said;
        assert_eq!(standing.windows[0].held.0, amount);
        assert!(store.settle(account, &settle(&big, 1, amount), 1).await.unwrap().said);
        assert_eq!(spent(store, account, &limits).await, amount);
        assert!(store.settle(account, &settle(&ask(61, &limits, 0), 2, 1), 1).await.unwrap().said);
        assert_eq!(spent(store, account, &limits).await, amount + 1);
    }
}

/// How many requests of a minute and how many conversations there are, told with an admission and when asked.
async fn counts_requests_and_sessions(store: &dyn QuotaStore) {
    let account = AccountId::User(UserId(80));
    let limits = Limits { requests_per_minute: Some(9), concurrent_sessions: Some(4), ..Limits::default() };
    assert!(opened(store, account, 1, &Opening::default()).await);
    for (n, session) in [(80, 1), (81, 2), (82, 1)] {
        let ask = Ask { session: Some((session, 300_000)), ..ask(n, &limits, 0) };
        let At { at, said } = store.admit(account, &ask, 1).await.unwrap();
        let Admission::Admitted { standing, .. } = said else { panic!("{said:?}") };
        let (_, asked) = store.standing(account, &scopes(&limits), 1).await.unwrap().said;
        assert_eq!(
            (&asked.windows, &asked.requests, &asked.sessions),
            (&vec![], &standing.requests, &standing.sessions)
        );
        let (requests, sessions) = (standing.requests[0], standing.sessions[0]);
        let count = u32::try_from(n - 79).unwrap();
        assert_eq!((requests.limit, requests.current, requests.remaining()), (9, count, 9 - count));
        assert_eq!((sessions.limit, sessions.current), (4, count.min(2)));
        let resets_in = requests.resets_at.unwrap().0 - at.0;
        assert!((60_000..=65_000).contains(&resets_in), "{resets_in}");
    }
}

/// What the one window of the owner has spent, holds, and of that in escrow.
async fn figures(store: &dyn QuotaStore, account: AccountId, limits: &Limits) -> [i64; 3] {
    let (_, standing) = store.standing(account, &scopes(limits), 1).await.unwrap().said;
    [standing.windows[0].spent.0, standing.windows[0].held.0, standing.windows[0].escrowed.0]
}

/// A node of two asks for 100, and for 9 000 ahead of later requests; what it gets of these.
async fn ahead(store: &dyn QuotaStore, account: AccountId, limits: &Limits, n: u64) -> (HoldId, i64) {
    let ask = Ask { escrow: Some(Ahead { worth: NanoUsd(9_000), nodes: 2 }), ..ask(n, limits, 100) };
    match store.admit(account, &ask, 1).await.unwrap().said {
        Admission::Admitted { escrowed, .. } => (ask.hold.escrow(), escrowed.0),
        other => panic!("{other:?}"),
    }
}

/// Money ahead of requests, no more than a node's share, is held, and what is drawn from it is spent out of it.
async fn puts_aside_ahead(store: &dyn QuotaStore) {
    let account = AccountId::User(UserId(70));
    let limits = Limits { total: Some(NanoUsd(10_100)), ..Limits::default() };
    assert!(opened(store, account, 1, &Opening::default()).await);
    // Of 10 000 that are left two nodes have 5 000, half of which stays for others.
    let (escrow, amount) = ahead(store, account, &limits, 70).await;
    assert_eq!(amount, 2_500, "no more than its share");
    assert_eq!(ahead(store, account, &limits, 70).await, (escrow, amount), "asked again it is the same");
    assert_eq!(figures(store, account, &limits).await, [0, 2_600, 2_500]);

    let drawn = |n, seq, cost| {
        let mut settle = settle(&ask(n, &limits, 0), seq, cost);
        settle.charges[0].from = Some(escrow);
        settle
    };
    for _ in 0..2 {
        assert!(store.settle(account, &drawn(71, 1, 300), 1).await.unwrap().said);
        assert_eq!(figures(store, account, &limits).await, [300, 2_300, 2_200], "once, out of the escrow");
    }
    let refused = store.admit(account, &ask(72, &limits, 8_000), 1).await.unwrap().said;
    let Admission::Refused(refusal) = refused else { panic!("{refused:?}") };
    let What::Money { spent, held, escrowed, .. } = refusal.what else { panic!("{refusal:?}") };
    assert_eq!([spent.0, held.0, escrowed.0], [300, 2_300, 2_200], "it says what might come back");
    assert!(store.settle(account, &drawn(73, 2, 9_000), 1).await.unwrap().said);
    assert_eq!(figures(store, account, &limits).await, [9_300, 100, 0], "never less than nothing is left");
    // Of the 600 that are left nothing is worth the while.
    assert_eq!(ahead(store, account, &limits, 74).await.1, 0);
}

/// What goes back is said as a sum since the beginning: said twice or late it counts once.
async fn takes_back_once(store: &dyn QuotaStore) {
    let account = AccountId::Provider(ProviderId(71));
    let limits = Limits { total: Some(NanoUsd(10_100)), ..Limits::default() };
    assert!(opened(store, account, 1, &Opening::default()).await);
    let (escrow, _) = ahead(store, account, &limits, 70).await;
    let part = |nano| Back::Part(escrow, NanoUsd(nano));
    for (back, left) in [(part(400), 2_100), (part(400), 2_100), (part(700), 1_800), (part(400), 1_800)] {
        store.give_back(account, &[back]).await.unwrap();
        assert_eq!(figures(store, account, &limits).await, [0, 100 + left, left], "{back:?}");
    }
    let mut settle = settle(&ask(70, &limits, 100), 1, 60);
    settle.backs = vec![part(1_000)];
    for _ in 0..2 {
        assert!(store.settle(account, &settle, 1).await.unwrap().said);
        assert_eq!(figures(store, account, &limits).await, [60, 1_500, 1_500], "with a settle as well");
    }
    for back in [Back::Whole(escrow), Back::Whole(escrow), part(2_000)] {
        store.give_back(account, &[back]).await.unwrap();
        assert_eq!(figures(store, account, &limits).await, [60, 0, 0], "{back:?}");
    }
}

/// Everybody who listens hears of an account that is recalled.
async fn recalls(store: &dyn QuotaStore) {
    let (account, other) = (AccountId::User(UserId(70)), AccountId::Provider(ProviderId(71)));
    let mut all = [store.recalls(), store.recalls()];
    // Until a store listens, what is said may be missed.
    while all.iter().any(|one| one.is_empty()) {
        store.recall(account).await.unwrap();
    }
    store.recall(other).await.unwrap();
    for one in &mut all {
        loop {
            match one.recv().await.unwrap() {
                heard if heard == account => {}
                heard => break assert_eq!(heard, other),
            }
        }
    }
}

async fn opened(store: &dyn QuotaStore, account: AccountId, epoch: u64, opening: &Opening) -> bool {
    open_account(store, account, epoch, opening).await.unwrap()
}

async fn spent(store: &dyn QuotaStore, account: AccountId, limits: &Limits) -> i64 {
    store.standing(account, &scopes(limits), 1).await.unwrap().said.1.windows[0].spent.0
}

fn journal() -> JournalId {
    JournalId::from_parts(UnixMillis(1), &[1; 10])
}

fn terms(limits: &Limits) -> Terms {
    Terms::of(limits, &Zone::default(), NOW)
}

fn scopes(limits: &Limits) -> Vec<(ScopeId, Terms)> {
    vec![(ScopeId::Owner, terms(limits))]
}

fn ask(n: u64, limits: &Limits, need: i64) -> Ask {
    Ask {
        hold: HoldId(RequestId::from_parts(n, &[0; 10]), 0),
        owner: journal(),
        need: NanoUsd(need),
        lives_ms: 3_600_000_000_000,
        scopes: scopes(limits),
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
        at: NOW,
        is_interrupted: false,
        from: None,
        scopes: ask.scopes.clone(),
    };
    Settle { journal: journal(), charges: vec![charge], backs: Vec::new() }
}

/// Before any clock that a store may have: only what is for good is asked about.
const NOW: UnixMillis = UnixMillis(1_000_000_000_000);
