//! Counts an hour again: what its rows in the ledger and the log come to, beside what the roll-ups say.

use super::entity::usage_hourly::{self, Column, Entity, Model};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, DbErr, EntityTrait, FromQueryResult, QueryFilter, Statement,
};
use shared::time::{HOUR_MS, UnixMillis};

/// The first hour from `from` on that has a row in the ledger, the log or the roll-ups.
pub async fn next_hour(db: &impl ConnectionTrait, from: UnixMillis) -> Result<Option<UnixMillis>, DbErr> {
    let from = from.0;
    let sql = format!(
        "SELECT MIN(t) FROM (
            SELECT MIN(created_at_ms) AS t FROM ledger WHERE created_at_ms >= {from}
            UNION ALL SELECT MIN(created_at_ms) FROM request_log WHERE created_at_ms >= {from}
            UNION ALL SELECT MIN(hour_start_ms) FROM usage_hourly WHERE hour_start_ms >= {from}
        ) AS firsts"
    );
    Ok(number(db, sql).await?.map(|at| UnixMillis(at).hour_start()))
}

/// From which hour on the log has all requests: from its first one, but that a clean-up may have cut. `None`: it is empty.
pub async fn log_is_whole_from(db: &impl ConnectionTrait) -> Result<Option<UnixMillis>, DbErr> {
    let Some(first) = number(db, "SELECT MIN(created_at_ms) FROM request_log".to_owned()).await? else {
        return Ok(None);
    };
    let hour = UnixMillis(first).hour_start();
    let older = format!("SELECT MIN(hour_start_ms) FROM usage_hourly WHERE hour_start_ms < {}", hour.0);
    let is_cut = number(db, older).await?.is_some();
    Ok(Some(if is_cut { UnixMillis(hour.0 + HOUR_MS) } else { hour }))
}

/// What the roll-ups say of this hour.
pub async fn rollups(db: &impl ConnectionTrait, hour: UnixMillis) -> Result<Vec<Model>, DbErr> {
    Entity::find().filter(Column::HourStartMs.eq(hour.0)).all(db).await
}

/// What the ledger comes to: the sums of this hour, without requests.
pub async fn ledger_sums(
    db: &impl ConnectionTrait,
    hour: UnixMillis,
    most: i64,
) -> Result<Vec<Model>, DbErr> {
    let sums =
        QUANTITIES.map(|name| format!("CAST(SUM({}) AS BIGINT) AS {name}", held(name, most))).join(", ");
    let sql = format!(
        "SELECT CAST({0} AS BIGINT) AS hour_start_ms, user_id, key_id, provider_id, COALESCE(model, '') AS model,
            CAST(0 AS BIGINT) AS requests, {sums}
        FROM ledger WHERE {1} GROUP BY user_id, key_id, provider_id, COALESCE(model, '')",
        hour.0,
        within("created_at_ms", hour),
    );
    Model::find_by_statement(statement(db, sql)).all(db).await
}

/// What the log comes to: the requests of this hour, without sums. A request is counted with who answered, else the last
/// one tried, else nobody (0).
pub async fn request_counts(db: &impl ConnectionTrait, hour: UnixMillis) -> Result<Vec<Model>, DbErr> {
    let sums = QUANTITIES.map(|name| format!("CAST(0 AS BIGINT) AS {name}")).join(", ");
    let sql = format!(
        "SELECT CAST({0} AS BIGINT) AS hour_start_ms, user_id, key_id, counted_with AS provider_id, model,
            CAST(COUNT(*) AS BIGINT) AS requests, {sums}
        FROM (
            SELECT user_id, key_id, COALESCE(model, '') AS model, COALESCE(provider_id, (
                SELECT l.provider_id FROM ledger l WHERE l.request_id = r.id ORDER BY l.attempt DESC LIMIT 1
            ), 0) AS counted_with
            FROM request_log r WHERE {1}
        ) AS requests GROUP BY user_id, key_id, counted_with, model",
        hour.0,
        within("created_at_ms", hour),
    );
    Model::find_by_statement(statement(db, sql)).all(db).await
}

/// A request whose log row is not the sum of its ledger rows.
#[derive(Clone, Debug, PartialEq, Eq, FromQueryResult)]
pub struct LogDifference {
    /// The request.
    pub request_id: String,
    /// Attempts by the log; `None` when it has no row.
    pub log_attempts: Option<i64>,
    /// Attempts by the ledger.
    pub ledger_attempts: i64,
    /// Tokens of all classes by the log.
    pub log_tokens: Option<i64>,
    /// Tokens of all classes by the ledger.
    pub ledger_tokens: i64,
    /// Cost by the log.
    pub log_cost_nano_usd: Option<i64>,
    /// Cost by the ledger.
    pub ledger_cost_nano_usd: i64,
}

/// The requests of an hour whose log row is not the sum of their ledger rows, or (`log_is_whole`) is missing.
pub async fn log_differences(
    db: &impl ConnectionTrait,
    hour: UnixMillis,
    most: i64,
    log_is_whole: bool,
) -> Result<Vec<LogDifference>, DbErr> {
    let columns = QUANTITIES.map(|name| held(name, most));
    let sums =
        QUANTITIES.map(|name| format!("CAST(SUM({}) AS BIGINT) AS {name}", held(name, most))).join(", ");
    let [logged, booked] =
        ["r", "l"].map(|table| QUANTITIES.map(|name| held(&format!("{table}.{name}"), most)));
    let differs: Vec<String> =
        (0..columns.len()).map(|n| format!("{} <> COALESCE({}, 0)", logged[n], booked[n])).collect();
    let tokens = |of: &[String; 10]| {
        of[..8].iter().map(|c| format!("COALESCE({c}, 0)")).collect::<Vec<_>>().join(" + ")
    };
    let missing = if log_is_whole { "r.id IS NULL" } else { "FALSE" };
    let sql = format!(
        "WITH l AS (
            SELECT request_id, CAST(COUNT(*) AS BIGINT) AS attempts, {sums} FROM ledger WHERE {0} GROUP BY request_id
        ), r AS (SELECT * FROM request_log WHERE {0})
        SELECT COALESCE(r.id, l.request_id) AS request_id,
            CAST(r.attempts AS BIGINT) AS log_attempts, COALESCE(l.attempts, 0) AS ledger_attempts,
            CASE WHEN r.id IS NULL THEN NULL ELSE {1} END AS log_tokens, {2} AS ledger_tokens,
            r.cost_nano_usd AS log_cost_nano_usd, COALESCE(l.cost_nano_usd, 0) AS ledger_cost_nano_usd
        FROM r FULL OUTER JOIN l ON l.request_id = r.id
        WHERE {missing} OR (r.id IS NOT NULL AND (r.attempts <> COALESCE(l.attempts, 0) OR {3}))
        ORDER BY 1",
        within("created_at_ms", hour),
        tokens(&logged),
        tokens(&booked),
        differs.join(" OR "),
    );
    LogDifference::find_by_statement(statement(db, sql)).all(db).await
}

/// Keeps others from changing the roll-ups until the transaction ends, and waits for those who are at it. Who has booked
/// but not added yet adds afterwards.
pub async fn hold_rollups(db: &impl ConnectionTrait) -> Result<(), DbErr> {
    if db.get_database_backend() == DbBackend::Postgres {
        db.execute_unprepared("LOCK TABLE usage_hourly IN SHARE ROW EXCLUSIVE MODE").await?;
    }
    Ok(())
}

/// Forgets the roll-ups of this hour.
pub async fn delete_rollups(db: &impl ConnectionTrait, hour: UnixMillis) -> Result<(), DbErr> {
    let of_it = usage_hourly::Column::HourStartMs.eq(hour.0);
    Entity::delete_many().filter(of_it).exec(db).await.map(|_| ())
}

/// A column held to what one attempt may come to, as booking does ([`crate::service::books`]).
pub(super) fn held(column: &str, most: i64) -> String {
    format!("CASE WHEN {column} > {most} THEN {most} WHEN {column} < -{most} THEN -{most} ELSE {column} END")
}

fn within(column: &str, hour: UnixMillis) -> String {
    format!("{column} >= {} AND {column} < {}", hour.0, hour.0 + HOUR_MS)
}

/// Requests and quantities of roll-ups summed, under their own names.
pub(super) fn sums_of_quantities() -> String {
    let sum = |name: &str| format!("CAST(SUM({name}) AS BIGINT) AS {name}");
    std::iter::once("requests").chain(QUANTITIES).map(sum).collect::<Vec<_>>().join(", ")
}

pub(super) async fn number(db: &impl ConnectionTrait, sql: String) -> Result<Option<i64>, DbErr> {
    match db.query_one_raw(statement(db, sql)).await? {
        Some(row) => row.try_get_by_index(0),
        None => Ok(None),
    }
}

pub(super) fn statement(db: &impl ConnectionTrait, sql: String) -> Statement {
    Statement::from_string(db.get_database_backend(), sql)
}

/// Tokens first, then what is counted apart.
pub(super) const QUANTITIES: [&str; 10] = [
    "input_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "cache_read_tokens",
    "output_tokens",
    "reasoning_tokens",
    "image_input_tokens",
    "image_output_tokens",
    "web_search_requests",
    "cost_nano_usd",
];
