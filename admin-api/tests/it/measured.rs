//! How fast usage is booked and budgets are opened, printed and not asserted. By hand:
//! `cargo test --release -p admin-api --test it measured -- --ignored --nocapture --test-threads 1`.
//! Postgres is the tests' own: `fsync` is off there, but where it says durable. SQLite writes as in service.

use crate::books::attempt;
use crate::hub::{Database, Hub, Kind, on};
use admin_api::jobs::consume::Consumer;
use admin_api::jobs::days::Days;
use admin_api::jobs::open::Opener;
use sea_orm::ConnectionTrait;
use shared::contract::node::NodeBeat;
use shared::contract::usage::*;
use shared::ids::{KeyId, ProviderId, RequestId, Revision, UserId};
use shared::memory::{MemoryNodes, MemoryQuotas, MemoryUsage};
use shared::ports::{NodeRegistry, QuotaStore, UsageBatch, UsageStream};
use shared::rules::quota::AccountId;
use shared::testing::conformance::journal;
use shared::testing::node_beat;
use shared::time::UnixMillis;
use std::sync::Arc;
use std::time::Instant;
use testbed::Postgres;

mod plans;

const RECORDS: u64 = 60_000;
/// Of their requests, a second.
const RATE: u64 = 2_000;

#[test]
#[ignore = "prints figures; run it by hand"]
fn how_fast_usage_is_booked_on_postgres() {
    on(Kind::Postgres, booked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures; run it by hand"]
async fn how_fast_usage_is_booked_on_a_durable_postgres() {
    booked(Hub::start(&Database::of(Arc::new(Postgres::start_durable()))).await).await;
}

#[test]
#[ignore = "prints figures; run it by hand"]
fn how_fast_usage_is_booked_on_sqlite() {
    on(Kind::Sqlite, booked);
}

#[expect(clippy::print_stdout, reason = "figures are for the one who asked")]
async fn booked(hub: Hub) {
    let stream = Arc::new(MemoryUsage::new(usize::try_from(RECORDS).unwrap()));
    let records: Vec<_> = (1..=RECORDS).map(|n| record(n).to_bytes().unwrap()).collect();
    let bytes: usize = records.iter().map(bytes::Bytes::len).sum();
    stream.append(UsageBatch { journal: journal(1), floor: 0, first: 1, records }).await.unwrap();
    let consumer = Consumer::new(hub.handle.admin().db().clone(), stream);
    let began = Instant::now();
    let drained = consumer.drain().await.unwrap();
    let seconds = began.elapsed().as_secs_f64();
    assert_eq!(drained as u64, RECORDS);
    println!(
        "{drained} records of {} bytes in {seconds:.2} s: {:.0} records/s",
        bytes as u64 / RECORDS,
        RECORDS as f64 / seconds
    );
}

/// A million rows of 90 days; 2 000 users, of whom the busiest has some 2 %, and 50 providers.
#[test]
#[ignore = "prints figures; run it by hand"]
fn how_fast_budgets_are_opened() {
    on(Kind::Postgres, opened);
}

#[expect(clippy::print_stdout, reason = "figures are for the one who asked")]
async fn opened(hub: Hub) {
    let db = hub.handle.admin().db();
    let run = async |sql: &str| {
        let began = Instant::now();
        let tx = db.write().await.unwrap();
        tx.execute_unprepared("SET LOCAL statement_timeout = 0").await.unwrap();
        tx.execute_unprepared(sql).await.unwrap();
        tx.commit().await.unwrap();
        began.elapsed()
    };
    let now = admin_api::service::now();
    let indexes = "CREATE INDEX ledger_user_idx ON ledger (user_id, created_at_ms);
        CREATE INDEX ledger_provider_idx ON ledger (provider_id, created_at_ms);
        CREATE INDEX ledger_interrupted_idx ON ledger (created_at_ms) WHERE outcome = 'interrupted'";
    hub.make_provider("one").await;
    run("UPDATE providers SET id = 1000").await;
    run("DROP INDEX ledger_user_idx, ledger_provider_idx, ledger_interrupted_idx").await;
    run(&ROWS.replace("{now}", &now.0.to_string())).await;
    println!("indexes made in {:?}", run(indexes).await);
    let days = Days::new(db.clone(), jiff::tz::TimeZone::UTC).step(now).await.unwrap();
    db.reader().execute_unprepared("ANALYZE").await.unwrap();
    println!("{days} days are summed");
    let quotas = Arc::new(MemoryQuotas::new(admin_api::service::now));
    let nodes = Arc::new(MemoryNodes::new());
    let beat = NodeBeat { revision: Some(Revision(u64::MAX >> 1)), ..node_beat("gateway") };
    nodes.beat(beat, None).await.unwrap();
    let mut opener = Opener::new(db.clone(), quotas.clone(), nodes);
    while quotas.epoch().await.unwrap().is_none() {
        opener.step(0).await.unwrap();
    }
    let mut generation = 0;
    for (what, limits) in
        [("a total", ["total"].as_slice()), ("all windows", &["5h", "daily", "weekly", "monthly", "total"])]
    {
        generation += 1;
        let limited = limits.iter().map(|limit| format!("limit_{limit}_nano_usd = 1000000000"));
        let limited = limited.collect::<Vec<_>>().join(", ");
        for of in ["users", "providers"] {
            run(&format!("UPDATE {of} SET {limited}, budget_generations = {generation}")).await;
        }
        let users = |ids: std::ops::RangeInclusive<i64>| ids.map(|id| AccountId::User(UserId(id))).collect();
        let providers: Vec<_> = (1..=50).map(|id| AccountId::Provider(ProviderId(id))).collect();
        let all: [(&str, Vec<AccountId>); 4] = [
            ("the busiest user", users(1..=1)),
            ("a quiet user", users(2_000..=2_000)),
            ("1 998 users", users(2..=1_999)),
            ("50 providers", providers),
        ];
        for (who, accounts) in all {
            let count = accounts.len();
            for account in accounts {
                quotas.want(account).await.unwrap();
            }
            let (began, mut opened) = (Instant::now(), 0);
            while opened < count {
                let step = opener.step(0).await.unwrap();
                assert!(step.accounts > 0, "{who}: {opened} of {count}, {step:?}");
                opened += step.accounts;
            }
            let took = began.elapsed();
            println!("{what}: {who}: {took:?}, {:?} each", took / u32::try_from(count).unwrap());
        }
    }
}

const ROWS: &str = include_str!("measured/million.sql");

/// Of 50 users with two keys each, ten models and eight providers; each tenth failed over once.
fn record(n: u64) -> UsageRecord {
    let started_at = UnixMillis(1_790_000_000_000 + i64::try_from(n * 1_000 / RATE).unwrap());
    let mut chance = [0; 10];
    chance[2..].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    let seat = i64::try_from(n % 100).unwrap();
    let provider = 1 + i64::try_from(n % 8).unwrap();
    let mut attempts = vec![attempt(1, provider, Outcome::Served, n)];
    if n.is_multiple_of(10) {
        attempts.insert(0, attempt(1, 9, Outcome::Failed, 0));
        attempts[1].attempt = 2;
    }
    let candidates: Vec<_> = (1..=8)
        .map(|id| Candidate { provider_id: ProviderId(id), weight: 1 + u32::try_from(id).unwrap() })
        .collect();
    let steps = attempts.iter().flat_map(|attempt| {
        let selected = ChainStep::Selected {
            provider_id: attempt.provider_id,
            priority: 0,
            candidates: candidates.clone(),
            candidates_left_out: 0,
            excluded: vec![Exclusion {
                reason: "model_not_served".to_owned(),
                count: 3,
                provider_ids: vec![ProviderId(20), ProviderId(21), ProviderId(22)],
            }],
        };
        let attempted = ChainStep::Attempted {
            attempt: attempt.attempt,
            provider_id: attempt.provider_id,
            result: attempt.outcome.as_str().to_owned(),
            status: Some(200),
            duration_ms: 2_345,
            error_rule_id: None,
            direct_after: None,
            resends: 0,
        };
        [selected, attempted]
    });
    let decision_chain = DecisionChain { revision: Revision(812), seed: n, steps: steps.collect() };
    UsageRecord {
        schema: USAGE_SCHEMA,
        request: RequestEntry {
            id: RequestId::from_parts(started_at.0.cast_unsigned(), &chance),
            started_at,
            admitted_at: None,
            held: shared::money::NanoUsd::ZERO,
            caller: Caller {
                user_id: UserId(1 + seat / 2),
                key_id: KeyId(1 + seat),
                client_ip: Some("10.1.2.3".to_owned()),
                client: Some("claude-cli/2.0.42 (external, cli)".to_owned()),
            },
            endpoint: "anthropic_messages".to_owned(),
            model: Some(format!("claude-sonnet-4-5-2025{:04}", n % 10)),
            is_stream: true,
            provider_id: Some(ProviderId(provider)),
            status: 200,
            blocked_by: None,
            error: None,
            stop_reason: Some("end_turn".to_owned()),
            upstream_request_id: Some(format!("req_011CVfXyZ{n:015}")),
            timing: Timing { first_byte_ms: Some(512), first_content_ms: Some(730), duration_ms: 12_345 },
            session: SessionFacts {
                session_id: Some(format!("0198f3c2-7b1e-7c3a-9d55-{:012x}", n / 20)),
                message_count: Some(17),
            },
            decision_chain,
        },
        attempts,
    }
}
