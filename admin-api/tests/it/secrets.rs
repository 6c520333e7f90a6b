//! Planted secrets turn up nowhere: not in answers, not in the audit log, not in any table.

use crate::hub::{Hub, on_both};
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use serde_json::{Value, json};

on_both!(on: secrets_are_in_no_answer_no_audit_entry_and_no_table);

async fn secrets_are_in_no_answer_no_audit_entry_and_no_table(hub: Hub) {
    let key = hub.make_user("Ada").await["key"].clone();
    let client_key = key["secret"].as_str().unwrap().to_owned();
    let provider = hub.make_provider("main").await;
    let path = format!("/api/v1/providers/{}", provider["id"]);
    let change = json!({ "key": "sk-second-secret", "custom_headers": { "x-org-token": "header-secret" },
        "proxy_url": "http://user:proxy-secret@proxy.example" });
    hub.client.patch(&path, change).await.expect(200);
    hub.client.post(&format!("/api/v1/keys/{}/reveal", key["id"]), Value::Null).await.expect(200);
    let planted =
        ["sk-upstream-secret", "sk-second-secret", "header-secret", "proxy-secret", client_key.as_str()];

    for path in [
        "/api/v1/users",
        &format!("/api/v1/users/{}/keys", key["user_id"]),
        "/api/v1/providers",
        &path,
        "/api/v1/audit-log",
        "/api/v1/logs",
    ] {
        let answer = hub.client.get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        for secret in planted {
            assert!(!answer.text.contains(secret), "{path}: {}", answer.text);
        }
    }
    // A refusal does not repeat what it refuses.
    for wrong in [
        json!({ "key": "wrong secret with blanks" }),
        json!({ "custom_headers": { "x-org-token": "wrong secret\n" } }),
        json!({ "proxy_url": "http://user:wrong secret@proxy.example" }),
    ] {
        let answer = hub.client.patch(&path, wrong).await;
        assert!(!answer.text.contains("wrong secret"), "{}", answer.text);
        answer.expect_problem(422, "validation_failed");
    }
    let answer = hub.client.get("/api/v1/audit-log?resource_type=provider").await;
    assert_eq!(answer.json()["items"][0]["after"]["custom_headers"], json!({ "x-org-token": "*** (set)" }));
    assert_eq!(answer.json()["items"][0]["actor"], "admin_token");
    assert_eq!(answer.json()["items"][0]["client_ip"], "127.0.0.1");

    for row in all_rows(&hub).await {
        for secret in planted {
            assert!(!row.contains(secret), "{row}");
        }
    }
}

/// Every row of every table as text.
async fn all_rows(hub: &Hub) -> Vec<String> {
    let db = hub.handle.admin().db().reader();
    let backend = db.get_database_backend();
    let (tables, rows) = match backend {
        DbBackend::Sqlite => {
            ("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'", None)
        }
        _ => (
            "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'",
            Some("SELECT row_to_json(t)::text FROM {} t"),
        ),
    };
    let mut found = Vec::new();
    for table in db.query_all_raw(Statement::from_string(backend, tables)).await.unwrap() {
        let table: String = table.try_get_by_index(0).unwrap();
        let sql = match rows {
            Some(rows) => rows.replace("{}", &table),
            None => {
                let columns = format!("SELECT name FROM pragma_table_info('{table}')");
                let columns = db.query_all_raw(Statement::from_string(backend, columns)).await.unwrap();
                let columns: Vec<String> = columns
                    .iter()
                    .map(|c| format!("coalesce({}, '')", c.try_get_by_index::<String>(0).unwrap()))
                    .collect();
                format!("SELECT {} FROM {table}", columns.join(" || '|' || "))
            }
        };
        for row in db.query_all_raw(Statement::from_string(backend, sql)).await.unwrap() {
            found.push(row.try_get_by_index(0).unwrap());
        }
    }
    assert!(found.len() > 1_000, "the price table alone has more rows");
    found
}
