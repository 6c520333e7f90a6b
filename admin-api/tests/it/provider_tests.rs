//! Tests of providers against a real upstream: what is told of each way in which one can serve, or not.

use crate::hub::{Database, Hub, Kind, TOKEN};
use serde_json::{Value, json};
use shared::rules::provider_test::Preset;
use simulator::{
    Cut, ErrorEvent, ErrorWords, FakeSuccess, Hang, Refuser, Script, Simulator, SimulatorConfig,
};
use testbed::{Client, JSON, Proxy, ProxyKind, ProxyManner};
use tokio::net::TcpListener;

const KEY: &str = "sk-tested-secret";

async fn upstream(script: Script) -> Simulator {
    let upstream = Simulator::start(SimulatorConfig::default()).await.unwrap();
    upstream.set_script(script);
    upstream
}

async fn tls_upstream() -> Simulator {
    let upstream =
        Simulator::start(SimulatorConfig { tls: true, ..SimulatorConfig::default() }).await.unwrap();
    upstream.set_script(pong());
    upstream
}

fn pong() -> Script {
    Script { text: Some("Pong.".to_owned()), ..Script::default() }
}

/// On a control plane over SQLite: what is tested is not the database.
async fn hub() -> (Hub, Database) {
    let database = Database::new(Kind::Sqlite);
    (Hub::start(&database).await, database)
}

fn provider(url: &str) -> Value {
    json!({ "provider_type": "claude", "url": url, "key": KEY })
}

fn with(mut body: Value, more: Value) -> Value {
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

async fn tested(hub: &Hub, body: Value) -> Value {
    let answer = hub.client.post("/api/v1/providers/test", body).await;
    assert!(!answer.text.contains(KEY), "{}", answer.text);
    answer.expect(200)
}

#[tokio::test]
async fn each_type_is_asked_in_its_own_words_and_passes_all_tiers_under_each_preset() {
    let (hub, _database) = hub().await;
    let pairs =
        Preset::ALL.iter().flat_map(|preset| preset.types.iter().map(move |t| (t.as_str(), preset.id)));
    for (provider_type, preset) in pairs {
        let upstream = upstream(pong()).await;
        let more = json!({ "provider_type": provider_type, "preset": preset });
        let body = with(provider(&upstream.base_url()), more);
        let result = tested(&hub, body).await;
        assert_eq!((&result["verdict"], &result["reason"]), (&json!("ok"), &json!("ok")), "{result}");
        assert_eq!(result["checks"], json!({ "status": true, "latency": true, "content": true }));
        assert_eq!((&result["http_status"], &result["text"]), (&json!(200), &json!("Pong.")), "{result}");
        assert_eq!(result["answered_model"], result["upstream_model"], "{result}");
        assert!(result["usage"]["output_tokens"].as_u64().unwrap() > 0, "{result}");
        assert!(result["first_byte_ms"].as_u64() <= result["total_ms"].as_u64(), "{result}");
        assert_eq!((&result["via"], &result["transport_error"]), (&json!("direct"), &Value::Null));
        let served = upstream.served().remove(0);
        let credentials = served.request.credentials();
        assert!(credentials.iter().all(|(_, value)| value.contains(KEY)), "{credentials:?}");
        assert!(!credentials.is_empty());
    }
}

#[tokio::test]
async fn a_preset_a_model_and_the_providers_own_settings_apply() {
    let (hub, _database) = hub().await;
    for preset in ["claude_code", "claude_plain"] {
        let upstream = upstream(pong()).await;
        let more = json!({
            "preset": preset, "model": "claude-x", "custom_headers": { "x-org": "blue", "user-agent": "hub" },
            "model_redirects": [{ "match_type": "prefix", "source": "claude-", "target": "vendor/y" }],
        });
        let result = tested(&hub, with(provider(&upstream.base_url()), more)).await;
        assert_eq!((&result["verdict"], &result["preset"]), (&json!("ok"), &json!(preset)), "{result}");
        assert_eq!((&result["model"], &result["upstream_model"]), (&json!("claude-x"), &json!("vendor/y")));
        let request = upstream.served().remove(0).request;
        assert_eq!(request.model.as_deref(), Some("vendor/y"));
        assert_eq!((request.header("x-org"), request.header("user-agent")), (Some("blue"), Some("hub")));
        assert_eq!(request.is_stream, preset == "claude_code");
    }
    for (wrong, field) in [
        (json!({ "preset": "chat_plain" }), "preset"),
        (json!({ "preset": "other" }), "preset"),
        (json!({ "timeout_ms": 60_001 }), "timeout_ms"),
        (json!({ "timeout_ms": "soon" }), "timeout_ms"),
        (json!({ "latency_limit_ms": 0 }), "latency_limit_ms"),
        (json!({ "model": "" }), "model"),
        (json!({ "url": "ftp://x" }), "url"),
        (json!({ "weight": -1 }), "weight"),
        (json!({ "unknown": 1 }), "unknown"),
    ] {
        let answer =
            hub.client.post("/api/v1/providers/test", with(provider("http://127.0.0.1:9"), wrong)).await;
        let problem = answer.expect_problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["field"], field, "{problem}");
    }
}

#[tokio::test]
async fn what_an_upstream_refuses_is_told_in_its_own_words_without_secrets() {
    let (hub, _database) = hub().await;
    let said =
        |message: &str| Some(ErrorWords { message: Some(message.to_owned()), ..ErrorWords::default() });
    for (script, reason, status, words) in [
        (
            Script { error: said(&format!("Bad Key {KEY}!")), ..Script::failing(401) },
            "credential",
            401,
            "Bad Key ***!",
        ),
        (Script { error: said("Slow Down"), ..Script::failing(429) }, "rate_limit", 429, "Slow Down"),
        (Script { error: said("Busy Now"), ..Script::failing(529) }, "overload", 529, "Busy Now"),
        (Script { error: said("Broken Here"), ..Script::failing(500) }, "server_error", 500, "Broken Here"),
        (Script { fake_success: Some(FakeSuccess::Html), ..Script::default() }, "fake_success", 200, "<"),
        (Script { fake_success: Some(FakeSuccess::ErrorJson), ..Script::default() }, "", 200, ""),
        (Script { error_event: Some(ErrorEvent::BeforeContent), ..Script::default() }, "", 200, ""),
    ] {
        let told = format!("{script:?}");
        let upstream = upstream(script).await;
        let result = tested(&hub, provider(&upstream.base_url())).await;
        assert_eq!(
            (&result["verdict"], &result["http_status"]),
            (&json!("failed"), &json!(status)),
            "{told}: {result}"
        );
        assert!(reason.is_empty() || result["reason"] == reason, "{told}: {result}");
        assert!(result["error"].as_str().unwrap().contains(words), "{told}: {result}");
        assert_eq!(result["checks"]["status"], false);
        assert_eq!(result["transport_error"], Value::Null);
    }
    for (script, label) in [
        (Script { fake_success: Some(FakeSuccess::Empty), ..Script::default() }, "fake_success_empty"),
        (Script::cutting(Cut::MidStream(2)), "cut_mid_stream"),
    ] {
        let upstream = upstream(script).await;
        let result = tested(&hub, provider(&upstream.base_url())).await;
        assert_eq!((&result["verdict"], &result["label"]), (&json!("failed"), &json!(label)), "{result}");
    }
}

#[tokio::test]
async fn an_answer_that_is_slow_or_says_something_else_is_degraded() {
    let (hub, _database) = hub().await;
    let slow = upstream(Script { first_byte_delay_ms: 30, ..pong() }).await;
    let result = tested(&hub, with(provider(&slow.base_url()), json!({ "latency_limit_ms": 1 }))).await;
    assert_eq!((&result["verdict"], &result["reason"]), (&json!("degraded"), &json!("slow")), "{result}");
    let other =
        upstream(Script { text: Some("Buy credits at our shop".to_owned()), ..Script::default() }).await;
    let result = tested(&hub, provider(&other.base_url())).await;
    assert_eq!((&result["verdict"], &result["reason"]), (&json!("degraded"), &json!("unexpected_content")));
    assert_eq!(result["text"], "Buy credits at our shop");
}

#[tokio::test]
async fn what_goes_wrong_on_the_way_is_told_apart() {
    let (hub, _database) = hub().await;
    let refuser = Refuser::start().unwrap();
    let hanging = upstream(Script::hanging(Hang::BeforeHead)).await;
    let cutting = upstream(Script::cutting(Cut::BeforeHead)).await;
    let tls = tls_upstream().await;
    // Speaks, but no HTTP.
    let babbler = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let babbles = format!("http://{}", babbler.local_addr().unwrap());
    tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        let (mut socket, _) = babbler.accept().await.unwrap();
        socket.write_all(b"220 mail.example ESMTP\r\n\r\n").await.unwrap();
        std::future::pending::<()>().await;
    });
    for (url, kind, label) in [
        (refuser.base_url(), "refused", "connect_refused"),
        (hanging.base_url(), "timeout", "timeout_head"),
        (cutting.base_url(), "reset", "cut_before_head"),
        (tls.base_url(), "tls", "connect_tls"),
        ("http://nonexistent.invalid".to_owned(), "dns", "connect_dns"),
        (babbles, "not_http", "cut_before_head"),
    ] {
        let result = tested(&hub, with(provider(&url), json!({ "timeout_ms": 1_000 }))).await;
        assert_eq!(result["transport_error"]["kind"], kind, "{url}: {result}");
        assert_eq!((&result["verdict"], &result["label"]), (&json!("failed"), &json!(label)), "{result}");
        assert_eq!((&result["http_status"], &result["error"]), (&Value::Null, &Value::Null));
    }
    let result =
        tested(&hub, with(provider(&tls.base_url()), json!({ "ca_certificate": tls.ca_pem() }))).await;
    assert_eq!(result["verdict"], "ok", "{result}");
    assert_eq!(tls.served().remove(0).request.http_version, "HTTP/2.0");
}

#[tokio::test]
async fn a_test_goes_through_the_providers_proxy_and_says_what_is_wrong_with_it() {
    let (hub, _database) = hub().await;
    for kind in [ProxyKind::Http, ProxyKind::Https, ProxyKind::Socks5] {
        let upstream = tls_upstream().await;
        let proxy = Proxy::start(kind, Some("user:pass-word")).await;
        let pem = [upstream.ca_pem(), proxy.ca_pem()].map(Option::unwrap_or_default).concat();
        let at = |credentials: &str| {
            let more = json!({ "proxy_url": proxy.url(credentials), "ca_certificate": pem });
            with(provider(&upstream.base_url()), more)
        };
        let result = tested(&hub, at("user:pass-word")).await;
        assert_eq!((&result["verdict"], &result["via"]), (&json!("ok"), &json!("proxy")), "{result}");
        assert_eq!(proxy.asked().len(), 1);
        let result = tested(&hub, at("user:wrong-one")).await;
        assert_eq!(
            (&result["label"], &result["reason"]),
            (&json!("proxy_auth"), &json!("transport")),
            "{result}"
        );
        assert_eq!(result["transport_error"]["kind"], "proxy");
        assert!(!result.to_string().contains("wrong-one"), "{result}");
        proxy.behaves(ProxyManner::Refuses);
        let result = tested(&hub, at("user:pass-word")).await;
        assert_eq!(result["label"], "proxy_refused", "{result}");
        let fallback = with(at("user:pass-word"), json!({ "proxy_fallback_to_direct": true }));
        let result = tested(&hub, fallback).await;
        assert_eq!((&result["verdict"], &result["via"]), (&json!("ok"), &json!("direct")), "{result}");
        assert_eq!(result["direct_after"], "proxy_refused");
    }
}

#[tokio::test]
async fn a_stored_provider_is_tested_with_its_secrets_and_what_is_sent_along_is_not_kept() {
    let (hub, _database) = hub().await;
    let upstream = upstream(pong()).await;
    let body = with(
        provider(&upstream.base_url()),
        json!({ "name": "main", "custom_headers": { "x-second": "second-secret" }, "is_enabled": false }),
    );
    let made = hub.client.post("/api/v1/providers", body).await.expect(201);
    let (path, before) = (format!("/api/v1/providers/{}", made["id"]), hub.snapshot().await);
    // Without a body.
    let answer = hub.client.send("POST", &format!("{path}/test"), &[], "").await;
    assert_eq!(answer.expect(200)["verdict"], "ok");
    let request = upstream.served().remove(0).request;
    assert_eq!(request.header("x-second"), Some("second-secret"));
    assert_eq!(request.header("x-api-key"), Some(KEY));

    let refuser = Refuser::start().unwrap();
    let change = json!({
        "url": refuser.base_url(), "custom_headers": { "x-second": "***" }, "model": "m", "timeout_ms": 5_000,
    });
    let result = hub.client.post(&format!("{path}/test"), change).await.expect(200);
    assert_eq!(result["transport_error"]["kind"], "refused");
    let change = json!({ "key": "sk-another" });
    assert_eq!(hub.client.post(&format!("{path}/test"), change).await.expect(200)["verdict"], "ok");
    assert_eq!(upstream.served().pop().unwrap().request.header("x-api-key"), Some("sk-another"));

    // Nothing of it is anywhere: no change, no log, no breaker; but that its secrets went elsewhere once is known.
    assert_eq!(hub.client.get(&path).await.expect(200), made);
    assert_eq!(hub.snapshot().await.revision, before.revision);
    assert_eq!(hub.client.get("/api/v1/logs").await.expect(200)["items"], json!([]));
    let audit = hub.client.get("/api/v1/audit-log?resource_type=provider").await.expect(200);
    let actions: Vec<_> = audit["items"].as_array().unwrap().iter().map(|entry| &entry["action"]).collect();
    assert_eq!(actions, ["provider.test", "provider.create"], "{audit}");
    assert_eq!(audit["items"][0]["after"]["url"], refuser.base_url());
    let circuit = hub.client.get(&format!("{path}/circuit")).await.expect(200);
    assert_eq!((&circuit["state"], &circuit["failures"]), (&json!("closed"), &json!(0)));
    assert_eq!(circuit["evidence"], json!([]));

    let send = async |headers: &[(&str, &str)], body: &str| {
        hub.client.send("POST", &format!("{path}/test"), headers, body).await
    };
    send(&[], "{}").await.expect_problem(415, "unsupported_media_type");
    send(&[JSON], "{").await.expect_problem(400, "malformed_json");
    send(&[JSON], "[]").await.expect_problem(422, "validation_failed");
    let twice = send(&[JSON], r#"{"model":"a","model":"b"}"#).await.expect_problem(422, "validation_failed");
    assert!(twice.to_string().contains("model"), "{twice}");
    let problem = hub.client.post(&format!("{path}/test"), json!({ "preset": "chat_plain" })).await;
    problem.expect_problem(422, "validation_failed");
    hub.client.post("/api/v1/providers/999/test", json!({})).await.expect_problem(404, "not_found");
    let stranger = Client::new(hub.handle.address());
    stranger.post(&format!("{path}/test"), json!({})).await.expect_problem(401, "unauthenticated");
    assert_ne!(TOKEN, KEY);
}

#[tokio::test]
async fn few_tests_run_at_a_time() {
    let (hub, _database) = hub().await;
    let hanging = upstream(Script::hanging(Hang::BeforeHead)).await;
    let body = with(provider(&hanging.base_url()), json!({ "timeout_ms": 60_000 }));
    let test = || {
        let (client, body) = (hub.client.clone(), body.clone());
        tokio::spawn(async move { client.post("/api/v1/providers/test", body).await })
    };
    let running: Vec<_> = (0..4).map(|_| test()).collect();
    testbed::eventually("four tests run", async || hanging.served().len() == 4).await;
    let answer = hub.client.post("/api/v1/providers/test", body.clone()).await;
    assert_eq!(answer.header("retry-after"), "1");
    answer.expect_problem(429, "too_many_tests");
    running.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn the_models_of_a_provider_are_those_that_it_lists() {
    let (hub, _database) = hub().await;
    for provider_type in ["claude", "codex"] {
        let upstream = upstream(pong()).await;
        let body =
            with(provider(&upstream.base_url()), json!({ "name": "main", "provider_type": provider_type }));
        let made = hub.client.post("/api/v1/providers", body).await.expect(201);
        let path = format!("/api/v1/providers/{}", made["id"]);
        let models = hub.client.get(&format!("{path}/models")).await.expect(200);
        assert!(models["items"][0]["id"].is_string(), "{models}");
        assert!(!upstream.served().remove(0).request.credentials().is_empty());
        hub.client.delete(&path).await.expect(204);
    }
    for (provider_type, list, wanted) in [
        (
            "claude",
            json!({ "data": [{ "id": "claude-x", "display_name": "Claude X" }], "has_more": false }),
            "claude-x",
        ),
        ("openai-compatible", json!({ "object": "list", "data": [{ "id": "gpt-x" }] }), "gpt-x"),
        ("gemini", json!({ "models": [{ "name": "models/gemini-x", "displayName": "G" }] }), "gemini-x"),
    ] {
        let server = Listing::start(200, &list.to_string()).await;
        let body = with(provider(&server.url), json!({ "name": "main", "provider_type": provider_type }));
        let made = hub.client.post("/api/v1/providers", body).await.expect(201);
        let path = format!("/api/v1/providers/{}/models", made["id"]);
        let models = hub.client.get(&path).await.expect(200);
        assert_eq!(models["items"][0]["id"], wanted, "{models}");
        hub.client.delete(&format!("/api/v1/providers/{}", made["id"])).await.expect(204);
    }
    for (status, text) in [(401, format!("no entry with {KEY}")), (200, "<html>".to_owned())] {
        let server = Listing::start(status, &text).await;
        let body = with(provider(&server.url), json!({ "name": "main" }));
        let made = hub.client.post("/api/v1/providers", body).await.expect(201);
        let path = format!("/api/v1/providers/{}", made["id"]);
        let problem = hub.client.get(&format!("{path}/models")).await.expect_problem(502, "provider_failed");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(&text.replace(KEY, "***")) && !detail.contains(KEY), "{problem}");
        hub.client.delete(&path).await.expect(204);
    }
}

/// Answers everything with this.
struct Listing {
    url: String,
}

impl Listing {
    async fn start(status: u16, text: &str) -> Self {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{text}", text.len());
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(socket.read_u8().await.unwrap());
            }
            socket.write_all(answer.as_bytes()).await.unwrap();
            socket.shutdown().await.unwrap();
        });
        Self { url }
    }
}
