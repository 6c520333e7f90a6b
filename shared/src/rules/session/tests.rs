use super::*;
use crate::protocol::scan::scan;
use http::{HeaderName, HeaderValue};
use proptest::prelude::*;
use serde_json::{Value, json};

const UUID: &str = "0199a213-81c0-7800-8aa1-bbab2a035a53";

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let field = |(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
    };
    fields.iter().map(field).collect()
}

fn identified(fields: &[(&'static str, &str)], body: &Value) -> Option<(String, IdSource)> {
    let body = body.to_string();
    let hints = scan(body.as_bytes()).unwrap().session;
    identify(&headers(fields), &hints, body.as_bytes()).map(|id| (id.text, id.source))
}

fn of_content(body: &Value) -> String {
    let (text, source) = identified(&[], body).unwrap();
    assert_eq!(source, IdSource::Content);
    text
}

#[test]
fn the_first_that_is_valid_counts() {
    let codex = "codex-conversation-0000001";
    let key = "cache-key-of-a-conversation";
    let user = json!({"device_id": "d", "account_uuid": "", "session_id": "claude-body-1"}).to_string();
    let body = json!({
        "metadata": {"user_id": user}, "prompt_cache_key": key, "messages": [{"role": "user", "content": "hi"}]
    });
    let mut body_without_user = body.clone();
    body_without_user["metadata"] = json!(null);
    let mut body_without_key = body_without_user.clone();
    body_without_key["prompt_cache_key"] = json!("short");
    let claude = ("x-claude-code-session-id", "claude-1");
    let (own, common) = (("session_id", codex), ("x-session-id", "another-conversation-00001"));
    for (fields, body, text, source) in [
        (&[own, claude][..], &body, "claude-1", IdSource::ClaudeHeader),
        (&[own][..], &body, "claude-body-1", IdSource::MetadataUserId),
        // Too short, and a character that does not belong: passed over.
        (&[("x-claude-code-session-id", "claude1")][..], &body, "claude-body-1", IdSource::MetadataUserId),
        (&[("x-claude-code-session-id", "claude 1")][..], &body, "claude-body-1", IdSource::MetadataUserId),
        (&[common, own][..], &body_without_user, codex, IdSource::CodexHeader),
        (&[("session_id", "short"), common][..], &body_without_user, common.1, IdSource::CodexHeader),
        (&[("session_id", "short")][..], &body_without_user, key, IdSource::PromptCacheKey),
    ] {
        assert_eq!(identified(fields, body), Some((text.to_owned(), source)), "{fields:?}");
    }
    assert_eq!(identified(&[], &body_without_key).unwrap().1, IdSource::Content);
    assert_eq!(identified(&[], &json!({"messages": []})), None);
    assert_eq!(identified(&[], &json!({})), None);
}

#[test]
fn a_user_id_of_claude_code_tells_the_session_in_all_its_forms() {
    let sha = "a".repeat(64);
    for (user_id, session) in [
        (format!("user_{sha}_account__session_{UUID}"), Some(UUID)),
        (format!("user_{sha}_account_{UUID}_session_{UUID}"), Some(UUID)),
        (format!("user_a_session_b_account__session_{UUID}"), Some(UUID)),
        (format!(r#" {{"session_id":"{UUID}","later":[1]}}"#), Some(UUID)),
        (format!("user_{sha}_account__session_short"), None),
        (format!("user_{sha}_session_{UUID}"), None),
        (format!("{sha}_account__session_{UUID}"), None),
        (UUID.to_owned(), None),
        (r#"{"session_id":17}"#.to_owned(), None),
        (r#"{"session_id":"17"#.to_owned(), None),
        (r#"{"session_id":"new\nline-and-more"}"#.to_owned(), None),
    ] {
        assert_eq!(of_user_id(&user_id).as_deref(), session, "{user_id}");
    }
}

#[test]
fn lengths_and_characters_have_bounds() {
    for (length, is_claude, is_codex) in [
        (7, false, false),
        (8, true, false),
        (20, true, false),
        (21, true, true),
        (256, true, true),
        (257, false, false),
    ] {
        let text = "aZ0_.:-9".repeat(40);
        assert_eq!(valid(&text[..length], CLAUDE_BYTES).is_some(), is_claude, "{length}");
        assert_eq!(valid(&text[..length], CODEX_BYTES).is_some(), is_codex, "{length}");
    }
    for odd in ["12345678/", "12345678 ", "12345678\u{e9}", "12345678\0", "1234{678}"] {
        assert_eq!(valid(odd, CLAUDE_BYTES), None, "{odd:?}");
    }
}

#[test]
fn an_id_of_content_is_believed_from_the_second_message_on() {
    let id = |source| SessionId { text: "text".to_owned(), source };
    assert!(!id(IdSource::Content).may_reuse(None));
    assert!(!id(IdSource::Content).may_reuse(Some(1)));
    assert!(id(IdSource::Content).may_reuse(Some(2)));
    assert!(id(IdSource::ClaudeHeader).may_reuse(Some(1)));
    assert!(id(IdSource::PromptCacheKey).may_reuse(None));
}

/// Demand 20: a client marks its newest message, so the first one looks different in the second request.
#[test]
fn the_id_of_content_stays_when_cache_control_moves_on() {
    let marked = json!([{"type": "text", "text": "fix \"it\"\n", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]);
    let first = json!({"messages": [{"role": "user", "content": marked}]});
    let answer = json!({"role": "assistant", "content": "done"});
    let plain = json!({"role": "user", "content": [{"type": "text", "text": "fix \"it\"\n"}]});
    let bare = json!({"role": "user", "content": "fix \"it\"\n"});
    let id = of_content(&first);
    assert_eq!(of_content(&json!({"messages": [plain, answer, {"role": "user", "content": "more"}]})), id);
    assert_eq!(of_content(&json!({"messages": [bare, answer]})), id);
    assert!(id.strip_prefix("content:").is_some_and(|hex| hex.len() == 16), "{id}");
    for other in [
        json!({"messages": [{"role": "user", "content": "fix it"}]}),
        json!({"messages": [{"role": "assistant", "content": "fix \"it\"\n"}]}),
        json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "fix \"it\"\n"}, {"n": 1}]}]}),
        json!({"messages": [{"role": "user", "content": ["fix \"it\"", "\n"]}]}),
    ] {
        assert_ne!(of_content(&other), id, "{other}");
    }
}

#[test]
fn a_system_prompt_alone_does_not_make_a_conversation() {
    for role in ["system", "developer"] {
        let system = json!({"role": role, "content": "you are a tool"});
        let begun =
            |text: &str| of_content(&json!({"messages": [system, {"role": "user", "content": text}]}));
        assert_ne!(begun("a"), begun("b"));
        let later = json!({"messages": [system, {"role": "user", "content": "a"}, {"role": "assistant"}]});
        assert_eq!(begun("a"), of_content(&later));
        // It is all there is.
        of_content(&json!({"messages": [system], "input": "a"}));
    }
    // Of others the second message is not looked at, and a role inside of one says nothing.
    let user = json!({"role": "user", "content": [{"role": "system"}]});
    let with = |text: &str| of_content(&json!({"messages": [user, {"role": "user", "content": text}]}));
    assert_eq!(with("a"), with("b"));
}

#[test]
fn all_dialects_begin_with_something() {
    let bodies = [
        json!({"input": "hello", "model": "m"}),
        json!({"input": "hello you", "model": "m"}),
        json!({"input": [{"role": "user", "content": [{"type": "input_text", "text": "hello"}]}]}),
        json!({"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}),
        json!({"contents": [{"parts": [{"text": "hello", "n": 1.5, "b": true, "c": false, "d": null, "e": -1}]}]}),
    ];
    let ids: std::collections::BTreeSet<String> = bodies.iter().map(of_content).collect();
    assert_eq!(ids.len(), bodies.len());
    assert_eq!(of_content(&json!({"input": "hello", "model": "other"})), of_content(&bodies[0]));
}

#[test]
fn the_hash_of_content_ends_after_a_bound() {
    let long = |tail: &str| {
        let text = "\u{e9}".repeat(200 << 10);
        json!({"messages": [{"role": "user", "content": [text, tail]}]})
    };
    assert_eq!(of_content(&long("a")), of_content(&long("b")));
    let short =
        |tail: &str| json!({"messages": [{"role": "user", "content": ["\u{e9}".repeat(100 << 10), tail]}]});
    assert_ne!(of_content(&short("a")), of_content(&short("b")));
}

#[test]
fn a_session_belongs_to_a_key() {
    let id = |text: &str| SessionId { text: text.to_owned(), source: IdSource::ClaudeHeader };
    let key = SessionKey::of(KeyId(1), &id(UUID));
    assert_ne!(key, SessionKey::of(KeyId(2), &id(UUID)));
    assert_ne!(
        SessionKey::of(KeyId(1), &id("1-conversation")),
        SessionKey::of(KeyId(11), &id("-conversation"))
    );
    // It is written down in Redis: as sha256sum says of "1\0<the id>".
    assert_eq!(key.to_string(), "5eb31c4001ddb1d2fdd624e304c57f4d");
    assert_eq!(key.to_string().parse(), Ok(key));
    assert_eq!(serde_json::to_string(&key).unwrap(), format!("\"{key}\""));
    assert_eq!(serde_json::from_str::<SessionKey>(&format!("\"{key}\"")).unwrap(), key);
    for odd in
        ["", "5eb3", &key.to_string().to_uppercase(), "+eb31c4001ddb1d2fdd624e304c57f4d", &"é".repeat(16)]
    {
        assert_eq!(odd.parse::<SessionKey>(), Err(NotAKey), "{odd}");
    }
}

proptest! {
    #[test]
    fn every_key_has_one_spelling(bytes: [u8; 16]) {
        let key = SessionKey::from_bytes(bytes);
        prop_assert_eq!(key.to_string().parse::<SessionKey>(), Ok(key));
        prop_assert_eq!(key.to_bytes(), bytes);
    }

    /// Whatever a client writes, an id is plain text of a bounded length.
    #[test]
    fn ids_are_plain(user_id in "(user_)?[a-z]{0,3}(_account_)?[ -~]{0,9}(_session_)?.{0,30}", cache_key in ".{0,300}") {
        let hints = SessionHints {
            metadata_user_id: Some(user_id),
            prompt_cache_key: Some(cache_key),
            ..SessionHints::default()
        };
        if let Some(id) = identify(&HeaderMap::new(), &hints, b"") {
            prop_assert!(valid(&id.text, CLAUDE_BYTES).is_some(), "{:?}", id);
        }
    }

    /// Any message is read to its end or to the bound, whatever is in it.
    #[test]
    fn marks_never_tell(message in message(), at in any::<prop::sample::Index>()) {
        let mut marked = message.clone();
        mark(&mut marked, &mut at.index(20));
        let of = |message: &Value| of_content(&json!({"messages": [message], "tools": []}));
        prop_assert_eq!(of(&message), of(&marked));
    }
}

fn message() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    let nested = leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::hash_map("[a-z]{1,4}|content|text|type", inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    nested.prop_map(|content| json!({"role": "user", "content": content}))
}

/// Puts a `cache_control` into one of the objects.
fn mark(value: &mut Value, left: &mut usize) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(|value| mark(value, left));
            if *left == 0 {
                map.insert("cache_control".to_owned(), json!({"type": "ephemeral"}));
            }
            *left = left.wrapping_sub(1);
        }
        Value::Array(items) => items.iter_mut().for_each(|item| mark(item, left)),
        _ => {}
    }
}
