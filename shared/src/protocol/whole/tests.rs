use super::*;

fn verdict(dialect: Dialect, expect: Expect, body: &str) -> WholeVerdict {
    read(dialect, expect, body.as_bytes()).verdict
}

#[test]
fn an_answer_is_fine_and_counted() {
    let body = r#"{"id":"msg_1","type":"message","model":"claude-x","content":[{"type":"text","text":"hi"}],
        "stop_reason":"end_turn","usage":{"input_tokens":10,"cache_creation_input_tokens":7,
        "cache_creation":{"ephemeral_5m_input_tokens":3,"ephemeral_1h_input_tokens":4},
        "cache_read_input_tokens":5,"output_tokens":2,"server_tool_use":{"web_search_requests":1},
        "service_tier":"standard"}}"#;
    let facts = read(Dialect::Anthropic, Expect::Generation, body.as_bytes());
    let usage = TokenUsage {
        input_tokens: 10,
        cache_write_5m_tokens: 3,
        cache_write_1h_tokens: 4,
        cache_read_tokens: 5,
        output_tokens: 2,
        web_search_requests: 1,
        ..TokenUsage::default()
    };
    assert_eq!(
        (facts.verdict, facts.usage, facts.usage_state),
        (WholeVerdict::Fine, usage, UsageState::Final)
    );
    assert_eq!(facts.model.as_deref(), Some("claude-x"));
    assert_eq!(facts.stop_reason.as_deref(), Some("end_turn"));
    assert_eq!(facts.service_tier.as_deref(), Some("standard"));
    assert_eq!(facts.response_id.as_deref(), Some("msg_1"));
}

/// The examples of platform.claude.com "Compaction" and "Advisor tool" (usage and billing).
#[test]
fn turns_that_the_sums_leave_out_are_counted() {
    let of = |usage: &str| {
        let body =
            format!(r#"{{"type":"message","content":[{{"type":"text","text":"hi"}}],"usage":{usage}}}"#);
        read(Dialect::Anthropic, Expect::Generation, body.as_bytes())
    };
    let tokens = |input_tokens, cache_read_tokens, output_tokens| TokenUsage {
        input_tokens,
        cache_read_tokens,
        output_tokens,
        ..TokenUsage::default()
    };
    let compacted = of(r#"{"input_tokens":23000,"output_tokens":1000,"iterations":[
        {"type":"compaction","input_tokens":180000,"output_tokens":3500},
        {"type":"message","input_tokens":23000,"output_tokens":1000}]}"#);
    assert_eq!(compacted.usage, tokens(203_000, 0, 4_500));
    let advised = of(
        r#"{"input_tokens":412,"cache_read_input_tokens":0,"cache_creation_input_tokens":0,"output_tokens":531,
        "iterations":[{"type":"message","input_tokens":412,"cache_read_input_tokens":0,"output_tokens":89},
        {"type":"advisor_message","model":"claude-fable-5","input_tokens":823,"output_tokens":1612},
        {"type":"message","input_tokens":1348,"cache_read_input_tokens":412,"output_tokens":442}]}"#,
    );
    assert_eq!(advised.usage, tokens(412 + 1_348, 412, 531));
    assert_eq!(advised.extras.advised, tokens(823, 0, 1_612));
    assert_eq!(advised.advisor.as_deref(), Some("claude-fable-5"));
    // A turn without output is not billed, one of an unknown kind is left to the sums, and oddities are no error.
    let odd = of(
        r#"{"input_tokens":5,"output_tokens":7,"speed":"fast","inference_geo":"us","iterations":[null,3,
        {"type":"message","input_tokens":900,"output_tokens":0},{"type":"else","input_tokens":900,"output_tokens":1}]}"#,
    );
    assert_eq!((odd.usage, odd.extras.advised), (tokens(5, 0, 7), TokenUsage::default()));
    assert!(odd.extras.is_fast && odd.extras.is_us_only);
    let plain =
        of(r#"{"input_tokens":5,"output_tokens":7,"speed":"standard","inference_geo":"not_available"}"#);
    assert_eq!((plain.extras, plain.advisor), (Extras::default(), None));
}

#[test]
fn searches_are_counted_by_what_they_leave_in_the_answer() {
    let openai = r#"{"object":"response","status":"completed","output":[
        {"type":"web_search_call","status":"completed","action":{"type":"search","query":"a","queries":["a","b"]}},
        {"type":"web_search_call","status":"completed","action":{"type":"open_page","url":"https://example.com"}},
        {"type":"web_search_call","status":"completed"},{"type":"function_call","name":"web_search_call"},
        {"type":"message","content":[{"type":"output_text","text":"web_search_call"}]}],
        "usage":{"input_tokens":319,"output_tokens":556}}"#;
    let facts = read(Dialect::OpenaiResponses, Expect::Generation, openai.as_bytes());
    assert_eq!((facts.usage.web_search_requests, facts.usage.input_tokens), (2, 319));
    let gemini = r#"{"candidates":[{"content":{"parts":[{"text":"x"}]},"finishReason":"STOP","groundingMetadata":
        {"webSearchQueries":["","a","b","a",null],"groundingChunks":[]}}],"usageMetadata":{"promptTokenCount":8,
        "candidatesTokenCount":3}}"#;
    let facts = read(Dialect::Gemini, Expect::Generation, gemini.as_bytes());
    assert_eq!((facts.usage.web_search_requests, facts.usage.input_tokens), (2, 8));
}

#[test]
fn chat_counts_cached_input_once() {
    let body = r#"{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":100,
        "completion_tokens":20,"prompt_tokens_details":{"cached_tokens":60,"cache_write_tokens":30},
        "completion_tokens_details":{"reasoning_tokens":15}}}"#;
    let facts = read(Dialect::OpenaiChat, Expect::Generation, body.as_bytes());
    let usage = TokenUsage {
        input_tokens: 10,
        cache_write_5m_tokens: 30,
        cache_read_tokens: 60,
        output_tokens: 20,
        reasoning_tokens: 15,
        ..TokenUsage::default()
    };
    assert_eq!((facts.usage, facts.usage_state), (usage, UsageState::Final));
}

#[test]
fn what_is_no_answer_under_a_good_status_is_told_apart() {
    use WholeVerdict::{Empty, ErrorInside, Fine, Html, NotJson};
    for dialect in Dialect::ALL {
        for (body, generation, any) in [
            ("", Empty, Empty),
            (" \n", Empty, Empty),
            ("\u{feff}<!DOCTYPE html><p>", Html, Html),
            ("  <HTML lang=en>", Html, Html),
            ("upstream connect error", NotJson, NotJson),
            (r#"{"error":{"message":"no"}}"#, ErrorInside, ErrorInside),
            (r#"{"error":"no"}"#, ErrorInside, ErrorInside),
            ("{}", Empty, Fine),
            (r#"{"error":{}}"#, Empty, Fine),
            (r#"{"object":"list","data":[]}"#, Empty, Fine),
            ("[]", Empty, Fine),
        ] {
            assert_eq!(verdict(dialect, Expect::Generation, body), generation, "{dialect:?} {body}");
            assert_eq!(verdict(dialect, Expect::AnyJson, body), any, "{dialect:?} {body}");
        }
    }
}

#[test]
fn broken_characters_do_not_make_an_answer_broken() {
    let body = b"{\"choices\":[{\"message\":{\"content\":\"\xf0\x9f\"}}],\"model\":\"m\xff\"}";
    let facts = read(Dialect::OpenaiChat, Expect::Generation, body);
    assert_eq!((facts.verdict, facts.model.as_deref()), (WholeVerdict::Fine, Some("m\u{fffd}")));
}
