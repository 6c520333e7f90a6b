use super::*;
use crate::contract::usage::TokenUsage;
use crate::protocol::tally::UsageState;

/// Text, then a tool call; pings anywhere; usage at both ends.
pub(super) const TOOLS: &str = r#"event: message_start
data: {"type":"message_start","message":{"id":"msg_01","type":"message","role":"assistant","model":"claude-sonnet-4-5","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":25,"cache_creation_input_tokens":1200,"cache_read_input_tokens":30000,"cache_creation":{"ephemeral_5m_input_tokens":200,"ephemeral_1h_input_tokens":1000},"output_tokens":1,"service_tier":"standard"}}}

event: ping
data: {"type":"ping"}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"I'll look."}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"toolu_1","name":"ls","input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"p\":1}"}}

event: content_block_stop
data: {"type":"content_block_stop","index":1}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"input_tokens":null,"cache_read_input_tokens":30000,"cache_creation_input_tokens":1200,"output_tokens":89,"server_tool_use":{"web_search_requests":2}}}

event: message_stop
data: {"type":"message_stop"}

"#;

/// A thinking block with its signature, then text.
pub(super) const THINKING: &str = r#"event: message_start
data: {"type":"message_start","message":{"id":"msg_02","model":"claude-opus-4-5","usage":{"input_tokens":10,"output_tokens":1}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Let me see"}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"EqQBCg"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"27 · 453"}}

event: content_block_stop
data: {"type":"content_block_stop","index":1}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":40,"output_tokens_details":{"thinking_tokens":30}}}

event: message_stop
data: {"type":"message_stop"}

"#;

/// Overloaded after HTTP 200, before anything was generated.
pub(super) const OVERLOADED: &str = r#"event: message_start
data: {"type":"message_start","message":{"id":"msg_03","model":"claude-opus-4-5","usage":{"input_tokens":10,"output_tokens":1}}}

: a comment

event: error
data: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_1"}

"#;

/// The facts after the first `n` events of a transcript.
fn after(stream: &str, n: usize) -> StreamFacts {
    let end = stream.match_indices("\n\n").nth(n - 1).map_or(stream.len(), |(at, _)| at + 2);
    sse(Dialect::Anthropic, &stream[..end]).facts
}

#[test]
fn a_tool_call_is_counted_and_ends() {
    let Outcome { facts, gate, .. } = sse(Dialect::Anthropic, TOOLS);
    assert_eq!(gate, Ok(()));
    let usage = TokenUsage {
        input_tokens: 25,
        cache_write_5m_tokens: 200,
        cache_write_1h_tokens: 1000,
        cache_read_tokens: 30_000,
        output_tokens: 89,
        web_search_requests: 2,
        ..TokenUsage::default()
    };
    assert_eq!((facts.usage(), facts.usage_state()), (usage, UsageState::Final));
    assert_eq!(facts.model.as_deref(), Some("claude-sonnet-4-5"));
    assert_eq!(facts.response_id.as_deref(), Some("msg_01"));
    assert_eq!(facts.stop_reason.as_deref(), Some("tool_use"));
    assert_eq!(facts.service_tier.as_deref(), Some("standard"));
    assert!(facts.ended && facts.error.is_none());
    assert_eq!(facts.events, 10, "pings are not counted");
    assert_eq!(facts.content_bytes, 10 + 9);
}

#[test]
fn a_cut_stream_has_not_ended_and_its_output_is_estimated() {
    let facts = after(TOOLS, 8);
    assert!(!facts.ended);
    assert_eq!(facts.usage_state(), UsageState::Started);
    assert_eq!(facts.usage().output_tokens, 1);
    let estimate = facts.estimated_usage();
    assert_eq!((estimate.input_tokens, estimate.cache_read_tokens), (25, 30_000));
    assert_eq!(estimate.output_tokens, (10_u64 + 9).div_ceil(4));
}

#[test]
fn a_forgotten_message_stop_is_no_cut() {
    assert!(after(TOOLS, 10).ended);
    assert_eq!(after(TOOLS, 10).usage_state(), UsageState::Final);
    assert!(!after(TOOLS, 9).ended);
}

#[test]
fn long_silence_is_allowed_exactly_while_a_thinking_block_is_open() {
    let allowed: Vec<bool> = (1..=10).map(|n| after(THINKING, n).allows_long_silence).collect();
    assert_eq!(allowed, [false, true, true, true, false, false, false, false, false, false]);
    let facts = after(THINKING, 10);
    assert_eq!((facts.usage().output_tokens, facts.usage().reasoning_tokens), (40, 30));
}

#[test]
fn an_error_before_content_fails_the_gate_with_its_body() {
    let Outcome { facts, gate, .. } = sse(Dialect::Anthropic, OVERLOADED);
    assert_eq!(gate, Err(GateFailure::ErrorEvent));
    let error = facts.error.unwrap();
    assert_eq!(error.error_type.as_deref(), Some("overloaded_error"));
    assert!(error.payload.starts_with(b"{\"type\":\"error\"") && error.payload.ends_with(b"\"req_1\"}"));
    assert!(!facts.ended);
}

#[test]
fn an_error_after_content_is_the_relays_affair() {
    let until_delta = TOOLS.match_indices("\n\n").nth(3).unwrap().0 + 2;
    let stream =
        format!("{}event: error\ndata: {{\"error\":{{\"type\":\"api_error\"}}}}\n\n", &TOOLS[..until_delta]);
    let Outcome { facts, gate, .. } = sse(Dialect::Anthropic, &stream);
    assert_eq!(gate, Ok(()));
    assert_eq!(facts.error.unwrap().error_type.as_deref(), Some("api_error"));
}

#[test]
fn a_stream_of_a_start_and_a_stop_is_empty() {
    let start = TOOLS.find("\n\n").unwrap() + 2;
    let stream = format!("{}event: message_stop\ndata: {{\"type\":\"message_stop\"}}\n\n", &TOOLS[..start]);
    assert_eq!(sse(Dialect::Anthropic, &stream).gate, Err(GateFailure::Empty));
    assert_eq!(sse(Dialect::Anthropic, &TOOLS[..start]).gate, Err(GateFailure::Empty));
    assert_eq!(sse(Dialect::Anthropic, "").gate, Err(GateFailure::Empty));
    assert_eq!(sse(Dialect::Anthropic, "<html>oops</html>\n\n").gate, Err(GateFailure::Empty));
    assert_eq!(sse(Dialect::Anthropic, "data: oops\n\n").gate, Err(GateFailure::Malformed));
}

#[test]
fn a_refusal_without_a_block_is_an_answer() {
    let stream = "event: message_delta\ndata: {\"delta\":{\"stop_reason\":\"refusal\"},\"usage\":{\"output_tokens\":0}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
    let Outcome { facts, gate, .. } = sse(Dialect::Anthropic, stream);
    assert_eq!(gate, Ok(()));
    assert_eq!(facts.stop_reason.as_deref(), Some("refusal"));
    assert_eq!(facts.usage_state(), UsageState::Final);
}

#[test]
fn full_usage_that_comes_only_at_the_end_is_taken() {
    let stream = concat!(
        "event: message_start\ndata: {\"message\":{\"usage\":{\"input_tokens\":0,\"output_tokens\":0}}}\n\n",
        "event: message_delta\ndata: {\"delta\":{},\"usage\":{\"input_tokens\":70,\"cache_creation_input_tokens\":9,\"output_tokens\":3}}\n\n",
        "event: message_stop\ndata: {}\n\n",
    );
    let facts = sse(Dialect::Anthropic, stream).facts;
    assert_eq!((facts.usage().input_tokens, facts.usage().cache_write_5m_tokens), (70, 9));
    // No stop reason came with it; the end of the stream makes it the last word.
    assert_eq!(facts.usage_state(), UsageState::Final);
}

#[test]
fn a_stream_is_over_with_its_last_event_and_lacks_only_the_line_ends_behind_it() {
    let after = |text: &str| {
        let mut tap = StreamTap::new(Dialect::Anthropic, Framing::Sse, TapOptions::default());
        tap.observe(text.as_bytes());
        let is_over = tap.is_over();
        tap.end();
        (is_over, tap.missing_end())
    };
    let line_ends = Some(&b"\n\n"[..]);
    let stop = "event: message_stop\ndata: {\"type\":\"message_stop\"}";
    assert_eq!(after(&format!("{stop}\n\n")), (true, None));
    assert_eq!(after(&format!("{stop}\n")), (false, line_ends));
    assert_eq!(after(stop), (false, line_ends));
    assert_eq!(after("event: message_stop\ndata: {\"type\":"), (false, None));
    let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\"}}";
    assert_eq!(after(&format!("{error}\n\n")), (true, None));
    assert_eq!(after(error), (false, line_ends));
    assert_eq!(after("event: error\ndata: {\"type\":\"error\",\"err"), (false, None), "ours must follow");
    // All is said, but not that it was all.
    let stopped = "event: message_delta\ndata: {\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n";
    assert_eq!(after(stopped), (false, None));
}

#[test]
fn turns_and_premiums_of_the_last_event_count() {
    let stream = r#"event: message_start
data: {"type":"message_start","message":{"id":"m","model":"claude-opus-5","usage":{"input_tokens":412,"output_tokens":1,"inference_geo":"us","speed":"fast"}}}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":412,"output_tokens":531,"iterations":[{"type":"message","input_tokens":412,"output_tokens":89},{"type":"advisor_message","model":"claude-fable-5","input_tokens":823,"output_tokens":1612},{"type":"message","input_tokens":1348,"output_tokens":442}]}}

event: message_stop
data: {"type":"message_stop"}

"#;
    let facts = sse(Dialect::Anthropic, stream).facts;
    let usage = facts.usage();
    assert_eq!((usage.input_tokens, usage.output_tokens), (412 + 1_348, 531));
    let extras = facts.extras();
    assert_eq!((extras.advised.input_tokens, extras.advised.output_tokens), (823, 1_612));
    assert!(extras.is_fast && extras.is_us_only);
    assert_eq!(facts.advisor.as_deref(), Some("claude-fable-5"));
}
