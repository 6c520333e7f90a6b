//! Ordinary answers over HTTP/1.1.

use crate::client::{
    MESSAGES, MESSAGES_BODY, Raw, STREAM_BODY, collect, http2, playing, post, request, split,
};
use serde_json::Value;
use simulator::{Script, ToolCall, Usage};

#[tokio::test]
async fn a_whole_answer_has_a_length_and_a_stream_has_chunks() {
    let simulator = playing(Script::default()).await;
    let mut raw = Raw::post(&simulator, MESSAGES, MESSAGES_BODY).await;
    let (head, body) = split(&raw.read_until("\"usage\"").await);
    assert!(head.starts_with("http/1.1 200"));
    assert!(head.contains(&format!("content-length: {}", body.unwrap().len())));
    assert!(head.contains("anthropic-ratelimit-unified-5h-utilization: "));

    let mut raw = Raw::post(&simulator, MESSAGES, STREAM_BODY).await;
    let (head, body) = split(&raw.read_until("\r\n0\r\n\r\n").await);
    assert!(head.contains("content-type: text/event-stream"));
    assert!(body.unwrap().ends_with("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"));
}

#[tokio::test]
async fn a_stream_without_spacing_is_one_chunk() {
    let simulator = playing(Script { events: Some(40), ..Script::default() }).await;
    let mut raw = Raw::post(&simulator, MESSAGES, STREAM_BODY).await;
    let text = raw.read_until("\r\n0\r\n\r\n").await;
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    let (len, rest) = body.split_once("\r\n").unwrap();
    let len = usize::from_str_radix(len, 16).unwrap();
    assert_eq!(&rest[len..], "\r\n0\r\n\r\n");
}

#[tokio::test]
async fn a_connection_carries_many_requests_and_says_so_in_the_records() {
    let simulator = playing(Script::default()).await;
    let mut raw = Raw::connect(&simulator).await;
    for _ in 0..3 {
        raw.received.clear();
        raw.send(&request(MESSAGES, STREAM_BODY, "")).await;
        raw.read_until("\r\n0\r\n\r\n").await;
    }
    Raw::post(&simulator, MESSAGES, STREAM_BODY).await.read_until("\r\n0\r\n\r\n").await;
    let connections: Vec<_> =
        simulator.served().iter().map(|it| (it.connection.id, it.connection.request)).collect();
    assert_eq!(connections, [(1, 1), (1, 2), (1, 3), (2, 1)]);
}

#[tokio::test]
async fn the_request_s_own_script_goes_before_the_listener_s_and_uses_nothing_up() {
    let simulator = playing(Script::default()).await;
    simulator.set_sequence([Script::failing(500), Script::failing(429), Script::default()]);
    let own = Script { text: Some("grüß dich".into()), ..Script::default() };
    let header = format!("x-sim-script: {}\r\n", own.to_header());
    let mut statuses = Vec::new();
    for headers in ["", header.as_str(), "", "", ""] {
        let mut raw = Raw::connect(&simulator).await;
        raw.send(&request(MESSAGES, MESSAGES_BODY, headers)).await;
        let text = raw.read_until("}").await;
        statuses.push(text[9..12].to_owned());
        if !headers.is_empty() {
            assert!(raw.read_until("usage").await.contains("grüß dich"));
        }
    }
    assert_eq!(statuses, ["500", "200", "429", "200", "200"]);
}

#[tokio::test]
async fn a_script_that_cannot_be_read_is_answered_400_and_says_why() {
    let simulator = playing(Script::default()).await;
    let mut raw = Raw::connect(&simulator).await;
    raw.send(&request(MESSAGES, MESSAGES_BODY, "x-sim-script: {\"stauts\":1}\r\n")).await;
    let text = raw.read_until("request_id").await;
    assert!(text.starts_with("HTTP/1.1 400"));
    assert!(text.contains("unknown field `stauts`"), "{text}");
}

#[tokio::test]
async fn unknown_paths_and_broken_bodies_are_refused_in_dialect() {
    let simulator = playing(Script::default()).await;
    let answer = async |path: &str, body: &str| {
        let mut raw = Raw::post(&simulator, path, body).await;
        let text = raw.read_until("}}").await;
        let (head, body) = split(&text);
        let body: Value = serde_json::from_str(&body.unwrap()).unwrap();
        (head[9..12].to_owned(), body)
    };
    assert_eq!(answer("/v1/nothing", "{}").await.0, "404");
    let (status, body) = answer("/v1beta/models/gemini-x:generateContent", "{").await;
    assert_eq!((status.as_str(), &body["error"]["status"]), ("400", &Value::from("INVALID_ARGUMENT")));
    let (status, body) = answer("/v1/chat/completions", "{}").await;
    assert_eq!((status.as_str(), &body["error"]["type"]), ("400", &Value::from("invalid_request_error")));
}

#[tokio::test]
async fn echo_tells_exactly_what_was_received() {
    let simulator = playing(Script { echo: true, ..Script::default() }).await;
    let mut raw = Raw::connect(&simulator).await;
    raw.send(&request(
        "/v1/messages?beta=true",
        "not json",
        "x-unknown: kept\r\nx-twice: a\r\nx-twice: b\r\n",
    ))
    .await;
    let (_, body) = split(&raw.read_until("\"path\"").await);
    let echo: Value = serde_json::from_str(&body.unwrap()).unwrap();
    assert_eq!(echo["path"], "/v1/messages?beta=true");
    assert_eq!(echo["body_bytes"], 8);
    let sha256_of_not_json = "7ccfa1fbf3940e6f0c0375d87c0f9235a50514e14cb427bdfaf5077987b26ccf";
    assert_eq!(echo["body_sha256"], sha256_of_not_json);
    let twice = |header: &&Value| header[0] == "x-twice";
    assert_eq!(echo["headers"].as_array().unwrap().iter().filter(twice).count(), 2);
    assert_eq!(simulator.served()[0].request.body_sha256.as_deref(), echo["body_sha256"].as_str());
}

#[tokio::test]
async fn exact_bytes_are_the_same_for_every_request_and_valid_in_dialect() {
    let simulator = playing(Script { bytes: Some(200_000), ..Script::default() }).await;
    for body in [MESSAGES_BODY, STREAM_BODY] {
        let mut sender = http2(&simulator).await;
        let first = sender.send_request(post(&(simulator.base_url() + MESSAGES), body)).await.unwrap();
        let unknown: Vec<_> = first.headers().get_all("x-sim-unknown").iter().collect();
        assert_eq!(unknown, ["kept", "twice"]);
        let first = collect(first).await.unwrap();
        let again = sender.send_request(post(&(simulator.base_url() + MESSAGES), body)).await.unwrap();
        assert_eq!(first.len(), 200_000);
        assert_eq!(first, collect(again).await.unwrap());
    }
}

#[tokio::test]
async fn a_32_mb_body_is_digested_and_understood() {
    let simulator = playing(Script::default()).await;
    let filler = "x".repeat(32 * 1024 * 1024);
    let body = format!(
        r#"{{"messages":[{{"role":"user","content":"{filler}"}}],"model":"claude-big","max_tokens":1}}"#
    );
    let len = body.len() as u64;
    let expected = ring::digest::digest(&ring::digest::SHA256, body.as_bytes());
    let expected: String = expected.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let mut sender = http2(&simulator).await;
    let response = sender.send_request(post(&(simulator.base_url() + MESSAGES), body)).await.unwrap();
    assert_eq!(response.status(), 200);
    let served = &simulator.served()[0].request;
    assert_eq!((served.body_bytes, served.body_sha256.as_deref()), (len, Some(expected.as_str())));
    assert_eq!(served.model.as_deref(), Some("claude-big"));
}

#[tokio::test]
async fn a_tool_is_called_when_the_script_says_so_and_the_request_declares_it() {
    let call = ToolCall { name: Some("get_weather".into()), arguments: None };
    let simulator = playing(Script { tool_call: Some(call), ..Script::default() }).await;
    let body = r#"{"model":"claude-x","messages":[],"tools":[{"name":"get_weather","input_schema":{"type":"object"}}]}"#;
    let mut raw = Raw::post(&simulator, MESSAGES, body).await;
    assert!(raw.read_until("\"usage\"").await.contains(r#""stop_reason":"tool_use""#));
    let mut raw = Raw::post(&simulator, MESSAGES, MESSAGES_BODY).await;
    assert!(raw.read_until("\"usage\"").await.contains(r#""stop_reason":"end_turn""#));
}

#[tokio::test]
async fn usage_of_the_script_is_what_the_record_counts() {
    let usage = Usage { input: 5, cache_read: 6, cache_write_1h: 7, output: 8, ..Usage::default() };
    let simulator = playing(Script { usage: Some(usage), ..Script::default() }).await;
    for body in [MESSAGES_BODY, STREAM_BODY] {
        Raw::post(&simulator, MESSAGES, body).await.read_until("\"usage\"").await;
    }
    crate::client::ended(&simulator, 1).await;
    for served in simulator.served() {
        assert_eq!(served.answer.usage, Some(usage));
        assert_eq!(served.answer.told, Some(usage));
    }
    assert_eq!(simulator.totals().completed_usage.cache_write_1h, 14);
}
