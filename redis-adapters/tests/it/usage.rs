//! Usage on its way: nothing is lost while Redis is away or full, and a dead consumer's records are taken over.

use crate::redis::{Linked, Redis, eventually};
use redis_adapters::{RedisUsage, Shipper};
use shared::memory::MemoryUsage;
use shared::ports::{Backlog, PortError, UsageSink, UsageSource};
use shared::testing::usage_record;
use shared::time::UnixMillis;
use std::sync::Arc;

const STREAM: &str = "cch:{usage}:stream";

#[tokio::test]
async fn records_wait_in_the_gateway_while_redis_is_away() {
    let mut redis = Redis::start().await;
    let link = redis.link().await;
    let queue = Arc::new(MemoryUsage::new(1_000));
    let stream = RedisUsage::new(link, "admin");
    let shipper = Shipper::new(queue.clone(), stream.clone());
    for n in 0..300 {
        queue.record(usage_record(n)).await.unwrap();
    }
    redis.kill();
    assert_eq!(shipper.step().await, Err(PortError::Unavailable));
    assert_eq!(queue.waiting(), 300);
    redis.start_server();
    eventually("all are shipped", || async {
        let _ = shipper.step().await;
        queue.waiting() == 0
    })
    .await;
    let mut seen = Vec::new();
    loop {
        let lent = stream.take(100).await.unwrap();
        if lent.is_empty() {
            break;
        }
        let (receipts, records): (Vec<_>, Vec<_>) = lent.records.into_iter().unzip();
        seen.extend(records);
        stream.acknowledge(&receipts).await.unwrap();
    }
    // A call that was cut may have arrived: a record comes at least once, and the books take it once.
    seen.dedup();
    assert_eq!(seen, (0..300).map(usage_record).collect::<Vec<_>>());
    assert_eq!(redis.cli(&["XLEN", STREAM]), "0", "what is booked is gone");
}

#[tokio::test]
async fn a_full_stream_leaves_the_rest_with_the_gateway() {
    let redis = Redis::start().await;
    let link = redis.link().await;
    let queue = Arc::new(MemoryUsage::new(10));
    let stream = RedisUsage::new(link, "admin");
    // All but two places are taken.
    let fill = "for i = 1, 99998 do redis.call('XADD', KEYS[1], '*', 'record', '-') end";
    redis.cli(&["EVAL", fill, "1", STREAM]);
    for n in 0..3 {
        queue.record(usage_record(n)).await.unwrap();
    }
    let shipper = Shipper::new(queue.clone(), stream.clone());
    assert_eq!(shipper.step().await, Err(PortError::Full));
    assert_eq!(queue.waiting(), 1);
    assert_eq!(stream.record(usage_record(9)).await, Err(PortError::Full));
    redis.cli(&["DEL", STREAM]);
    assert_eq!(shipper.step().await, Ok(1));
    assert_eq!(stream.take(9).await.unwrap().records[0].1, usage_record(2));
}

#[tokio::test]
async fn each_record_is_lent_to_one_and_a_dead_ones_are_taken_over() {
    let redis = Redis::start().await;
    let link = redis.link().await;
    let one = RedisUsage::new(link.clone(), "one");
    let other = RedisUsage::new(link, "other");
    for n in 0..4 {
        one.record(usage_record(n)).await.unwrap();
    }
    let ones = one.take(2).await.unwrap();
    let others = other.take(9).await.unwrap();
    assert_eq!((ones.len(), others.len()), (2, 2));
    let backlog = one.backlog().await.unwrap();
    let oldest_at = i64::try_from(ones.records[0].0.0).ok().map(UnixMillis);
    assert_eq!(backlog, Backlog { waiting: 4, lent: 4, oldest_at });
    assert!(ones.records[0].0 < others.records[0].0);
    other.acknowledge(&others.records.iter().map(|(receipt, _)| *receipt).collect::<Vec<_>>()).await.unwrap();
    assert!(other.take(9).await.unwrap().is_empty(), "the first one may still be at it");
    // The first one was last seen two minutes ago.
    for (receipt, _) in &ones.records {
        let id = format!("{}-{}", receipt.0, receipt.1);
        redis.cli(&["XCLAIM", STREAM, "books", "one", "0", &id, "IDLE", "120000", "JUSTID"]);
    }
    assert_eq!(other.take(9).await.unwrap(), ones);
    assert!(one.take(9).await.unwrap().is_empty(), "they are not its any more");
}

#[tokio::test]
async fn what_is_no_record_is_told_apart() {
    let redis = Redis::start().await;
    let stream = RedisUsage::new(redis.link().await, "admin");
    redis.cli(&["XADD", STREAM, "*", "record", "{\"schema\":1}"]);
    let mut later = serde_json::to_value(usage_record(1)).unwrap();
    later["schema"] = 99.into();
    redis.cli(&["XADD", STREAM, "*", "record", &later.to_string()]);
    stream.record(usage_record(2)).await.unwrap();
    let lent = stream.take(9).await.unwrap();
    assert_eq!(lent.records.iter().map(|(_, record)| record).collect::<Vec<_>>(), [&usage_record(2)]);
    assert_eq!(lent.unreadable.len(), 2);
    assert_eq!(lent.unreadable[1].1, later.to_string());
}
