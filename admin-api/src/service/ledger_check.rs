//! Compares the books with themselves and with journals, and makes the roll-ups again.
//!
//! The ledger is what is true (design §2). An hour is looked at in one moment, so that booking may go on meanwhile; it is
//! made again while nobody else changes the roll-ups. The requests of an hour are counted in the log: where that was
//! cleaned up, the roll-ups alone know them, and keep them. Then each day that is summed is compared with its hours.

use super::books::ledger_row;
use crate::repo::books::{MOST_OF_ONE_ATTEMPT, add_hourly};
use crate::repo::db::Db;
use crate::repo::entity::usage_hourly::Key;
use crate::repo::entity::{ledger, usage_hourly};
use crate::repo::recount::{
    LogDifference, delete_rollups, hold_rollups, ledger_sums, log_differences, log_is_whole_from, next_hour,
    request_counts, rollups,
};
use crate::repo::usage_days::{self, Daily};
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter};
use serde::Serialize;
use serde_json::{Value, json};
use shared::contract::usage::UsageRecord;
use shared::rules::usage_days::Span;
use shared::time::{HOUR_MS, UnixMillis};
use std::collections::BTreeMap;
use std::fmt;

/// Two places of the books that do not say the same. Prints as one line.
#[derive(Clone, Debug, PartialEq)]
pub enum Difference {
    /// A roll-up is not the sum of its ledger rows, or of its requests.
    RollUp {
        /// Of how long.
        width: Width,
        /// Which, as far as it has no sums.
        row: usage_hourly::Model,
        /// The sum.
        field: String,
        /// What the roll-up says.
        says: Value,
        /// What it comes to.
        is: Value,
    },
    /// A row of the log is not the sum of the request's ledger rows.
    Log(LogDifference),
    /// An attempt that a journal has is not in the ledger.
    NotInLedger {
        /// The request.
        request_id: String,
        /// Its attempt.
        attempt: i32,
    },
    /// An attempt is in the ledger with another value than in a journal.
    Record {
        /// The request.
        request_id: String,
        /// Its attempt.
        attempt: i32,
        /// The value.
        field: String,
        /// What the journal says.
        journal: Value,
        /// What the ledger says.
        ledger: Value,
    },
}

/// What a roll-up is the sum of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// An hour's ledger rows and requests.
    Hour,
    /// A day's hours, by key or by provider and model; what is not told apart is 0 or empty.
    Day,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RollUp { width, row, field, says, is } => write!(
                f,
                "roll-up {}{} user {} key {} provider {} model {:?}: {field} is {says}, comes to {is}",
                match width {
                    Width::Hour => "",
                    Width::Day => "of the day from ",
                },
                UnixMillis(row.hour_start_ms),
                row.user_id,
                row.key_id,
                row.provider_id,
                row.model,
            ),
            Self::Log(LogDifference { request_id, log_attempts: None, ledger_attempts, .. }) => {
                write!(f, "request {request_id}: {ledger_attempts} attempts in the ledger, none in the log")
            }
            Self::Log(row) => write!(
                f,
                "request {}: the log says {} attempts, {} tokens, {} nano-USD, the ledger {}, {}, {}",
                row.request_id,
                row.log_attempts.unwrap_or_default(),
                row.log_tokens.unwrap_or_default(),
                row.log_cost_nano_usd.unwrap_or_default(),
                row.ledger_attempts,
                row.ledger_tokens,
                row.ledger_cost_nano_usd,
            ),
            Self::NotInLedger { request_id, attempt } => {
                write!(f, "request {request_id} attempt {attempt}: in the journal, not in the ledger")
            }
            Self::Record { request_id, attempt, field, journal, ledger } => write!(
                f,
                "request {request_id} attempt {attempt}: {field} is {journal} in the journal, {ledger} in the ledger"
            ),
        }
    }
}

/// Compares roll-ups, log and ledger hour by hour; tells each difference and answers how many there are.
pub async fn check(db: &Db, mut tell: impl FnMut(&Difference)) -> Result<u64, DbErr> {
    let mut found = 0;
    let mut at = UnixMillis(i64::MIN / 2);
    while let Some(hour) = next_hour(db.reader(), at).await? {
        at = UnixMillis(hour.0 + HOUR_MS);
        let moment = db.read_moment().await?;
        let said = by_key(rollups(&moment, hour).await?);
        let counted = recount(&moment, hour, &said).await?;
        let log_is_whole = log_is_whole_from(&moment).await?.is_some_and(|from| hour >= from);
        let logged = log_differences(&moment, hour, MOST_OF_ONE_ATTEMPT, log_is_whole).await?;
        moment.rollback().await?;
        let rolled = roll_up_differences(Width::Hour, &said, &counted);
        for difference in rolled.into_iter().chain(logged.into_iter().map(Difference::Log)) {
            tell(&difference);
            found += 1;
        }
    }
    for day in usage_days::all(db.reader()).await? {
        let moment = db.read_moment().await?;
        // One that changed is not read until it is made again.
        let differences = if usage_days::that_hold(&moment).await?.contains(&day) {
            day_differences(&moment, day).await?
        } else {
            Vec::new()
        };
        moment.rollback().await?;
        differences.iter().for_each(&mut tell);
        found += differences.len() as u64;
    }
    Ok(found)
}

/// Compares records, those of a journal, with the ledger; tells each difference and answers how many there are. A record
/// that was set aside (`usage_dead_letters`) is not in the ledger.
pub async fn check_records(
    db: &Db,
    records: impl IntoIterator<Item = UsageRecord>,
    mut tell: impl FnMut(&Difference),
) -> Result<u64, DbErr> {
    let mut found = 0;
    let mut records = records.into_iter();
    loop {
        let chunk: Vec<UsageRecord> = records.by_ref().take(CHUNK).collect();
        if chunk.is_empty() {
            return Ok(found);
        }
        let ids = chunk.iter().map(|record| record.request.id.to_string());
        let rows =
            ledger::Entity::find().filter(ledger::Column::RequestId.is_in(ids)).all(db.reader()).await?;
        let rows: BTreeMap<_, _> =
            rows.into_iter().map(|row| ((row.request_id.clone(), row.attempt), row)).collect();
        let attempts = chunk.iter().flat_map(|r| r.attempts.iter().map(|a| ledger_row(&r.request, a)));
        for row in attempts {
            let (request_id, attempt) = (row.request_id.clone(), row.attempt);
            let differences = match rows.get(&(request_id.clone(), attempt)) {
                None => vec![Difference::NotInLedger { request_id, attempt }],
                Some(booked) => differing(&row, booked)
                    .map(|(field, journal, ledger)| {
                        let request_id = request_id.clone();
                        Difference::Record { request_id, attempt, field, journal, ledger }
                    })
                    .collect(),
            };
            differences.iter().for_each(&mut tell);
            found += differences.len() as u64;
        }
    }
}

/// What a rebuild did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// Hours looked at.
    pub hours: u64,
    /// Hours whose roll-ups were not what they come to.
    pub changed: u64,
    /// Days looked at: those that are summed.
    pub days: u64,
    /// Days whose sums were not what their hours come to.
    pub changed_days: u64,
}

/// Makes the roll-ups again, an hour or a day a transaction.
pub async fn rebuild(db: &Db) -> Result<Rebuilt, DbErr> {
    let mut rebuilt = Rebuilt::default();
    let mut at = UnixMillis(i64::MIN / 2);
    while let Some(hour) = next_hour(db.reader(), at).await? {
        at = UnixMillis(hour.0 + HOUR_MS);
        let tx = db.write().await?;
        hold_rollups(&tx).await?;
        let said = by_key(rollups(&tx, hour).await?);
        let counted = recount(&tx, hour, &said).await?;
        rebuilt.hours += 1;
        if said != counted {
            delete_rollups(&tx, hour).await?;
            let rows: Vec<_> = counted.into_values().collect();
            add_hourly(&tx, &rows).await?;
            rebuilt.changed += 1;
        }
        tx.commit().await?;
    }
    for day in usage_days::all(db.reader()).await? {
        let tx = db.write().await?;
        hold_rollups(&tx).await?;
        // Another zone's day may be there by now.
        if usage_days::all(&tx).await?.contains(&day) {
            let holds = usage_days::that_hold(&tx).await?.contains(&day);
            rebuilt.days += 1;
            if !holds || !day_differences(&tx, day).await?.is_empty() {
                usage_days::make(&tx, day).await?;
                rebuilt.changed_days += 1;
            }
        }
        tx.commit().await?;
    }
    Ok(rebuilt)
}

fn by_key(rows: Vec<usage_hourly::Model>) -> BTreeMap<Key, usage_hourly::Model> {
    rows.into_iter().map(|row| (row.key(), row)).collect()
}

/// What the roll-ups of an hour should say; `said` is what they do.
async fn recount(
    db: &impl ConnectionTrait,
    hour: UnixMillis,
    said: &BTreeMap<Key, usage_hourly::Model>,
) -> Result<BTreeMap<Key, usage_hourly::Model>, DbErr> {
    // First the log: whoever drops a part of it waits from here on.
    let is_whole = log_is_whole_from(db).await?.is_some_and(|from| hour >= from);
    let requests = if is_whole {
        request_counts(db, hour).await?
    } else {
        let counted = said.values().filter(|row| row.requests != 0);
        counted
            .map(|row| usage_hourly::Model {
                requests: row.requests,
                ..usage_hourly::Model::empty(row.key())
            })
            .collect()
    };
    let mut counted = by_key(ledger_sums(db, hour, MOST_OF_ONE_ATTEMPT).await?);
    for row in requests {
        counted.entry(row.key()).and_modify(|sum| sum.requests = row.requests).or_insert(row);
    }
    Ok(counted)
}

async fn day_differences(db: &impl ConnectionTrait, day: Span) -> Result<Vec<Difference>, DbErr> {
    let mut differences = Vec::new();
    for daily in Daily::ALL {
        let said = by_key(usage_days::said(db, daily, day).await?);
        let counted = by_key(usage_days::counted(db, daily, day).await?);
        differences.extend(roll_up_differences(Width::Day, &said, &counted));
    }
    Ok(differences)
}

fn roll_up_differences(
    width: Width,
    said: &BTreeMap<Key, usage_hourly::Model>,
    counted: &BTreeMap<Key, usage_hourly::Model>,
) -> Vec<Difference> {
    let keys = said.keys().chain(counted.keys().filter(|key| !said.contains_key(*key)));
    let of = |key: &Key| {
        let row = usage_hourly::Model::empty(key.clone());
        let (says, is) = (said.get(key).unwrap_or(&row), counted.get(key).unwrap_or(&row));
        let differing: Vec<_> = differing(says, is).collect();
        let one = move |(field, says, is)| Difference::RollUp { width, row: row.clone(), field, says, is };
        differing.into_iter().map(one)
    };
    keys.flat_map(of).collect()
}

/// The fields of two rows that are not the same.
fn differing<T: Serialize>(one: &T, other: &T) -> impl Iterator<Item = (String, Value, Value)> + use<T> {
    let fields = |row: &T| match json!(row) {
        Value::Object(fields) => fields,
        _ => serde_json::Map::new(),
    };
    let mut others = fields(other);
    fields(one).into_iter().filter_map(move |(name, one)| {
        let other = others.remove(&name).unwrap_or_default();
        (one != other).then_some((name, one, other))
    })
}

/// Records a question.
const CHUNK: usize = 500;
