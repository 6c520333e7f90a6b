//! All four dialects, streaming and not: the answer passes, the books equal the upstream's own count.

use crate::harness::{Hub, provider, sha256, upstream_with};
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use shared::contract::usage::TokenUsage;
use shared::model::ProviderType;
use shared::testing::client_secret;
use simulator::{Script, Usage};

const CHAT: &str = "/v1/chat/completions";

/// Type, path and body of a request that asks for a stream or not.
fn calls() -> Vec<(ProviderType, String, Value)> {
    let mut calls = Vec::new();
    for stream in [false, true] {
        let messages = json!([{"role": "user", "content": "hi"}]);
        let chat = json!({"model": "gpt-5", "stream": stream, "messages": messages});
        let anthropic =
            json!({"model": "claude-sonnet-4-5", "max_tokens": 9, "stream": stream, "messages": messages});
        let responses = json!({"model": "gpt-5", "stream": stream, "input": "hi"});
        let gemini = json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]});
        calls.push((ProviderType::Claude, "/v1/messages".to_owned(), anthropic));
        calls.push((ProviderType::OpenaiCompatible, CHAT.to_owned(), chat));
        calls.push((ProviderType::Codex, "/v1/responses".to_owned(), responses));
        let verbs: &[&str] = if stream {
            &["streamGenerateContent?alt=sse", "streamGenerateContent"]
        } else {
            &["generateContent"]
        };
        for verb in verbs {
            calls.push((
                ProviderType::Gemini,
                format!("/v1beta/models/gemini-2.5-pro:{verb}"),
                gemini.clone(),
            ));
        }
    }
    calls
}

fn told(usage: Usage) -> TokenUsage {
    TokenUsage {
        input_tokens: usage.input,
        cache_write_5m_tokens: usage.cache_write_5m,
        cache_write_1h_tokens: usage.cache_write_1h,
        cache_read_tokens: usage.cache_read,
        output_tokens: usage.output,
        ..TokenUsage::default()
    }
}

#[tokio::test]
async fn every_dialect_passes_and_is_counted_to_the_token() {
    for (provider_type, path, body) in calls() {
        let usage = Usage { input: 101, cache_read: 40, output: 77, reasoning: 7, ..Usage::default() };
        let upstream = upstream_with(Script { usage: Some(usage), ..Script::default() }).await;
        let hub = Hub::start(vec![provider(1, provider_type, &upstream.base_url())]).await;
        let answer = hub.post(&path, body.to_string()).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let served = upstream.served().remove(0);
        if !(path == CHAT && body["stream"] == true) {
            // There the usage chunk is asked for and withheld; see below.
            assert_eq!(Some(sha256(&answer.body)), served.answer.body_sha256, "{path}");
        }
        let record = hub.records(1).await.remove(0);
        let row = &record.attempts[0];
        let expected = TokenUsage {
            reasoning_tokens: row.usage.reasoning_tokens,
            ..told(served.answer.told.expect("the upstream told a usage"))
        };
        assert_eq!(row.usage, expected, "{path} {body}");
        assert!(!row.flags.is_estimate, "{path}");
    }
}

#[tokio::test]
async fn usage_is_learned_from_a_chat_stream_whose_client_did_not_ask_for_it() {
    let upstream = upstream_with(Script::default()).await;
    let hub = Hub::start(vec![provider(1, ProviderType::OpenaiCompatible, &upstream.base_url())]).await;
    let body = r#"{"model":"gpt-5","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
    let answer = hub.post(CHAT, body).await.text();
    assert!(!answer.contains("\"choices\":[]"), "{answer}");
    assert!(answer.trim_end().ends_with("data: [DONE]"), "{answer}");
    let with = r#"{"model":"gpt-5","stream":true,"stream_options":{"include_usage":true},"messages":[]}"#;
    let answer = hub.post(CHAT, with).await.text();
    assert!(answer.contains("\"choices\":[]"), "who asks for the chunk gets it: {answer}");
    let records = hub.records(2).await;
    assert!(
        records.iter().all(|r| r.attempts[0].usage.output_tokens > 0 && !r.attempts[0].flags.is_estimate)
    );
}

#[tokio::test]
async fn a_completions_stream_is_counted_whether_its_client_asks_or_not() {
    let upstream = upstream_with(Script::default()).await;
    let hub = Hub::start(vec![provider(1, ProviderType::OpenaiCompatible, &upstream.base_url())]).await;
    let answer = hub.post("/v1/completions", r#"{"model":"gpt-5","stream":true,"prompt":"hi"}"#).await.text();
    assert!(!answer.contains("\"choices\":[]") && answer.contains("[DONE]"), "{answer}");
    let row = hub.records(1).await.remove(0).attempts.remove(0);
    assert!(row.usage.output_tokens > 0 && !row.flags.is_estimate);
}

#[tokio::test]
async fn an_encoded_chat_stream_is_relieved_of_the_chunk_its_client_did_not_ask_for() {
    let upstream = upstream_with(Script { gzip: true, ..Script::default() }).await;
    let hub = Hub::start(vec![provider(1, ProviderType::OpenaiCompatible, &upstream.base_url())]).await;
    let body = r#"{"model":"gpt-5","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
    let answer = hub.post(CHAT, body).await;
    assert_eq!(answer.headers.get("content-encoding"), None);
    let text = answer.text();
    assert!(!text.contains("\"choices\":[]") && text.contains("[DONE]"), "{text}");
    assert!(!hub.records(1).await[0].attempts[0].flags.is_estimate);
}

#[tokio::test]
async fn a_gemini_redirect_follows_the_model_into_the_body() {
    let upstream = upstream_with(Script::default()).await;
    let mut gemini = provider(1, ProviderType::Gemini, &upstream.base_url());
    gemini.model_redirects =
        serde_json::from_str(r#"[{"match_type":"exact","source":"g-old","target":"g-new"}]"#).unwrap();
    let hub = Hub::start(vec![gemini]).await;
    let body = r#"{"model":"models/g-old","contents":[{"parts":[{"text":"models/g-old"}]}]}"#;
    assert_eq!(hub.post("/v1beta/models/g-old:generateContent", body).await.status, 200);
    let expected = body.replacen("models/g-old", "models/g-new", 1);
    assert_eq!(upstream.served()[0].request.body_sha256, Some(sha256(expected.as_bytes())));
}

#[tokio::test]
async fn a_redirect_changes_the_models_bytes_and_nothing_else() {
    let upstream = upstream_with(Script::default()).await;
    let mut claude = provider(1, ProviderType::Claude, &upstream.base_url());
    claude.model_redirects =
        serde_json::from_str(r#"[{"match_type":"prefix","source":"claude-","target":"relay/opus-4"}]"#)
            .unwrap();
    let hub = Hub::start(vec![claude]).await;
    let body = r#"{ "max_tokens":5, "model" : "claude-sonnet-4-5" ,"messages":[{"role":"user","content":"claude-sonnet-4-5"}]}"#;
    assert_eq!(hub.post("/v1/messages", body).await.status, 200);
    let expected = body.replacen("\"claude-sonnet-4-5\" ,", "\"relay/opus-4\" ,", 1);
    assert_eq!(upstream.served()[0].request.body_sha256, Some(sha256(expected.as_bytes())));
    let row = hub.records(1).await.remove(0);
    assert_eq!(row.request.model.as_deref(), Some("claude-sonnet-4-5"));
    assert_eq!(row.attempts[0].upstream_model.as_deref(), Some("relay/opus-4"));
}

#[tokio::test]
async fn the_model_list_shows_what_the_callers_groups_allow() {
    let mut named = provider(1, ProviderType::Claude, "http://127.0.0.1:9");
    named.allowed_models =
        serde_json::from_str(r#"[{"match_type":"exact","pattern":"claude-opus-4-5"}]"#).unwrap();
    let mut foreign = provider(2, ProviderType::Claude, "http://127.0.0.1:9");
    foreign.group_tag = shared::model::GroupSet::parse("other");
    let hub = Hub::start(vec![named, foreign]).await;
    let get = |path: &str, header: &'static str| {
        let request = Request::get(hub.url(path)).header("x-api-key", client_secret(1)).header(header, "1");
        hub.send(request.body(Full::default()).unwrap())
    };
    let list = get("/v1/models?limit=1000", "anthropic-version").await.json();
    assert_eq!(list["data"][0]["id"], "claude-opus-4-5");
    assert_eq!(list["has_more"], false);
    let one = get("/v1/models/claude-opus-4-5", "anthropic-version").await.json();
    assert_eq!(one, list["data"][0]);
    let none = get("/v1/models/claude-haiku", "anthropic-version").await;
    assert_eq!((none.status.as_u16(), none.json()["error"]["type"].as_str()), (404, Some("not_found_error")));
    let list = get("/v1/models", "x-nothing").await.json();
    assert_eq!(list, json!({"object": "list", "data": []}));
}
