//! Limits of users, keys and providers: set, shown, published, and how often an account came under them.

use crate::hub::{Hub, on_both};
use serde_json::{Value, json};
use shared::contract::snapshot::Snapshot;
use shared::ids::Revision;
use shared::model::{DailyMode, FiveHoursMode, Limits, QuotaReservation, WallTime};
use shared::money::NanoUsd;
use std::sync::Arc;

on_both!(on:
    limits_are_set_shown_and_published,
    a_patch_changes_what_it_names_and_null_and_zero_are_no_limit,
    a_limit_that_cannot_be_accepted_is_named,
    a_limit_is_changed_like_any_field,
    what_is_put_aside_is_set_for_all_and_for_one,
    a_users_account_counts_how_often_it_came_under_limits,
    each_key_of_an_account_counts_as_long_as_it_is_there,
    a_provider_counts_its_own,
    a_provider_is_tested_with_the_same_fields,
);

/// A user, a key and a provider.
struct Trio {
    user: String,
    key: String,
    provider: String,
}

impl Trio {
    async fn make(hub: &Hub) -> Self {
        let made = hub.make_user("Ada").await;
        let provider = hub.make_provider("main").await;
        Self {
            user: format!("/api/v1/users/{}", made["user"]["id"]),
            key: format!("/api/v1/keys/{}", made["key"]["id"]),
            provider: format!("/api/v1/providers/{}", provider["id"]),
        }
    }

    fn paths(&self) -> [&str; 3] {
        [&self.user, &self.key, &self.provider]
    }
}

/// The newest configuration, of a database with one of each.
async fn now(hub: &Hub) -> Arc<Snapshot> {
    // A change has answered when it is published, and no earlier.
    let revision = hub.revision().await;
    hub.snapshot_after(Some(Revision(revision.0 - 1))).await
}

fn limits_of(snapshot: &Snapshot) -> [&Limits; 3] {
    [
        &snapshot.principals.users[0].limits,
        &snapshot.principals.keys[0].limits,
        &snapshot.core.providers[0].limits,
    ]
}

fn all_limits() -> Value {
    json!({
        "limit_5h_usd": "1.50", "limit_5h_reset_mode": "fixed", "limit_daily_usd": 2.5, "daily_reset_mode": "rolling",
        "daily_reset_time": "08:30", "limit_weekly_usd": "0.000000001", "limit_monthly_usd": 40,
        "limit_total_usd": "9007199.254740991", "limit_concurrent_sessions": 6,
    })
}

fn shown() -> Value {
    json!({
        "limit_5h_usd": "1.50", "limit_5h_reset_mode": "fixed", "limit_daily_usd": "2.50", "daily_reset_mode": "rolling",
        "daily_reset_time": "08:30", "limit_weekly_usd": "0.000000001", "limit_monthly_usd": "40.00",
        "limit_total_usd": "9007199.254740991", "limit_concurrent_sessions": 6,
        "cost_reset_at": null, "limit_5h_cost_reset_at": null,
    })
}

fn published(requests_per_minute: Option<u32>) -> Limits {
    Limits {
        five_hours: Some(NanoUsd(1_500_000_000)),
        five_hours_mode: FiveHoursMode::Fixed,
        daily: Some(NanoUsd(2_500_000_000)),
        daily_mode: DailyMode::Rolling,
        daily_reset_time: WallTime::parse("08:30").unwrap(),
        weekly: Some(NanoUsd(1)),
        monthly: Some(NanoUsd(40_000_000_000)),
        total: Some(NanoUsd((1 << 53) - 1)),
        requests_per_minute,
        concurrent_sessions: Some(6),
        reset_at: None,
        five_hours_reset_at: None,
    }
}

fn with(mut document: Value, more: Value) -> Value {
    document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    document
}

fn assert_shows(document: &Value, expected: &Value) {
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(document.get(field), Some(value), "{field} of {document}");
    }
}

async fn limits_are_set_shown_and_published(hub: Hub) {
    let seat = with(all_limits(), json!({ "name": "Ada", "rpm_limit": 7 }));
    let made = hub.client.post("/api/v1/users", seat.clone()).await.expect(201);
    let expected = with(shown(), json!({ "rpm_limit": 7 }));
    assert_shows(&made["user"], &expected);
    assert_eq!((&made["key"]["limit_daily_usd"], &made["key"]["rpm_limit"]), (&Value::Null, &Value::Null));
    let user = &made["user"]["id"];
    let key = hub.client.post(&format!("/api/v1/users/{user}/keys"), seat).await.expect(201);
    assert_shows(&key, &expected);
    let provider =
        json!({ "name": "p", "provider_type": "claude", "url": "https://api.example.com", "key": "sk-x" });
    let provider = hub.client.post("/api/v1/providers", with(all_limits(), provider)).await.expect(201);
    assert_shows(&provider, &shown());
    assert_eq!(provider.get("rpm_limit"), None);
    for (path, document) in [
        (format!("/api/v1/users/{user}"), &made["user"]),
        (format!("/api/v1/providers/{}", provider["id"]), &provider),
    ] {
        assert_eq!(hub.client.get(&path).await.expect(200), *document);
    }

    let snapshot = now(&hub).await;
    assert_eq!(snapshot.principals.users[0].limits, published(Some(7)));
    let [first, second] = snapshot.principals.keys.as_slice() else { panic!("{snapshot:?}") };
    assert_eq!((&first.limits, &second.limits), (&Limits::default(), &published(Some(7))));
    assert_eq!(snapshot.core.providers[0].limits, published(None));
    assert_eq!(snapshot.principals.users[0].budget_generation, 1);
    assert_eq!(snapshot.core.providers[0].budget_generation, 1);
}

async fn a_patch_changes_what_it_names_and_null_and_zero_are_no_limit(hub: Hub) {
    let trio = Trio::make(&hub).await;
    for path in trio.paths() {
        let fresh = hub.client.get(path).await.expect(200);
        let nothing = json!({
            "limit_5h_usd": null, "limit_5h_reset_mode": "rolling", "limit_daily_usd": null, "daily_reset_mode": "fixed",
            "daily_reset_time": "00:00", "limit_weekly_usd": null, "limit_monthly_usd": null, "limit_total_usd": null,
            "limit_concurrent_sessions": null, "cost_reset_at": null, "limit_5h_cost_reset_at": null,
        });
        assert_shows(&fresh, &nothing);
        let set = hub.client.patch(path, all_limits()).await.expect(200);
        assert_shows(&set, &shown());
        let one = hub.client.patch(path, json!({ "limit_daily_usd": "3" })).await.expect(200);
        assert_shows(&one, &with(shown(), json!({ "limit_daily_usd": "3.00" })));
        let gone = json!({
            "limit_5h_usd": null, "limit_5h_reset_mode": null, "limit_daily_usd": "0", "daily_reset_mode": null,
            "daily_reset_time": null, "limit_weekly_usd": 0, "limit_monthly_usd": "0.000", "limit_total_usd": null,
            "limit_concurrent_sessions": 0,
        });
        let gone = hub.client.patch(path, gone).await.expect(200);
        assert_shows(&gone, &nothing);
    }
    for path in [&trio.user, &trio.key] {
        for (sent, kept) in
            [(json!(5), json!(5)), (json!(0), Value::Null), (json!(6), json!(6)), (Value::Null, Value::Null)]
        {
            let changed = hub.client.patch(path, json!({ "rpm_limit": sent })).await.expect(200);
            assert_eq!(changed["rpm_limit"], kept);
        }
    }
    let snapshot = now(&hub).await;
    assert_eq!(limits_of(&snapshot), [&Limits::default(); 3]);
}

async fn a_limit_that_cannot_be_accepted_is_named(hub: Hub) {
    let trio = Trio::make(&hub).await;
    let mut refused = vec![
        ("daily_reset_time", json!("24:00")),
        ("daily_reset_time", json!("8:30 am")),
        ("daily_reset_time", json!(830)),
        ("daily_reset_mode", json!("sometimes")),
        ("limit_5h_reset_mode", json!("daily")),
        ("limit_concurrent_sessions", json!(-1)),
        ("limit_concurrent_sessions", json!(1.5)),
        ("limit_concurrent_sessions", json!("6")),
        ("limit_concurrent_sessions", json!(1_000_001)),
        // What only a reset sets.
        ("cost_reset_at", json!("2026-01-01T00:00:00Z")),
        ("limit_5h_cost_reset_at", json!(null)),
    ];
    let amounts =
        ["limit_5h_usd", "limit_daily_usd", "limit_weekly_usd", "limit_monthly_usd", "limit_total_usd"];
    for field in amounts {
        for wrong in
            [json!("-1"), json!(-0.5), json!("9007199.254740992"), json!("1e30"), json!("0.0000000001")]
        {
            refused.push((field, wrong));
        }
        refused.extend([(field, json!("five")), (field, json!(true)), (field, json!({ "usd": 5 }))]);
    }
    for path in trio.paths() {
        let before = hub.client.get(path).await.expect(200);
        for (field, wrong) in &refused {
            let answer = hub.client.patch(path, json!({ *field: wrong })).await;
            let problem = answer.expect_problem(422, "validation_failed");
            assert_eq!(problem["errors"][0]["field"], *field, "{path} {wrong}: {problem}");
        }
        assert_eq!(hub.client.get(path).await.expect(200), before);
    }
    for path in [&trio.user, &trio.key] {
        for wrong in [json!(-1), json!(1_000_001), json!("7")] {
            let answer = hub.client.patch(path, json!({ "rpm_limit": wrong })).await;
            assert_eq!(answer.expect_problem(422, "validation_failed")["errors"][0]["field"], "rpm_limit");
        }
    }
    // Nobody counts a provider's requests of a minute, and nobody's reservations but a user's.
    for (path, field) in [
        (&trio.provider, "rpm_limit"),
        (&trio.provider, "quota_reservation"),
        (&trio.key, "quota_reservation"),
    ] {
        let problem =
            hub.client.patch(path, json!({ field: null })).await.expect_problem(422, "validation_failed");
        assert_eq!(problem["errors"][0], json!({ "field": field, "message": "unknown field" }));
    }
    // All that is wrong is named at once, where it could be read.
    let body = json!({ "name": "", "limit_daily_usd": "-1", "limit_total_usd": -1, "rpm_limit": 1_000_001 });
    let problem = hub.client.post("/api/v1/users", body).await.expect_problem(422, "validation_failed");
    let fields: Vec<_> = problem["errors"].as_array().unwrap().iter().map(|e| e["field"].clone()).collect();
    assert_eq!(fields, ["name", "limit_daily_usd", "limit_total_usd", "rpm_limit"]);
    let twice = r#"{"limit_daily_usd":1,"limit_daily_usd":2}"#;
    let answer = hub.client.send("PATCH", &trio.user, &[testbed::JSON], twice).await;
    let problem = answer.expect_problem(422, "validation_failed");
    assert_eq!(problem["errors"][0], json!({ "field": "limit_daily_usd", "message": "is given twice" }));
}

async fn a_limit_is_changed_like_any_field(hub: Hub) {
    let trio = Trio::make(&hub).await;
    for (path, resource) in trio.paths().into_iter().zip(["user", "key", "provider"]) {
        let etag = hub.client.get(path).await.header("etag").to_owned();
        let set =
            hub.client.patch(path, json!({ "limit_daily_usd": "5", "daily_reset_time": "06:00" })).await;
        assert_ne!(set.header("etag"), etag);
        let body = r#"{"limit_daily_usd":"6"}"#;
        let stale = hub.client.send("PATCH", path, &[testbed::JSON, ("if-match", &etag)], body).await;
        stale.expect_problem(412, "revision_mismatch");
        // The same again is no change.
        let again = hub.client.patch(path, json!({ "limit_daily_usd": 5.0 })).await;
        assert_eq!(again.header("x-config-revision"), "");
        let audit = hub.client.get(&format!("/api/v1/audit-log?action={resource}.update")).await.expect(200);
        let entry = &audit["items"][0];
        let at = |when: &str, field: &str| entry[when][field].clone();
        assert_eq!(
            (at("before", "limit_daily_usd"), at("after", "limit_daily_usd")),
            (Value::Null, json!("5.00"))
        );
        assert_eq!(
            (at("before", "daily_reset_time"), at("after", "daily_reset_time")),
            (json!("00:00"), json!("06:00"))
        );
        assert_eq!(at("after", "limit_5h_reset_mode"), "rolling");
        assert_eq!(entry["after"].get("rpm_limit").is_some(), resource != "provider");
    }
}

async fn what_is_put_aside_is_set_for_all_and_for_one(hub: Hub) {
    let user = format!("/api/v1/users/{}", hub.make_user("Ada").await["user"]["id"]);
    assert_eq!(hub.client.get("/api/v1/settings").await.expect(200)["quota_reservation"], "expected");
    assert_eq!(hub.client.get(&user).await.expect(200)["quota_reservation"], Value::Null);
    let strict = json!({ "quota_reservation": "strict" });
    assert_eq!(
        hub.client.patch("/api/v1/settings", strict.clone()).await.expect(200)["quota_reservation"],
        "strict"
    );
    for (sent, kept) in [
        (json!("expected"), Some(QuotaReservation::Expected)),
        (json!("strict"), Some(QuotaReservation::Strict)),
        (Value::Null, None),
    ] {
        let body = json!({ "quota_reservation": sent });
        assert_eq!(hub.client.patch(&user, body).await.expect(200)["quota_reservation"], sent);
        let snapshot = now(&hub).await;
        assert_eq!(snapshot.principals.users[0].quota_reservation, kept);
        assert_eq!(snapshot.core.settings.quota_reservation, QuotaReservation::Strict);
    }
    let made = hub.client.post("/api/v1/users", with(json!({ "name": "Bea" }), strict)).await.expect(201);
    assert_eq!(made["user"]["quota_reservation"], "strict");
    for (path, wrong) in [
        (user.as_str(), json!("none")),
        ("/api/v1/settings", json!("none")),
        ("/api/v1/settings", json!(null)),
    ] {
        let answer = hub.client.patch(path, json!({ "quota_reservation": wrong })).await;
        assert_eq!(
            answer.expect_problem(422, "validation_failed")["errors"][0]["field"],
            "quota_reservation"
        );
    }
}

/// The generation that is published of the only user.
async fn generation(hub: &Hub) -> u32 {
    now(hub).await.principals.users[0].budget_generation
}

async fn a_users_account_counts_how_often_it_came_under_limits(hub: Hub) {
    let trio = Trio::make(&hub).await;
    let patch = async |path: &str, body: Value| hub.client.patch(path, body).await.expect(200);
    assert_eq!(generation(&hub).await, 0);
    patch(&trio.user, json!({ "daily_reset_mode": "rolling", "quota_reservation": "strict" })).await;
    assert_eq!(generation(&hub).await, 0, "nothing is limited");
    // Each kind of limit brings it under limits, and it counts each time.
    for (n, field) in [
        "limit_5h_usd",
        "limit_daily_usd",
        "limit_weekly_usd",
        "limit_monthly_usd",
        "limit_total_usd",
        "rpm_limit",
        "limit_concurrent_sessions",
    ]
    .into_iter()
    .enumerate()
    {
        patch(&trio.user, json!({ field: 1 })).await;
        assert_eq!(generation(&hub).await, u32::try_from(n).unwrap() + 1, "{field}");
        patch(&trio.user, json!({ field: null })).await;
        assert_eq!(generation(&hub).await, 0, "{field}");
    }
    // A second limit is none anew, nor is one in the place of another, nor another amount.
    patch(&trio.user, json!({ "limit_daily_usd": 1 })).await;
    for body in [
        json!({ "limit_total_usd": 1 }),
        json!({ "limit_daily_usd": null }),
        json!({ "limit_daily_usd": 3, "limit_total_usd": null }),
        json!({ "limit_daily_usd": 4, "name": "Bea", "is_enabled": false }),
    ] {
        patch(&trio.user, body).await;
        assert_eq!(generation(&hub).await, 8);
    }
    // What is refused counts nothing.
    hub.client.patch(&trio.user, json!({ "limit_daily_usd": null })).await.expect(200);
    hub.client.patch(&trio.user, json!({ "limit_daily_usd": 1, "name": "" })).await.expect(422);
    patch(&trio.user, json!({ "limit_daily_usd": 1 })).await;
    assert_eq!(generation(&hub).await, 9);
}

async fn each_key_of_an_account_counts_as_long_as_it_is_there(hub: Hub) {
    let trio = Trio::make(&hub).await;
    let keys = format!("{}/keys", trio.user);
    let patch = async |path: &str, body: Value| hub.client.patch(path, body).await.expect(200);
    let make = async |body: Value| {
        let made = hub.client.post(&keys, body).await.expect(201);
        format!("/api/v1/keys/{}", made["id"])
    };
    let etag = hub.client.get(&trio.user).await.header("etag").to_owned();
    let unlimited = make(json!({ "name": "unlimited" })).await;
    assert_eq!(generation(&hub).await, 0);
    // The first limited key, a second one, and neither any more.
    let a = make(json!({ "name": "a", "rpm_limit": 1 })).await;
    assert_eq!(generation(&hub).await, 1);
    patch(&unlimited, json!({ "limit_daily_usd": 1 })).await;
    assert_eq!(generation(&hub).await, 1, "it was under limits before");
    patch(&unlimited, json!({ "limit_daily_usd": null })).await;
    assert_eq!(generation(&hub).await, 1, "the other one is still limited");
    patch(&a, json!({ "rpm_limit": null })).await;
    assert_eq!(generation(&hub).await, 0);
    // By a patch of a key.
    patch(&a, json!({ "limit_total_usd": 1 })).await;
    assert_eq!(generation(&hub).await, 2);
    // A disabled key counts, and so does one that has expired.
    patch(&a, json!({ "is_enabled": false, "expires_at": "2001-01-01T00:00:00Z" })).await;
    assert_eq!(generation(&hub).await, 2);
    // The user comes under limits, the key leaves: all the time something was limited.
    patch(&trio.user, json!({ "limit_daily_usd": 1 })).await;
    patch(&a, json!({ "limit_total_usd": null })).await;
    patch(&a, json!({ "limit_total_usd": 1 })).await;
    patch(&trio.user, json!({ "limit_daily_usd": null })).await;
    assert_eq!(generation(&hub).await, 2);
    // The last limited key is deleted, a new one made.
    hub.client.delete(&a).await.expect(204);
    assert_eq!(generation(&hub).await, 0, "a deleted key counts no more");
    let b = make(json!({ "name": "b", "limit_weekly_usd": 1 })).await;
    assert_eq!(generation(&hub).await, 3);
    hub.client.delete(&b).await.expect(204);
    patch(&trio.user, json!({ "rpm_limit": 1 })).await;
    assert_eq!(generation(&hub).await, 4);
    // Of another user's account nothing is counted.
    let other = hub.client.post("/api/v1/users", json!({ "name": "Bea" })).await.expect(201);
    hub.client
        .patch(&format!("/api/v1/keys/{}", other["key"]["id"]), json!({ "rpm_limit": 1 }))
        .await
        .expect(200);
    let generations: Vec<_> =
        now(&hub).await.principals.users.iter().map(|user| user.budget_generation).collect();
    assert_eq!(generations, [4, 1]);
    // A key that brings its user under limits changes nothing that is shown of the user.
    assert_ne!(hub.client.get(&trio.user).await.header("etag"), etag, "it was patched");
    let etag = other["user"]["revision"].clone();
    let path = format!("/api/v1/users/{}", other["user"]["id"]);
    assert_eq!(hub.client.get(&path).await.expect(200)["revision"], etag);
}

async fn a_provider_counts_its_own(hub: Hub) {
    let path = Trio::make(&hub).await.provider;
    let set = async |body: Value| {
        hub.client.patch(&path, body).await.expect(200);
        now(&hub).await.core.providers[0].budget_generation
    };
    assert_eq!(set(json!({ "weight": 2 })).await, 0);
    assert_eq!(set(json!({ "limit_daily_usd": 1 })).await, 1);
    assert_eq!(set(json!({ "limit_concurrent_sessions": 1, "is_enabled": false })).await, 1);
    assert_eq!(set(json!({ "limit_daily_usd": 0, "limit_concurrent_sessions": 0 })).await, 0);
    assert_eq!(set(json!({ "limit_concurrent_sessions": 1 })).await, 2);
    assert_eq!(generation(&hub).await, 0, "a user's account is another one");
}

async fn a_provider_is_tested_with_the_same_fields(hub: Hub) {
    let path = format!("{}/test", Trio::make(&hub).await.provider);
    let problem = hub
        .client
        .post(&path, json!({ "limit_daily_usd": "x" }))
        .await
        .expect_problem(422, "validation_failed");
    assert_eq!(problem["errors"][0]["field"], "limit_daily_usd");
    let body = json!({
        "name": "p", "provider_type": "claude", "url": "https://api.example.com", "key": "sk-x", "limit_daily_usd": "-1",
    });
    let problem =
        hub.client.post("/api/v1/providers/test", body).await.expect_problem(422, "validation_failed");
    assert_eq!(problem["errors"][0]["field"], "limit_daily_usd");
}
