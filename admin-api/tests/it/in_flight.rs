//! What runs right now.

use crate::hub::{Hub, on_both};
use serde_json::{Value, json};
use shared::ids::{KeyId, ProviderId, UserId};
use shared::ports::NodeRegistry;
use shared::testing::{in_flight, node_beat};

const PATH: &str = "/api/v1/requests/in-flight";

on_both!(on: what_runs_is_listed_filtered_and_counted, only_the_admin_sees_it_and_knows_its_parameters);

async fn what_runs_is_listed_filtered_and_counted(hub: Hub) {
    let nothing = json!({ "items": [], "left_out": 0, "nodes": [] });
    assert_eq!(hub.client.get(PATH).await.expect(200), nothing);
    let mut told = in_flight(1_790_000_002_500, [1, 2]);
    told.left_out = 7;
    let second = &mut told.requests[1];
    (second.user_id, second.key_id, second.provider_id) = (UserId(3), KeyId(4), Some(ProviderId(5)));
    (second.model, second.is_stream, second.attempt) = (None, false, 2);
    hub.nodes.beat(node_beat("a"), Some(told.clone())).await.unwrap();
    // As a release that tells nothing of its requests.
    hub.nodes.beat(node_beat("b"), None).await.unwrap();

    let shown = hub.client.get(PATH).await.expect(200);
    let first = json!({
        "id": told.requests[0].id.to_string(), "node_id": "a", "started_at": "2026-09-21T14:13:20.000Z",
        "user_id": 1, "key_id": 1, "provider_id": null, "model": "claude-sonnet-4-5",
        "endpoint": "anthropic_messages", "is_stream": true, "attempt": 1,
    });
    assert_eq!(shown["items"][0], first);
    let wanted = json!({ "user_id": 3, "key_id": 4, "provider_id": 5, "model": null, "attempt": 2 });
    for (field, value) in wanted.as_object().unwrap() {
        assert_eq!(&shown["items"][1][field], value, "{field}");
    }
    assert_eq!(shown["left_out"], 7);
    let nodes = json!([
        { "id": "a", "reported_at": "2026-09-21T14:13:22.500Z" },
        { "id": "b", "reported_at": null },
    ]);
    assert_eq!(shown["nodes"], nodes);

    for (query, ids, left_out) in [
        ("user_id=1", vec![0], 7),
        ("key_id=4", vec![1], 7),
        ("provider_id=5", vec![1], 7),
        ("model=claude-sonnet-4-5", vec![0], 7),
        ("user_id=3&provider_id=5&node_id=a", vec![1], 7),
        ("user_id=1&key_id=4", vec![], 7),
        ("node_id=b", vec![], 0),
        ("node_id=nowhere", vec![], 0),
    ] {
        let shown = hub.client.get(&format!("{PATH}?{query}")).await.expect(200);
        let expected: Vec<Value> = ids.into_iter().map(|n: usize| json!(told.requests[n].id)).collect();
        let found = shown["items"].as_array().unwrap().iter().map(|item| item["id"].clone());
        assert_eq!(found.collect::<Vec<_>>(), expected, "{query}");
        assert_eq!(shown["left_out"], left_out, "{query}");
    }

    hub.nodes.leave("a").await.unwrap();
    let left = json!({ "items": [], "left_out": 0, "nodes": [{ "id": "b", "reported_at": null }] });
    assert_eq!(hub.client.get(PATH).await.expect(200), left);
}

async fn only_the_admin_sees_it_and_knows_its_parameters(hub: Hub) {
    for query in ["colour=1", "user_id=x", "limit=5", "model=%00", "node_id=a&node_id=b"] {
        hub.client.get(&format!("{PATH}?{query}")).await.expect_problem(422, "validation_failed");
    }
    let stranger = hub.client.under("wrong-token-of-the-tests");
    stranger.get(PATH).await.expect_problem(401, "unauthenticated");
    hub.client.post(PATH, json!({})).await.expect_problem(405, "method_not_allowed");
}
