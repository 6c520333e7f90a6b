//! Every dialect's answers are well-formed: valid JSON, the vendor's order of events, the same text and usage
//! streamed and whole.

use super::*;
use crate::script::{ErrorWords, ToolCall};
use crate::stage::{Tool, Wanted};
use serde_json::{Value, json};

const ID24: &str = "sim240000000000000000001";

fn asked(endpoint: Endpoint, is_stream: bool) -> Asked {
    Asked { is_stream, include_usage: true, ..Asked::unread(endpoint, "model-x".into()) }
}

fn body(asked: &Asked, script: &Script) -> String {
    String::from_utf8(template(asked, script).press(ID24).bytes.to_vec()).unwrap()
}

fn whole(endpoint: Endpoint, script: &Script) -> Value {
    serde_json::from_str(&body(&asked(endpoint, false), script)).unwrap()
}

/// The events of an SSE body: name and data.
fn sse(body: &str) -> Vec<(Option<String>, Value)> {
    let events = body.replace("\r\n", "\n");
    let events = events.strip_suffix("\n\n").expect("the last event is closed");
    let event = |event: &str| {
        let name = event.lines().find_map(|line| line.strip_prefix("event: ")).map(str::to_owned);
        let data = event.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
        (name, serde_json::from_str(data).unwrap_or_else(|_| json!(data)))
    };
    events.split("\n\n").map(event).collect()
}

fn stream(endpoint: Endpoint, script: &Script) -> Vec<(Option<String>, Value)> {
    sse(&body(&asked(endpoint, true), script))
}

fn types(events: &[(Option<String>, Value)]) -> Vec<&str> {
    let mut types: Vec<&str> = events.iter().map(|(_, data)| data["type"].as_str().unwrap()).collect();
    types.dedup();
    types
}

fn full_usage() -> Usage {
    Usage {
        input: 11,
        cache_read: 22,
        cache_write_5m: 33,
        cache_write_1h: 44,
        output: 55,
        reasoning: 6,
        web_search_requests: 7,
    }
}

fn thinking() -> Script {
    Script { thinking: true, usage: Some(full_usage()), ..Script::default() }
}

const GENERATIONS: [(Endpoint, bool); 12] = [
    (Endpoint::AnthropicMessages, false),
    (Endpoint::AnthropicMessages, true),
    (Endpoint::OpenaiChat, false),
    (Endpoint::OpenaiChat, true),
    (Endpoint::OpenaiCompletions, false),
    (Endpoint::OpenaiCompletions, true),
    (Endpoint::OpenaiResponses, false),
    (Endpoint::OpenaiResponses, true),
    (Endpoint::OpenaiEmbeddings, false),
    (Endpoint::GeminiGenerate, false),
    (Endpoint::GeminiStream, true),
    (Endpoint::GeminiStreamArray, true),
];

#[test]
fn an_anthropic_stream_has_the_documented_order_and_the_whole_message_s_content() {
    let events = stream(Endpoint::AnthropicMessages, &thinking());
    assert!(events.iter().all(|(name, data)| name.as_deref() == data["type"].as_str()));
    assert_eq!(
        types(&events),
        [
            "message_start",
            "content_block_start",
            "ping",
            "content_block_delta",
            "content_block_stop",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop"
        ]
    );
    let message = whole(Endpoint::AnthropicMessages, &thinking());
    let deltas = |kind: &str, field: &str| -> String {
        let deltas = events.iter().filter(|(_, data)| data["delta"]["type"] == kind);
        deltas.map(|(_, data)| data["delta"][field].as_str().unwrap()).collect()
    };
    assert_eq!(message["content"][0]["thinking"], deltas("thinking_delta", "thinking"));
    assert_eq!(message["content"][0]["signature"], deltas("signature_delta", "signature"));
    assert_eq!(message["content"][1]["text"], deltas("text_delta", "text"));
    assert_eq!(message["id"], format!("msg_{ID24}"));
    assert_eq!(events[0].1["message"]["id"], message["id"]);
}

#[test]
fn anthropic_usage_is_uncached_input_and_cumulative_output() {
    let told = json!({"input_tokens": 11, "cache_creation_input_tokens": 77, "cache_read_input_tokens": 22,
        "output_tokens": 55, "output_tokens_details": {"thinking_tokens": 6},
        "server_tool_use": {"web_search_requests": 7, "web_fetch_requests": 0}});
    let events = stream(Endpoint::AnthropicMessages, &thinking());
    let start = &events[0].1["message"]["usage"];
    assert_eq!(start["cache_creation"]["ephemeral_5m_input_tokens"], 33);
    assert_eq!(start["cache_creation"]["ephemeral_1h_input_tokens"], 44);
    assert_eq!(start["output_tokens"], 1);
    assert_eq!(events[events.len() - 2].1["usage"], told);
    let late = Script { usage_only_in_last_event: true, ..thinking() };
    let events = stream(Endpoint::AnthropicMessages, &late);
    assert_eq!(events[0].1["message"]["usage"]["input_tokens"], 0);
    let last = &events[events.len() - 2].1["usage"];
    assert_eq!(last["cache_creation"]["ephemeral_1h_input_tokens"], 44);
}

#[test]
fn a_chat_stream_begins_with_the_role_and_ends_with_finish_usage_done() {
    let script = thinking();
    let events = stream(Endpoint::OpenaiChat, &script);
    assert_eq!(events[0].1["choices"][0]["delta"]["role"], "assistant");
    let [.., finish, usage, done] = &events[..] else { panic!("too short") };
    assert_eq!(finish.1["choices"][0]["finish_reason"], "stop");
    assert_eq!(usage.1["choices"], json!([]));
    assert_eq!(usage.1["usage"]["prompt_tokens"], 110);
    assert_eq!(
        usage.1["usage"]["prompt_tokens_details"],
        json!({"cached_tokens": 22, "cache_write_tokens": 77, "audio_tokens": 0})
    );
    assert_eq!(usage.1["usage"]["total_tokens"], 165);
    assert_eq!(done.1, "[DONE]");
    let message = whole(Endpoint::OpenaiChat, &script);
    let text = |field: &str| -> String {
        let deltas = events.iter().filter_map(|(_, data)| data["choices"][0]["delta"][field].as_str());
        deltas.collect()
    };
    assert_eq!(message["choices"][0]["message"]["content"], text("content"));
    assert_eq!(message["choices"][0]["message"]["reasoning_content"], text("reasoning_content"));
    assert_eq!(message["usage"], usage.1["usage"]);
}

#[test]
fn a_chat_stream_has_usage_only_when_it_was_asked_for() {
    let asked = Asked { include_usage: false, ..asked(Endpoint::OpenaiChat, true) };
    let tape = template(&asked, &Script::default()).press(ID24);
    let events = sse(std::str::from_utf8(&tape.bytes).unwrap());
    assert!(events.iter().all(|(_, data)| data.get("usage").is_none()));
    assert!(tape.events.iter().all(|event| event.told.is_none()));
}

#[test]
fn a_responses_stream_is_numbered_and_ends_with_the_whole_response() {
    let events = stream(Endpoint::OpenaiResponses, &thinking());
    for (number, (name, data)) in events.iter().enumerate() {
        assert_eq!(data["sequence_number"], number);
        assert_eq!(name.as_deref(), data["type"].as_str());
    }
    assert_eq!(
        types(&events),
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.reasoning_summary_part.added",
            "response.reasoning_summary_text.delta",
            "response.reasoning_summary_text.done",
            "response.reasoning_summary_part.done",
            "response.output_item.done",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed"
        ]
    );
    let response = whole(Endpoint::OpenaiResponses, &thinking());
    let (_, last) = events.last().unwrap();
    assert_eq!(last["response"], response);
    let done = events.iter().filter(|(name, _)| name.as_deref() == Some("response.output_item.done"));
    let items: Vec<&Value> = done.map(|(_, data)| &data["item"]).collect();
    assert_eq!(json!(items), response["output"]);
    assert_eq!(response["usage"]["input_tokens"], 110);
    assert_eq!(
        response["usage"]["input_tokens_details"],
        json!({"cached_tokens": 22, "cache_write_tokens": 77})
    );
}

#[test]
fn an_incomplete_response_says_so_and_still_has_usage() {
    let script = Script { stop_reason: Some("max_output_tokens".into()), ..Script::default() };
    let events = stream(Endpoint::OpenaiResponses, &script);
    let (_, last) = events.last().unwrap();
    assert_eq!(last["type"], "response.incomplete");
    assert_eq!(last["response"]["incomplete_details"]["reason"], "max_output_tokens");
    assert_eq!(last["response"]["usage"]["output_tokens"], 12);
}

#[test]
fn gemini_frames_repeat_a_growing_usage_and_both_framings_hold_the_same_frames() {
    let frames: Vec<Value> =
        stream(Endpoint::GeminiStream, &thinking()).into_iter().map(|(_, data)| data).collect();
    let array: Vec<Value> =
        serde_json::from_str(&body(&asked(Endpoint::GeminiStreamArray, true), &thinking())).unwrap();
    assert_eq!(frames, array);
    let output = |frame: &Value| {
        let usage = &frame["usageMetadata"];
        let thoughts = usage["thoughtsTokenCount"].as_u64().unwrap_or(0);
        usage["candidatesTokenCount"].as_u64().unwrap() + thoughts
    };
    assert!(frames.windows(2).all(|pair| output(&pair[0]) <= output(&pair[1])));
    let last = frames.last().unwrap();
    assert_eq!(last["candidates"][0]["finishReason"], "STOP");
    let answer = whole(Endpoint::GeminiGenerate, &thinking());
    assert_eq!(last["usageMetadata"], answer["usageMetadata"]);
    assert_eq!(answer["usageMetadata"]["promptTokenCount"], 33);
    assert_eq!(answer["usageMetadata"]["cachedContentTokenCount"], 22);
    assert_eq!(answer["usageMetadata"]["candidatesTokenCount"], 49);
    assert_eq!(answer["usageMetadata"]["totalTokenCount"], 88);
    let late = Script { usage_only_in_last_event: true, ..Script::default() };
    let frames = stream(Endpoint::GeminiStream, &late);
    let with_usage = frames.iter().filter(|(_, data)| data.get("usageMetadata").is_some());
    assert_eq!(with_usage.count(), 1);
}

#[test]
fn a_tool_call_s_arguments_come_together_in_every_dialect() {
    let schema = json!({"type":"object","required":["city"],"properties":{"city":{"type":"string"}}});
    let tools = vec![Tool { name: "weather".into(), schema }];
    let arguments = json!({"city": "simulated"});
    let body = |endpoint, is_stream| {
        let wants_tool = Some(Wanted::Named("weather".into()));
        body(&Asked { tools: tools.clone(), wants_tool, ..asked(endpoint, is_stream) }, &Script::default())
    };
    let joined = |events: &[(Option<String>, Value)], at: fn(&Value) -> &Value| -> Value {
        let pieces: String = events.iter().filter_map(|(_, data)| at(data).as_str()).collect();
        serde_json::from_str(&pieces).unwrap()
    };

    let events = sse(&body(Endpoint::AnthropicMessages, true));
    assert_eq!(joined(&events, |data| &data["delta"]["partial_json"]), arguments);
    assert_eq!(events[events.len() - 2].1["delta"]["stop_reason"], "tool_use");
    let message: Value = serde_json::from_str(&body(Endpoint::AnthropicMessages, false)).unwrap();
    assert_eq!(message["content"][1]["input"], arguments);

    let events = sse(&body(Endpoint::OpenaiChat, true));
    let at: fn(&Value) -> &Value =
        |data| &data["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"];
    assert_eq!(joined(&events, at), arguments);
    let whole: Value = serde_json::from_str(&body(Endpoint::OpenaiChat, false)).unwrap();
    let call = &whole["choices"][0]["message"]["tool_calls"][0];
    assert_eq!(call["function"]["arguments"], arguments.to_string());
    assert!(call.get("index").is_none());

    let events = sse(&body(Endpoint::OpenaiResponses, true));
    assert_eq!(joined(&events, |data| &data["delta"]), arguments);
    let whole: Value = serde_json::from_str(&body(Endpoint::OpenaiResponses, false)).unwrap();
    assert_eq!(whole["output"][0]["arguments"], arguments.to_string());

    let events = sse(&body(Endpoint::GeminiStream, true));
    assert_eq!(events[0].1["candidates"][0]["content"]["parts"][0]["functionCall"]["args"], arguments);
}

#[test]
fn what_a_tape_says_it_told_is_the_script_s_usage_as_the_dialect_can_tell_it() {
    for (endpoint, is_stream) in GENERATIONS {
        let script = thinking();
        let tape = template(&asked(endpoint, is_stream), &script).press(ID24);
        assert_eq!(tape.events.last().unwrap().told, usage(endpoint, &script), "{endpoint:?}");
        let silent = Script { no_usage: true, ..script };
        let body = body(&asked(endpoint, is_stream), &silent);
        assert!(!body.contains("input_tokens") && !body.contains("prompt_tokens"), "{endpoint:?}: {body}");
        assert!(!body.contains("TokenCount"), "{endpoint:?}: {body}");
    }
}

#[test]
fn a_body_can_be_made_exactly_so_long_and_stays_valid() {
    for (endpoint, is_stream) in GENERATIONS {
        if endpoint == Endpoint::OpenaiEmbeddings {
            continue;
        }
        for len in [20_000, 20_001, 20_002, 20_003, 20_004] {
            let asked = asked(endpoint, is_stream);
            let found = template_of_len(&asked, &Script::default(), len).unwrap();
            let tape = found.press(ID24);
            assert_eq!(tape.bytes.len(), len, "{endpoint:?}");
            let text = std::str::from_utf8(&tape.bytes).unwrap();
            if is_stream && endpoint != Endpoint::GeminiStreamArray {
                assert!(!sse(text).is_empty());
            } else {
                assert!(serde_json::from_str::<Value>(text).is_ok());
            }
        }
        assert!(template_of_len(&asked(endpoint, is_stream), &Script::default(), 10).is_none());
    }
}

#[test]
fn every_refusal_is_valid_json_in_the_vendor_s_envelope() {
    for (endpoint, at) in [
        (Endpoint::AnthropicMessages, "type"),
        (Endpoint::OpenaiChat, "type"),
        (Endpoint::OpenaiResponses, "type"),
        (Endpoint::GeminiGenerate, "status"),
    ] {
        for status in [400, 401, 402, 403, 404, 408, 413, 429, 500, 502, 503, 504, 529] {
            let words = ErrorWords { message: Some("own \"words\"".into()), ..ErrorWords::default() };
            for words in [None, Some(&words)] {
                let case = Case {
                    endpoint,
                    status,
                    model: "m\"x",
                    words,
                    retry_after_secs: Some(7),
                    says_wait_in_body: true,
                    id: ID24,
                };
                let refusal = case.refusal();
                let body: Value = serde_json::from_str(&refusal.body).unwrap();
                assert!(body["error"][at].is_string() && body["error"]["message"].is_string(), "{body}");
                assert_eq!(body["error"]["message"] == "own \"words\"", words.is_some());
                let has_delay =
                    refusal.headers.iter().any(|(name, value)| *name == "retry-after" && value == "7")
                        || refusal.body.contains(r#""retryDelay":"7s""#);
                assert!(has_delay, "{endpoint:?} {status}");
                assert!(!sse(&case.in_stream(3, false)).is_empty());
            }
        }
    }
}

#[test]
fn a_scripted_tool_call_keeps_its_own_arguments() {
    let tools = vec![Tool { name: "f".into(), schema: Value::Null }];
    let call = ToolCall { name: Some("f".into()), arguments: Some(json!({"a": [1, "\""]})) };
    let script = Script { tool_call: Some(call), ..Script::default() };
    let asked = Asked { tools, ..asked(Endpoint::AnthropicMessages, false) };
    let message: Value = serde_json::from_str(&body(&asked, &script)).unwrap();
    assert_eq!(message["content"][1]["input"], json!({"a": [1, "\""]}));
}
