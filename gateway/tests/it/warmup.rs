//! Warm-ups that are answered in the model's place.

use crate::budgets::{limits, open_user, snapshot};
use crate::harness::{Answer, Hub, claude, message, upstream};
use serde_json::{Value, json};
use shared::testing;

fn warmup(is_stream: bool) -> String {
    let block = json!({ "type": "text", "text": "Warmup", "cache_control": { "type": "ephemeral" } });
    json!({
        "model": "claude-sonnet-4-5",
        "max_tokens": 64,
        "stream": is_stream,
        "system": "You are Claude Code.",
        "metadata": { "user_id": "user_1_account__session_5a4b3c2d-0000-4000-8000-000000000001" },
        "messages": [{ "role": "user", "content": [block] }],
    })
    .to_string()
}

fn is_ours(message: &Value) -> bool {
    message["id"].as_str().is_some_and(|id| id.len() == 24 && id.starts_with("msg_cch_"))
}

fn content_type(answer: &Answer) -> &str {
    answer.headers["content-type"].to_str().unwrap()
}

#[tokio::test]
async fn a_warmup_is_answered_here_as_it_was_asked_and_costs_and_counts_nothing() {
    let upstream = upstream().await;
    let limits = limits(|l| (l.requests_per_minute, l.concurrent_sessions) = (Some(1), Some(1)));
    let mut snapshot = snapshot(vec![claude(1, &upstream.base_url())], limits);
    snapshot.core.settings.intercept_anthropic_warmup_requests = true;
    let hub = Hub::start_with(snapshot.clone(), None).await;
    open_user(&hub, &snapshot, 0).await;

    let whole = hub.post("/v1/messages?beta=true", warmup(false)).await;
    assert_eq!((whole.status.as_u16(), content_type(&whole)), (200, "application/json"));
    let said = whole.json();
    assert!(is_ours(&said), "{said}");
    assert_eq!((&said["model"], &said["stop_reason"]), (&json!("claude-sonnet-4-5"), &json!("end_turn")));
    assert_eq!(said["content"], json!([{ "type": "text", "text": "I'm ready to help you." }]));
    assert_eq!((&said["usage"]["input_tokens"], &said["usage"]["output_tokens"]), (&json!(0), &json!(0)));

    let stream = hub.post("/v1/messages", warmup(true)).await;
    assert_eq!((stream.status.as_u16(), content_type(&stream)), (200, "text/event-stream; charset=utf-8"));
    let text = stream.text();
    let start = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    let start: Value = serde_json::from_str(start).unwrap();
    assert_eq!(start["type"], "message_start");
    assert!(is_ours(&start["message"]), "{text}");
    assert!(text.contains("I'm ready to help you."), "{text}");
    assert!(text.ends_with("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"), "{text}");

    assert!(upstream.served().is_empty());
    assert_eq!(hub.post("/v1/messages", message(false)).await.status, 200, "the one request of this minute");
    assert_eq!(hub.post("/v1/messages", message(false)).await.status, 429);
    let records = hub.records(4).await;
    for (record, answer) in records.iter().zip([&whole, &stream]) {
        let request = &record.request;
        assert_eq!(request.id.to_string(), answer.headers["x-request-id"].to_str().unwrap());
        assert_eq!((request.status, request.blocked_by.as_deref()), (200, Some("warmup")));
        assert_eq!((request.provider_id, request.admitted_at, record.attempts.len()), (None, None, 0));
        assert_eq!(
            (request.model.as_deref(), &request.session.session_id),
            (Some("claude-sonnet-4-5"), &None)
        );
    }
    assert_eq!(records[2].request.blocked_by, None);
}

#[tokio::test]
async fn a_warmup_goes_to_a_provider_unless_the_settings_say_otherwise_and_so_does_what_counts_it() {
    let upstream = upstream().await;
    let mut snapshot = testing::snapshot(vec![claude(1, &upstream.base_url())]);
    let hub = Hub::start_with(snapshot.clone(), None).await;
    for is_stream in [false, true] {
        assert_eq!(hub.post("/v1/messages", warmup(is_stream)).await.status, 200);
    }
    assert_eq!(upstream.served().len(), 2);
    snapshot.core.settings.intercept_anthropic_warmup_requests = true;
    let hub = Hub::start_with(snapshot, None).await;
    assert_eq!(hub.post("/v1/messages/count_tokens", warmup(false)).await.status, 200);
    assert_eq!(upstream.served().len(), 3);
}
