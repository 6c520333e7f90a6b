//! The split shape as a whole: a change arrives everywhere, and nothing that goes away takes the seats with it.

use crate::halves::{Admin, Gateway};
use crate::redis::{Redis, eventually};
use serde_json::json;
use simulator::{Simulator, SimulatorConfig};
use std::time::Duration;

const FOR_DAYS: Duration = Duration::from_secs(86_400);

async fn upstream() -> Simulator {
    Simulator::start(SimulatorConfig::default()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_in_force_on_every_gateway_whichever_admin_made_it() {
    let (redis, directory, upstream) = (Redis::start().await, tempfile::tempdir().unwrap(), upstream().await);
    let one = Admin::start(&redis, directory.path(), "one").await;
    let other = Admin::start(&redis, directory.path(), "other").await;
    let gateways = [Gateway::start(&redis).await, Gateway::start(&redis).await];
    let provider = one.make_provider(&upstream.base_url()).await;
    let (key_id, secret) = other.make_seat("Ada").await;
    one.in_force_on(2).await;
    for gateway in &gateways {
        assert_eq!(gateway.ask(&secret).await.status, 200);
        assert_eq!(gateway.ops("/ready").await.text, "ready\n");
    }
    // Their usage is in the books, each once.
    eventually("two log rows", || async {
        one.get("/api/v1/logs").await["items"].as_array().unwrap().len() == 2
    })
    .await;

    let revoked = one.set_enabled(key_id, false).await;
    assert_eq!(revoked.headers["x-config-published"], "true");
    for gateway in &gateways {
        gateway.answers(&secret, 401).await;
    }
    other.set_enabled(key_id, true).await;
    let path = format!("/api/v1/providers/{}", provider["id"]);
    other.client().patch(&path, json!({ "is_enabled": false })).await;
    other.in_force_on(2).await;
    for gateway in gateways {
        assert_eq!(gateway.ask(&secret).await.status, 503);
        gateway.stop().await;
    }
    let left = one.get("/api/v1/nodes").await;
    assert_eq!(left["total"], 0, "who ends says so: {left}");
    one.handle.stop().await.unwrap();
    other.handle.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_announcement_is_healed() {
    let (redis, directory, upstream) = (Redis::start().await, tempfile::tempdir().unwrap(), upstream().await);
    let admin = Admin::start(&redis, directory.path(), "admin").await;
    let gateway = Gateway::start(&redis).await;
    admin.make_provider(&upstream.base_url()).await;
    let (key_id, secret) = admin.make_seat("Ada").await;
    gateway.answers(&secret, 200).await;
    redis.door.set_deaf(true);
    admin.set_enabled(key_id, false).await;
    gateway.answers(&secret, 401).await;
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seats_are_served_while_redis_is_away_and_it_catches_up_when_it_is_back_empty() {
    let (mut redis, directory, upstream) =
        (Redis::start().await, tempfile::tempdir().unwrap(), upstream().await);
    let admin = Admin::start(&redis, directory.path(), "admin").await;
    let gateway = Gateway::start(&redis).await;
    admin.make_provider(&upstream.base_url()).await;
    let (key_id, secret) = admin.make_seat("Ada").await;
    gateway.answers(&secret, 200).await;
    let served = || async { assert_eq!(gateway.ask(&secret).await.status, 200) };
    redis.pause();
    for _ in 0..10 {
        served().await;
    }
    redis.resume();
    redis.kill();
    for _ in 0..10 {
        served().await;
    }
    let changed = admin.set_enabled(key_id, false).await;
    assert_eq!((changed.status, changed.headers["x-config-published"].as_bytes()), (200, &b"false"[..]));
    for path in ["/api/v1/nodes", "/api/v1/requests/in-flight"] {
        admin.client().get(path).await.expect_problem(503, "nodes_unavailable");
    }
    served().await;
    assert!(gateway.unbooked().await > 0, "usage waits in the gateway");
    redis.start_server();
    gateway.answers(&secret, 401).await;
    admin.in_force_on(1).await;
    eventually("usage is booked", || async { gateway.unbooked().await == 0 }).await;
    // Redis keeps nothing here: what it had when it ended was sent again.
    let items = admin.get("/api/v1/logs").await["items"].as_array().unwrap().clone();
    let served = items.iter().filter(|row| row["status"] == 200).count();
    assert!(served >= 22, "{served}");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_starts_from_its_disk_when_nobody_is_there_but_not_for_ever() {
    let (mut redis, directory, upstream) =
        (Redis::start().await, tempfile::tempdir().unwrap(), upstream().await);
    let file = directory.path().join("config.snapshot");
    let admin = Admin::start(&redis, directory.path(), "admin").await;
    let gateway = Gateway::start_with(&redis, Some(file.clone()), FOR_DAYS).await;
    admin.make_provider(&upstream.base_url()).await;
    let (_, secret) = admin.make_seat("Ada").await;
    gateway.answers(&secret, 200).await;
    gateway.stop().await;
    admin.handle.stop().await.unwrap();
    redis.kill();

    let gateway = Gateway::start_with(&redis, Some(file.clone()), FOR_DAYS).await;
    assert_eq!(gateway.ask(&secret).await.status, 200);
    assert_eq!(gateway.ops("/ready").await.status, 200);
    gateway.handle.stop().await;

    let gateway = Gateway::start_with(&redis, Some(file), Duration::ZERO).await;
    let refused = gateway.ask(&secret).await;
    assert_eq!((refused.status, refused.headers["x-should-retry"].as_bytes()), (503, &b"true"[..]));
    let body = refused.json();
    assert_eq!((&body["type"], &body["error"]["type"]), (&json!("error"), &json!("api_error")), "{body}");
    assert!(gateway.ops("/ready").await.text.starts_with("config_stale"));
    assert_eq!(gateway.ops("/ready").await.status, 503);
    gateway.handle.stop().await;

    // Nothing kept, nobody there: it says so, and that it may help to try again.
    let gateway = Gateway::start(&redis).await;
    assert_eq!(gateway.ask(&secret).await.status, 503);
    assert_eq!(gateway.ops("/ready").await.text, "waiting for the first configuration\n");
    gateway.handle.stop().await;
}
