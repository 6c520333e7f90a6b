//! The Lua of budgets against the pure model, word by word on a real Redis.

use crate::redis::{Linked, PATIENCE, Redis};
use rand::RngCore;
use redis_adapters::RedisQuotas;
use shared::contract::keys::quota_recalled;
use shared::contract::scripts::quota::QUOTA;
use shared::ids::{JournalId, KeyId, ProviderId, RequestId, UserId};
use shared::model::{DailyMode, FiveHoursMode, Limits};
use shared::money::NanoUsd;
use shared::ports::QuotaStore;
use shared::rules::quota::{
    Account, AccountId, Admission, Ahead, Ask, Back, Charge, HoldId, Life, MAX_AMOUNT, Opening, ScopeId,
    Settle, Spends, Terms, What,
};
use shared::rules::select::Draws;
use shared::testing::open_account;
use shared::time::{UnixMillis, Zone};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast;
use tokio::time::timeout;

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
    /// Journals of which nothing more comes, or that never had anything.
    gone: u64,
    /// Money is no object: then the other limits are reached.
    is_free: bool,
    /// There is always plenty of it: then much is put aside ahead.
    is_rich: bool,
    /// Some amounts are the largest that there are: then little else is seen of their scopes.
    is_huge: bool,
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
            gone: 0,
            is_free: seed.is_multiple_of(3),
            is_rich: seed % 3 == 1,
            is_huge: seed.is_multiple_of(2),
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

    fn worth(&mut self) -> NanoUsd {
        NanoUsd(match self.below(8) {
            0 => 100_000_000_000_000 + self.below(3).cast_signed() - 1,
            1 => MAX_AMOUNT,
            _ => self.below(4_000).cast_signed(),
        })
    }

    fn amount(&mut self) -> i64 {
        match self.below(60) {
            0 if self.is_huge => 100_000_000_000_000 + self.below(3).cast_signed() - 1,
            1 if self.is_huge && !self.is_rich => MAX_AMOUNT - self.below(2).cast_signed(),
            _ => self.below(400).cast_signed(),
        }
    }

    fn some_limits(&mut self) -> Limits {
        let (is_free, is_rich) = (self.is_free, self.is_rich);
        let mut limit = || match self.below(6) {
            _ if is_free => None,
            0..3 => None,
            _ if is_rich => Some(NanoUsd(MAX_AMOUNT)),
            3 => Some(NanoUsd(1_500)),
            4 => Some(NanoUsd(100_000_000_000_000)),
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
        let zone = Zone::parse("Europe/Berlin").unwrap();
        let of = |scope| (scope, Terms::of(&self.limits[&scope], &zone, UnixMillis(self.now)));
        vec![of(ScopeId::Key(key)), of(ScopeId::Owner)]
    }

    /// All scopes, each with the one window of all that it ever spent.
    fn whole(&self) -> Vec<(ScopeId, Terms)> {
        let limits = Limits { total: Some(NanoUsd(MAX_AMOUNT)), ..Limits::default() };
        let terms = Terms::of(&limits, &Zone::default(), UnixMillis(self.now));
        self.limits.keys().map(|scope| (*scope, terms.clone())).collect()
    }

    fn key(&mut self) -> KeyId {
        KeyId(1 + self.below(2).cast_signed())
    }

    /// One of the last twenty.
    fn hold(&mut self) -> HoldId {
        let made = self.made.saturating_sub(self.below(20));
        HoldId(RequestId::from_parts(made, &[0; 10]), 0)
    }

    /// Mostly what was put aside ahead with one of them; else a plain one, or one that nobody knows.
    fn escrow(&mut self) -> HoldId {
        match self.below(8) {
            0 => self.hold(),
            1 => HoldId(RequestId::from_parts(u64::from(u32::MAX), &[0; 10]), 0).escrow(),
            _ => self.hold().escrow(),
        }
    }

    fn back(&mut self) -> Back {
        match self.below(4) {
            0 | 1 => Back::Whole(self.escrow()),
            _ => Back::Part(self.escrow(), NanoUsd(self.amount())),
        }
    }

    /// Mostly one that is not gone.
    fn journal(&mut self) -> JournalId {
        let number = (self.gone + self.below(4)).saturating_sub(1);
        JournalId::from_parts(UnixMillis(number.cast_signed()), &[7; 10])
    }

    /// Up to two days ago, just now, or hardly ahead.
    fn moment(&mut self) -> UnixMillis {
        if self.below(4) == 0 {
            return UnixMillis(self.now);
        }
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
            lives_ms: [0, 5, 3_600_000, 3_600_000][usize::try_from(self.below(4)).unwrap()],
            scopes: self.scopes(key),
            is_counted: self.below(2) == 0,
            session: (self.below(2) == 0)
                .then(|| (u64::MAX - self.below(6), [1, 300_000][usize::try_from(self.below(2)).unwrap()])),
            escrow: (self.below(2) == 0)
                .then(|| Ahead { worth: self.worth(), nodes: u32::try_from(self.below(5)).unwrap() }),
        }
    }

    async fn step(&mut self) {
        let word = if self.model.is_open(self.epoch) { 40 } else { 60 };
        match self.below(word) {
            0..18 => self.admit().await,
            18..30 => self.settle().await,
            30 | 31 => self.release().await,
            32 => self.give_back().await,
            33 => self.release_owner().await,
            34 | 35 => self.declare().await,
            36 => self.open().await,
            37 => self.reset().await,
            38 => self.give_back().await,
            39 => self.release_holds().await,
            40.. => self.open().await,
        }
        self.compare().await;
    }

    async fn admit(&mut self) {
        let ask = self.ask();
        let said = self.redis.admit(ACCOUNT, &ask, self.epoch).await.unwrap();
        self.passed(said.at);
        assert_eq!(said.said, self.model.admit(&ask, self.epoch, said.at), "{ask:?}");
        if matches!(said.said, Admission::Admitted { escrowed, .. } if escrowed > NanoUsd::ZERO) {
            self.seen.insert("put aside ahead".to_owned());
        }
        let word = match said.said {
            Admission::Admitted { .. } => "admitted".to_owned(),
            Admission::Unseeded => "unseeded".to_owned(),
            Admission::Over => "over".to_owned(),
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
        // Mostly the next records, now and then some that are known before them.
        let mut seq = self.seq - self.below(4).min(self.seq) / 2;
        for n in 0..=self.below(3) {
            let key = self.key();
            // Some belong to one record.
            seq += u64::from(n == 0 || self.below(4) > 0);
            charges.push(Charge {
                seq,
                hold: self.hold(),
                cost: NanoUsd(self.amount()),
                at: self.moment(),
                is_interrupted: self.below(4) == 0,
                from: (self.below(2) == 0).then(|| self.escrow()),
                scopes: self.scopes(key),
            });
        }
        let backs = (0..self.below(3)).map(|_| self.back()).collect();
        self.seq = self.seq.max(seq);
        let settle = Settle { journal: self.journal(), charges, backs };
        let said = self.redis.settle(ACCOUNT, &settle, self.epoch).await.unwrap();
        self.passed(said.at);
        let (mut undrawn, mut kept) = (settle.clone(), settle.clone());
        undrawn.charges.iter_mut().for_each(|charge| charge.from = None);
        kept.backs.clear();
        let epoch = self.epoch;
        let without = |settle| {
            move |model: &mut Account| {
                let _ = model.settle(&settle, epoch, said.at);
            }
        };
        let [undrawn, kept] = [undrawn, kept].map(|settle| self.would_be(without(settle), said.at));
        assert_eq!(said.said, self.model.settle(&settle, self.epoch, said.at), "{settle:?}");
        self.see("drawn", &undrawn, said.at);
        self.see_backs(&settle.backs, &kept, said.at);
    }

    async fn give_back(&mut self) {
        let backs = [self.back()];
        let said = self.redis.give_back(ACCOUNT, &backs).await.unwrap();
        self.passed(said.at);
        let kept = self.would_be(|_| {}, said.at);
        self.model.give_back(&backs, said.at);
        self.see_backs(&backs, &kept, said.at);
    }

    /// The next word comes at this moment; some deadlines may be over.
    fn passed(&mut self, at: UnixMillis) {
        let before = self.figures(&self.model, at);
        self.model.give_back(&[], at);
        self.now = at.0;
        let is_less = |(after, before): (&[i64; 3], &[i64; 3])| after[2] < before[2];
        if self.figures(&self.model, at).iter().zip(&before).any(is_less) {
            self.seen.insert("ran out".to_owned());
        }
    }

    /// What each scope spent, has held and has in escrow.
    fn figures(&self, model: &Account, at: UnixMillis) -> Vec<[i64; 3]> {
        let standing = model.standing(&self.whole(), at);
        standing.windows.iter().map(|now| [now.spent.0, now.held.0, now.escrowed.0]).collect()
    }

    /// What they would be, if this had been said instead.
    fn would_be(&self, say: impl FnOnce(&mut Account), at: UnixMillis) -> Vec<[i64; 3]> {
        let mut model = self.model.clone();
        say(&mut model);
        self.figures(&model, at)
    }

    fn see_backs(&mut self, backs: &[Back], without: &[[i64; 3]], at: UnixMillis) {
        match backs {
            [Back::Part(..)] => self.see("back in part", without, at),
            [Back::Whole(_)] => self.see("back as a whole", without, at),
            _ => {}
        }
    }

    /// Notes what made a difference: to what is held, or, after the deadline, to what was spent.
    fn see(&mut self, what: &str, without: &[[i64; 3]], at: UnixMillis) {
        for (now, [spent, held, _]) in self.figures(&self.model, at).iter().zip(without) {
            if now[1] < *held {
                self.seen.insert(what.to_owned());
            } else if now[0] < *spent {
                self.seen.insert(format!("{what}, late"));
            }
        }
    }

    async fn release(&mut self) {
        let hold = if self.below(4) == 0 { self.escrow() } else { self.hold() };
        let said = self.redis.release(ACCOUNT, hold).await.unwrap();
        self.model.release(hold, said.at);
    }

    async fn release_holds(&mut self) {
        let (owner, epoch) = (self.journal(), self.epoch.saturating_sub(self.below(4) / 3));
        let said = self.redis.release_holds(ACCOUNT, owner, epoch).await.unwrap();
        self.model.release_holds(owner, epoch, said.at);
    }

    async fn release_owner(&mut self) {
        let owner = self.journal();
        let said = self.redis.release_owner(ACCOUNT, owner).await.unwrap();
        self.model.release_owner(owner, said.at);
        self.gone += 1;
    }

    async fn declare(&mut self) {
        let (mut ask, at, epoch) = (self.ask(), self.moment(), self.epoch + self.below(20) / 19);
        if self.below(4) == 0 {
            ask.hold = ask.hold.escrow();
        }
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
        let life = self.life().await;
        let said = self.redis.open(ACCOUNT, self.epoch, &life, &opening).await.unwrap();
        let is_open = self.model.open(self.epoch, &life, &opening, said.at);
        assert_eq!(said.said, is_open);
        self.seen.insert(if is_open { "open" } else { "not opened" }.to_owned());
    }

    /// Mostly the one that Redis names, if the account is to be opened.
    async fn life(&mut self) -> Life {
        let other = Life("other".to_owned());
        if self.below(4) == 0 {
            return other;
        }
        let Some(life) = self.redis.life(ACCOUNT, self.epoch).await.unwrap().said else {
            assert_eq!(self.model.life(self.epoch, other.clone()), None);
            return other;
        };
        assert_eq!(self.model.life(self.epoch, life.clone()), Some(life.clone()), "the same as before");
        life
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
        let scopes = [self.scopes(key), self.whole()].concat();
        let said = self.redis.standing(ACCOUNT, &scopes, self.epoch).await.unwrap();
        let expected = (self.model.is_open(self.epoch), self.model.standing(&scopes, said.at));
        assert_eq!(said.said, expected);
    }
}

#[tokio::test]
async fn the_script_says_what_the_model_says() {
    let redis = Redis::start().await;
    let quotas = RedisQuotas::unannounced(redis.link().await);
    let answers =
        ["5h", "admitted", "daily", "monthly", "over", "requests", "sessions", "total", "unseeded", "weekly"];
    let ahead = [
        "back as a whole",
        "back as a whole, late",
        "back in part",
        "back in part, late",
        "drawn",
        "drawn, late",
        "put aside ahead",
        "ran out",
    ];
    let openings = ["not opened", "open"];
    let all: BTreeSet<_> = answers.into_iter().chain(ahead).chain(openings).map(str::to_owned).collect();
    let mut seen = BTreeSet::new();
    // Redis has no clock but its own: how much runs out, and which windows begin, is up to the machine and the hour. So more is
    // compared until all was said.
    for seed in 0..240 {
        if seed >= 24 && seen == all {
            break;
        }
        redis.cli(&["FLUSHALL"]);
        let mut pair = Pair::new(quotas.clone(), seed).await;
        pair.model.keep(&[], UnixMillis(pair.now));
        pair.open().await;
        for _ in 0..400 {
            pair.step().await;
        }
        seen.append(&mut pair.seen);
    }
    assert_eq!(seen, all, "everything was said at some time");
}

/// Windows begin anew and buckets leave: Redis's clock would show none of it in the time of a test, so the script has one here
/// that goes on by what was drawn, and stands at edges to the millisecond.
#[tokio::test]
async fn the_script_says_what_the_model_says_while_windows_come_and_go() {
    const REDIS_S: &str = "local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
";
    const OURS: &str = "local now = redis.call('INCRBY', 'clock', redis.call('LPOP', 'steps') or 0)
local time = { now, 0 }
";
    let script = QUOTA.replace(REDIS_S, OURS);
    assert!(!script.contains("'TIME'") && script.contains("'clock'"));
    let redis = Redis::start().await;
    let quotas = RedisQuotas::scripted(redis.link().await, Box::leak(script.into_boxed_str()));
    for seed in 0..parameter("QUOTA_SEEDS").unwrap_or(24) {
        redis.cli(&["FLUSHALL"]);
        let mut chance = Draws::new(seed ^ 0x5eed);
        // Days and months end, summer time too, some hours after it begins.
        let began = [1_792_800_000_000, 1_793_469_000_000, 1_795_600_000_000, 1_774_700_000_000];
        let began: i64 = began[usize::try_from(seed % 4).unwrap()];
        redis.cli(&["SET", "clock", &began.to_string()]);
        // Each word takes one.
        let steps: Vec<String> = (0..1_600).map(|_| step(&mut chance).to_string()).collect();
        redis.cli(&[&["RPUSH", "steps"][..], &steps.iter().map(String::as_str).collect::<Vec<_>>()].concat());
        let mut pair = Pair::new(quotas.clone(), seed).await;
        pair.model.keep(&[], UnixMillis(pair.now));
        pair.open().await;
        for _ in 0..300 {
            pair.step().await;
        }
    }
}

/// Milliseconds until the next word: mostly few, or what windows and buckets are long.
fn step(chance: &mut Draws) -> i64 {
    const LENGTHS: [i64; 6] = [5_000, 60_000, 300_000, 900_000, 5 * HOUR, 24 * HOUR];
    let mut below = |bound: u64| (chance.next_u64() % bound).cast_signed();
    match below(20) {
        0 => LENGTHS[usize::try_from(below(6)).unwrap()] + below(3) - 1,
        // As long as what began with the last word, to the millisecond.
        1 if below(2) == 0 => 5 * HOUR - below(2),
        1 => below(HOUR.cast_unsigned()),
        2..8 => below(20_000),
        _ => below(3),
    }
}

fn parameter(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The admin side reads the ledger for a store, and what it says comes when that is not there any more.
#[tokio::test]
async fn what_was_read_for_a_redis_that_has_lost_what_it_had_opens_nothing() {
    let mut redis = Redis::start().await;
    let mut quotas = RedisQuotas::unannounced(redis.link().await);
    let life = async |quotas: &RedisQuotas| quotas.life(ACCOUNT, 1).await.unwrap().said.unwrap();
    let open = async |quotas: &RedisQuotas, life: &Life| {
        quotas.open(ACCOUNT, 1, life, &Opening::default()).await.unwrap().said
    };
    let mut lives = vec![life(&quotas).await];
    // Lost, and lost again; then it starts with an old copy, in which the account is not open.
    for is_lost_by in ["flush", "flush", "restart"] {
        match is_lost_by {
            "flush" => drop(redis.cli(&["FLUSHALL"])),
            _ => {
                redis.cli(&["SAVE"]);
                redis.kill();
                redis.start_server();
                quotas = RedisQuotas::unannounced(redis.link().await);
            }
        }
        for old in &lives {
            assert!(!open(&quotas, old).await, "{is_lost_by}: before anybody has asked again");
        }
        let new = life(&quotas).await;
        assert!(!lives.contains(&new), "{is_lost_by}");
        for old in &lives {
            assert!(!open(&quotas, old).await, "{is_lost_by}");
        }
        lives.push(new);
    }
    assert!(!quotas.standing(ACCOUNT, &[], 1).await.unwrap().said.0);
    assert!(open(&quotas, lives.last().unwrap()).await);
    assert!(quotas.standing(ACCOUNT, &[], 1).await.unwrap().said.0);
}

#[tokio::test]
async fn an_old_copy_of_an_open_account_lets_nobody_in_although_nobody_knows_yet_that_it_is_one() {
    let mut redis = Redis::start().await;
    let mut quotas = RedisQuotas::unannounced(redis.link().await);
    let limits = Limits { total: Some(NanoUsd(100)), ..Limits::default() };
    let scopes = vec![(ScopeId::Owner, Terms::of(&limits, &Zone::default(), UnixMillis(1_790_000_000_000)))];
    let owner = JournalId::from_parts(UnixMillis(1), &[1; 10]);
    let ask = |n: u8| Ask {
        hold: HoldId(RequestId::from_bytes([n; 16]), 0),
        owner,
        need: NanoUsd(60),
        lives_ms: 900_000,
        scopes: scopes.clone(),
        is_counted: true,
        session: None,
        escrow: None,
    };
    assert!(open_account(&*quotas, ACCOUNT, 1, &Opening::default()).await.unwrap());
    quotas.begin(1).await.unwrap();
    redis.cli(&["SAVE"]);
    assert!(matches!(quotas.admit(ACCOUNT, &ask(1), 1).await.unwrap().said, Admission::Admitted { .. }));
    redis.kill();
    redis.start_server();
    quotas = RedisQuotas::unannounced(redis.link().await);
    assert_eq!((quotas.epoch().await.unwrap(), quotas.last_epoch().await.unwrap()), (None, Some(1)));
    assert_eq!(quotas.admit(ACCOUNT, &ask(2), 1).await.unwrap().said, Admission::Unseeded);
    let nothing = Settle { journal: owner, charges: Vec::new(), backs: Vec::new() };
    assert!(!quotas.settle(ACCOUNT, &nothing, 1).await.unwrap().said);
    assert!(!quotas.standing(ACCOUNT, &scopes, 1).await.unwrap().said.0);
    // Asked for its life it is nothing any more, also under the same epoch.
    quotas.declare(ACCOUNT, &ask(3), UnixMillis(1), 1).await.unwrap();
    assert!(open_account(&*quotas, ACCOUNT, 1, &Opening::default()).await.unwrap());
    let (is_open, standing) = quotas.standing(ACCOUNT, &scopes, 1).await.unwrap().said;
    assert!(is_open);
    assert_eq!((standing.windows[0].spent.0, standing.windows[0].held.0), (0, 0));
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

type Recalls = broadcast::Receiver<AccountId>;

/// Recalls this user until that is heard: what is said while nobody is connected is missed.
async fn recall_until_heard(user: i64, by: &RedisQuotas, recalls: &mut Recalls) {
    let account = AccountId::User(UserId(user));
    let heard = async {
        loop {
            let _ = by.recall(account).await;
            if timeout(Duration::from_millis(50), hear(account, recalls)).await.is_ok() {
                break;
            }
        }
    };
    timeout(PATIENCE, heard).await.expect("it is heard in time");
}

/// Waits for this account; users may have been recalled more than once before.
async fn hear(account: AccountId, recalls: &mut Recalls) {
    loop {
        match recalls.recv().await.unwrap() {
            heard if heard == account => break,
            heard => assert!(matches!(heard, AccountId::User(UserId(1 | 2))), "{heard:?}"),
        }
    }
}

#[tokio::test]
async fn a_recall_reaches_all_gateways_also_those_that_were_cut_off_and_what_cannot_be_read_is_no_recall() {
    let redis = Redis::start().await;
    let link = redis.link().await;
    let [one, two] = [(); 2].map(|()| RedisQuotas::open(&redis.config(), link.clone()).unwrap());
    let admin = RedisQuotas::unannounced(link);
    let mut recalls = [one.recalls(), two.recalls()];
    for recalls in &mut recalls {
        recall_until_heard(1, &admin, recalls).await;
    }
    redis.door.cut();
    for recalls in &mut recalls {
        recall_until_heard(2, &admin, recalls).await;
    }
    for unknown in ["", "u", "u:", "u:one", "g:1", "\u{fffd}"] {
        redis.cli(&["PUBLISH", &quota_recalled(), unknown]);
    }
    let other = AccountId::Provider(ProviderId(1));
    one.recall(other).await.unwrap();
    for recalls in &mut recalls {
        timeout(PATIENCE, hear(other, recalls)).await.expect("it is heard in time");
    }
    one.close().await;
    two.close().await;
}
