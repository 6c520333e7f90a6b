//! Bad input gets a precise error in the caller's dialect, a log row where the caller is known, and nothing
//! of it is forwarded.

use crate::harness::{Hub, PATIENCE, claude, message, upstream};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use shared::contract::snapshot::KeyDoc;
use shared::testing::{self, client_secret};
use std::io::Read;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

#[tokio::test]
async fn wrong_credentials_are_refused_before_the_body() {
    let upstream = upstream().await;
    let hub = Hub::start(vec![claude(1, &upstream.base_url())]).await;
    let right = client_secret(1);
    for (headers, code) in [
        (vec![], "no_credential"),
        (vec![("x-api-key", "cch-wrong")], "invalid_api_key"),
        (vec![("x-api-key", right.as_str()), ("authorization", "Bearer other")], "conflicting_credentials"),
    ] {
        let mut request = Request::post(hub.url("/v1/messages"));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let answer = hub.send(request.body(Full::new(Bytes::from(message(false)))).unwrap()).await;
        assert_eq!(answer.status, 401, "{code}");
        assert_eq!(answer.headers["x-should-retry"], "false");
        assert_eq!(answer.json()["type"], "error", "{code}");
        assert_eq!(answer.json()["error"]["type"], "authentication_error", "{code}");
    }
    assert!(upstream.served().is_empty());
    assert!(hub.records(0).await.is_empty());
}

#[tokio::test]
async fn unusable_bodies_are_named_and_logged() {
    let upstream = upstream().await;
    let hub = Hub::start(vec![claude(1, &upstream.base_url())]).await;
    let cases = [
        (r#"{"max_tokens":1}"#, "no_model"),
        (r#"{"model":"a","mod\u0065l":"b"}"#, "model"),
        (r#"{"model":"a""#, "JSON"),
        (r#"["model"]"#, "object"),
        (r#"{"model":7}"#, "model"),
    ];
    for (body, _) in cases {
        let answer = hub.post("/v1/messages", body).await;
        assert_eq!(answer.status, 400, "{body}");
        assert_eq!(answer.json()["error"]["type"], "invalid_request_error", "{body}");
    }
    let records = hub.records(cases.len()).await;
    assert!(records.iter().all(|r| r.request.status == 400 && r.request.blocked_by.is_some()));
    assert!(upstream.served().is_empty());
}

#[tokio::test]
async fn unknown_paths_and_methods_are_refused_in_dialect() {
    let hub = Hub::start(vec![]).await;
    let get = |path: &str| Request::get(hub.url(path)).body(Full::default()).unwrap();
    let answer = hub.send(get("/v1/nothing")).await;
    assert_eq!(answer.status, 404);
    assert!(answer.json()["error"]["message"].is_string());
    let answer = hub.send(get("/v1/messages")).await;
    assert_eq!(answer.status, 405);
    assert_eq!(answer.headers["allow"], "POST");
    assert_eq!(answer.json()["type"], "error");
    let answer = hub.send(get("/v1beta/models/gemini-3:generateContent")).await;
    assert_eq!(answer.status, 405);
    assert_eq!(answer.json()["error"]["code"], 405);
    assert_eq!(hub.send(get("/")).await.status, 200);
    assert_eq!(hub.send(get("/_ping")).await.text(), r#"{"status":"pong"}"#);
}

#[tokio::test]
async fn a_refusal_before_the_body_is_in_the_log_of_a_known_key() {
    let upstream = upstream().await;
    let mut snapshot = testing::snapshot(vec![claude(1, &upstream.base_url())]);
    snapshot.principals.keys.push(KeyDoc { is_enabled: false, ..testing::key_doc(2, 1) });
    let hub = Hub::start_with(snapshot, None).await;
    let big = "x".repeat(65 << 10);
    let cases = [
        ("POST", "/v1/nothing", 1, "", 404, "unknown_path", "none"),
        ("GET", "/v1/messages", 1, "", 405, "method_not_allowed", "none"),
        ("GET", "/v1/responses/resp_1", 1, "", 404, "stateful_resource", "none"),
        ("POST", "/v1/messages", 1, &big, 431, "headers_too_large", "anthropic_messages"),
        ("GET", "/v1/models/no-such-model", 1, "", 404, "model_not_found", "models"),
        ("POST", "/v1/messages", 2, "", 401, "key_disabled", "anthropic_messages"),
    ];
    for (count, (method, path, key, filler, status, label, endpoint)) in (1..).zip(cases) {
        let request = Request::builder()
            .method(method)
            .uri(hub.url(path))
            .header("x-api-key", client_secret(key))
            .header("x-filler", filler);
        let answer = hub.send(request.body(Full::new(Bytes::from(message(false)))).unwrap()).await;
        assert_eq!(answer.status, status, "{path}");
        let entry = hub.records(count).await.pop().unwrap().request;
        assert_eq!((entry.status, entry.blocked_by.as_deref()), (status, Some(label)), "{path}");
        assert_eq!((entry.caller.key_id.0, entry.endpoint.as_str()), (key, endpoint), "{path}");
        assert_eq!(answer.headers["x-request-id"], entry.id.to_string());
    }
    assert!(upstream.served().is_empty());
}

#[tokio::test]
async fn oversized_heads_and_bodies_are_refused() {
    let upstream = upstream().await;
    let hub = Hub::start(vec![claude(1, &upstream.base_url())]).await;
    let big = "x".repeat(65 << 10);
    let request = hub.request("/v1/messages").header("x-filler", big);
    let answer = hub.send(request.body(Full::new(Bytes::from(message(false)))).unwrap()).await;
    assert_eq!(answer.status, 431);
    assert_eq!(answer.json()["type"], "error");
    let mut request = hub.request("/v1/models/gemini-3:generateContent");
    for n in 0..=200 {
        request = request.header(format!("x-filler-{n}"), "x");
    }
    let answer = hub.send(request.body(Full::default()).unwrap()).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["error"]["code"]), (431, &431.into()));
    let answer = hub.post("/v1/messages", vec![b' '; (100 << 20) + 1]).await;
    assert_eq!(answer.status, 413);
    assert_eq!(answer.json()["error"]["type"], "request_too_large");
    assert!(upstream.served().is_empty());
}

#[tokio::test]
async fn a_key_in_the_query_never_reaches_the_upstream() {
    let upstream = upstream().await;
    let gemini = crate::harness::provider(1, shared::model::ProviderType::Gemini, &upstream.base_url());
    let hub = Hub::start(vec![gemini]).await;
    let path = format!("/v1beta/models/gemini-3:generateContent?key={}&x=1", client_secret(1));
    let request = Request::post(hub.url(&path)).header("content-type", "application/json");
    let body = r#"{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}"#;
    let answer = hub.send(request.body(Full::new(Bytes::from(body))).unwrap()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let served = upstream.served();
    assert_eq!(served[0].request.path, "/v1beta/models/gemini-3:generateContent?x=1");
    let everything = format!("{:?}", served[0]);
    assert!(!everything.contains(&client_secret(1)));
}

/// Sends bytes as they are and reads until the other side has sent `until` or closed.
async fn raw(hub: &Hub, bytes: &[u8], until: &str) -> (TcpStream, String) {
    let mut socket = TcpStream::connect(hub.handle.address).await.unwrap();
    socket.write_all(bytes).await.unwrap();
    let text = read_until(&mut socket, until).await;
    (socket, text)
}

async fn read_until(socket: &mut TcpStream, until: &str) -> String {
    let read = async {
        let mut text = String::new();
        let mut piece = [0; 4096];
        while !text.contains(until) {
            match socket.read(&mut piece).await.unwrap() {
                0 => break,
                n => text.push_str(&String::from_utf8_lossy(&piece[..n])),
            }
        }
        text
    };
    timeout(PATIENCE, read).await.expect("bytes in time")
}

#[tokio::test]
async fn what_is_no_http_is_told_so_and_the_connection_closed() {
    let hub = Hub::start(vec![]).await;
    let many: String = (0..400).map(|n| format!("x-{n}: 1\r\n")).collect();
    for head in [
        "\u{1}\u{2} nonsense\r\n\r\n".to_owned(),
        "POST /v1/messages HTTP/1.1\r\nhost: hub\r\nbad name: x\r\n\r\n".to_owned(),
        format!("POST /v1/messages HTTP/1.1\r\nhost: hub\r\n{many}\r\n"),
    ] {
        let (_socket, told) = raw(&hub, head.as_bytes(), "never sent").await;
        assert!(told.starts_with("HTTP/1.1 400"), "{told}");
        let (_, body) = told.split_once("\r\n\r\n").unwrap();
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["error"]["code"], "unreadable_head", "{body}");
    }
}

#[tokio::test]
async fn requests_sent_ahead_are_answered_in_their_order() {
    let upstream = upstream().await;
    let hub = Hub::start(vec![claude(1, &upstream.base_url())]).await;
    let body = message(true);
    let ask = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: hub\r\nx-api-key: {}\r\ncontent-length: {}\r\n\r\n{body}",
        client_secret(1),
        body.len(),
    );
    let ahead = format!("{ask}{ask}GET /_ping HTTP/1.1\r\nhost: hub\r\n\r\n");
    let (_socket, told) = raw(&hub, ahead.as_bytes(), "pong").await;
    assert_eq!(told.matches("HTTP/1.1 200").count(), 3, "{told}");
    assert_eq!(told.matches("event: message_stop").count(), 2, "{told}");
    assert_eq!(hub.records(2).await.iter().filter(|r| r.request.status == 200).count(), 2);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_connections_that_idle() {
    let hub = Hub::start(vec![]).await;
    let ping = "GET /_ping HTTP/1.1\r\nhost: hub\r\n\r\n";
    let (mut socket, told) = raw(&hub, ping.as_bytes(), "pong").await;
    assert!(told.starts_with("HTTP/1.1 200"), "{told}");
    timeout(PATIENCE, hub.handle.stop()).await.expect("a stop in time");
    assert_eq!(read_until(&mut socket, "never sent").await.find("HTTP"), None, "closed, not answered");
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue_is_told_to_go_on() {
    let upstream = upstream().await;
    let hub = Hub::start(vec![claude(1, &upstream.base_url())]).await;
    let body = message(false);
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: hub\r\nx-api-key: {}\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n",
        client_secret(1),
        body.len(),
    );
    let (mut socket, told) = raw(&hub, head.as_bytes(), "\r\n\r\n").await;
    assert!(told.starts_with("HTTP/1.1 100 Continue"), "{told}");
    socket.write_all(body.as_bytes()).await.unwrap();
    let answer = read_until(&mut socket, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // A wrong key is refused without asking for the body.
    let wrong = head.replace(&client_secret(1), "cch-wrong");
    let (_socket, told) = raw(&hub, wrong.as_bytes(), "\r\n\r\n").await;
    assert!(told.starts_with("HTTP/1.1 401"), "{told}");
}

#[tokio::test]
async fn a_body_that_ends_early_is_not_forwarded() {
    let upstream = upstream().await;
    let hub = Hub::start(vec![claude(1, &upstream.base_url())]).await;
    let request = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: hub\r\nx-api-key: {}\r\ncontent-length: 500\r\n\r\n{{\"model\":",
        client_secret(1),
    );
    let mut socket = TcpStream::connect(hub.handle.address).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    drop(socket);
    let record = hub.records(1).await.remove(0);
    assert_eq!(record.request.blocked_by.as_deref(), Some("body_incomplete"));
    assert!(upstream.served().is_empty());
}

#[tokio::test]
async fn what_follows_a_broken_body_is_not_taken_for_a_request() {
    let upstream = upstream().await;
    let hub = Hub::start(vec![claude(1, &upstream.base_url())]).await;
    for chunk in ["zz", "-1", "5\r\nhello, and more", "ffffffffffffffffff"] {
        let request = format!(
            "POST /v1/messages HTTP/1.1\r\nhost: hub\r\nx-api-key: {}\r\ntransfer-encoding: chunked\r\n\r\n\
             {chunk}\r\nGET /_ping HTTP/1.1\r\nhost: hub\r\n\r\n",
            client_secret(1),
        );
        // Read until it closes.
        let (_socket, told) = raw(&hub, request.as_bytes(), "pong").await;
        assert!(told.starts_with("HTTP/1.1 400") && told.contains("Connection: close"), "{chunk}: {told}");
        assert!(!told.contains("pong"), "{chunk}: {told}");
    }
    assert!(upstream.served().is_empty());
}

#[tokio::test]
async fn compressed_bodies_are_read_and_broken_ones_refused() {
    let upstream = upstream().await;
    let hub = Hub::start(vec![claude(1, &upstream.base_url())]).await;
    let packed = zstd::encode_all(message(false).as_bytes(), 3).unwrap();
    let send = |encoding: &str, body: Vec<u8>| {
        let request = hub.request("/v1/messages").header("content-encoding", encoding);
        hub.send(request.body(Full::new(Bytes::from(body))).unwrap())
    };
    assert_eq!(send("zstd", packed.clone()).await.status, 200);
    let plain = crate::harness::sha256(message(false).as_bytes());
    assert_eq!(upstream.served()[0].request.body_sha256, Some(plain));
    assert_eq!(upstream.served()[0].request.header("content-encoding"), None);
    assert_eq!(send("gzip", packed.clone()).await.status, 400);
    let bomb = zstd::encode_all(std::io::repeat(b' ').take((100 << 20) + 1), 1).unwrap();
    assert_eq!(send("zstd", bomb).await.status, 413);
    assert_eq!(send("zstd, gzip", packed).await.status, 415);
    assert_eq!(upstream.served().len(), 1);
}
