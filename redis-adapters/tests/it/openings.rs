//! Budgets in a real Redis, opened by real admin sides on a real Postgres; the gateway is this test.

use crate::halves::Admin;
use crate::redis::{Linked, Redis, eventually};
use admin_api::repo::{budget_epoch, revision};
use admin_api::service::books::book;
use redis_adapters::{RedisNodes, RedisQuotas};
use serde_json::json;
use shared::contract::node::NodeBeat;
use shared::contract::usage::{AttemptEntry, CostBreakdown, Outcome, TokenUsage, UsageFlags, UsageRecord};
use shared::ids::{KeyId, ProviderId, UserId};
use shared::model::Limits;
use shared::money::NanoUsd;
use shared::ports::{Lent, MetricsPart, NodeRegistry, Place, QuotaStore, Receipt};
use shared::rules::quota::{AccountId, ScopeId, Terms, epoch_of};
use shared::testing::conformance::journal;
use shared::testing::{node_beat, usage_record};
use shared::time::{UnixMillis, Zone};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use testbed::Postgres;

/// A gateway, as the admin side sees it.
struct Gateway {
    nodes: Arc<RedisNodes>,
    quotas: Arc<RedisQuotas>,
    beats: AtomicI64,
}

impl Gateway {
    async fn beat(&self, admin: &Admin, quota_epoch: Option<u64>) {
        let newest = revision::newest(admin.handle.admin().db().reader()).await.unwrap();
        let n = self.beats.fetch_add(1, Ordering::Relaxed);
        let at = UnixMillis(1_790_000_000_000 + n);
        let beat = NodeBeat { revision: Some(newest), quota_epoch, at, ..node_beat("gateway") };
        self.nodes.beat(beat, None).await.unwrap();
    }

    async fn begun(&self, what: &str) -> u64 {
        eventually(what, || async { self.quotas.epoch().await.unwrap().is_some() }).await;
        self.quotas.epoch().await.unwrap().unwrap()
    }

    /// What the account says it spent in all; `None` while it is not open.
    async fn spent(&self, account: AccountId, scope: ScopeId, epoch: u64) -> Option<NanoUsd> {
        let limits = Limits { total: Some(NanoUsd(1_000_000)), ..Limits::default() };
        let now = self.quotas.keep(AccountId::User(UserId(987_654)), &[]).await.unwrap().at;
        let scopes = [(scope, Terms::of(&limits, &Zone::default(), now))];
        let (is_open, standing) =
            self.quotas.standing(account, &scopes, epoch_of(epoch, 1)).await.unwrap().said;
        is_open.then(|| standing.windows[0].spent)
    }
}

fn spending(user_id: i64, key_id: i64, cost: i64) -> UsageRecord {
    let mut record = usage_record(1);
    (record.request.caller.user_id, record.request.caller.key_id) = (UserId(user_id), KeyId(key_id));
    record.attempts = vec![AttemptEntry {
        held: shared::money::NanoUsd::ZERO,
        is_covered: false,
        attempt: 1,
        provider_id: ProviderId(1),
        upstream_model: None,
        outcome: Outcome::Served,
        usage: TokenUsage::default(),
        cost: CostBreakdown { total: NanoUsd(cost), ..CostBreakdown::default() },
        flags: UsageFlags::default(),
        admitted_at: None,
    }];
    record
}

#[tokio::test]
async fn after_a_flush_one_epoch_begins_and_what_is_wanted_opens_when_the_gateway_has_declared() {
    let redis = Redis::start().await;
    let postgres = Postgres::start();
    let dsn = postgres.dsn("hub");
    let (first, second) =
        tokio::join!(Admin::start_on(&redis, dsn.clone(), "one"), Admin::start_on(&redis, dsn, "two"));
    let link = redis.link().await;
    let gateway = Gateway {
        nodes: RedisNodes::new(link.clone()),
        quotas: RedisQuotas::unannounced(link),
        beats: Default::default(),
    };
    let made = first.post("/api/v1/users", json!({ "name": "Ada" })).await;
    let (id, key_id) = (made["user"]["id"].as_i64().unwrap(), made["key"]["id"].as_i64().unwrap());
    let ada = AccountId::User(UserId(id));
    let limit = json!({ "limit_total_usd": "1000" });
    first.client().patch(&format!("/api/v1/users/{id}"), limit).await.expect(200);
    let db = first.handle.admin().db();
    let lent = |seq, record| {
        let place = Some(Place { journal: journal(1), seq, floor: 0 });
        [Lent { receipt: Receipt(0, seq), place, record }]
    };
    book(db, &lent(1, spending(id, key_id, 70))).await.unwrap();

    let epoch = gateway.begun("the first epoch has begun").await;
    eventually("it is kept", || async { budget_epoch::kept(db.reader()).await.unwrap() == epoch }).await;
    assert_eq!(epoch, 1, "two admin sides begin one");
    gateway.quotas.want(ada).await.unwrap();
    eventually("it is opened", || async {
        gateway.beat(&first, Some(epoch)).await;
        gateway.spent(ada, ScopeId::Owner, epoch).await == Some(NanoUsd(70))
    })
    .await;
    assert_eq!(gateway.spent(ada, ScopeId::Key(KeyId(key_id)), epoch).await, Some(NanoUsd(70)));

    let mut later = spending(id, key_id, 5);
    later.request.id = usage_record(2).request.id;
    book(db, &lent(2, later)).await.unwrap();
    redis.cli(&["FLUSHALL"]);
    let next = gateway.begun("the next epoch has begun").await;
    eventually("it is kept", || async { budget_epoch::kept(db.reader()).await.unwrap() == next }).await;
    assert_eq!(next, epoch + 1, "one again");
    // The gateway does not know of it yet, and may hold something.
    gateway.quotas.want(ada).await.unwrap();
    eventually("it is held up", || async {
        gateway.beat(&first, Some(epoch)).await;
        let pages = [first.handle.page().text().await, second.handle.page().text().await];
        pages.iter().any(|page| page.contains("\ncch_admin_budgets_held_up 1\n"))
    })
    .await;
    assert_eq!(gateway.spent(ada, ScopeId::Owner, next).await, None);
    eventually("it is opened again", || async {
        gateway.beat(&first, Some(next)).await;
        gateway.spent(ada, ScopeId::Owner, next).await == Some(NanoUsd(75))
    })
    .await;
    first.handle.stop().await.unwrap();
    second.handle.stop().await.unwrap();
}
