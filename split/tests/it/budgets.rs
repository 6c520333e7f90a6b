//! Budgets over the fleet: two gateways, one user with a dollar left, five hundred requests at once. What was spent is counted
//! by the upstream.

use crate::harness::{Admin, Gateway, Shape};
use serde_json::{Value, json};
use simulator::{Script, Usage};
use std::sync::Arc;
use std::time::Instant;
use testbed::{Client, JSON, eventually};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

/// A user under a budget, which is strict and has a dollar where nothing else is said; a model of known price, an admin and two gateways.
struct Fleet {
    shape: Shape,
    _admin: Admin,
    a: Gateway,
    b: Gateway,
    secret: String,
    user_id: i64,
}

/// What every answer takes: a cent, but for the input, which is next to nothing.
const OUTPUT_TOKENS: u64 = 100;
const NANO_PER_OUTPUT_TOKEN: u64 = 100_000;
const DOLLAR: u64 = 1_000_000_000;

impl Fleet {
    async fn new() -> Self {
        let user = json!({ "name": "Ada", "limit_total_usd": "1.00", "quota_reservation": "strict" });
        Self::of(user).await
    }

    async fn of(user: Value) -> Self {
        let shape = Shape::new().await;
        answers_after(&shape, 0);
        let admin = shape.admin("admin").await;
        let (a, b) = (shape.gateway("a").await, shape.gateway("b").await);
        admin.make_provider(&shape).await;
        let prices = json!({
            "input_cost_per_token": "0.000000001", "output_cost_per_token": "0.0001",
            "max_input_tokens": 1000, "max_output_tokens": 1000,
        });
        let made = admin.api.put("/api/v1/model-prices/priced-model", json!({ "prices": prices })).await;
        assert!((200..300).contains(&made.status), "{made:?}");
        let made = admin.post("/api/v1/users", user).await;
        admin.in_force_on(2).await;
        let secret = made["key"]["secret"].as_str().unwrap().to_owned();
        Self { shape, _admin: admin, a, b, secret, user_id: made["user"]["id"].as_i64().unwrap() }
    }

    /// What the upstream has counted, in nano-dollars, without the input.
    fn spent(&self) -> u64 {
        self.shape.upstream.totals().told_usage.output * NANO_PER_OUTPUT_TOKEN
    }

    /// So many requests at once, half of them at each gateway. Each says the status it was answered with; 0: its gateway died.
    async fn rush(&self, count: usize) -> JoinSet<u16> {
        let mut seats = JoinSet::new();
        let start = Arc::new(Barrier::new(count + 1));
        for n in 0..count {
            let client = if n % 2 == 0 { self.a.seats.clone() } else { self.b.seats.clone() };
            let (secret, start) = (self.secret.clone(), start.clone());
            seats.spawn(async move {
                start.wait().await;
                ask(&client, &secret).await
            });
        }
        start.wait().await;
        seats
    }

    /// One after the other, until nothing has room any more.
    async fn spend_the_rest(&self) {
        eventually("nothing has room any more", || async {
            ask(&self.b.seats, &self.secret).await == 429 && ask(&self.b.seats, &self.secret).await == 429
        })
        .await;
        assert!(self.spent() <= DOLLAR, "{}", self.spent());
    }

    /// So many requests at gateway `a`, one after the other in each of a few seats. All are served.
    async fn are_served(&self, seats: usize, each: usize) {
        let mut running = JoinSet::new();
        for _ in 0..seats {
            let (client, secret) = (self.a.seats.clone(), self.secret.clone());
            running.spawn(async move {
                for _ in 0..each {
                    assert_eq!(ask(&client, &secret).await, 200);
                }
            });
        }
        running.join_all().await;
    }

    /// How often gateway `a` has called the store of budgets on account of requests.
    async fn calls(&self) -> u64 {
        let page = self.a.ops.get("/metrics").await.text;
        let calls = page.lines().filter(|line| line.starts_with("cch_budget_store_calls_total"));
        calls.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    /// Waits until the ledger has all that the upstream has told.
    async fn is_booked(&self) {
        let sql =
            format!("SELECT coalesce(sum(cost_nano_usd), 0) FROM ledger WHERE user_id = {}", self.user_id);
        eventually("all that was spent is booked", || async {
            self.shape.postgres.sql("hub", &sql).trim().parse::<u64>().unwrap() >= self.spent()
        })
        .await;
        self.shape.books_agree(&[]).await;
    }
}

fn answers_after(shape: &Shape, first_byte_delay_ms: u64) {
    let usage = Usage { input: 10, output: OUTPUT_TOKENS, ..Usage::default() };
    shape.upstream.set_script(Script { usage: Some(usage), first_byte_delay_ms, ..Script::default() });
}

async fn ask(client: &Client, secret: &str) -> u16 {
    let headers = [("x-api-key", secret), ("anthropic-version", "2023-06-01"), JSON];
    let body = message().to_string();
    client
        .try_open("POST", "/v1/messages", &headers, &body)
        .await
        .map_or(0, |answer| answer.status().as_u16())
}

fn message() -> Value {
    json!({
        "model": "priced-model", "max_tokens": OUTPUT_TOKENS,
        // Without it a tenth more is put aside: it may run where that costs more.
        "inference_geo": "global",
        "messages": [{"role": "user", "content": "hello"}],
    })
}

fn count(statuses: &[u16], status: u16) -> usize {
    statuses.iter().filter(|said| **said == status).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_requests_at_once_spend_a_dollar_and_no_more() {
    let fleet = Fleet::new().await;
    let statuses = fleet.rush(500).await.join_all().await;
    assert!(fleet.spent() <= DOLLAR, "{}", fleet.spent());
    // A request may cost a little more than a cent: 99 have room, whoever asks first.
    assert!(count(&statuses, 200) >= 95, "{} served", count(&statuses, 200));
    assert_eq!(count(&statuses, 200) + count(&statuses, 429), 500, "{statuses:?}");
    fleet.spend_the_rest().await;
    assert!(fleet.spent() >= DOLLAR * 98 / 100, "{}", fleet.spent());
    fleet.is_booked().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_is_killed_in_the_middle_makes_nobody_richer() {
    let mut fleet = Fleet::new().await;
    answers_after(&fleet.shape, 100);
    let seats = fleet.rush(500).await;
    eventually("some are under way", || async { fleet.shape.upstream.totals().requests >= 40 }).await;
    fleet.a.process.kill().await;
    let statuses = seats.join_all().await;
    assert!(count(&statuses, 0) > 0, "it was in the middle");
    assert!(fleet.spent() <= DOLLAR, "{}", fleet.spent());
    // What it held is held until its journal is adopted; then what it had not begun is free again.
    fleet.a = fleet.shape.gateway("a").await;
    fleet.shape.is_drained(&fleet.a, "a").await;
    answers_after(&fleet.shape, 0);
    fleet.spend_the_rest().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_spends_more_because_redis_stops_and_comes_back_empty() {
    let mut fleet = Fleet::new().await;
    answers_after(&fleet.shape, 50);
    // Room for them all, and for some forty more.
    let seats = fleet.rush(60).await;
    eventually("some are under way", || async { fleet.shape.upstream.totals().requests >= 20 }).await;
    fleet.shape.redis.kill();
    let statuses = seats.join_all().await;
    assert_eq!(count(&statuses, 200) + count(&statuses, 429), 60, "{statuses:?}");
    assert!(fleet.spent() <= DOLLAR, "{}", fleet.spent());
    // What a gateway has put aside ahead it may still use up.
    eventually("what is strict waits", || async { ask(&fleet.a.seats, &fleet.secret).await == 429 }).await;
    fleet.shape.redis.start_server();
    answers_after(&fleet.shape, 0);
    // Opened anew from the books, it goes on where it was.
    eventually("it is served again", || async { ask(&fleet.a.seats, &fleet.secret).await == 200 }).await;
    let second = fleet.rush(200).await.join_all().await;
    assert!(count(&second, 200) > 0, "{second:?}");
    fleet.spend_the_rest().await;
    fleet.is_booked().await;
}

/// Issue 6. That it is fewer than one call in twenty requests is held to by a clock of its own: `quota::tests::busy` of `shared`. Here
/// the machine may be slow: each second has a few calls of its own, for what ended in it and for what grew old.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_user_costs_few_calls_of_the_store_and_another_gateway_gets_what_is_put_aside() {
    let fleet = Fleet::of(json!({ "name": "Ada", "limit_total_usd": "10.60" })).await;
    // What its requests cost is known after twenty of them.
    fleet.are_served(1, 60).await;
    let (began, before) = (Instant::now(), fleet.calls().await);
    fleet.are_served(16, 30).await;
    let calls = fleet.calls().await - before;
    let most = 480 / 20 + 4 * began.elapsed().as_secs();
    assert!(calls < most, "{calls} calls for 480 requests, {most} at most");
    // What gateway `a` has put aside is `b`'s, when that is asked for all the rest.
    let rest = 1_060 - 540;
    let (client, secret) = (fleet.b.seats.clone(), fleet.secret.clone());
    let mut served = 0;
    // A budget that is not kept must not keep the test.
    while served < 2 * rest && ask(&client, &secret).await == 200 {
        served += 1;
    }
    assert!((rest - 6..=rest).contains(&served), "{served} of {rest}");
    fleet.is_booked().await;
}
