//! Budgets while Redis is away, by each `REDIS_OUTAGE_POLICY`.

use super::{COST, DOLLAR, Fleet, ROOM, Said, ask, count};
use crate::harness::Gateway;
use serde_json::{Value, json};
use testbed::eventually;

/// What most hubs have: nothing is put aside but what a request is expected to cost.
fn with_a_total_of(limit_usd: &str) -> Value {
    json!({ "name": "Ada", "limit_total_usd": limit_usd })
}

impl Fleet {
    /// So many requests, one after the other, at each of these gateways in its turn.
    async fn in_turns(&self, gateways: &[&Gateway], count: usize) -> Vec<Said> {
        let mut said = Vec::new();
        for gateway in gateways.iter().cycle().take(count) {
            said.push(ask(&gateway.seats, &self.secret).await);
        }
        said
    }

    /// Redis is back, and lost what it had: what was spent meanwhile is charged, and nothing is held.
    async fn all_is_charged(&mut self) {
        self.shape.redis.start_server();
        let spent = self.spent().await;
        eventually("what was spent is charged", || async {
            let budget = self.stands().await;
            budget.held == 0 && budget.spent == spent
        })
        .await;
        self.is_booked().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_each_gateway_spends_its_share_of_what_was_left() {
    // Room for the first ones, whose cost is only guessed, whatever is put aside ahead.
    let mut fleet = Fleet::of(with_a_total_of("4.00")).await;
    // What requests cost each gateway knows after twenty of its own.
    let before = fleet.in_turns(&[&fleet.a, &fleet.b], 40).await;
    assert_eq!(count(&before, Said::Served), 40, "{before:?}");
    fleet.shape.redis.kill();
    let alone = fleet.in_turns(&[&fleet.a, &fleet.b], 500).await;
    let served = count(&alone, Said::Served);
    assert_eq!(served + count(&alone, Said::NoRoom), 500, "{alone:?}");
    // Neither has heard of the other's last requests.
    let left = usize::try_from(4 * DOLLAR / COST).unwrap() - 40;
    assert!((left / 2..=left + 4).contains(&served), "{served} of {left}");
    fleet.all_is_charged().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_never_heard_of_a_budget_keeps_to_its_limit() {
    let mut fleet = Fleet::of(with_a_total_of("1.00")).await;
    fleet.shape.is_kept("b", 1).await;
    fleet.shape.redis.kill();
    fleet.b.process.kill().await;
    fleet.b = fleet.shape.gateway("b").await;
    let alone = fleet.in_turns(&[&fleet.b], 130).await;
    let served = count(&alone, Said::Served);
    assert_eq!(served + count(&alone, Said::NoRoom), 130, "{alone:?}");
    assert!(served > 0 && fleet.spent().await <= ROOM * COST, "{served} served");
    fleet.all_is_charged().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_closed_lets_none_pass_that_is_limited() {
    let mut fleet = Fleet::with(with_a_total_of("1.00"), &[("REDIS_OUTAGE_POLICY", "closed")]).await;
    fleet.in_turns(&[&fleet.a, &fleet.b], 10).await;
    fleet.shape.redis.kill();
    let before = fleet.shape.upstream.totals().requests;
    // But for what was put aside ahead.
    let alone = fleet.in_turns(&[&fleet.a, &fleet.b], 40).await;
    let (served, waits) = (count(&alone, Said::Served), count(&alone, Said::Unreachable));
    assert_eq!((served + waits, served as u64), (40, fleet.shape.upstream.totals().requests - before));
    assert!(waits > 0, "{alone:?}");
    fleet.all_is_charged().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_open_lets_all_pass_and_counts_them() {
    let mut fleet = Fleet::with(with_a_total_of("0.05"), &[("REDIS_OUTAGE_POLICY", "open")]).await;
    eventually("it is used up", || async { ask(&fleet.a.seats, &fleet.secret).await == Said::NoRoom }).await;
    fleet.shape.redis.kill();
    let alone = fleet.in_turns(&[&fleet.a, &fleet.b], 40).await;
    assert_eq!(count(&alone, Said::Served), 40, "{alone:?}");
    fleet.all_is_charged().await;
    assert_eq!(ask(&fleet.b.seats, &fleet.secret).await, Said::NoRoom);
}
