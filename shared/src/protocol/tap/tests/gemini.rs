use super::*;
use crate::contract::usage::TokenUsage;
use crate::protocol::tally::UsageState;

/// Thoughts first, cumulative usage in every event, no end but the end.
pub(super) const THOUGHTS: &str = r#"data: {"candidates":[{"content":{"parts":[{"text":"Considering","thought":true}],"role":"model"},"index":0}],"usageMetadata":{"promptTokenCount":100,"totalTokenCount":130,"thoughtsTokenCount":30},"modelVersion":"gemini-2.5-pro","responseId":"r1"}

data: {"candidates":[{"content":{"parts":[{"text":"The answer"}],"role":"model"},"index":0}],"usageMetadata":{"promptTokenCount":100,"candidatesTokenCount":4,"thoughtsTokenCount":40},"modelVersion":"gemini-2.5-pro","responseId":"r1"}

data: {"candidates":[{"content":{"parts":[{"text":""}],"role":"model"},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":100,"cachedContentTokenCount":60,"candidatesTokenCount":8,"thoughtsTokenCount":40,"totalTokenCount":148},"modelVersion":"gemini-2.5-pro","responseId":"r1"}

"#;

/// The same API without `alt=sse`.
pub(super) const ARRAY: &str = r#"[{
  "candidates": [{"content": {"parts": [{"text": "Hi ]}, \"you\""}]}}],
  "usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 2},
  "modelVersion": "gemini-2.5-flash"
}
,
{
  "candidates": [{"content": {"parts": [{"text": "!"}]}, "finishReason": "STOP"}],
  "usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 5}
}
]
"#;

#[test]
fn the_last_usage_counts_with_thoughts_in_the_output() {
    let Outcome { facts, gate, .. } = sse(Dialect::Gemini, THOUGHTS);
    assert_eq!(gate, Ok(()));
    let usage = TokenUsage {
        input_tokens: 40,
        cache_read_tokens: 60,
        output_tokens: 48,
        reasoning_tokens: 40,
        ..TokenUsage::default()
    };
    assert_eq!((facts.usage(), facts.usage_state()), (usage, UsageState::Final));
    assert_eq!(facts.model.as_deref(), Some("gemini-2.5-pro"));
    assert_eq!(facts.stop_reason.as_deref(), Some("STOP"));
    assert!(facts.ended && !facts.allows_long_silence);
}

#[test]
fn thoughts_allow_long_silence_and_a_cut_is_no_end() {
    let first = THOUGHTS.find("\n\n").unwrap() + 2;
    let facts = sse(Dialect::Gemini, &THOUGHTS[..first]).facts;
    assert!(facts.allows_long_silence && !facts.ended);
    assert_eq!(facts.usage_state(), UsageState::Running);
}

#[test]
fn a_refusal_is_an_answer() {
    let safety = "data: {\"candidates\":[{\"finishReason\":\"SAFETY\"}],\"usageMetadata\":{\"promptTokenCount\":5}}\n\n";
    let blocked = "data: {\"promptFeedback\":{\"blockReason\":\"OTHER\"},\"usageMetadata\":{\"promptTokenCount\":5}}\n\n";
    for (stream, reason) in [(safety, "SAFETY"), (blocked, "OTHER")] {
        let Outcome { facts, gate, .. } = sse(Dialect::Gemini, stream);
        assert_eq!(gate, Ok(()));
        assert_eq!(facts.stop_reason.as_deref(), Some(reason));
        assert!(facts.ended);
        assert_eq!((facts.usage().input_tokens, facts.usage_state()), (5, UsageState::Final));
    }
}

#[test]
fn an_error_in_a_stream_or_instead_of_an_array_fails_the_gate() {
    let error = r#"{"error":{"code":503,"message":"overloaded","status":"UNAVAILABLE"}}"#;
    for outcome in [
        sse(Dialect::Gemini, &format!("data: {error}\n\n")),
        array(error),
        array(&format!("[{error}]")),
        array(&format!("[{error}\n")),
    ] {
        assert_eq!(outcome.gate, Err(GateFailure::ErrorEvent));
        let error = outcome.facts.error.unwrap();
        assert_eq!((error.error_type.as_deref(), error.code.as_deref()), (Some("UNAVAILABLE"), Some("503")));
    }
}

#[test]
fn an_array_is_read_while_it_arrives() {
    let Outcome { facts, gate, .. } = array(ARRAY);
    assert_eq!(gate, Ok(()));
    assert_eq!((facts.usage().input_tokens, facts.usage().output_tokens), (7, 5));
    assert_eq!(facts.usage_state(), UsageState::Final);
    assert_eq!(facts.model.as_deref(), Some("gemini-2.5-flash"));
    assert!(facts.ended);
    let without_bracket = array(ARRAY.trim_end().strip_suffix(']').unwrap());
    assert!(!without_bracket.facts.ended);
    assert_eq!(array("[]").gate, Err(GateFailure::Empty));
    assert_eq!(array("<html>").gate, Err(GateFailure::Malformed));
}

#[test]
fn our_error_is_one_more_element_where_the_array_stands_open() {
    let error = DialectError::new(502, "cut", "r-1");
    let fault = StreamFault { error, upstream_body: None, response_id: None, sequence_number: 0 };
    let closing = |half: &str| {
        let mut tap = StreamTap::new(Dialect::Gemini, Framing::JsonArray, TapOptions::default());
        tap.observe(half.as_bytes());
        tap.closing_error(&fault)
    };
    let half = "[{\"candidates\":[]}\n";
    let whole = [half.as_bytes(), &closing(half)].concat();
    assert!(serde_json::from_slice::<serde_json::Value>(&whole).is_ok());
    let half = "[{\"candidates\":[]},\r\n";
    let whole = [half.as_bytes(), &closing(half)].concat();
    assert!(serde_json::from_slice::<serde_json::Value>(&whole).is_ok(), "its comma is there already");
    assert!(closing("[{\"cand").is_empty());
    assert!(closing(ARRAY).is_empty());
}

#[test]
fn an_array_is_over_when_it_is_closed_and_lacks_its_bracket_after_an_error() {
    let after = |text: &str| {
        let mut tap = StreamTap::new(Dialect::Gemini, Framing::JsonArray, TapOptions::default());
        tap.observe(text.as_bytes());
        let is_over = tap.is_over();
        tap.end();
        (is_over, tap.missing_end())
    };
    assert_eq!(after(ARRAY), (true, None));
    assert_eq!(after(ARRAY.trim_end().strip_suffix(']').unwrap()), (false, None));
    assert_eq!(after("[{\"candidates\":[]},{\"error\":{\"code\":503}}"), (false, Some(&b"\n]"[..])));
    assert_eq!(after("[{\"error\":{\"code\":503}},"), (false, None));
    assert_eq!(after("[{\"error\":{\"code\":503}}]"), (true, None));
}

#[test]
fn our_error_does_not_join_an_event_that_lacks_its_line_feed() {
    let error = DialectError::new(502, "cut", "r-1");
    let fault = StreamFault { error, upstream_body: None, response_id: None, sequence_number: 0 };
    let mut tap = StreamTap::new(Dialect::Gemini, Framing::Sse, TapOptions::default());
    tap.observe(b"data: {\"candidates\":[]}\r\n\r");
    tap.end();
    assert!(tap.closing_error(&fault).starts_with(b"\ndata: "));
}
