//! Breakers and cool-downs are shown with their evidence, explained, and taken back.

use crate::hub::{BREAKERS_AT, Hub, on_both};
use serde_json::json;
use shared::contract::breaker::{Mark, Pass, Report};
use shared::ids::{ProviderId, Revision};
use shared::ports::BreakerStore;
use shared::testing::report;

on_both!(
    on: an_open_breaker_is_shown_with_its_evidence_and_taken_back,
    the_terms_of_a_breaker_are_checked,
);

async fn make_provider(hub: &Hub) -> i64 {
    let document = json!({
        "name": "p", "provider_type": "claude", "url": "http://127.0.0.1:9", "key": "sk-upstream",
        "circuit_breaker_failure_threshold": 2,
    });
    hub.client.post("/api/v1/providers", document).await.expect(201)["id"].as_i64().unwrap()
}

/// Two failures: its breaker opens.
async fn trip(hub: &Hub, id: i64) {
    let shown = hub.client.get(&format!("/api/v1/providers/{id}")).await.expect(200);
    let changed_at = Revision(shown["revision"].as_u64().unwrap());
    let snapshot = hub.snapshot_after(Some(Revision(changed_at.0 - 1))).await;
    let provider = snapshot.core.providers.iter().find(|p| p.id == ProviderId(id)).unwrap();
    for _ in 0..2 {
        let said = Report { terms: provider.circuit_terms(), ..report(id, Pass::default(), Mark::Failure) };
        hub.breakers.report(&said).await.unwrap();
    }
}

async fn an_open_breaker_is_shown_with_its_evidence_and_taken_back(hub: Hub) {
    let id = make_provider(&hub).await;
    let path = format!("/api/v1/providers/{id}/circuit");
    let closed = hub.client.get(&path).await.expect(200);
    assert_eq!((&closed["state"], &closed["evidence"]), (&json!("closed"), &json!([])));
    trip(&hub, id).await;
    let open = hub.client.get(&path).await.expect(200);
    assert_eq!((&open["state"], &open["cause"]), (&json!("open"), &json!("failures")));
    assert_eq!(open["open_until"], BREAKERS_AT.plus_ms(1_800_000).to_string());
    let evidence = open["evidence"].as_array().unwrap();
    assert_eq!((evidence.len(), &evidence[0]["status"]), (2, &json!(502)));
    let explained = hub.client.get("/api/v1/routing/explain?format=anthropic&model=m").await.expect(200);
    assert!(explained.to_string().contains("breaker_open"), "{explained}");

    let reset = hub.client.post(&format!("{path}/reset"), json!({})).await.expect(200);
    assert_eq!((&reset["state"], &reset["cause"]), (&json!("closed"), &json!("reset")));
    let audit = hub.client.get("/api/v1/audit-log").await.expect(200);
    assert_eq!(audit["items"][0]["action"], "provider.circuit_reset");
    assert_eq!(audit["items"][0]["before"]["state"], "open");
    hub.client.get("/api/v1/providers/999/circuit").await.expect(404);
    hub.client.post("/api/v1/providers/999/circuit/reset", json!({})).await.expect(404);

    // Another secret is another account: what was held against the old one is void.
    trip(&hub, id).await;
    let update = json!({"key": "sk-another"});
    hub.client.patch(&format!("/api/v1/providers/{id}"), update).await.expect(200);
    assert_eq!(hub.client.get(&path).await.expect(200)["state"], "closed");

    // Off and on again is a reset, whatever gateways see of it.
    trip(&hub, id).await;
    for is_enabled in [false, true] {
        let update = json!({"is_enabled": is_enabled});
        hub.client.patch(&format!("/api/v1/providers/{id}"), update).await.expect(200);
    }
    let again = hub.client.get(&path).await.expect(200);
    assert_eq!((&again["state"], &again["cause"]), (&json!("closed"), &json!("terms_changed")));
}

async fn the_terms_of_a_breaker_are_checked(hub: Hub) {
    let id = make_provider(&hub).await;
    let path = format!("/api/v1/providers/{id}");
    for (field, wrong) in [
        ("circuit_breaker_failure_threshold", 1_001),
        ("circuit_breaker_open_duration_ms", 999),
        ("circuit_breaker_half_open_success_threshold", 0),
    ] {
        let refused = hub.client.patch(&path, json!({field: wrong})).await.expect(422);
        assert!(refused.to_string().contains(field), "{refused}");
    }
    let shown = hub.client.patch(&path, json!({"circuit_breaker_failure_threshold": null})).await.expect(200);
    assert_eq!(shown["circuit_breaker_failure_threshold"], 5, "null is the default");
}
