use super::*;

fn read(data: &str) -> EventFacts<'_> {
    classify(b"", data.as_bytes())
}

#[test]
fn the_gate_opens_at_an_item_a_delta_or_an_end() {
    use EventKind::{Content, Error, Other, Ping, Preamble};
    for (name, expected) in [
        ("codex.rate_limits", Preamble),
        ("response.created", Preamble),
        ("response.in_progress", Preamble),
        ("response.queued", Preamble),
        ("response.output_item.added", Content),
        ("response.output_item.done", Content),
        ("response.content_part.added", Other),
        ("response.output_text.delta", Content),
        ("response.reasoning_summary_text.delta", Content),
        ("response.function_call_arguments.delta", Content),
        ("response.brand_new.delta", Content),
        ("response.output_text.done", Other),
        ("response.completed", Content),
        ("response.incomplete", Content),
        ("response.failed", Error),
        ("error", Error),
        ("keepalive", Ping),
        ("something.else", Other),
    ] {
        let data = format!(r#"{{"sequence_number":1,"type":"{name}"}}"#);
        assert_eq!(read(&data).kind, expected, "{name} by type");
        assert_eq!(classify(name.as_bytes(), b"{}").kind, expected, "{name} by name");
    }
    assert_eq!(read("{").kind, EventKind::Malformed);
}

#[test]
fn an_end_tells_usage_reason_and_tier_also_when_it_is_no_success() {
    let usage =
        r#""usage":{"input_tokens":100,"input_tokens_details":{"cached_tokens":80},"output_tokens":7}"#;
    for (end, details, kind, reason) in [
        ("completed", "null", EventKind::Content, "completed"),
        ("incomplete", r#"{"reason":"max_output_tokens"}"#, EventKind::Content, "max_output_tokens"),
        ("failed", "null", EventKind::Error, "failed"),
    ] {
        let data = format!(
            r#"{{"type":"response.{end}","response":{{"id":"resp_1","model":"gpt-5","status":"{end}",
            "service_tier":"priority","incomplete_details":{details},{usage}}}}}"#
        );
        let facts = read(&data);
        assert_eq!((facts.kind, facts.finish), (kind, Finish::End), "{end}");
        assert_eq!(facts.stop_reason.as_deref(), Some(reason));
        assert_eq!(facts.service_tier.as_deref(), Some("priority"));
        let usage = facts.usage.unwrap();
        assert_eq!((usage.input, usage.cache_read, usage.output), (Some(20), Some(80), Some(7)));
        assert_eq!(usage.state, UsageState::Final);
    }
}

#[test]
fn a_completed_response_with_an_error_in_it_failed() {
    let failed =
        read(r#"{"type":"response.completed","response":{"error":{"code":"server_is_overloaded"}}}"#);
    assert_eq!(failed.kind, EventKind::Error);
    assert_eq!(failed.error.unwrap().code.as_deref(), Some("server_is_overloaded"));
    let done = read(r#"{"type":"response.done","response":{"status":"failed"}}"#);
    assert_eq!(done.kind, EventKind::Error);
}

#[test]
fn top_level_errors_are_read() {
    let error = read(r#"{"type":"error","code":"rate_limit_exceeded","message":"slow","sequence_number":3}"#);
    assert_eq!(error.error.unwrap().code.as_deref(), Some("rate_limit_exceeded"));
    assert_eq!(read(r#"{"error":{"type":"x"}}"#).kind, EventKind::Error);
    assert_eq!(read(r#"{"type":"response.future","error":{"type":"x"}}"#).kind, EventKind::Error);
}

#[test]
fn a_reasoning_item_is_thinking_until_it_is_done() {
    let added = |item: &str| classify(b"response.output_item.added", item.as_bytes()).phase;
    assert_eq!(added(r#"{"item":{"type":"reasoning"}}"#), Some(Phase::Thinking));
    assert_eq!(added(r#"{"item":{"type":"message"}}"#), Some(Phase::Answering));
    assert_eq!(classify(b"response.output_item.done", b"{}").phase, Some(Phase::Answering));
}

#[test]
fn a_body_is_an_answer_unless_it_failed_or_is_empty() {
    let whole = |body: &'static str| classify_whole(body.as_bytes()).kind;
    assert_eq!(whole(r#"{"status":"completed","output":[],"error":null}"#), EventKind::Content);
    assert_eq!(whole(r#"{"output":[{"type":"message"}]}"#), EventKind::Content);
    assert_eq!(whole(r#"{"status":"failed","error":null}"#), EventKind::Error);
    assert_eq!(whole(r#"{"status":"incomplete","error":{"code":"x"}}"#), EventKind::Error);
    assert_eq!(whole("{}"), EventKind::Other);
}
