//! The scanner against `serde_json`, which reads the same bodies into trees here.

mod generated;
mod oracle;

use super::*;
use generated::{Entropy, Node, body_nodes, mutated};
use oracle::{Said, said_by_scan, said_by_serde};
use proptest::prelude::*;

fn facts(body: &str) -> BodyFacts {
    scan(body.as_bytes()).unwrap_or_else(|error| panic!("{error}: {body}"))
}

fn error(body: &str) -> ScanError {
    scan(body.as_bytes()).expect_err(body)
}

/// The scanner and `serde_json` say the same of these bytes.
fn agrees(body: &[u8]) -> Result<Option<Said>, TestCaseError> {
    let scanned = scan(body);
    match said_by_serde(body) {
        Ok(expected) => {
            let facts =
                scanned.map_err(|error| TestCaseError::fail(format!("{error}: {}", body.escape_ascii())))?;
            prop_assert_eq!(said_by_scan(body, &facts), expected.clone(), "{}", body.escape_ascii());
            Ok(Some(expected))
        }
        Err(kind) => {
            let label = scanned.map_or_else(ScanError::label, |_| "accepted");
            prop_assert!(kind.labels().contains(&label), "{label}, not {kind:?}: {}", body.escape_ascii());
            Ok(None)
        }
    }
}

#[test]
fn every_fact_is_read() {
    let body = r#" {"model":"claude-\u0073onnet","stream":true,"max_tokens":1,"max_completion_tokens":2,
        "max_output_tokens":3,"generationConfig":{"maxOutputTokens":4,"candidateCount":2},"n":5,"best_of":6,
        "service_tier":"flex","messages":[{"role":"user"},[]],"metadata":{"user_id":"u"},
        "prompt_cache_key":"k","previous_response_id":"r","background":true,"store":true,
        "stream_options":{"include_usage":false}} "#;
    let at = |part: &str| {
        let start = body.find(part).unwrap();
        start..start + part.len()
    };
    let expected = BodyFacts {
        model: Some(JsonText { value: "claude-sonnet".to_owned(), range: at(r#""claude-\u0073onnet""#) }),
        stream: Some(true),
        work: WorkHints {
            output_limits: OutputLimits {
                max_tokens: Some(1),
                max_completion_tokens: Some(2),
                max_output_tokens: Some(3),
                gemini: Some(4),
            },
            n: Some(6),
            service_tier: Some("flex".to_owned()),
            message_count: Some(2),
            is_background: true,
        },
        session: SessionHints {
            metadata_user_id: Some("u".to_owned()),
            prompt_cache_key: Some("k".to_owned()),
            previous_response_id: Some("r".to_owned()),
            store: Some(true),
            first_message: Some(at(r#"{"role":"user"}"#)),
        },
        layout: Layout {
            open_brace: 1,
            close_brace: body.len() - 2,
            is_empty: false,
            stream_options: Some(StreamOptions {
                range: at(r#"{"include_usage":false}"#),
                is_empty: false,
                include_usage: Some(IncludeUsage { value: Some(false), range: at("false") }),
            }),
        },
    };
    assert_eq!(facts(body), expected);
    assert_eq!(
        facts(" {\n} ").layout,
        Layout { open_brace: 1, close_brace: 3, is_empty: true, stream_options: None }
    );
}

#[test]
fn only_the_bound_that_the_api_honours_counts() {
    let limits = OutputLimits {
        max_tokens: Some(1),
        max_completion_tokens: Some(2),
        max_output_tokens: Some(3),
        gemini: Some(4),
    };
    for (family, expected) in [
        (Family::AnthropicMessages, Some(1)),
        (Family::OpenaiCompletions, Some(1)),
        (Family::OpenaiChat, Some(2)),
        (Family::OpenaiResponses, Some(3)),
        (Family::GeminiStreamGenerate, Some(4)),
        (Family::OpenaiEmbeddings, None),
    ] {
        assert_eq!(limits.honoured_by(family), expected, "{}", family.as_str());
    }
    assert_eq!(OutputLimits { max_tokens: None, ..limits }.honoured_by(Family::AnthropicMessages), None);
}

#[test]
fn null_is_as_good_as_absent() {
    let names = [
        "model",
        "stream",
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
        "n",
        "best_of",
        "service_tier",
        "messages",
        "input",
        "contents",
        "previous_response_id",
        "background",
        "generationConfig",
        "metadata",
        "prompt_cache_key",
        "store",
    ];
    for name in names {
        let mut facts = facts(&format!(r#"{{"{name}":null}}"#));
        facts.layout = Layout::default();
        assert_eq!(facts, BodyFacts::default(), "{name}");
    }
    let layout = facts(r#"{"stream_options":null}"#).layout;
    assert_eq!(
        layout.stream_options,
        Some(StreamOptions { range: 18..22, is_empty: true, include_usage: None })
    );
}

#[test]
fn a_deciding_field_given_twice_is_refused_however_it_is_written() {
    for field in [
        "model",
        "stream",
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
        "n",
        "best_of",
        "service_tier",
        "messages",
        "input",
        "contents",
        "previous_response_id",
        "background",
        "stream_options",
        "generationConfig",
    ] {
        let escaped = field.replacen('o', "\\u006f", 1).replacen('n', "\\u006E", 1);
        let body = format!(r#"{{"{field}":null,"x":{{"{field}":1}},"{escaped}":null}}"#);
        assert_eq!(error(&body), ScanError::Repeated { field }, "{body}");
    }
    let repeated = |body| match error(body) {
        ScanError::Repeated { field } => field,
        other => panic!("{other}"),
    };
    assert_eq!(repeated(r#"{"generationConfig":{},"generation_config":{}}"#), "generationConfig");
    assert_eq!(
        repeated(r#"{"generationConfig":{"maxOutputTokens":1,"max_output_tokens":9}}"#),
        "generationConfig.maxOutputTokens"
    );
    assert_eq!(
        repeated(r#"{"stream_options":{"include_usage":true,"include_usage":false}}"#),
        "stream_options.include_usage"
    );
}

#[test]
fn elsewhere_the_last_of_equal_keys_counts() {
    let facts = facts(
        r#"{"metadata":{"user_id":"a"},"x":1,"x":2,"prompt_cache_key":"a","prompt_cache_key":"b",
            "metadata":{"user_id":"c","user_id":"d"}}"#,
    );
    assert_eq!(facts.session.metadata_user_id.as_deref(), Some("d"));
    assert_eq!(facts.session.prompt_cache_key.as_deref(), Some("b"));
}

#[test]
fn what_is_not_said_to_be_stored_is_a_hint_like_others() {
    let store = |body: &str| facts(body).session.store;
    assert_eq!(store(r#"{"store":false}"#), Some(false));
    assert_eq!(store(r#"{"store":true,"store":false}"#), Some(false));
    for other in ["null", "0", "\"false\"", "[false]"] {
        assert_eq!(store(&format!(r#"{{"store":{other}}}"#)), None);
    }
}

#[test]
fn a_deciding_field_of_another_type_is_refused() {
    for (field, expected, values) in [
        ("model", "a string", &["1", "true", "[]", "{}"][..]),
        ("service_tier", "a string", &["1"]),
        ("previous_response_id", "a string", &["[\"a\"]"]),
        ("stream", "a boolean", &["1", "\"true\"", "[]"]),
        ("background", "a boolean", &["0"]),
        (
            "max_tokens",
            "a non-negative integer",
            &["-1", "1.5", "\"1\"", "true", "18446744073709551616", "1e300"],
        ),
        ("max_completion_tokens", "a non-negative integer", &["-1"]),
        ("max_output_tokens", "a non-negative integer", &["\"inf\""]),
        ("n", "a non-negative integer", &["[1]"]),
        ("best_of", "a non-negative integer", &["{}"]),
        ("stream_options", "an object", &["true", "[]"]),
        ("generationConfig", "an object", &["1", "\"x\""]),
    ] {
        for value in values {
            let body = format!(r#"{{"{field}":{value}}}"#);
            assert_eq!(error(&body), ScanError::WrongType { field, expected }, "{body}");
        }
    }
    let nested = ScanError::WrongType { field: "stream_options.include_usage", expected: "a boolean" };
    assert_eq!(error(r#"{"stream_options":{"include_usage":1}}"#), nested);
}

#[test]
fn integers_and_lists_may_be_written_in_several_ways() {
    let limit = |value: &str| facts(&format!(r#"{{"max_tokens":{value}}}"#)).work.output_limits.max_tokens;
    assert_eq!([limit("0"), limit("1e3"), limit("2048.0")], [Some(0), Some(1000), Some(2048)]);
    let count = |body: &str| facts(body).work.message_count;
    assert_eq!(count(r#"{"messages":[]}"#), Some(0));
    assert_eq!(count(r#"{"input":"hello"}"#), Some(1));
    assert_eq!(count(r#"{"input":[1,[2],"3"]}"#), Some(3));
    assert_eq!(count(r#"{"contents":[{}],"messages":[1,2]}"#), Some(2));
    assert_eq!(count(r#"{"contents":[{}],"messages":{}}"#), Some(1));
    assert_eq!(count("{}"), None);
}

#[test]
fn a_refused_body_says_why() {
    for (body, expected) in [
        (&b""[..], ScanError::NotJson { offset: 0 }),
        (b"\xef\xbb\xbf{}", ScanError::NotJson { offset: 0 }),
        (b"  x", ScanError::NotJson { offset: 2 }),
        (b"{} x", ScanError::NotJson { offset: 3 }),
        (b"{\"a\":\"\x01\"}", ScanError::NotJson { offset: 6 }),
        (b"{\"a\":\"\xff\"}", ScanError::NotUtf8),
        (b"[]", ScanError::NotAnObject),
        (b" \"x\"", ScanError::NotAnObject),
        (b"null", ScanError::NotAnObject),
    ] {
        assert_eq!(scan(body), Err(expected), "{}", body.escape_ascii());
    }
    let shown = |error: ScanError| format!("{}: {error}", error.label());
    assert_eq!(
        shown(ScanError::Repeated { field: "model" }),
        "repeated_field: `model` is given more than once"
    );
    assert_eq!(
        shown(ScanError::WrongType { field: "n", expected: "a non-negative integer" }),
        "wrong_type: `n` must be a non-negative integer"
    );
}

#[test]
fn nesting_ends_where_serde_json_ends_it() {
    for (before, after) in [
        ("{\"x\":", "}"),
        ("{\"messages\":[", "]}"),
        ("{\"metadata\":{\"a\":", "}}"),
        ("{\"generationConfig\":{\"a\":", "}}"),
        ("{\"stream_options\":{\"a\":[", "]}}"),
    ] {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let mut deepest = 0;
            for levels in 120..132 {
                let body = [before, &open.repeat(levels), "1", &close.repeat(levels), after].concat();
                let is_read = said_by_serde(body.as_bytes()).is_ok();
                let expected = if is_read { Ok(()) } else { Err(ScanError::TooDeep) };
                assert_eq!(scan(body.as_bytes()).map(|_| ()), expected, "{before} {open} {levels}");
                deepest = if is_read { levels } else { deepest };
            }
            assert!((120..131).contains(&deepest));
        }
    }
}

#[test]
fn thirty_two_mebibytes_are_read_to_the_end() {
    let line = "A line of a prompt, with \\\"quotes\\\", a tab\\t, an \\u00e9 and 漢字.\\n";
    let text = line.repeat((32 << 20) / line.len());
    let mut body =
        format!(r#"{{"messages":[{{"role":"user","content":"{text}"}},{{}}],"model":"m","max_tokens":7}}"#);
    let facts = facts(&body);
    assert_eq!(facts.work.message_count, Some(2));
    assert_eq!(facts.model.map(|model| model.value).as_deref(), Some("m"));
    assert_eq!(facts.work.output_limits.max_tokens, Some(7));
    assert_eq!(facts.layout.close_brace, body.len() - 1);
    body.truncate(body.len() - 1);
    assert_eq!(error(&body), ScanError::NotJson { offset: body.len() });
}

proptest! {
    #[test]
    fn bodies_say_what_serde_json_reads(nodes in body_nodes(), entropy in any::<Entropy>()) {
        let body = Node::Map(nodes).rendered(&entropy);
        let said = agrees(body.as_bytes())?;
        prop_assert!(said.is_some(), "refused: {}", body);
    }

    #[test]
    fn damaged_bodies_are_judged_as_serde_json_does(
        nodes in body_nodes(), entropy in any::<Entropy>(), damages in prop::collection::vec(any::<(u8, u16, u8)>(), 1..4)
    ) {
        let body = Node::Map(nodes).rendered(&entropy);
        agrees(&mutated(body.into_bytes(), &damages))?;
    }

    #[test]
    fn a_repeated_field_is_found_wherever_it_stands(
        nodes in body_nodes(), entropy in any::<Entropy>(), from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>()
    ) {
        let mut nodes = nodes;
        prop_assume!(!nodes.is_empty());
        let copy = nodes[from.index(nodes.len())].clone();
        nodes.insert(to.index(nodes.len() + 1), copy);
        agrees(Node::Map(nodes).rendered(&entropy).as_bytes())?;
    }

    #[test]
    fn almost_json_is_judged_as_serde_json_does(body in "\\{?(\"(n|a|model|\\\\u006e)?\":|[\\[\\]{}:,\"\\\\u0-9eE.+ \t\n\u{0}\u{1f}é-]|null|true|false|tru|\"\"|[0-9]){0,24}\\}?") {
        agrees(body.as_bytes())?;
    }

    #[test]
    fn any_bytes_have_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..64), is_object in any::<bool>()) {
        let mut body = bytes;
        if is_object {
            body.splice(0..0, *b"{\"a\":\"");
            body.extend(*b"\"}");
        }
        agrees(&body)?;
    }
}
