//! What the simulator says it served, and its control paths.

use crate::client::{
    MESSAGES, MESSAGES_BODY, PATIENCE, Raw, STREAM_BODY, collect, ended, http2, playing, post, request, split,
};
use simulator::{Dialect, Ending, Endpoint, Script, Simulator, SimulatorConfig};
use tokio::time::timeout;

#[tokio::test]
async fn a_record_tells_who_asked_what_and_what_left() {
    let simulator = playing(Script::default()).await;
    let mut raw = Raw::connect(&simulator).await;
    let headers = "x-api-key: k1\r\nauthorization: Bearer k2\r\nx-sim-id: mark-7\r\n";
    raw.send(&request("/v1/messages?beta=true&key=k3", STREAM_BODY, headers)).await;
    let (head, body) = split(&raw.read_until("\r\n0\r\n\r\n").await);
    let id = head.lines().find_map(|line| line.strip_prefix("request-id: ")).unwrap();
    ended(&simulator, 0).await;
    let served = simulator.served_by(id).unwrap();
    assert_eq!(simulator.served_marked("mark-7").as_slice(), std::slice::from_ref(&served));
    assert_eq!(served.marker.as_deref(), Some("mark-7"));
    assert_eq!(served.request.dialect, Some(Dialect::Anthropic));
    assert_eq!(served.request.endpoint, Endpoint::AnthropicMessages);
    assert_eq!(served.request.path, "/v1/messages?beta=true&key=k3");
    assert_eq!(served.request.model.as_deref(), Some("claude-x"));
    assert!(served.request.is_stream);
    let credentials = served.request.credentials();
    let values: Vec<&str> = credentials.iter().map(|(_, value)| value.as_str()).collect();
    assert_eq!(values, ["k1", "Bearer k2", "k3"]);
    assert_eq!(served.answer.ended, Ending::Completed);
    let body = body.unwrap();
    assert_eq!(served.answer.body_bytes, body.len() as u64);
    let digest = ring::digest::digest(&ring::digest::SHA256, body.as_bytes());
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(served.answer.body_sha256, Some(hex));
    assert!(body.contains(id.trim_start_matches("req_")), "the message's id shares the request's");
}

#[tokio::test]
async fn records_are_bounded_and_sums_are_not() {
    let config = SimulatorConfig { served_cap: 2, ..SimulatorConfig::default() };
    let simulator = Simulator::start(config).await.unwrap();
    let mut sender = http2(&simulator).await;
    for marker in ["1", "2", "3", "4"] {
        let mut request = post(&(simulator.base_url() + MESSAGES), MESSAGES_BODY);
        request.headers_mut().insert("x-sim-id", marker.parse().unwrap());
        collect(sender.send_request(request).await.unwrap()).await.unwrap();
    }
    let markers: Vec<_> = simulator.served().into_iter().filter_map(|it| it.marker).collect();
    assert_eq!(markers, ["3", "4"]);
    let totals = simulator.totals();
    assert_eq!((totals.requests, totals.overflow), (4, 2));
    assert_eq!(totals.endings[&Ending::Completed], 4);
    assert_eq!(totals.completed_usage.input, 100);
    simulator.clear();
    assert!(simulator.served().is_empty());
    assert_eq!(simulator.totals().requests, 0);
}

#[tokio::test]
async fn without_digests_no_body_is_hashed() {
    let config = SimulatorConfig { digest_bodies: false, ..SimulatorConfig::default() };
    let simulator = Simulator::start(config).await.unwrap();
    Raw::post(&simulator, MESSAGES, STREAM_BODY).await.read_until("message_stop").await;
    let served = ended(&simulator, 0).await;
    assert_eq!((served.request.body_sha256, served.answer.body_sha256), (None, None));
    assert_eq!(served.request.body_bytes, STREAM_BODY.len() as u64);
}

#[tokio::test]
async fn control_paths_set_scripts_and_show_records_and_are_not_counted() {
    let simulator = playing(Script::default()).await;
    let mut raw = Raw::post(&simulator, "/__sim/script", r#"[{"status":529},{}]"#).await;
    raw.read_until(r#"{"set":true}"#).await;
    for status in ["529", "200"] {
        let mut raw = Raw::post(&simulator, MESSAGES, MESSAGES_BODY).await;
        assert!(raw.read_until("}").await.starts_with(&format!("HTTP/1.1 {status}")));
    }
    let mut raw = Raw::post(&simulator, "/__sim/script", r#"{"statsu":1}"#).await;
    assert!(raw.read_until("statsu").await.starts_with("HTTP/1.1 400"));
    ended(&simulator, 1).await;
    let mut raw = Raw::connect(&simulator).await;
    raw.send("GET /__sim/served HTTP/1.1\r\nhost: sim\r\nconnection: close\r\n\r\n").await;
    let (_, body) = split(&raw.read_to_close().await);
    let records: serde_json::Value = serde_json::from_str(&body.unwrap()).unwrap();
    assert_eq!(records, serde_json::to_value(simulator.served()).unwrap());
    assert_eq!(records[0]["answer"]["ended"], "errored");
    assert_eq!(records[1]["request"]["endpoint"], "anthropic_messages");
    let mut raw = Raw::connect(&simulator).await;
    raw.send("DELETE /__sim/served HTTP/1.1\r\nhost: sim\r\nconnection: close\r\n\r\n").await;
    raw.read_to_close().await;
    assert!(simulator.served().is_empty());
}

#[tokio::test]
async fn shutting_down_and_dropping_close_every_connection() {
    for is_dropped in [false, true] {
        let simulator = playing(Script::hanging(simulator::Hang::AfterHead)).await;
        let mut raw = Raw::post(&simulator, MESSAGES, STREAM_BODY).await;
        raw.read_until("\r\n\r\n").await;
        let mut sender = http2(&simulator).await;
        let hung = sender.send_request(post(&(simulator.base_url() + MESSAGES), STREAM_BODY)).await.unwrap();
        if is_dropped {
            drop(simulator);
        } else {
            timeout(PATIENCE, simulator.shutdown()).await.expect("all tasks end");
        }
        raw.read_to_close().await;
        assert!(collect(hung).await.is_err());
    }
}
