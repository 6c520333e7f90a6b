//! What holds for every route: strictness, pages, tags, problem codes, the document.

use crate::hub::{Hub, on_both};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use testbed::JSON;

on_both!(on:
    pages_neither_repeat_nor_skip_while_rows_come_and_go,
    who_read_an_old_revision_changes_nothing,
    a_change_that_changes_nothing_leaves_no_trace,
    every_refusal_has_its_code,
    only_the_admin_comes_in,
);

async fn pages_neither_repeat_nor_skip_while_rows_come_and_go(hub: Hub) {
    let mut first = Vec::new();
    for n in 0..5 {
        first.push(hub.make_user(&format!("user {n}")).await["user"]["id"].clone());
    }
    let page = hub.client.get("/api/v1/users?limit=2").await.expect(200);
    let mut seen: Vec<Value> = page["items"].as_array().unwrap().iter().map(|u| u["id"].clone()).collect();
    // One before the place is deleted, one behind it is made.
    hub.client.delete(&format!("/api/v1/users/{}", seen[0])).await.expect(204);
    first.push(hub.make_user("late").await["user"]["id"].clone());
    let mut cursor = page["next_cursor"].clone();
    while let Some(text) = cursor.as_str() {
        let page = hub.client.get(&format!("/api/v1/users?limit=2&cursor={text}")).await.expect(200);
        seen.extend(page["items"].as_array().unwrap().iter().map(|u| u["id"].clone()));
        cursor = page["next_cursor"].clone();
    }
    assert_eq!(seen, first);
    let found = hub.client.get("/api/v1/users?q=LATE").await.expect(200);
    assert_eq!(found["items"].as_array().unwrap().len(), 1);
    assert_eq!(found["next_cursor"], Value::Null);
    // A wildcard is a character like any other.
    assert_eq!(hub.client.get("/api/v1/users?q=%25").await.expect(200)["items"], json!([]));

    for query in ["limit=0", "limit=201", "limit=x", "cursor=x", "colour=1", "q=%00"] {
        hub.client.get(&format!("/api/v1/users?{query}")).await.expect_problem(422, "validation_failed");
    }
}

async fn who_read_an_old_revision_changes_nothing(hub: Hub) {
    let id = hub.make_user("Ada").await["user"]["id"].clone();
    let path = format!("/api/v1/users/{id}");
    let etag = hub.client.get(&path).await.header("etag").to_owned();
    let send = |body: &'static str, tag: String| {
        let (client, path) = (hub.client.clone(), path.clone());
        async move { client.send("PATCH", &path, &[JSON, ("if-match", &tag)], body).await }
    };
    let answer = send(r#"{"name":"Bea"}"#, etag.clone()).await;
    assert_eq!(answer.status, 200);
    let newer = answer.header("etag").to_owned();
    assert_ne!(newer, etag);
    send(r#"{"name":"Cleo"}"#, etag.clone()).await.expect_problem(412, "revision_mismatch");
    hub.client
        .send("DELETE", &path, &[("if-match", &etag)], "")
        .await
        .expect_problem(412, "revision_mismatch");
    assert_eq!(hub.client.get(&path).await.json()["name"], "Bea");
    send(r#"{"name":"Cleo"}"#, newer).await.expect(200);
    send(r#"{"name":"Dora"}"#, "*".to_owned()).await.expect(200);
}

async fn a_change_that_changes_nothing_leaves_no_trace(hub: Hub) {
    let made = hub.make_user("Ada").await;
    let path = format!("/api/v1/users/{}", made["user"]["id"]);
    let before = hub.revision().await;
    let entries = hub.client.get("/api/v1/audit-log").await.json()["items"].clone();
    let answer = hub.client.patch(&path, json!({ "name": "Ada" })).await;
    assert_eq!(answer.header("x-config-revision"), "");
    assert_eq!(answer.expect(200), made["user"]);
    hub.client.patch(&path, json!({ "name": "" })).await.expect_problem(422, "validation_failed");
    assert_eq!(hub.client.get("/api/v1/audit-log").await.json()["items"], entries);
    let next = hub.client.patch(&path, json!({ "name": "Bea" })).await;
    assert_eq!(next.header("x-config-revision"), (before.0 + 1).to_string());
}

async fn every_refusal_has_its_code(hub: Hub) {
    let client = &hub.client;
    client.get("/api/v1/nothing").await.expect_problem(404, "no_such_path");
    client.get("/api/v1/users/seven").await.expect_problem(404, "no_such_path");
    client.get("/api/v1/users/7").await.expect_problem(404, "not_found");
    client.get("/api/v1/logs/not-an-id").await.expect_problem(404, "not_found");
    let answer = client.send("PUT", "/api/v1/users", &[JSON], "{}").await;
    assert_eq!(answer.header("allow"), "GET, POST");
    answer.expect_problem(405, "method_not_allowed");
    client.send("POST", "/api/v1/users", &[JSON], "{\"name\":").await.expect_problem(400, "malformed_json");
    client.send("POST", "/api/v1/users", &[], "{}").await.expect_problem(415, "unsupported_media_type");
    let large = format!("{{\"name\":\"{}\"}}", "x".repeat(1 << 20));
    client.send("POST", "/api/v1/users", &[JSON], &large).await.expect_problem(413, "body_too_large");
    let answer = client.get("/api/v1/users").await;
    assert_eq!(answer.header("x-request-id").len(), 36);
    assert_eq!(answer.header("cache-control"), "no-store");
}

async fn only_the_admin_comes_in(hub: Hub) {
    let get = |token: &'static str, path: &'static str| {
        let client = hub.client.clone();
        async move { client.send_raw("GET", path, &[("authorization", token)], "").await }
    };
    for (token, path) in [
        ("Bearer wrong-token-of-the-tests", "/api/v1/users"),
        ("Basic dGVzdA==", "/api/v1/users"),
        ("Bearer", "/api/v1/users"),
        ("", "/api/v1/nothing"),
    ] {
        let answer = get(token, path).await;
        assert_eq!(answer.header("www-authenticate"), "Bearer");
        answer.expect_problem(401, "unauthenticated");
    }
    for path in ["/api/v1/health/live", "/api/v1/health/ready", "/api/openapi.json", "/swagger-ui/"] {
        assert_eq!(get("", path).await.status, 200, "{path}");
    }
    assert_eq!(get("", "/").await.header("location"), "/swagger-ui/");
    // One wrong token was counted above.
    for _ in 0..9 {
        get("Bearer wrong-token-of-the-tests", "/api/v1/users").await.expect_problem(401, "unauthenticated");
    }
    let answer = get("Bearer wrong-token-of-the-tests", "/api/v1/users").await;
    assert!((1..=60).contains(&answer.header("retry-after").parse::<u32>().unwrap()));
    answer.expect_problem(429, "too_many_failures");
    hub.client.get("/api/v1/users").await.expect(200);
}

/// The committed document is what the code says. `UPDATE_OPENAPI=1 cargo test -p admin-api openapi` writes it.
#[test]
fn the_openapi_document_is_committed() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../openapi/admin.json");
    let fresh = admin_api::openapi::document().to_pretty_json().unwrap() + "\n";
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(path, &fresh).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == fresh,
        "openapi/admin.json is stale: run UPDATE_OPENAPI=1 cargo test -p admin-api openapi"
    );
}

#[test]
fn every_operation_is_named_once_and_documents_its_refusals() {
    let document: Value = serde_json::from_str(&admin_api::openapi::document().to_json().unwrap()).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let mut names = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(names.insert(operation["operationId"].as_str().unwrap().to_owned()), "{method} {path}");
            for (status, response) in operation["responses"].as_object().unwrap() {
                let text = response["description"].as_str().unwrap_or_default();
                assert!(!text.is_empty(), "{method} {path} {status}");
            }
            let security = match path.as_str() {
                path if path.starts_with("/api/v1/health/") => json!([{}]),
                path if path.starts_with("/api/v1/me/") => {
                    json!([{ "seat_key": [] }, { "seat_key_header": [] }])
                }
                _ => json!([{ "admin_token": [] }]),
            };
            assert_eq!(operation["responses"]["401"].is_object(), security != json!([{}]), "{method} {path}");
            assert_eq!(operation["security"], security, "{method} {path}");
        }
    }
    assert_eq!(names.len(), 55);
}
