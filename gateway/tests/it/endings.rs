//! A stream that breaks after its first content ends as its protocol says, and what was told is booked.

use crate::harness::{Hub, claude, message, provider, upstream_with};
use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::Full;
use shared::contract::usage::Outcome;
use shared::model::ProviderType;
use simulator::{Cut, ErrorEvent, Hang, Script};

#[tokio::test]
async fn a_cut_after_content_becomes_an_error_event_in_dialect() {
    let cases = [
        (ProviderType::Claude, "/v1/messages", message(true), "event: error"),
        (
            ProviderType::OpenaiCompatible,
            "/v1/chat/completions",
            r#"{"model":"gpt-5","stream":true,"messages":[]}"#.to_owned(),
            "data: {\"error\"",
        ),
        (
            ProviderType::Codex,
            "/v1/responses",
            r#"{"model":"gpt-5","stream":true,"input":"hi"}"#.to_owned(),
            "event: response.failed",
        ),
        (
            ProviderType::Gemini,
            "/v1beta/models/gemini-3:streamGenerateContent?alt=sse",
            r#"{"contents":[{"parts":[{"text":"hi"}]}]}"#.to_owned(),
            "data: {\"error\"",
        ),
    ];
    for (provider_type, path, body, sign) in cases {
        let script = Script { events: Some(20), ..Script::cutting(Cut::MidStream(12)) };
        let upstream = upstream_with(script).await;
        let hub = Hub::start(vec![provider(1, provider_type, &upstream.base_url())]).await;
        let answer = hub.post(path, body).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.text().matches(sign).count(), 1, "{path}: {}", answer.text());
        let record = hub.records(1).await.remove(0);
        assert_eq!(record.request.error.as_deref(), Some("upstream_cut"), "{path}");
        assert_eq!(record.attempts[0].outcome, Outcome::Failed);
        assert!(record.attempts[0].flags.is_estimate);
        assert!(record.attempts[0].usage.output_tokens > 0, "what was relayed is estimated: {path}");
    }
}

#[tokio::test]
async fn an_error_event_after_content_passes_as_it_came() {
    let script = Script { error_event: Some(ErrorEvent::AfterContent(3)), ..Script::default() };
    let upstream = upstream_with(script).await;
    let hub = Hub::start(vec![claude(1, &upstream.base_url())]).await;
    let answer = hub.post("/v1/messages", message(true)).await;
    assert_eq!(answer.text().matches("event: error").count(), 1);
    let record = hub.records(1).await.remove(0);
    assert_eq!(record.request.error.as_deref(), Some("upstream_error"));
    assert_eq!(record.attempts[0].outcome, Outcome::Failed);
}

#[tokio::test]
async fn a_provider_that_never_answers_is_left_when_its_timer_runs_out() {
    let silent = upstream_with(Script::hanging(Hang::BeforeHead)).await;
    let good = upstream_with(Script::default()).await;
    let mut first = claude(1, &silent.base_url());
    first.timers.first_byte_timeout_streaming_ms = 100;
    let mut second = claude(2, &good.base_url());
    second.priority = 1;
    let hub = Hub::start(vec![first, second]).await;
    let answer = hub.post("/v1/messages", message(true)).await;
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("message_stop"));
}

#[tokio::test]
async fn a_stream_that_falls_silent_ends_in_dialect_when_its_timer_runs_out() {
    let upstream = upstream_with(Script { events: Some(20), ..Script::hanging(Hang::MidStream(8)) }).await;
    let mut provider = claude(1, &upstream.base_url());
    provider.timers.streaming_idle_timeout_ms = 200;
    let hub = Hub::start(vec![provider]).await;
    let answer = hub.post("/v1/messages", message(true)).await;
    assert_eq!(answer.text().matches("event: error").count(), 1, "{}", answer.text());
    assert_eq!(hub.records(1).await[0].request.error.as_deref(), Some("upstream_timed_out"));
}

#[tokio::test]
async fn each_event_leaves_without_waiting_for_the_next() {
    // The upstream hangs after eight events: whoever waits for a ninth would never see them.
    let upstream = upstream_with(Script { events: Some(20), ..Script::hanging(Hang::MidStream(8)) }).await;
    let hub = Hub::start(vec![claude(1, &upstream.base_url())]).await;
    let request = hub.request("/v1/messages").body(Full::new(Bytes::from(message(true)))).unwrap();
    let read = async {
        let mut answer = hub.client.request(request).await.unwrap();
        let mut seen = String::new();
        while seen.matches("\n\n").count() < 8 {
            let frame = answer.body_mut().frame().await.unwrap().unwrap();
            seen.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        }
    };
    tokio::time::timeout(crate::harness::PATIENCE, read).await.expect("eight events while the ninth is due");
}
