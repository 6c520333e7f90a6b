//! Providers, their groups, and what the gateway gets to see of them.

use crate::hub::{Hub, on_both};
use serde_json::{Value, json};
use shared::model::{ActiveTime, ClientAbort, ClientPattern, Provider, ProviderType};
use shared::money::Multiplier;
use shared::secret::{HubKey, Sealed};

on_both!(on:
    a_provider_is_published_as_it_was_set,
    a_provider_keeps_what_a_patch_leaves_out,
    custom_headers_are_sealed_and_kept_by_their_mask,
    a_provider_that_cannot_work_is_refused,
    groups_are_made_changed_and_kept_while_named,
);

async fn a_provider_is_published_as_it_was_set(hub: Hub) {
    let body = json!({
        "name": "main", "provider_type": "openai-compatible", "url": "https://api.example.com/v1", "key": "sk-one",
        "weight": 0, "priority": 3, "group_tag": "fast", "group_priorities": { "fast": 1 },
        "allowed_clients": ["claude-code", "my-tool*"], "blocked_clients": ["curl"],
        "active_time_start": "22:00", "active_time_end": "06:30", "cost_multiplier": 1.25, "max_attempts": 10,
        "allowed_models": [{ "match_type": "prefix", "pattern": "gpt-" }],
        "model_redirects": [{ "match_type": "exact", "source": "gpt", "target": "gpt-5" }],
        "custom_headers": { "x-team": "blue" }, "client_abort": "cancel",
        "first_byte_timeout_streaming_ms": 0, "streaming_idle_timeout_ms": 1000,
    });
    let answer = hub.client.post("/api/v1/providers", body).await;
    let location = answer.header("location").to_owned();
    let made = answer.expect(201);
    assert_eq!(location, format!("/api/v1/providers/{}", made["id"]));
    assert_eq!(made["cost_multiplier"], "1.25");
    assert_eq!(made["request_timeout_non_streaming_ms"], 600_000);
    assert_eq!(made["key"], Value::Null);

    let snapshot = hub.snapshot().await;
    let published = &snapshot.core.providers[0];
    assert_eq!(published.provider_type, ProviderType::OpenaiCompatible);
    assert_eq!((published.weight, published.priority, published.max_attempts), (0, 3, 10));
    assert_eq!(published.group_priorities, [("fast".to_owned(), 1)].into());
    let texts = |clients: &[ClientPattern]| clients.iter().map(|c| c.text().to_owned()).collect::<Vec<_>>();
    assert_eq!(texts(&published.allowed_clients), ["claude-code", "my-tool*"]);
    assert_eq!(texts(&published.blocked_clients), ["curl"]);
    assert_eq!(published.active_time, ActiveTime::parse("22:00", "06:30").ok());
    assert_eq!(published.cost_multiplier, Multiplier(1_250_000));
    assert_eq!(published.group_tag.to_string(), "fast");
    assert_eq!(published.client_abort, ClientAbort::Cancel);
    assert_eq!(opened_headers(published), [("x-team".to_owned(), "blue".to_owned())]);
    assert!(published.allowed_models[0].0.matches("gpt-5") && published.model_redirects[0].target == "gpt-5");
    assert_eq!(published.timers.streaming_idle_timeout_ms, 1_000);
    let secret = hub_key().open(&published.secret, &Provider::secret_place(published.id)).unwrap();
    assert_eq!(secret.expose(), "sk-one");
    assert!(snapshot.core.groups.iter().any(|g| g.name == "fast"));

    hub.client.patch(&location, json!({ "key": "sk-two" })).await.expect(200);
    let snapshot = hub.snapshot().await;
    let published = &snapshot.core.providers[0];
    let secret = hub_key().open(&published.secret, &Provider::secret_place(published.id)).unwrap();
    assert_eq!(secret.expose(), "sk-two");
    hub.client.delete(&location).await.expect(204);
    assert!(hub.snapshot().await.core.providers.is_empty());
}

async fn a_provider_keeps_what_a_patch_leaves_out(hub: Hub) {
    let made = hub.make_provider("main").await;
    let path = format!("/api/v1/providers/{}", made["id"]);
    let set = json!({
        "weight": 7, "group_tag": "a,b", "group_priorities": { "b": 0 }, "max_attempts": 3,
        "active_time_start": "08:00", "active_time_end": "18:00",
        "allowed_clients": ["codex-cli"], "blocked_clients": ["curl"],
        "model_redirects": [{ "match_type": "suffix", "source": "-x", "target": "y" }],
    });
    let changed = hub.client.patch(&path, set.clone()).await.expect(200);
    for (field, value) in set.as_object().unwrap() {
        assert_eq!(&changed[field], value);
    }
    assert_eq!(changed["url"], made["url"]);
    let changed = hub.client.patch(&path, json!({ "active_time_end": "19:00" })).await.expect(200);
    assert_eq!(changed["active_time_start"], "08:00");
    for (half, named) in [
        (json!({ "active_time_start": null }), "active_time_start"),
        (json!({ "active_time_end": null }), "active_time_end"),
        (json!({ "active_time_end": "08:00" }), "active_time_end"),
    ] {
        let problem = hub.client.patch(&path, half).await.expect_problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["field"], named, "{problem}");
    }
    let reset = json!({ "weight": null, "group_tag": null, "group_priorities": null,
        "active_time_start": null, "active_time_end": null, "allowed_clients": null, "blocked_clients": null,
        "max_attempts": null, "model_redirects": null });
    let mut changed = hub.client.patch(&path, reset).await.expect(200);
    for field in ["revision", "updated_at"] {
        changed[field] = made[field].clone();
    }
    assert_eq!(changed, made);
    let found = hub.client.get("/api/v1/providers?q=MAI").await.expect(200);
    assert_eq!(found["items"].as_array().unwrap().len(), 1);
}

async fn custom_headers_are_sealed_and_kept_by_their_mask(hub: Hub) {
    let made = hub.make_provider("main").await;
    let path = format!("/api/v1/providers/{}", made["id"]);
    let set = json!({ "custom_headers": { "X-Org": "blue", "x-token": "t-1" } });
    let changed = hub.client.patch(&path, set).await.expect(200);
    assert_eq!(changed["custom_headers"], json!({ "X-Org": "***", "x-token": "***" }));
    assert_eq!(hub.client.get(&path).await.expect(200)["custom_headers"], changed["custom_headers"]);
    let is_now = async |expected: &[(&str, &str)]| {
        let snapshot = hub.snapshot().await;
        let expected: Vec<_> = expected.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        assert_eq!(opened_headers(&snapshot.core.providers[0]), expected);
    };
    is_now(&[("X-Org", "blue"), ("x-token", "t-1")]).await;

    // Another field's change leaves them, and so does what a client read and sends back.
    let changed = hub.client.patch(&path, json!({ "weight": 3 })).await.expect(200);
    let same = json!({ "custom_headers": changed["custom_headers"] });
    let unchanged = hub.client.patch(&path, same).await.expect(200);
    assert_eq!(unchanged["revision"], changed["revision"]);
    is_now(&[("X-Org", "blue"), ("x-token", "t-1")]).await;

    // One is kept under another spelling, one is new, one is gone; then one gets another value.
    let set = json!({ "custom_headers": { "x-org": "***", "x-new": "n" } });
    hub.client.patch(&path, set).await.expect(200);
    is_now(&[("x-new", "n"), ("x-org", "blue")]).await;
    let set = json!({ "custom_headers": { "x-org": "red", "x-new": "***" } });
    hub.client.patch(&path, set).await.expect(200);
    is_now(&[("x-new", "n"), ("x-org", "red")]).await;
    let entry =
        hub.client.get("/api/v1/audit-log?resource_type=provider").await.expect(200)["items"][0].clone();
    assert_eq!(entry["before"]["custom_headers"], json!({ "x-new": "***", "x-org": "***" }));
    assert_eq!(entry["after"]["custom_headers"], json!({ "x-new": "***", "x-org": "*** (set)" }));

    // There is nothing to keep, or the gateway would leave such a provider out.
    for name in ["x-other", "api-key", "x-cch-seat"] {
        let set = json!({ "custom_headers": { name: "***" } });
        let problem = hub.client.patch(&path, set).await.expect_problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["field"], format!("custom_headers.{name}"));
    }
    hub.client.patch(&path, json!({ "custom_headers": null })).await.expect(200);
    is_now(&[]).await;
}

fn hub_key() -> HubKey {
    HubKey::parse(&"5e".repeat(32)).unwrap()
}

/// A published provider's headers as the gateway opens them.
fn opened_headers(provider: &Provider) -> Vec<(String, String)> {
    let open = |(name, sealed): &(String, Sealed)| {
        let value = hub_key().open(sealed, &Provider::header_place(provider.id, name)).unwrap();
        (name.clone(), value.expose().to_owned())
    };
    provider.custom_headers.iter().map(open).collect()
}

async fn a_provider_that_cannot_work_is_refused(hub: Hub) {
    let good = json!({
        "name": "main", "provider_type": "claude", "url": "https://api.example.com", "key": "sk-one",
    });
    for (field, value, named) in [
        ("provider_type", json!("vertex"), "provider_type"),
        ("url", json!("ftp://api.example.com"), "url"),
        ("url", json!("api.example.com"), "url"),
        ("url", json!("https://user:pass@api.example.com"), "url"),
        ("url", json!("https://api.example.com?key=1"), "url"),
        // What the gateway would leave out in silence.
        ("url", json!("https://api.exa$mple.com"), "url"),
        ("url", json!("https://münchen.example"), "url"),
        ("url", json!("https://api.example.com/a b"), "url"),
        ("url", json!("https://api.example.com/../v1"), "url"),
        ("url", json!("https://api.example.com:0"), "url"),
        ("url", json!(format!("https://{}.com", "x".repeat(255))), "url"),
        ("key", json!(""), "key"),
        ("key", json!("two words"), "key"),
        ("weight", json!(101), "weight"),
        ("weight", json!(-1), "weight"),
        ("priority", json!(-1), "priority"),
        // No caller of a group that it does not belong to ever gets there.
        ("group_priorities", json!({ "fast": 1 }), "group_priorities.fast"),
        ("group_priorities", json!({ "*": 1 }), "group_priorities.*"),
        ("group_priorities", json!({ "default": 1_000_001 }), "group_priorities.default"),
        ("group_priorities", json!({ "default": -1 }), "group_priorities.default"),
        ("allowed_clients", json!([""]), "allowed_clients[0]"),
        ("allowed_clients", json!(["a", "a"]), "allowed_clients[1]"),
        ("blocked_clients", json!([" curl"]), "blocked_clients[0]"),
        ("blocked_clients", json!(["x".repeat(129)]), "blocked_clients[0]"),
        ("active_time_start", json!("08:00"), "active_time_end"),
        ("active_time_end", json!("08:00"), "active_time_start"),
        ("max_attempts", json!(0), "max_attempts"),
        ("max_attempts", json!(11), "max_attempts"),
        ("cost_multiplier", json!("-1"), "cost_multiplier"),
        ("cost_multiplier", json!("a lot"), "cost_multiplier"),
        ("group_tag", json!("*"), "group_tag"),
        ("streaming_idle_timeout_ms", json!(99), "streaming_idle_timeout_ms"),
        ("request_timeout_non_streaming_ms", json!(3_600_001), "request_timeout_non_streaming_ms"),
        ("client_abort", json!("wait"), "client_abort"),
        ("custom_headers", json!({ "Authorization": "x" }), "custom_headers.Authorization"),
        ("custom_headers", json!({ "Content-Type": "x" }), "custom_headers.Content-Type"),
        ("custom_headers", json!({ "x-a": "***" }), "custom_headers.x-a"),
        ("custom_headers", json!({ "bad name": "x" }), "custom_headers.bad name"),
        ("custom_headers", json!({ "x-a": "line\nline" }), "custom_headers.x-a"),
        ("custom_headers", json!({ "x-a": "1", "X-A": "2" }), "custom_headers.x-a"),
        ("allowed_models", json!([{ "match_type": "regex", "pattern": "(" }]), "allowed_models[0].pattern"),
        ("allowed_models", json!([{ "match_type": "glob", "pattern": "x" }]), "allowed_models[0].match_type"),
        ("allowed_models", json!([{ "match_type": "exact", "pattern": "x", "y": 1 }]), "allowed_models[0].y"),
        ("model_redirects", json!([{ "match_type": "exact", "source": "x" }]), "model_redirects[0].target"),
        ("limit_yearly_usd", json!("1"), "limit_yearly_usd"),
    ] {
        let mut body = good.clone();
        body[field] = value.clone();
        let answer = hub.client.post("/api/v1/providers", body).await;
        let problem = answer.expect_problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["field"], named, "{field}={value}: {problem}");
    }
    for (start, end, named) in [
        ("8:00", "18:00", "active_time_start"),
        ("08:00", "24:00", "active_time_end"),
        ("08:00", "08:00", "active_time_end"),
    ] {
        let mut body = good.clone();
        (body["active_time_start"], body["active_time_end"]) = (json!(start), json!(end));
        let answer = hub.client.post("/api/v1/providers", body).await;
        let problem = answer.expect_problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["field"], named, "{start} to {end}: {problem}");
    }
    let service_account =
        json!({ "name": "g", "provider_type": "gemini", "url": "https://g.example", "key": "{\"type\":1}" });
    let answer = hub.client.post("/api/v1/providers", service_account).await;
    let problem = answer.expect_problem(422, "validation_failed");
    assert_eq!(problem["errors"][0]["field"], "key", "{problem}");
    for field in ["name", "provider_type", "url", "key"] {
        let mut body = good.clone();
        body.as_object_mut().unwrap().remove(field);
        let problem =
            hub.client.post("/api/v1/providers", body).await.expect_problem(422, "validation_failed");
        assert_eq!(problem["errors"][0], json!({ "field": field, "message": "is missing" }));
    }
    assert_eq!(hub.client.get("/api/v1/providers").await.expect(200)["items"], json!([]));

    // A change of the type alone must not leave a key behind that the new type cannot send.
    let mut body = good.clone();
    body["key"] = json!("{\"type\":1}");
    let made = hub.client.post("/api/v1/providers", body).await.expect(201);
    let path = format!("/api/v1/providers/{}", made["id"]);
    let answer = hub.client.patch(&path, json!({ "provider_type": "gemini" })).await;
    let problem = answer.expect_problem(422, "validation_failed");
    assert_eq!(problem["errors"][0]["field"], "key", "{problem}");
    hub.client.patch(&path, json!({ "provider_type": "gemini", "key": "AIza-one" })).await.expect(200);
}

async fn groups_are_made_changed_and_kept_while_named(hub: Hub) {
    let groups = "/api/v1/provider-groups";
    let made = hub.client.post(groups, json!({ "name": "fast", "cost_multiplier": "0.5" })).await.expect(201);
    assert_eq!(made["cost_multiplier"], "0.50");
    hub.client.post(groups, json!({ "name": "fast" })).await.expect_problem(409, "name_taken");
    for name in ["", "*", "a,b", " a"] {
        let answer = hub.client.post(groups, json!({ "name": name })).await;
        answer.expect_problem(422, "validation_failed");
    }
    let path = format!("{groups}/{}", made["id"]);
    let changed = hub.client.patch(&path, json!({ "cost_multiplier": 2 })).await.expect(200);
    assert_eq!(changed["cost_multiplier"], "2.00");
    hub.client.patch(&path, json!({ "name": "slow" })).await.expect_problem(422, "validation_failed");
    let published = hub.snapshot().await;
    let group = published.core.groups.iter().find(|g| g.name == "fast").unwrap();
    assert_eq!(group.cost_multiplier, Multiplier(2_000_000));

    let user = hub.make_user("Ada").await["user"]["id"].clone();
    // A longer name that contains the group's is no use of it.
    let user_path = format!("/api/v1/users/{user}");
    hub.client.patch(&user_path, json!({ "provider_group": "faster" })).await.expect(200);
    hub.client.patch(&user_path, json!({ "provider_group": "faster,fast" })).await.expect(200);
    hub.client.delete(&path).await.expect_problem(409, "group_in_use");
    hub.client.patch(&user_path, json!({ "provider_group": "faster" })).await.expect(200);
    hub.client.delete(&path).await.expect(204);
    hub.client.get(&path).await.expect_problem(404, "not_found");
    let default = hub.client.get(groups).await.expect(200)["items"][0].clone();
    assert_eq!(default["name"], "default");
    let path = format!("{groups}/{}", default["id"]);
    hub.client.delete(&path).await.expect_problem(409, "default_group");
}
