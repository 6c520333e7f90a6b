//! A seat that leaves in the middle still has its usage booked.

use crate::harness::{Hub, claude, message, upstream_with};
use http_body_util::{BodyExt, Full};
use shared::contract::usage::Outcome;
use shared::model::ClientAbort;
use simulator::Script;

#[tokio::test]
async fn a_stream_is_drained_for_its_usage_after_the_seat_left() {
    let script = Script { events: Some(20), spacing_ms: 10, ..Script::default() };
    let upstream = upstream_with(script).await;
    let hub = Hub::start(vec![claude(1, &upstream.base_url())]).await;
    leave_after_the_first_event(&hub).await;
    let record = hub.records(1).await.remove(0);
    let told = upstream.served()[0].answer.told.expect("told to the end");
    assert_eq!(record.attempts[0].outcome, Outcome::Drained);
    assert_eq!(record.attempts[0].usage.output_tokens, told.output);
    assert!(!record.attempts[0].flags.is_estimate);
    assert_eq!(record.request.error.as_deref(), Some("client_closed"));
}

#[tokio::test]
async fn a_provider_set_to_cancel_is_closed_and_booked_as_an_estimate() {
    let script = Script { events: Some(500), spacing_ms: 10, ..Script::default() };
    let upstream = upstream_with(script).await;
    let mut provider = claude(1, &upstream.base_url());
    provider.client_abort = ClientAbort::Cancel;
    let hub = Hub::start(vec![provider]).await;
    leave_after_the_first_event(&hub).await;
    let record = hub.records(1).await.remove(0);
    let row = &record.attempts[0];
    assert_eq!(row.outcome, Outcome::Cancelled);
    assert!(row.flags.is_estimate);
    assert!(row.usage.input_tokens > 0, "message_start told the input");
}

async fn leave_after_the_first_event(hub: &Hub) {
    let request = hub.request("/v1/messages").body(Full::new(message(true).into())).unwrap();
    // A client of its own: dropping it closes the connection.
    let client: hyper_util::client::legacy::Client<_, Full<bytes::Bytes>> =
        hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).build_http();
    let mut answer = client.request(request).await.expect("an answer");
    let first = answer.body_mut().frame().await.expect("a frame").expect("a good frame");
    assert!(first.is_data());
}
