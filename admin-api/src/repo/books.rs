//! Writes the books: request log, ledger and roll-ups, and what they refuse. Each insert answers which rows are
//! really new.

use super::entity::{ledger, request_log, usage_dead_letters, usage_hourly};
use super::log_parts;
use sea_orm::sea_query::{Alias, Expr, ExprTrait, OnConflict};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbErr, EntityTrait, IntoActiveModel, Iterable, PaginatorTrait,
    QueryTrait,
};
use shared::time::UnixMillis;
use std::collections::HashSet;

/// Inserts log rows; answers the ids of those that were not there. The rows must be in the order of their ids: two
/// consumers that have some in common then wait for each other in one order.
pub async fn insert_requests(
    db: &impl ConnectionTrait,
    rows: &[request_log::Model],
) -> Result<HashSet<String>, DbErr> {
    log_parts::hold(db, rows.iter().map(|row| UnixMillis(row.created_at_ms))).await?;
    let mut fresh = HashSet::new();
    for chunk in rows.chunks(ROWS_PER_STATEMENT) {
        // Whichever key: Postgres' has the row's moment in it.
        let conflict = OnConflict::new().do_nothing().to_owned();
        let rows = chunk.iter().cloned().map(IntoActiveModel::into_active_model);
        let mut insert = request_log::Entity::insert_many(rows).on_conflict(conflict).into_query();
        insert.returning_col(request_log::Column::Id);
        for row in db.query_all(&insert).await? {
            fresh.insert(row.try_get_by_index::<String>(0)?);
        }
    }
    Ok(fresh)
}

/// Inserts ledger rows; answers the (request id, attempt) of those that were not there. The rows must be in this order.
pub async fn insert_attempts(
    db: &impl ConnectionTrait,
    rows: &[ledger::Model],
) -> Result<HashSet<(String, i32)>, DbErr> {
    use ledger::Column::{Attempt, RequestId};
    let mut fresh = HashSet::new();
    for chunk in rows.chunks(ROWS_PER_STATEMENT) {
        let conflict = OnConflict::columns([RequestId, Attempt]).do_nothing().to_owned();
        let rows = chunk.iter().cloned().map(IntoActiveModel::into_active_model);
        let mut insert = ledger::Entity::insert_many(rows).on_conflict(conflict).into_query();
        insert.returning(sea_orm::sea_query::Query::returning().columns([RequestId, Attempt]));
        for row in db.query_all(&insert).await? {
            fresh.insert((row.try_get_by_index::<String>(0)?, row.try_get_by_index::<i32>(1)?));
        }
    }
    Ok(fresh)
}

/// Adds these sums to the roll-ups. The rows must be in the order of their key, each key once: every consumer
/// then locks them in the same order.
pub async fn add_hourly(db: &impl ConnectionTrait, rows: &[usage_hourly::Model]) -> Result<(), DbErr> {
    use usage_hourly::Column::{HourStartMs, KeyId, Model, ProviderId, UserId};
    let key = [HourStartMs, UserId, KeyId, ProviderId, Model];
    let is_sum =
        |column: &usage_hourly::Column| !matches!(column, HourStartMs | UserId | KeyId | ProviderId | Model);
    for chunk in rows.chunks(ROWS_PER_STATEMENT) {
        let mut conflict = OnConflict::columns(key);
        for column in usage_hourly::Column::iter().filter(is_sum) {
            let old = Expr::col((usage_hourly::Entity, column));
            conflict.value(column, old.add(Expr::col((Alias::new("excluded"), column))));
        }
        let rows = chunk.iter().cloned().map(IntoActiveModel::into_active_model);
        usage_hourly::Entity::insert_many(rows).on_conflict(conflict).exec_without_returning(db).await?;
    }
    Ok(())
}

/// Keeps a refused record; false when it is kept already.
pub async fn insert_dead_letter(
    db: &impl ConnectionTrait,
    row: usage_dead_letters::ActiveModel,
) -> Result<bool, DbErr> {
    let conflict = OnConflict::column(usage_dead_letters::Column::RequestId).do_nothing().to_owned();
    let inserted = usage_dead_letters::Entity::insert_many([row])
        .on_conflict(conflict)
        .exec_without_returning(db)
        .await?;
    Ok(inserted > 0)
}

/// How many refused records are kept.
pub async fn count_dead_letters(db: &DatabaseConnection) -> Result<u64, DbErr> {
    usage_dead_letters::Entity::find().count(db).await
}

/// The widest table has 36 columns; SQLite takes 32 766 parameters a statement.
const ROWS_PER_STATEMENT: usize = 500;
/// No attempt takes 10¹⁵ tokens or costs a million dollars (10¹⁵ nano-USD). Held to that, an hour's sum stays
/// within 64 bits for nine thousand lying attempts; a sum beyond them the database would refuse for ever.
pub const MOST_OF_ONE_ATTEMPT: i64 = 1_000_000_000_000_000;
