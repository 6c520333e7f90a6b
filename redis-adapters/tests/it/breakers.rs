//! The breaker's Lua against the pure machine, word by word on a real Redis; and Redis away and back.

use crate::redis::{Linked, PATIENCE, Redis, eventually};
use rand::RngCore;
use redis_adapters::RedisBreakers;
use shared::contract::breaker::{
    Cause, Circuit, CircuitDoc, CoolAsk, CoolKind, Mark, Order, Pass, PermitAsk, Report, Taken, Terms,
};
use shared::ids::ProviderId;
use shared::ports::{BreakerStore, CircuitNews, PortError, Since};
use shared::rules::breaker::fleet::Fleet;
use shared::rules::breaker::table::{Standing, Table};
use shared::rules::select::Draws;
use shared::testing::{report, sample};
use shared::time::UnixMillis;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::timeout;

const NODES: [&str; 3] = ["a", "b", "c"];
const PROVIDERS: u64 = 3;

/// Redis and the machine, told the same words at the same moments.
struct Pair {
    redis: Arc<RedisBreakers>,
    model: Fleet,
    /// What was last read, and what it was read to be.
    read: CircuitNews,
    /// Passes to report by.
    passes: Vec<(ProviderId, Pass)>,
    chance: Draws,
    seen: BTreeMap<&'static str, u32>,
}

impl Pair {
    fn below(&mut self, bound: u64) -> u64 {
        self.chance.next_u64() % bound
    }

    fn provider(&mut self) -> ProviderId {
        ProviderId(i64::try_from(self.below(PROVIDERS)).unwrap() + 1)
    }

    fn node(&mut self) -> &'static str {
        NODES[usize::try_from(self.below(3)).unwrap()]
    }

    /// Mostly the same for a provider.
    fn terms(&mut self, id: ProviderId) -> Terms {
        let usual = u32::try_from(id.0).unwrap();
        let failure_threshold = match self.below(300) {
            0 => 0,
            1 => 9,
            _ => usual,
        };
        // Breakers of the first are due at once, of the others after some words.
        let open_duration_ms = if id.0 == 1 { 0 } else { 3 };
        let half_open_success_threshold = usual.min(2);
        Terms { failure_threshold, open_duration_ms, half_open_success_threshold, account: u32::MAX }
    }

    async fn step(&mut self) {
        match self.below(20) {
            0..9 => self.report().await,
            9..13 => self.ask().await,
            13 => self.order().await,
            14 => self.join_or_leave().await,
            15 => self.merge().await,
            _ => {}
        }
        self.compare().await;
    }

    async fn report(&mut self) {
        let id = self.provider();
        let mark = [Mark::Failure, Mark::Failure, Mark::Success, Mark::Success, Mark::Neutral]
            [usize::try_from(self.below(5)).unwrap()];
        // Of what is known now, or of what was known at some time, with a permit or without.
        let known = self.passes.iter().filter(|(of, _)| *of == id).map(|(_, pass)| *pass).next_back();
        let pass = match (self.below(4), known) {
            (0..2, Some(pass)) => pass,
            (2, Some(pass)) => Pass { fence: None, ..pass },
            _ => Pass { seen: self.read.upto.upto, fence: None },
        };
        let cool = (self.below(3) == 0).then(|| self.cool());
        let terms = self.terms(id);
        let n = u32::try_from(self.below(1_000)).unwrap();
        let said = Report {
            terms,
            cool,
            sample: sample(n, Some(502), UnixMillis(i64::from(n))),
            ..report(id.0, pass, mark)
        };
        let told = self.redis.report(&said).await.unwrap();
        let expected = self.model.report(&said, told.at);
        assert_eq!(told, expected, "{said:?}");
        if told.has_moved {
            self.saw(told.doc.and_then(|doc| doc.cause).map_or("none", Cause::label));
        }
    }

    fn cool(&mut self) -> CoolAsk {
        let kinds = [CoolKind::Credential, CoolKind::RateLimit, CoolKind::Overload, CoolKind::ModelMissing];
        let kind = kinds[usize::try_from(self.below(4)).unwrap()];
        let first_ms = [0, 1, 5, 3_600_000][usize::try_from(self.below(4)).unwrap()];
        let model = (kind != CoolKind::Credential).then(|| format!("m{}", self.below(80)));
        CoolAsk {
            kind,
            model,
            first_ms,
            longest_ms: first_ms * 3,
            memory_ms: [0, 4, 3_600_000][usize::try_from(self.below(3)).unwrap()],
        }
    }

    /// More cool-downs than are kept.
    async fn crowd(&mut self) {
        for n in 0..80 {
            let first_ms = 60_000 + self.below(60_000);
            let model = Some(format!("m{n}"));
            let ask =
                CoolAsk { kind: CoolKind::RateLimit, model, first_ms, longest_ms: first_ms, memory_ms: 0 };
            let pass = Pass { seen: self.read.upto.upto, fence: None };
            let said = Report {
                terms: self.terms(ProviderId(3)),
                cool: Some(ask),
                ..report(3, pass, Mark::Neutral)
            };
            let told = self.redis.report(&said).await.unwrap();
            assert_eq!(told, self.model.report(&said, told.at));
        }
        self.compare().await;
    }

    async fn ask(&mut self) {
        let id = self.provider();
        let ask = PermitAsk {
            provider_id: id,
            terms: self.terms(id),
            seen: self.read.upto.upto,
            node: self.node().to_owned(),
            hold_ms: [0, 2, 3_600_000][usize::try_from(self.below(3)).unwrap()],
        };
        let (taken, told) = self.redis.take_permit(&ask).await.unwrap();
        let expected = self.model.take_permit(&ask, told.at);
        assert_eq!((taken, &told), (expected.0, &expected.1), "{ask:?}");
        if told.has_moved {
            self.saw(told.doc.and_then(|doc| doc.cause).map_or("none", Cause::label));
        }
        match taken {
            Taken::Granted(pass) => {
                self.saw("granted");
                self.passes.push((id, pass));
            }
            Taken::Unneeded(pass) => self.passes.push((id, pass)),
            Taken::Refused => self.saw("refused"),
        }
    }

    async fn order(&mut self) {
        let id = self.provider();
        let generation =
            self.read.docs.iter().find(|doc| doc.provider_id == id).map_or(0, |doc| doc.generation);
        let order = match self.below(8) {
            0 => Order::ResetAll,
            1..3 => {
                Order::Reset { provider_id: id, terms: self.terms(id), cause: Cause::Reset, only_if: None }
            }
            3 => Order::Reset {
                provider_id: id,
                terms: self.terms(id),
                cause: Cause::TermsChanged,
                only_if: Some(generation),
            },
            _ => Order::Probed { provider_id: id, generation, sample: sample(9, Some(200), UnixMillis(9)) },
        };
        let told = self.redis.order(&order).await.unwrap();
        assert_eq!(told, self.model.order(&order, told.at), "{order:?}");
        if told.has_moved {
            self.saw(told.doc.and_then(|doc| doc.cause).map_or("reset_all", Cause::label));
        }
    }

    async fn join_or_leave(&mut self) {
        let node = self.node();
        if self.below(4) > 0 {
            self.redis.leave(node).await.unwrap();
            self.model.leave(node);
            return;
        }
        let is_alone = self.redis.join(node).await.unwrap();
        self.seen.entry("alone").and_modify(|n| *n += u32::from(is_alone)).or_default();
        self.catch_up(|model, now| assert_eq!(model.join(node, now), is_alone)).await;
    }

    async fn merge(&mut self) {
        // As it was once, as it may have gone on elsewhere, and what nobody knows.
        let mut docs: Vec<CircuitDoc> = self.read.docs.clone();
        for doc in &mut docs {
            match self.below(4) {
                0 => doc.generation = doc.generation.saturating_sub(1),
                1 => {
                    let until = UnixMillis(i64::try_from(doc.version).unwrap()).plus_ms(4);
                    doc.generation += 2;
                    doc.version += 3;
                    doc.circuit = Circuit::Open { until };
                }
                2 => doc.cooldowns.iter_mut().for_each(|c| c.until = c.until.plus_ms(7)),
                _ => doc.cooldowns.clear(),
            }
        }
        if self.below(2) == 0 {
            docs.truncate(1);
        }
        self.redis.merge(&docs).await.unwrap();
        self.catch_up(|model, now| {
            model.merge(&docs, now);
        })
        .await;
    }

    /// The script's moment was not answered: it is one of those between the last read and the next.
    async fn catch_up(&mut self, word: impl Fn(&mut Fleet, UnixMillis)) {
        let found = self.redis.read(None, Since::default()).await.unwrap();
        let before = self.model.clone();
        for ms in self.read.at.0..=found.at.0 {
            let mut model = before.clone();
            word(&mut model, UnixMillis(ms));
            if model.read(None, Since::default(), found.at) == found {
                self.model = model;
                return;
            }
        }
        unreachable!("none of {}..={}: {found:#?}\n{before:#?}", self.read.at.0, found.at.0);
    }

    async fn compare(&mut self) {
        let since = if self.below(4) == 0 { Since::default() } else { self.read.upto };
        let node = (self.below(4) == 0).then(|| self.node());
        let news = self.redis.read(node, since).await.unwrap();
        assert_eq!(news, self.model.read(node, since, news.at));
        let whole = self.redis.read(None, Since::default()).await.unwrap();
        assert_eq!(whole, self.model.read(None, Since::default(), whole.at));
        let most = whole.docs.iter().map(|doc| doc.cooldowns.len()).max().unwrap_or(0);
        if most == 64 {
            self.saw("full");
        }
        self.read = whole;
    }

    fn saw(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }
}

/// Random lives of a fleet. The seed of one that fails is in the test's output.
#[tokio::test]
async fn the_scripts_do_what_the_pure_machine_does() {
    let redis = Redis::start().await;
    let store = RedisBreakers::unannounced(redis.link().await);
    let mut seen = BTreeMap::new();
    for seed in 0..40 {
        println!("seed {seed}");
        redis.cli(&["FLUSHALL"]);
        let first = store.read(None, Since::default()).await.unwrap();
        let mut model = Fleet::default();
        // The head was made in that moment.
        assert_eq!(model.read(None, Since::default(), first.at), first);
        let chance = Draws::new(seed);
        let mut pair = Pair { redis: store.clone(), model, read: first, passes: Vec::new(), chance, seen };
        if seed % 10 == 0 {
            pair.crowd().await;
        }
        for _ in 0..150 {
            pair.step().await;
        }
        seen = pair.seen;
    }
    for what in [
        "failures",
        "due",
        "probed",
        "probe_failed",
        "recovered",
        "reset",
        "terms_changed",
        "reset_all",
        "granted",
        "refused",
        "alone",
        "full",
    ] {
        assert!(seen.get(what).is_some_and(|count| *count > 0), "{what}: {seen:?}");
    }
}

const OPEN: Terms =
    Terms { failure_threshold: 2, open_duration_ms: 3_600_000, half_open_success_threshold: 1, account: 3 };
const A: ProviderId = ProviderId(7);

fn failure(seen: u64) -> Report {
    Report { terms: OPEN, ..report(A.0, Pass { seen, fence: None }, Mark::Failure) }
}

async fn news(store: &RedisBreakers) -> CircuitNews {
    store.read(Some("a"), Since::default()).await.unwrap()
}

fn is_open(doc: Option<&CircuitDoc>) -> bool {
    matches!(doc.map(|doc| &doc.circuit), Some(Circuit::Open { .. }))
}

#[tokio::test]
async fn what_a_node_sees_without_redis_is_there_when_redis_is_back() {
    let mut redis = Redis::start().await;
    let link = redis.link().await;
    let store = RedisBreakers::open(&redis.config(), link.clone()).unwrap();
    let mut table = Table::default();
    store.join("a").await.unwrap();
    let first = news(&store).await;
    table.take_in(first.clone(), first.at);
    redis.kill();
    for _ in 0..2 {
        let said = failure(table.pass().seen);
        assert!(table.is_news(&said, first.at));
        assert_eq!(store.report(&said).await, Err(PortError::Unavailable));
        table.report_here(&said, first.at);
    }
    assert!(matches!(table.standing(A, &OPEN, None, first.at), Standing::Open { .. }));
    redis.start_server();
    // That it is back counts as an announcement.
    let back = async {
        loop {
            store.changed(table.since()).await;
            if let Ok(news) = store.read(Some("a"), table.since()).await {
                return news;
            }
        }
    };
    let back = timeout(PATIENCE, back).await.expect("it is announced");
    // It came back empty; a word that was under way when it went may have arrived after all.
    assert!(back.is_whole && !is_open(back.docs.first()));
    let now = back.at;
    table.take_in(back, now);
    let unsaved = table.unsaved();
    store.merge(&unsaved).await.unwrap();
    table.saved(&unsaved);
    let other = RedisBreakers::unannounced(link);
    let kept = other.read(None, Since::default()).await.unwrap();
    assert!(is_open(kept.docs.first()) && kept.docs[0].samples.len() == 2);
    table.take_in(kept.clone(), now);
    assert!(table.unsaved().is_empty());
    assert_eq!(table.doc(A), kept.docs.first());
    // A gateway that starts now is not alone, and clears nothing.
    assert_eq!(other.join("b").await, Ok(false));
}

#[tokio::test]
async fn a_transition_is_announced_and_one_that_is_not_is_read_all_the_same() {
    let redis = Redis::start().await;
    let link = redis.link().await;
    let (here, there) = (
        RedisBreakers::open(&redis.config(), link.clone()).unwrap(),
        RedisBreakers::unannounced(link.clone()),
    );
    let quiet = async || {
        eventually("all that is announced so far is seen", async || {
            news(&here).await;
            timeout(std::time::Duration::from_millis(300), here.changed(Since::default())).await.is_err()
        })
        .await;
    };
    quiet().await;
    let before = news(&here).await;
    there.report(&failure(0)).await.unwrap();
    timeout(PATIENCE, here.changed(before.upto)).await.expect("announced");
    assert_eq!(here.read(Some("a"), before.upto).await.unwrap().docs.len(), 1);
    quiet().await;
    redis.door.set_deaf(true);
    assert!(there.report(&failure(0)).await.unwrap().has_moved);
    let healed = here.read(Some("a"), before.upto).await.unwrap();
    assert!(is_open(healed.docs.first()));
    // Nothing changes: nothing is said.
    redis.door.set_deaf(false);
    quiet().await;
    let open = news(&here).await;
    assert!(!there.report(&failure(0)).await.unwrap().has_moved);
    assert_eq!(news(&here).await.upto, open.upto);
}

#[tokio::test]
async fn what_is_broken_or_of_a_later_release_counts_as_nothing_and_holds_up_nobody() {
    let redis = Redis::start().await;
    let store = RedisBreakers::unannounced(redis.link().await);
    store.report(&failure(0)).await.unwrap();
    for broken in ["broken", "[]", "{}", "7"] {
        redis.cli(&["HSET", "cch:{brk}:docs", "7", broken]);
        assert_eq!(news(&store).await.docs, []);
        let doc = store.report(&failure(0)).await.unwrap().doc.unwrap();
        assert_eq!(doc.circuit, Circuit::Closed { failures: 1 });
    }
    // A field that this release does not know stays where it is.
    let json = redis.cli(&["HGET", "cch:{brk}:docs", "7"]);
    let later = json.replacen('{', "{\"of_a_later_release\":{\"n\":[1,2]},", 1);
    redis.cli(&["HSET", "cch:{brk}:docs", "7", &later]);
    assert!(store.report(&failure(u64::MAX >> 12)).await.unwrap().has_moved);
    assert!(redis.cli(&["HGET", "cch:{brk}:docs", "7"]).contains("\"of_a_later_release\":{\"n\":[1,2]}"));
    let later = json.replacen("\"schema\":1", "\"schema\":2", 1);
    assert_ne!(json, later);
    redis.cli(&["HSET", "cch:{brk}:docs", "7", &later]);
    assert_eq!(news(&store).await.docs, []);
}

#[tokio::test]
async fn what_nobody_speaks_of_for_two_days_is_forgotten() {
    let redis = Redis::start().await;
    let store = RedisBreakers::unannounced(redis.link().await);
    store.report(&failure(0)).await.unwrap();
    let at = news(&store).await.at.0;
    for (age_ms, count) in [(2 * 86_400_000 - 60_000, 1), (2 * 86_400_000, 0)] {
        redis.cli(&["ZADD", "cch:{brk}:versions", &(at - age_ms).to_string(), "7"]);
        assert_eq!(news(&store).await.docs.len(), count);
    }
    assert_eq!(redis.cli(&["EXISTS", "cch:{brk}:docs", "cch:{brk}:versions"]), "0");
}

#[tokio::test]
async fn a_node_that_falls_silent_is_gone_after_ten_seconds() {
    let redis = Redis::start().await;
    let store = RedisBreakers::unannounced(redis.link().await);
    assert_eq!(store.join("a").await, Ok(true));
    for _ in 0..2 {
        store.report(&failure(u64::MAX >> 12)).await.unwrap();
    }
    let at = news(&store).await.at.0;
    let silent_since = |ms: i64| redis.cli(&["ZADD", "cch:{brk}:nodes", &ms.to_string(), "a"]);
    silent_since(at - 9_000);
    assert_eq!(store.join("b").await, Ok(false));
    store.leave("b").await.unwrap();
    silent_since(at - 10_001);
    assert_eq!(store.join("b").await, Ok(true), "a cold start");
    assert_eq!(store.read(None, Since::default()).await.unwrap().docs, []);
}
