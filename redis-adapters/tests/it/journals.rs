//! From a journal into the books over a real Redis that loses things, with two consumers and one that never answers.

use crate::redis::{Linked, Redis, named};
use admin_api::config::DatabaseUrl;
use admin_api::jobs::consume::Consumer;
use admin_api::repo::db::Db;
use admin_api::service::ledger_check::check;
use redis_adapters::RedisUsage;
use shared::contract::keys::usage_journal;
use shared::ports::{Progress, UsageSource, UsageStream};
use shared::testing::conformance::{batch, journal};

const COUNT: u64 = 200;

#[tokio::test]
async fn whatever_redis_loses_each_record_is_booked_once() {
    let redis = Redis::start().await;
    let directory = tempfile::tempdir().unwrap();
    let url = DatabaseUrl::Sqlite(directory.path().join("hub.sqlite"));
    let db = Db::open(&url, 2, true).await.unwrap();
    let link = redis.link().await;
    let stream = RedisUsage::taken_by(link.clone(), named("gateway"));
    let consumers = ["one", "other"]
        .map(|name| Consumer::new(db.clone(), RedisUsage::taken_by(link.clone(), named(name))));
    let dead = RedisUsage::taken_by(link.clone(), named("dead"));
    let hash = usage_journal(journal(1));
    let (mut told, mut booked, mut taken) = (Progress::default(), 0, 0);
    for round in 0..200 {
        // The journal: holds all above its watermark, sends ten by what it was told last.
        let upto = (told.taken + 10).min(COUNT);
        told = stream.append(batch(journal(1), told.watermark, told.taken + 1..=upto)).await.unwrap();
        if told.watermark == COUNT {
            break;
        }
        // What this one takes is booked by nobody.
        let lost: Option<&[&str]> = match round {
            4 => Some(&["DEL", "cch:{usage}:stream"]),
            8 => Some(&["FLUSHALL"]),
            12 => Some(&["DEL", &hash]),
            16 => Some(&["XTRIM", "cch:{usage}:stream", "MAXLEN", "0"]),
            _ => None,
        };
        if let Some(command) = lost {
            assert!(!dead.take(3).await.unwrap().is_empty());
            redis.cli(command);
        }
        let done = consumers[round % 2].step().await.unwrap();
        booked += done.booked.requests;
        taken += done.records;
    }
    assert_eq!(told, Progress { taken: COUNT, watermark: COUNT });
    assert_eq!(booked as u64, COUNT);
    assert!(taken as u64 >= COUNT);
    assert_eq!(check(&db, |difference| panic!("{difference}")).await.unwrap(), 0);
    db.close().await.unwrap();
}
