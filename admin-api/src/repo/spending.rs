//! What an account spent, by the books: rows of the ledger by the moment at which they count for budgets, and sums of hours
//! and days before them.
//!
//! Records above their journal's watermark are told to the store again, so what they booked is left out here.

use super::books::MOST_OF_ONE_ATTEMPT;
use super::entity::usage_journals_ahead;
use super::recount::{held, statement};
use super::sums::{By, Of, Question, sums_in};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, EntityTrait, PaginatorTrait, QueryResult};
use shared::ids::{KeyId, ProviderId, RequestId, UserId};
use shared::rules::quota::opening::{Lump, Reading};
use shared::rules::quota::{AccountId, HoldId, MAX_AMOUNT};
use shared::rules::usage_days::Span;
use shared::time::UnixMillis;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// What was spent with a key; of a provider's all is key 0's.
pub type OfKey = (KeyId, Lump);

/// What must be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ahead {
    /// No record is above its journal's watermark.
    None,
    /// Some are.
    Some,
}

/// Whether some records are above their journal's watermark.
pub async fn ahead(db: &impl ConnectionTrait) -> Result<Ahead, DbErr> {
    let count = usage_journals_ahead::Entity::find().count(db).await?;
    Ok(if count == 0 { Ahead::None } else { Ahead::Some })
}

/// The rows that are read of an account. Of many ([`MOST_ROWS`]) those of a minute are summed.
pub async fn rows(
    db: &impl ConnectionTrait,
    account: AccountId,
    reading: &Reading,
    ahead: Ahead,
) -> Result<Vec<OfKey>, DbErr> {
    let mut rows = Vec::new();
    for some in reading.rows().chunks(RANGES_A_STATEMENT) {
        let sql = format!("{} LIMIT {}", ranges(account, some, ahead), MOST_ROWS + 1 - rows.len());
        for row in db.query_all_raw(statement(db, sql)).await? {
            let at = UnixMillis(row.try_get_by_index(1)?);
            rows.push((key(&row)?, Lump { first: at, last: at, amount: row.try_get_by_index(2)? }));
        }
        if rows.len() > MOST_ROWS {
            return minutes(db, account, reading, ahead).await;
        }
    }
    Ok(rows)
}

/// The rows that are read, summed by minutes that go over no edge.
pub async fn minutes(
    db: &impl ConnectionTrait,
    account: AccountId,
    reading: &Reading,
    ahead: Ahead,
) -> Result<Vec<OfKey>, DbErr> {
    let within_minutes = reading.edges().iter().filter(|edge| edge.0 % MINUTE_MS != 0);
    // A bare number there would be the place of a column.
    let side = |edge: &UnixMillis| format!(", CASE WHEN at_ms >= {} THEN 1 ELSE 0 END", edge.0);
    let sides: String = within_minutes.map(side).collect();
    // No sum is more than the largest amount: it could not be told, or not even be held.
    let sum = match db.get_database_backend() {
        DbBackend::Postgres => format!("CAST(LEAST(SUM(cost), {MAX_AMOUNT}) AS BIGINT)"),
        // `SUM` would fail; up to there doubles are exact.
        _ => format!("CAST(MIN(TOTAL(cost), {MAX_AMOUNT}.0) AS INTEGER)"),
    };
    let mut minutes = Vec::new();
    for some in reading.rows().chunks(RANGES_A_STATEMENT) {
        let sql = format!(
            "SELECT key_id, MIN(at_ms), MAX(at_ms), {sum} FROM ({}) AS spent GROUP BY key_id, at_ms / {MINUTE_MS}{sides}",
            ranges(account, some, ahead),
        );
        for row in db.query_all_raw(statement(db, sql)).await? {
            let [first, last] = [row.try_get_by_index(1)?, row.try_get_by_index(2)?].map(UnixMillis);
            minutes.push((key(&row)?, Lump { first, last, amount: row.try_get_by_index(3)? }));
        }
    }
    Ok(minutes)
}

/// The sums of the parts before, where they count. `hold`: the days whose sums hold.
pub async fn parts(
    db: &impl ConnectionTrait,
    account: AccountId,
    reading: &Reading,
    hold: &BTreeSet<Span>,
    ahead: Ahead,
) -> Result<Vec<OfKey>, DbErr> {
    let (of, by) = match account {
        AccountId::User(id) => (Of::User(id.0), By::Key),
        AccountId::Provider(id) => (Of::Provider(id.0), By::Nothing),
    };
    let question = Question { bounds: reading.parts(), of: Some(of), by };
    let mut sums: BTreeMap<(KeyId, UnixMillis), i64> = BTreeMap::new();
    for part in sums_in(db, &question, hold).await? {
        if let Some(counts) = reading.sum_at(UnixMillis(part.hour_start_ms)) {
            let sum = sums.entry((KeyId(part.key_id), counts)).or_default();
            *sum = sum.saturating_add(part.cost_nano_usd);
        }
    }
    if ahead == Ahead::Some {
        let (column, id) = column(account);
        let cost = held("cost_nano_usd", MOST_OF_ONE_ATTEMPT);
        let sql = format!(
            "SELECT {}, created_at_ms, {cost} FROM ledger
            WHERE request_id IN (SELECT request_id FROM usage_journals_ahead) AND {column} = {id}",
            key_of(account),
        );
        for row in db.query_all_raw(statement(db, sql)).await? {
            let began = UnixMillis(row.try_get_by_index(1)?).hour_start();
            if let Some(counts) = reading.sum_at(began) {
                *sums.entry((key(&row)?, counts)).or_default() -= row.try_get_by_index::<i64>(2)?;
            }
        }
    }
    let of_key = |((key, at), amount)| (key, Lump { first: at, last: at, amount });
    Ok(sums.into_iter().map(of_key).collect())
}

/// What was cut with its gateway, of one account.
#[derive(Clone, Debug, Default)]
pub struct Interrupted {
    /// The holds of requests that began lately.
    pub holds: BTreeSet<HoldId>,
    /// What counts beyond what is billed: all that was put aside.
    pub beyond: Vec<OfKey>,
}

/// What was cut of these accounts; the holds of requests that began since.
pub async fn interrupted(
    db: &impl ConnectionTrait,
    accounts: impl Iterator<Item = AccountId>,
    since: UnixMillis,
    ahead: Ahead,
) -> Result<BTreeMap<AccountId, Interrupted>, DbErr> {
    let mut found: BTreeMap<_, _> = accounts.map(|account| (account, Interrupted::default())).collect();
    let conditions = found.keys().map(|account| {
        let (column, id) = column(*account);
        // The plus keeps the account's own index out of it: SQLite would read all its rows for the few that were cut.
        format!("+{column} = {id}")
    });
    let conditions = conditions.collect::<Vec<_>>().join(" OR ");
    if conditions.is_empty() {
        return Ok(found);
    }
    let [cost, of_all] = ["l.cost_nano_usd", "a.cost_nano_usd"].map(|name| held(name, MOST_OF_ONE_ATTEMPT));
    let sql = format!(
        "SELECT request_id, attempt, user_id, provider_id, key_id, created_at_ms,
            COALESCE(admitted_at_ms, created_at_ms), COALESCE(attempt_admitted_at_ms, admitted_at_ms, created_at_ms),
            COALESCE(held_nano_usd, 0) - (SELECT CAST(SUM({of_all}) AS BIGINT) FROM ledger a WHERE a.request_id = l.request_id),
            COALESCE(attempt_held_nano_usd, 0) - {cost}
        FROM ledger l WHERE outcome = 'interrupted' AND ({conditions}){} ORDER BY request_id, attempt",
        left_out(ahead),
    );
    let mut last = None;
    for row in db.query_all_raw(statement(db, sql)).await? {
        // What is no id was not written by us.
        let Ok(request) = row.try_get_by_index::<String>(0)?.parse::<RequestId>() else { continue };
        let attempt = u32::try_from(row.try_get_by_index::<i32>(1)?).unwrap_or(u32::MAX);
        let user = AccountId::User(UserId(row.try_get_by_index(2)?));
        let provider = AccountId::Provider(ProviderId(row.try_get_by_index(3)?));
        let key = KeyId(row.try_get_by_index(4)?);
        let is_late = UnixMillis(row.try_get_by_index(5)?) >= since;
        let [of_user, of_provider]: [i64; 2] = [row.try_get_by_index(6)?, row.try_get_by_index(7)?];
        let [beyond_user, beyond_provider]: [i64; 2] = [row.try_get_by_index(8)?, row.try_get_by_index(9)?];
        // A request is one hold of its user's, however often it was cut.
        let is_first = last.replace(request) != Some(request);
        for (account, hold, key, at, beyond) in [
            (user, HoldId(request, 0), key, of_user, if is_first { beyond_user } else { 0 }),
            (provider, HoldId(request, attempt), KeyId(0), of_provider, beyond_provider),
        ] {
            let Some(of_it) = found.get_mut(&account) else { continue };
            if is_late {
                of_it.holds.insert(hold);
            }
            if beyond > 0 {
                let at = UnixMillis(at);
                of_it.beyond.push((key, Lump { first: at, last: at, amount: beyond.min(MAX_AMOUNT) }));
            }
        }
    }
    Ok(found)
}

/// Key, moment and cost of the rows that began in these hours: a scan of the index for each.
fn ranges(account: AccountId, hours: &[Range<UnixMillis>], ahead: Ahead) -> String {
    let (column, id) = column(account);
    // As `rules::quota::owed` says.
    let at = match account {
        AccountId::User(_) => "COALESCE(admitted_at_ms, created_at_ms)",
        AccountId::Provider(_) => "COALESCE(attempt_admitted_at_ms, admitted_at_ms, created_at_ms)",
    };
    let (key, left_out) = (key_of(account), left_out(ahead));
    let cost = held("cost_nano_usd", MOST_OF_ONE_ATTEMPT);
    let range = |hours: &Range<UnixMillis>| {
        format!(
            "SELECT {key} AS key_id, {at} AS at_ms, {cost} AS cost FROM ledger
            WHERE {column} = {id} AND created_at_ms >= {} AND created_at_ms < {} AND cost_nano_usd > 0{left_out}",
            hours.start.0, hours.end.0,
        )
    };
    hours.iter().map(range).collect::<Vec<_>>().join(" UNION ALL ")
}

fn column(account: AccountId) -> (&'static str, i64) {
    match account {
        AccountId::User(id) => ("user_id", id.0),
        AccountId::Provider(id) => ("provider_id", id.0),
    }
}

fn key_of(account: AccountId) -> &'static str {
    match account {
        AccountId::User(_) => "key_id",
        AccountId::Provider(_) => "CAST(0 AS BIGINT)",
    }
}

fn left_out(ahead: Ahead) -> &'static str {
    match ahead {
        Ahead::None => "",
        Ahead::Some => " AND request_id NOT IN (SELECT request_id FROM usage_journals_ahead)",
    }
}

fn key(row: &QueryResult) -> Result<KeyId, DbErr> {
    row.try_get_by_index(0).map(KeyId)
}

const MINUTE_MS: i64 = 60_000;
/// One by one they say exactly when five hours began; more would take longer than an opening may.
const MOST_ROWS: usize = 5_000;
/// SQLite joins at most 500.
const RANGES_A_STATEMENT: usize = 100;
