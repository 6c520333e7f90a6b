//! What `routing/explain` says is what a gateway does on the same configuration.

use crate::hub::{Hub, on_both};
use crate::quotas::{all_open, spends};
use serde_json::{Value, json};
use shared::model::{Client, GroupSet};
use shared::protocol::Dialect;
use shared::rules::select::{Draws, Out, OutReason, Pool, SelectFacts, Selection, select};
use shared::time::UnixMillis;
use std::collections::HashSet;

on_both!(on:
    an_explanation_is_the_gateways_choice_for_the_same_facts_and_seed,
    each_provider_is_named_with_its_chance_or_its_reason,
    a_caller_that_would_be_refused_is_told_so,
    budgets_that_are_used_up_are_told_of_now_and_of_no_other_moment,
    facts_that_make_no_sense_are_refused,
);

const AT: &str = "2026-11-23T09:30:00.000Z";
const CLI: &str = "claude-cli/2.1.7%20(external,%20cli)";

pub async fn make(hub: &Hub, name: &str, more: Value) -> i64 {
    let mut body = json!({
        "name": name, "provider_type": "claude", "url": "https://api.example.com", "key": "sk-upstream-secret",
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    hub.client.post("/api/v1/providers", body).await.expect(201)["id"].as_i64().unwrap()
}

pub async fn explain(hub: &Hub, query: &str) -> Value {
    hub.client.get(&format!("/api/v1/routing/explain?{query}")).await.expect(200)
}

async fn an_explanation_is_the_gateways_choice_for_the_same_facts_and_seed(hub: Hub) {
    for weight in 1..=4 {
        make(&hub, &format!("p{weight}"), json!({ "weight": weight })).await;
    }
    let snapshot = hub.snapshot().await;
    let core = &snapshot.core;
    let pool = Pool::new(&core.providers, &HashSet::new(), &core.settings.timezone);
    let groups = GroupSet::default();
    for seed in [0, 1, 7, u64::MAX] {
        let mut draws = Draws::new(seed);
        let mut out: Vec<Out> = Vec::new();
        loop {
            let facts = SelectFacts {
                pool: &pool,
                groups: &groups,
                dialect: Dialect::Anthropic,
                model: Some("claude-opus-5"),
                client: Some(Client("claude-cli/2.1.7 (external, cli)")),
                at: UnixMillis::parse_rfc3339(AT).unwrap(),
                table: None,
                out: &out,
                only: None,
            };
            let tried: Vec<String> = out.iter().map(|out| out.provider_id.to_string()).collect();
            let query = format!(
                "format=anthropic&model=claude-opus-5&user_agent={CLI}&at={AT}&seed={seed}&tried={}",
                tried.join(",")
            );
            let told = explain(&hub, &query).await;
            assert_eq!(told["revision"], snapshot.revision.0);
            assert_eq!((&told["seed"], &told["draw"]), (&json!(seed.to_string()), &json!(out.len())));
            match select(&facts, &mut draws) {
                Selection::Chosen(chosen) => {
                    assert_eq!(told["provider"]["id"], chosen.provider_id.0);
                    out.push(Out { provider_id: chosen.provider_id, why: OutReason::AlreadyTried });
                }
                Selection::Exhausted(_) => {
                    assert_eq!(told["provider"], Value::Null);
                    break;
                }
            }
        }
        assert_eq!(out.len(), 4);
    }
}

async fn each_provider_is_named_with_its_chance_or_its_reason(hub: Hub) {
    let three = make(
        &hub,
        "three",
        json!({ "weight": 3, "group_tag": "default,fast", "group_priorities": { "fast": 0 }, "priority": 1,
            "model_redirects": [{ "source": "m", "match_type": "exact", "target": "m-of-three" }] }),
    )
    .await;
    let one = make(&hub, "one", json!({ "priority": 1 })).await;
    let later = make(&hub, "later", json!({ "priority": 2 })).await;
    // In Berlin it is 10:30.
    hub.client.patch("/api/v1/settings", json!({ "timezone": "Europe/Berlin" })).await.expect(200);
    let night =
        make(&hub, "night", json!({ "active_time_start": "22:00", "active_time_end": "10:30" })).await;
    let codex = make(&hub, "codex", json!({ "allowed_clients": ["codex-cli"] })).await;
    let off = make(&hub, "off", json!({ "is_enabled": false })).await;
    let told = explain(&hub, &format!("format=anthropic&model=m&user_agent={CLI}&at={AT}&seed=1")).await;
    assert_eq!(told["timezone"], "Europe/Berlin");
    assert_eq!((&told["groups"], &told["refused"]), (&json!("default"), &Value::Null));
    assert_eq!(told["priority"], 1);
    assert_eq!(
        told["candidates"],
        json!([
            { "provider_id": three, "name": "three", "weight": 3, "probability": 0.75,
                "upstream_model": "m-of-three", "standing": "ready", "until": null },
            { "provider_id": one, "name": "one", "weight": 1, "probability": 0.25,
                "upstream_model": "m", "standing": "ready", "until": null },
        ])
    );
    let out = |reason: &str, id: i64, name: &str| {
        let whom = json!({ "id": id, "name": name, "limit": null, "until": null });
        json!({ "reason": reason, "count": 1, "provider_ids": [id], "providers": [whom] })
    };
    assert_eq!(
        told["excluded"],
        json!([
            out("disabled", off, "off"),
            out("outside_schedule", night, "night"),
            out("client_not_allowed", codex, "codex"),
            out("lower_priority", later, "later"),
        ])
    );
    let told = explain(&hub, "format=anthropic&groups=fast").await;
    assert_eq!((&told["provider"]["name"], &told["priority"]), (&json!("three"), &json!(0)));
    assert_eq!(told["provider"]["upstream_model"], Value::Null, "no model was said");
    let told = explain(&hub, "format=gemini&model=m").await;
    assert_eq!((&told["provider"], &told["priority"]), (&Value::Null, &Value::Null));
    assert_eq!(told["candidates"], json!([]));
}

async fn a_caller_that_would_be_refused_is_told_so(hub: Hub) {
    let provider = make(&hub, "main", json!({ "group_tag": "fast" })).await;
    let made = hub.make_user("ada").await;
    let (user, key) = (&made["user"]["id"], &made["key"]["id"]);
    let set = json!({ "provider_group": "fast", "allowed_models": ["m"], "blocked_clients": ["curl"] });
    hub.client.patch(&format!("/api/v1/users/{user}"), set).await.expect(200);
    for (more, code) in [
        ("model=m&user_agent=claude-cli/2", Value::Null),
        ("model=other", json!("model_denied_by_user")),
        ("model=m&user_agent=curl/8", json!("client_blocked")),
    ] {
        let told = explain(&hub, &format!("format=anthropic&key_id={key}&{more}")).await;
        assert_eq!(told["refused"]["code"], code, "{more}");
        assert_eq!((&told["groups"], &told["provider"]["id"]), (&json!("fast"), &json!(provider)));
    }
    hub.client.patch(&format!("/api/v1/keys/{key}"), json!({ "is_enabled": false })).await.expect(200);
    let told = explain(&hub, &format!("format=anthropic&key_id={key}")).await;
    assert_eq!(told["refused"]["code"], "key_disabled");
}

async fn budgets_that_are_used_up_are_told_of_now_and_of_no_other_moment(hub: Hub) {
    let full = make(&hub, "full", json!({ "limit_total_usd": "1" })).await;
    let has_room = make(&hub, "has room", json!({ "limit_total_usd": "1", "priority": 1 })).await;
    let ada = json!({ "name": "Ada", "limit_daily_usd": "2" });
    let made = hub.client.post("/api/v1/users", ada).await.expect(201);
    let [user, key] = ["user", "key"].map(|of| made[of]["id"].as_i64().unwrap());
    all_open(&hub).await;
    spends(&hub, full, None, 100).await;
    spends(&hub, has_room, None, 99).await;
    spends(&hub, user, Some(key), 200).await;
    let told = explain(&hub, &format!("format=anthropic&key_id={key}")).await;
    let whom = json!({ "id": full, "name": "full", "limit": "limit_total", "until": null });
    let out = json!({ "reason": "limit_reached", "count": 1, "provider_ids": [full], "providers": [whom] });
    assert_eq!(told["excluded"], json!([out]));
    assert_eq!(told["provider"]["id"], has_room);
    let message = "The daily budget of this user is used up: $2.00 of $2.00 are spent. It opens again at ";
    let (refused, budget) = (&told["refused"], &told["budget"]);
    assert_eq!(refused["code"], "limit_daily");
    assert!(refused["message"].as_str().unwrap().starts_with(message), "{refused}");
    assert_eq!(refused["resets_at"], budget["windows"][0]["resets_at"]);
    assert_eq!((&budget["kind"], &budget["is_open"]), (&json!("user"), &json!(true)));
    assert_eq!((&budget["windows"][0]["remaining_usd"], &told["unknown"]), (&json!("0.00"), &json!([])));
    let told = explain(&hub, &format!("format=anthropic&key_id={key}&at={AT}")).await;
    assert_eq!((&told["provider"]["id"], &told["refused"]), (&json!(full), &Value::Null));
    assert_eq!((&told["budget"], &told["unknown"]), (&Value::Null, &json!(["breakers", "budgets"])));
}

async fn facts_that_make_no_sense_are_refused(hub: Hub) {
    for (query, named) in [
        ("", "format"),
        ("format=openai", "format"),
        ("format=anthropic&key_id=1&groups=a", "groups"),
        ("format=anthropic&session_id=a-session&groups=a", "session_id"),
        ("format=anthropic&only=a", "only"),
        ("format=anthropic&tried=a", "tried"),
        ("format=anthropic&at=yesterday", "at"),
        ("format=anthropic&seed=-1", "seed"),
        ("format=anthropic&colour=blue", "colour"),
    ] {
        let answer = hub.client.get(&format!("/api/v1/routing/explain?{query}")).await;
        let problem = answer.expect_problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["field"], named, "{query}: {problem}");
    }
    hub.client
        .get("/api/v1/routing/explain?format=anthropic&key_id=99")
        .await
        .expect_problem(404, "not_found");
}
