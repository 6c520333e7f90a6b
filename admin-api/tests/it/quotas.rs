//! How budgets are shown, to admins and to the holder of a key; the test is the gateway.

use crate::hub::{Hub, TOKEN, on_both};
use serde_json::{Value, json};
use shared::contract::snapshot::Snapshot;
use shared::ids::{KeyId, ProviderId, RequestId, Revision, UserId};
use shared::model::{Key, User};
use shared::money::NanoUsd;
use shared::ports::{NodeRegistry, QuotaStore};
use shared::rules::quota::{
    AccountId, Admission, Ahead, Ask, Charge, HoldId, ScopeId, Settle, Terms, epoch_of, scopes_of_caller,
    scopes_of_provider,
};
use shared::testing::conformance::journal;
use shared::testing::node_beat;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use testbed::{Answer, Client, eventually};

on_both!(on:
    budgets_are_shown_as_their_store_has_them,
    pages_and_filters_find_what_is_under_limits,
    what_is_not_open_is_shown_with_its_limits_and_wanted,
    the_holder_of_a_key_sees_itself_alone,
    a_key_and_the_admin_token_open_their_own_door_alone,
    a_key_that_may_not_be_used_shows_nothing,
    wrong_keys_are_throttled_and_right_ones_are_not,
);

/// Numbers of records.
static SEQ: AtomicU64 = AtomicU64::new(1);

/// A user, or a key of one: its id and secret.
struct Seat {
    user: i64,
    key: i64,
    secret: String,
}

async fn seat(hub: &Hub, name: &str, limits: Value) -> Seat {
    let mut body = limits;
    body["name"] = name.into();
    let made = hub.client.post("/api/v1/users", body).await.expect(201);
    let id = |of: &Value| of["id"].as_i64().unwrap();
    let secret = made["key"]["secret"].as_str().unwrap().to_owned();
    Seat { user: id(&made["user"]), key: id(&made["key"]), secret }
}

async fn limited_provider(hub: &Hub, name: &str) -> i64 {
    let id = hub.make_provider(name).await["id"].as_i64().unwrap();
    let limits = json!({ "limit_total_usd": "100" });
    hub.client.patch(&format!("/api/v1/providers/{id}"), limits).await.expect(200);
    id
}

/// Everything, once all of it is open: the one gateway knows of it.
pub async fn all_open(hub: &Hub) -> Vec<Value> {
    let mut beat = node_beat("gateway");
    beat.revision = Some(hub.revision().await);
    hub.nodes.beat(beat, None).await.unwrap();
    let items =
        async || hub.client.get("/api/v1/quotas").await.expect(200)["items"].as_array().unwrap().clone();
    eventually("all budgets are open", || async { items().await.iter().all(|item| item["is_open"] == true) })
        .await;
    items().await
}

/// The account, its epoch and the scopes that a gateway asks for a key or, without one, for a provider.
async fn asked(hub: &Hub, id: i64, key: Option<i64>) -> (AccountId, u64, Vec<(ScopeId, Terms)>) {
    let snapshot: &Snapshot = &*hub.snapshot_after(Some(Revision(hub.revision().await.0 - 1))).await;
    let (zone, now) = (&snapshot.core.settings.timezone, admin_api::service::now());
    let store = hub.quotas.epoch().await.unwrap().unwrap();
    match key {
        Some(key) => {
            let user = snapshot.principals.users.iter().find(|user| user.id == UserId(id)).unwrap();
            let user = User::from(user.clone());
            let key = snapshot.principals.keys.iter().find(|one| one.id == KeyId(key)).unwrap();
            let scopes = scopes_of_caller(&user, &Key::from(key.clone()), zone, now);
            (AccountId::User(user.id), epoch_of(store, user.budget_generation), scopes)
        }
        None => {
            let provider = snapshot.core.providers.iter().find(|one| one.id == ProviderId(id)).unwrap();
            let epoch = epoch_of(store, provider.budget_generation);
            (AccountId::Provider(provider.id), epoch, scopes_of_provider(provider, zone, now))
        }
    }
}

fn hold() -> (u64, HoldId) {
    let seq = SEQ.fetch_add(1, Ordering::Relaxed);
    (seq, HoldId(RequestId::from_parts(seq, &[0; 10]), 0))
}

/// A request has cost so many cents.
pub async fn spends(hub: &Hub, id: i64, key: Option<i64>, cents: i64) {
    let (account, epoch, scopes) = asked(hub, id, key).await;
    let (seq, hold) = hold();
    let at = admin_api::service::now();
    let charge = Charge {
        seq,
        hold,
        cost: NanoUsd(cents * 10_000_000),
        at,
        is_interrupted: false,
        from: None,
        scopes,
    };
    let settle = Settle { journal: journal(1), charges: vec![charge], backs: Vec::new() };
    assert!(hub.quotas.settle(account, &settle, epoch).await.unwrap().said);
}

/// A request runs for which so many cents are put aside, and so many more ahead of others.
pub async fn holds(hub: &Hub, id: i64, key: Option<i64>, cents: i64, ahead_cents: i64) {
    let (account, epoch, scopes) = asked(hub, id, key).await;
    let ask = Ask {
        hold: hold().1,
        owner: journal(1),
        need: NanoUsd(cents * 10_000_000),
        lives_ms: 900_000,
        scopes,
        is_counted: true,
        session: Some((7, 300_000)),
        escrow: Some(Ahead { worth: NanoUsd(ahead_cents * 10_000_000), nodes: 1 }),
    };
    let said = hub.quotas.admit(account, &ask, epoch).await.unwrap().said;
    assert!(matches!(said, Admission::Admitted { .. }), "{said:?}");
}

/// Scope, window, limit, spent, held, of that put aside ahead, remaining.
fn figures(of: &Value) -> Vec<[String; 7]> {
    let text = |value: &Value| value.as_str().unwrap_or("null").to_owned();
    let names = ["scope", "window", "limit_usd", "spent_usd", "held_usd", "escrowed_usd", "remaining_usd"];
    let windows = of["windows"].as_array().unwrap().iter();
    windows.map(|window| names.map(|name| text(&window[name]))).collect()
}

/// With this key.
async fn me(hub: &Hub, secret: &str) -> Answer {
    let client = Client::new(hub.handle.address());
    client.send_raw("GET", "/api/v1/me/quota", &[("x-api-key", secret)], "").await
}

async fn budgets_are_shown_as_their_store_has_them(hub: Hub) {
    hub.make_user("Unlimited").await;
    let mut limits = json!({ "limit_total_usd": "10", "limit_daily_usd": "2", "limit_5h_usd": "1" });
    (limits["rpm_limit"], limits["limit_concurrent_sessions"]) = (json!(60), json!(3));
    let ada = seat(&hub, "Ada", limits).await;
    let limited = json!({ "name": "laptop", "limit_weekly_usd": "3" });
    let key = hub.client.post(&format!("/api/v1/users/{}/keys", ada.user), limited).await.expect(201);
    let counted = json!({ "name": "counted", "rpm_limit": 5 });
    let counted = hub.client.post(&format!("/api/v1/users/{}/keys", ada.user), counted).await.expect(201);
    let provider = limited_provider(&hub, "main").await;
    all_open(&hub).await;
    spends(&hub, ada.user, Some(key["id"].as_i64().unwrap()), 75).await;
    spends(&hub, ada.user, Some(ada.key), 50).await;
    holds(&hub, provider, None, 200, 3_800).await;
    spends(&hub, provider, None, 500).await;

    let [shown, of_provider] = <[Value; 2]>::try_from(all_open(&hub).await).unwrap();
    assert_eq!(
        [&shown["kind"], &shown["id"], &shown["name"]],
        [&json!("user"), &json!(ada.user), &json!("Ada")]
    );
    assert_eq!(
        figures(&shown),
        [
            ["user", "5h", "1.00", "1.25", "0.00", "0.00", "0.00"],
            ["user", "daily", "2.00", "1.25", "0.00", "0.00", "0.75"],
            ["user", "total", "10.00", "1.25", "0.00", "0.00", "8.75"],
            ["key", "weekly", "3.00", "0.75", "0.00", "0.00", "2.25"],
        ]
    );
    // Nobody has asked yet.
    let of_user = json!({ "scope": "user", "key_id": null, "key_name": null, "limit": 60, "current": 0,
        "remaining": 60, "resets_at": null });
    let of_key = json!({ "scope": "key", "key_id": counted["id"], "key_name": "counted", "limit": 5,
        "current": 0, "remaining": 5, "resets_at": null });
    assert_eq!(shown["requests"], json!([of_user, of_key]));
    let sessions = json!({ "scope": "user", "key_id": null, "key_name": null, "limit": 3, "current": 0 });
    assert_eq!(shown["sessions"], json!([sessions]));
    assert_eq!([&of_provider["requests"], &of_provider["sessions"]], [&json!([]), &json!([])]);
    let windows = shown["windows"].as_array().unwrap();
    assert_eq!([&windows[3]["key_id"], &windows[3]["key_name"]], [&key["id"], &json!("laptop")]);
    assert_eq!([&windows[0]["key_id"], &windows[0]["key_name"]], [&Value::Null, &Value::Null]);
    let now = admin_api::service::now().to_string();
    for calendar in [&windows[1], &windows[3]] {
        assert!(calendar["starts_at"].as_str().unwrap() <= &*now, "{calendar}");
        assert!(calendar["resets_at"].as_str().unwrap() > &*now, "{calendar}");
    }
    assert_eq!(windows[2]["resets_at"], Value::Null, "never");
    assert_eq!(
        [&of_provider["kind"], &of_provider["id"], &of_provider["name"]],
        [&json!("provider"), &json!(provider), &json!("main")]
    );
    assert_eq!(figures(&of_provider), [["provider", "total", "100.00", "5.00", "40.00", "38.00", "55.00"]]);
}

async fn pages_and_filters_find_what_is_under_limits(hub: Hub) {
    let mut users = BTreeSet::new();
    for n in 0..3 {
        users.insert(seat(&hub, &format!("user {n}"), json!({ "rpm_limit": 5 })).await.user);
    }
    // Under limits by a key alone; not any more; never; deleted.
    let by_key = seat(&hub, "by key", json!({})).await;
    let limits = json!({ "limit_concurrent_sessions": 2 });
    hub.client.patch(&format!("/api/v1/keys/{}", by_key.key), limits).await.expect(200);
    users.insert(by_key.user);
    let once = seat(&hub, "once", json!({ "rpm_limit": 5 })).await;
    hub.client.patch(&format!("/api/v1/users/{}", once.user), json!({ "rpm_limit": null })).await.expect(200);
    seat(&hub, "never", json!({})).await;
    let gone = seat(&hub, "gone", json!({ "rpm_limit": 5 })).await;
    hub.client.delete(&format!("/api/v1/users/{}", gone.user)).await.expect(204);
    let providers: BTreeSet<i64> =
        [limited_provider(&hub, "one").await, limited_provider(&hub, "two").await].into();
    hub.make_provider("unlimited").await;

    let found = async |query: &str| {
        let items = hub.client.get(&format!("/api/v1/quotas?{query}")).await.expect(200)["items"].clone();
        let place = |item: &Value| (item["kind"].as_str().unwrap().to_owned(), item["id"].as_i64().unwrap());
        items.as_array().unwrap().iter().map(place).collect::<Vec<_>>()
    };
    let of =
        |kind: &str, ids: &BTreeSet<i64>| ids.iter().map(|id| (kind.to_owned(), *id)).collect::<Vec<_>>();
    let all = [of("user", &users), of("provider", &providers)].concat();
    assert_eq!(found("").await, all);
    assert_eq!(found("kind=user").await, of("user", &users));
    assert_eq!(found("kind=provider").await, of("provider", &providers));
    assert_eq!(found(&format!("user_id={}", by_key.user)).await, of("user", &[by_key.user].into()));
    let one = *providers.first().unwrap();
    assert_eq!(found(&format!("provider_id={one}")).await, of("provider", &[one].into()));
    for nothing in [
        format!("user_id={}", once.user),
        format!("user_id={}", gone.user),
        format!("user_id={}&kind=provider", by_key.user),
        format!("user_id={}&provider_id={one}", by_key.user),
    ] {
        assert_eq!(found(&nothing).await, [], "{nothing}");
    }
    for limit in 1..=7 {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let query = format!("limit={limit}{cursor}");
            let page = found(&query).await;
            assert!(page.len() <= limit && !page.is_empty(), "{query}");
            seen.extend(page);
            let page = hub.client.get(&format!("/api/v1/quotas?{query}")).await.expect(200);
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(seen, all, "{limit} a page");
    }
    for query in ["kind=key", "limit=0", "limit=201", "cursor=x", "colour=1", "user_id=Ada"] {
        hub.client.get(&format!("/api/v1/quotas?{query}")).await.expect_problem(422, "validation_failed");
    }
}

async fn what_is_not_open_is_shown_with_its_limits_and_wanted(hub: Hub) {
    // Nothing is opened before all gateways know of the newest configuration.
    let mut behind = node_beat("behind");
    behind.revision = Some(Revision(0));
    hub.nodes.beat(behind.clone(), None).await.unwrap();
    let limits = json!({ "limit_daily_usd": "2", "rpm_limit": 9, "limit_concurrent_sessions": 8 });
    let ada = seat(&hub, "Ada", limits).await;
    let closed = [["user", "daily", "2.00", "null", "null", "null", "null"]];
    let shown = hub.client.get("/api/v1/quotas").await.expect(200)["items"][0].clone();
    assert_eq!(
        (&shown["is_open"], figures(&shown)),
        (&json!(false), closed.map(|w| w.map(str::to_owned)).into())
    );
    let window = &shown["windows"][0];
    assert_eq!([&window["starts_at"], &window["resets_at"]], [&Value::Null; 2]);
    let requests = json!({ "scope": "user", "key_id": null, "key_name": null, "limit": 9, "current": null,
        "remaining": null, "resets_at": null });
    assert_eq!(shown["requests"], json!([requests]));
    assert_eq!([&shown["sessions"][0]["limit"], &shown["sessions"][0]["current"]], [&json!(8), &Value::Null]);
    let mine = me(&hub, &ada.secret).await.expect(200);
    assert_eq!(mine["requests"], shown["requests"]);
    assert_eq!((&mine["is_open"], figures(&mine)), (&json!(false), figures(&shown)));

    behind.revision = Some(hub.revision().await);
    hub.nodes.beat(behind, None).await.unwrap();
    eventually("who asked how it stands has it opened", || async {
        let store = hub.quotas.epoch().await.unwrap().unwrap_or(0);
        let ada = AccountId::User(UserId(ada.user));
        hub.quotas.standing(ada, &[], epoch_of(store, 1)).await.unwrap().said.0
    })
    .await;
    let shown = hub.client.get("/api/v1/quotas").await.expect(200)["items"][0].clone();
    assert_eq!(figures(&shown), [["user", "daily", "2.00", "0.00", "0.00", "0.00", "2.00"]]);
}

async fn the_holder_of_a_key_sees_itself_alone(hub: Hub) {
    let limits = json!({ "limit_total_usd": "10", "rpm_limit": 7, "limit_concurrent_sessions": 3 });
    let ada = seat(&hub, "Ada", limits).await;
    let own = json!({ "limit_daily_usd": "2", "rpm_limit": 5, "expires_at": "2999-01-01T00:00:00Z" });
    hub.client.patch(&format!("/api/v1/keys/{}", ada.key), own).await.expect(200);
    let other = json!({ "name": "other-key", "limit_total_usd": "4" });
    let other = hub.client.post(&format!("/api/v1/users/{}/keys", ada.user), other).await.expect(201);
    seat(&hub, "Bea", json!({ "limit_total_usd": "11" })).await;
    limited_provider(&hub, "main-account").await;
    all_open(&hub).await;
    spends(&hub, ada.user, Some(ada.key), 50).await;
    spends(&hub, ada.user, Some(other["id"].as_i64().unwrap()), 100).await;
    holds(&hub, ada.user, Some(ada.key), 5, 60).await;

    let answer = me(&hub, &ada.secret).await;
    for foreign in ["other-key", "Bea", "main-account", "provider", &other["id"].to_string()] {
        let is_id = foreign.parse::<i64>().is_ok();
        let named = if is_id { format!("\"key_id\":{foreign}") } else { foreign.to_owned() };
        assert!(!answer.text.contains(&named), "{named}: {}", answer.text);
    }
    assert_eq!(answer.header("cache-control"), "no-store");
    let mine = answer.expect(200);
    let of_key = json!({ "name": "default", "expires_at": "2999-01-01T00:00:00.000Z", "rpm_limit": 5,
        "limit_concurrent_sessions": null });
    let of_user =
        json!({ "name": "Ada", "expires_at": null, "rpm_limit": 7, "limit_concurrent_sessions": 3 });
    assert_eq!((&mine["key"], &mine["user"], &mine["is_open"]), (&of_key, &of_user, &json!(true)));
    assert_eq!(
        figures(&mine),
        [
            ["user", "total", "10.00", "1.50", "0.65", "0.60", "7.85"],
            ["key", "daily", "2.00", "0.50", "0.65", "0.60", "0.85"],
        ]
    );

    // The one that runs.
    let soon = admin_api::service::now();
    for (n, (scope, limit)) in [("user", 7), ("key", 5)].into_iter().enumerate() {
        let of = &mine["requests"][n];
        assert_eq!((&of["scope"], &of["limit"]), (&json!(scope), &json!(limit)));
        assert_eq!((&of["current"], &of["remaining"]), (&json!(1), &json!(limit - 1)));
        assert!(of["resets_at"].as_str().unwrap() > &*soon.to_string(), "{of}");
    }
    let session = json!({ "scope": "user", "key_id": null, "key_name": null, "limit": 3, "current": 1 });
    assert_eq!(mine["sessions"], json!([session]));

    let free = hub.make_user("Unlimited").await;
    let mine = me(&hub, free["key"]["secret"].as_str().unwrap()).await.expect(200);
    assert_eq!((&mine["is_open"], &mine["windows"]), (&json!(true), &json!([])));
}

async fn a_key_and_the_admin_token_open_their_own_door_alone(hub: Hub) {
    let ada = seat(&hub, "Ada", json!({})).await;
    let client = Client::new(hub.handle.address());
    let get = async |path: &str, headers: &[(&str, &str)]| client.send_raw("GET", path, headers, "").await;
    let (mine, bearer) = ("/api/v1/me/quota", format!("Bearer {}", ada.secret));
    for headers in [
        &[("authorization", &*bearer)][..],
        &[("x-api-key", &ada.secret)],
        &[("authorization", &bearer), ("x-api-key", &ada.secret)],
    ] {
        get(mine, headers).await.expect(200);
    }
    let admin = format!("Bearer {TOKEN}");
    for (path, headers) in [
        (mine, &[][..]),
        (mine, &[("authorization", &*admin)]),
        (mine, &[("x-api-key", TOKEN)]),
        (mine, &[("authorization", &admin), ("x-api-key", &ada.secret)]),
        ("/api/v1/me/nothing", &[("authorization", &admin)]),
        ("/api/v1/quotas", &[("authorization", &bearer)]),
        ("/api/v1/users", &[("x-api-key", &ada.secret)]),
        // Whoever writes the path another way is at the admin's door, and finds nobody's quota behind it.
        ("/api/v1/%6de/quota", &[("authorization", &bearer)]),
        ("/api/v1/%6de/quota", &[("authorization", &admin)]),
    ] {
        let answer = get(path, headers).await;
        let is_hidden = path.contains('%') && answer.status == 404;
        assert!(answer.status == 401 || is_hidden, "{path} {}", answer.text);
    }
    get("/api/v1/me/nothing", &[("x-api-key", &ada.secret)]).await.expect_problem(404, "no_such_path");
    let changed = client.send_raw("POST", mine, &[("x-api-key", &ada.secret)], "").await;
    changed.expect_problem(405, "method_not_allowed");
}

async fn a_key_that_may_not_be_used_shows_nothing(hub: Hub) {
    let ada = seat(&hub, "Ada", json!({})).await;
    let (of_key, of_user) = (format!("/api/v1/keys/{}", ada.key), format!("/api/v1/users/{}", ada.user));
    for (path, off, on) in [
        (&of_key, json!({ "is_enabled": false }), json!({ "is_enabled": true })),
        (&of_key, json!({ "expires_at": "2020-01-01T00:00:00Z" }), json!({ "expires_at": null })),
        (&of_user, json!({ "is_enabled": false }), json!({ "is_enabled": true })),
        (&of_user, json!({ "expires_at": "2020-01-01T00:00:00Z" }), json!({ "expires_at": null })),
    ] {
        hub.client.patch(path, off).await.expect(200);
        me(&hub, &ada.secret).await.expect_problem(401, "unauthenticated");
        hub.client.patch(path, on).await.expect(200);
        me(&hub, &ada.secret).await.expect(200);
    }
    hub.client.delete(&of_user).await.expect(204);
    me(&hub, &ada.secret).await.expect_problem(401, "unauthenticated");
}

async fn wrong_keys_are_throttled_and_right_ones_are_not(hub: Hub) {
    let ada = seat(&hub, "Ada", json!({})).await;
    // They count together with wrong admin tokens.
    hub.client
        .under("wrong-token-of-the-tests")
        .get("/api/v1/users")
        .await
        .expect_problem(401, "unauthenticated");
    for n in 0..9 {
        me(&hub, &format!("cch-wrong-{n}")).await.expect_problem(401, "unauthenticated");
    }
    let answer = me(&hub, "cch-wrong").await;
    assert!((1..=60).contains(&answer.header("retry-after").parse::<u32>().unwrap()));
    answer.expect_problem(429, "too_many_failures");
    me(&hub, &ada.secret).await.expect(200);
    hub.client.get("/api/v1/users").await.expect(200);
}
