//! `ledger check` finds what does not add up, and `rollups rebuild` makes it add up again.

use crate::books::{attempt, hourly, record, refused};
use crate::hub::{Hub, on_both};
use admin_api::config::DatabaseUrl;
use admin_api::jobs::days::Days;
use admin_api::repo::db::Db;
use admin_api::repo::entity::{request_log, usage_hourly};
use admin_api::service::books::book;
use admin_api::service::ledger_check::{Rebuilt, check, check_records, rebuild};
use admin_api::upkeep::{self, Check, LedgerTask, Task, TaskError};
use jiff::tz::TimeZone;
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter};
use shared::contract::usage::{Outcome, UsageRecord};
use shared::money::NanoUsd;
use shared::ports::{Lent, Receipt};
use shared::time::{HOUR_MS, UnixMillis};

on_both!(on:
    books_that_add_up_are_told_so,
    what_does_not_add_up_is_told_and_made_again,
    a_log_that_was_cleaned_up_is_no_difference,
    a_rebuild_beside_a_consumer_loses_nothing,
    a_journal_is_compared_with_the_ledger,
    a_day_that_is_not_the_sum_of_its_hours_is_told_and_made_again,
);

/// Several hours, users and models; some failed over, some refused, some that failed everywhere.
fn records(count: u64) -> Vec<UsageRecord> {
    let one = |n: u64| match n % 10 {
        7 => UsageRecord {
            attempts: vec![attempt(1, 22, Outcome::Failed, n), attempt(2, 21, Outcome::Served, n)],
            ..record(n)
        },
        8 => {
            let mut failed = record(n);
            failed.request.provider_id = None;
            failed.attempts = vec![attempt(1, 21, Outcome::Failed, n), attempt(2, 22, Outcome::Failed, n)];
            failed
        }
        9 => refused(n),
        _ => record(n),
    };
    (0..count).map(one).collect()
}

async fn booked(db: &Db, records: &[UsageRecord]) {
    let lent = |record: &UsageRecord| Lent { receipt: Receipt(0, 0), place: None, record: record.clone() };
    book(db, &records.iter().map(lent).collect::<Vec<_>>()).await.unwrap();
}

async fn told(db: &Db) -> Vec<String> {
    let mut lines = Vec::new();
    let count = check(db, |difference| lines.push(difference.to_string())).await.unwrap();
    assert_eq!(count, lines.len() as u64);
    lines
}

async fn books_that_add_up_are_told_so(hub: Hub) {
    let db = hub.handle.admin().db();
    assert_eq!(told(db).await, [""; 0]);
    let mut records = records(150);
    // An upstream that lies, and a seat that names no model.
    records[0].attempts[0].usage.input_tokens = u64::MAX;
    records[1].attempts[0].cost.total = NanoUsd(i64::MAX);
    records[2].request.model = None;
    booked(db, &records).await;
    assert_eq!(told(db).await, [""; 0]);
    let rows = hourly(&hub).await;
    assert_eq!(rebuild(db).await.unwrap(), Rebuilt { hours: 3, ..Rebuilt::default() });
    assert_eq!(hourly(&hub).await, rows);
}

async fn what_does_not_add_up_is_told_and_made_again(hub: Hub) {
    let db = hub.handle.admin().db();
    booked(db, &records(150)).await;
    let rows = hourly(&hub).await;
    let hour = rows[0].hour_start_ms;
    for sql in [
        format!("UPDATE usage_hourly SET cost_nano_usd = cost_nano_usd + 1 WHERE hour_start_ms = {hour}"),
        format!("DELETE FROM usage_hourly WHERE hour_start_ms = {hour} + {HOUR_MS} AND provider_id = 21"),
        format!("UPDATE usage_hourly SET requests = 99 WHERE hour_start_ms = {hour} + 2 * {HOUR_MS}"),
    ] {
        db.reader().execute_unprepared(&sql).await.unwrap();
    }
    let lines = told(db).await;
    assert!(
        lines.iter().all(|line| line.starts_with("roll-up 2026-") && line.contains(" comes to ")),
        "{lines:?}"
    );
    let all = lines.join("\n");
    assert!(
        ["cost_nano_usd is", "output_tokens is 0,", "requests is 99,"].iter().all(|part| all.contains(part))
    );
    assert_eq!(rebuild(db).await.unwrap(), Rebuilt { hours: 3, changed: 3, ..Rebuilt::default() });
    assert_eq!(hourly(&hub).await, rows);
    assert_eq!(told(db).await, [""; 0]);

    // What the log says is told; nobody makes it again.
    let of = |n: u64| record(n).request.id.to_string();
    for sql in [
        format!("UPDATE request_log SET input_tokens = input_tokens + 1 WHERE id = '{}'", of(3)),
        format!("DELETE FROM ledger WHERE request_id = '{}'", of(4)),
        format!("DELETE FROM request_log WHERE id = '{}'", of(5)),
    ] {
        db.reader().execute_unprepared(&sql).await.unwrap();
    }
    rebuild(db).await.unwrap();
    let lines = told(db).await;
    assert_eq!(lines.len(), 3, "{lines:?}");
    for (n, part) in [(3, "1 attempts"), (4, "the ledger 0, 0, 0"), (5, "none in the log")] {
        assert!(lines.iter().any(|line| line.contains(&of(n)) && line.contains(part)), "{n}: {lines:?}");
    }
}

async fn a_log_that_was_cleaned_up_is_no_difference(hub: Hub) {
    let db = hub.handle.admin().db();
    booked(db, &records(150)).await;
    let rows = hourly(&hub).await;
    // In the middle of the second hour.
    let from = rows[0].hour_start_ms + HOUR_MS * 3 / 2;
    let older = request_log::Column::CreatedAtMs.lt(from);
    request_log::Entity::delete_many().filter(older).exec(db.reader()).await.unwrap();
    assert_eq!(told(db).await, [""; 0]);
    db.reader().execute_unprepared("UPDATE usage_hourly SET output_tokens = 1").await.unwrap();
    assert_eq!(rebuild(db).await.unwrap().changed, 3);
    assert_eq!(hourly(&hub).await, rows, "with the requests that nobody else knows any more");
}

async fn a_rebuild_beside_a_consumer_loses_nothing(hub: Hub) {
    let db = hub.handle.admin().db();
    let records = records(300);
    let consuming = async {
        for batch in records.chunks(5) {
            booked(db, batch).await;
        }
    };
    let rebuilding = async {
        for _ in 0..5 {
            rebuild(db).await.unwrap();
        }
    };
    tokio::join!(consuming, rebuilding);
    assert_eq!(told(db).await, [""; 0]);
    let rows = usage_hourly::Entity::find().all(db.reader()).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.requests).sum::<i64>(), 300);
}

async fn a_journal_is_compared_with_the_ledger(hub: Hub) {
    let db = hub.handle.admin().db();
    let mut journal = records(20);
    booked(db, &journal[1..]).await;
    journal[2].attempts[0].usage.output_tokens += 1;
    let mut lines = Vec::new();
    let found =
        check_records(db, journal.clone(), |difference| lines.push(difference.to_string())).await.unwrap();
    let of = |n: usize| journal[n].request.id.to_string();
    assert_eq!(found, 2);
    assert_eq!(lines[0], format!("request {} attempt 1: in the journal, not in the ledger", of(0)));
    let (journal, ledger) = (7, 6);
    assert_eq!(
        lines[1],
        format!(
            "request {} attempt 1: output_tokens is {journal} in the journal, {ledger} in the ledger",
            of(2)
        )
    );
}

async fn a_day_that_is_not_the_sum_of_its_hours_is_told_and_made_again(hub: Hub) {
    let db = hub.handle.admin().db();
    let records = records(150);
    booked(db, &records).await;
    let now = UnixMillis(records[149].request.started_at.0 + 48 * HOUR_MS);
    let days = Days::new(db.clone(), TimeZone::UTC);
    assert!(days.step(now).await.unwrap() > 0);
    assert_eq!(told(db).await, [""; 0]);
    for (sql, part) in [
        (
            "UPDATE usage_daily_keys SET cost_nano_usd = cost_nano_usd + 1 WHERE key_id = 11",
            "key 11 provider 0",
        ),
        (
            "DELETE FROM usage_daily_models WHERE provider_id = 22",
            "provider 22 model \"model-1\": output_tokens is 0",
        ),
        (
            "UPDATE usage_daily_models SET model = 'other' WHERE provider_id = 21 AND model = 'model-0'",
            "model \"other\"",
        ),
    ] {
        db.reader().execute_unprepared(sql).await.unwrap();
        let lines = told(db).await;
        assert!(lines.iter().all(|line| line.starts_with("roll-up of the day from 2026-")), "{lines:?}");
        assert!(lines.join("\n").contains(part), "{part}: {lines:?}");
        let Rebuilt { changed, changed_days, .. } = rebuild(db).await.unwrap();
        assert_eq!((changed, changed_days), (0, 1));
        assert_eq!(told(db).await, [""; 0]);
    }
    // Hours that are made again take their day with them.
    db.reader().execute_unprepared("UPDATE usage_hourly SET output_tokens = 1").await.unwrap();
    let Rebuilt { changed, changed_days, .. } = rebuild(db).await.unwrap();
    assert_eq!((changed, changed_days), (3, 1));
    assert_eq!(told(db).await, [""; 0]);
    assert_eq!(days.step(now).await.unwrap(), 0, "nothing is left to do");
}

#[test]
fn a_check_of_a_database_that_is_not_there_makes_none() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("hub.sqlite");
    let check = Task::Ledger(LedgerTask::Check(Check::default()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let told = runtime.block_on(upkeep::run(&check, &DatabaseUrl::Sqlite(file.clone()), |_| {})).unwrap_err();
    let TaskError::Open(told) = told else { panic!("{told:?}") };
    assert!(told.to_string().starts_with(&format!("there is no database {}", file.display())), "{told}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}
