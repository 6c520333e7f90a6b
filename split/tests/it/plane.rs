//! Changes arrive on every gateway, whatever happens to who made them.

use crate::harness::Shape;
use crate::process::GATEWAY;
use crate::process::Process;
use serde_json::json;
use testbed::{Client, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_in_force_on_both_gateways_and_says_so() {
    let shape = Shape::new().await;
    let (one, other) = tokio::join!(shape.admin("one"), shape.admin("other"));
    let mut gateways = [shape.gateway("a").await, shape.gateway("b").await];
    let provider = one.make_provider(&shape).await;
    let (key_id, secret) = other.make_seat("Ada").await;
    one.in_force_on(2).await;
    for gateway in &gateways {
        assert_eq!(gateway.ask(&secret).await.status, 200);
    }
    one.logs(2).await;

    let revoked = one.set_enabled(key_id, false).await;
    assert_eq!(revoked.headers["x-config-published"], "true");
    other.in_force_on(2).await;
    for gateway in &gateways {
        assert_eq!(gateway.ask(&secret).await.status, 401);
    }
    other.set_enabled(key_id, true).await;
    let path = format!("/api/v1/providers/{}", provider["id"]);
    other.api.patch(&path, json!({ "is_enabled": false })).await;
    one.in_force_on(2).await;
    for gateway in &mut gateways {
        assert_eq!(gateway.ask(&secret).await.status, 503);
        gateway.process.stop().await;
    }
    assert_eq!(one.get("/api/v1/nodes").await["total"], 0, "who ends says so");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_an_admin_that_was_killed_before_it_published_is_published_by_another_or_the_next() {
    let shape = Shape::new().await;
    let (mut one, mut other) = tokio::join!(shape.admin("one"), shape.admin("other"));
    let gateway = shape.gateway("gateway").await;
    one.make_provider(&shape).await;
    let (key_id, secret) = one.make_seat("Ada").await;
    gateway.answers(&secret, 200).await;

    // Committed, and nowhere to publish to.
    shape.redis.pause();
    let changed = one.set_enabled(key_id, false).await;
    assert_eq!((changed.status, changed.headers["x-config-published"].as_bytes()), (200, &b"false"[..]));
    one.process.kill().await;
    shape.redis.resume();
    gateway.answers(&secret, 401).await;

    shape.redis.pause();
    assert_eq!(other.set_enabled(key_id, true).await.status, 200);
    other.process.kill().await;
    shape.redis.resume();
    let next = shape.admin("one").await;
    gateway.answers(&secret, 200).await;
    next.in_force_on(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_starts_from_its_disk_with_everything_else_away() {
    let mut shape = Shape::new().await;
    let mut admin = shape.admin("admin").await;
    let mut gateway = shape.gateway("gateway").await;
    admin.make_provider(&shape).await;
    let (_, secret) = admin.make_seat("Ada").await;
    gateway.answers(&secret, 200).await;
    gateway.process.stop().await;
    admin.process.kill().await;
    shape.redis.kill();
    shape.postgres.stop_server();

    let gateway = shape.gateway("gateway").await;
    assert_eq!(gateway.ask(&secret).await.status, 200);
    assert_eq!(gateway.ops.get("/ready").await.status, 200);
    // A directory that another start left nothing in: it listens, refuses, and says why.
    let mut other = Process::start(shape.command(GATEWAY, "other"));
    let up = other.says("gateway is up").await;
    let ready = Client::new(up["ops"].as_str().unwrap().parse().unwrap()).get("/ready").await;
    assert_eq!((ready.status, &*ready.text), (503, "waiting for the first configuration\n"));

    // Everything comes back: what was served meanwhile is booked.
    shape.redis.start_server();
    shape.postgres.start_server();
    let admin = shape.admin("admin").await;
    eventually("the request is in the log", || async {
        let rows = admin.api.get("/api/v1/logs").await;
        rows.status == 200 && !rows.json()["items"].as_array().unwrap().is_empty()
    })
    .await;
    admin.in_force_on(2).await;
}
