//! Usage: booked once, whatever happens between writing and acknowledging; roll-ups are sums of the ledger.

use crate::hub::{Hub, on_both};
use admin_api::jobs::consume::{Consumed, Consumer};
use admin_api::repo::db::Db;
use admin_api::repo::entity::{ledger, request_log, usage_dead_letters, usage_hourly};
use admin_api::service::books::{self, Booked};
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sea_orm::{ConnectionTrait, DbBackend, DbErr, EntityTrait};
use serde_json::{Value, json};
use shared::contract::usage::*;
use shared::ids::{ErrorRuleId, JournalId, KeyId, ProviderId, RequestId, Revision, UserId};
use shared::memory::MemoryUsage;
use shared::money::NanoUsd;
use shared::ports::{
    Backlog, Delivery, Lent, PortError, Progress, Receipt, UsageBatch, UsageSource, UsageStream,
};
use shared::testing::conformance::{asks, journal};
use shared::time::{HOUR_MS, UnixMillis};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

on_both!(on:
    a_record_is_booked_once_however_often_it_comes,
    a_crash_between_booking_and_acknowledging_counts_nothing_twice,
    roll_ups_are_the_sums_of_the_ledger,
    logs_are_filtered_and_paged,
    a_request_is_shown_with_its_attempts,
    no_text_of_a_client_can_hold_up_the_books,
    what_the_database_refuses_for_good_is_set_aside_and_holds_up_nobody,
    what_cannot_be_read_is_set_aside_and_holds_up_nobody,
    a_database_that_is_away_refuses_nothing,
    the_last_records_are_booked_before_the_end,
);

/// A request of one served attempt, its numbers made of `n`.
pub fn record(n: u64) -> UsageRecord {
    let started_at = UnixMillis(1_790_000_000_000 + i64::try_from(n).unwrap() * 60_000);
    let mut chance = [0; 10];
    chance[2..].copy_from_slice(&n.to_be_bytes());
    UsageRecord {
        schema: USAGE_SCHEMA,
        request: RequestEntry {
            id: RequestId::from_parts(started_at.0.cast_unsigned(), &chance),
            started_at,
            admitted_at: None,
            held: NanoUsd(0),
            caller: Caller {
                user_id: UserId(1 + i64::try_from(n % 2).unwrap()),
                key_id: KeyId(11 + i64::try_from(n % 3).unwrap()),
                client_ip: Some("127.0.0.1".to_owned()),
                client: Some("claude-cli/2.0".to_owned()),
            },
            endpoint: "anthropic_messages".to_owned(),
            model: Some(format!("model-{}", n % 2)),
            is_stream: true,
            provider_id: Some(ProviderId(21)),
            status: 200,
            blocked_by: None,
            error: None,
            stop_reason: Some("end_turn".to_owned()),
            upstream_request_id: Some("req_1".to_owned()),
            timing: Timing { first_byte_ms: Some(5), first_content_ms: Some(7), duration_ms: 9 },
            session: SessionFacts { session_id: Some(format!("session-{}", n % 4)), message_count: Some(3) },
            decision_chain: DecisionChain::default(),
        },
        attempts: vec![attempt(1, 21, Outcome::Served, n)],
    }
}

pub fn attempt(number: u32, provider: i64, outcome: Outcome, n: u64) -> AttemptEntry {
    let nano = i64::try_from(n).unwrap();
    AttemptEntry {
        attempt: number,
        provider_id: ProviderId(provider),
        upstream_model: Some("upstream-model".to_owned()),
        outcome,
        usage: TokenUsage {
            input_tokens: n,
            cache_write_5m_tokens: n + 1,
            cache_write_1h_tokens: n + 2,
            cache_read_tokens: n + 3,
            output_tokens: n + 4,
            reasoning_tokens: 1,
            ..TokenUsage::default()
        },
        cost: CostBreakdown {
            input: NanoUsd(nano),
            output: NanoUsd(500_000_000),
            total: NanoUsd(nano + 500_000_000),
            ..CostBreakdown::default()
        },
        flags: UsageFlags::default(),
        admitted_at: None,
        held: NanoUsd(0),
        is_covered: false,
    }
}

/// A request that was refused here.
pub fn refused(n: u64) -> UsageRecord {
    let mut record = record(n);
    record.attempts.clear();
    record.request.provider_id = None;
    record.request.status = 429;
    record.request.blocked_by = Some("model_not_allowed".to_owned());
    record
}

async fn a_record_is_booked_once_however_often_it_comes(hub: Hub) {
    let db = hub.handle.admin().db();
    let mut two = record(7);
    two.attempts = vec![attempt(1, 22, Outcome::Failed, 1), attempt(2, 21, Outcome::Served, 2)];
    // Twice in one batch, and once more in the next.
    let first = book(db, &[two.clone(), record(8), two.clone()]).await.unwrap();
    assert_eq!(first, Booked { requests: 2, attempts: 3 });
    let rows = hourly(&hub).await;
    assert_eq!(book(db, &[two, record(8)]).await.unwrap(), Booked::default());
    assert_eq!(hourly(&hub).await, rows);
    assert_eq!(rows.iter().map(|r| r.requests).sum::<i64>(), 2, "requests, not attempts");
    // The failed attempt's tokens are its own provider's; the request is counted with who answered.
    let failed: Vec<_> = rows.iter().filter(|r| r.provider_id == 22).collect();
    assert_eq!((failed.len(), failed[0].requests, failed[0].input_tokens), (1, 0, 1));
}

/// Books records that come from no journal.
pub async fn book(db: &Db, records: &[UsageRecord]) -> Result<Booked, DbErr> {
    let lent = |record: &UsageRecord| Lent { receipt: Receipt(0, 0), place: None, record: record.clone() };
    let lent: Vec<_> = records.iter().map(lent).collect();
    Ok(books::book(db, &lent).await?.0)
}

/// Goes on with the only journal of a test.
pub async fn send(stream: &dyn UsageStream, records: &[UsageRecord]) {
    let taken = stream.append(asks(journal(1), 0)).await.unwrap().taken;
    let records: Vec<_> = records.iter().map(|record| record.to_bytes().unwrap()).collect();
    let count = records.len() as u64;
    let batch = UsageBatch { journal: journal(1), floor: 0, first: taken + 1, records };
    assert_eq!(stream.append(batch).await.unwrap().taken, taken + count);
}

/// Loses its acknowledgements while told to.
struct Forgetful {
    inner: MemoryUsage,
    loses: AtomicBool,
}

#[async_trait]
impl UsageSource for Forgetful {
    async fn take(&self, max: usize) -> Result<Delivery, PortError> {
        self.inner.take(max).await
    }

    async fn acknowledge(
        &self,
        receipts: &[Receipt],
        watermarks: &[(JournalId, u64)],
    ) -> Result<(), PortError> {
        if self.loses.load(Ordering::SeqCst) {
            Err(PortError::Unavailable)
        } else {
            self.inner.acknowledge(receipts, watermarks).await
        }
    }

    async fn backlog(&self) -> Result<Backlog, PortError> {
        self.inner.backlog().await
    }
}

async fn a_crash_between_booking_and_acknowledging_counts_nothing_twice(hub: Hub) {
    let source = Arc::new(Forgetful { inner: MemoryUsage::new(10), loses: AtomicBool::new(true) });
    send(&source.inner, &[record(0), record(1), record(2)]).await;
    let consumer = Consumer::new(hub.handle.admin().db().clone(), source.clone());
    assert!(consumer.step().await.is_err());
    let rows = hourly(&hub).await;
    assert_eq!(rows.iter().map(|r| r.requests).sum::<i64>(), 3);
    send(&source.inner, &[record(3)]).await;
    source.loses.store(false, Ordering::SeqCst);
    let booked = Booked { requests: 1, attempts: 1 };
    assert_eq!(consumer.step().await.unwrap(), Consumed { records: 4, booked, refused: 0 });
    assert_eq!(consumer.step().await.unwrap(), Consumed::default());
    assert_eq!(hourly(&hub).await.iter().map(|r| r.requests).sum::<i64>(), 4);
}

async fn roll_ups_are_the_sums_of_the_ledger(hub: Hub) {
    let db = hub.handle.admin().db();
    let records: Vec<_> = (0..150).map(|n| if n % 10 == 9 { refused(n) } else { record(n) }).collect();
    for batch in records.chunks(40) {
        book(db, batch).await.unwrap();
    }
    let mut expected: BTreeMap<_, (i64, i64, i64)> = BTreeMap::new();
    for row in ledger::Entity::find().all(db.reader()).await.unwrap() {
        let hour = row.created_at_ms - row.created_at_ms.rem_euclid(HOUR_MS);
        let key = (hour, row.user_id, row.key_id, row.provider_id, row.model.unwrap());
        let sum = expected.entry(key).or_default();
        sum.0 += row.input_tokens;
        sum.1 += row.output_tokens;
        sum.2 += row.cost_nano_usd;
        let items = row.input_cost_nano_usd + row.output_cost_nano_usd + row.fees_cost_nano_usd;
        assert_eq!(items, row.cost_nano_usd);
    }
    let rows = hourly(&hub).await;
    assert!(rows.len() > 20, "several hours, users, keys and models");
    assert_eq!(rows.iter().map(|r| r.requests).sum::<i64>(), 150);
    for row in rows {
        let key = (row.hour_start_ms, row.user_id, row.key_id, row.provider_id, row.model);
        let sum = expected.remove(&key).unwrap_or_default();
        assert_eq!((row.input_tokens, row.output_tokens, row.cost_nano_usd), sum);
        // Who was forwarded nothing is counted with nobody.
        assert_eq!(key.3 == 0, row.output_tokens == 0);
    }
    assert!(expected.is_empty());
}

async fn logs_are_filtered_and_paged(hub: Hub) {
    let db = hub.handle.admin().db();
    let records: Vec<_> = (0..30).map(|n| if n % 10 == 9 { refused(n) } else { record(n) }).collect();
    book(db, &records).await.unwrap();
    for (query, count) in [
        ("user_id=1", 15),
        ("key_id=11", 10),
        ("provider_id=21", 27),
        ("model=model-1", 15),
        ("status=429", 3),
        ("session_id=session-2", 7),
        ("blocked_by=model_not_allowed", 3),
        ("user_id=2&status=200", 12),
        ("user_id=99", 0),
    ] {
        let page = hub.client.get(&format!("/api/v1/logs?limit=200&{query}")).await.expect(200);
        assert_eq!(page["items"].as_array().unwrap().len(), count, "{query}");
    }
    let from = records[10].request.started_at.to_string();
    let to = records[20].request.started_at.to_string();
    let page = hub.client.get(&format!("/api/v1/logs?from={from}&to={to}")).await.expect(200);
    let ids: Vec<Value> = page["items"].as_array().unwrap().iter().map(|i| i["id"].clone()).collect();
    let expected: Vec<String> = records[10..20].iter().rev().map(|r| r.request.id.to_string()).collect();
    assert_eq!(json!(ids), json!(expected), "newest first, from is in, to is out");

    // A page's place stays when newer rows arrive.
    let mut seen = Vec::new();
    let mut path = "/api/v1/logs?limit=7".to_owned();
    for n in 100.. {
        let page = hub.client.get(&path).await.expect(200);
        seen.extend(page["items"].as_array().unwrap().iter().map(|i| i["id"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/api/v1/logs?limit=7&cursor={cursor}");
        book(db, &[record(n)]).await.unwrap();
    }
    let expected: Vec<String> = records.iter().rev().map(|r| r.request.id.to_string()).collect();
    assert_eq!(seen, expected);
    hub.client.get("/api/v1/logs?from=yesterday").await.expect_problem(422, "validation_failed");
}

async fn a_request_is_shown_with_its_attempts(hub: Hub) {
    let mut record = record(5);
    record.attempts = vec![attempt(1, 22, Outcome::Failed, 0), attempt(2, 21, Outcome::Served, 5)];
    record.request.decision_chain = DecisionChain {
        revision: Revision(3),
        seed: u64::MAX,
        steps: vec![
            ChainStep::Selected {
                provider_id: ProviderId(22),
                priority: 1,
                candidates: vec![Candidate { provider_id: ProviderId(22), weight: 5 }],
                candidates_left_out: 0,
                excluded: vec![Exclusion {
                    reason: "disabled".to_owned(),
                    count: 1,
                    provider_ids: vec![ProviderId(9)],
                }],
            },
            ChainStep::Attempted {
                attempt: 1,
                provider_id: ProviderId(22),
                result: "overloaded".to_owned(),
                status: Some(529),
                duration_ms: 4,
                error_rule_id: Some(ErrorRuleId(7)),
                direct_after: Some("proxy_refused".to_owned()),
                resends: 0,
            },
            ChainStep::Exhausted { excluded: vec![] },
        ],
    };
    book(hub.handle.admin().db(), std::slice::from_ref(&record)).await.unwrap();
    let shown = hub.client.get(&format!("/api/v1/logs/{}", record.request.id)).await.expect(200);
    assert_eq!(shown["created_at"], record.request.started_at.to_string());
    assert_eq!(shown["input_tokens"], 5);
    assert_eq!(shown["output_tokens"], 4 + 9);
    assert_eq!(shown["cost_usd"], "1.000000005");
    assert_eq!(shown["cost_breakdown"]["total"], shown["cost_usd"]);
    assert_eq!(shown["cost_breakdown"]["provider_cost_multiplier"], "1.00");
    assert_eq!(
        (&shown["config_revision"], &shown["routing_seed"]),
        (&json!(3), &json!(u64::MAX.to_string()))
    );
    assert_eq!(shown["ledger"][0]["outcome"], "failed");
    assert_eq!(shown["ledger"][1]["cost_usd"], "0.500000005");
    // The documented types are those of the stored steps.
    for step in shown["decision_chain"].as_array().unwrap() {
        serde_json::from_value::<admin_api::api::logs::chain::ChainStep>(step.clone()).unwrap();
    }
    assert_eq!(shown["decision_chain"][1]["status"], 529);
}

async fn no_text_of_a_client_can_hold_up_the_books(hub: Hub) {
    let mut record = record(1);
    record.request.model = Some("nul\0in\0it".to_owned());
    record.request.session.session_id = Some("é".repeat(10_000));
    record.request.session.message_count = Some(u32::MAX);
    record.request.caller.client = Some("\u{1}\u{7f}\u{202e}".to_owned());
    record.attempts[0].usage.input_tokens = u64::MAX;
    record.request.decision_chain.steps = vec![ChainStep::Attempted {
        attempt: 1,
        provider_id: ProviderId(1),
        result: "\0".to_owned(),
        status: None,
        duration_ms: u64::MAX,
        error_rule_id: None,
        direct_after: None,
        resends: 0,
    }];
    let booked = book(hub.handle.admin().db(), std::slice::from_ref(&record)).await.unwrap();
    assert_eq!(booked, Booked { requests: 1, attempts: 1 });
    let row = request_log::Entity::find().one(hub.handle.admin().db().reader()).await.unwrap().unwrap();
    assert_eq!(row.model.as_deref(), Some("nul\u{fffd}in\u{fffd}it"));
    assert_eq!(row.session_id.map(|s| s.len()), Some(512));
    assert_eq!(row.input_tokens, 1_000_000_000_000_000);
    // Lies do not add up to more than the database can hold.
    let mut again = record;
    again.request.id = RequestId::from_parts(1, &[7; 10]);
    again.attempts[0].cost.total = NanoUsd(i64::MAX);
    book(hub.handle.admin().db(), &[again]).await.unwrap();
    hub.client.get("/api/v1/logs").await.expect(200);
}

async fn what_the_database_refuses_for_good_is_set_aside_and_holds_up_nobody(hub: Hub) {
    let db = hub.handle.admin().db();
    // A rule of the operator's own, which no clean-up of ours can know.
    let refuses = match db.reader().get_database_backend() {
        DbBackend::Sqlite => {
            "CREATE TRIGGER no_poison BEFORE INSERT ON request_log WHEN NEW.model = 'poison'
             BEGIN SELECT RAISE(ABORT, 'no poison'); END"
        }
        _ => "ALTER TABLE request_log ADD CONSTRAINT no_poison CHECK (model <> 'poison')",
    };
    db.reader().execute_unprepared(refuses).await.unwrap();
    let source = Arc::new(Forgetful { inner: MemoryUsage::new(10), loses: AtomicBool::new(false) });
    let mut poison = record(2);
    poison.request.model = Some("poison".to_owned());
    send(&source.inner, &[record(0), record(1), poison.clone(), record(3), record(4)]).await;
    let consumer = Consumer::new(db.clone(), source.clone());
    let booked = Booked { requests: 4, attempts: 4 };
    assert_eq!(consumer.step().await.unwrap(), Consumed { records: 5, booked, refused: 1 });
    assert!(source.inner.take(1).await.unwrap().is_empty());
    assert_eq!(hourly(&hub).await.iter().map(|r| r.requests).sum::<i64>(), 4);
    let progress = source.inner.append(asks(journal(1), 0)).await;
    assert_eq!(progress, Ok(Progress { taken: 5, watermark: 5 }), "its journal need not keep it");

    // Its acknowledgement is lost once: it is kept once.
    send(&source.inner, &[poison.clone()]).await;
    source.loses.store(true, Ordering::SeqCst);
    assert!(consumer.step().await.is_err());
    source.loses.store(false, Ordering::SeqCst);
    // Its place says that it is done with.
    assert_eq!(consumer.step().await.unwrap(), Consumed { records: 1, ..Consumed::default() });
    let kept = usage_dead_letters::Entity::find().all(db.reader()).await.unwrap();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(kept[0].request_id, poison.request.id.to_string());
    let code =
        if db.reader().get_database_backend() == DbBackend::Sqlite { "1811" } else { "23514 no_poison" };
    assert_eq!(kept[0].reason, format!("constraint ({code})"));
    assert!(kept[0].received_at_ms > 1_700_000_000_000);
    assert_eq!(serde_json::from_str::<UsageRecord>(&kept[0].record_json).unwrap(), poison);
}

async fn what_cannot_be_read_is_set_aside_and_holds_up_nobody(hub: Hub) {
    let db = hub.handle.admin().db();
    let source = Arc::new(Forgetful { inner: MemoryUsage::new(10), loses: AtomicBool::new(false) });
    let later = UsageRecord { schema: USAGE_SCHEMA + 1, ..record(1) };
    send(&source.inner, &[record(0), later.clone(), record(2)]).await;
    let consumer = Consumer::new(db.clone(), source.clone());
    let booked = Booked { requests: 2, attempts: 2 };
    assert_eq!(consumer.step().await.unwrap(), Consumed { records: 3, booked, refused: 1 });
    assert!(source.inner.take(1).await.unwrap().is_empty());
    let kept = usage_dead_letters::Entity::find().one(db.reader()).await.unwrap().unwrap();
    let name = format!("record 2 of {}", journal(1));
    assert_eq!((kept.request_id, kept.reason.as_str()), (name, "unreadable"));
    let progress = source.inner.append(asks(journal(1), 0)).await;
    assert_eq!(progress, Ok(Progress { taken: 3, watermark: 3 }));
    let text: String = serde_json::from_str(&kept.record_json).unwrap();
    assert_eq!(STANDARD.decode(text).unwrap(), later.to_bytes().unwrap());
}

async fn a_database_that_is_away_refuses_nothing(hub: Hub) {
    let source = Arc::new(MemoryUsage::new(10));
    send(&*source, &[record(1)]).await;
    let db = hub.handle.admin().db().clone();
    // Not the data's fault either: a table that an operator took away and puts back.
    db.reader().execute_unprepared("ALTER TABLE ledger RENAME TO ledger_away").await.unwrap();
    let consumer = Consumer::new(db.clone(), source.clone());
    assert!(consumer.step().await.is_err());
    db.reader().execute_unprepared("ALTER TABLE ledger_away RENAME TO ledger").await.unwrap();
    assert_eq!(usage_dead_letters::Entity::find().all(db.reader()).await.unwrap(), []);
    assert_eq!(source.take(9).await.unwrap().len(), 1);
    assert_eq!(consumer.step().await.unwrap().booked, Booked { requests: 1, attempts: 1 });
    send(&*source, &[record(2)]).await;
    db.close().await.unwrap();
    assert!(consumer.step().await.is_err());
    assert_eq!(source.take(9).await.unwrap().len(), 1);
}

async fn the_last_records_are_booked_before_the_end(hub: Hub) {
    send(&*hub.usage, &(0..600).map(record).collect::<Vec<_>>()).await;
    let usage = hub.usage.clone();
    hub.handle.stop().await.unwrap();
    assert!(usage.take(1).await.unwrap().is_empty());
}

pub async fn hourly(hub: &Hub) -> Vec<usage_hourly::Model> {
    let mut rows = usage_hourly::Entity::find().all(hub.handle.admin().db().reader()).await.unwrap();
    rows.sort_by_key(|r| (r.hour_start_ms, r.user_id, r.key_id, r.provider_id, r.model.clone()));
    rows
}
