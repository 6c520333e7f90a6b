//! Sums by day: which days have them, how they are made of the hours, and what they say.
//!
//! A day's sums hold while it is in `usage_days` and not in `usage_days_reopened`, where triggers put it when one of its
//! hours changes. So whoever makes sums keeps others from changing hours meanwhile ([`super::recount::hold_rollups`]), and
//! whoever reads them asks within one moment ([`super::db::Db::read_moment`]) which days hold.

use super::db::Db;
use super::entity::usage_hourly::Model;
use super::recount::{QUANTITIES, hold_rollups, number, statement, sums_of_quantities};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, FromQueryResult, QueryResult};
use shared::rules::usage_days::Span;
use shared::time::UnixMillis;
use std::collections::BTreeSet;

/// What is summed by day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Daily {
    /// What each key used.
    Keys,
    /// What was used of each provider's models.
    Models,
}

impl Daily {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Keys, Self::Models];

    /// Its table.
    #[must_use]
    pub fn table(self) -> &'static str {
        match self {
            Self::Keys => "usage_daily_keys",
            Self::Models => "usage_daily_models",
        }
    }

    /// The columns of a roll-up by which it sums.
    fn columns(self) -> &'static str {
        match self {
            Self::Keys => "user_id, key_id",
            Self::Models => "provider_id, model",
        }
    }

    /// All columns of a roll-up before its sums; 0 or empty where it does not tell them apart.
    pub(super) fn as_roll_up(self) -> &'static str {
        match self {
            Self::Keys => "user_id, key_id, CAST(0 AS BIGINT) AS provider_id, '' AS model",
            Self::Models => "CAST(0 AS BIGINT) AS user_id, CAST(0 AS BIGINT) AS key_id, provider_id, model",
        }
    }
}

/// The first hour that was used.
pub async fn first_hour(db: &impl ConnectionTrait) -> Result<Option<UnixMillis>, DbErr> {
    Ok(number(db, "SELECT MIN(hour_start_ms) FROM usage_hourly".to_owned()).await?.map(UnixMillis))
}

/// The days whose sums hold.
pub async fn that_hold(db: &impl ConnectionTrait) -> Result<BTreeSet<Span>, DbErr> {
    spans(db, "day_start_ms NOT IN (SELECT day_start_ms FROM usage_days_reopened)").await
}

/// The days that were summed, also those whose hours have changed.
pub async fn all(db: &impl ConnectionTrait) -> Result<BTreeSet<Span>, DbErr> {
    spans(db, "TRUE").await
}

/// Makes the sums of a day, instead of all that lie within it. Nobody else may change hours meanwhile.
pub async fn make(tx: &impl ConnectionTrait, day: Span) -> Result<(), DbErr> {
    let (start, end) = (day.start.0, day.end.0);
    for old in spans(tx, &format!("day_start_ms < {end} AND day_end_ms > {start}")).await? {
        for table in ["usage_daily_keys", "usage_daily_models", "usage_days_reopened", "usage_days"] {
            let forget = format!("DELETE FROM {table} WHERE day_start_ms = {}", old.start.0);
            tx.execute_unprepared(&forget).await?;
        }
    }
    for daily in Daily::ALL {
        let (table, columns, quantities) = (daily.table(), daily.columns(), QUANTITIES.join(", "));
        let make = format!(
            "INSERT INTO {table} (day_start_ms, {columns}, requests, {quantities})
            SELECT {start}, {columns}, SUM(requests), {sums} FROM usage_hourly WHERE {0} GROUP BY {columns}",
            within(day),
            sums = QUANTITIES.map(|name| format!("SUM({name})")).join(", "),
        );
        tx.execute_unprepared(&make).await?;
    }
    let tell = format!("INSERT INTO usage_days (day_start_ms, day_end_ms) VALUES ({start}, {end})");
    tx.execute_unprepared(&tell).await.map(|_| ())
}

/// Makes the sums of a day unless they hold; false when they did. Waits for those who book for three seconds only: who
/// books meanwhile waits behind it.
pub async fn make_once(db: &Db, day: Span) -> Result<bool, DbErr> {
    let tx = db.write().await?;
    if tx.get_database_backend() == DbBackend::Postgres {
        tx.execute_unprepared("SET LOCAL lock_timeout = '3s'").await?;
    }
    hold_rollups(&tx).await?;
    let is_missing = !that_hold(&tx).await?.contains(&day);
    if is_missing {
        make(&tx, day).await?;
    }
    tx.commit().await?;
    Ok(is_missing)
}

/// What the sums of a day say, as roll-ups of its start.
pub async fn said(db: &impl ConnectionTrait, daily: Daily, day: Span) -> Result<Vec<Model>, DbErr> {
    let sql = format!(
        "SELECT day_start_ms AS hour_start_ms, {}, requests, {} FROM {} WHERE day_start_ms = {}",
        daily.as_roll_up(),
        QUANTITIES.join(", "),
        daily.table(),
        day.start.0,
    );
    Model::find_by_statement(statement(db, sql)).all(db).await
}

/// What the hours of a day come to, as [`said`] does.
pub async fn counted(db: &impl ConnectionTrait, daily: Daily, day: Span) -> Result<Vec<Model>, DbErr> {
    let sql = format!(
        "SELECT CAST({} AS BIGINT) AS hour_start_ms, {}, {} FROM usage_hourly WHERE {} GROUP BY {}",
        day.start.0,
        daily.as_roll_up(),
        sums_of_quantities(),
        within(day),
        daily.columns(),
    );
    Model::find_by_statement(statement(db, sql)).all(db).await
}

fn within(day: Span) -> String {
    format!("hour_start_ms >= {} AND hour_start_ms < {}", day.start.0, day.end.0)
}

async fn spans(db: &impl ConnectionTrait, which: &str) -> Result<BTreeSet<Span>, DbErr> {
    let sql = format!("SELECT day_start_ms, day_end_ms FROM usage_days WHERE {which}");
    let rows = db.query_all_raw(statement(db, sql)).await?;
    let span = |row: &QueryResult| {
        Ok(Span { start: UnixMillis(row.try_get_by_index(0)?), end: UnixMillis(row.try_get_by_index(1)?) })
    };
    rows.iter().map(span).collect()
}
