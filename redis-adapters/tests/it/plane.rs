//! The configuration between publishers and readers: several of each, lost data, lost messages, broken documents.

use crate::redis::{Linked, Redis, eventually};
use redis_adapters::{RedisFeed, RedisPublisher};
use shared::contract::snapshot::Snapshot;
use shared::ids::Revision;
use shared::ports::{ConfigFeed, ConfigNews, PortError, Publisher};
use shared::testing::{key_doc, provider, snapshot};

fn at(revision: u64) -> Snapshot {
    let mut made = snapshot(vec![provider(1)]);
    made.revision = Revision(revision);
    made.principals.keys = (1..30).map(|id| key_doc(id, 1)).collect();
    // Every revision differs from the one before in one key.
    made.principals.keys[0].name = format!("revision {revision}");
    made
}

#[tokio::test]
async fn two_publishers_take_turns_by_deltas_alone() {
    let redis = Redis::start().await;
    let link = redis.link().await;
    let (one, other) = (RedisPublisher::new(link.clone()), RedisPublisher::new(link.clone()));
    let feed = RedisFeed::open(&redis.config(), link).unwrap();
    one.publish(at(1)).await.unwrap();
    let mut reader = at(1);
    for revision in 2..8 {
        let publisher = if revision % 2 == 0 { &other } else { &one };
        publisher.publish(at(revision)).await.unwrap();
        match feed.read(Some(reader.revision)).await.unwrap() {
            ConfigNews::Deltas(deltas) => deltas.into_iter().for_each(|delta| {
                assert_eq!((delta.from, delta.principals.keys.len()), (reader.revision, 1));
                reader.apply(delta);
            }),
            other => panic!("{other:?}"),
        }
        assert_eq!(reader, at(revision));
        assert_eq!(one.publish(at(revision)).await, Err(PortError::Stale));
    }
}

#[tokio::test]
async fn publishers_at_once_end_with_the_newest() {
    let redis = Redis::start().await;
    let link = redis.link().await;
    let mut racers = tokio::task::JoinSet::new();
    for racer in 0..4_u64 {
        let publisher = RedisPublisher::new(link.clone());
        racers.spawn(async move {
            for step in 0..10 {
                match publisher.publish(at(1 + step * 4 + racer)).await {
                    Ok(()) | Err(PortError::Stale | PortError::Unavailable) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
    }
    racers.join_all().await;
    let last = RedisPublisher::new(link.clone());
    let _ = last.publish(at(40)).await;
    assert_eq!(last.published().await, Ok(Some(Revision(40))));
    let feed = RedisFeed::open(&redis.config(), link).unwrap();
    assert_eq!(feed.read(None).await.unwrap(), ConfigNews::Whole(at(40).into()));
}

#[tokio::test]
async fn a_flushed_redis_is_filled_again_and_readers_need_nothing() {
    let redis = Redis::start().await;
    let link = redis.link().await;
    let publisher = RedisPublisher::new(link.clone());
    let feed = RedisFeed::open(&redis.config(), link).unwrap();
    publisher.publish(at(5)).await.unwrap();
    redis.cli(&["FLUSHALL"]);
    assert_eq!(publisher.published().await, Ok(None));
    assert_eq!(feed.read(Some(Revision(5))).await, Ok(ConfigNews::Nothing));
    publisher.publish(at(5)).await.unwrap();
    assert_eq!(feed.read(Some(Revision(5))).await, Ok(ConfigNews::Level(Revision(5))));
    // Only the core was evicted: that counts as nothing as well.
    redis.cli(&["DEL", "cch:{cfg}:core"]);
    assert_eq!(publisher.published().await, Ok(None));
    publisher.publish(at(6)).await.unwrap();
    assert_eq!(feed.read(Some(Revision(4))).await.unwrap(), ConfigNews::Whole(at(6).into()));
}

#[tokio::test]
async fn a_redis_that_lost_its_newest_revisions_is_led_on_from_where_it_stands() {
    let redis = Redis::start().await;
    let link = redis.link().await;
    let (ours, theirs) = (RedisPublisher::new(link.clone()), RedisPublisher::new(link.clone()));
    ours.publish(at(3)).await.unwrap();
    // As after a failover to a replica that was behind.
    redis.cli(&["FLUSHALL"]);
    theirs.publish(at(2)).await.unwrap();
    ours.publish(at(4)).await.unwrap();
    let feed = RedisFeed::open(&redis.config(), link).unwrap();
    match feed.read(Some(Revision(2))).await.unwrap() {
        ConfigNews::Deltas(deltas) => assert_eq!((deltas[0].from, deltas[0].to), (Revision(2), Revision(4))),
        other => panic!("{other:?}"),
    }
    // From what was lost nothing leads on: the whole.
    assert_eq!(feed.read(Some(Revision(3))).await.unwrap(), ConfigNews::Whole(at(4).into()));
}

#[tokio::test]
async fn what_is_broken_is_not_believed_and_is_written_anew() {
    let redis = Redis::start().await;
    let link = redis.link().await;
    let publisher = RedisPublisher::new(link.clone());
    let feed = RedisFeed::open(&redis.config(), link.clone()).unwrap();
    publisher.publish(at(1)).await.unwrap();
    redis.cli(&["SET", "cch:{cfg}:core", "broken"]);
    assert_eq!(feed.read(None).await, Err(PortError::Unreadable));
    // A publisher that knows nothing of it finds it broken as well.
    RedisPublisher::new(link).publish(at(2)).await.unwrap();
    assert_eq!(feed.read(None).await.unwrap(), ConfigNews::Whole(at(2).into()));
    redis.cli(&["HSET", "cch:{cfg}:head", "schema", "99"]);
    assert_eq!(feed.read(None).await, Err(PortError::Unreadable));
}

#[tokio::test]
async fn a_cut_connection_counts_as_an_announcement() {
    let redis = Redis::start().await;
    let link = redis.link().await;
    let publisher = RedisPublisher::new(link.clone());
    let feed = RedisFeed::open(&redis.config(), link).unwrap();
    publisher.publish(at(1)).await.unwrap();
    eventually("everything announced so far is seen", || async {
        feed.read(None).await.unwrap();
        tokio::time::timeout(std::time::Duration::from_millis(300), feed.changed(None)).await.is_err()
    })
    .await;
    redis.door.cut();
    feed.changed(None).await;
}
