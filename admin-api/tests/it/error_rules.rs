//! Rules on the errors of upstreams: made, changed, published, tried out, and kept up to date with the release.

use crate::hub::{Database, Hub, on_both};
use admin_api::repo::entity::{error_rules, error_rules_removed};
use sea_orm::ActiveValue::{Set, Unchanged};
use sea_orm::{ActiveModelTrait, ColumnTrait, EntityTrait, QueryFilter};
use serde_json::{Value, json};
use shared::rules::error_rules::default_rules;
use std::collections::BTreeMap;
use std::sync::Arc;
use testbed::JSON;

on_both!(on:
    a_rule_is_made_changed_and_removed_and_the_gateways_hear_of_it,
    what_cannot_be_a_rule_is_refused_by_name,
    a_rule_changed_meanwhile_is_not_changed,
    the_tester_says_what_a_gateway_would_do,
    a_deleted_rule_of_the_release_comes_back_when_asked_for,
);

mod with_a_database {
    crate::hub::on_both!(with_database:
        a_start_brings_the_releases_rules_up_to_date_and_leaves_the_admins_alone,
        two_starts_at_once_bring_each_rule_once,
    );
    use super::{
        a_start_brings_the_releases_rules_up_to_date_and_leaves_the_admins_alone,
        two_starts_at_once_bring_each_rule_once,
    };
}

const PATH: &str = "/api/v1/error-rules";

/// All rules, by default name or pattern.
async fn rules(hub: &Hub) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    let mut path = format!("{PATH}?limit=7");
    loop {
        let page = hub.client.get(&path).await.expect(200);
        for rule in page["items"].as_array().unwrap() {
            let name = rule["default_name"].as_str().or(rule["pattern"].as_str()).unwrap();
            assert!(all.insert(name.to_owned(), rule.clone()).is_none(), "{name} twice");
        }
        let Some(cursor) = page["next_cursor"].as_str() else { return all };
        path = format!("{PATH}?limit=7&cursor={cursor}");
    }
}

fn path_of(rule: &Value) -> String {
    format!("{PATH}/{}", rule["id"])
}

async fn a_rule_is_made_changed_and_removed_and_the_gateways_hear_of_it(hub: Hub) {
    let shipped = default_rules().unwrap().len();
    assert_eq!(hub.snapshot().await.core.error_rules.len(), shipped);
    let body = json!({ "pattern": "session expired", "category": "invalid_request" });
    let answer = hub.client.post(PATH, body).await;
    let location = answer.header("location").to_owned();
    let made = answer.expect(201);
    assert_eq!(
        (&made["match_type"], &made["priority"], &made["is_enabled"], &made["is_default"]),
        (&json!("contains"), &json!(100), &json!(true), &json!(false))
    );
    assert_eq!(location, path_of(&made));
    let published = hub.snapshot().await;
    let doc = published.core.error_rules.iter().find(|rule| rule.pattern == "session expired").unwrap();
    assert_eq!((doc.match_type.as_str(), doc.override_status_code), ("contains", None));

    let replaced = json!({"error": {"message": "Start anew.", "type": "invalid_request_error"}});
    let change = json!({
        "match_type": "regex", "pattern": "session (expired|gone)", "priority": -5,
        "override_response": replaced, "override_status_code": 410, "description": "two\nlines",
    });
    let changed = hub.client.patch(&location, change).await.expect(200);
    assert_eq!((&changed["override_response"], &changed["priority"]), (&replaced, &json!(-5)));
    assert!(changed["revision"].as_u64() > made["revision"].as_u64());
    assert_eq!(hub.client.get(&location).await.expect(200), changed);
    let published = hub.snapshot().await;
    let doc = published.core.error_rules.iter().find(|rule| rule.priority == -5).unwrap();
    let told: Value = serde_json::from_str(doc.override_response.as_deref().unwrap()).unwrap();
    assert_eq!((told, doc.override_status_code), (replaced, Some(410)));

    let back = json!({ "override_response": null, "override_status_code": null, "priority": null, "match_type": null });
    let back = hub.client.patch(&location, back).await.expect(200);
    assert_eq!(
        (&back["override_response"], &back["override_status_code"], &back["priority"], &back["match_type"]),
        (&Value::Null, &Value::Null, &json!(100), &json!("contains"))
    );
    hub.client.patch(&location, json!({ "is_enabled": false })).await.expect(200);
    assert_eq!(hub.snapshot().await.core.error_rules.len(), shipped, "what is switched off is not published");
    hub.client.delete(&location).await.expect(204);
    hub.client.get(&location).await.expect_problem(404, "not_found");
    hub.client.delete(&location).await.expect_problem(404, "not_found");

    let entries = hub.client.get("/api/v1/audit-log?limit=5").await.expect(200);
    let actions: Vec<&str> =
        entries["items"].as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    let update = "error_rule.update";
    assert_eq!(actions, ["error_rule.delete", update, update, update, "error_rule.create"]);
    assert_eq!(entries["items"][0]["before"]["pattern"], "session (expired|gone)");
}

async fn what_cannot_be_a_rule_is_refused_by_name(hub: Hub) {
    let with = |field: &str, value: Value| {
        let mut body = json!({ "pattern": "x", "category": "invalid_request" });
        body[field] = value;
        body
    };
    for (field, value) in [
        ("pattern", json!("")),
        ("pattern", json!("x".repeat(1_001))),
        ("pattern", json!("x\u{0}")),
        ("category", json!("colour")),
        ("match_type", json!("prefix")),
        ("priority", json!(10_001)),
        ("override_status_code", json!(399)),
        ("override_status_code", json!(600)),
        ("override_response", json!({})),
        ("override_response", json!({"error": {"message": "m"}})),
        ("override_response", json!("text")),
        ("override_response", json!({"error": {"message": "m".repeat(11_000), "type": "t"}})),
        ("colour", json!(1)),
    ] {
        let told = format!("{field}: {}", value.to_string().chars().take(40).collect::<String>());
        let problem =
            hub.client.post(PATH, with(field, value)).await.expect_problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["field"], field, "{told}");
    }
    let mut regex = with("pattern", json!("(?=x)"));
    regex["match_type"] = json!("regex");
    hub.client.post(PATH, regex).await.expect_problem(422, "validation_failed");
    hub.client.post(PATH, json!({ "pattern": "x" })).await.expect_problem(422, "validation_failed");

    let made = hub.client.post(PATH, with("pattern", json!("mine"))).await.expect(201);
    hub.client.post(PATH, with("pattern", json!("mine"))).await.expect_problem(409, "pattern_taken");
    hub.client
        .post(PATH, with("pattern", json!("prompt is too long")))
        .await
        .expect_problem(409, "pattern_taken");
    let path = path_of(&made);
    hub.client
        .patch(&path, json!({ "pattern": "prompt is too long" }))
        .await
        .expect_problem(409, "pattern_taken");
    for body in [json!({ "pattern": null }), json!({ "category": null }), json!({ "is_default": true })] {
        hub.client.patch(&path, body).await.expect_problem(422, "validation_failed");
    }
    assert_eq!(hub.client.get(&path).await.expect(200), made);
}

async fn a_rule_changed_meanwhile_is_not_changed(hub: Hub) {
    let rule = rules(&hub).await["prompt_too_long"].clone();
    let path = path_of(&rule);
    let etag = hub.client.get(&path).await.header("etag").to_owned();
    hub.client.patch(&path, json!({ "is_enabled": false })).await.expect(200);
    let stale = [JSON, ("if-match", etag.as_str())];
    hub.client
        .send("PATCH", &path, &stale, r#"{"priority":1}"#)
        .await
        .expect_problem(412, "revision_mismatch");
    hub.client.send("DELETE", &path, &stale, "").await.expect_problem(412, "revision_mismatch");
    let revision = hub.revision().await;
    let answer = hub.client.patch(&path, json!({ "is_enabled": false })).await;
    assert_eq!(answer.header("x-config-revision"), "");
    assert_eq!(hub.revision().await, revision);
}

async fn the_tester_says_what_a_gateway_would_do(hub: Hub) {
    let test = async |body: Value| hub.client.post(&format!("{PATH}/test"), body).await.expect(200);
    let long = json!({"type": "error", "error": {"type": "api_error", "message": "prompt is too long: 9 tokens > 8 maximum"}});
    let told = test(json!({ "body": long, "status": 500 })).await;
    assert_eq!(told["rule"]["default_name"], "prompt_too_long");
    assert_eq!(
        (&told["class"], &told["next"], &told["status"], &told["body"]),
        (&json!("request_fault"), &json!("stop"), &json!(500), &long)
    );
    assert_eq!((&told["is_decided_by_rule"], &told["counts_for_breaker"]), (&json!(true), &json!(false)));
    assert_eq!(told["warnings"], json!([]));

    // As pasted, under a success, with a rule of the admin's before it.
    let own = json!({
        "pattern": "too long", "category": "prompt_limit",
        "override_response": {"error": {"code": 400, "message": "Start anew.", "status": "INVALID_ARGUMENT"}},
        "override_status_code": 413,
    });
    let own = hub.client.post(PATH, own).await.expect(201);
    let told = test(json!({ "message": long.to_string(), "status": 200 })).await;
    assert_eq!((&told["rule"]["id"], &told["status"]), (&own["id"], &json!(413)));
    assert_eq!(told["body"]["error"], json!({"type": "request_too_large", "message": "Start anew."}));
    assert_eq!(told["warnings"].as_array().unwrap().len(), 3, "{}", told["warnings"]);
    let told = test(json!({ "message": "prompt is too long", "dialect": "gemini" })).await;
    assert_eq!(told["body"]["error"]["status"], "INVALID_ARGUMENT");

    // What is said of an account goes first, and no seat reads it.
    let limited =
        json!({"error": {"type": "rate_limit_error", "message": "prompt is too long; try again in 7s"}});
    let told = test(json!({ "body": limited, "status": 400 })).await;
    assert_eq!((&told["class"], &told["is_decided_by_rule"]), (&json!("rate_limit"), &json!(false)));
    assert_eq!(
        (&told["status"], &told["body"], &told["retry_after_secs"]),
        (&Value::Null, &Value::Null, &json!(7))
    );
    let told = test(json!({ "message": "prompt is too long", "status": 401 })).await;
    assert_eq!((&told["class"], &told["counts_for_breaker"]), (&json!("credential"), &json!(true)));

    hub.client.patch(&path_of(&own), json!({ "is_enabled": false })).await.expect(200);
    let told = test(json!({ "message": "far too long" })).await;
    assert_eq!((&told["rule"], &told["class"]), (&Value::Null, &json!("request_fault")));
    assert!(told["warnings"].to_string().contains(&format!("not enabled: {}", own["id"])), "{told}");

    let revision = hub.revision().await;
    for body in [
        json!({}),
        json!({ "message": "x", "body": {} }),
        json!({ "message": "x", "status": 302 }),
        json!({ "message": "x", "dialect": "latin" }),
        json!({ "text": "x" }),
    ] {
        hub.client.post(&format!("{PATH}/test"), body).await.expect_problem(422, "validation_failed");
    }
    assert_eq!(hub.revision().await, revision);
}

async fn a_deleted_rule_of_the_release_comes_back_when_asked_for(hub: Hub) {
    let before = rules(&hub).await;
    hub.client.delete(&path_of(&before["prompt_too_long"])).await.expect(204);
    let changed = json!({ "pattern": "input was too long" });
    let changed = hub.client.patch(&path_of(&before["input_too_long"]), changed).await.expect(200);
    assert_eq!(changed["is_default"], false);
    let done = hub.client.post(&format!("{PATH}/restore"), json!({})).await.expect(200);
    assert_eq!(done, json!({ "inserted": ["prompt_too_long"], "refreshed": [], "removed": [] }));
    let after = rules(&hub).await;
    assert_eq!(after["prompt_too_long"]["pattern"], before["prompt_too_long"]["pattern"]);
    assert_eq!(after["input_too_long"], changed);
    let revision = hub.revision().await;
    let done = hub.client.post(&format!("{PATH}/restore"), json!({})).await;
    assert_eq!(done.header("x-config-revision"), "");
    assert_eq!(hub.revision().await, revision);
}

async fn a_start_brings_the_releases_rules_up_to_date_and_leaves_the_admins_alone(database: Arc<Database>) {
    let hub = Hub::start(&database).await;
    let shipped = rules(&hub).await;
    assert_eq!(shipped.len(), default_rules().unwrap().len());
    let patch = async |name: &str, body: Value| {
        hub.client.patch(&path_of(&shipped[name]), body).await.expect(200);
    };
    patch("context_limit", json!({ "is_enabled": false })).await;
    patch("content_filter", json!({ "override_status_code": 451 })).await;
    hub.client.delete(&path_of(&shipped["pdf_pages"])).await.expect(204);
    let kept = rules(&hub).await;
    let revision = hub.revision().await;
    hub.handle.stop().await.unwrap();

    let hub = Hub::start(&database).await;
    assert_eq!(hub.revision().await, revision, "a start that changes nothing makes no revision");
    assert_eq!(rules(&hub).await, kept);
    // As if an older release had been here: a wording it had otherwise, also where it is switched off or an admin's, one it
    // had not yet, and one that is gone.
    let tx = hub.handle.admin().db().write().await.unwrap();
    for name in ["prompt_too_long", "context_limit", "content_filter"] {
        let row = error_rules::ActiveModel {
            id: Unchanged(kept[name]["id"].as_i64().unwrap()),
            pattern: Set(format!("old {name}")),
            ..Default::default()
        };
        row.update(&tx).await.unwrap();
    }
    let name = error_rules::Column::DefaultName;
    error_rules::Entity::delete_many().filter(name.eq("image_size")).exec(&tx).await.unwrap();
    let row = error_rules::ActiveModel {
        id: Unchanged(kept["media_count"]["id"].as_i64().unwrap()),
        default_name: Set(Some("of_an_older_release".to_owned())),
        pattern: Set("gone".to_owned()),
        ..Default::default()
    };
    row.update(&tx).await.unwrap();
    tx.commit().await.unwrap();
    hub.handle.stop().await.unwrap();

    let hub = Hub::start(&database).await;
    assert_eq!(hub.revision().await.0, revision.0 + 1);
    let now = rules(&hub).await;
    for name in ["prompt_too_long", "context_limit", "image_size", "media_count"] {
        assert_eq!(now[name]["pattern"], shipped[name]["pattern"], "{name}");
    }
    assert_eq!(now["context_limit"]["is_enabled"], false);
    assert_eq!(
        (&now["content_filter"]["pattern"], &now["content_filter"]["override_status_code"]),
        (&json!("old content_filter"), &json!(451))
    );
    assert!(!now.contains_key("pdf_pages") && !now.contains_key("of_an_older_release"));
    let entry =
        hub.client.get("/api/v1/audit-log?action=error_rule.sync_defaults").await.expect(200)["items"][0]
            .clone();
    assert_eq!(
        entry["after"],
        json!({
            "inserted": ["media_count", "image_size"],
            "refreshed": ["prompt_too_long", "context_limit"],
            "removed": ["of_an_older_release"],
        })
    );
    hub.handle.stop().await.unwrap();
}

async fn two_starts_at_once_bring_each_rule_once(database: Arc<Database>) {
    let first = Hub::start(&database).await;
    let second = Hub::start(&database).await;
    let db = first.handle.admin().db();
    let tx = db.write().await.unwrap();
    error_rules::Entity::delete_many().exec(&tx).await.unwrap();
    error_rules_removed::Entity::delete_many().exec(&tx).await.unwrap();
    tx.commit().await.unwrap();
    let before = first.revision().await;
    let sync = async |hub: &Hub| {
        hub.handle.admin().run(admin_api::service::error_rules::sync_defaults).await.unwrap()
    };
    let (one, two) = tokio::join!(sync(&first), sync(&second));
    assert!(one.revision.is_some() != two.revision.is_some(), "{one:?} {two:?}");
    assert_eq!(first.snapshot_after(Some(before)).await.revision.0, before.0 + 1);
    assert_eq!(rules(&first).await.len(), default_rules().unwrap().len());
    first.handle.stop().await.unwrap();
    second.handle.stop().await.unwrap();
}
