//! A gateway and its budgets over Redis; the test plays the admin side.

use crate::halves::{Admin, Gateway};
use crate::redis::{Linked, Redis, eventually};
use redis_adapters::{RedisNodes, RedisPublisher, RedisQuotas};
use serde_json::json;
use shared::contract::node::NodeBeat;
use shared::ids::Revision;
use shared::ids::{ProviderId, UserId};
use shared::model::Limits;
use shared::model::price::{ModelPrice, Rates};
use shared::money::{NanoUsd, PicoUsd};
use shared::ports::{NodeRegistry, Publisher, QuotaStore};
use shared::rules::quota::{AccountId, Opening, ScopeId, Terms, WindowNow, epoch_of};
use shared::testing;
use shared::time::{UnixMillis, Zone};
use simulator::{Simulator, SimulatorConfig};
use std::time::{Duration, Instant};
use testbed::{Client, Postgres, Times};

const ACCOUNTS: [AccountId; 2] = [AccountId::User(UserId(1)), AccountId::Provider(ProviderId(1))];

fn limits() -> Limits {
    Limits { total: Some(NanoUsd(1_000_000_000)), ..Limits::default() }
}

async fn window(quotas: &RedisQuotas, account: AccountId, epoch: u64) -> WindowNow {
    let terms = Terms::of(&limits(), &Zone::default(), UnixMillis(0));
    let scopes = [(ScopeId::Owner, terms)];
    quotas.standing(account, &scopes, epoch_of(epoch, 1)).await.unwrap().said.1.windows[0]
}

async fn open(quotas: &RedisQuotas, epoch: u64) {
    for account in ACCOUNTS {
        assert!(
            testing::open_account(quotas, account, epoch_of(epoch, 1), &Opening::default()).await.unwrap()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_request_cost_is_told_to_redis_and_again_to_one_that_lost_it() {
    let redis = Redis::start().await;
    let upstream = Simulator::start(SimulatorConfig::default()).await.unwrap();
    let link = redis.link().await;
    let mut provider = testing::provider(1);
    (provider.url, provider.limits, provider.budget_generation) = (upstream.base_url(), limits(), 1);
    let mut snapshot = testing::snapshot(vec![provider]);
    let rates =
        Rates { input: Some(PicoUsd(3_000_000)), output: Some(PicoUsd(15_000_000)), ..Rates::default() };
    let price = ModelPrice { base: rates, ..ModelPrice::default() };
    snapshot.core.prices.insert("claude-sonnet-4-5".to_owned(), price);
    (snapshot.principals.users[0].limits, snapshot.principals.users[0].budget_generation) = (limits(), 1);
    RedisPublisher::new(link.clone()).publish(snapshot).await.unwrap();
    let quotas = RedisQuotas::unannounced(link.clone());
    quotas.begin(1).await.unwrap();
    let day = Duration::from_secs(86_400);
    let gateway = Gateway::start_under(&redis, None, day, testing::hub_key()).await;
    open(&quotas, 1).await;
    gateway.answers(&testing::client_secret(1), 200).await;

    eventually("the provider's account is charged", || async {
        window(&quotas, ACCOUNTS[1], 1).await.spent.0 > 0
    })
    .await;
    let cost = window(&quotas, ACCOUNTS[1], 1).await.spent;
    eventually("the user's account as well", || async {
        window(&quotas, ACCOUNTS[0], 1).await.spent == cost
    })
    .await;

    redis.cli(&["FLUSHALL"]);
    assert_eq!(quotas.epoch().await, Ok(None));
    quotas.begin(2).await.unwrap();
    let nodes = RedisNodes::new(link);
    eventually("the gateway has declared what it held", || async {
        nodes.nodes().await.unwrap().iter().any(|beat| beat.quota_epoch == Some(2))
    })
    .await;
    for account in ACCOUNTS {
        // It is in no books yet.
        assert_eq!(window(&quotas, account, 2).await.held, cost);
    }
    open(&quotas, 2).await;
    for account in ACCOUNTS {
        eventually("it is charged again", || async {
            let window = window(&quotas, account, 2).await;
            (window.spent, window.held) == (cost, NanoUsd(0))
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seat_and_the_admin_see_what_its_request_cost_and_nobody_does_while_redis_is_away() {
    let mut redis = Redis::start().await;
    let upstream = Simulator::start(SimulatorConfig::default()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let admin = Admin::start(&redis, directory.path(), "one").await;
    let provider = admin.make_provider(&upstream.base_url()).await["id"].clone();
    let limits = json!({ "name": "Ada", "limit_daily_usd": "5" });
    let made = admin.post("/api/v1/users", limits).await;
    let secret = made["key"]["secret"].as_str().unwrap();
    let limits = json!({ "limit_total_usd": "7" });
    admin.client().patch(&format!("/api/v1/providers/{provider}"), limits).await.expect(200);
    let gateway = Gateway::start(&redis).await;
    admin.in_force_on(1).await;
    gateway.answers(secret, 200).await;

    let seat = Client::new(admin.handle.address());
    let mine = async || seat.send_raw("GET", "/api/v1/me/quota", &[("x-api-key", secret)], "").await;
    eventually("the seat sees what it spent", || async {
        let window = mine().await.expect(200)["windows"][0].clone();
        (window["spent_usd"].is_string(), window["held_usd"] == "0.00") == (true, true)
            && window["spent_usd"] != "0.00"
    })
    .await;
    let spent = mine().await.expect(200)["windows"][0]["spent_usd"].clone();
    eventually("the admin sees the same at the provider", || async {
        let items = admin.get("/api/v1/quotas").await["items"].clone();
        let of = |n: usize| (items[n]["kind"].clone(), items[n]["windows"][0]["spent_usd"].clone());
        [of(0), of(1)] == [(json!("user"), spent.clone()), (json!("provider"), spent.clone())]
    })
    .await;
    eventually("nothing is held any more", || async {
        let node = admin.get("/api/v1/nodes").await["items"][0].clone();
        (&node["budget_holds"], &node["budget_held_usd"]) == (&json!(0), &json!("0.00"))
    })
    .await;

    redis.kill();
    admin.client().get("/api/v1/quotas").await.expect_problem(503, "quotas_unavailable");
    mine().await.expect_problem(503, "quotas_unavailable");
    gateway.stop().await;
    admin.handle.stop().await.unwrap();
}

/// 2 000 users with two keys each, a ledger of a million rows, and a Redis that loses all it has. By hand:
/// `cargo test --release -p redis-adapters --test it all_budgets_after_a_flush -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures; run it by hand"]
async fn how_fast_all_budgets_are_open_after_a_flush() {
    let (redis, postgres, directory) = (Redis::start().await, Postgres::shared(), "opening");
    let admin = Admin::start_on(&redis, postgres.dsn(directory), "one").await;
    admin.make_provider("http://127.0.0.1:9").await;
    let now = gateway::now();
    let rows = include_str!("../../../admin-api/tests/it/measured/million.sql");
    let limits = "limit_total_nano_usd = 1000000000000, limit_monthly_nano_usd = 1000000000000";
    let seed = format!(
        "UPDATE providers SET id = 1000; {} UPDATE users SET {limits}, budget_generations = 1; UPDATE keys SET {limits}; ANALYZE",
        rows.replace("{now}", &now.0.to_string()),
    );
    let _ = postgres.sql(directory, &seed);
    let link = redis.link().await;
    let (quotas, nodes) = (RedisQuotas::unannounced(link.clone()), RedisNodes::new(link));
    let accounts: Vec<_> = (1..=2_000).map(|id| AccountId::User(UserId(id))).collect();
    // A gateway that knows all and holds nothing.
    let beat = async || {
        let beat = NodeBeat { revision: Some(Revision(u64::MAX >> 1)), ..testing::node_beat("gateway") };
        nodes.beat(beat, None).await.unwrap();
    };
    for round in ["the first epoch", "after a flush"] {
        if round == "after a flush" {
            redis.cli(&["FLUSHALL"]);
        }
        let flushed = Instant::now();
        beat().await;
        eventually("an epoch has begun", || async { quotas.epoch().await.unwrap().is_some() }).await;
        let epoch = epoch_of(quotas.epoch().await.unwrap().unwrap(), 1);
        println!("{round}: an epoch after {:?}", flushed.elapsed());
        for account in &accounts {
            quotas.want(*account).await.unwrap();
        }
        let (began, mut asked) = (Instant::now(), Vec::new());
        let mut closed = accounts.clone();
        let mut beaten = Instant::now();
        while !closed.is_empty() {
            if beaten.elapsed() > Duration::from_secs(1) {
                beat().await;
                beaten = Instant::now();
            }
            // One of those that may be closed yet, and what a question takes meanwhile.
            let ask = Instant::now();
            let (is_open, _) = quotas.standing(closed[closed.len() - 1], &[], epoch).await.unwrap().said;
            asked.push(ask.elapsed());
            if is_open {
                closed.pop();
            }
        }
        println!("{round}: all are open {:?} after they were wanted", began.elapsed());
        println!("{round}: a question to the store meanwhile: {}", Times::of(asked));
    }
}
