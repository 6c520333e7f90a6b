//! What budgets say when all has healed: what the ledger says, to the nano, and nothing is held any more.

use super::parts::LOOK_EVERY;
use crate::harness::Admin;
use serde_json::Value;
use shared::contract::keys::quota_head;
use shared::ids::{ProviderId, UserId};
use shared::rules::quota::AccountId;
use std::time::{Duration, Instant};
use testbed::{Postgres, Redis};
use tokio::time::sleep;

/// Waits until they agree; tells what does not. Whoever is not open yet is opened for being looked at.
pub async fn agree(admin: &Admin, postgres: &Postgres, redis: &Redis) -> Vec<String> {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let answer = admin.api.get("/api/v1/quotas?limit=100").await;
        let differences = match answer.status {
            200 => differences(&answer.json(), postgres, redis),
            _ => vec![format!("budgets cannot be read: {answer:?}")],
        };
        if differences.is_empty() || Instant::now() > until {
            return differences;
        }
        // Processes of their own are asked: there is nothing here to wait for.
        sleep(LOOK_EVERY).await;
    }
}

fn differences(page: &Value, postgres: &Postgres, redis: &Redis) -> Vec<String> {
    let accounts = page["items"].as_array().unwrap();
    assert!(accounts.len() >= 2, "users and providers have budgets: {page}");
    let differs = |account| Some(format!("{}\n{}", difference(account, postgres)?, kept(account, redis)));
    accounts.iter().filter_map(differs).collect()
}

/// What the store keeps of it, for the one who reads a failure: holds with their owners, journals and how far they are known.
fn kept(account: &Value, redis: &Redis) -> String {
    let id = account["id"].as_i64().unwrap();
    let head = match account["kind"].as_str().unwrap() {
        "user" => quota_head(AccountId::User(UserId(id))),
        _ => quota_head(AccountId::Provider(ProviderId(id))),
    };
    let of_it = |kind: &str| redis.cli(&["HGETALL", &head.replace("head", kind)]).replace('\n', " ");
    format!("  holds: {}\n  journals: {}\n  {}", of_it("holds"), of_it("journals"), account["windows"])
}

fn difference(account: &Value, postgres: &Postgres) -> Option<String> {
    let (kind, id) = (account["kind"].as_str().unwrap(), account["id"].as_i64().unwrap());
    let sql = match kind {
        // Of what was cut with its gateway all counts that was put aside.
        "user" => format!(
            "SELECT coalesce(sum(greatest(cost, held)), 0) FROM (
                SELECT sum(cost_nano_usd) AS cost,
                    max(CASE WHEN outcome = 'interrupted' THEN coalesce(held_nano_usd, 0) ELSE 0 END) AS held
                FROM ledger WHERE user_id = {id} AND coalesce(admitted_at_ms, created_at_ms)
                    >= (SELECT coalesce(cost_reset_at_ms, 0) FROM users WHERE id = {id})
                GROUP BY request_id
            ) AS requests"
        ),
        _ => format!(
            "SELECT coalesce(sum(greatest(cost_nano_usd,
                CASE WHEN outcome = 'interrupted' THEN coalesce(attempt_held_nano_usd, 0) ELSE 0 END)), 0)
            FROM ledger WHERE provider_id = {id}"
        ),
    };
    let booked: i64 = postgres.sql("hub", &sql).trim().parse().unwrap();
    let window = account["windows"].as_array().unwrap().iter().find(|window| window["window"] == "total");
    let nano = |field: &str| {
        let text = window?[field].as_str()?;
        Some(shared::money::NanoUsd::parse_usd(text).unwrap().0)
    };
    let said = (nano("spent_usd"), nano("held_usd"));
    if said != (Some(booked), Some(0)) {
        return Some(format!("the budget of {kind} {id} says (spent, held) {said:?}, the ledger {booked}"));
    }
    let limit = nano("limit_usd");
    // A provider's is never used up; a user's is strict where it is.
    (limit.is_none_or(|limit| booked > limit)).then(|| {
        format!("{kind} {id} has spent {booked} of {limit:?}, the last of it so:\n{}", rows(id, postgres))
    })
}

/// What a user's requests were let in with and have cost, the last ones, for the one who reads a failure.
fn rows(user_id: i64, postgres: &Postgres) -> String {
    let sql = format!(
        "SELECT * FROM (
            SELECT request_id, attempt, outcome, is_estimate, cost_nano_usd, held_nano_usd, attempt_held_nano_usd,
                admitted_at_ms, created_at_ms, provider_id, model
            FROM ledger WHERE user_id = {user_id} AND coalesce(admitted_at_ms, created_at_ms)
                >= (SELECT coalesce(cost_reset_at_ms, 0) FROM users WHERE id = {user_id})
            ORDER BY coalesce(admitted_at_ms, created_at_ms) DESC, request_id, attempt LIMIT 400
        ) AS last"
    );
    postgres.sql("hub", &sql)
}
