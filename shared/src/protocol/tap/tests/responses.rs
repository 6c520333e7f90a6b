use super::*;
use crate::contract::usage::TokenUsage;
use crate::protocol::tally::UsageState;

/// Rate limits first, the request's echo, reasoning, a function call, usage in the last event.
pub(super) const REASONING_AND_CALL: &str = r#"event: codex.rate_limits
data: {"type":"codex.rate_limits","plan_type":"plus","rate_limits":{"primary":{"used_percent":12}}}

event: response.created
data: {"type":"response.created","sequence_number":0,"response":{"id":"resp_1","object":"response","status":"in_progress","model":"gpt-5-codex","service_tier":"auto","error":null,"incomplete_details":null,"output":[],"usage":null,"instructions":"You are…"}}

event: response.in_progress
data: {"type":"response.in_progress","sequence_number":1,"response":{"id":"resp_1","status":"in_progress","model":"gpt-5-codex","service_tier":"auto","error":null}}

event: response.output_item.added
data: {"type":"response.output_item.added","sequence_number":2,"output_index":0,"item":{"id":"rs_1","type":"reasoning","summary":[]}}

event: response.reasoning_summary_text.delta
data: {"type":"response.reasoning_summary_text.delta","sequence_number":3,"item_id":"rs_1","delta":"**Looking**"}

event: response.output_item.done
data: {"type":"response.output_item.done","sequence_number":4,"output_index":0,"item":{"id":"rs_1","type":"reasoning"}}

event: response.output_item.added
data: {"type":"response.output_item.added","sequence_number":5,"output_index":1,"item":{"id":"fc_1","type":"function_call","name":"shell","arguments":""}}

event: response.function_call_arguments.delta
data: {"type":"response.function_call_arguments.delta","sequence_number":6,"item_id":"fc_1","delta":"{}"}

event: response.output_item.done
data: {"type":"response.output_item.done","sequence_number":7,"output_index":1,"item":{"id":"fc_1","type":"function_call","arguments":"{}"}}

event: response.completed
data: {"type":"response.completed","sequence_number":8,"response":{"id":"resp_1","status":"completed","model":"gpt-5-codex","service_tier":"default","error":null,"output":[{"type":"function_call"}],"usage":{"input_tokens":5000,"input_tokens_details":{"cached_tokens":4096,"cache_write_tokens":100},"output_tokens":300,"output_tokens_details":{"reasoning_tokens":256},"total_tokens":5300}}}

"#;

/// The output limit was reached: usage all the same.
pub(super) const INCOMPLETE: &str = r#"event: response.created
data: {"type":"response.created","response":{"id":"resp_2","model":"gpt-5"}}

event: response.output_text.delta
data: {"type":"response.output_text.delta","delta":"Once"}

event: response.incomplete
data: {"type":"response.incomplete","response":{"id":"resp_2","status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},"usage":{"input_tokens":10,"output_tokens":16}}}

"#;

fn after(n: usize) -> StreamFacts {
    let end = REASONING_AND_CALL.match_indices("\n\n").nth(n - 1).unwrap().0 + 2;
    sse(Dialect::OpenaiResponses, &REASONING_AND_CALL[..end]).facts
}

/// Codex's backend leaves the last event's `output` empty; others repeat all items there.
#[test]
fn searches_of_a_stream_are_counted_once() {
    let item = |action: &str| {
        let item =
            format!(r#"{{"type":"web_search_call","status":"completed","action":{{"type":"{action}"}}}}"#);
        (format!("event: response.output_item.done\ndata: {{\"item\":{item}}}\n\n"), item)
    };
    let (events, items): (Vec<_>, Vec<_>) = ["search", "open_page", "search"].map(item).into_iter().unzip();
    for output in [String::new(), items.join(",")] {
        let end = format!(
            "event: response.completed\ndata: {{\"response\":{{\"status\":\"completed\",\"output\":[{output}],\
             \"usage\":{{\"input_tokens\":9,\"output_tokens\":1}}}}}}\n\n"
        );
        let facts = sse(Dialect::OpenaiResponses, &(events.concat() + &end)).facts;
        assert_eq!(facts.usage_state(), UsageState::Final);
        assert_eq!(facts.usage().web_search_requests, 2, "{output}");
    }
}

#[test]
fn a_completed_response_is_counted_from_its_last_event() {
    let Outcome { facts, gate, .. } = sse(Dialect::OpenaiResponses, REASONING_AND_CALL);
    assert_eq!(gate, Ok(()));
    let usage = TokenUsage {
        input_tokens: 5000 - 4096 - 100,
        cache_write_5m_tokens: 100,
        cache_read_tokens: 4096,
        output_tokens: 300,
        reasoning_tokens: 256,
        ..TokenUsage::default()
    };
    assert_eq!((facts.usage(), facts.usage_state()), (usage, UsageState::Final));
    assert_eq!(facts.model.as_deref(), Some("gpt-5-codex"));
    assert_eq!(facts.response_id.as_deref(), Some("resp_1"));
    assert_eq!(facts.stop_reason.as_deref(), Some("completed"));
    assert_eq!(facts.service_tier.as_deref(), Some("default"), "the tier given, not the one asked for");
    assert!(facts.ended);
}

#[test]
fn the_gate_waits_for_the_first_item() {
    for n in 1..=3 {
        assert!(!after(n).has_content, "{n}");
    }
    assert!(after(4).has_content);
}

#[test]
fn long_silence_is_allowed_before_the_first_item_and_while_it_reasons() {
    let allowed: Vec<bool> = (1..=8).map(|n| after(n).allows_long_silence).collect();
    assert_eq!(allowed, [true, true, true, true, true, false, false, false]);
}

#[test]
fn an_incomplete_response_is_an_answer_and_counted() {
    let Outcome { facts, gate, .. } = sse(Dialect::OpenaiResponses, INCOMPLETE);
    assert_eq!(gate, Ok(()));
    assert_eq!((facts.usage().input_tokens, facts.usage().output_tokens), (10, 16));
    assert_eq!(facts.stop_reason.as_deref(), Some("max_output_tokens"));
    assert!(facts.ended && !facts.allows_long_silence);
}

#[test]
fn a_failure_before_content_fails_the_gate_and_is_counted() {
    let stream = concat!(
        "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"r\"}}\n\n",
        "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"id\":\"r\",\"status\":\"failed\",",
        "\"error\":{\"code\":\"server_is_overloaded\",\"message\":\"busy\"},\"usage\":{\"input_tokens\":9,\"output_tokens\":0}}}\n\n",
    );
    let Outcome { facts, gate, .. } = sse(Dialect::OpenaiResponses, stream);
    assert_eq!(gate, Err(GateFailure::ErrorEvent));
    assert_eq!(facts.usage().input_tokens, 9);
    assert_eq!(facts.error.unwrap().code.as_deref(), Some("server_is_overloaded"));
    assert!(facts.ended);
}

#[test]
fn our_error_goes_on_with_the_streams_id_and_numbers() {
    let mut tap = StreamTap::new(Dialect::OpenaiResponses, Framing::Sse, TapOptions::default());
    let end = INCOMPLETE.match_indices("\n\n").nth(1).unwrap().0 + 2;
    tap.push(Bytes::from_static(&INCOMPLETE.as_bytes()[..end]));
    let error = DialectError::new(502, "cut", "r-1");
    let fault = StreamFault { error, upstream_body: None, response_id: None, sequence_number: 0 };
    let closing = String::from_utf8(tap.closing_error(&fault)).unwrap();
    assert!(closing.starts_with("event: response.failed\n"));
    assert!(closing.contains(r#""sequence_number":2"#) && closing.contains(r#""id":"resp_2""#), "{closing}");
}
