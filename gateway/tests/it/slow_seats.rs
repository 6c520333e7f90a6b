//! A seat that stops reading is let go, its stream is booked as that of one that left, and nobody holds for it what it
//! does not take.

use crate::harness::{Hub, PATIENCE, claude, message};
use http_body_util::Full;
use shared::contract::usage::{ChainStep, Outcome, UsageRecord};
use shared::model::ClientAbort;
use shared::testing;
use simulator::{Ending, Script, Simulator, SimulatorConfig};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seat_that_stops_reading_is_let_go_and_its_stream_drained_and_booked() {
    let (hub, upstream) = hub_with(ClientAbort::Drain).await;
    let seat = stopped_reading(&hub).await;
    let record = booked_late(&hub).await;
    let answer = upstream.served().remove(0).answer;
    assert_eq!((answer.ended, answer.client_left), (Ending::Completed, false));
    let row = &record.attempts[0];
    assert_eq!(row.outcome, Outcome::Drained);
    assert_eq!(ended(&record), "drained");
    assert_eq!(row.usage.output_tokens, answer.told.unwrap().output);
    assert!(!row.flags.is_estimate);
    assert_eq!(record.request.error.as_deref(), Some("client_closed"));
    is_let_go(seat).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_seat_does_not_read_is_not_read_for_it_and_a_provider_set_to_cancel_is_closed() {
    let (hub, upstream) = hub_with(ClientAbort::Cancel).await;
    let seat = stopped_reading(&hub).await;
    let record = booked_late(&hub).await;
    let row = &record.attempts[0];
    assert_eq!(row.outcome, Outcome::Cancelled);
    assert_eq!(ended(&record), "cancelled");
    assert!(row.flags.is_estimate);
    assert!(row.usage.input_tokens > 0, "message_start told the input");
    assert_eq!(record.request.error.as_deref(), Some("client_closed"));
    let until = Instant::now() + PATIENCE;
    let answer = loop {
        let answer = upstream.served().remove(0).answer;
        if answer.ended.is_over() {
            break answer;
        }
        assert!(Instant::now() < until, "the provider notices in time");
        tokio::task::yield_now().await;
    };
    assert_eq!(answer.ended, Ending::ClientGone);
    assert!(answer.body_bytes < SOCKETS_HOLD, "{} bytes were read for nobody", answer.body_bytes);
    is_let_go(seat).await;
}

#[tokio::test]
async fn a_seat_that_reads_may_take_longer_than_that_for_a_whole_stream() {
    let (hub, upstream) = hub_with(ClientAbort::Cancel).await;
    let events = 12;
    upstream.set_script(Script { events: Some(events), spacing_ms: 150, ..Script::default() });
    let began = Instant::now();
    let request = hub.request("/v1/messages").body(Full::new(message(true).into())).unwrap();
    let answer = hub.send(request).await;
    assert!(began.elapsed() > DEADLINE, "{:?}", began.elapsed());
    assert!(answer.text().contains("event: message_stop"));
    assert_eq!(hub.records(1).await[0].attempts[0].outcome, Outcome::Served);
}

/// A gateway in front of a provider with more to say than sockets hold.
async fn hub_with(client_abort: ClientAbort) -> (Hub, Simulator) {
    let script = Script {
        events: Some(256),
        text_bytes: Some(STREAM_BYTES),
        drip: NonZeroUsize::new(64 << 10),
        ..Script::default()
    };
    let config =
        SimulatorConfig { default_script: script, digest_bodies: false, ..SimulatorConfig::default() };
    let upstream = Simulator::start(config).await.expect("a simulator starts");
    let mut provider = claude(1, &upstream.base_url());
    provider.client_abort = client_abort;
    let snapshot = testing::snapshot(vec![provider]);
    let hub = Hub::start_as(snapshot, |config| config.write_deadline = DEADLINE).await;
    (hub, upstream)
}

/// A seat that asked for a stream, saw it begin, and reads no more.
async fn stopped_reading(hub: &Hub) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    let mut seat = socket.connect(hub.handle.address).await.unwrap();
    let (body, secret) = (message(true), testing::client_secret(1));
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: hub\r\nx-api-key: {secret}\r\ncontent-type: application/json\r\n\
         anthropic-version: 2023-06-01\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    seat.write_all((head + &body).as_bytes()).await.unwrap();
    let mut first = [0; 15];
    timeout(PATIENCE, seat.read_exact(&mut first)).await.expect("an answer in time").unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    seat
}

/// The one record, which nobody writes before the seat had its time.
async fn booked_late(hub: &Hub) -> UsageRecord {
    let began = Instant::now();
    let record = hub.records(1).await.remove(0);
    assert!(began.elapsed() >= DEADLINE / 2, "it was given up after {:?}", began.elapsed());
    record
}

/// How the chain says that its last attempt ended.
fn ended(record: &UsageRecord) -> &str {
    let mut steps = record.request.decision_chain.steps.iter().rev();
    let attempted = steps.find_map(|step| match step {
        ChainStep::Attempted { result, .. } => Some(result.as_str()),
        _ => None,
    });
    attempted.expect("an attempt")
}

/// What the sockets still had arrives, and then the end of the connection, not of the stream.
async fn is_let_go(mut seat: TcpStream) {
    let mut rest = Vec::new();
    let mut piece = vec![0; 64 << 10];
    loop {
        match timeout(PATIENCE, seat.read(&mut piece)).await.expect("an end in time") {
            Ok(0) | Err(_) => break,
            Ok(length) => rest.extend_from_slice(&piece[..length]),
        }
    }
    assert!(rest.len() < STREAM_BYTES);
    assert!(!String::from_utf8_lossy(&rest).contains("message_stop"));
}

const DEADLINE: Duration = Duration::from_secs(1);
const STREAM_BYTES: usize = 96 << 20;
/// More than the kernel lets the four ends of two connections grow to, and half of the stream.
const SOCKETS_HOLD: u64 = 48 << 20;
