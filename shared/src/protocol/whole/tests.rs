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
