use super::*;

fn read(data: &str) -> EventFacts<'_> {
    classify(b"", data.as_bytes())
}

fn delta(delta: &str) -> String {
    format!(r#"{{"id":"c","choices":[{{"index":0,"delta":{delta},"finish_reason":null}}],"usage":null}}"#)
}

#[test]
fn the_gate_opens_at_anything_generated() {
    for content in [
        r#"{"content":"a"}"#,
        r#"{"content":" "}"#,
        r#"{"content":[{"type":"thinking"}]}"#,
        r#"{"content":null,"reasoning_content":"hm"}"#,
        r#"{"reasoning":"hm"}"#,
        r#"{"reasoning_details":[{"text":"hm"}]}"#,
        r#"{"tool_calls":[{"index":0,"id":"t","function":{"name":"f","arguments":""}}]}"#,
        r#"{"function_call":{"name":"f"}}"#,
        r#"{"refusal":"no"}"#,
        r#"{"audio":{"data":"AA"}}"#,
        r#"{"content":"\ud83d"}"#,
    ] {
        assert_eq!(read(&delta(content)).kind, EventKind::Content, "{content}");
    }
    for empty in
        [r#"{"role":"assistant","content":""}"#, r#"{"content":null,"refusal":null,"tool_calls":[]}"#, "{}"]
    {
        assert_eq!(read(&delta(empty)).kind, EventKind::Preamble, "{empty}");
    }
    assert_eq!(read(r#"{"choices":[{"text":"legacy"}]}"#).kind, EventKind::Content);
    assert_eq!(read(r#"{"choices":[],"prompt_filter_results":[]}"#).kind, EventKind::Preamble);
    assert_eq!(read(r#"{"hello":1}"#).kind, EventKind::Other);
}

#[test]
fn a_finish_reason_stops_and_done_ends() {
    let stop = read(r#"{"choices":[{"delta":{},"finish_reason":"tool_calls"}]}"#);
    assert_eq!((stop.kind, stop.finish), (EventKind::Content, Finish::Stopped));
    assert_eq!(stop.stop_reason.as_deref(), Some("tool_calls"));
    for done in ["[DONE]", " [DONE] "] {
        assert_eq!((read(done).kind, read(done).finish), (EventKind::End, Finish::End));
    }
    // The second choice counts as the first does.
    let second = r#"{"choices":[{"delta":{}},{"index":1,"delta":{"content":"x"},"finish_reason":"stop"}]}"#;
    assert_eq!((read(second).kind, read(second).finish), (EventKind::Content, Finish::Stopped));
}

#[test]
fn errors_are_found_however_they_are_written() {
    for error in [
        r#"{"error":{"message":"boom","code":500}}"#,
        r#"{"id":"x","choices":[{"delta":{"content":""},"finish_reason":"error"}],"error":{"code":502}}"#,
        r#"{"object":"error","message":"boom","type":"BadRequest"}"#,
        r#"{"error":"boom"}"#,
    ] {
        assert_eq!(read(error).kind, EventKind::Error, "{error}");
    }
    assert_eq!(classify(b"error", b"boom").kind, EventKind::Error);
    assert_eq!(read(r#"{"error":null,"choices":[]}"#).kind, EventKind::Preamble);
    assert_eq!(read(r#"{"choices":["#).kind, EventKind::Malformed);
}

#[test]
fn only_the_chunk_that_comes_for_usage_alone_is_extra() {
    let extra = read(r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2}}"#);
    assert!(extra.is_usage_only);
    assert_eq!(extra.usage.unwrap().state, UsageState::Final);
    for other in [
        r#"{"choices":[],"usage":null}"#,
        r#"{"choices":[],"prompt_filter_results":[]}"#,
        r#"{"choices":[{"delta":{"content":"x"}}],"usage":{"prompt_tokens":9}}"#,
        r#"{"usage":{"prompt_tokens":9}}"#,
        r#"{"choices":[],"usage":{"prompt_tokens":9},"error":"x"}"#,
    ] {
        assert!(!read(other).is_usage_only, "{other}");
    }
}

#[test]
fn reasoning_is_thinking_until_the_answer() {
    assert_eq!(read(&delta(r#"{"reasoning_content":"x","content":null}"#)).phase, Some(Phase::Thinking));
    assert_eq!(read(&delta(r#"{"content":"x","reasoning_content":null}"#)).phase, Some(Phase::Answering));
    assert_eq!(read(&delta("{}")).phase, None);
}

#[test]
fn a_body_is_an_answer_when_it_has_choices() {
    let whole = |body: &'static str| classify_whole(body.as_bytes()).kind;
    assert_eq!(
        whole(r#"{"choices":[{"message":{"content":""},"finish_reason":"stop"}]}"#),
        EventKind::Content
    );
    assert_eq!(whole(r#"{"choices":[]}"#), EventKind::Other);
    assert_eq!(whole(r#"{"data":[{"embedding":[0.1]}],"usage":{"prompt_tokens":3}}"#), EventKind::Other);
    assert_eq!(whole(r#"{"choices":[],"error":{"message":"x"}}"#), EventKind::Error);
}
