//! A stop: the balancer is told first, the listener closes later, and whoever came before that is served.

use crate::harness::{Gateway, Shape, message};
use crate::load::{Load, short};
use crate::process::{GATEWAY, Process};
use rustix::process::Signal;
use testbed::eventually;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn draining(shape: &Shape, name: &str, delay_secs: &str) -> Gateway {
    let mut command = shape.command(GATEWAY, name);
    command.env("DRAIN_DELAY_SECS", delay_secs);
    Gateway::up(Process::start(command)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_on_its_way_out_says_so_at_once_and_serves_newcomers_until_the_delay_is_over() {
    let shape = Shape::new().await;
    let admin = shape.admin("admin").await;
    // The delay of one ends by itself, that of the other never in this test's time.
    let mut brief = draining(&shape, "brief", "1").await;
    let mut patient = draining(&shape, "patient", "600").await;
    admin.make_provider(&shape).await;
    let (_, secret) = admin.make_seat("Ada").await;
    admin.in_force_on(2).await;

    for gateway in [&brief, &patient] {
        gateway.process.signal(Signal::TERM);
    }
    eventually("it says so", || async { patient.ops.get("/ready").await.status == 503 }).await;
    assert_eq!(patient.ops.get("/ready").await.text, "draining\n");
    let load = Load::start(&patient.seats, &secret, 4, &short());
    for _ in 0..10 {
        let answer = patient.ask(&secret).await;
        assert_eq!((answer.status, answer.header("connection")), (200, "close"), "and no connection is kept");
    }
    assert!(load.end().await >= 4);

    let (status, log) = brief.process.ended().await;
    assert!(status.success(), "{log:#?}");
    // Who interrupts it does not want to wait.
    patient.process.signal(Signal::INT);
    let (status, log) = patient.process.ended().await;
    assert!(status.success(), "{log:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_was_accepted_before_the_listener_closed_is_served() {
    let shape = Shape::new().await;
    let admin = shape.admin("admin").await;
    let mut gateway = shape.gateway("gateway").await;
    admin.make_provider(&shape).await;
    let (_, secret) = admin.make_seat("Ada").await;
    gateway.answers(&secret, 200).await;
    let address = gateway.seats.address();

    let mut early = TcpStream::connect(address).await.unwrap();
    // They are accepted in order: who came after it has been answered.
    assert_eq!(gateway.ask(&secret).await.status, 200);
    gateway.process.signal(Signal::TERM);
    eventually("the listener closes", || async { TcpStream::connect(address).await.is_err() }).await;

    let body = message(true).to_string();
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: hub\r\nx-api-key: {secret}\r\nanthropic-version: 2023-06-01\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    early.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let mut answer = String::new();
    early.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("event: message_stop"), "{answer}");
    let (status, log) = gateway.process.ended().await;
    assert!(status.success(), "{log:#?}");
}
