//! Responses in Redis: the suite that memory passes, how many are remembered and for how long, and gateways that lose Redis.

use crate::halves::Gateway;
use crate::redis::{Linked, PATIENCE, Redis, eventually};
use redis_adapters::{RedisPublisher, RedisResponses};
use serde_json::{Value, json};
use shared::contract::response::{BUCKET_BOUND, RESPONSE_TTL_SECS, makers, order};
use shared::ids::ProviderId;
use shared::model::{Provider, ProviderType};
use shared::ports::{PortError, Publisher, ResponseStore};
use shared::rules::response::ResponseKey;
use shared::testing::{self, client_secret, conformance};
use simulator::{Simulator, SimulatorConfig};
use std::sync::Arc;
use std::time::Duration;
use testbed::{Answer, Client, JSON};
use tokio::time::timeout;

async fn store(redis: &Redis) -> Arc<RedisResponses> {
    RedisResponses::new(redis.link().await)
}

/// Of one first byte, all of them.
fn key(n: u16) -> ResponseKey {
    let [high, low] = n.to_be_bytes();
    ResponseKey::from_bytes([0xab, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, high, low])
}

fn lengths(redis: &Redis) -> (usize, usize) {
    let length = |command: &str, name: String| redis.cli(&[command, &name]).parse().unwrap();
    (length("HLEN", makers(0xab)), length("LLEN", order(0xab)))
}

#[tokio::test]
async fn the_responses_conform() {
    let redis = Redis::start().await;
    let (one, other) = (store(&redis).await, store(&redis).await);
    let suite = conformance::responses(&*one, &*other);
    timeout(PATIENCE, suite).await.expect("the suite ends in time");
}

#[tokio::test]
async fn of_too_many_the_oldest_go_first() {
    let redis = Redis::start().await;
    let store = store(&redis).await;
    let bound = u16::try_from(BUCKET_BOUND).unwrap();
    for n in 0..bound + 3 {
        store.remember(key(n), ProviderId(1)).await.unwrap();
    }
    assert_eq!(lengths(&redis), (BUCKET_BOUND, BUCKET_BOUND));
    for (n, is_known) in [(0, false), (2, false), (3, true), (bound + 2, true)] {
        assert_eq!(store.maker(key(n)).await.unwrap().is_some(), is_known, "{n}");
    }
    // Told again: it stays where it was, and nobody goes for it.
    store.remember(key(3), ProviderId(2)).await.unwrap();
    assert_eq!(store.maker(key(4)).await, Ok(Some(ProviderId(1))));
    store.remember(key(0), ProviderId(1)).await.unwrap();
    assert_eq!(store.maker(key(3)).await, Ok(None));
    assert_eq!(lengths(&redis), (BUCKET_BOUND, BUCKET_BOUND));
}

#[tokio::test]
async fn a_response_is_known_for_thirty_days() {
    let redis = Redis::start().await;
    let store = store(&redis).await;
    for n in 0..3 {
        store.remember(key(n), ProviderId(1)).await.unwrap();
    }
    for name in [makers(0xab), order(0xab)] {
        let lives: u64 = redis.cli(&["TTL", &name]).parse().unwrap();
        assert!((RESPONSE_TTL_SECS - 60..=RESPONSE_TTL_SECS).contains(&lives), "{name}: {lives}");
    }
    let now: u64 = redis.cli(&["TIME"]).lines().next().unwrap().trim().parse().unwrap();
    let made = |n: u16, age: u64| {
        redis.cli(&["HSET", &makers(0xab), &key(n).to_string(), &format!("1:{}", now - age)]);
    };
    made(0, RESPONSE_TTL_SECS);
    made(1, RESPONSE_TTL_SECS - 600);
    assert_eq!(store.maker(key(0)).await, Ok(None));
    assert_eq!(store.maker(key(1)).await, Ok(Some(ProviderId(1))));
    store.remember(key(3), ProviderId(1)).await.unwrap();
    assert_eq!(lengths(&redis), (3, 3), "what is over goes with what comes");
}

#[tokio::test]
async fn where_one_of_two_keys_was_lost_both_begin_anew() {
    let redis = Redis::start().await;
    let store = store(&redis).await;
    for lost in [makers(0xab), order(0xab)] {
        for n in 0..9 {
            store.remember(key(n), ProviderId(1)).await.unwrap();
        }
        redis.cli(&["DEL", &lost]);
        store.remember(key(100), ProviderId(1)).await.unwrap();
        assert_eq!(lengths(&redis), (1, 1), "{lost}");
        assert_eq!(store.maker(key(100)).await, Ok(Some(ProviderId(1))));
    }
    // What no release wrote is not known.
    redis.cli(&["HSET", &makers(0xab), &key(5).to_string(), "somebody"]);
    assert_eq!(store.maker(key(5)).await, Ok(None));
}

#[tokio::test]
async fn a_redis_that_does_not_answer_is_given_up() {
    let redis = Redis::start().await;
    let store = store(&redis).await;
    redis.pause();
    assert_eq!(store.maker(key(1)).await, Err(PortError::Unavailable));
    assert_eq!(store.remember(key(1), ProviderId(1)).await, Err(PortError::Unavailable));
    redis.resume();
}

const RESPONSES: &str = "/v1/responses";

struct Seat(Client);

impl Seat {
    fn of(gateway: &Gateway) -> Self {
        Self(Client::new(gateway.handle.address))
    }

    async fn ask(&self, previous: Option<&str>) -> Answer {
        let body = json!({"model": "gpt-5", "input": "hi", "previous_response_id": previous});
        let bearer = format!("Bearer {}", client_secret(1));
        self.0.send("POST", RESPONSES, &[("authorization", &bearer), JSON], &body.to_string()).await
    }

    /// The id of the answer, in which its maker's port is.
    async fn id(&self, previous: Option<&str>) -> String {
        let answer = self.ask(previous).await.expect(200);
        answer["id"].as_str().unwrap().to_owned()
    }
}

fn maker(id: &str) -> &str {
    &id["resp_sim".len()..][..5]
}

/// Two gateways, and two accounts for them.
async fn two_and_two(redis: &Redis) -> ([Gateway; 2], [Simulator; 2]) {
    let start = || Simulator::start(SimulatorConfig::default());
    let upstreams = [start().await.unwrap(), start().await.unwrap()];
    let providers = (1..).zip(&upstreams).map(|(id, upstream)| Provider {
        provider_type: ProviderType::Codex,
        url: upstream.base_url(),
        ..testing::provider(id)
    });
    let snapshot = testing::snapshot(providers.collect());
    RedisPublisher::new(redis.link().await).publish(snapshot).await.unwrap();
    let start = || Gateway::start_under(redis, None, Duration::from_secs(86_400), testing::hub_key());
    let gateways = [start().await, start().await];
    for gateway in &gateways {
        eventually("it is configured", || async { Seat::of(gateway).ask(None).await.status == 200 }).await;
    }
    (gateways, upstreams)
}

#[tokio::test]
async fn gateways_tell_each_other_over_redis_and_without_it_go_by_what_they_know() {
    let mut redis = Redis::start().await;
    let (gateways, _upstreams) = two_and_two(&redis).await;
    let [one, other] = [Seat::of(&gateways[0]), Seat::of(&gateways[1])];
    let mut known = String::new();
    for _ in 0..20 {
        known = one.id(None).await;
        assert_eq!(maker(&other.id(Some(&known)).await), maker(&known));
    }
    // No text of a vendor's is in Redis.
    let fields = redis.cli(&["--scan", "--pattern", "cch:{resp:*"]);
    assert!(fields.lines().count() > 2, "{fields}");
    assert!(!fields.contains("resp_"));

    redis.kill();
    let made = one.id(None).await;
    // Who made it knows it; so does whoever asked before.
    assert_eq!(maker(&one.id(Some(&made)).await), maker(&made));
    assert_eq!(maker(&other.id(Some(&known)).await), maker(&known));
    let answer = other.ask(Some(&made)).await;
    assert_eq!(answer.status, 503);
    assert_eq!((answer.header("retry-after"), answer.header("x-should-retry")), ("5", "true"));
    let body: Value = answer.json();
    assert_eq!(body["error"]["code"], "response_store_unreachable");

    redis.start_server();
    // Told as soon as somebody is there to be told.
    let is_told = || async { other.ask(Some(&made)).await.status == 200 };
    eventually("the other one is told", is_told).await;
    for _ in 0..10 {
        assert_eq!(maker(&other.id(Some(&made)).await), maker(&made));
    }
}
