//! Figures of the configuration plane, printed and not asserted. By hand:
//! `cargo test --release -p redis-adapters measured -- --ignored --nocapture --test-threads 1`.

use crate::halves::{Admin, Gateway};
use crate::redis::{Linked, Redis, eventually};
use redis_adapters::{RedisFeed, RedisPublisher};
use shared::contract::snapshot::Snapshot;
use shared::ids::Revision;
use shared::model::price::ModelPrice;
use shared::ports::{ConfigFeed, Publisher};
use shared::testing::{key_doc, provider, snapshot, user_doc};
use simulator::{Simulator, SimulatorConfig};
use std::time::Instant;
use testbed::Times;

async fn revision(gateway: &Gateway) -> u64 {
    let page = gateway.ops("/metrics").await.text;
    let line = page.lines().find(|line| line.starts_with("cch_config_revision ")).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures; run it by hand"]
async fn how_long_a_change_takes() {
    let (redis, directory) = (Redis::start().await, tempfile::tempdir().unwrap());
    let admin = Admin::start(&redis, directory.path(), "admin").await;
    let gateways = [Gateway::start(&redis).await, Gateway::start(&redis).await];
    let (key_id, _) = admin.make_seat("Ada").await;
    admin.in_force_on(2).await;
    let (mut answered, mut everywhere) = (Vec::new(), Vec::new());
    for n in 0..200 {
        let began = Instant::now();
        let changed = admin.set_enabled(key_id, n % 2 == 0).await;
        answered.push(began.elapsed());
        let Some(wanted) = changed.headers.get("x-config-revision") else { continue };
        let wanted: u64 = wanted.to_str().unwrap().parse().unwrap();
        for gateway in &gateways {
            eventually("in force", || async { revision(gateway).await >= wanted }).await;
        }
        everywhere.push(began.elapsed());
    }
    println!("a change is answered after: {}", Times::of(answered));
    println!("a change is in force on two gateways after: {}", Times::of(everywhere));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures; run it by hand"]
async fn what_seats_feel_of_an_absent_redis() {
    let mut redis = Redis::start().await;
    let directory = tempfile::tempdir().unwrap();
    let upstream = Simulator::start(SimulatorConfig::default()).await.unwrap();
    let admin = Admin::start(&redis, directory.path(), "admin").await;
    let gateway = Gateway::start(&redis).await;
    admin.make_provider(&upstream.base_url()).await;
    let (_, secret) = admin.make_seat("Ada").await;
    gateway.answers(&secret, 200).await;
    let asked = || async {
        let mut times = Vec::new();
        for _ in 0..1_000 {
            let began = Instant::now();
            assert_eq!(gateway.ask(&secret).await.status, 200);
            times.push(began.elapsed());
        }
        times
    };
    println!("a request with Redis: {}", Times::of(asked().await));
    redis.pause();
    println!("a request with Redis paused: {}", Times::of(asked().await));
    redis.resume();
    redis.kill();
    println!("a request without Redis: {}", Times::of(asked().await));
}

fn large() -> Snapshot {
    let mut made = snapshot((1..=200).map(provider).collect());
    made.core.prices = (0..2_000).map(|n| (format!("model-{n}"), ModelPrice::default())).collect();
    made.principals.users = (1..=2_000).map(user_doc).collect();
    made.principals.keys = (1..=20_000).map(|id| key_doc(id, 1 + id % 2_000)).collect();
    made
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures; run it by hand"]
async fn what_twenty_thousand_keys_cost() {
    let redis = Redis::start().await;
    let link = redis.link().await;
    let publisher = RedisPublisher::new(link.clone());
    let mut newest = large();
    let began = Instant::now();
    publisher.publish(newest.clone()).await.unwrap();
    println!("published whole after {:?}", began.elapsed());
    println!("Redis has {}", redis.cli(&["INFO", "memory"]).lines().nth(2).unwrap_or_default());
    let before = resident_kib();
    let began = Instant::now();
    let gateway = Gateway::start(&redis).await;
    eventually("ready", || async { gateway.ops("/ready").await.status == 200 }).await;
    println!("a gateway is ready after {:?}, with {} KiB more", began.elapsed(), resident_kib() - before);
    let feed = RedisFeed::open(&redis.config(), link).unwrap();
    let mut times = Vec::new();
    for n in 0..100 {
        newest.revision = Revision(newest.revision.0 + 1);
        newest.principals.keys[n * 199].name = format!("changed {n}");
        let began = Instant::now();
        publisher.publish(newest.clone()).await.unwrap();
        times.push(began.elapsed());
    }
    println!("one changed key is published after: {}", Times::of(times));
    let news = feed.read(Some(Revision(newest.revision.0 - 1))).await.unwrap();
    println!("what travels for one changed key: {} bytes of debug text", format!("{news:?}").len());
}
