//! Users and their keys.

use crate::hub::{Hub, on_both};
use serde_json::{Value, json};
use shared::secret::KeyDigest;

on_both!(on:
    a_user_is_made_with_a_first_key_shown_once,
    a_user_is_read_changed_and_deleted,
    a_key_is_made_changed_revealed_and_deleted,
    what_cannot_be_accepted_is_named,
    deleting_a_user_ends_its_keys_and_keeps_its_row,
);

async fn a_user_is_made_with_a_first_key_shown_once(hub: Hub) {
    let answer = hub.client.post("/api/v1/users", json!({ "name": "Ada", "tags": ["core"] })).await;
    assert_eq!(answer.status, 201);
    let made = answer.json();
    let (user, key) = (&made["user"], &made["key"]);
    assert_eq!(answer.header("location"), format!("/api/v1/users/{}", user["id"]));
    assert_eq!(user["name"], "Ada");
    assert_eq!(user["tags"], json!(["core"]));
    assert_eq!(user["provider_group"], "default");
    assert_eq!(user["is_enabled"], true);
    assert_eq!(key["name"], "default");
    let secret = key["secret"].as_str().unwrap();
    assert!(secret.starts_with("cch-") && secret.len() == 36, "{secret}");
    assert_eq!(key["masked_key"], format!("cch-••••••{}", &secret[32..]));

    let snapshot = hub.snapshot().await;
    let published = &snapshot.principals.keys[0];
    assert_eq!(published.digest, KeyDigest::of(secret));
    assert_eq!(Value::from(published.user_id.0), user["id"]);

    let listed = hub.client.get(&format!("/api/v1/users/{}/keys", user["id"])).await;
    assert!(!listed.text.contains(secret), "{}", listed.text);
    assert_eq!(listed.json()["items"][0]["masked_key"], key["masked_key"]);
}

async fn a_user_is_read_changed_and_deleted(hub: Hub) {
    let id = hub.make_user("Ada").await["user"]["id"].clone();
    let path = format!("/api/v1/users/{id}");
    let changed = hub
        .client
        .patch(&path, json!({ "description": "note", "allowed_models": ["claude-opus-4"], "provider_group": "fast, slow" }))
        .await
        .expect(200);
    assert_eq!(changed["description"], "note");
    assert_eq!(changed["provider_group"], "fast,slow");
    assert_eq!(changed["name"], "Ada");
    // Absent stays, null goes back to the default.
    let changed =
        hub.client.patch(&path, json!({ "description": null, "provider_group": null })).await.expect(200);
    assert_eq!(changed["description"], Value::Null);
    assert_eq!(changed["provider_group"], "default");
    assert_eq!(changed["allowed_models"], json!(["claude-opus-4"]));
    assert_eq!(hub.client.get(&path).await.expect(200), changed);
    // Groups that were named exist from then on.
    let groups = hub.client.get("/api/v1/provider-groups").await.expect(200);
    let names: Vec<_> = groups["items"].as_array().unwrap().iter().map(|g| g["name"].clone()).collect();
    assert_eq!(names, ["default", "fast", "slow"]);

    assert_eq!(hub.client.delete(&path).await.status, 204);
    hub.client.get(&path).await.expect_problem(404, "not_found");
    hub.client.patch(&path, json!({ "name": "x" })).await.expect_problem(404, "not_found");
    hub.client.delete(&path).await.expect_problem(404, "not_found");
    assert!(hub.snapshot().await.principals.users.is_empty());
}

async fn a_key_is_made_changed_revealed_and_deleted(hub: Hub) {
    let user = hub.make_user("Ada").await["user"]["id"].clone();
    let keys = format!("/api/v1/users/{user}/keys");
    let answer =
        hub.client.post(&keys, json!({ "name": "laptop", "expires_at": "2999-01-01T00:00:00+01:00" })).await;
    let location = answer.header("location").to_owned();
    let made = answer.expect(201);
    assert_eq!(location, format!("/api/v1/keys/{}", made["id"]));
    assert_eq!(made["expires_at"], "2998-12-31T23:00:00.000Z");
    assert_eq!(made["provider_group"], Value::Null);
    let secret = made["secret"].clone();

    hub.client.post(&keys, json!({ "name": "laptop" })).await.expect_problem(409, "name_taken");
    let revealed = hub.client.post(&format!("{location}/reveal"), Value::Null).await.expect(200);
    assert_eq!(revealed["secret"], secret);
    let audit = hub.client.get("/api/v1/audit-log?action=key.reveal").await.expect(200);
    assert_eq!(audit["items"][0]["resource_id"], made["id"].to_string());
    assert_eq!(audit["items"][0]["revision"], Value::Null);

    let changed =
        hub.client.patch(&location, json!({ "is_enabled": false, "expires_at": null })).await.expect(200);
    assert_eq!((&changed["is_enabled"], &changed["expires_at"]), (&json!(false), &Value::Null));
    assert!(!hub.snapshot().await.principals.keys.iter().any(|k| k.name == "laptop" && k.is_enabled));
    // A lapsed expiry may be set later on: it ends the key now.
    hub.client.patch(&location, json!({ "expires_at": "2001-01-01T00:00:00Z" })).await.expect(200);

    assert_eq!(hub.client.delete(&location).await.status, 204);
    hub.client.post(&format!("{location}/reveal"), Value::Null).await.expect_problem(404, "not_found");
    // The name is free again.
    hub.client.post(&keys, json!({ "name": "laptop" })).await.expect(201);
}

async fn what_cannot_be_accepted_is_named(hub: Hub) {
    let user = hub.make_user("Ada").await["user"]["id"].clone();
    for (body, field) in [
        (json!({}), "name"),
        (json!({ "name": "" }), "name"),
        (json!({ "name": " x" }), "name"),
        (json!({ "name": "x".repeat(65) }), "name"),
        (json!({ "name": "x", "colour": 1 }), "colour"),
        // No limit is accepted and ignored.
        (json!({ "name": "x", "limit_yearly_usd": "5" }), "limit_yearly_usd"),
        (json!({ "name": "x", "tags": ["a", "a"] }), "tags[1]"),
        (json!({ "name": "x", "expires_at": "2001-01-01T00:00:00Z" }), "expires_at"),
        (json!({ "name": "x", "expires_at": "tomorrow" }), "expires_at"),
        (json!({ "name": "x", "allowed_models": [""] }), "allowed_models[0]"),
        (json!({ "name": "x", "is_enabled": "yes" }), "is_enabled"),
    ] {
        let problem =
            hub.client.post("/api/v1/users", body.clone()).await.expect_problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["field"], field, "{body}: {problem}");
    }
    for (body, field) in [(json!({ "name": null }), "name"), (json!({ "id": 7 }), "id")] {
        let path = format!("/api/v1/users/{user}");
        let problem = hub.client.patch(&path, body).await.expect_problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["field"], field);
    }
    // Several at once.
    let body = json!({ "name": "", "tags": ["x".repeat(33)] });
    let problem = hub.client.post("/api/v1/users", body).await.expect_problem(422, "validation_failed");
    assert_eq!(problem["errors"].as_array().unwrap().len(), 2);
    hub.client.post("/api/v1/users/999/keys", json!({ "name": "x" })).await.expect_problem(404, "not_found");
    hub.client.get("/api/v1/users/999/keys").await.expect_problem(404, "not_found");
}

async fn deleting_a_user_ends_its_keys_and_keeps_its_row(hub: Hub) {
    let made = hub.make_user("Ada").await;
    let user = &made["user"]["id"];
    hub.client.post(&format!("/api/v1/users/{user}/keys"), json!({ "name": "laptop" })).await.expect(201);
    hub.client.delete(&format!("/api/v1/users/{user}")).await.expect(204);
    hub.client.get(&format!("/api/v1/keys/{}", made["key"]["id"])).await.expect_problem(404, "not_found");
    assert!(hub.snapshot().await.principals.keys.is_empty());

    use admin_api::repo::entity::{keys, users};
    use sea_orm::EntityTrait;
    let db = hub.handle.admin().db().reader();
    let row = users::Entity::find_by_id(user.as_i64().unwrap()).one(db).await.unwrap().unwrap();
    assert_eq!(row.name, "Ada");
    assert!(row.deleted_at_ms.is_some());
    for key in keys::Entity::find().all(db).await.unwrap() {
        assert_eq!(key.sealed_secret, None);
        assert!(key.deleted_at_ms.is_some());
    }
}
