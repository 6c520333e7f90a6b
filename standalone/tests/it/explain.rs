//! What `routing/explain` tells is what happened: each step of the chain of a live request, asked for again with the
//! facts of its log row.

use crate::harness::{ADMIN_TOKEN, Hub, PATIENCE, command};
use http::Method;
use serde_json::{Value, json};
use shared::contract::usage::{ChainStep, DecisionChain};
use shared::ids::{ProviderId, Revision};
use shared::rules::select::replay;
use simulator::{Script, Simulator, SimulatorConfig};
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};
use tempfile::TempDir;
use tokio::time::Instant;

const MODEL: &str = "claude-sonnet-4-5";
/// Allowed nowhere.
const NOBODYS: &str = "claude-nobodys";

/// A hub before providers.
struct Bed {
    hub: Hub,
    key: String,
    key_id: i64,
    ids: BTreeMap<&'static str, i64>,
    upstreams: BTreeMap<&'static str, Simulator>,
    _data: TempDir,
}

impl Bed {
    async fn of(providers: Vec<(&'static str, Value)>) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut command = command(data.path());
        command.env("ADMIN_TOKEN", ADMIN_TOKEN).env("TZ", "UTC");
        let hub = Hub::start(command).await;
        let user = json!({ "name": "Ada", "provider_group": "fast" });
        let made = hub.admin_json(Method::POST, "/api/v1/users", Some(user)).await;
        let mut bed = Self {
            key: made["key"]["secret"].as_str().unwrap().to_owned(),
            key_id: made["key"]["id"].as_i64().unwrap(),
            hub,
            ids: BTreeMap::new(),
            upstreams: BTreeMap::new(),
            _data: data,
        };
        let models = json!([{ "match_type": "exact", "pattern": MODEL }]);
        for (name, more) in providers {
            let upstream = Simulator::start(SimulatorConfig::default()).await.unwrap();
            let mut body = json!({
                "name": name, "provider_type": "claude", "url": upstream.base_url(), "key": "sk-upstream",
                "max_attempts": 1, "group_tag": "fast", "allowed_models": models,
            });
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let made = bed.hub.admin_json(Method::POST, "/api/v1/providers", Some(body)).await;
            bed.ids.insert(name, made["id"].as_i64().unwrap());
            bed.upstreams.insert(name, upstream);
        }
        bed
    }

    /// Two providers that serve, two that will not be asked for what they answered, and some that are out for other reasons.
    async fn new() -> Self {
        let elsewhere = json!([{ "match_type": "prefix", "pattern": "gpt-" }]);
        let (from, to) = an_hour_that_is_not_now();
        let many = 1_000;
        Self::of(vec![
            (
                "breaks",
                json!({ "priority": 0, "circuit_breaker_failure_threshold": 1,
                "circuit_breaker_open_duration_ms": 86_400_000 }),
            ),
            ("cools", json!({ "priority": 0 })),
            ("heavy", json!({ "priority": 1, "weight": 3, "circuit_breaker_failure_threshold": many })),
            ("light", json!({ "priority": 1, "weight": 1, "circuit_breaker_failure_threshold": many })),
            ("idle", json!({ "priority": 1, "weight": 0 })),
            ("later", json!({ "priority": 2 })),
            // Dearer to everybody else.
            ("for others", json!({ "priority": 0, "group_tag": "default" })),
            ("elsewhere", json!({ "priority": 0, "allowed_models": elsewhere })),
            ("at another hour", json!({ "priority": 0, "active_time_start": from, "active_time_end": to })),
            ("codex's", json!({ "priority": 0, "provider_type": "codex" })),
            ("off", json!({ "priority": 0, "is_enabled": false })),
            ("gemini-cli's", json!({ "priority": 0, "allowed_clients": ["gemini-cli"] })),
        ])
        .await
    }

    /// One request, and its log row in detail. Without a session its words begin a conversation of their own.
    async fn ask(&self, model: &str, session: Option<&str>, number: usize) -> (u16, Value) {
        let body = json!({
            "model": model, "max_tokens": 64,
            "metadata": { "user_id": session.map(|id| json!({ "session_id": id }).to_string()) },
            "messages": [{ "role": "user", "content": format!("hello for the time {number}") }],
        });
        let url = format!("{}/v1/messages", self.hub.seats());
        let answer = self.hub.call(Method::POST, &url, &self.key, Some(body)).await;
        let (status, id) =
            (answer.status().as_u16(), answer.headers()["x-request-id"].to_str().unwrap().to_owned());
        drop(answer);
        let until = Instant::now() + PATIENCE;
        loop {
            let page = self.hub.admin_json(Method::GET, "/api/v1/logs", None).await;
            if page["items"].as_array().unwrap().iter().any(|row| row["id"] == id) {
                break;
            }
            assert!(Instant::now() < until, "the row of {id} in time: {page}");
            tokio::task::yield_now().await;
        }
        (status, self.hub.admin_json(Method::GET, &format!("/api/v1/logs/{id}"), None).await)
    }

    async fn explain(&self, row: &Value, at: &str, tried: &[i64], draw: usize) -> Value {
        let tried: Vec<String> = tried.iter().map(i64::to_string).collect();
        let path = format!(
            "/api/v1/routing/explain?format=anthropic&model={}&key_id={}&seed={}&tried={}&draw={draw}{at}",
            row["model"].as_str().unwrap(),
            self.key_id,
            row["routing_seed"].as_str().unwrap(),
            tried.join(","),
        );
        self.hub.admin_json(Method::GET, &path, None).await
    }

    /// Compares each choice of a row with what is told of it now; returns the names of who was drawn.
    async fn compare(&self, row: &Value) -> Vec<&'static str> {
        let (mut tried, mut drawn) = (Vec::new(), Vec::new());
        for step in row["decision_chain"].as_array().unwrap() {
            match step["step"].as_str().unwrap() {
                "selected" => {
                    let told = self.explain(row, "", &tried, drawn.len()).await;
                    agree(row, step, &told);
                    let name = self.ids.iter().find(|(_, id)| step["provider_id"] == **id).unwrap().0;
                    drawn.push(*name);
                }
                "exhausted" => {
                    let told = self.explain(row, "", &tried, drawn.len()).await;
                    assert_eq!(
                        (&told["provider"], &told["candidates"]),
                        (&Value::Null, &json!([])),
                        "{told}"
                    );
                    assert_eq!(told["steps"], json!([step]), "{row}");
                    assert_eq!(excluded(&told), step["excluded"], "{row}");
                }
                "attempted" => tried.push(step["provider_id"].as_i64().unwrap()),
                other => assert_eq!(other, "reused", "{row}"),
            }
        }
        let chain = DecisionChain {
            revision: Revision(row["config_revision"].as_u64().unwrap()),
            seed: row["routing_seed"].as_str().unwrap().parse().unwrap(),
            steps: serde_json::from_value::<Vec<ChainStep>>(row["decision_chain"].clone()).unwrap(),
        };
        let ids = drawn.iter().map(|name| Some(ProviderId(self.ids[name]))).collect::<Vec<_>>();
        assert_eq!(replay(&chain), ids, "{row}");
        drawn
    }

    async fn circuit(&self, name: &str) -> Value {
        self.hub.admin_json(Method::GET, &format!("/api/v1/providers/{}/circuit", self.ids[name]), None).await
    }
}

/// The step of a chain and what is told of it.
fn agree(row: &Value, step: &Value, told: &Value) {
    assert_eq!(told["revision"], row["config_revision"]);
    assert_eq!(told["refused"], Value::Null, "{told}");
    assert_eq!(told["provider"]["id"], step["provider_id"], "{row}\n{told}");
    assert_eq!(told["priority"], step["priority"], "{row}\n{told}");
    let candidate = |told: &Value| json!({ "provider_id": told["provider_id"], "weight": told["weight"] });
    let candidates: Vec<Value> = told["candidates"].as_array().unwrap().iter().map(candidate).collect();
    assert_eq!(json!(candidates), step["candidates"], "{row}\n{told}");
    assert_eq!(excluded(told), step["excluded"], "{row}\n{told}");
    assert_eq!(told["steps"], json!([step]), "{row}\n{told}");
}

/// As a chain has it: without what more is told of each provider.
fn excluded(told: &Value) -> Value {
    let mut excluded = told["excluded"].clone();
    for exclusion in excluded.as_array_mut().unwrap() {
        exclusion.as_object_mut().unwrap().remove("providers").unwrap();
    }
    excluded
}

/// From two hours from now on, in UTC.
fn an_hour_that_is_not_now() -> (String, String) {
    let hour = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 3_600;
    let clock = |hours: u64| format!("{:02}:00", (hour + hours) % 24);
    (clock(2), clock(3))
}

#[tokio::test]
async fn each_choice_of_a_live_request_is_explained_as_it_was_made() {
    let bed = Bed::new().await;
    let id = |name: &str| bed.ids[name];
    bed.upstreams["breaks"].set_script(Script::failing(500));
    bed.upstreams["cools"].set_script(Script { retry_after_secs: Some(3_600), ..Script::failing(429) });

    // Nothing is held against anybody yet: the moment of the request tells its first choice.
    let (status, row) = bed.ask(MODEL, None, 0).await;
    assert_eq!(status, 200);
    let at = format!("&at={}", row["created_at"].as_str().unwrap());
    let first = &row["decision_chain"][0];
    agree(&row, first, &bed.explain(&row, &at, &[], 0).await);
    let tier = first["candidates"].as_array().unwrap().iter().map(|c| c["provider_id"].as_i64().unwrap());
    assert_eq!(tier.collect::<Vec<_>>(), [id("breaks"), id("cools")]);
    // It asked both of that tier, and its rows are of both and of who served.
    assert_eq!(bed.circuit("breaks").await["state"], "open");
    assert_eq!(bed.circuit("cools").await["cooldowns"][0]["kind"], "rate_limit");

    // One of the two that are left fails half the time, without more for it than the request's own failover.
    let mut drawn = Vec::new();
    for number in 1..=12 {
        let script = if number % 2 == 0 { Script::failing(500) } else { Script::default() };
        bed.upstreams["heavy"].set_script(script);
        let (status, row) = bed.ask(MODEL, None, number).await;
        assert_eq!(status, 200);
        drawn.push(bed.compare(&row).await);
        let out =
            |reason: &str, name: &str| json!({ "reason": reason, "count": 1, "provider_ids": [id(name)] });
        assert_eq!(
            row["decision_chain"][0]["excluded"],
            json!([
                out("other_group", "for others"),
                out("disabled", "off"),
                out("outside_schedule", "at another hour"),
                out("other_dialect", "codex's"),
                out("model_not_served", "elsewhere"),
                out("client_not_allowed", "gemini-cli's"),
                out("breaker_open", "breaks"),
                out("cooling_rate_limit", "cools"),
                out("weight_zero", "idle"),
                out("lower_priority", "later"),
            ])
        );
    }
    assert!(drawn.contains(&vec!["heavy"]), "{drawn:?}");
    assert!(drawn.contains(&vec!["light"]), "{drawn:?}");
    assert!(drawn.contains(&vec!["heavy", "light"]), "{drawn:?}");

    // A session's provider is taken without a draw; when it fails, the first draw is made then.
    bed.upstreams["heavy"].set_script(Script::failing(500));
    let session_id = "11111111-2222-3333-4444-555555555555";
    let session = Some(session_id);
    let (_, row) = bed.ask(MODEL, session, 100).await;
    bed.compare(&row).await;
    // Which one it is is told before the next turn, and whom a draw would take when that one failed.
    let turn = format!(
        "/api/v1/routing/explain?format=anthropic&model={MODEL}&key_id={}&session_id={session_id}",
        bed.key_id
    );
    let told = bed.hub.admin_json(Method::GET, &turn, None).await;
    assert_eq!(told["steps"], json!([{ "step": "reused", "provider_id": id("light") }]));
    bed.upstreams["heavy"].set_script(Script::default());
    bed.upstreams["light"].set_script(Script::failing(500));
    let (status, row) = bed.ask(MODEL, session, 101).await;
    assert_eq!(status, 200);
    assert_eq!(row["decision_chain"][0], told["steps"][0]);
    assert_eq!(row["routing_seed"], told["seed"]);
    assert_eq!(bed.compare(&row).await, ["heavy"]);

    // Nobody at all.
    let (status, row) = bed.ask(NOBODYS, None, 200).await;
    assert_eq!(status, 503);
    assert_eq!(row["decision_chain"].as_array().unwrap().len(), 1);
    bed.compare(&row).await;
    bed.hub.terminate();
    assert!(bed.hub.ended().await.success());
}

#[tokio::test]
async fn a_provider_that_has_no_room_is_drawn_and_passed_over_as_it_is_told() {
    let bed = Bed::of(vec![
        ("crowded", json!({ "limit_concurrent_sessions": 1 })),
        ("one", json!({})),
        ("other", json!({})),
    ])
    .await;
    let id = |name: &str| bed.ids[name];
    let drawn = |row: &Value| row["decision_chain"][0]["provider_id"].clone();
    // Until its one conversation is there.
    let mut number = 0;
    loop {
        let (status, row) = bed.ask(MODEL, None, number).await;
        number += 1;
        assert_eq!(status, 200);
        if drawn(&row) == json!(id("crowded")) {
            break;
        }
        assert!(number < 100, "a third of all draws");
    }
    let mut passed_over = 0;
    while passed_over < 3 {
        let (status, row) = bed.ask(MODEL, None, number).await;
        number += 1;
        assert_eq!(status, 200);
        assert!(number < 200, "a third of all draws");
        let chain = row["decision_chain"].as_array().unwrap();
        let chosen: Vec<_> = chain.iter().filter(|step| step["step"] == "selected").cloned().collect();
        let told = bed.explain(&row, "", &[], 0).await;
        assert_eq!(told["steps"], json!(chosen), "{row}\n{told}");
        assert_eq!(told["provider"]["id"], chosen.last().unwrap()["provider_id"]);
        assert_eq!(told["excluded"][0]["providers"][0]["limit"], "limit_concurrent_sessions");
        if let [crowded, second] = &chosen[..] {
            assert_eq!(crowded["provider_id"], id("crowded"));
            let reached = json!([{ "reason": "limit_reached", "count": 1, "provider_ids": [id("crowded")] }]);
            assert_eq!(second["excluded"], reached);
            passed_over += 1;
        }
    }
    bed.hub.terminate();
    assert!(bed.hub.ended().await.success());
}
