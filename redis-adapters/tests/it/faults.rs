//! Redis away, silent, refusing, and back: its absence costs nothing, its return needs no hand.

use crate::redis::{Linked, Redis, eventually};
use redis_adapters::{Link, RedisConfig, RedisFeed, RedisNodes};
use shared::ports::{ConfigFeed, MetricsPart, NodeRegistry, PortError};
use shared::testing::node_beat;

async fn answers(nodes: &RedisNodes) -> bool {
    nodes.nodes().await.is_ok()
}

/// Calls until the breaker is open; then a thousand more that must not wait for anything: the deadline of one alone
/// would be longer than all of them may take.
async fn fails_without_waiting(link: &Link, nodes: &RedisNodes) {
    eventually("the breaker opens", || async {
        let failed = nodes.nodes().await;
        failed == Err(PortError::Unavailable) && link.is_open()
    })
    .await;
    let refused = async {
        for _ in 0..1_000 {
            assert_eq!(nodes.nodes().await, Err(PortError::Unavailable));
        }
    };
    // Probes go out now and then; each waits for its own deadline.
    refused.await;
}

#[tokio::test]
async fn a_redis_that_ends_and_comes_back_is_used_again() {
    let mut redis = Redis::start().await;
    let link = redis.link().await;
    let nodes = RedisNodes::new(link.clone());
    nodes.beat(node_beat("a"), None).await.unwrap();
    redis.kill();
    fails_without_waiting(&link, &nodes).await;
    redis.start_server();
    eventually("it is used again", || answers(&nodes)).await;
    assert!(!link.is_open());
    assert_eq!(nodes.nodes().await, Ok(vec![]), "it came back empty");
}

#[tokio::test]
async fn a_script_is_sent_when_redis_does_not_have_it_and_not_otherwise() {
    let redis = Redis::start().await;
    let nodes = RedisNodes::new(redis.link().await);
    let calls = |command: &str| -> u64 {
        let stats = redis.cli(&["INFO", "commandstats"]);
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
    };
    for sent in 1..=2 {
        for _ in 0..3 {
            assert!(answers(&nodes).await);
        }
        assert_eq!((calls("eval"), calls("evalsha")), (sent, 3 * sent));
        redis.cli(&["SCRIPT", "FLUSH"]);
    }
}

#[tokio::test]
async fn a_redis_that_falls_silent_is_left_alone_until_it_speaks() {
    let redis = Redis::start().await;
    let link = redis.link().await;
    let nodes = RedisNodes::new(link.clone());
    nodes.beat(node_beat("a"), None).await.unwrap();
    redis.pause();
    fails_without_waiting(&link, &nodes).await;
    redis.resume();
    eventually("it is used again", || answers(&nodes)).await;
    redis.door.cut();
    eventually("over a new connection", || answers(&nodes)).await;
}

#[tokio::test]
async fn a_redis_that_is_not_there_at_the_start_is_found_when_it_comes() {
    let mut redis = Redis::start().await;
    redis.kill();
    let link = Link::open(&redis.config()).unwrap();
    let nodes = RedisNodes::new(link.clone());
    fails_without_waiting(&link, &nodes).await;
    redis.start_server();
    link.connected().await;
    eventually("it is used", || answers(&nodes)).await;
}

#[tokio::test]
async fn a_refusal_is_an_answer_and_a_wrong_password_can_become_right() {
    let redis = Redis::start().await;
    let link = redis.link().await;
    let nodes = RedisNodes::new(link.clone());
    redis.cli(&["SET", "cch:{nodes}:beats", "not a hash"]);
    for _ in 0..5 {
        assert_eq!(nodes.nodes().await, Err(PortError::Refused));
    }
    assert!(!link.is_open());
    redis.cli(&["DEL", "cch:{nodes}:beats"]);
    assert_eq!(nodes.nodes().await, Ok(vec![]));

    redis.cli(&["ACL", "SETUSER", "hub", "on", ">right", "~*", "+@all"]);
    let url = format!("redis://hub:wrong@{}", redis.door.address);
    let link = Link::open(&RedisConfig::new(url, None)).unwrap();
    let nodes = RedisNodes::new(link.clone());
    assert_eq!(nodes.nodes().await, Err(PortError::Unavailable));
    redis.cli(&["ACL", "SETUSER", "hub", ">wrong"]);
    eventually("the password is right now", || answers(&nodes)).await;
}

#[tokio::test]
async fn a_close_ends_the_connection() {
    let redis = Redis::start().await;
    let link = redis.link().await;
    let feed = RedisFeed::open(&redis.config(), link.clone()).unwrap();
    // Announced once it is subscribed: both connections are there.
    feed.changed(None).await;
    // As many as Redis shows, without the one that asks. The door takes a moment to pass a goodbye on.
    let connections = || redis.cli(&["CLIENT", "LIST"]).lines().count() - 1;
    assert_eq!(connections(), 2);
    feed.close().await;
    eventually("the feed's connection is gone", || async { connections() == 1 }).await;
    link.close().await;
    eventually("the link's connection is gone", || async { connections() == 0 }).await;
    assert_eq!(RedisNodes::new(link).nodes().await, Err(PortError::Unavailable));
}

#[tokio::test]
async fn a_links_metrics_tell_how_calls_ended_and_whether_it_is_open() {
    let mut redis = Redis::start().await;
    let link = redis.link().await;
    let nodes = RedisNodes::new(link.clone());
    nodes.beat(node_beat("a"), None).await.unwrap();
    redis.cli(&["SET", "cch:{nodes}:beats", "not a hash"]);
    assert_eq!(nodes.nodes().await, Err(PortError::Refused));
    let page = link.text().await;
    for line in [
        "cch_redis_breaker_open 0",
        "cch_redis_calls_total{result=\"answered\"} 1",
        "cch_redis_calls_total{result=\"refused\"} 1",
        "cch_redis_calls_total{result=\"not_sent\"} 0",
    ] {
        assert!(page.lines().any(|l| l == line), "{line}\n{page}");
    }
    redis.kill();
    fails_without_waiting(&link, &nodes).await;
    let page = link.text().await;
    assert!(page.contains("cch_redis_breaker_open 1\n"), "{page}");
    assert!(
        !page.contains("result=\"not_answered\"} 0") && !page.contains("result=\"not_sent\"} 0"),
        "{page}"
    );
}
