use super::*;
use crate::contract::usage::TokenUsage;
use crate::protocol::tally::UsageState;

/// Two words and the chunk that comes for usage alone.
pub(super) const TEXT_WITH_USAGE: &str = r#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-5","service_tier":"default","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}],"usage":null}

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-5","choices":[{"index":0,"delta":{"content":"Hello"},"logprobs":null,"finish_reason":null}],"usage":null}

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-5","choices":[{"index":0,"delta":{"content":" there"},"logprobs":null,"finish_reason":null}],"usage":null}

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-5","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null}

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-5","choices":[],"usage":{"prompt_tokens":1000,"completion_tokens":9,"total_tokens":1009,"prompt_tokens_details":{"cached_tokens":896,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":4}}}

data: [DONE]

"#;

/// A provider of its own mind: comments, CR-free reasoning first, a tool call, usage on the last chunk.
pub(super) const REASONING_AND_TOOLS: &str = r#": OPENROUTER PROCESSING

data: {"id":"gen-1","model":"deepseek-r1","choices":[{"index":0,"delta":{"role":"assistant","content":"","reasoning_content":"Hmm, "}}]}

data: {"id":"gen-1","model":"deepseek-r1","choices":[{"index":0,"delta":{"content":null,"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"ls","arguments":""}}]}}]}

data: {"id":"gen-1","model":"deepseek-r1","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"a\":1}"}}]}}]}

data: {"id":"gen-1","model":"deepseek-r1","choices":[{"index":0,"delta":{"content":""},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":50,"completion_tokens":20,"prompt_cache_hit_tokens":30,"prompt_cache_miss_tokens":20}}

data: [DONE]

"#;

fn extra_chunk() -> &'static str {
    let start = TEXT_WITH_USAGE.match_indices("\n\n").nth(3).unwrap().0 + 2;
    let end = TEXT_WITH_USAGE.match_indices("\n\n").nth(4).unwrap().0 + 2;
    &TEXT_WITH_USAGE[start..end]
}

#[test]
fn usage_is_taken_from_the_last_chunk_with_cached_input_apart() {
    let Outcome { facts, gate, .. } = sse(Dialect::OpenaiChat, TEXT_WITH_USAGE);
    assert_eq!(gate, Ok(()));
    let usage = TokenUsage {
        input_tokens: 104,
        cache_read_tokens: 896,
        output_tokens: 9,
        reasoning_tokens: 4,
        ..TokenUsage::default()
    };
    assert_eq!((facts.usage(), facts.usage_state()), (usage, UsageState::Final));
    assert_eq!(facts.model.as_deref(), Some("gpt-5"));
    assert_eq!(facts.stop_reason.as_deref(), Some("stop"));
    assert_eq!(facts.service_tier.as_deref(), Some("default"));
    assert!(facts.ended);
    assert_eq!(facts.content_bytes, 11);
}

#[test]
fn the_chunk_the_seat_did_not_ask_for_is_withheld_and_nothing_else() {
    let tap = || StreamTap::new(Dialect::OpenaiChat, Framing::Sse, WITHHOLD);
    let expected = TEXT_WITH_USAGE.replace(extra_chunk(), "");
    for size in [1, 7, 100, 10_000] {
        let outcome = run(tap(), TEXT_WITH_USAGE.as_bytes().chunks(size));
        assert!(outcome.relayed == expected.as_bytes(), "in chunks of {size}");
        assert_eq!(outcome.facts.usage().output_tokens, 9);
    }
    // Usage on a chunk with choices is the provider's way: it passes.
    let outcome = run(tap(), [REASONING_AND_TOOLS.as_bytes()]);
    assert!(outcome.relayed == REASONING_AND_TOOLS.as_bytes());
}

#[test]
fn a_withheld_chunk_may_be_the_last_bytes_without_a_blank_line() {
    let stream = format!("data: {{\"choices\":[]}}\n\n{}", extra_chunk().trim_end());
    let outcome = run(StreamTap::new(Dialect::OpenaiChat, Framing::Sse, WITHHOLD), [stream.as_bytes()]);
    assert_eq!(outcome.relayed, b"data: {\"choices\":[]}\n\n");
    assert_eq!(outcome.facts.usage_state(), UsageState::Final);
}

#[test]
fn reasoning_tools_and_usage_on_the_last_chunk_are_read() {
    let Outcome { facts, gate, .. } = sse(Dialect::OpenaiChat, REASONING_AND_TOOLS);
    assert_eq!(gate, Ok(()));
    assert_eq!((facts.usage().input_tokens, facts.usage().cache_read_tokens), (20, 30));
    assert_eq!(facts.usage_state(), UsageState::Final);
    assert_eq!(facts.stop_reason.as_deref(), Some("tool_calls"));
    assert!(facts.ended && !facts.allows_long_silence);
    let until_reasoning = REASONING_AND_TOOLS.match_indices("\n\n").nth(1).unwrap().0 + 2;
    assert!(sse(Dialect::OpenaiChat, &REASONING_AND_TOOLS[..until_reasoning]).facts.allows_long_silence);
}

#[test]
fn the_end_after_a_finish_reason_is_an_end_and_before_it_a_cut() {
    let until = |n: usize| {
        let end = TEXT_WITH_USAGE.match_indices("\n\n").nth(n - 1).unwrap().0 + 2;
        sse(Dialect::OpenaiChat, &TEXT_WITH_USAGE[..end]).facts
    };
    assert!(until(4).ended);
    assert_eq!(until(4).usage_state(), UsageState::Unseen);
    assert!(!until(3).ended);
    assert_eq!(until(3).estimated_usage().output_tokens, 3);
}

#[test]
fn errors_are_told_before_and_after_content() {
    let error = "data: {\"error\":{\"message\":\"boom\",\"type\":\"server_error\",\"code\":502}}\n\n";
    let before = sse(Dialect::OpenaiChat, error);
    assert_eq!(before.gate, Err(GateFailure::ErrorEvent));
    assert_eq!(before.facts.error.unwrap().code.as_deref(), Some("502"));
    let content = "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n";
    let after = sse(Dialect::OpenaiChat, &format!("{content}{error}"));
    assert_eq!(after.gate, Ok(()));
    assert!(after.facts.error.is_some() && !after.facts.ended);
    assert_eq!(sse(Dialect::OpenaiChat, "data: [DONE]\n\n").gate, Err(GateFailure::Empty));
    assert_eq!(sse(Dialect::OpenaiChat, "data: [DONE]").gate, Err(GateFailure::Empty));
}

#[test]
fn a_character_cut_between_two_events_breaks_nothing() {
    let mut stream = b"data: {\"choices\":[{\"delta\":{\"content\":\"\xf0\x9f\"}}]}\n\n".to_vec();
    stream.extend(br#"data: {"choices":[{"delta":{"content":"\ud83d"},"finish_reason":"stop"}]}"#);
    let outcome =
        run(StreamTap::new(Dialect::OpenaiChat, Framing::Sse, TapOptions::default()), [&stream[..]]);
    assert_eq!(outcome.gate, Ok(()));
    assert!(outcome.facts.ended);
    assert_eq!(outcome.facts.events, 2);
}
