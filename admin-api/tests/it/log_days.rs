//! The request log by day: any day is booked and found, what is past keeping goes, the ledger stays.

use crate::books::{book, hourly, record};
use crate::hub::{Database, Hub, Kind, on, on_both};
use admin_api::jobs::clean::{Cleaned, Cleaner};
use admin_api::repo::entity::{ledger, request_log};
use admin_api::service::books::Booked;
use migrations::{Migrator, MigratorTrait};
use sea_orm::{ConnectionTrait, DbBackend, EntityTrait, IntoActiveModel, QueryOrder, TransactionTrait};
use serde_json::json;
use shared::contract::usage::UsageRecord;
use shared::ids::RequestId;
use shared::time::UnixMillis;
use std::sync::Arc;

on_both!(on:
    a_record_of_any_day_is_booked_and_found,
    what_is_past_keeping_goes_and_what_was_used_stays,
    more_than_goes_at_a_time_goes_in_one_step,
    a_record_that_comes_again_after_its_log_row_went_counts_nothing_twice,
    cleaners_at_once_do_it_once,
);

mod steps {
    use super::*;

    on_both!(with_database: rows_from_before_the_days_are_kept);
}

fn at(text: &str) -> UnixMillis {
    UnixMillis::parse_rfc3339(text).unwrap()
}

/// A request that began then.
fn begun(n: u64, started_at: UnixMillis) -> UsageRecord {
    let mut record = record(n);
    record.request.started_at = started_at;
    record.request.id = RequestId::from_parts(started_at.0.cast_unsigned(), &[u8::try_from(n).unwrap(); 10]);
    record
}

async fn logged(hub: &Hub) -> Vec<String> {
    let page = hub.client.get("/api/v1/logs?limit=200").await.expect(200);
    let items = page["items"].as_array().unwrap().iter();
    items.map(|item| item["created_at"].as_str().unwrap().to_owned()).collect()
}

async fn a_record_of_any_day_is_booked_and_found(hub: Hub) {
    let db = hub.handle.admin().db();
    // A clock that is far ahead, a week's, one that is late, one that was never set.
    let moments = [
        "2150-01-01T00:00:00.000Z",
        "2099-12-31T23:59:59.999Z",
        "2026-11-25T00:00:00.000Z",
        "2026-11-24T23:59:59.999Z",
        "2021-06-01T12:00:00.000Z",
        "1970-01-01T00:00:00.000Z",
    ];
    let records: Vec<_> = (0..).zip(moments).map(|(n, moment)| begun(n, at(moment))).collect();
    let all = Booked { requests: 6, attempts: 6 };
    assert_eq!(book(db, &records).await.unwrap(), all);
    assert_eq!(book(db, &records).await.unwrap(), Booked::default());
    assert_eq!(logged(&hub).await, moments);
    for record in &records {
        let shown = hub.client.get(&format!("/api/v1/logs/{}", record.request.id)).await.expect(200);
        assert_eq!(shown["created_at"], record.request.started_at.to_string());
    }
    let other = RequestId::from_parts(at("2026-11-25T00:00:00Z").0.cast_unsigned(), &[0xee; 10]);
    hub.client.get(&format!("/api/v1/logs/{other}")).await.expect_problem(404, "not_found");
}

async fn what_is_past_keeping_goes_and_what_was_used_stays(hub: Hub) {
    let db = hub.handle.admin().db();
    let (now, cleaner) = (at("2090-11-25T15:00:00Z"), Cleaner::new(db.clone()));
    // The days that the start made are long past.
    cleaner.step(now).await.unwrap();
    let kept = ["2090-11-25T15:00:00.000Z", "2090-11-23T00:00:00.000Z"];
    let gone = ["2090-11-22T23:59:59.999Z", "2090-11-01T08:00:00.000Z", "1970-01-02T00:00:00.000Z"];
    let records: Vec<_> =
        (0..).zip(kept.into_iter().chain(gone)).map(|(n, moment)| begun(n, at(moment))).collect();
    book(db, &records).await.unwrap();
    let used = hourly(&hub).await;

    hub.client.patch("/api/v1/settings", json!({ "log_retention_days": 0 })).await.expect(200);
    let done = cleaner.step(now).await.unwrap();
    assert_eq!((done.dropped, done.deleted, logged(&hub).await.len()), (0, 0, 5), "all stay");

    hub.client.patch("/api/v1/settings", json!({ "log_retention_days": 2 })).await.expect(200);
    let done = cleaner.step(now).await.unwrap();
    let by_day = db.reader().get_database_backend() == DbBackend::Postgres;
    assert_eq!((done.dropped, done.deleted), if by_day { (2, 1) } else { (0, 3) });
    assert_eq!(logged(&hub).await, kept);
    assert_eq!(ledger::Entity::find().all(db.reader()).await.unwrap().len(), 5);
    assert_eq!(hourly(&hub).await, used);
    assert_eq!(cleaner.step(now).await.unwrap(), Cleaned::default(), "once");
}

async fn more_than_goes_at_a_time_goes_in_one_step(hub: Hub) {
    let db = hub.handle.admin().db();
    // Of a day that no part was made for: row by row in either database.
    let long_ago = at("1970-01-02T00:00:00Z");
    let records: Vec<_> = (0..1_203).map(|n| begun(n % 250, long_ago.plus_ms(n))).collect();
    for some in records.chunks(200) {
        book(db, some).await.unwrap();
    }
    let kept = begun(1, at("2090-11-25T15:00:00Z"));
    book(db, std::slice::from_ref(&kept)).await.unwrap();
    let cleaner = Cleaner::new(db.clone());
    let done = cleaner.step(at("2090-11-25T16:00:00Z")).await.unwrap();
    assert_eq!(done.deleted, 1_203);
    assert_eq!(logged(&hub).await, [kept.request.started_at.to_string()]);
}

async fn a_record_that_comes_again_after_its_log_row_went_counts_nothing_twice(hub: Hub) {
    let db = hub.handle.admin().db();
    let old = begun(1, at("2026-01-01T00:00:00Z"));
    book(db, std::slice::from_ref(&old)).await.unwrap();
    let used = hourly(&hub).await;
    Cleaner::new(db.clone()).step(at("2090-11-25T15:00:00Z")).await.unwrap();
    assert!(logged(&hub).await.is_empty());
    book(db, &[old]).await.unwrap();
    assert_eq!(hourly(&hub).await, used);
}

async fn cleaners_at_once_do_it_once(hub: Hub) {
    let db = hub.handle.admin().db();
    let now = at("2090-11-25T15:00:00Z");
    book(db, &[begun(1, at("2026-11-25T00:00:00Z"))]).await.unwrap();
    Cleaner::new(db.clone()).make_ahead(now).await.unwrap();
    // The days that the start made are past keeping as well.
    let days = match db.reader().get_database_backend() {
        DbBackend::Postgres => admin_api::repo::log_parts::parts(db.reader()).await.unwrap().len(),
        _ => 0,
    };
    let (one, two) = (Cleaner::new(db.clone()), Cleaner::new(db.clone()));
    let (one, two) = tokio::join!(one.step(now), two.step(now));
    let (mut one, two) = (one.unwrap(), two.unwrap());
    let rest = Cleaner::new(db.clone()).step(now).await.unwrap();
    one.dropped += two.dropped + rest.dropped;
    one.deleted += two.deleted + rest.deleted;
    // Today, the week ahead and the two parts without a day stay.
    let expected = if days > 0 { (days - 10, 0) } else { (0, 1) };
    assert_eq!((one.dropped, one.deleted), expected);
    assert!(logged(&hub).await.is_empty());
}

/// The schema as it was before the step, rows in it, and the step there, back and there again.
async fn rows_from_before_the_days_are_kept(database: Arc<Database>) {
    if database.kind == Kind::Postgres {
        let server = testbed::Postgres::shared();
        let name = database.dsn.rsplit('/').find(|part| part.contains('?')).unwrap();
        let name = name.split('?').next().unwrap();
        let _ = server.sql("postgres", &format!("CREATE DATABASE \"{name}\""));
    }
    let dsn = if database.kind == Kind::Sqlite {
        format!("{}?mode=rwc", database.dsn)
    } else {
        database.dsn.clone()
    };
    let db = sea_orm::Database::connect(dsn).await.unwrap();
    let steps = Migrator::migrations();
    let days = steps.iter().position(|step| step.name() == "m20261125_000008_request_log_days").unwrap();
    let (before, from_there) = (u32::try_from(days).unwrap(), u32::try_from(steps.len() - days).unwrap());
    Migrator::up(&db, Some(before)).await.unwrap();
    let rows: Vec<_> =
        ["1970-01-01T00:00:00Z", "2026-11-24T23:59:59.999Z", "2026-11-25T00:00:00Z", "2200-01-01T00:00:00Z"]
            .into_iter()
            .enumerate()
            .map(|(n, moment)| row(n, at(moment)))
            .collect();
    let inserted = rows.iter().cloned().map(IntoActiveModel::into_active_model);
    request_log::Entity::insert_many(inserted).exec_without_returning(&db).await.unwrap();
    let stored = async || {
        let sorted = request_log::Entity::find().order_by_asc(request_log::Column::CreatedAtMs);
        sorted.all(&db).await.unwrap()
    };
    Migrator::up(&db, None).await.unwrap();
    assert_eq!(stored().await, rows);
    Migrator::down(&db, Some(from_there)).await.unwrap();
    assert_eq!(stored().await, rows);
    Migrator::up(&db, None).await.unwrap();
    assert_eq!(stored().await, rows);
    db.close().await.unwrap();
    // Into a day that the step made.
    let hub = Hub::start(&database).await;
    book(hub.handle.admin().db(), &[begun(9, at("2026-11-25T09:00:00Z"))]).await.unwrap();
    assert_eq!(logged(&hub).await.len(), 5);
}

fn row(n: usize, created_at: UnixMillis) -> request_log::Model {
    let id = RequestId::from_parts(created_at.0.cast_unsigned(), &[u8::try_from(n).unwrap(); 10]);
    request_log::Model {
        id: id.to_string(),
        created_at_ms: created_at.0,
        user_id: 1,
        key_id: 2,
        provider_id: Some(3),
        endpoint: "anthropic_messages".to_owned(),
        model: Some("model".to_owned()),
        upstream_model: None,
        is_stream: true,
        status: 200,
        blocked_by: None,
        error: None,
        stop_reason: None,
        upstream_request_id: None,
        client_ip: None,
        client: None,
        session_id: Some("session".to_owned()),
        message_count: None,
        first_byte_ms: None,
        first_content_ms: None,
        duration_ms: 5,
        attempts: 1,
        input_tokens: 1,
        cache_write_5m_tokens: 2,
        cache_write_1h_tokens: 3,
        cache_read_tokens: 4,
        output_tokens: 5,
        reasoning_tokens: 6,
        image_input_tokens: 7,
        image_output_tokens: 8,
        web_search_requests: 9,
        cost_nano_usd: 10,
        cost_breakdown: "{}".to_owned(),
        is_estimate: false,
        is_unpriced: true,
        decision_chain: "{}".to_owned(),
    }
}

#[test]
fn a_new_day_waits_for_nobody_who_reads_or_books() {
    on(Kind::Postgres, async |hub: Hub| {
        let db = hub.handle.admin().db();
        book(db, &[begun(1, at("2026-11-25T00:00:00Z"))]).await.unwrap();
        let others = db.reader().begin().await.unwrap();
        let busy = "SELECT * FROM request_log; DELETE FROM request_log WHERE created_at_ms = 1";
        others.execute_unprepared(busy).await.unwrap();
        let records = [begun(2, at("2031-01-01T00:00:00Z")), begun(3, at("2031-01-02T00:00:00Z"))];
        let (one, two) = tokio::join!(book(db, &records), book(db, &records));
        let requests = one.unwrap().requests + two.unwrap().requests;
        assert_eq!(requests, 2, "two who make one day make it once");
        // Dropping a day would wait for them: it gives up, so that nobody queues behind it for long.
        let cleaner = Cleaner::new(db.clone());
        assert!(cleaner.step(at("2040-01-01T00:00:00Z")).await.is_err());
        others.rollback().await.unwrap();
        assert!(cleaner.step(at("2040-01-01T00:00:00Z")).await.unwrap().dropped > 2);
        assert!(logged(&hub).await.is_empty());
    });
}

#[test]
fn a_day_that_was_detached_by_hand_takes_rows_again() {
    on(Kind::Postgres, async |hub: Hub| {
        let db = hub.handle.admin().db();
        book(db, &[begun(1, at("2026-11-25T00:00:00Z"))]).await.unwrap();
        let detach = "ALTER TABLE request_log DETACH PARTITION request_log_20261125";
        db.reader().execute_unprepared(detach).await.unwrap();
        book(db, &[begun(2, at("2026-11-25T00:00:01Z"))]).await.unwrap();
        assert_eq!(logged(&hub).await.len(), 2);
    });
}
