//! HTTP/1.1 and HTTP/2, plain and by TLS.

use crate::client::{MESSAGES, MESSAGES_BODY, STREAM_BODY, collect, http2, playing, post, tls};
use hyper_util::rt::{TokioExecutor, TokioIo};
use simulator::{Script, Simulator, SimulatorConfig};

async fn with_tls() -> Simulator {
    Simulator::start(SimulatorConfig { tls: true, ..SimulatorConfig::default() }).await.unwrap()
}

#[tokio::test]
async fn prior_knowledge_http2_carries_requests_side_by_side() {
    let simulator = playing(Script { spacing_ms: 1, ..Script::default() }).await;
    let sender = http2(&simulator).await;
    let url = simulator.base_url() + MESSAGES;
    let calls = (0..20).map(|_| {
        let mut sender = sender.clone();
        let request = post(&url, STREAM_BODY);
        async move { collect(sender.send_request(request).await.unwrap()).await.unwrap() }
    });
    let bodies = futures::future::join_all(calls).await;
    assert!(bodies.iter().all(|body| body.ends_with(b"{\"type\":\"message_stop\"}\n\n")));
    assert!(simulator.served().iter().all(|it| it.request.http_version == "HTTP/2.0"));
    assert!(simulator.served().iter().all(|it| it.connection.id == 1));
}

#[tokio::test]
async fn tls_offers_both_protocols_to_those_who_trust_the_authority() {
    let simulator = with_tls().await;
    assert!(simulator.base_url().starts_with("https://"));

    let (stream, chosen) = tls(&simulator, &["h2", "http/1.1"], "localhost").await.unwrap();
    assert_eq!(chosen.as_deref(), Some(&b"h2"[..]));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let response = sender.send_request(post("https://localhost/v1/messages", MESSAGES_BODY)).await.unwrap();
    assert_eq!(response.status(), 200);

    let (stream, chosen) = tls(&simulator, &["http/1.1"], "127.0.0.1").await.unwrap();
    assert_eq!(chosen.as_deref(), Some(&b"http/1.1"[..]));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let response = sender.send_request(post(MESSAGES, MESSAGES_BODY)).await.unwrap();
    assert!(collect(response).await.unwrap().starts_with(b"{\"id\":\"msg_"));

    let versions: Vec<_> = simulator.served().into_iter().map(|it| it.request.http_version).collect();
    assert_eq!(versions, ["HTTP/2.0", "HTTP/1.1"]);
}

#[tokio::test]
async fn a_certificate_is_for_loopback_names_only() {
    let simulator = with_tls().await;
    assert!(tls(&simulator, &["h2"], "example.test").await.is_err());
}
