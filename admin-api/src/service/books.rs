//! Books usage records: log row, ledger rows, roll-ups and places in their journals in one transaction, each record once
//! however often it comes. What is new is decided by the database, not by memory; that the journals' ranges say so of a
//! record beforehand saves the work.

use super::now;
use crate::repo::books::{
    MOST_OF_ONE_ATTEMPT, add_hourly, insert_attempts, insert_dead_letter, insert_requests,
};
use crate::repo::db::Db;
use crate::repo::entity::{ledger, request_log, usage_dead_letters, usage_hourly};
use crate::repo::journals;
use crate::repo::refusal::Refusal;
use sea_orm::{ActiveValue::Set, DatabaseTransaction, DbErr};
use serde_json::json;
use shared::contract::usage::{AttemptEntry, CostBreakdown, RequestEntry, TokenUsage, UsageRecord};
use shared::ids::{JournalId, RequestId};
use shared::money::NanoUsd;
use shared::ports::{Lent, Place};
use shared::time::UnixMillis;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Books a batch. An error means that nothing of it is booked, and no place of it marked.
pub async fn book(db: &Db, lent: &[Lent<UsageRecord>]) -> Result<(Booked, Watermarks), DbErr> {
    let known = journals::ranges(db.reader(), journals_of(lent)).await?;
    let is_known = |place: Place| known.get(&place.journal).is_some_and(|booked| booked.contains(place.seq));
    let fresh = lent.iter().filter(|lent| !lent.place.is_some_and(is_known));
    let records: Vec<&UsageRecord> = fresh.map(|lent| &lent.record).collect();
    let mut requests: Vec<_> = records.iter().copied().map(request_row).collect();
    requests.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    let mut attempts: Vec<_> =
        records.iter().flat_map(|r| r.attempts.iter().map(|a| ledger_row(&r.request, a))).collect();
    attempts.sort_unstable_by(|a, b| (&a.request_id, a.attempt).cmp(&(&b.request_id, b.attempt)));

    let tx = db.write().await?;
    let booked =
        if records.is_empty() { Booked::default() } else { insert(&tx, &requests, &attempts).await? };
    let places = lent.iter().filter_map(|lent| Some((lent.place?, Some(lent.record.request.id))));
    let watermarks = mark(&tx, &places.collect::<Vec<_>>()).await?;
    tx.commit().await?;
    Ok((booked, watermarks))
}

/// How far journals are in the books.
pub type Watermarks = Vec<(JournalId, u64)>;

async fn insert(
    tx: &DatabaseTransaction,
    requests: &[request_log::Model],
    attempts: &[ledger::Model],
) -> Result<Booked, DbErr> {
    let mut fresh_requests = insert_requests(tx, requests).await?;
    let mut fresh_attempts = insert_attempts(tx, attempts).await?;
    let booked = Booked { requests: fresh_requests.len(), attempts: fresh_attempts.len() };
    // The log forgets, the ledger does not: a record that comes again after a clean-up has a new log row alone.
    let with_new_attempts: HashSet<String> = fresh_attempts.iter().map(|(id, _)| id.clone()).collect();
    let is_counted = |row: &request_log::Model| row.attempts > 0 && !with_new_attempts.contains(&row.id);
    let mut sums = Sums::default();
    // A record that is in the batch twice was inserted once: taking it out of the set counts it once.
    for row in requests.iter().filter(|row| fresh_requests.remove(&row.id) && !is_counted(row)) {
        sums.count_request(row, last_provider(row, attempts));
    }
    for row in attempts {
        if fresh_attempts.remove(&(row.request_id.clone(), row.attempt)) {
            sums.add_attempt(row);
        }
    }
    add_hourly(tx, &sums.into_rows()).await?;
    Ok(booked)
}

/// Marks these places as done with, and whose requests they booked. The last of a transaction: see [`journals`].
async fn mark(tx: &DatabaseTransaction, places: &[(Place, Option<RequestId>)]) -> Result<Watermarks, DbErr> {
    let names: BTreeSet<JournalId> = places.iter().map(|(place, _)| place.journal).collect();
    if names.is_empty() {
        return Ok(Watermarks::new());
    }
    journals::lock(tx, names.iter().copied()).await?;
    let mut before = journals::ranges(tx, names.iter().copied()).await?;
    let mut watermarks = Watermarks::new();
    for journal in names {
        let before = before.remove(&journal).unwrap_or_default();
        let mut after = before.clone();
        let of_it = places.iter().filter(|(place, _)| place.journal == journal);
        for (place, _) in of_it.clone() {
            after.add(1, place.floor);
            after.add(place.seq, place.seq);
        }
        if after != before {
            journals::save(tx, journal, &before, &after, now()).await?;
        }
        let booked = of_it.filter_map(|(place, request)| Some((place.seq, (*request)?)));
        journals::save_ahead(tx, journal, &before, &after, booked).await?;
        watermarks.push((journal, after.watermark()));
    }
    Ok(watermarks)
}

fn journals_of<T>(lent: &[Lent<T>]) -> BTreeSet<JournalId> {
    lent.iter().filter_map(|lent| lent.place).map(|place| place.journal).collect()
}

/// Keeps a record that the database refuses for good, outside the books; false when it is kept already.
pub async fn set_aside(
    db: &Db,
    lent: &Lent<UsageRecord>,
    refusal: &Refusal,
) -> Result<(bool, Watermarks), DbErr> {
    // serde_json escapes control characters: what one column refuses this one takes.
    let record_json = json!(lent.record).to_string();
    keep_aside(db, lent, lent.record.request.id.to_string(), refusal.to_string(), record_json).await
}

/// Keeps an entry that is no record this release can read; false when it is kept already.
pub async fn set_aside_unreadable(db: &Db, lent: &Lent<String>) -> Result<(bool, Watermarks), DbErr> {
    // Its place stays the same when it is sent again; a receipt is only good while it is lent.
    let name = match lent.place {
        Some(Place { journal, seq, .. }) => format!("record {seq} of {journal}"),
        None => format!("entry {}-{}", lent.receipt.0, lent.receipt.1),
    };
    keep_aside(db, lent, name, "unreadable".to_owned(), json!(lent.record).to_string()).await
}

async fn keep_aside<T>(
    db: &Db,
    lent: &Lent<T>,
    request_id: String,
    reason: String,
    record_json: String,
) -> Result<(bool, Watermarks), DbErr> {
    let row = usage_dead_letters::ActiveModel {
        received_at_ms: Set(now().0),
        request_id: Set(request_id),
        reason: Set(reason),
        record_json: Set(record_json),
        ..Default::default()
    };
    let tx = db.write().await?;
    let is_new = insert_dead_letter(&tx, row).await?;
    // Nothing of it is in the books.
    let places: Vec<_> = lent.place.map(|place| (place, None)).into_iter().collect();
    let watermarks = mark(&tx, &places).await?;
    tx.commit().await?;
    Ok((is_new, watermarks))
}

/// How much of a batch was new.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Booked {
    /// New log rows.
    pub requests: usize,
    /// New ledger rows.
    pub attempts: usize,
}

/// Roll-up rows under way, in the order of their key.
#[derive(Default)]
struct Sums(BTreeMap<usage_hourly::Key, usage_hourly::Model>);

impl Sums {
    fn count_request(&mut self, row: &request_log::Model, provider_id: i64) {
        let model = row.model.as_deref();
        self.of(row.created_at_ms, row.user_id, row.key_id, provider_id, model).requests += 1;
    }

    fn add_attempt(&mut self, row: &ledger::Model) {
        let model = row.model.as_deref();
        let sum = self.of(row.created_at_ms, row.user_id, row.key_id, row.provider_id, model);
        for (sum, part) in [
            (&mut sum.input_tokens, row.input_tokens),
            (&mut sum.cache_write_5m_tokens, row.cache_write_5m_tokens),
            (&mut sum.cache_write_1h_tokens, row.cache_write_1h_tokens),
            (&mut sum.cache_read_tokens, row.cache_read_tokens),
            (&mut sum.output_tokens, row.output_tokens),
            (&mut sum.reasoning_tokens, row.reasoning_tokens),
            (&mut sum.image_input_tokens, row.image_input_tokens),
            (&mut sum.image_output_tokens, row.image_output_tokens),
            (&mut sum.web_search_requests, row.web_search_requests),
            (&mut sum.cost_nano_usd, row.cost_nano_usd),
        ] {
            *sum = sum.saturating_add(part.clamp(-MOST_OF_ONE_ATTEMPT, MOST_OF_ONE_ATTEMPT));
        }
    }

    fn of(
        &mut self,
        created_at_ms: i64,
        user_id: i64,
        key_id: i64,
        provider_id: i64,
        model: Option<&str>,
    ) -> &mut usage_hourly::Model {
        let hour_start_ms = UnixMillis(created_at_ms).hour_start().0;
        let model = model.unwrap_or_default().to_owned();
        let key = (hour_start_ms, user_id, key_id, provider_id, model);
        self.0.entry(key).or_insert_with_key(|key| usage_hourly::Model::empty(key.clone()))
    }

    fn into_rows(self) -> Vec<usage_hourly::Model> {
        self.0.into_values().collect()
    }
}

/// With whom a request is counted: who answered, else the last one tried, else nobody (0).
fn last_provider(row: &request_log::Model, attempts: &[ledger::Model]) -> i64 {
    let last = || {
        let before = &attempts[..attempts.partition_point(|attempt| attempt.request_id <= row.id)];
        before.last().filter(|attempt| attempt.request_id == row.id).map(|attempt| attempt.provider_id)
    };
    row.provider_id.or_else(last).unwrap_or(0)
}

/// The log row of a record.
pub(super) fn request_row(record: &UsageRecord) -> request_log::Model {
    let UsageRecord { schema: _, request, attempts } = record;
    let usage = attempts.iter().fold(TokenUsage::default(), |sum, a| sum.plus(&a.usage));
    let cost = attempts.iter().fold(CostBreakdown::default(), |sum, a| add_cost(sum, &a.cost));
    request_log::Model {
        id: request.id.to_string(),
        created_at_ms: request.started_at.0,
        user_id: request.caller.user_id.0,
        key_id: request.caller.key_id.0,
        provider_id: request.provider_id.map(|id| id.0),
        endpoint: text(&request.endpoint),
        model: text_option(request.model.as_deref()),
        upstream_model: text_option(attempts.last().and_then(|a| a.upstream_model.as_deref())),
        is_stream: request.is_stream,
        status: i32::from(request.status),
        blocked_by: text_option(request.blocked_by.as_deref()),
        error: text_option(request.error.as_deref()),
        stop_reason: text_option(request.stop_reason.as_deref()),
        upstream_request_id: text_option(request.upstream_request_id.as_deref()),
        client_ip: text_option(request.caller.client_ip.as_deref()),
        client: text_option(request.caller.client.as_deref()),
        session_id: text_option(request.session.session_id.as_deref()),
        message_count: request.session.message_count.map(|n| i32::try_from(n).unwrap_or(i32::MAX)),
        first_byte_ms: request.timing.first_byte_ms.map(big),
        first_content_ms: request.timing.first_content_ms.map(big),
        duration_ms: big(request.timing.duration_ms),
        attempts: i32::try_from(attempts.len()).unwrap_or(i32::MAX),
        input_tokens: count(usage.input_tokens),
        cache_write_5m_tokens: count(usage.cache_write_5m_tokens),
        cache_write_1h_tokens: count(usage.cache_write_1h_tokens),
        cache_read_tokens: count(usage.cache_read_tokens),
        output_tokens: count(usage.output_tokens),
        reasoning_tokens: count(usage.reasoning_tokens),
        image_input_tokens: count(usage.image_input_tokens),
        image_output_tokens: count(usage.image_output_tokens),
        web_search_requests: count(usage.web_search_requests),
        cost_nano_usd: cost.total.0,
        cost_breakdown: json!(cost).to_string(),
        is_estimate: attempts.iter().any(|a| a.flags.is_estimate),
        is_unpriced: attempts.iter().any(|a| a.flags.is_unpriced),
        // serde_json escapes control characters, so no NUL reaches the column.
        decision_chain: json!(request.decision_chain).to_string(),
    }
}

/// The ledger row of an attempt.
pub(super) fn ledger_row(request: &RequestEntry, attempt: &AttemptEntry) -> ledger::Model {
    let AttemptEntry {
        attempt: number,
        provider_id,
        upstream_model,
        outcome,
        usage,
        cost,
        flags,
        admitted_at,
        held,
        // For budgets alone.
        is_covered: _,
    } = attempt;
    let put_aside = |held: NanoUsd| (held != NanoUsd(0)).then_some(held.0);
    ledger::Model {
        request_id: request.id.to_string(),
        attempt: i32::try_from(*number).unwrap_or(i32::MAX),
        created_at_ms: request.started_at.0,
        user_id: request.caller.user_id.0,
        key_id: request.caller.key_id.0,
        provider_id: provider_id.0,
        model: text_option(request.model.as_deref()),
        upstream_model: text_option(upstream_model.as_deref()),
        outcome: outcome.as_str().to_owned(),
        input_tokens: count(usage.input_tokens),
        cache_write_5m_tokens: count(usage.cache_write_5m_tokens),
        cache_write_1h_tokens: count(usage.cache_write_1h_tokens),
        cache_read_tokens: count(usage.cache_read_tokens),
        output_tokens: count(usage.output_tokens),
        reasoning_tokens: count(usage.reasoning_tokens),
        image_input_tokens: count(usage.image_input_tokens),
        image_output_tokens: count(usage.image_output_tokens),
        web_search_requests: count(usage.web_search_requests),
        input_cost_nano_usd: cost.input.0,
        cache_write_5m_cost_nano_usd: cost.cache_write_5m.0,
        cache_write_1h_cost_nano_usd: cost.cache_write_1h.0,
        cache_read_cost_nano_usd: cost.cache_read.0,
        output_cost_nano_usd: cost.output.0,
        fees_cost_nano_usd: cost.fees.0,
        cost_nano_usd: cost.total.0,
        provider_cost_multiplier: big(cost.factors.provider.0),
        group_cost_multiplier: big(cost.factors.group.0),
        is_estimate: flags.is_estimate,
        is_unpriced: flags.is_unpriced,
        is_long_context: flags.is_long_context,
        is_priority_tier: flags.is_priority_tier,
        admitted_at_ms: request.admitted_at.map(|at| at.0),
        attempt_admitted_at_ms: admitted_at.map(|at| at.0),
        held_nano_usd: put_aside(request.held),
        attempt_held_nano_usd: put_aside(*held),
        is_fast: flags.is_fast,
        is_us_only: flags.is_us_only,
    }
}

/// The factors are those of the later part: the attempt that served is the last one.
fn add_cost(sum: CostBreakdown, part: &CostBreakdown) -> CostBreakdown {
    CostBreakdown {
        input: sum.input + part.input,
        cache_write_5m: sum.cache_write_5m + part.cache_write_5m,
        cache_write_1h: sum.cache_write_1h + part.cache_write_1h,
        cache_read: sum.cache_read + part.cache_read,
        output: sum.output + part.output,
        fees: sum.fees + part.fees,
        total: sum.total + part.total,
        factors: part.factors,
    }
}

/// Texts come from clients and upstreams: cut, and without NUL, which Postgres refuses. A record that can
/// never be inserted would hold up all that follow.
fn text(value: &str) -> String {
    let end = value.floor_char_boundary(MAX_TEXT_BYTES);
    value[..end].replace('\0', "\u{fffd}")
}

fn text_option(value: Option<&str>) -> Option<String> {
    value.map(text)
}

/// An upstream may claim any number of tokens.
fn count(n: u64) -> i64 {
    big(n).min(MOST_OF_ONE_ATTEMPT)
}

fn big(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

const MAX_TEXT_BYTES: usize = 512;
