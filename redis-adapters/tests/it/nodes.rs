//! What nodes tell of themselves, as it is kept in Redis.

use crate::redis::{Linked, Redis};
use redis_adapters::RedisNodes;
use shared::contract::keys::{NODE_TTL_SECS, node_in_flight};
use shared::ports::{NodeInFlight, NodeRegistry};
use shared::testing::{in_flight, node_beat};

#[tokio::test]
async fn what_runs_on_a_node_goes_with_it() {
    let redis = Redis::start().await;
    let nodes = RedisNodes::new(redis.link().await);
    nodes.beat(node_beat("a"), Some(in_flight(1, [1]))).await.unwrap();
    let ttl: u64 = redis.cli(&["TTL", &node_in_flight("a")]).trim().parse().unwrap();
    assert!((1..=NODE_TTL_SECS).contains(&ttl), "a node that dies is forgotten: {ttl}");
    nodes.leave("a").await.unwrap();
    assert_eq!(redis.cli(&["EXISTS", &node_in_flight("a")]).trim(), "0");
}

#[tokio::test]
async fn what_cannot_be_read_is_told_as_nothing_and_the_others_are_heard() {
    let redis = Redis::start().await;
    let nodes = RedisNodes::new(redis.link().await);
    let told = |id: &str, told| NodeInFlight { id: id.to_owned(), told };
    for id in ["a", "b", "c"] {
        nodes.beat(node_beat(id), Some(in_flight(1, [1]))).await.unwrap();
    }
    redis.cli(&["SET", &node_in_flight("a"), "broken"]);
    redis.cli(&["SET", &node_in_flight("b"), r#"{"schema":99,"at":1,"requests":[],"left_out":0}"#]);
    let all = vec![told("a", None), told("b", None), told("c", Some(in_flight(1, [1])))];
    assert_eq!(nodes.in_flight().await, Ok(all));
}

#[tokio::test]
async fn more_nodes_than_one_call_asks_for_are_all_heard() {
    let redis = Redis::start().await;
    let nodes = RedisNodes::new(redis.link().await);
    let mut all = Vec::new();
    for n in 0..40 {
        let (id, told) = (format!("node {n:02}"), in_flight(n, [n.unsigned_abs()]));
        nodes.beat(node_beat(&id), Some(told.clone())).await.unwrap();
        all.push(NodeInFlight { id, told: Some(told) });
    }
    assert_eq!(nodes.in_flight().await, Ok(all));
}
