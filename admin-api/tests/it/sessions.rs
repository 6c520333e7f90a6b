//! Conversations that run are listed and taken from their providers.

use crate::hub::{BREAKERS_AT, Hub, on_both};
use serde_json::json;
use shared::ids::{KeyId, ProviderId};
use shared::ports::SessionStore;
use shared::rules::affinity::Identity;
use shared::testing::active_session;

on_both!(on: sessions_are_listed_page_by_page_and_terminated);

async fn sessions_are_listed_page_by_page_and_terminated(hub: Hub) {
    let empty = hub.client.get("/api/v1/sessions").await.expect(200);
    assert_eq!((&empty["items"], &empty["next_cursor"]), (&json!([]), &json!(null)));
    let mut seen: Vec<_> = (1..=5).map(active_session).collect();
    for (n, session) in seen.iter_mut().enumerate() {
        session.doc.key_id = KeyId(1 + i64::try_from(n).unwrap() % 2);
        (session.first_seen_at, session.last_seen_at) = (BREAKERS_AT, BREAKERS_AT);
    }
    hub.sessions.saw(BREAKERS_AT, &seen).await.unwrap();
    hub.sessions.bind(seen[0].key, None, ProviderId(1), Identity(1)).await.unwrap();

    let mut found = Vec::new();
    let mut path = "/api/v1/sessions?limit=2".to_owned();
    loop {
        let page = hub.client.get(&path).await.expect(200);
        found.extend(page["items"].as_array().unwrap().iter().map(|item| item["session_id"].clone()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/api/v1/sessions?limit=2&cursor={cursor}");
    }
    found.sort_by_key(ToString::to_string);
    assert_eq!(found, ["session-1", "session-2", "session-3", "session-4", "session-5"]);
    let of_key = hub.client.get("/api/v1/sessions?key_id=2").await.expect(200);
    assert_eq!(of_key["items"].as_array().unwrap().len(), 2);
    hub.client.get("/api/v1/sessions?nobody=2").await.expect(422);

    let id = seen[0].key.to_string();
    hub.client.post(&format!("/api/v1/sessions/{id}/terminate"), json!({})).await.expect(204);
    assert_eq!(hub.sessions.read(seen[0].key).await.unwrap(), None, "its binding is gone");
    let left = hub.client.get("/api/v1/sessions").await.expect(200);
    assert_eq!(left["items"].as_array().unwrap().len(), 4);
    let audit = hub.client.get("/api/v1/audit-log").await.expect(200);
    assert_eq!(audit["items"][0]["action"], "session.terminate");
    assert_eq!(audit["items"][0]["resource_id"], id);
    for unknown in [&*id, "no-hex"] {
        hub.client.post(&format!("/api/v1/sessions/{unknown}/terminate"), json!({})).await.expect(404);
    }
}
