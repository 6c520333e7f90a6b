use super::*;

fn read<'a>(name: &str, data: &'a str) -> EventFacts<'a> {
    classify(name.as_bytes(), data.as_bytes())
}

fn kind(name: &str, data: &str) -> EventKind {
    read(name, data).kind
}

#[test]
fn the_gate_opens_at_a_block_a_delta_or_a_stop_reason() {
    use EventKind::{Content, End, Other, Ping, Preamble};
    for (name, data, expected) in [
        ("ping", r#"{"type":"ping"}"#, Ping),
        ("message_start", r#"{"type":"message_start","message":{"id":"m"}}"#, Preamble),
        ("content_block_start", r#"{"content_block":{"type":"tool_use","name":"ls","input":{}}}"#, Content),
        ("content_block_start", r#"{"content_block":{"type":"text","text":""}}"#, Content),
        ("content_block_delta", r#"{"delta":{"type":"input_json_delta","partial_json":""}}"#, Content),
        ("content_block_stop", r#"{"index":0}"#, Other),
        ("message_delta", r#"{"delta":{"stop_reason":"refusal"}}"#, Content),
        ("message_delta", r#"{"delta":{"stop_reason":null},"usage":{"output_tokens":3}}"#, Other),
        ("message_stop", r#"{"type":"message_stop"}"#, End),
        ("some_new_event", r#"{"type":"some_new_event"}"#, Other),
    ] {
        assert_eq!(kind(name, data), expected, "{name} {data}");
    }
}

#[test]
fn without_an_event_name_the_type_decides() {
    assert_eq!(kind("", r#"{"type":"content_block_delta"}"#), EventKind::Content);
    assert_eq!(kind("message", r#"{"index":0,"type":"ping"}"#), EventKind::Ping);
    // Named, the name decides.
    assert_eq!(kind("ping", r#"{"type":"content_block_delta"}"#), EventKind::Ping);
}

#[test]
fn errors_are_found_however_they_are_written() {
    let error =
        read("error", r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#);
    assert_eq!(error.kind, EventKind::Error);
    assert_eq!(error.error.unwrap().error_type.as_deref(), Some("overloaded_error"));
    assert_eq!(kind("", r#"{"type":"error","error":{"type":"api_error"}}"#), EventKind::Error);
    assert_eq!(kind("", r#"{"error":"no balance"}"#), EventKind::Error);
    assert_eq!(kind("error", "upstream died"), EventKind::Error);
    assert_eq!(kind("", r#"{"error":null}"#), EventKind::Other);
}

#[test]
fn broken_data_is_malformed_unless_the_name_is_enough() {
    for data in ["{", "", "<html>", r#"{"type":"message_stop"} x"#, "data"] {
        assert_eq!(kind("content_block_delta", data), EventKind::Malformed, "{data}");
    }
    assert_eq!(kind("ping", "pong"), EventKind::Ping);
}

#[test]
fn thinking_opens_and_closes_with_its_block() {
    let phase = |name: &str, data: &str| read(name, data).phase;
    assert_eq!(
        phase("content_block_start", r#"{"content_block":{"type":"thinking"}}"#),
        Some(Phase::Thinking)
    );
    let redacted = r#"{"content_block":{"type":"redacted_thinking","data":"x"}}"#;
    assert_eq!(phase("content_block_start", redacted), Some(Phase::Thinking));
    assert_eq!(phase("content_block_start", r#"{"content_block":{"type":"text"}}"#), Some(Phase::Answering));
    assert_eq!(phase("content_block_delta", r#"{"delta":{"type":"thinking_delta"}}"#), None);
    assert_eq!(phase("content_block_stop", r#"{"index":0}"#), Some(Phase::Answering));
}

#[test]
fn a_body_is_an_answer_when_it_has_content_or_a_stop_reason() {
    let whole = |body: &'static str| classify_whole(body.as_bytes()).kind;
    assert_eq!(whole(r#"{"type":"message","content":[{"type":"text","text":"x"}]}"#), EventKind::Content);
    assert_eq!(whole(r#"{"type":"message","content":[],"stop_reason":"end_turn"}"#), EventKind::Content);
    assert_eq!(whole(r#"{"type":"message","content":[],"stop_reason":null}"#), EventKind::Other);
    assert_eq!(whole(r#"{"input_tokens":12}"#), EventKind::Other);
    assert_eq!(whole(r#"{"type":"error","error":{"type":"api_error","message":"x"}}"#), EventKind::Error);
    assert_eq!(whole("nope"), EventKind::Malformed);
}
