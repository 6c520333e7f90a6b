//! Resets of limits: what the store is told, what is written and published, and what stays.

use crate::hub::{Hub, on_both};
use serde_json::{Value, json};
use shared::contract::snapshot::Snapshot;
use shared::ids::{JournalId, KeyId, ProviderId, RequestId, Revision, UserId};
use shared::model::{Key, User};
use shared::money::NanoUsd;
use shared::ports::QuotaStore;
use shared::rules::quota::{
    AccountId, Charge, HoldId, Opening, ScopeId, Settle, Terms, scopes_of_caller, scopes_of_provider,
};
use shared::testing::open_account;
use shared::time::UnixMillis;
use std::sync::Arc;

on_both!(on:
    a_reset_of_a_user_lets_its_and_its_keys_windows_begin_anew,
    a_reset_of_a_key_leaves_its_user_as_it_is,
    a_reset_of_a_provider_lets_its_windows_begin_anew,
    a_reset_of_five_hours_leaves_the_other_windows,
    a_reset_is_a_change_like_any_other,
    what_is_no_reset_is_refused,
);

/// A user with limits and two keys, one of them limited, and a provider with limits.
struct Stage {
    hub: Hub,
    user: i64,
    keys: [i64; 2],
    provider: i64,
    told: std::cell::Cell<u64>,
}

impl Stage {
    async fn set(hub: Hub) -> Self {
        let limits = json!({ "name": "Ada", "limit_total_usd": 100, "limit_5h_usd": 50 });
        let made = hub.client.post("/api/v1/users", limits.clone()).await.expect(201);
        let id = |of: &Value| of["id"].as_i64().unwrap();
        let user = id(&made["user"]);
        let key = hub.client.post(&format!("/api/v1/users/{user}/keys"), limits).await.expect(201);
        let provider = id(&hub.make_provider("main").await);
        let limits = json!({ "limit_total_usd": 100, "limit_5h_usd": 50 });
        hub.client.patch(&format!("/api/v1/providers/{provider}"), limits).await.expect(200);
        let keys = [id(&made["key"]), id(&key)];
        for account in [AccountId::User(UserId(user)), AccountId::Provider(ProviderId(provider))] {
            assert!(open_account(&*hub.quotas, account, 1, &Opening::default()).await.unwrap());
        }
        Self { hub, user, keys, provider, told: std::cell::Cell::new(0) }
    }

    async fn published(&self) -> Arc<Snapshot> {
        let revision = self.hub.revision().await;
        self.hub.snapshot_after(Some(Revision(revision.0 - 1))).await
    }

    /// The account and the scopes that a gateway with this configuration knows for the key, or for the provider.
    fn scopes(&self, snapshot: &Snapshot, key: Option<i64>) -> (AccountId, Vec<(ScopeId, Terms)>) {
        let (zone, now) = (&snapshot.core.settings.timezone, admin_api::service::now());
        match key {
            Some(id) => {
                let key: Key =
                    snapshot.principals.keys.iter().find(|key| key.id == KeyId(id)).unwrap().clone().into();
                let user = User::from(snapshot.principals.users[0].clone());
                (AccountId::User(user.id), scopes_of_caller(&user, &key, zone, now))
            }
            None => {
                let provider = &snapshot.core.providers[0];
                (AccountId::Provider(provider.id), scopes_of_provider(provider, zone, now))
            }
        }
    }

    /// A gateway with this configuration tells what a request has cost.
    async fn spends(&self, snapshot: &Snapshot, key: Option<i64>, usd: i64) {
        let (account, scopes) = self.scopes(snapshot, key);
        self.told.set(self.told.get() + 1);
        let id = RequestId::from_parts(self.told.get(), &[0; 10]);
        let at = self.hub.quotas.standing(account, &[], 1).await.unwrap().at;
        let charge = Charge {
            seq: self.told.get(),
            hold: HoldId(id, 0),
            cost: NanoUsd(usd * 1_000_000_000),
            at,
            is_interrupted: false,
            from: None,
            scopes,
        };
        let settle = Settle {
            journal: JournalId::from_parts(UnixMillis(1), &[0; 10]),
            charges: vec![charge],
            backs: Vec::new(),
        };
        assert!(self.hub.quotas.settle(account, &settle, 1).await.unwrap().said);
    }

    /// What has been spent, in dollars, by scope and window: as a gateway with this configuration sees it.
    async fn spent(&self, snapshot: &Snapshot, key: Option<i64>) -> Vec<(ScopeId, &'static str, i64)> {
        let (account, scopes) = self.scopes(snapshot, key);
        let (_, standing) = self.hub.quotas.standing(account, &scopes, 1).await.unwrap().said;
        standing.windows.into_iter().map(|w| (w.scope, w.kind.as_str(), w.spent.0 / 1_000_000_000)).collect()
    }

    async fn reset(&self, path: &str, body: Value) -> UnixMillis {
        self.passes_a_millisecond().await;
        let path = format!("/api/v1/{path}/limits/reset");
        let done = match body {
            Value::Null => self.hub.client.send("POST", &path, &[], "").await,
            body => self.hub.client.post(&path, body).await,
        };
        done.expect(204);
        self.hub.quotas.standing(AccountId::User(UserId(self.user)), &[], 1).await.unwrap().at
    }

    /// What is spent in the millisecond of the reset counts after it.
    async fn passes_a_millisecond(&self) {
        let now = admin_api::service::now();
        testbed::eventually("a millisecond passes", || async { admin_api::service::now() > now }).await;
    }
}

async fn a_reset_of_a_user_lets_its_and_its_keys_windows_begin_anew(hub: Hub) {
    let stage = Stage::set(hub).await;
    let [plain, limited] = stage.keys;
    let before = stage.published().await;
    stage.spends(&before, Some(limited), 20).await;
    stage.spends(&before, Some(plain), 3).await;
    let (key, owner) = (ScopeId::Key(KeyId(limited)), ScopeId::Owner);
    let spent = |total: i64, five_hours: i64, of_key: i64| {
        vec![(key, "total", of_key), (key, "5h", of_key), (owner, "total", total), (owner, "5h", five_hours)]
    };
    assert_eq!(stage.spent(&before, Some(limited)).await, spent(23, 23, 20));

    let start = admin_api::service::now();
    let end = stage.reset(&format!("users/{}", stage.user), Value::Null).await;
    // Told by a gateway that knows nothing of it yet: counted in what began anew, of each key.
    stage.spends(&before, Some(limited), 4).await;
    stage.spends(&before, Some(plain), 1).await;
    let after = stage.published().await;
    let marker = after.principals.users[0].limits.reset_at.unwrap();
    assert!(start <= marker && marker <= end, "{start} {marker} {end}");
    assert_eq!(after.principals.users[0].limits.five_hours_reset_at, None);
    assert_eq!(after.principals.keys[1].limits, before.principals.keys[1].limits, "the row of a key stays");
    assert_eq!(stage.spent(&after, Some(limited)).await, spent(5, 5, 4));
    let shown = stage.hub.client.get(&format!("/api/v1/users/{}", stage.user)).await.expect(200);
    assert_eq!(
        (&shown["cost_reset_at"], &shown["limit_5h_cost_reset_at"]),
        (&json!(marker.to_string()), &Value::Null)
    );
    // A patch leaves the marker alone.
    let path = format!("/api/v1/users/{}", stage.user);
    let patched = stage.hub.client.patch(&path, json!({ "limit_total_usd": 90 })).await.expect(200);
    assert_eq!(patched["cost_reset_at"], shown["cost_reset_at"]);
    assert_eq!(stage.published().await.principals.users[0].budget_generation, 1);
}

async fn a_reset_of_a_key_leaves_its_user_as_it_is(hub: Hub) {
    let stage = Stage::set(hub).await;
    let limited = stage.keys[1];
    let before = stage.published().await;
    stage.spends(&before, Some(limited), 20).await;
    stage.reset(&format!("keys/{limited}"), json!({})).await;
    stage.spends(&before, Some(limited), 2).await;
    let after = stage.published().await;
    assert!(after.principals.keys[1].limits.reset_at.is_some());
    assert_eq!(after.principals.users, before.principals.users);
    let (key, owner) = (ScopeId::Key(KeyId(limited)), ScopeId::Owner);
    let expected = [(key, "total", 2), (key, "5h", 2), (owner, "total", 22), (owner, "5h", 22)];
    assert_eq!(stage.spent(&after, Some(limited)).await, expected);
    let audit = stage.hub.client.get("/api/v1/audit-log?action=key.limits_reset").await.expect(200);
    assert_eq!(audit["items"][0]["resource_id"], limited.to_string());
}

async fn a_reset_of_a_provider_lets_its_windows_begin_anew(hub: Hub) {
    let stage = Stage::set(hub).await;
    let before = stage.published().await;
    stage.spends(&before, None, 20).await;
    stage.reset(&format!("providers/{}", stage.provider), json!({ "window": "all" })).await;
    stage.spends(&before, None, 2).await;
    let after = stage.published().await;
    assert_eq!(stage.spent(&after, None).await, [(ScopeId::Owner, "total", 2), (ScopeId::Owner, "5h", 2)]);
    assert_eq!(after.core.providers[0].secret, before.core.providers[0].secret);
    let audit = stage.hub.client.get("/api/v1/audit-log?action=provider.limits_reset").await.expect(200);
    assert_eq!(audit["items"].as_array().unwrap().len(), 1);
}

async fn a_reset_of_five_hours_leaves_the_other_windows(hub: Hub) {
    let stage = Stage::set(hub).await;
    let limited = stage.keys[1];
    let before = stage.published().await;
    stage.spends(&before, Some(limited), 20).await;
    stage.spends(&before, None, 20).await;
    for path in [format!("users/{}", stage.user), format!("providers/{}", stage.provider)] {
        stage.reset(&path, json!({ "window": "5h" })).await;
    }
    let after = stage.published().await;
    let (key, owner) = (ScopeId::Key(KeyId(limited)), ScopeId::Owner);
    let expected = [(key, "total", 20), (key, "5h", 0), (owner, "total", 20), (owner, "5h", 0)];
    assert_eq!(stage.spent(&after, Some(limited)).await, expected);
    assert_eq!(stage.spent(&after, None).await, [(owner, "total", 20), (owner, "5h", 0)]);
    let limits = &after.principals.users[0].limits;
    assert_eq!((limits.reset_at, limits.five_hours_reset_at.is_some()), (None, true));
}

async fn a_reset_is_a_change_like_any_other(hub: Hub) {
    let stage = Stage::set(hub).await;
    let path = format!("/api/v1/users/{}", stage.user);
    let before = stage.hub.client.get(&path).await.expect(200);
    stage.passes_a_millisecond().await;
    let done = stage.hub.client.post(&format!("{path}/limits/reset"), json!({})).await;
    assert_eq!((done.status, done.header("x-config-published")), (204, "true"));
    let once = stage.hub.client.get(&path).await.expect(200);
    assert_eq!(once["revision"].to_string(), done.header("x-config-revision"));
    assert_ne!(once["revision"], before["revision"], "who read it before must read it again");
    stage.passes_a_millisecond().await;
    stage.hub.client.post(&format!("{path}/limits/reset"), json!({})).await.expect(204);
    let twice = stage.hub.client.get(&path).await.expect(200);
    assert!(twice["cost_reset_at"].as_str() > once["cost_reset_at"].as_str());
    let audit = stage.hub.client.get("/api/v1/audit-log?action=user.limits_reset").await.expect(200);
    let entry = &audit["items"][0];
    assert_eq!(entry["before"]["cost_reset_at"], once["cost_reset_at"]);
    assert_eq!(entry["after"]["cost_reset_at"], twice["cost_reset_at"]);
    assert_eq!(entry["revision"], twice["revision"]);
}

async fn what_is_no_reset_is_refused(hub: Hub) {
    let stage = Stage::set(hub).await;
    let client = &stage.hub.client;
    let before = stage.hub.revision().await;
    for path in ["users/999", "keys/999", "providers/999"] {
        client
            .post(&format!("/api/v1/{path}/limits/reset"), json!({}))
            .await
            .expect_problem(404, "not_found");
    }
    for (body, field) in [(json!({ "window": "daily" }), "window"), (json!({ "windows": "all" }), "windows")]
    {
        let path = format!("/api/v1/users/{}/limits/reset", stage.user);
        let problem = client.post(&path, body).await.expect_problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["field"], field);
    }
    assert_eq!(stage.hub.revision().await, before);
}
