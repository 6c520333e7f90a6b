//! Budgets: an account that is opened from the books says what one says that was told each record; and when it is opened.

use crate::books::{attempt, record};
use crate::hub::{Hub, on_both};
use admin_api::jobs::days::Days;
use admin_api::jobs::open::{Opened, Opener};
use admin_api::repo::db::Db;
use admin_api::repo::spending::{Ahead, ahead, parts};
use admin_api::repo::sums::{By, Of, Question, sums_in};
use admin_api::repo::{budget_epoch, revision, usage_days};
use admin_api::service::books::book;
use admin_api::service::budgets::{Budget, Moment};
use admin_api::service::now;
use async_trait::async_trait;
use rand::Rng;
use sea_orm::ConnectionTrait;
use serde_json::json;
use shared::contract::in_flight::InFlight;
use shared::contract::node::NodeBeat;
use shared::contract::usage::{Outcome, UsageRecord};
use shared::ids::{JournalId, KeyId, ProviderId, RequestId, Revision, UserId};
use shared::memory::{MemoryNodes, MemoryQuotas};
use shared::model::{DailyMode, FiveHoursMode, Key, Limits, User, WallTime};
use shared::money::NanoUsd;
use shared::ports::{Lent, NodeInFlight, NodeRegistry, Place, PortError, QuotaStore, Receipt};
use shared::rules::quota::barrier::HeldUp;
use shared::rules::quota::opening::Reading;
use shared::rules::quota::{
    Account, AccountId, Ask, Charge, HoldId, Kind, Opening, ScopeId, Settle, Terms, epoch_of, owed,
    scopes_of_caller, scopes_of_provider,
};
use shared::rules::select::Draws;
use shared::testing::conformance::journal;
use shared::testing::{key, node_beat, provider, rng, user};
use shared::time::{HOUR_MS, UnixMillis, Zone};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use testbed::eventually;

on_both!(on:
    an_account_opened_from_the_books_says_what_one_says_that_was_told_each_record,
    accounts_that_are_opened_together_are_told_what_each_is_told_alone,
    a_busy_account_is_summed_by_minutes_and_says_the_same,
    a_busy_account_that_was_never_reset_is_opened,
    an_account_is_opened_when_all_gateways_know_of_it_and_have_declared,
    no_account_is_opened_while_a_journal_is_in_nobodys_hands,
    who_has_just_begun_to_look_waits_for_gateways_that_nobody_knows,
    openers_at_once_begin_one_epoch,
    a_store_that_lost_its_epoch_gets_the_next_one,
    an_account_that_the_store_does_not_open_is_wanted_again,
    what_was_cut_and_what_will_be_told_again_is_named,
    an_account_is_told_of_the_journals_whose_records_may_count_in_it,
);

const NOW: UnixMillis = UnixMillis(1_792_900_000_000);
const DAY_MS: i64 = 24 * HOUR_MS;

/// Somebody's records, and the limits that they go by.
struct Story {
    records: Vec<UsageRecord>,
    zone: Zone,
    user: User,
    keys: Vec<Key>,
    provider: shared::model::Provider,
    journal: JournalId,
}

impl Story {
    fn of(seed: u8, zone: &Zone, dice: &mut Draws) -> Self {
        let id = 1_000 + i64::from(seed);
        let mut person = user(id);
        person.limits = limits(dice);
        let keys = [10 * id, 10 * id + 1].map(|one| Key { limits: limits(dice), ..key(one, id) });
        let mut account = provider(id);
        account.limits = limits(dice);
        let mut story = Self {
            records: Vec::new(),
            zone: zone.clone(),
            user: person,
            keys: keys.into(),
            provider: account,
            journal: journal(seed),
        };
        for _ in 0..dice.random_range(0..80) {
            let back = [5 * HOUR_MS, 25 * HOUR_MS, 9 * DAY_MS, 70 * DAY_MS][dice.random_range(0..4_usize)];
            let mut back = dice.random_range(0..back);
            // Each has rested: then one knows when five hours began.
            if (6 * HOUR_MS..12 * HOUR_MS).contains(&back) {
                back += 6 * HOUR_MS;
            }
            story.add(back, dice);
        }
        story
    }

    fn add(&mut self, back: i64, dice: &mut Draws) {
        let n = self.records.len() as u64 + 1;
        let before = dice.random_range(-20..50) * 60_000;
        let at = NOW.0 - back;
        let mut record = record(n);
        let request = &mut record.request;
        request.admitted_at = dice.random_bool(0.9).then_some(UnixMillis(at));
        request.started_at = UnixMillis(if request.admitted_at.is_some() { at - before } else { at });
        let mut bytes = [0; 10];
        bytes[2..].copy_from_slice(&(n + self.user.id.0.cast_unsigned() * 1_000_000).to_be_bytes());
        request.id = RequestId::from_parts(request.started_at.0.cast_unsigned(), &bytes);
        request.caller.user_id = self.user.id;
        request.caller.key_id = self.keys[dice.random_range(0..self.keys.len())].id;
        record.attempts = (1..=dice.random_range(1..3))
            .map(|number| {
                // Some at a provider that is nobody's here.
                let provider = self.provider.id.0 + if dice.random_bool(0.2) { 10_000 } else { 0 };
                let mut attempt = attempt(number, provider, Outcome::Served, 1);
                attempt.cost.total = NanoUsd(dice.random_range(0..1_000));
                attempt.admitted_at = dice.random_bool(0.7).then_some(UnixMillis(at));
                attempt
            })
            .collect();
        if dice.random_bool(0.1) {
            // Cut with its gateway: it counts as what was put aside.
            let last = record.attempts.last_mut().unwrap();
            last.outcome = Outcome::Interrupted;
            last.held = NanoUsd(dice.random_range(0..1_500));
            record.request.held = NanoUsd(dice.random_range(0..2_500));
        }
        self.records.push(record);
    }

    /// Books all of its records but one; answers its number, which is above the watermark, with those after it.
    async fn booked_but_one(&self, db: &Db, dice: &mut Draws) -> u64 {
        let missing = dice.random_range(1..=self.records.len() as u64 + 1);
        let numbers = (1..).zip(&self.records).filter(|(seq, _)| *seq != missing);
        let lent: Vec<_> = numbers.map(|(seq, record)| self.lent(seq, record)).collect();
        for batch in lent.chunks(1_000) {
            book(db, batch).await.unwrap();
        }
        missing
    }

    fn lent(&self, seq: u64, record: &UsageRecord) -> Lent<UsageRecord> {
        let place = Some(Place { journal: self.journal, seq, floor: 0 });
        Lent { receipt: Receipt(0, seq), place, record: record.clone() }
    }

    fn accounts(&self) -> [AccountId; 2] {
        [AccountId::User(self.user.id), AccountId::Provider(self.provider.id)]
    }

    fn budget(&self, account: AccountId) -> Budget {
        let keys = self.keys.iter().map(|key| (key.id, key.limits.clone()));
        match account {
            AccountId::User(_) => Budget {
                generation: 1,
                owner: self.user.limits.clone(),
                keys: keys.collect(),
                deleted: BTreeSet::new(),
            },
            AccountId::Provider(_) => Budget {
                generation: 1,
                owner: self.provider.limits.clone(),
                keys: BTreeMap::new(),
                deleted: BTreeSet::new(),
            },
        }
    }

    fn scopes(&self, account: AccountId, of_key: Option<KeyId>, now: UnixMillis) -> Vec<(ScopeId, Terms)> {
        match account {
            AccountId::User(_) => {
                let key = self.keys.iter().find(|key| Some(key.id) == of_key).unwrap();
                scopes_of_caller(&self.user, key, &self.zone, now)
            }
            AccountId::Provider(_) => scopes_of_provider(&self.provider, &self.zone, now),
        }
    }

    /// Tells an account what these records say of it, each at its moment, or all now.
    fn tell(
        &self,
        to: &mut Account,
        account: AccountId,
        numbers: impl Fn(u64) -> bool,
        now: Option<UnixMillis>,
    ) {
        let mut charges: Vec<_> = (1..)
            .zip(&self.records)
            .filter(|(seq, _)| numbers(*seq))
            .flat_map(|(seq, record)| owed(record).into_iter().map(move |owed| (seq, owed)))
            .filter(|(_, owed)| owed.account == account)
            .collect();
        if now.is_none() {
            charges.sort_by_key(|(_, owed)| owed.at);
        }
        for (n, (seq, owed)) in charges.into_iter().enumerate() {
            let at = now.unwrap_or(owed.at);
            // At their moments they are told in another order than they have in their journal: one journal for each.
            let (journal, seq) = match now {
                Some(_) => (self.journal, seq),
                None => (JournalId::from_parts(UnixMillis(9), &[1; 10]), n as u64 + 1),
            };
            let charge = Charge {
                seq,
                hold: owed.hold,
                cost: owed.cost,
                at: owed.at,
                is_interrupted: owed.is_interrupted,
                from: None,
                scopes: self.scopes(account, owed.key, at),
            };
            assert!(to.settle(&Settle { journal, charges: vec![charge], backs: Vec::new() }, 1, at));
        }
    }

    #[track_caller]
    fn says_the_same(&self, account: AccountId, told: &Account, opened: &Account, skips: Option<Kind>) {
        for after in [0, 7 * 60_000, 3 * HOUR_MS, 22 * HOUR_MS] {
            let now = UnixMillis(NOW.0 + after);
            for key in &self.keys {
                let scopes = self.scopes(account, Some(key.id), now);
                let [told, opened] = [told, opened].map(|account| {
                    let mut standing = account.standing(&scopes, now);
                    standing.windows.retain(|window| Some(window.kind) != skips);
                    standing
                });
                assert_eq!(opened, told, "{account:?} {:?} {after}", self.zone);
            }
        }
    }
}

fn limits(dice: &mut Draws) -> Limits {
    let limit = Some(NanoUsd(1_000_000_000));
    let mut marker = || {
        let back = if dice.random_bool(0.5) { DAY_MS } else { 40 * DAY_MS };
        dice.random_bool(0.3).then(|| UnixMillis(NOW.0 - dice.random_range(0..back)))
    };
    let (reset_at, five_hours_reset_at) = (marker(), marker());
    let time = ["00:00", "02:37", "17:05"][dice.random_range(0..3_usize)];
    Limits {
        five_hours: limit,
        five_hours_mode: if dice.random_bool(0.5) { FiveHoursMode::Fixed } else { FiveHoursMode::Rolling },
        daily: limit,
        daily_mode: if dice.random_bool(0.5) { DailyMode::Fixed } else { DailyMode::Rolling },
        daily_reset_time: WallTime::parse(time).unwrap(),
        weekly: limit,
        monthly: limit,
        total: limit,
        reset_at,
        five_hours_reset_at,
        ..Limits::default()
    }
}

async fn in_zone(hub: &Hub, zone: &str) -> Zone {
    hub.client.patch("/api/v1/settings", json!({ "timezone": zone })).await.expect(200);
    Zone::parse(zone).unwrap()
}

async fn opening(db: &Db, account: AccountId, budget: Budget) -> Opening {
    let moment = Moment::begin(db).await.unwrap();
    let mut openings = moment.openings(vec![(account, budget, NOW)]).await.unwrap();
    moment.end().await.unwrap();
    openings.pop().unwrap().1
}

async fn an_account_opened_from_the_books_says_what_one_says_that_was_told_each_record(hub: Hub) {
    let db = hub.handle.admin().db();
    let mut dice = rng(7);
    for (zone, seeds) in
        [("UTC", 0..6), ("Europe/Berlin", 6..12), ("Asia/Kathmandu", 12..18), ("America/Sao_Paulo", 18..24)]
    {
        let zone = in_zone(&hub, zone).await;
        let mut stories = Vec::new();
        for seed in seeds {
            let story = Story::of(seed, &zone, &mut dice);
            let missing = story.booked_but_one(db, &mut dice).await;
            stories.push((story, missing));
        }
        // Days are read where they are summed, hours elsewhere: here all that are over, then none.
        let days = Days::new(db.clone(), zone.rules());
        assert!(days.step(NOW).await.unwrap() > 60);
        for are_days_summed in [true, false] {
            if !are_days_summed {
                db.reader().execute_unprepared("DELETE FROM usage_days").await.unwrap();
            }
            for (story, missing) in &stories {
                for account in story.accounts() {
                    let opening = opening(db, account, story.budget(account)).await;
                    assert_eq!(opening.journals.get(&story.journal).copied().unwrap_or(0), missing - 1);
                    let mut opened = Account::opened(1, &opening, NOW);
                    let mut told = Account::new(1);
                    story.tell(&mut told, account, |seq| seq < *missing, None);
                    story.says_the_same(account, &told, &opened, None);
                    // All is told again, and what was known changes nothing.
                    story.tell(&mut opened, account, |_| true, Some(NOW));
                    story.tell(&mut told, account, |seq| seq >= *missing, Some(NOW));
                    story.says_the_same(account, &told, &opened, Some(Kind::FiveHours));
                }
            }
        }
        db.reader().execute_unprepared("DELETE FROM usage_days_reopened").await.unwrap();
    }
}

/// Sums by day and by hour, rows, records ahead of their watermark, several keys, accounts at two providers; then with one of them
/// too busy to be read together with the others.
async fn accounts_that_are_opened_together_are_told_what_each_is_told_alone(hub: Hub) {
    let db = hub.handle.admin().db();
    let zone = in_zone(&hub, "Europe/Berlin").await;
    let mut dice = rng(17);
    let mut stories: Vec<_> = (0..8).map(|seed| Story::of(seed, &zone, &mut dice)).collect();
    for story in &mut stories {
        story.add(HOUR_MS, &mut dice);
        story.add(50 * DAY_MS, &mut dice);
        story.booked_but_one(db, &mut dice).await;
    }
    assert!(Days::new(db.clone(), zone.rules()).step(NOW).await.unwrap() > 60);
    let hold = usage_days::that_hold(db.reader()).await.unwrap();
    // Some days are read by their hours.
    for day in hold.iter().step_by(5) {
        let forget = format!("DELETE FROM usage_days WHERE day_start_ms = {}", day.start.0);
        db.reader().execute_unprepared(&forget).await.unwrap();
    }
    let hold = usage_days::that_hold(db.reader()).await.unwrap();
    let mut alone = BTreeMap::new();
    for is_one_busy in [false, true] {
        if is_one_busy {
            let busy = &mut stories[3];
            let before = busy.records.len();
            (0..5_001).for_each(|_| busy.add(dice.random_range(0..20 * HOUR_MS), &mut dice));
            // Of another journal: of its own all are ahead that come after the missing one.
            busy.journal = journal(99);
            let numbers = (1..).zip(&busy.records[before..]);
            let lent: Vec<_> = numbers.map(|(seq, record)| busy.lent(seq, record)).collect();
            for batch in lent.chunks(1_000) {
                book(db, batch).await.unwrap();
            }
        }
        assert_eq!(ahead(db.reader()).await.unwrap(), Ahead::Some);
        let all: Vec<_> = stories
            .iter()
            .flat_map(|story| story.accounts().map(|account| (account, story.budget(account), NOW)))
            .collect();
        let before = std::mem::take(&mut alone);
        let mut readings = Vec::new();
        for (account, budget, now) in all.clone() {
            let story = stories.iter().find(|story| story.accounts().contains(&account)).unwrap();
            let scopes = story.keys.iter().flat_map(|key| story.scopes(account, Some(key.id), now));
            let terms: Vec<_> = scopes.map(|(_, terms)| terms).collect();
            readings.push((account, Reading::of(&terms, now)));
            alone.insert(account, opening(db, account, budget).await);
        }
        let moment = Moment::begin(db).await.unwrap();
        let together: BTreeMap<_, _> = moment.openings(all).await.unwrap().into_iter().collect();
        moment.end().await.unwrap();
        assert_eq!(together, alone);
        assert_ne!(alone, before, "the busy one");
        // Sums: as the hours of each account say, all columns of them, and what is ahead.
        let parts = parts(db.reader(), &readings, &hold, Ahead::None).await.unwrap();
        for (account, reading) in &readings {
            let (of, by) = match account {
                AccountId::User(id) => (Of::User(id.0), By::Key),
                AccountId::Provider(id) => (Of::Provider(id.0), By::Nothing),
            };
            let question = Question { bounds: reading.parts(), of: Some(of), by };
            let mut expected: BTreeMap<_, i64> = BTreeMap::new();
            for sum in sums_in(db.reader(), &question, &BTreeSet::new()).await.unwrap() {
                if let Some(at) = reading.sum_at(UnixMillis(sum.hour_start_ms)) {
                    *expected.entry((KeyId(sum.key_id), at)).or_default() += sum.cost_nano_usd;
                }
            }
            assert!(expected.values().sum::<i64>() > 0, "{account:?}");
            let found = parts[account].iter().map(|(key, lump)| ((*key, lump.first), lump.amount));
            assert_eq!(found.collect::<BTreeMap<_, _>>(), expected, "{account:?}");
        }
    }
}

/// All its windows begin with a minute.
async fn a_busy_account_that_was_never_reset_is_opened(hub: Hub) {
    let db = hub.handle.admin().db();
    let zone = in_zone(&hub, "UTC").await;
    let mut dice = rng(13);
    let mut story = Story::of(1, &zone, &mut dice);
    story.user.limits = Limits { daily: Some(NanoUsd(1)), total: Some(NanoUsd(1)), ..Limits::default() };
    story.keys.iter_mut().for_each(|key| key.limits = Limits::default());
    story.records.clear();
    for _ in 0..5_001 {
        story.add(dice.random_range(0..25 * HOUR_MS), &mut dice);
    }
    for record in &mut story.records {
        record.attempts.iter_mut().for_each(|attempt| attempt.cost.total = NanoUsd(1));
    }
    let lent: Vec<_> = (1..).zip(&story.records).map(|(seq, record)| story.lent(seq, record)).collect();
    for batch in lent.chunks(1_000) {
        book(db, batch).await.unwrap();
    }
    let account = AccountId::User(story.user.id);
    let opening = opening(db, account, story.budget(account)).await;
    let owner = opening.spends.iter().find(|spends| spends.scope == ScopeId::Owner).unwrap();
    let spent: i64 = owner.at.iter().map(|(_, amount)| amount).sum();
    let attempts: usize = story.records.iter().map(|record| record.attempts.len()).sum();
    assert!(spent >= i64::try_from(attempts).unwrap(), "{spent} of {attempts}");
}

async fn a_busy_account_is_summed_by_minutes_and_says_the_same(hub: Hub) {
    let db = hub.handle.admin().db();
    let zone = in_zone(&hub, "Asia/Kathmandu").await;
    let mut dice = rng(11);
    let mut story = Story::of(1, &zone, &mut dice);
    // It never rests: when its five hours began is a matter of the rules.
    let all = story.keys.iter_mut().map(|key| &mut key.limits);
    for limits in all.chain([&mut story.user.limits, &mut story.provider.limits]) {
        limits.five_hours_mode = FiveHoursMode::Rolling;
    }
    for _ in 0..6_000 {
        let back = dice.random_range(0..25 * HOUR_MS);
        story.add(back, &mut dice);
    }
    let missing = story.booked_but_one(db, &mut dice).await;
    for account in story.accounts() {
        let opening = opening(db, account, story.budget(account)).await;
        for spends in &opening.spends {
            assert!(spends.at.len() < 200, "{}", spends.at.len());
        }
        let opened = Account::opened(1, &opening, NOW);
        let mut told = Account::new(1);
        story.tell(&mut told, account, |seq| seq < missing, None);
        story.says_the_same(account, &told, &opened, None);
    }
}

struct Stage {
    db: Db,
    quotas: Arc<MemoryQuotas>,
    nodes: Arc<MemoryNodes>,
    opener: Opener,
}

impl Stage {
    async fn new(hub: &Hub) -> Self {
        // The hub has an opener of its own, over another store.
        let db = hub.handle.admin().db().clone();
        let has_begun = || async { budget_epoch::kept(db.reader()).await.unwrap() == 1 };
        eventually("its epoch has begun", has_begun).await;
        let quotas = Arc::new(MemoryQuotas::new(now));
        let nodes = Arc::new(MemoryNodes::new());
        let opener = Opener::new(db.clone(), quotas.clone(), nodes.clone());
        Self { db, quotas, nodes, opener }
    }

    async fn beats(&self, id: &str, revision: u64, quota_epoch: Option<u64>) {
        let beat = NodeBeat { revision: Some(Revision(revision)), quota_epoch, ..node_beat(id) };
        self.nodes.beat(beat, None).await.unwrap();
    }

    /// A gateway beats that has these journals, the first of which is its own, and has found those.
    async fn keeps(&self, journals: &[u8], there: Option<&[u8]>, epoch: u64) {
        let named = |all: &[u8]| all.iter().map(|n| journal(*n)).collect::<Vec<_>>();
        let beat = NodeBeat {
            revision: Some(revision::newest(self.db.reader()).await.unwrap()),
            quota_epoch: Some(epoch),
            journal_root: Some("root".to_owned()),
            journals: Some(named(journals)),
            journals_there: there.map(named),
            scanned_at: there.map(|_| now()),
            ..node_beat(&journal(journals[0]).to_string())
        };
        self.nodes.beat(beat, None).await.unwrap();
    }

    async fn dies(&self, n: u8) {
        self.nodes.leave(&journal(n).to_string()).await.unwrap();
    }

    async fn step(&mut self) -> Opened {
        self.opener.step(0).await.unwrap()
    }

    async fn is_open(&self, account: AccountId, epoch: u64) -> bool {
        self.quotas.standing(account, &[], epoch_of(epoch, 1)).await.unwrap().said.0
    }
}

/// Gives it a limit, by which it is governed for the first time.
async fn limited(hub: &Hub, path: &str) {
    hub.client.patch(&format!("/api/v1/{path}"), json!({ "limit_total_usd": "1000" })).await.expect(200);
}

async fn stage_revision(hub: &Hub) -> u64 {
    revision::newest(hub.handle.admin().db().reader()).await.unwrap().0
}

fn held_up(held_up: HeldUp) -> Opened {
    Opened { held_up: Some(held_up), ..Opened::default() }
}

async fn an_account_is_opened_when_all_gateways_know_of_it_and_have_declared(hub: Hub) {
    let free = hub.make_user("Grace").await["user"]["id"].as_i64().unwrap();
    let made = hub.make_user("Ada").await;
    let (id, key_id) = (made["user"]["id"].as_i64().unwrap(), made["key"]["id"].as_i64().unwrap());
    let provider_id = hub.make_provider("one").await["id"].as_i64().unwrap();
    let (ada, one) = (AccountId::User(UserId(id)), AccountId::Provider(ProviderId(provider_id)));
    limited(&hub, &format!("users/{id}")).await;
    limited(&hub, &format!("providers/{provider_id}")).await;
    let newest = stage_revision(&hub).await;
    let mut stage = Stage::new(&hub).await;
    let mut spent = record(1);
    spent.request.caller.user_id = UserId(id);
    spent.request.caller.key_id = KeyId(key_id);
    spent.request.started_at = now();
    spent.attempts = vec![attempt(1, provider_id, Outcome::Served, 7)];
    let place = Some(Place { journal: journal(1), seq: 1, floor: 0 });
    book(&stage.db, &[Lent { receipt: Receipt(0, 1), place, record: spent }]).await.unwrap();

    assert_eq!(stage.step().await, Opened::default());
    let epoch = stage.quotas.epoch().await.unwrap().unwrap();
    assert_eq!(budget_epoch::kept(stage.db.reader()).await.unwrap(), epoch);
    stage.quotas.want(ada).await.unwrap();
    assert_eq!(stage.step().await, held_up(HeldUp::NoGateway));
    stage.beats("a", newest, None).await;
    stage.beats("b", newest - 1, Some(epoch)).await;
    assert_eq!(stage.step().await, held_up(HeldUp::Behind("b".to_owned())));
    stage.beats("b", newest, Some(epoch - 1)).await;
    assert_eq!(stage.step().await, held_up(HeldUp::Undeclared("b".to_owned())));
    assert!(!stage.is_open(ada, epoch).await);
    // Wanted as it was, and beside it what is not there, and what nobody limits.
    stage.quotas.want(one).await.unwrap();
    stage.quotas.want(AccountId::User(UserId(987_654))).await.unwrap();
    stage.quotas.want(AccountId::User(UserId(free))).await.unwrap();
    stage.nodes.leave("b").await.unwrap();
    assert_eq!(stage.step().await, Opened { accounts: 2, ..Opened::default() });
    assert_eq!(stage.quotas.take_wanted(9).await.unwrap(), []);

    let limits = Limits { daily_mode: DailyMode::Rolling, daily: Some(NanoUsd(1)), ..Limits::default() };
    let terms = Terms::of(&limits, &Zone::default(), now());
    for (account, scopes) in
        [(ada, vec![ScopeId::Key(KeyId(key_id)), ScopeId::Owner]), (one, vec![ScopeId::Owner])]
    {
        let scopes: Vec<_> = scopes.into_iter().map(|scope| (scope, terms.clone())).collect();
        let (is_open, standing) =
            stage.quotas.standing(account, &scopes, epoch_of(epoch, 1)).await.unwrap().said;
        assert!(is_open);
        assert!(standing.windows.iter().all(|window| window.spent == NanoUsd(500_000_007)), "{standing:?}");
        assert_eq!(standing.windows.len(), scopes.len());
    }
    // Who is late and wants it all the same finds it open.
    stage.quotas.want(ada).await.unwrap();
    assert_eq!(stage.step().await, Opened::default());
}

async fn no_account_is_opened_while_a_journal_is_in_nobodys_hands(hub: Hub) {
    let mut accounts = Vec::new();
    for name in ["Ada", "Bob", "Cyd"] {
        let id = hub.make_user(name).await["user"]["id"].as_i64().unwrap();
        limited(&hub, &format!("users/{id}")).await;
        accounts.push(AccountId::User(UserId(id)));
    }
    let mut stage = Stage::new(&hub).await;
    stage.step().await;
    let epoch = stage.quotas.epoch().await.unwrap().unwrap();
    stage.keeps(&[1], None, epoch).await;
    stage.opener.step(1_000).await.unwrap();
    // It dies, and the admin side starts anew.
    stage.dies(1).await;
    stage.opener = Opener::new(stage.db.clone(), stage.quotas.clone(), stage.nodes.clone());
    stage.quotas.want(accounts[0]).await.unwrap();
    let waits = |n| held_up(HeldUp::Unadopted(journal(n)));
    assert_eq!(stage.step().await, waits(1));
    stage.keeps(&[2], Some(&[1, 2]), epoch).await;
    assert_eq!(stage.step().await, waits(1), "its successor has not looked at all of it");
    stage.keeps(&[2, 1], Some(&[1, 2]), epoch).await;
    assert_eq!(stage.step().await.accounts, 1);

    stage.dies(2).await;
    stage.quotas.want(accounts[1]).await.unwrap();
    stage.keeps(&[3, 1], Some(&[1, 2, 3]), epoch).await;
    // What it goes by is looked at before each opening.
    assert_eq!(stage.step().await, waits(2));
    stage.keeps(&[3, 1], Some(&[1, 3]), epoch).await;
    assert_eq!(stage.step().await.accounts, 1, "it is not there any more");

    stage.dies(3).await;
    stage.quotas.want(accounts[2]).await.unwrap();
    let elsewhere = NodeBeat {
        revision: Some(revision::newest(stage.db.reader()).await.unwrap()),
        quota_epoch: Some(epoch),
        ..node_beat("elsewhere")
    };
    stage.nodes.beat(elsewhere, None).await.unwrap();
    for second in 1..=15 {
        let said = stage.opener.step(second * 1_000).await.unwrap();
        assert_eq!(said, waits(1), "{second}");
    }
    assert_eq!(stage.opener.step(16_000).await.unwrap().accounts, 1, "its disk may be lost");
}

/// Gateways that are processes of their own.
struct Apart(Arc<MemoryNodes>);

#[async_trait]
impl NodeRegistry for Apart {
    async fn beat(&self, beat: NodeBeat, in_flight: Option<InFlight>) -> Result<(), PortError> {
        self.0.beat(beat, in_flight).await
    }

    async fn leave(&self, id: &str) -> Result<(), PortError> {
        self.0.leave(id).await
    }

    async fn nodes(&self) -> Result<Vec<NodeBeat>, PortError> {
        self.0.nodes().await
    }

    async fn in_flight(&self) -> Result<Vec<NodeInFlight>, PortError> {
        self.0.in_flight().await
    }
}

async fn who_has_just_begun_to_look_waits_for_gateways_that_nobody_knows(hub: Hub) {
    let ada = hub.make_user("Ada").await["user"]["id"].as_i64().unwrap();
    limited(&hub, &format!("users/{ada}")).await;
    let mut stage = Stage::new(&hub).await;
    stage.step().await;
    let epoch = stage.quotas.epoch().await.unwrap().unwrap();
    stage.opener = Opener::new(stage.db.clone(), stage.quotas.clone(), Arc::new(Apart(stage.nodes.clone())));
    stage.quotas.want(AccountId::User(UserId(ada))).await.unwrap();
    stage.beats("a", stage_revision(&hub).await, Some(epoch)).await;
    for now_ms in [5_000, 7_999] {
        assert_eq!(stage.opener.step(now_ms).await.unwrap(), held_up(HeldUp::Unheard));
    }
    assert_eq!(stage.opener.step(8_000).await.unwrap().accounts, 1);
    // It could not look for a while, as when the database is away: whoever came and beat meanwhile it does not know.
    for (began_ms, is_blind) in [(20_000, true), (23_500, false)] {
        let epoch = stage.quotas.epoch().await.unwrap().unwrap() + 1;
        stage.quotas.begin(0).await.unwrap();
        stage.quotas.want(AccountId::User(UserId(ada))).await.unwrap();
        stage.beats("a", stage_revision(&hub).await, Some(epoch)).await;
        let opened = stage.opener.step(began_ms).await.unwrap();
        assert_eq!(opened == held_up(HeldUp::Unheard), is_blind, "{opened:?}");
        assert_eq!(opened.accounts, usize::from(!is_blind));
        assert_eq!(stage.quotas.epoch().await.unwrap(), Some(epoch));
        stage.opener.step(began_ms + 3_000).await.unwrap();
    }
}

async fn openers_at_once_begin_one_epoch(hub: Hub) {
    let stage = Stage::new(&hub).await;
    let before = budget_epoch::kept(stage.db.reader()).await.unwrap();
    let mut openers: Vec<_> =
        (0..4).map(|_| Opener::new(stage.db.clone(), stage.quotas.clone(), stage.nodes.clone())).collect();
    let steps = openers.iter_mut().map(|opener| opener.step(0));
    for step in futures::future::join_all(steps).await {
        step.unwrap();
    }
    for opener in &mut openers {
        opener.step(0).await.unwrap();
    }
    assert_eq!(stage.quotas.epoch().await.unwrap(), Some(before + 1));
    assert_eq!(budget_epoch::kept(stage.db.reader()).await.unwrap(), before + 1);
}

async fn a_store_that_lost_its_epoch_gets_the_next_one(hub: Hub) {
    let mut stage = Stage::new(&hub).await;
    stage.step().await;
    let first = stage.quotas.epoch().await.unwrap().unwrap();
    // The database was put back to an older day.
    stage.db.reader().execute_unprepared("UPDATE budget_epoch SET epoch = 0").await.unwrap();
    stage.quotas.begin(first + 5).await.unwrap();
    stage.step().await;
    assert_eq!(stage.quotas.epoch().await.unwrap(), Some(first + 6));
    let ada = hub.make_user("Ada").await["user"]["id"].as_i64().unwrap();
    limited(&hub, &format!("users/{ada}")).await;
    let (ada, newest) = (AccountId::User(UserId(ada)), stage_revision(&hub).await);
    stage.beats("a", newest, Some(first + 6)).await;
    stage.quotas.want(ada).await.unwrap();
    // Another admin-api begins the next one meanwhile.
    stage.db.reader().execute_unprepared("UPDATE budget_epoch SET epoch = 99").await.unwrap();
    assert_eq!(stage.step().await, held_up(HeldUp::OtherEpoch));
    stage.quotas.begin(99).await.unwrap();
    assert_eq!(stage.step().await, held_up(HeldUp::Undeclared("a".to_owned())));
    stage.beats("a", newest, Some(99)).await;
    assert_eq!(stage.step().await.accounts, 1);
    assert!(stage.is_open(ada, 99).await);
}

async fn an_account_that_the_store_does_not_open_is_wanted_again(hub: Hub) {
    let mut stage = Stage::new(&hub).await;
    stage.step().await;
    let epoch = stage.quotas.epoch().await.unwrap().unwrap();
    let [ada, bob] = ["Ada", "Bob"].map(|name| hub.make_user(name));
    let (ada, bob) = (ada.await["user"]["id"].as_i64().unwrap(), bob.await["user"]["id"].as_i64().unwrap());
    for id in [ada, bob] {
        limited(&hub, &format!("users/{id}")).await;
    }
    let [ada, bob] = [ada, bob].map(|id| AccountId::User(UserId(id)));
    stage.beats("a", stage_revision(&hub).await, Some(epoch)).await;
    // What the database knows of it is older than what a gateway has told.
    let ask = Ask {
        hold: HoldId(RequestId::from_parts(1, &[0; 10]), 0),
        owner: journal(1),
        need: NanoUsd(1),
        lives_ms: 900_000,
        scopes: Vec::new(),
        is_counted: false,
        session: None,
        escrow: None,
    };
    stage.quotas.declare(ada, &ask, now(), epoch_of(epoch, 2)).await.unwrap();
    for account in [ada, bob] {
        stage.quotas.want(account).await.unwrap();
    }
    assert_eq!(stage.step().await, Opened { accounts: 1, ..held_up(HeldUp::OtherEpoch) });
    assert!(stage.is_open(bob, epoch).await);
    assert!(!stage.is_open(ada, epoch).await);
    assert!(stage.quotas.take_wanted(9).await.unwrap().contains(&ada));
}

async fn what_was_cut_and_what_will_be_told_again_is_named(hub: Hub) {
    let db = hub.handle.admin().db();
    let zone = in_zone(&hub, "UTC").await;
    let mut dice = rng(3);
    let mut story = Story::of(2, &zone, &mut dice);
    story.records.clear();
    for back in [HOUR_MS, 2 * HOUR_MS, 9 * DAY_MS, HOUR_MS] {
        story.add(back, &mut dice);
        let record = story.records.last_mut().unwrap();
        record.attempts = [(1, Outcome::Failed), (2, Outcome::Interrupted)]
            .map(|(n, how)| attempt(n, story.provider.id.0, how, 1))
            .into();
    }
    // The last is ahead of its journal: it will be told again.
    for seq in [1, 2, 3, 5] {
        let record = &story.records[usize::try_from(seq).unwrap().min(4) - 1];
        book(db, &[story.lent(seq, record)]).await.unwrap();
    }
    let [of_user, of_provider] = story.accounts();
    // The user's own, and what may be put aside by itself for each attempt; both of the provider's.
    for (account, holds) in [(of_user, &[0, 1, 2][..]), (of_provider, &[1, 2])] {
        let opening = opening(db, account, story.budget(account)).await;
        let of_record =
            |record: &UsageRecord| holds.iter().map(|n| HoldId(record.request.id, *n)).collect::<Vec<_>>();
        let expected: BTreeSet<_> = story.records[..2].iter().flat_map(of_record).collect();
        assert_eq!(opening.interrupted.into_iter().collect::<BTreeSet<_>>(), expected, "{account:?}");
        assert_eq!(opening.journals, [(story.journal, 3)].into());
    }
}

async fn an_account_is_told_of_the_journals_whose_records_may_count_in_it(hub: Hub) {
    let db = hub.handle.admin().db();
    let zone = in_zone(&hub, "UTC").await;
    let mut dice = rng(5);
    for (seed, quiet_days) in [(1, 0), (2, 2), (3, 40)] {
        let mut story = Story::of(seed, &zone, &mut dice);
        story.records.clear();
        story.add(quiet_days * DAY_MS, &mut dice);
        book(db, &[story.lent(1, &story.records[0])]).await.unwrap();
        let heard = NOW.0 - quiet_days * DAY_MS;
        let sql = format!(
            "UPDATE usage_journals SET updated_at_ms = {heard} WHERE journal_id = '{}'",
            story.journal
        );
        let tx = db.write().await.unwrap();
        tx.execute_unprepared(&sql).await.unwrap();
        tx.commit().await.unwrap();
    }
    let account = AccountId::User(UserId(1));
    let limited = |limits: Limits| Budget {
        generation: 1,
        owner: limits,
        keys: BTreeMap::new(),
        deleted: BTreeSet::new(),
    };
    let some = Some(NanoUsd(1));
    for (limits, told) in [
        (Limits { daily: some, daily_mode: DailyMode::Fixed, ..Limits::default() }, 1..=1),
        (Limits { monthly: some, ..Limits::default() }, 1..=2),
        (Limits { total: some, ..Limits::default() }, 1..=3),
    ] {
        let opening = opening(db, account, limited(limits.clone())).await;
        assert_eq!(opening.journals, told.map(|seed| (journal(seed), 1)).collect(), "{limits:?}");
    }
    // One of its keys looks back farther.
    let of_key = Limits { total: some, ..Limits::default() };
    let budget =
        Budget { keys: [(KeyId(1), of_key)].into(), ..limited(Limits { daily: some, ..Limits::default() }) };
    assert_eq!(opening(db, account, budget).await.journals.len(), 3);
}
