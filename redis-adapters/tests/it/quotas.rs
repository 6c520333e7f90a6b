//! The Lua of budgets against the pure model, word by word on a real Redis.

use crate::redis::{Linked, Redis};
use rand::RngCore;
use redis_adapters::RedisQuotas;
use shared::ids::{JournalId, KeyId, RequestId, UserId};
use shared::model::{DailyMode, FiveHoursMode, Limits};
use shared::money::NanoUsd;
use shared::ports::QuotaStore;
use shared::rules::quota::{
    Account, AccountId, Admission, Ask, Charge, HoldId, MAX_AMOUNT, Opening, ScopeId, Settle, Spends, Terms,
    What,
};
use shared::rules::select::Draws;
use shared::time::{UnixMillis, Zone};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const ACCOUNT: AccountId = AccountId::User(UserId(1));
const HOUR: i64 = 3_600_000;

/// Redis and the model, told the same words at the same moments.
struct Pair {
    redis: Arc<RedisQuotas>,
    model: Account,
    limits: BTreeMap<ScopeId, Limits>,
    /// By what calendars and moments go: near to Redis's clock.
    now: i64,
    epoch: u64,
    seq: u64,
    made: u64,
    /// Money is no object: then the other limits are reached.
    is_free: bool,
    chance: Draws,
    seen: BTreeSet<String>,
}

impl Pair {
    async fn new(redis: Arc<RedisQuotas>, seed: u64) -> Self {
        let now = redis.keep(ACCOUNT, &[]).await.unwrap().at.0;
        let mut pair = Self {
            redis,
            model: Account::default(),
            limits: BTreeMap::new(),
            now,
            epoch: 0,
            seq: 0,
            made: 0,
            is_free: seed.is_multiple_of(3),
            chance: Draws::new(seed),
            seen: BTreeSet::new(),
        };
        for scope in [ScopeId::Owner, ScopeId::Key(KeyId(1)), ScopeId::Key(KeyId(2))] {
            let limits = pair.some_limits();
            pair.limits.insert(scope, limits);
        }
        pair
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.chance.next_u64() % bound
    }

    fn amount(&mut self) -> i64 {
        match self.below(20) {
            0 => 100_000_000_000_000 + self.below(3).cast_signed() - 1,
            1 => MAX_AMOUNT - self.below(2).cast_signed(),
            _ => self.below(400).cast_signed(),
        }
    }

    fn some_limits(&mut self) -> Limits {
        let is_free = self.is_free;
        let mut limit = || match self.below(4) {
            _ if is_free => None,
            0 => None,
            1 => Some(NanoUsd(1_500)),
            2 => Some(NanoUsd(100_000_000_000_000)),
            _ => Some(NanoUsd(MAX_AMOUNT)),
        };
        let [five_hours, daily, weekly, monthly, total] = [limit(), limit(), limit(), limit(), limit()];
        let modes = self.below(4);
        Limits {
            five_hours,
            five_hours_mode: if modes.is_multiple_of(2) {
                FiveHoursMode::Fixed
            } else {
                FiveHoursMode::Rolling
            },
            daily,
            daily_mode: if modes < 2 { DailyMode::Fixed } else { DailyMode::Rolling },
            weekly,
            monthly,
            total,
            requests_per_minute: (self.below(3) == 0).then_some(4),
            concurrent_sessions: (self.below(3) == 0).then_some(3),
            ..Limits::default()
        }
    }

    fn scopes(&mut self, key: KeyId) -> Vec<(ScopeId, Terms)> {
        let zone = Zone::parse("Asia/Kathmandu").unwrap();
        let of = |scope| (scope, Terms::of(&self.limits[&scope], &zone, UnixMillis(self.now)));
        vec![of(ScopeId::Key(key)), of(ScopeId::Owner)]
    }

    fn key(&mut self) -> KeyId {
        KeyId(1 + self.below(2).cast_signed())
    }

    /// One of the last twenty.
    fn hold(&mut self) -> HoldId {
        let made = self.made.saturating_sub(self.below(20));
        HoldId(RequestId::from_parts(made, &[0; 10]), 0)
    }

    fn journal(&mut self) -> JournalId {
        JournalId::from_parts(UnixMillis(self.below(3).cast_signed()), &[7; 10])
    }

    /// Up to two days ago, or hardly ahead.
    fn moment(&mut self) -> UnixMillis {
        let back = [20_000, 6 * HOUR, 48 * HOUR][usize::try_from(self.below(3)).unwrap()];
        UnixMillis(self.now + 1_000 - self.below(back.cast_unsigned()).cast_signed())
    }

    fn ask(&mut self) -> Ask {
        let key = self.key();
        self.made += self.below(3).min(1);
        Ask {
            hold: self.hold(),
            owner: self.journal(),
            need: NanoUsd(self.amount()),
            // Over at once, after some words, or never.
            lives_ms: [0, 5, 3_600_000][usize::try_from(self.below(3)).unwrap()],
            scopes: self.scopes(key),
            is_counted: self.below(2) == 0,
            session: (self.below(2) == 0)
                .then(|| (u64::MAX - self.below(6), [1, 300_000][usize::try_from(self.below(2)).unwrap()])),
        }
    }

    async fn step(&mut self) {
        match self.below(40) {
            0..18 => self.admit().await,
            18..30 => self.settle().await,
            30..33 => self.release().await,
            33 => self.release_owner().await,
            34 | 35 => self.declare().await,
            36 => self.open().await,
            37 => self.reset().await,
            _ => {}
        }
        self.compare().await;
    }

    async fn admit(&mut self) {
        let ask = self.ask();
        let said = self.redis.admit(ACCOUNT, &ask, self.epoch).await.unwrap();
        self.now = said.at.0;
        assert_eq!(said.said, self.model.admit(&ask, self.epoch, said.at), "{ask:?}");
        let word = match said.said {
            Admission::Admitted { .. } => "admitted".to_owned(),
            Admission::Unseeded => "unseeded".to_owned(),
            Admission::Refused(refusal) => match refusal.what {
                What::Money { kind, .. } => kind.as_str().to_owned(),
                What::Requests { .. } => "requests".to_owned(),
                What::Sessions { .. } => "sessions".to_owned(),
            },
        };
        self.seen.insert(word);
    }

    async fn settle(&mut self) {
        let mut charges = Vec::new();
        for _ in 0..=self.below(2) {
            let key = self.key();
            charges.push(Charge {
                hold: self.hold(),
                cost: NanoUsd(self.amount()),
                at: self.moment(),
                is_interrupted: self.below(4) == 0,
                from: None,
                scopes: self.scopes(key),
            });
        }
        // Mostly the next one, now and then one that is known.
        self.seq += 1;
        let seq = self.seq - self.below(8).min(self.seq) / 7;
        let settle = Settle { journal: self.journal(), seq, charges, backs: Vec::new() };
        let said = self.redis.settle(ACCOUNT, &settle, self.epoch).await.unwrap();
        self.now = said.at.0;
        assert_eq!(said.said, self.model.settle(&settle, self.epoch, said.at), "{settle:?}");
    }

    async fn release(&mut self) {
        let hold = self.hold();
        let said = self.redis.release(ACCOUNT, hold).await.unwrap();
        self.model.release(hold, said.at);
    }

    async fn release_owner(&mut self) {
        let owner = self.journal();
        let said = self.redis.release_owner(ACCOUNT, owner).await.unwrap();
        self.model.release_owner(owner, said.at);
    }

    async fn declare(&mut self) {
        let (ask, at, epoch) = (self.ask(), self.moment(), self.epoch + self.below(20) / 19);
        self.redis.declare(ACCOUNT, &ask, at, epoch).await.unwrap();
        self.model.declare(&ask, at, epoch);
        self.epoch = self.epoch.max(epoch);
    }

    async fn open(&mut self) {
        let key = self.key();
        let mut spends = Vec::new();
        for (scope, terms) in self.scopes(key) {
            let mut at: Vec<_> = (0..self.below(8)).map(|_| (self.moment(), self.amount())).collect();
            at.sort_unstable();
            spends.push(Spends { scope, terms, at });
        }
        let journals = (0..self.below(3)).map(|_| (self.journal(), self.below(self.seq + 1))).collect();
        let interrupted = (0..self.below(4)).map(|_| self.hold()).collect();
        let opening = Opening { spends, journals, interrupted };
        let said = self.redis.open(ACCOUNT, self.epoch, &opening).await.unwrap();
        self.model.open(self.epoch, &opening, said.at);
    }

    async fn reset(&mut self) {
        let now = Some(UnixMillis(self.now));
        let key = self.key();
        match self.below(3) {
            0 => self.limits.get_mut(&ScopeId::Owner).unwrap().reset_at = now,
            1 => self.limits.get_mut(&ScopeId::Key(key)).unwrap().five_hours_reset_at = now,
            _ => {
                let other = self.some_limits();
                self.limits.insert(ScopeId::Key(key), other);
            }
        }
        let scopes = self.scopes(key);
        let said = self.redis.keep(ACCOUNT, &scopes).await.unwrap();
        self.model.keep(&scopes, said.at);
    }

    async fn compare(&mut self) {
        let key = self.key();
        let scopes = self.scopes(key);
        let said = self.redis.standing(ACCOUNT, &scopes, self.epoch).await.unwrap();
        let expected = (self.model.is_open(self.epoch), self.model.standing(&scopes, said.at));
        assert_eq!(said.said, expected);
    }
}

#[tokio::test]
async fn the_script_says_what_the_model_says() {
    let redis = Redis::start().await;
    let quotas = RedisQuotas::unannounced(redis.link().await);
    let mut seen = BTreeSet::new();
    for seed in 0..12 {
        redis.cli(&["FLUSHALL"]);
        let mut pair = Pair::new(quotas.clone(), seed).await;
        pair.model.keep(&[], UnixMillis(pair.now));
        pair.open().await;
        for _ in 0..400 {
            pair.step().await;
        }
        seen.append(&mut pair.seen);
    }
    let all = ["5h", "admitted", "daily", "monthly", "requests", "sessions", "total", "unseeded", "weekly"];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), all, "everything was said at some time");
}

/// What is kept of an account, in bytes, after a day of it: for who sizes a Redis.
#[tokio::test]
async fn an_account_is_kept_under_its_hash_tag_alone() {
    let redis = Redis::start().await;
    let quotas = RedisQuotas::unannounced(redis.link().await);
    let mut pair = Pair::new(quotas, 3).await;
    pair.open().await;
    for _ in 0..100 {
        pair.step().await;
    }
    let names = redis.cli(&["KEYS", "*"]);
    assert!(names.lines().count() > 5, "{names}");
    assert!(names.lines().all(|name| name.starts_with("cch:{quota:u:1}:")), "{names}");
}
