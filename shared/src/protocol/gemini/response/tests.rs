use super::*;

fn read(data: &str) -> EventFacts<'_> {
    classify(b"", data.as_bytes())
}

#[test]
fn the_gate_opens_at_parts_a_finish_reason_or_prompt_feedback() {
    use EventKind::{Content, Error, Malformed, Other, Preamble};
    for (data, expected) in [
        (r#"{"candidates":[{"content":{"parts":[{"text":""}]}}]}"#, Content),
        (r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f"}}]}}]}"#, Content),
        (r#"{"candidates":[{"finishReason":"SAFETY"}]}"#, Content),
        (r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#, Content),
        (r#"{"response":{"candidates":[{"content":{"parts":[{"text":"x"}]}}]}}"#, Content),
        (r#"{"candidates":[{"content":{"role":"model"}}]}"#, Preamble),
        (r#"{"candidates":[{"content":{"parts":[]}}]}"#, Preamble),
        (r#"{"usageMetadata":{"promptTokenCount":3}}"#, Preamble),
        (r#"{"x":1}"#, Other),
        (r#"{"error":{"code":503,"status":"UNAVAILABLE"}}"#, Error),
        (r#"{"response":{"error":{"code":503}}}"#, Error),
        ("{", Malformed),
    ] {
        assert_eq!(read(data).kind, expected, "{data}");
    }
}

#[test]
fn a_finish_reason_and_a_blocked_prompt_stop() {
    let stop = read(r#"{"candidates":[{"content":{"parts":[{"text":"x"}]},"finishReason":"MAX_TOKENS"}]}"#);
    assert_eq!((stop.finish, stop.stop_reason.as_deref()), (Finish::Stopped, Some("MAX_TOKENS")));
    let blocked = read(r#"{"promptFeedback":{"blockReason":"PROHIBITED_CONTENT"}}"#);
    assert_eq!(
        (blocked.finish, blocked.stop_reason.as_deref()),
        (Finish::Stopped, Some("PROHIBITED_CONTENT"))
    );
    let unspecified = read(r#"{"candidates":[{"finishReason":"FINISH_REASON_UNSPECIFIED"}]}"#);
    assert_eq!((unspecified.kind, unspecified.finish), (EventKind::Preamble, Finish::No));
}

#[test]
fn thoughts_are_thinking_until_another_part() {
    let phase = |parts: &str| read(&format!(r#"{{"candidates":[{{"content":{{"parts":{parts}}}}}]}}"#)).phase;
    assert_eq!(phase(r#"[{"text":"hm","thought":true}]"#), Some(Phase::Thinking));
    assert_eq!(phase(r#"[{"text":"hm","thought":true},{"text":"so"}]"#), Some(Phase::Answering));
    assert_eq!(phase("[]"), None);
}

#[test]
fn usage_is_uncached_input_and_output_with_thoughts_images_apart() {
    let facts = read(
        r#"{"usageMetadata":{"promptTokenCount":1000,"cachedContentTokenCount":400,"toolUsePromptTokenCount":50,
        "candidatesTokenCount":300,"thoughtsTokenCount":70,"totalTokenCount":1420,
        "promptTokensDetails":[{"modality":"TEXT","tokenCount":742},{"modality":"IMAGE","tokenCount":258}],
        "cacheTokensDetails":[{"modality":"IMAGE","tokenCount":58}],
        "candidatesTokensDetails":[{"modality":"IMAGE","tokenCount":290}]}}"#,
    );
    let usage = facts.usage.unwrap();
    assert_eq!(usage.input, Some(1000 - 400 - 200 + 50));
    assert_eq!((usage.cache_read, usage.image_input), (Some(400), Some(200)));
    assert_eq!((usage.output, usage.image_output, usage.reasoning), (Some(80), Some(290), Some(70)));
    assert_eq!(read(r#"{"usageMetadata":{"trafficType":"ON_DEMAND"}}"#).usage, None);
}

#[test]
fn counts_that_contradict_each_other_never_wrap() {
    let facts = read(
        r#"{"usageMetadata":{"promptTokenCount":10,"cachedContentTokenCount":40,"candidatesTokenCount":1,
        "promptTokensDetails":[{"modality":"IMAGE","tokenCount":900}],
        "candidatesTokensDetails":[{"modality":"IMAGE","tokenCount":900}]}}"#,
    );
    let usage = facts.usage.unwrap();
    assert_eq!(
        (usage.input, usage.image_input, usage.output, usage.image_output),
        (Some(0), Some(0), Some(0), Some(1))
    );
}

#[test]
fn a_body_is_an_answer_when_it_has_candidates_or_feedback() {
    let whole = |body: &'static str| classify_whole(body.as_bytes()).kind;
    assert_eq!(whole(r#"{"candidates":[{"content":{"role":"model"}}]}"#), EventKind::Content);
    assert_eq!(whole(r#"{"response":{"candidates":[{}]}}"#), EventKind::Content);
    assert_eq!(whole(r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#), EventKind::Content);
    assert_eq!(whole(r#"{"candidates":[],"usageMetadata":{"promptTokenCount":3}}"#), EventKind::Other);
    assert_eq!(whole(r#"{"totalTokens":31}"#), EventKind::Other);
}
