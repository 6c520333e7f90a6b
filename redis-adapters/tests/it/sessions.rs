//! Sessions in Redis: the suite that memory passes, what lives how long, what is missed, and two nodes at random against a
//! model.

use crate::redis::{Linked, PATIENCE, Redis, eventually};
use rand::Rng;
use redis_adapters::RedisSessions;
use shared::contract::session::{ActiveSession, MAX_ACTIVE, SessionFilter, SessionPage, binding};
use shared::ids::ProviderId;
use shared::ports::{ActiveSessions, PortError, SessionNews, SessionStore, Touch};
use shared::rules::affinity::cache::{BindingCache, Lookup};
use shared::rules::affinity::{Binding, Identity, Pace};
use shared::rules::session::SessionKey;
use shared::testing::{active_session, conformance, rng, session_key};
use shared::time::UnixMillis;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::timeout;

const TTL: Duration = Duration::from_secs(300);
const SEEN: &str = "cch:{sessions}:seen";

fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    UnixMillis(i64::try_from(since.as_millis()).unwrap())
}

/// A gateway's, which hears all from here on.
async fn node(redis: &Redis) -> Arc<RedisSessions> {
    let store = RedisSessions::open(&redis.config(), redis.link().await, TTL).unwrap();
    assert_eq!(news(&store).await, [SessionNews::Missed]);
    store
}

async fn news(store: &RedisSessions) -> Vec<SessionNews> {
    timeout(PATIENCE, store.news()).await.expect("news in time")
}

fn lives_ms(redis: &Redis, key: SessionKey) -> i64 {
    redis.cli(&["PTTL", &binding(key)]).parse().unwrap()
}

#[tokio::test]
async fn the_sessions_conform() {
    let redis = Redis::start().await;
    let (one, other) = (node(&redis).await, node(&redis).await);
    let admin = RedisSessions::unannounced(redis.link().await, TTL);
    let suite = conformance::sessions(&*one, &*other, &*admin, now);
    timeout(PATIENCE, suite).await.expect("the suite ends in time");
    one.close().await;
    other.close().await;
    admin.close().await;
}

#[tokio::test]
async fn a_binding_lives_from_the_last_word_on_and_its_generation_stays() {
    let redis = Redis::start().await;
    let store = RedisSessions::unannounced(redis.link().await, TTL);
    let key = session_key(1);
    let bound = store.bind(key, None, ProviderId(1), Identity(1)).await.unwrap();
    let touch = Touch { key, generation: bound.generation, pace: None };
    let is_prolonged = || {
        let lives = lives_ms(&redis, key);
        redis.cli(&["PEXPIRE", &binding(key), "60000"]);
        (60_001..=300_000).contains(&lives)
    };
    assert!(is_prolonged());
    store.read(key).await.unwrap();
    assert!(is_prolonged());
    store.touch(&[touch]).await.unwrap();
    assert!(is_prolonged());
    store.bind(key, None, ProviderId(2), Identity(1)).await.unwrap();
    assert!(is_prolonged());
    // What is not in force prolongs nothing, nor does whoever only looks.
    assert_eq!(store.bound(key).await, Ok(Some(bound)));
    store.touch(&[Touch { generation: bound.generation - 1, ..touch }]).await.unwrap();
    store.unbind(key, bound.generation - 1).await.unwrap();
    assert!(!is_prolonged());

    // Redis's clock was set back by a day: the next generation is higher all the same, with all its digits.
    let ahead = bound.generation + 86_400_000_001;
    redis.cli(&["HSET", &binding(key), "generation", &ahead.to_string()]);
    let moved = store.bind(key, Some(ahead), ProviderId(2), Identity(1)).await.unwrap();
    assert_eq!(moved.generation, ahead + 1);
    assert!(store.unbind(key, ahead + 1).await.unwrap());
    assert!(is_prolonged(), "the generation of what ended");
    let again = store.bind(key, None, ProviderId(3), Identity(1)).await.unwrap();
    assert_eq!(again.generation, ahead + 2);
    // Expired, by the right clock.
    redis.cli(&["DEL", &binding(key)]);
    assert_eq!(store.read(key).await, Ok(None));
    assert_eq!(redis.cli(&["EXISTS", &binding(key)]), "0", "who asks leaves nothing");
    let anew = store.bind(key, Some(again.generation), ProviderId(3), Identity(1)).await.unwrap();
    assert!(bound.generation < anew.generation && anew.generation < ahead);
}

#[tokio::test]
async fn whoever_was_cut_off_is_told_that_something_was_missed() {
    let redis = Redis::start().await;
    let store = node(&redis).await;
    let far = RedisSessions::unannounced(redis.link().await, TTL);
    let key = session_key(1);
    let bound = far.bind(key, None, ProviderId(1), Identity(1)).await.unwrap();
    redis.door.set_deaf(true);
    far.bind(key, Some(bound.generation), ProviderId(2), Identity(1)).await.unwrap();
    redis.door.cut();
    redis.door.set_deaf(false);
    let told = loop {
        let told = news(&store).await;
        if told != [SessionNews::Missed] {
            break told;
        }
        // Back, and listening: from here on nothing is lost.
        eventually("it is told", || async { far.terminate(key).await.is_ok() }).await;
    };
    assert!(told.iter().all(|news| matches!(news, SessionNews::Ended { key: whose, .. } if *whose == key)));
    // What is no news of ours counts as missed as well.
    redis.cli(&["PUBLISH", "cch:{sessions}:news", "{\"what\":\"split\"}"]);
    while news(&store).await != [SessionNews::Missed] {}
}

#[tokio::test]
async fn without_redis_calls_fail_and_a_node_goes_on_with_what_it_knows() {
    let mut redis = Redis::start().await;
    let store = node(&redis).await;
    let (mut cache, key) = (BindingCache::new(100, 300_000), session_key(1));
    let ticket = cache.ticket(now());
    let bound = store.bind(key, None, ProviderId(1), Identity(1)).await.unwrap();
    cache.answered(key, ticket, Some(bound));
    redis.kill();
    assert_eq!(store.read(key).await, Err(PortError::Unavailable));
    let touch = Touch { key, generation: bound.generation, pace: None };
    assert_eq!(store.touch(&[touch; 3]).await, Err(PortError::Unavailable));
    match cache.look_up(&key, now().plus_ms(60_000)) {
        Lookup::Ask { known: Some(known), .. } => assert_eq!(known.binding, bound),
        other => panic!("{other:?}"),
    }
    redis.start_server();
    eventually("it is used again", || async { store.read(key).await == Ok(None) }).await;
    assert_eq!(news(&store).await, [SessionNews::Missed]);
    // What stands there is of another kind, or was written by no release of ours: an answer, not an outage.
    redis.cli(&["SET", &binding(key), "text"]);
    assert_eq!(store.read(key).await, Err(PortError::Refused));
    redis.cli(&["DEL", &binding(key)]);
    redis.cli(&["HSET", &binding(key), "provider", "one", "generation", "1"]);
    assert_eq!(store.read(key).await, Err(PortError::Unreadable));
}

#[tokio::test]
async fn a_list_goes_on_through_sessions_of_one_millisecond_and_past_those_that_do_not_pass() {
    let redis = Redis::start().await;
    let store = RedisSessions::unannounced(redis.link().await, TTL);
    let clock = now();
    let seen: Vec<ActiveSession> = (0..1_200)
        .map(|n| {
            let mut seen = ActiveSession { first_seen_at: clock, last_seen_at: clock, ..active_session(n) };
            seen.doc.provider_id = Some(ProviderId(i64::from(n == 1_100)));
            seen
        })
        .collect();
    for batch in seen.chunks(400) {
        store.saw(clock, batch).await.unwrap();
    }
    // All in one moment.
    let moment = now().0.to_string();
    let level = "for _, key in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do redis.call('ZADD', KEYS[1], ARGV[1], key) end";
    redis.cli(&["EVAL", level, "1", SEEN, &moment]);
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = store.list(&SessionFilter::default(), after, 250).await.unwrap();
        found.extend(page.sessions.into_iter().map(|session| session.key));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert!(found.into_iter().eq(seen.iter().map(|session| session.key)));
    let rare = SessionFilter { provider_id: Some(ProviderId(1)), ..SessionFilter::default() };
    let page = store.list(&rare, None, 10).await.unwrap();
    assert_eq!(page.sessions.iter().map(|s| s.key).collect::<Vec<_>>(), [session_key(1_100)]);
    assert_eq!(page.next, None);
    assert!(!redis.cli(&["KEYS", "*"]).contains("session-"), "ids are no names in Redis");

    // Not seen for five minutes.
    redis.cli(&["EVAL", level, "1", SEEN, &(now().0 - 300_000).to_string()]);
    assert_eq!(store.list(&SessionFilter::default(), None, 10).await, Ok(SessionPage::default()));
    let at = now();
    let again = ActiveSession { first_seen_at: at, last_seen_at: at, requests: 2, ..active_session(7) };
    store.saw(at, std::slice::from_ref(&again)).await.unwrap();
    store
        .saw(at, &[ActiveSession { last_seen_at: at, first_seen_at: at, ..active_session(8) }])
        .await
        .unwrap();
    let page = store.list(&SessionFilter::default(), None, 10).await.unwrap();
    let requests: HashMap<_, _> = page.sessions.iter().map(|s| (s.key, s.requests)).collect();
    assert_eq!(
        requests,
        HashMap::from([(session_key(7), 2), (session_key(8), 1)]),
        "what is over is not added up"
    );
    for hash in ["docs", "requests", "first"] {
        assert_eq!(redis.cli(&["HLEN", &format!("cch:{{sessions}}:{hash}")]), "2", "{hash}");
    }
}

#[tokio::test]
async fn of_too_many_active_sessions_the_oldest_are_forgotten() {
    let redis = Redis::start().await;
    let store = RedisSessions::unannounced(redis.link().await, TTL);
    let fill = "for i = 1, tonumber(ARGV[1]) do redis.call('ZADD', KEYS[1], tonumber(ARGV[2]) + i % 1000, string.format('%032x', i)) end";
    redis.cli(&["EVAL", fill, "1", SEEN, &MAX_ACTIVE.to_string(), &(now().0 - 60_000).to_string()]);
    let at = now();
    let seen = |n| ActiveSession { first_seen_at: at, last_seen_at: at, ..active_session(n) };
    store.saw(at, &[seen(1), seen(2)]).await.unwrap();
    assert_eq!(redis.cli(&["ZCARD", SEEN]), MAX_ACTIVE.to_string());
    // Those whose documents are gone are no reason to show nothing.
    let page = store.list(&SessionFilter::default(), None, 10).await.unwrap();
    assert!(page.sessions.iter().map(|s| s.key).eq([session_key(1), session_key(2)]));
}

/// A node with its cache.
struct Node {
    store: Arc<RedisSessions>,
    cache: BindingCache,
}

impl Node {
    /// The binding that it goes by.
    async fn finds(&mut self, key: SessionKey) -> Option<Binding> {
        match self.cache.look_up(&key, now()) {
            Lookup::Fresh(known) => Some(known.binding),
            Lookup::Ask { ticket, .. } => {
                let found = self.store.read(key).await.unwrap();
                self.cache.answered(key, ticket, found);
                found
            }
        }
    }

    async fn hears(&mut self, expected: &SessionNews) {
        let heard = news(&self.store).await;
        assert_eq!(heard, std::slice::from_ref(expected));
        self.cache.hear(expected, now());
    }
}

/// What must be in force.
#[derive(Default)]
struct Model {
    in_force: HashMap<SessionKey, Binding>,
    last: HashMap<SessionKey, u64>,
}

impl Model {
    /// Takes over a binding that must be a new one.
    fn made(&mut self, key: SessionKey, made: Binding, to: (ProviderId, Identity)) -> Option<Binding> {
        assert_eq!((made.provider_id, made.identity, made.slow_turns), (to.0, to.1, 0));
        let last = self.last.insert(key, made.generation);
        assert!(last.is_none_or(|last| made.generation > last), "{last:?} {made:?}");
        self.in_force.insert(key, made)
    }
}

/// One command of one node, at random; all news has arrived before and after it.
async fn step(nodes: &mut [Node; 2], model: &mut Model, redis: &Redis, rng: &mut impl Rng) {
    let key = session_key(rng.random_range(0..3));
    let at = rng.random_range(0..2);
    let in_force = model.in_force.get(&key).copied();
    // Of the one in force, or of one that was.
    let generation = match (rng.random_ratio(3, 4), in_force) {
        (true, Some(bound)) => bound.generation,
        _ => model.last.get(&key).map_or(1, |last| last - u64::from(in_force.is_some())),
    };
    let node = &mut nodes[at];
    let mut told = None;
    match rng.random_range(0..12) {
        0..=3 => {
            // Slow turns are told with answers alone: each node may know fewer.
            let found = node.finds(key).await.map(|bound| Binding { slow_turns: 0, ..bound });
            assert_eq!(found, in_force.map(|bound| Binding { slow_turns: 0, ..bound }));
        }
        4..=6 => {
            let expected = rng.random_ratio(3, 4).then_some(generation);
            let to = (ProviderId(rng.random_range(1..4)), Identity(rng.random()));
            let ticket = node.cache.ticket(now());
            let bound = node.store.bind(key, expected, to.0, to.1).await.unwrap();
            node.cache.answered(key, ticket, Some(bound));
            match in_force {
                Some(before) if Some(before.generation) != expected => assert_eq!(bound, before),
                _ => told = model.made(key, bound, to).map(|_| SessionNews::Moved { key, binding: bound }),
            }
        }
        7 => {
            let is_ended = node.store.unbind(key, generation).await.unwrap();
            assert_eq!(is_ended, in_force.is_some_and(|bound| bound.generation == generation));
            if is_ended {
                model.in_force.remove(&key);
                told = Some(SessionNews::Ended { key, generation });
            }
        }
        8..=9 => {
            let pace = [None, Some(Pace::Slow), Some(Pace::Quick)][rng.random_range(0..3)];
            let ticket = node.cache.ticket(now());
            let slow = node.store.touch(&[Touch { key, generation, pace }]).await.unwrap()[0];
            node.cache.touched(key, ticket, generation, slow);
            let bound = model.in_force.get_mut(&key).filter(|bound| bound.generation == generation);
            assert_eq!(slow.is_some(), bound.is_some());
            if let (Some(bound), Some(slow)) = (bound, slow) {
                let before = bound.slow_turns;
                bound.slow_turns = match pace {
                    None => before,
                    Some(Pace::Slow) => before + 1,
                    Some(Pace::Quick) => 0,
                };
                assert_eq!(slow, bound.slow_turns);
            }
        }
        10 => {
            // By a gateway's store as well as by an admin's: it is the same.
            assert_eq!(node.store.terminate(key).await, Ok(in_force.is_some()));
            let heard = news(&nodes[0].store).await;
            assert_eq!(news(&nodes[1].store).await, heard);
            let (Some(ended), 1) = (heard.first(), heard.len()) else { unreachable!("{heard:?}") };
            let SessionNews::Ended { key: whose, generation } = ended else { unreachable!("{ended:?}") };
            assert_eq!(*whose, key);
            let last = model.last.insert(key, *generation);
            assert!(last.is_none_or(|last| last <= *generation));
            model.in_force.remove(&key);
            nodes.iter_mut().for_each(|node| node.cache.hear(ended, now()));
        }
        _ => {
            // It expires, which no node has asked for meanwhile.
            redis.cli(&["DEL", &binding(key)]);
            model.in_force.remove(&key);
            nodes.iter_mut().for_each(|node| node.cache.hear(&SessionNews::Missed, now()));
        }
    }
    if let Some(told) = told {
        for node in nodes {
            node.hears(&told).await;
        }
    }
}

#[tokio::test]
async fn two_nodes_at_random_agree_with_the_model() {
    let redis = Redis::start().await;
    for seed in 0..4 {
        redis.cli(&["FLUSHALL"]);
        let mut rng = rng(seed);
        let mut nodes = [0, 1].map(|_| None);
        for place in &mut nodes {
            *place = Some(Node { store: node(&redis).await, cache: BindingCache::new(100, 300_000) });
        }
        let mut nodes = nodes.map(Option::unwrap);
        let mut model = Model::default();
        for _ in 0..300 {
            step(&mut nodes, &mut model, &redis, &mut rng).await;
        }
        for node in nodes {
            assert!(
                timeout(Duration::ZERO, node.store.news()).await.is_err(),
                "no news that the model has not"
            );
            node.store.close().await;
        }
    }
}
