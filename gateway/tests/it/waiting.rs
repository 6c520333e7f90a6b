//! A seat that waits for a stream is kept alive, and what comes then, or does not, is told in the stream that has begun.

use crate::harness::{Answer, Hub, claude, message, provider, upstream, upstream_with};
use gateway::config::GatewayConfig;
use shared::contract::usage::{ChainStep, Outcome};
use shared::model::{Provider, ProviderType};
use shared::testing;
use simulator::{FakeSuccess, Hang, Script, Simulator};
use std::time::Duration;

/// Long enough for a request to pass, short enough for a test.
const EVERY: Duration = Duration::from_millis(40);

async fn hub(providers: Vec<Provider>) -> Hub {
    let keep_alive = |config: &mut GatewayConfig| config.stream_keep_alive = Some(EVERY);
    Hub::start_as(testing::snapshot(providers), keep_alive).await
}

/// A provider that is left after a while, and one that serves then.
async fn silent_then(script: Script, provider_type: ProviderType) -> (Hub, Simulator, Simulator) {
    let silent = upstream_with(Script::hanging(Hang::BeforeHead)).await;
    let good = upstream_with(script).await;
    let mut first = provider(1, provider_type, &silent.base_url());
    first.timers.first_byte_timeout_streaming_ms = 300;
    let mut second = provider(2, provider_type, &good.base_url());
    second.priority = 1;
    (hub(vec![first, second]).await, silent, good)
}

fn begins_as_a_stream(answer: &Answer) {
    assert_eq!(answer.status, 200);
    assert!(answer.headers["content-type"].to_str().unwrap().starts_with("text/event-stream"));
    assert!(answer.headers.contains_key("x-request-id"));
}

#[tokio::test]
async fn a_seat_hears_signs_of_life_until_another_provider_serves_it() {
    let cases = [
        (ProviderType::Claude, "/v1/messages", message(true), "event: ping\n", "event: message_start"),
        (
            ProviderType::OpenaiCompatible,
            "/v1/chat/completions",
            r#"{"model":"gpt-5","stream":true,"messages":[]}"#.to_owned(),
            ": ping\n",
            "\"role\":\"assistant\"",
        ),
        (
            ProviderType::Codex,
            "/v1/responses",
            r#"{"model":"gpt-5","stream":true,"input":"hi"}"#.to_owned(),
            ": ping\n",
            "event: response.created",
        ),
        (
            ProviderType::Gemini,
            "/v1beta/models/gemini-3:streamGenerateContent?alt=sse",
            r#"{"contents":[{"parts":[{"text":"hi"}]}]}"#.to_owned(),
            "\n",
            "\"finishReason\"",
        ),
    ];
    for (provider_type, path, body, sign, once) in cases {
        let (hub, _silent, good) = silent_then(Script::default(), provider_type).await;
        let answer = hub.post(path, body).await;
        begins_as_a_stream(&answer);
        let text = answer.text();
        assert!(text.starts_with(sign), "{path}: {text}");
        assert_eq!(text.matches(once).count(), 1, "{path}: {text}");
        let record = hub.records(1).await.remove(0);
        assert_eq!((record.request.status, record.request.error), (200, None), "{path}");
        assert_eq!(record.attempts.last().unwrap().outcome, Outcome::Served);
        assert_eq!(
            record.attempts.last().unwrap().usage.output_tokens,
            good.totals().completed_usage.output,
            "{path}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_is_one_json_array_is_never_begun_early() {
    let (hub, _silent, _good) = silent_then(Script::default(), ProviderType::Gemini).await;
    let path = "/v1beta/models/gemini-3:streamGenerateContent";
    let answer = hub.post(path, r#"{"contents":[{"parts":[{"text":"hi"}]}]}"#).await;
    assert_eq!(answer.status, 200);
    assert!(answer.text().starts_with('['), "{}", answer.text());
    assert!(answer.json().as_array().is_some_and(|elements| !elements.is_empty()));
}

#[tokio::test]
async fn a_refusal_that_comes_late_is_told_in_the_stream_in_the_upstreams_words() {
    let script = Script { first_byte_delay_ms: 200, ..Script::failing(400) };
    let upstream = upstream_with(script).await;
    let hub = hub(vec![claude(1, &upstream.base_url())]).await;
    let answer = hub.post("/v1/messages", message(true)).await;
    begins_as_a_stream(&answer);
    let text = answer.text();
    let (pings, error) = text.split_once("event: error\n").expect("the error is an event");
    assert!(pings.starts_with("event: ping\n"));
    let data = error.strip_prefix("data: ").unwrap().trim_end();
    let direct = Hub::start(vec![claude(1, &upstream.base_url())]).await;
    let refusal = direct.post("/v1/messages", message(false)).await;
    assert_eq!(refusal.status, 400);
    let same = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap()["error"].clone();
    assert_eq!(same(data), same(&refusal.text()), "the upstream's own words");
    let record = hub.records(1).await.remove(0);
    assert_eq!(record.request.status, 200, "what the seat saw");
    assert_eq!(record.request.error.as_deref(), Some("upstream_error"));
}

#[tokio::test]
async fn a_body_without_events_is_an_error_in_a_stream_that_has_begun() {
    let upstream = upstream().await;
    upstream.set_script(Script { first_byte_delay_ms: 200, bytes: Some(64), ..Script::default() });
    let mut only = claude(1, &upstream.base_url());
    only.max_attempts = 1;
    let hub = hub(vec![only]).await;
    // It gives up within the test.
    let request = hub.request("/v1/messages").header("x-stainless-timeout", "1");
    let answer = hub.send(request.body(message(true).into()).unwrap()).await;
    begins_as_a_stream(&answer);
    assert_eq!(answer.text().matches("event: error").count(), 1, "{}", answer.text());
}

#[tokio::test]
async fn a_seat_whose_stream_has_begun_is_served_by_whoever_recovers() {
    let upstream = upstream().await;
    let failing = Script { first_byte_delay_ms: 200, ..Script::failing(503) };
    upstream.set_sequence([failing.clone(), failing, Script::default()]);
    let mut only = claude(1, &upstream.base_url());
    only.max_attempts = 1;
    let hub = hub(vec![only]).await;
    let answer = hub.post("/v1/messages", message(true)).await;
    begins_as_a_stream(&answer);
    let text = answer.text();
    assert_eq!(text.matches("event: message_start").count(), 1, "{text}");
    assert!(text.contains("message_stop") && !text.contains("event: error"), "{text}");
    let record = hub.records(1).await.remove(0);
    let outcomes: Vec<Outcome> = record.attempts.iter().map(|attempt| attempt.outcome).collect();
    assert_eq!(outcomes, [Outcome::Failed, Outcome::Failed, Outcome::Served]);
    let draws = record.request.decision_chain.steps.iter();
    assert_eq!(draws.filter(|step| matches!(step, ChainStep::Selected { .. })).count(), 3);
}

#[tokio::test]
async fn when_nobody_recovers_in_the_callers_time_the_stream_ends_with_our_error() {
    let upstream = upstream_with(Script { first_byte_delay_ms: 200, ..Script::failing(503) }).await;
    let hub = hub(vec![claude(1, &upstream.base_url())]).await;
    let request = hub.request("/v1/messages").header("x-stainless-timeout", "1");
    let answer = hub.send(request.body(message(true).into()).unwrap()).await;
    begins_as_a_stream(&answer);
    assert_eq!(answer.text().matches("event: error").count(), 1, "{}", answer.text());
    let record = hub.records(1).await.remove(0);
    assert_eq!(record.request.status, 200, "what the seat saw");
    assert_eq!(record.request.blocked_by.as_deref(), Some("no_available_providers"));
}

#[tokio::test]
async fn a_compressed_answer_is_plain_where_plain_was_promised() {
    let script = Script { gzip: true, ..Script::default() };
    let (hub, _silent, _good) = silent_then(script, ProviderType::Claude).await;
    let answer = hub.post("/v1/messages", message(true)).await;
    begins_as_a_stream(&answer);
    assert!(!answer.headers.contains_key("content-encoding"));
    assert!(answer.text().contains("event: message_stop"), "{}", answer.text());
    assert_eq!(hub.records(1).await[0].attempts.last().unwrap().outcome, Outcome::Served);
}

#[tokio::test]
async fn a_stream_that_falls_silent_keeps_its_seat_alive_between_its_events() {
    let upstream = upstream_with(Script { events: Some(20), ..Script::hanging(Hang::MidStream(8)) }).await;
    let mut silent = claude(1, &upstream.base_url());
    silent.timers.streaming_idle_timeout_ms = 300;
    let hub = hub(vec![silent]).await;
    let text = hub.post("/v1/messages", message(true)).await.text();
    let last_delta = text.rfind("content_block_delta").unwrap();
    let pings = text[last_delta..].matches("event: ping").count();
    assert!(pings >= 2, "{text}");
    assert_eq!(text.matches("event: error").count(), 1);
}

#[tokio::test]
async fn a_fake_success_before_anything_was_sent_still_fails_over_unseen() {
    let fake = upstream_with(Script { fake_success: Some(FakeSuccess::Html), ..Script::default() }).await;
    let good = upstream_with(Script::default()).await;
    let mut second = claude(2, &good.base_url());
    second.priority = 1;
    let hub = Hub::start(vec![claude(1, &fake.base_url()), second]).await;
    let answer = hub.post("/v1/messages", message(true)).await;
    assert!(answer.text().starts_with("event: message_start"), "{}", answer.text());
}
