//! The binary swap: a successor takes the listeners over, and no seat notices.

use crate::harness::{Gateway, Shape, message};
use crate::process::{GATEWAY, Process};
use http_body_util::BodyExt;
use rustix::process::Signal;
use simulator::Script;
use testbed::PATIENCE;
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_takes_over_without_a_refused_connection_or_a_cut_stream() {
    let shape = Shape::new().await;
    let admin = shape.admin("admin").await;
    let mut old = shape.gateway("gateway").await;
    admin.make_provider(&shape).await;
    let (_, secret) = admin.make_seat("Ada").await;
    old.answers(&secret, 200).await;

    // Streams that began before the swap and end long after it.
    shape.upstream.set_script(Script { events: Some(200), spacing_ms: 30, ..Script::default() });
    let mut running = Vec::new();
    for _ in 0..40 {
        let mut answer = old.open(&secret, &message(true)).await;
        assert_eq!(answer.status(), 200);
        answer.body_mut().frame().await.unwrap().unwrap();
        running.push(answer);
    }
    let load = old.load(&secret, 6);

    let mut command = shape.command(GATEWAY, "gateway");
    command.arg("--upgrade");
    let mut new = Process::start(command);
    new.says("waiting for the listeners").await;
    old.process.signal(Signal::QUIT);
    let new = Gateway::up(new).await;
    assert_eq!(new.addresses(), old.addresses());
    old.process.says("the successor serves").await;
    for _ in 0..20 {
        assert_eq!(new.ops.get("/ready").await.status, 200);
    }
    for answer in running {
        let rest = timeout(PATIENCE, answer.into_body().collect())
            .await
            .unwrap()
            .expect("a whole stream")
            .to_bytes();
        assert!(String::from_utf8_lossy(&rest).contains("event: message_stop"));
    }
    let (status, log) = old.process.ended().await;
    assert!(status.success(), "{log:#?}");
    assert!(load.end().await >= 6);
    assert_eq!(new.ask(&secret).await.status, 200);
    admin.in_force_on(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_successor_that_serves_the_gateway_goes_on() {
    let shape = Shape::new().await;
    let mut gateway = shape.gateway("gateway").await;
    gateway.process.signal(Signal::QUIT);
    gateway.process.says("no successor (cch-gateway --upgrade) waits").await;
    assert_eq!(gateway.ops.get("/live").await.status, 200);

    // A successor that ends before it was given anything leaves the door; the next one clears it.
    let upgrade = || {
        let mut command = shape.command(GATEWAY, "gateway");
        command.arg("--upgrade");
        Process::start(command)
    };
    let mut dead = upgrade();
    dead.says("waiting for the listeners").await;
    dead.kill().await;
    let mut new = upgrade();
    new.says("waiting for the listeners").await;
    gateway.process.signal(Signal::QUIT);
    let new = Gateway::up(new).await;
    assert_eq!(new.addresses(), gateway.addresses());
    let (status, log) = gateway.process.ended().await;
    assert!(status.success(), "{log:#?}");
    assert_eq!(new.ops.get("/live").await.status, 200);
}
