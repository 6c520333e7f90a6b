//! Same-dialect traffic is byte-identical in both directions, and what passes is counted to the token.

use crate::harness::{Hub, claude, message, sha256, upstream, upstream_with};
use bytes::Bytes;
use futures::StreamExt;
use http_body_util::{Full, StreamBody};
use hyper::body::Frame;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use shared::contract::usage::Outcome;
use shared::testing;
use simulator::{Script, Simulator, SimulatorConfig};
use std::convert::Infallible;

const SIZES: [usize; 3] = [2 << 10, 200 << 10, 32 << 20];

/// A valid body of about `size` bytes with awkward text in it.
fn body_of(size: usize) -> Bytes {
    let text = "a \\\"quoted\\\" line\\n\\u00e9 { [ ünïcode 🦀 ".repeat(size / 48 + 1);
    Bytes::from(format!(
        "{{ \"messages\" : [{{\"role\":\"user\",\"content\":\"{text}\"}}],\n \"x_unknown\": [1.50, null],\
         \"max_tokens\":64, \"model\": \"claude-sonnet-4-5\" }}"
    ))
}

#[tokio::test]
async fn bodies_reach_the_upstream_byte_for_byte_in_every_size_and_framing() {
    let upstream = upstream().await;
    let hub = Hub::start(vec![claude(1, &upstream.base_url())]).await;
    for size in SIZES {
        let body = body_of(size);
        let expected = sha256(&body);
        let answer = hub.post("/v1/messages", body.clone()).await;
        assert_eq!(answer.status, 200, "{size}");

        let pieces: Vec<_> = body.chunks(60_001).map(Bytes::copy_from_slice).collect();
        let frames = futures::stream::iter(pieces).map(|p| Ok::<_, Infallible>(Frame::data(p)));
        let chunked = Client::builder(TokioExecutor::new()).build_http();
        let request = hub.request("/v1/messages").body(StreamBody::new(frames)).unwrap();
        assert_eq!(chunked.request(request).await.unwrap().status(), 200, "{size} chunked");

        let served = upstream.served();
        let last = &served[served.len() - 2..];
        assert!(last.iter().all(|s| s.request.body_sha256.as_deref() == Some(expected.as_str())), "{size}");
        upstream.clear();
    }
}

#[tokio::test]
async fn a_slash_at_the_end_of_the_path_is_not_forwarded() {
    let upstream = upstream().await;
    let hub = Hub::start(vec![claude(1, &upstream.base_url())]).await;
    assert_eq!(hub.post("/v1/messages/?beta=true", message(false)).await.status, 200);
    assert_eq!(upstream.served()[0].request.path, "/v1/messages?beta=true");
}

#[tokio::test]
async fn bodies_and_answers_pass_an_http2_upstream_over_tls_byte_for_byte() {
    let upstream =
        Simulator::start(SimulatorConfig { tls: true, ..SimulatorConfig::default() }).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, upstream.ca_pem().unwrap()).unwrap();
    let base = upstream.base_url();
    let hub = Hub::start_with(testing::snapshot(vec![claude(1, &base)]), Some(ca)).await;
    for size in SIZES {
        upstream.set_script(Script { bytes: Some(size), ..Script::default() });
        let body = body_of(size);
        let answer = hub.post("/v1/messages", body.clone()).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (200, size));
        let served = upstream.served().pop().unwrap();
        assert_eq!(served.request.body_sha256, Some(sha256(&body)), "{size}");
        assert_eq!(served.answer.body_sha256, Some(sha256(&answer.body)), "{size}");
    }
    let served = upstream.served();
    assert!(served.iter().all(|s| s.request.http_version == "HTTP/2.0"), "{served:?}");
    assert_eq!(served[0].connection.id, served[1].connection.id, "the connection is used again");
}

#[tokio::test]
async fn answers_reach_the_seat_byte_for_byte_with_their_unknown_headers() {
    let upstream = upstream().await;
    let hub = Hub::start(vec![claude(1, &upstream.base_url())]).await;
    for (size, chunked) in SIZES.into_iter().flat_map(|size| [(size, false), (size, true)]) {
        let mut script = Script { bytes: Some(size), chunked, ..Script::default() };
        script.headers.insert("x-unknown-thing".into(), "kept".into());
        upstream.set_script(script);
        let request = hub.request("/v1/messages").header("x-novel-header", "kept too");
        let answer = hub.send(request.body(Full::new(Bytes::from(message(false)))).unwrap()).await;
        assert_eq!(answer.headers["x-unknown-thing"], "kept");
        assert_eq!(answer.body.len(), size);
        let served = upstream.served().pop().unwrap();
        assert_eq!(Some(sha256(&answer.body)), served.answer.body_sha256, "{size} chunked: {chunked}");
        assert_eq!(served.request.header("x-novel-header"), Some("kept too"));
        assert_eq!(served.request.header("anthropic-version"), Some("2023-06-01"));
        assert_eq!(served.request.header("x-api-key"), Some("upstream-secret-1"));
    }
}

#[tokio::test]
async fn a_stream_is_relayed_byte_for_byte_and_counted_to_the_token() {
    for gzip in [false, true] {
        let upstream = upstream_with(Script { gzip, events: Some(40), ..Script::default() }).await;
        let hub = Hub::start(vec![claude(1, &upstream.base_url())]).await;
        let answer = hub.post("/v1/messages", message(true)).await;
        assert_eq!(answer.status, 200);
        let served = upstream.served().remove(0);
        assert_eq!(Some(sha256(&answer.body)), served.answer.body_sha256, "gzip: {gzip}");
        let record = hub.records(1).await.remove(0);
        let row = &record.attempts[0];
        let told = served.answer.told.expect("the simulator told a usage");
        assert_eq!(row.outcome, Outcome::Served);
        assert_eq!(row.usage.input_tokens, told.input);
        assert_eq!(row.usage.output_tokens, told.output);
        assert_eq!(row.usage.cache_read_tokens, told.cache_read);
        assert!(!row.flags.is_estimate, "gzip: {gzip}");
        assert_eq!(record.request.stop_reason.as_deref(), Some("end_turn"));
    }
}
