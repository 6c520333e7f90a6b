//! The days of the request log: made, listed, dropped. On Postgres each is a table of its own; SQLite has one table.
//!
//! Nobody who books or reads waits for a day to be made: a table is made apart and attached, which takes the
//! weakest lock that does (`SHARE UPDATE EXCLUSIVE`). That is why there is no default partition: attaching would lock and
//! search it. Nor does a record wait for a job: whoever books makes the days that are missing, in the same
//! transaction. Booking locks the log before it looks, so that no day is dropped between the look and the insert.

use super::db::Db;
use super::entity::request_log;
use sea_orm::{ColumnTrait, ConnectionTrait, DbBackend, DbErr, EntityTrait, QueryFilter, Statement};
use sea_orm::{QueryOrder, QuerySelect, QueryTrait};
use shared::rules::log_days::LogPart;
use shared::time::UnixMillis;
use std::collections::BTreeSet;

/// Sees to it that rows of these moments find their day, until the transaction ends.
pub async fn hold(tx: &impl ConnectionTrait, moments: impl Iterator<Item = UnixMillis>) -> Result<(), DbErr> {
    if tx.get_database_backend() != DbBackend::Postgres {
        return Ok(());
    }
    let wanted: BTreeSet<LogPart> = moments.map(LogPart::of).collect();
    tx.execute_unprepared("LOCK TABLE request_log IN ROW EXCLUSIVE MODE").await?;
    make(tx, &wanted).await.map(|_| ())
}

/// Makes those of these parts that are missing; answers how many that were. Several makers follow one another.
pub async fn make(tx: &impl ConnectionTrait, wanted: &BTreeSet<LogPart>) -> Result<usize, DbErr> {
    if wanted.is_subset(&parts(tx).await?) {
        return Ok(0);
    }
    tx.execute_unprepared("LOCK TABLE request_log IN SHARE UPDATE EXCLUSIVE MODE").await?;
    // Another maker may have been first.
    let there = parts(tx).await?;
    let mut made = 0;
    for part in wanted.difference(&there) {
        let name = format!("request_log_{}", part.suffix());
        let (from, to) = part.bounds();
        let from = from.map_or("MINVALUE".to_owned(), |at| at.0.to_string());
        let to = to.map_or("MAXVALUE".to_owned(), |at| at.0.to_string());
        // One that an operator detached is attached again, with its rows.
        let make = format!(
            "CREATE TABLE IF NOT EXISTS {name} (LIKE request_log INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
             ALTER TABLE request_log ATTACH PARTITION {name} FOR VALUES FROM ({from}) TO ({to});"
        );
        tx.execute_unprepared(&make).await?;
        made += 1;
    }
    Ok(made)
}

/// The parts that are there. Tables that somebody else has attached are not ours.
pub async fn parts(db: &impl ConnectionTrait) -> Result<BTreeSet<LogPart>, DbErr> {
    let rows = db.query_all_raw(Statement::from_string(DbBackend::Postgres, PARTS)).await?;
    let names = rows.iter().map(|row| row.try_get_by_index::<String>(0)).collect::<Result<Vec<_>, _>>()?;
    Ok(names.iter().filter_map(|name| LogPart::by_suffix(name.strip_prefix("request_log_")?)).collect())
}

/// Drops a part with its rows; false when somebody else does or has. Waits for the log's lock for a second only: who
/// books or reads waits behind it.
pub async fn discard(db: &Db, part: LogPart) -> Result<bool, DbErr> {
    let tx = db.write().await?;
    if !take_turn(&tx).await? || !parts(&tx).await?.contains(&part) {
        tx.commit().await?;
        return Ok(false);
    }
    let name = format!("request_log_{}", part.suffix());
    let drop = format!(
        "SET LOCAL lock_timeout = '1s';
         ALTER TABLE request_log DETACH PARTITION {name};
         DROP TABLE {name};"
    );
    tx.execute_unprepared(&drop).await?;
    tx.commit().await?;
    Ok(true)
}

/// Deletes at most so many of the rows before this moment, oldest first; answers how many that were.
pub async fn delete_before(tx: &impl ConnectionTrait, before: UnixMillis, most: u64) -> Result<u64, DbErr> {
    use request_log::Column::{CreatedAtMs, Id};
    let oldest = request_log::Entity::find()
        .select_only()
        .column(Id)
        .filter(CreatedAtMs.lt(before.0))
        .order_by_asc(CreatedAtMs)
        .limit(most)
        .into_query();
    let done = request_log::Entity::delete_many()
        .filter(CreatedAtMs.lt(before.0))
        .filter(Id.in_subquery(oldest))
        .exec(tx)
        .await?;
    Ok(done.rows_affected)
}

/// Lets one process at a time clean up, until the transaction ends; false when another one does.
pub async fn take_turn(tx: &impl ConnectionTrait) -> Result<bool, DbErr> {
    if tx.get_database_backend() != DbBackend::Postgres {
        return Ok(true);
    }
    let row = tx.query_one_raw(Statement::from_string(DbBackend::Postgres, CLEANING_LOCK)).await?;
    row.map_or(Ok(false), |row| row.try_get_by_index(0))
}

const PARTS: &str = "SELECT c.relname::text FROM pg_catalog.pg_inherits i \
                     JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid \
                     WHERE i.inhparent = 'request_log'::regclass";
/// Any fixed number; it only has to be ours.
const CLEANING_LOCK: &str = "SELECT pg_try_advisory_xact_lock(6034782190235)";
