//! What `routing/explain` says of how things stand now: limits, breakers, cool-downs and the sessions' providers.

use crate::hub::{BREAKERS_AT, Hub, on_both};
use crate::quotas::{all_open, holds, spends};
use crate::routing::{explain, make};
use serde_json::{Value, json};
use shared::contract::breaker::{CoolAsk, CoolKind, Mark, Pass, Report};
use shared::ids::{KeyId, ProviderId, Revision};
use shared::ports::{BreakerStore, SessionStore};
use shared::rules::session::{IdSource, SessionId, SessionKey};
use shared::testing::{node_beat, report};

on_both!(on:
    requests_of_a_minute_and_conversations_at_a_time_refuse_a_caller,
    a_provider_that_has_all_its_conversations_is_passed_over,
    steps_are_those_of_a_gateway_which_learns_of_a_budget_when_it_has_drawn,
    a_session_is_told_with_its_provider_and_keeps_its_places,
    a_binding_that_is_void_is_told_with_its_reason,
    what_rests_is_told_with_its_end,
    one_alone_may_serve_a_follow_up,
    what_nobody_knows_is_said,
);

const SESSION: &str = "11111111-2222-3333-4444-555555555555";

/// The key of a new user under limits, and the user.
async fn limited(hub: &Hub, name: &str, of_user: Value, of_key: Value) -> (i64, i64) {
    let mut body = of_user;
    body["name"] = name.into();
    let made = hub.client.post("/api/v1/users", body).await.expect(201);
    let [user, key] = ["user", "key"].map(|of| made[of]["id"].as_i64().unwrap());
    hub.client.patch(&format!("/api/v1/keys/{key}"), of_key).await.expect(200);
    (user, key)
}

async fn requests_of_a_minute_and_conversations_at_a_time_refuse_a_caller(hub: Hub) {
    make(&hub, "main", json!({})).await;
    let requests = |limit: u32| json!({ "rpm_limit": limit });
    let sessions = |limit: u32| json!({ "limit_concurrent_sessions": limit });
    let none = || json!({});
    let mut seats = Vec::new();
    for (name, of_user, of_key, refused) in [
        (
            "a",
            requests(1),
            none(),
            Some(("rpm_limit", "This user is at its limit of requests: 1 of 1 in the last minute.")),
        ),
        (
            "b",
            requests(2),
            requests(1),
            Some(("rpm_limit", "This key is at its limit of requests: 1 of 1 in the last minute.")),
        ),
        (
            "c",
            sessions(1),
            none(),
            Some((
                "limit_concurrent_sessions",
                "This user is at its limit of concurrent sessions: 1 of 1 are active.",
            )),
        ),
        (
            "d",
            none(),
            sessions(1),
            Some((
                "limit_concurrent_sessions",
                "This key is at its limit of concurrent sessions: 1 of 1 are active.",
            )),
        ),
        ("e", requests(2), sessions(2), None),
    ] {
        seats.push((limited(&hub, name, of_user, of_key).await, refused));
    }
    all_open(&hub).await;
    for ((user, key), refused) in seats {
        let told = explain(&hub, &format!("format=anthropic&key_id={key}")).await;
        assert_eq!((&told["refused"], &told["unknown"]), (&Value::Null, &json!([])), "nobody has asked");
        holds(&hub, user, Some(key), 0, 0).await;
        let told = explain(&hub, &format!("format=anthropic&key_id={key}")).await;
        assert_eq!(told["provider"]["name"], "main");
        let shown = hub.client.get(&format!("/api/v1/quotas?user_id={user}")).await.expect(200);
        assert_eq!(told["budget"], shown["items"][0]);
        let Some((code, message)) = refused else {
            assert_eq!(told["refused"], Value::Null);
            continue;
        };
        assert_eq!(told["refused"]["code"], code);
        assert!(told["refused"]["message"].as_str().unwrap().starts_with(message), "{told}");
        let resets_at = &told["refused"]["resets_at"];
        let counts = told["budget"]["requests"].as_array().unwrap();
        assert_eq!(
            counts.iter().any(|count| count["resets_at"] == *resets_at),
            code == "rpm_limit",
            "{told}"
        );
        // It is the moment's: of another one nobody knows.
        let told = explain(&hub, &format!("format=anthropic&key_id={key}&at=2026-11-23T09:30:00Z")).await;
        assert_eq!(told["refused"], Value::Null);
    }
}

async fn a_provider_that_has_all_its_conversations_is_passed_over(hub: Hub) {
    let crowded = make(&hub, "crowded", json!({ "limit_concurrent_sessions": 1 })).await;
    let later = make(&hub, "later", json!({ "priority": 1 })).await;
    all_open(&hub).await;
    assert_eq!(explain(&hub, "format=anthropic").await["provider"]["id"], crowded);
    holds(&hub, crowded, None, 0, 0).await;
    let told = explain(&hub, "format=anthropic").await;
    assert_eq!((&told["provider"]["id"], &told["refused"]), (&json!(later), &Value::Null));
    let whom =
        json!({ "id": crowded, "name": "crowded", "limit": "limit_concurrent_sessions", "until": null });
    assert_eq!(
        told["excluded"],
        json!([{ "reason": "limit_reached", "count": 1, "provider_ids": [crowded], "providers": [whom] }])
    );
}

async fn steps_are_those_of_a_gateway_which_learns_of_a_budget_when_it_has_drawn(hub: Hub) {
    let full = make(&hub, "full", json!({ "limit_daily_usd": "1" })).await;
    let one = make(&hub, "one", json!({})).await;
    let other = make(&hub, "other", json!({})).await;
    all_open(&hub).await;
    spends(&hub, full, None, 100).await;
    let reached = json!([{ "reason": "limit_reached", "count": 1, "provider_ids": [full] }]);
    let selected = |id: &Value, candidates: &[i64], excluded: &Value| {
        let candidates: Vec<_> =
            candidates.iter().map(|id| json!({ "provider_id": id, "weight": 1 })).collect();
        json!({ "step": "selected", "provider_id": id, "priority": 0, "candidates": candidates,
            "excluded": excluded })
    };
    let (mut at_once, mut after_it) = (0, 0);
    for seed in 0..20 {
        let told = explain(&hub, &format!("format=anthropic&seed={seed}")).await;
        let (steps, provider) = (told["steps"].as_array().unwrap(), &told["provider"]["id"]);
        assert!([&json!(one), &json!(other)].contains(&provider));
        // However it came about: who has no room has no chance.
        let chance: Vec<_> =
            told["candidates"].as_array().unwrap().iter().map(|c| &c["probability"]).collect();
        assert_eq!(chance, [&json!(0.5), &json!(0.5)]);
        assert_eq!(told["excluded"][0]["providers"][0]["limit"], "limit_daily");
        if steps.len() == 1 {
            assert_eq!(steps[0], selected(provider, &[full, one, other], &json!([])));
            at_once += 1;
            continue;
        }
        after_it += 1;
        assert_eq!(steps[0], selected(&json!(full), &[full, one, other], &json!([])));
        assert_eq!(steps[1..], [selected(provider, &[one, other], &reached)]);
        // The second step by itself, as it is asked for of a log row.
        let query = format!("format=anthropic&seed={seed}&tried={full}&draw=1");
        assert_eq!(explain(&hub, &query).await["steps"], json!([steps[1]]));
    }
    assert!(at_once > 0 && after_it > 0, "{at_once} and {after_it}");
}

async fn bind(hub: &Hub, key: i64, provider: i64) -> SessionKey {
    let revision = hub.revision().await;
    let snapshot = hub.snapshot_after(Some(Revision(revision.0 - 1))).await;
    let to = snapshot.core.providers.iter().find(|one| one.id == ProviderId(provider)).unwrap();
    let id = SessionId { text: SESSION.to_owned(), source: IdSource::MetadataUserId };
    let session = SessionKey::of(KeyId(key), &id);
    hub.sessions.bind(session, None, to.id, to.identity()).await.unwrap();
    session
}

async fn a_session_is_told_with_its_provider_and_keeps_its_places(hub: Hub) {
    let first = make(&hub, "first", json!({})).await;
    let bound = make(&hub, "bound", json!({ "priority": 9, "limit_concurrent_sessions": 1 })).await;
    let (user, key) = limited(&hub, "Ada", json!({ "limit_concurrent_sessions": 1 }), json!({})).await;
    all_open(&hub).await;
    let query = format!("format=anthropic&model=m&key_id={key}&session_id={SESSION}");
    let session = bind(&hub, key, first).await;
    hub.sessions
        .unbind(session, hub.sessions.read(session).await.unwrap().unwrap().generation)
        .await
        .unwrap();
    let told = explain(&hub, &query).await;
    let unbound = json!({ "id": session.to_string(), "bound": null, "gone": null });
    assert_eq!((&told["session"], &told["steps"][0]["step"]), (&unbound, &json!("selected")));

    bind(&hub, key, bound).await;
    // It has its place with both, and nobody else has one.
    holds(&hub, user, Some(key), 0, 0).await;
    holds(&hub, bound, None, 0, 0).await;
    let told = explain(&hub, &query).await;
    let whom = json!({ "id": bound, "name": "bound", "upstream_model": "m" });
    assert_eq!(told["session"], json!({ "id": session.to_string(), "bound": whom, "gone": null }));
    assert_eq!((&told["provider"], &told["refused"]), (&whom, &Value::Null));
    assert_eq!(told["steps"], json!([{ "step": "reused", "provider_id": bound }]));
    // A draw would go elsewhere, and is made with the session's own seed once its provider has failed.
    assert_eq!((&told["priority"], &told["candidates"][0]["provider_id"]), (&json!(0), &json!(first)));
    assert_eq!(explain(&hub, &query).await["seed"], told["seed"]);
    let failed = explain(&hub, &format!("{query}&tried={bound}")).await;
    assert_eq!((&failed["provider"]["id"], &failed["draw"]), (&json!(first), &json!(0)));
    assert_eq!((&failed["seed"], &failed["steps"][0]["step"]), (&told["seed"], &json!("selected")));

    let other = explain(&hub, &format!("format=anthropic&key_id={key}&session_id=another-one")).await;
    assert_eq!(
        (&other["session"]["bound"], &other["refused"]["code"]),
        (&Value::Null, &json!("limit_concurrent_sessions"))
    );
    let reasons: Vec<_> = other["excluded"].as_array().unwrap().iter().map(|out| &out["reason"]).collect();
    assert_eq!(reasons, ["limit_reached"]);

    // Of another moment nobody knows it.
    let told = explain(&hub, &format!("{query}&at=2026-11-23T09:30:00Z")).await;
    assert_eq!((&told["session"], &told["unknown"]), (&unbound, &json!(["breakers", "budgets", "session"])));

    // What it is bound to may rest: then another one serves, and it stays bound.
    hub.client
        .patch(&format!("/api/v1/providers/{bound}"), json!({ "allowed_models": [] }))
        .await
        .expect(200);
    let elsewhere = json!([{ "match_type": "exact", "pattern": "other" }]);
    hub.client
        .patch(&format!("/api/v1/providers/{bound}"), json!({ "allowed_models": elsewhere }))
        .await
        .expect(200);
    let told = explain(&hub, &query).await;
    assert_eq!((&told["session"]["bound"]["id"], &told["provider"]["id"]), (&json!(bound), &json!(first)));
    assert_eq!(told["steps"][0]["excluded"][0]["reason"], "model_not_served");
}

async fn a_binding_that_is_void_is_told_with_its_reason(hub: Hub) {
    let other = make(&hub, "other", json!({ "priority": 9 })).await;
    let bound = make(&hub, "bound", json!({})).await;
    let key = hub.make_user("Ada").await["key"]["id"].as_i64().unwrap();
    bind(&hub, key, bound).await;
    let query = format!("format=anthropic&key_id={key}&session_id={SESSION}");
    for (change, gone, serves) in [
        (json!({ "url": "https://elsewhere.example.com" }), "other_account", bound),
        (json!({ "is_enabled": false }), "disabled", other),
    ] {
        hub.client.patch(&format!("/api/v1/providers/{bound}"), change).await.expect(200);
        let told = explain(&hub, &query).await;
        assert_eq!(
            (&told["session"]["bound"]["id"], &told["session"]["gone"]),
            (&json!(bound), &json!(gone))
        );
        assert_eq!(
            (&told["provider"]["id"], &told["steps"][0]["step"]),
            (&json!(serves), &json!("selected"))
        );
    }
}

async fn says(hub: &Hub, id: i64, mark: Mark, cool: Option<CoolAsk>) {
    let revision = hub.revision().await;
    let snapshot = hub.snapshot_after(Some(Revision(revision.0 - 1))).await;
    let provider = snapshot.core.providers.iter().find(|one| one.id == ProviderId(id)).unwrap();
    let said = Report { terms: provider.circuit_terms(), cool, ..report(id, Pass::default(), mark) };
    hub.breakers.report(&said).await.unwrap();
}

async fn what_rests_is_told_with_its_end(hub: Hub) {
    let cool = |kind, model: Option<&str>| {
        let model = model.map(str::to_owned);
        Some(CoolAsk { kind, model, first_ms: 60_000, longest_ms: 60_000, memory_ms: 60_000 })
    };
    let broken = make(&hub, "broken", json!({ "circuit_breaker_failure_threshold": 1 })).await;
    let limited = make(&hub, "limited", json!({})).await;
    let lacking = make(&hub, "lacking", json!({})).await;
    let loaded = make(&hub, "loaded", json!({})).await;
    says(&hub, broken, Mark::Failure, None).await;
    says(&hub, limited, Mark::Neutral, cool(CoolKind::RateLimit, None)).await;
    says(&hub, lacking, Mark::Neutral, cool(CoolKind::ModelMissing, Some("m"))).await;
    says(&hub, loaded, Mark::Neutral, cool(CoolKind::Overload, None)).await;
    let in_a_minute = BREAKERS_AT.plus_ms(60_000).to_string();
    let out = |reason: &str, id: i64, name: &str, until: &str| {
        let whom = json!({ "id": id, "name": name, "limit": null, "until": until });
        json!({ "reason": reason, "count": 1, "provider_ids": [id], "providers": [whom] })
    };
    let told = explain(&hub, "format=anthropic&model=m").await;
    assert_eq!(
        told["excluded"],
        json!([
            out("breaker_open", broken, "broken", &BREAKERS_AT.plus_ms(1_800_000).to_string()),
            out("cooling_rate_limit", limited, "limited", &in_a_minute),
            out("cooling_model_missing", lacking, "lacking", &in_a_minute),
        ])
    );
    // Overloaded, but there is nobody else.
    let [candidate] = &told["candidates"].as_array().unwrap()[..] else { panic!("{told}") };
    assert_eq!(
        (&candidate["provider_id"], &candidate["standing"], &candidate["until"]),
        (&json!(loaded), &json!("cooling_overload"), &json!(in_a_minute))
    );
    // For another model there is.
    let told = explain(&hub, "format=anthropic&model=other").await;
    assert_eq!(told["provider"]["id"], lacking);
    let overload = told["excluded"].as_array().unwrap().last().unwrap();
    assert_eq!(*overload, out("cooling_overload", loaded, "loaded", &in_a_minute));
}

async fn one_alone_may_serve_a_follow_up(hub: Hub) {
    let maker = make(&hub, "maker", json!({ "provider_type": "codex", "weight": 0 })).await;
    let other = make(&hub, "other", json!({ "provider_type": "codex" })).await;
    let told = explain(&hub, &format!("format=openai_responses&only={maker}")).await;
    assert_eq!(told["provider"]["id"], maker);
    assert_eq!(told["excluded"][0]["reason"], "other_response");
    assert_eq!(told["excluded"][0]["provider_ids"], json!([other]));
}

async fn what_nobody_knows_is_said(hub: Hub) {
    // A budget that is being read from the ledger: a gateway that is behind holds it up.
    let mut behind = node_beat("behind");
    behind.revision = Some(Revision(0));
    shared::ports::NodeRegistry::beat(&*hub.nodes, behind, None).await.unwrap();
    make(&hub, "main", json!({})).await;
    let told = explain(&hub, "format=anthropic").await;
    assert_eq!(told["unknown"], json!([]), "nothing is limited");
    let (_, key) = limited(&hub, "Ada", json!({ "rpm_limit": 1 }), json!({})).await;
    let told = explain(&hub, &format!("format=anthropic&key_id={key}")).await;
    assert_eq!((&told["unknown"], &told["refused"]), (&json!(["budgets"]), &Value::Null));
    let budget = &told["budget"];
    assert_eq!((&budget["is_open"], &budget["requests"][0]["limit"]), (&json!(false), &json!(1)));
}
