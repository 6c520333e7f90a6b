//! Redis and Postgres go away under running streams: no seat notices.

use crate::harness::Shape;
use testbed::eventually;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_stream_fails_while_redis_is_flushed_paused_stopped_and_back_empty() {
    let mut shape = Shape::new().await;
    let admin = shape.admin("admin").await;
    let gateway = shape.gateway("gateway").await;
    admin.make_provider(&shape).await;
    let (key_id, secret) = admin.make_seat("Ada").await;
    let (other_id, other) = admin.make_seat("Bea").await;
    gateway.answers(&secret, 200).await;
    admin.in_force_on(1).await;
    let load = gateway.load(&secret, 6);

    shape.redis.cli(&["FLUSHALL"]);
    admin.set_enabled(other_id, false).await;
    gateway.answers(&other, 401).await;
    shape.redis.pause();
    let changed = admin.set_enabled(other_id, true).await;
    assert_eq!(changed.headers["x-config-published"], "false");
    shape.redis.resume();
    gateway.answers(&other, 200).await;
    shape.redis.kill();
    admin.set_enabled(other_id, false).await;
    assert_eq!(gateway.ask(&other).await.status, 200, "nobody could tell it");
    shape.redis.start_server();
    gateway.answers(&other, 401).await;
    admin.in_force_on(1).await;

    assert!(load.end().await >= 6);
    assert_eq!(admin.set_enabled(key_id, false).await.status, 200);
    gateway.answers(&secret, 401).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_stream_fails_while_postgres_is_away_and_all_are_booked_when_it_is_back() {
    let mut shape = Shape::new().await;
    let admin = shape.admin("admin").await;
    let mut gateway = shape.gateway("gateway").await;
    admin.make_provider(&shape).await;
    let (key_id, secret) = admin.make_seat("Ada").await;
    gateway.answers(&secret, 200).await;
    let before = shape.upstream.served().len();
    let load = gateway.load(&secret, 4);
    shape.postgres.stop_server();
    eventually("it says so", || async { admin.api.get("/api/v1/health/ready").await.status == 503 }).await;
    let refused = admin.set_enabled(key_id, false).await;
    assert!(refused.status >= 500, "{refused:?}");
    eventually("some streams are served", || async { shape.upstream.served().len() >= before + 12 }).await;
    shape.postgres.start_server();
    eventually("it works again", || async { admin.set_enabled(key_id, true).await.status == 200 }).await;
    let served = load.end().await + before;
    gateway.process.stop().await;
    eventually("all are booked, each once", || async {
        let count = shape.postgres.sql("hub", "SELECT count(*) FROM request_log");
        count.trim().parse::<usize>().unwrap() == served
    })
    .await;
}
