//! How fast usage is booked, printed and not asserted. By hand:
//! `cargo test --release -p admin-api --test it measured -- --ignored --nocapture --test-threads 1`.
//! Postgres is the tests' own: `fsync` is off there. SQLite writes as in service.

use crate::books::attempt;
use crate::hub::{Hub, Kind, on};
use admin_api::jobs::consume::Consumer;
use shared::contract::usage::*;
use shared::ids::{KeyId, ProviderId, RequestId, Revision, UserId};
use shared::memory::MemoryUsage;
use shared::ports::{UsageBatch, UsageStream};
use shared::testing::conformance::journal;
use shared::time::UnixMillis;
use std::sync::Arc;
use std::time::Instant;

const RECORDS: u64 = 60_000;
/// Of their requests, a second.
const RATE: u64 = 2_000;

#[test]
#[ignore = "prints figures; run it by hand"]
fn how_fast_usage_is_booked_on_postgres() {
    on(Kind::Postgres, booked);
}

#[test]
#[ignore = "prints figures; run it by hand"]
fn how_fast_usage_is_booked_on_sqlite() {
    on(Kind::Sqlite, booked);
}

#[expect(clippy::print_stdout, reason = "figures are for the one who asked")]
async fn booked(hub: Hub) {
    let stream = Arc::new(MemoryUsage::new(usize::try_from(RECORDS).unwrap()));
    let records: Vec<_> = (1..=RECORDS).map(|n| record(n).to_json().unwrap()).collect();
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
