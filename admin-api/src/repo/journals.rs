//! Which records of the gateways' journals are in the books.
//!
//! Several consumers book records of the same journal at once. Who changes a journal's ranges holds its lock until the
//! transaction ends, takes the locks of several journals in one order, and touches nothing else after the first: so
//! nobody waits in a circle. SQLite has one writer anyway.

use super::entity::usage_journals::{Column, Entity, Model};
use super::entity::usage_journals_ahead as ahead;
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict, Query};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, DbErr, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder,
    Statement,
};
use shared::ids::{JournalId, RequestId};
use shared::rules::journal::Ranges;
use shared::time::UnixMillis;
use std::collections::BTreeMap;

/// The ranges of these journals, as they are committed.
pub async fn ranges(
    db: &impl ConnectionTrait,
    journals: impl IntoIterator<Item = JournalId>,
) -> Result<BTreeMap<JournalId, Ranges>, DbErr> {
    let ids: Vec<String> = journals.into_iter().map(|id| id.to_string()).collect();
    let mut found: BTreeMap<JournalId, Ranges> = BTreeMap::new();
    if ids.is_empty() {
        return Ok(found);
    }
    let rows =
        Entity::find().filter(Column::JournalId.is_in(ids)).order_by_asc(Column::FirstSeq).all(db).await?;
    for Model { journal_id, first_seq, last_seq, .. } in rows {
        // What is no id was not written by us; what is no number neither.
        let Ok(journal) = journal_id.parse() else { continue };
        let (Ok(first), Ok(last)) = (first_seq.try_into(), last_seq.try_into()) else { continue };
        found.entry(journal).or_default().add(first, last);
    }
    Ok(found)
}

/// Lets nobody else change these journals until the transaction ends.
pub async fn lock(
    db: &impl ConnectionTrait,
    journals: impl IntoIterator<Item = JournalId>,
) -> Result<(), DbErr> {
    if db.get_database_backend() != DbBackend::Postgres {
        return Ok(());
    }
    let ids: Vec<String> = journals.into_iter().map(|id| id.to_string()).collect();
    let values = [LOCK.into(), serde_json::json!(ids).to_string().into()];
    db.query_all_raw(Statement::from_sql_and_values(DbBackend::Postgres, TAKE_LOCKS, values)).await?;
    Ok(())
}

/// Makes a locked journal's ranges these.
pub async fn save(
    db: &impl ConnectionTrait,
    journal: JournalId,
    before: &Ranges,
    after: &Ranges,
    now: UnixMillis,
) -> Result<(), DbErr> {
    let is_old = |first: u64| before.iter().any(|(start, _)| start == first);
    let gone = before.iter().filter(|(first, _)| !after.iter().any(|(start, _)| start == *first));
    let gone: Vec<i64> = gone.map(|(first, _)| big(first)).collect();
    let id = journal.to_string();
    if !gone.is_empty() {
        let of_it = Column::JournalId.eq(&id).and(Column::FirstSeq.is_in(gone));
        Entity::delete_many().filter(of_it).exec(db).await?;
    }
    // A journal that is heard of is not forgotten: its first range says so, changed or not.
    let changed = after.iter().enumerate().filter(|(n, (first, last))| {
        *n == 0 || !is_old(*first) || !before.iter().any(|range| range == (*first, *last))
    });
    let rows: Vec<_> = changed
        .map(|(_, (first, last))| Model {
            journal_id: id.clone(),
            first_seq: big(first),
            last_seq: big(last),
            updated_at_ms: now.0,
        })
        .map(IntoActiveModel::into_active_model)
        .collect();
    if !rows.is_empty() {
        let conflict = OnConflict::columns([Column::JournalId, Column::FirstSeq])
            .update_columns([Column::LastSeq, Column::UpdatedAtMs])
            .to_owned();
        Entity::insert_many(rows).on_conflict(conflict).exec_without_returning(db).await?;
    }
    Ok(())
}

/// Keeps which requests a locked journal has booked (`booked`: numbers and requests) above its watermark, and forgets those
/// that it has come to. Nothing to do for one that is booked in its order.
pub async fn save_ahead(
    db: &impl ConnectionTrait,
    journal: JournalId,
    before: &Ranges,
    after: &Ranges,
    booked: impl Iterator<Item = (u64, RequestId)>,
) -> Result<(), DbErr> {
    let watermark = after.watermark();
    let id = journal.to_string();
    if before.is_ahead() && watermark > before.watermark() {
        let passed = ahead::Column::JournalId.eq(&id).and(ahead::Column::Seq.lte(big(watermark)));
        ahead::Entity::delete_many().filter(passed).exec(db).await?;
    }
    let ahead = booked.filter(|(seq, _)| *seq > watermark);
    // A record that is in a batch twice is inserted once.
    let ahead: BTreeMap<u64, RequestId> = ahead.collect();
    let rows: Vec<_> = ahead
        .into_iter()
        .map(|(seq, request)| {
            let row = ahead::Model { journal_id: id.clone(), seq: big(seq), request_id: request.to_string() };
            row.into_active_model()
        })
        .collect();
    if !rows.is_empty() {
        let key = [ahead::Column::JournalId, ahead::Column::Seq];
        let conflict = OnConflict::columns(key).do_nothing().to_owned();
        ahead::Entity::insert_many(rows).on_conflict(conflict).exec_without_returning(db).await?;
    }
    Ok(())
}

/// A journal that is booked whole up to a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// Its id.
    pub journal: JournalId,
    /// The number.
    pub seq: u64,
    /// When a record of it was last booked, new or known: each time the first range is written.
    pub heard: UnixMillis,
}

/// Up to where each journal is booked whole.
pub async fn watermarks(db: &impl ConnectionTrait) -> Result<Vec<Watermark>, DbErr> {
    let rows = Entity::find().filter(Column::FirstSeq.lte(1)).all(db).await?;
    let watermark = |row: Model| {
        let (journal, seq) = (row.journal_id.parse().ok()?, row.last_seq.try_into().ok()?);
        Some(Watermark { journal, seq, heard: UnixMillis(row.updated_at_ms) })
    };
    Ok(rows.into_iter().filter_map(watermark).collect())
}

/// Forgets journals that nothing was heard of since `before`, at most so many; answers how many rows that were.
pub async fn forget(db: &impl ConnectionTrait, before: UnixMillis, at_most: u64) -> Result<u64, DbErr> {
    let quiet = Query::select()
        .column(Column::JournalId)
        .from(Entity)
        .group_by_col(Column::JournalId)
        .and_having(Expr::col(Column::UpdatedAtMs).max().lt(before.0))
        .limit(at_most)
        .take();
    let forgotten =
        Entity::delete_many().filter(Expr::col(Column::JournalId).in_subquery(quiet)).exec(db).await?;
    // Nobody tells these any more.
    let known = Query::select().column(Column::JournalId).from(Entity).take();
    let unknown = Expr::col(ahead::Column::JournalId).not_in_subquery(known);
    ahead::Entity::delete_many().filter(unknown).exec(db).await?;
    Ok(forgotten.rows_affected)
}

fn big(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// In the order of the locks, not of the ids: two journals may share a lock.
const TAKE_LOCKS: &str = "SELECT pg_advisory_xact_lock($1, number) FROM (
    SELECT DISTINCT hashtext(value) AS number FROM json_array_elements_text($2::json) ORDER BY 1
) AS locks";
/// Any fixed number; it only has to be ours.
const LOCK: i32 = 603_478;
