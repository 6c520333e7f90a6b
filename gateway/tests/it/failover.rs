//! A provider that fails before anything real came is passed over with the same bytes; the seat sees one
//! clean answer and the chain says why.

use crate::harness::{Hub, claude, message, sha256, upstream, upstream_with};
use shared::contract::usage::{ChainStep, Outcome, UsageRecord};
use shared::ids::ProviderId;
use simulator::{Cut, ErrorEvent, FakeSuccess, Refuser, Script};

/// The results of the attempts, in order.
fn results(record: &UsageRecord) -> Vec<(i64, String)> {
    let steps = record.request.decision_chain.steps.iter();
    steps
        .filter_map(|step| match step {
            ChainStep::Attempted { provider_id, result, .. } => Some((provider_id.0, result.clone())),
            ChainStep::Selected { .. }
            | ChainStep::Exhausted { .. }
            | ChainStep::Reused { .. }
            | ChainStep::Stopped { .. }
            | ChainStep::LeftOut { .. } => None,
        })
        .collect()
}

#[tokio::test]
async fn each_kind_of_failure_is_passed_over_with_the_same_bytes() {
    let scripts = [
        Script::failing(401),
        Script::failing(403),
        Script::failing(429),
        Script::failing(500),
        Script::failing(503),
        Script::failing(529),
        Script::cutting(Cut::BeforeHead),
        Script::cutting(Cut::AfterHead),
        Script::cutting(Cut::MidStream(1)),
        Script { error_event: Some(ErrorEvent::BeforeContent), ..Script::default() },
        Script { fake_success: Some(FakeSuccess::Html), ..Script::default() },
        Script { fake_success: Some(FakeSuccess::Empty), ..Script::default() },
        Script { fake_success: Some(FakeSuccess::ErrorJson), ..Script::default() },
    ];
    for script in scripts {
        let told = format!("{script:?}");
        let bad = upstream_with(script).await;
        let good = upstream().await;
        let mut second = claude(2, &good.base_url());
        second.priority = 1;
        let hub = Hub::start(vec![claude(1, &bad.base_url()), second]).await;
        let answer = hub.post("/v1/messages", message(true)).await;
        assert_eq!(answer.status, 200, "{told}: {}", answer.text());
        assert_eq!(answer.text().matches("event: message_start").count(), 1, "{told}");
        assert!(answer.text().contains("event: message_stop"), "{told}");
        let served = good.served();
        assert_eq!(served.len(), 1, "{told}");
        for tried in bad.served() {
            assert_eq!(tried.request.body_sha256, served[0].request.body_sha256, "{told}");
        }
        let records = hub.records(1).await;
        let chain = results(&records[0]);
        assert_eq!(chain.last(), Some(&(2, "served".to_owned())), "{told}");
        assert!(chain.len() >= 2 && chain[0].0 == 1 && chain[0].1 != "served", "{told}: {chain:?}");
        assert_eq!(records[0].request.provider_id, Some(ProviderId(2)));
        let told_usage = served[0].answer.told.expect("the simulator told a usage");
        let last = records[0].attempts.last().expect("a ledger row");
        assert_eq!(last.outcome, Outcome::Served);
        assert_eq!(last.usage.output_tokens, told_usage.output, "{told}");
    }
}

#[tokio::test]
async fn a_whole_answer_that_is_none_is_passed_over_too() {
    let scripts = [
        Script::failing(500),
        Script::failing(529),
        Script::cutting(Cut::MidStream(1)),
        Script { fake_success: Some(FakeSuccess::ErrorJson), ..Script::default() },
        Script { fake_success: Some(FakeSuccess::Html), ..Script::default() },
        Script { fake_success: Some(FakeSuccess::Empty), ..Script::default() },
        Script { fake_success: Some(FakeSuccess::TruncatedJson), ..Script::default() },
        Script { fake_success: Some(FakeSuccess::ErrorJson), gzip: true, ..Script::default() },
    ];
    for script in scripts {
        let told = format!("{script:?}");
        let bad = upstream_with(script).await;
        let good = upstream().await;
        let mut second = claude(2, &good.base_url());
        second.priority = 1;
        let hub = Hub::start(vec![claude(1, &bad.base_url()), second]).await;
        let answer = hub.post("/v1/messages", message(false)).await;
        assert_eq!(answer.status, 200, "{told}: {}", answer.text());
        assert_eq!(answer.json()["type"], "message", "{told}");
        let served = good.served().remove(0);
        assert_eq!(Some(sha256(&answer.body)), served.answer.body_sha256, "{told}");
        assert!(bad.served().iter().all(|s| s.request.body_sha256 == served.request.body_sha256), "{told}");
        let chain = results(&hub.records(1).await[0]);
        assert_eq!(chain.last(), Some(&(2, "served".to_owned())), "{told}");
    }
}

#[tokio::test]
async fn a_refused_connection_is_passed_over() {
    let refuser = Refuser::start().expect("a refusing port");
    let good = upstream().await;
    let mut second = claude(2, &good.base_url());
    second.priority = 1;
    let hub = Hub::start(vec![claude(1, &refuser.base_url()), second]).await;
    let answer = hub.post("/v1/messages", message(false)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["type"], "message");
}

#[tokio::test]
async fn the_requests_own_fault_is_relayed_unmodified_and_not_retried() {
    let bad = upstream_with(Script::failing(400)).await;
    let other = upstream().await;
    let mut second = claude(2, &other.base_url());
    second.priority = 1;
    let hub = Hub::start(vec![claude(1, &bad.base_url()), second]).await;
    let answer = hub.post("/v1/messages", message(true)).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["error"]["type"], "invalid_request_error");
    assert_eq!(bad.served().len(), 1);
    assert!(other.served().is_empty());
    assert_eq!(hub.records(1).await[0].request.status, 400);
    let last = hub.records(1).await[0].request.decision_chain.steps.last().cloned();
    assert_eq!(last, Some(ChainStep::Stopped { reason: "request_fault".to_owned() }));
}

#[tokio::test]
async fn when_nobody_is_left_the_seat_learns_the_reason_classes_but_no_names() {
    let bad = upstream_with(Script::failing(500)).await;
    let hub = Hub::start(vec![claude(1, &bad.base_url())]).await;
    let answer = hub.post("/v1/messages", message(false)).await;
    assert_eq!(answer.status, 503);
    let text = answer.text();
    assert!(text.contains("server_error"), "{text}");
    assert!(!text.contains("provider-1"), "{text}");
    assert_eq!(bad.served().len(), 2, "two tries at the only provider");
}

#[tokio::test]
async fn a_kept_connection_that_turns_out_closed_is_told_in_the_chain_and_is_no_failure() {
    let upstream = upstream().await;
    upstream.set_sequence([Script::default(), Script::cutting(Cut::BeforeHead), Script::default()]);
    let hub = Hub::start(vec![claude(1, &upstream.base_url())]).await;
    for _ in 0..2 {
        assert_eq!(hub.post("/v1/messages", message(false)).await.status, 200);
    }
    assert_eq!(upstream.served().len(), 3, "it was sent again");
    let told: Vec<(String, u32, usize)> = hub
        .records(2)
        .await
        .iter()
        .flat_map(|record| record.request.decision_chain.steps.iter().map(move |step| (record, step)))
        .filter_map(|(record, step)| match step {
            ChainStep::Attempted { result, resends, .. } => {
                Some((result.clone(), *resends, record.attempts.len()))
            }
            _ => None,
        })
        .collect();
    assert_eq!(told, [("served".to_owned(), 0, 1), ("served".to_owned(), 1, 1)]);
}
