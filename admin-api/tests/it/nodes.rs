//! Who serves, and by which configuration.

use crate::hub::{Hub, on_both};
use serde_json::json;
use shared::ids::Revision;
use shared::money::NanoUsd;
use shared::ports::NodeRegistry;
use shared::testing::node_beat;

on_both!(on: nodes_are_shown_with_the_revision_they_serve_by);

async fn nodes_are_shown_with_the_revision_they_serve_by(hub: Hub) {
    let none = hub.client.get("/api/v1/nodes").await.expect(200);
    let newest = hub.revision().await;
    assert_eq!(none["summary"], format!("revision {newest} on 0/0 nodes"));
    hub.nodes.beat(node_beat("a"), None).await.unwrap();
    let mut level = node_beat("b");
    level.revision = Some(newest);
    hub.nodes.beat(level, None).await.unwrap();
    let mut fresh = node_beat("c");
    (fresh.revision, fresh.is_ready) = (None, false);
    (fresh.budget_holds, fresh.budget_held) = (Some(2), Some(NanoUsd(1_500_000_000)));
    fresh.budget_escrowed = Some(NanoUsd(500_000_000));
    hub.nodes.beat(fresh, None).await.unwrap();

    hub.make_user("Ada").await;
    let mut ahead = node_beat("a");
    ahead.revision = Some(Revision(newest.0 + 1));
    hub.nodes.beat(ahead, None).await.unwrap();
    let shown = hub.client.get("/api/v1/nodes").await.expect(200);
    assert_eq!(shown["summary"], format!("revision {} on 1/3 nodes", newest.0 + 1));
    assert_eq!((&shown["up_to_date"], &shown["total"]), (&json!(1), &json!(3)));
    assert_eq!(shown["published_revision"], json!(newest.0 + 1));
    assert_eq!(shown["items"][1]["revision"], json!(newest.0));
    assert_eq!(shown["items"][2]["revision"], json!(null));
    let names = ["budget_holds", "budget_held_usd", "budget_escrowed_usd"];
    let held = |n: usize| names.map(|name| shown["items"][n][name].clone());
    assert_eq!(held(2), [json!(2), json!("1.50"), json!("0.50")]);
    assert_eq!(held(1), [json!(null), json!(null), json!(null)], "of an earlier release");
    assert_eq!(
        (&shown["items"][0]["kind"], &shown["items"][2]["is_ready"]),
        (&json!("gateway"), &json!(false))
    );
}
