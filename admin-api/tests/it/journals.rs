//! Journals: what the books say of them, whoever books their records in whatever order, and whatever is lost between.

use crate::books::{hourly, record};
use crate::hub::{Hub, Kind, on, on_both};
use admin_api::jobs::consume::Consumer;
use admin_api::jobs::journals::QuietJournals;
use admin_api::repo::db::Db;
use admin_api::repo::entity::{ledger, request_log, usage_journals, usage_journals_ahead};
use admin_api::service::books::{Booked, Watermarks, book, set_aside_unreadable};
use rand::RngCore;
use sea_orm::{ConnectionTrait, EntityTrait, PaginatorTrait, Statement, TransactionTrait};
use shared::contract::usage::UsageRecord;
use shared::ids::{JournalId, RequestId};
use shared::memory::MemoryUsage;
use shared::ports::{Lent, Place, Progress, Receipt, UsageBatch, UsageSource, UsageStream};
use shared::testing::conformance::{asks, journal};
use shared::testing::rng;
use shared::time::UnixMillis;
use std::sync::Arc;
use testbed::eventually;

on_both!(on:
    the_books_say_how_far_a_journal_is,
    a_record_whose_number_is_booked_is_passed_over,
    what_is_booked_before_its_turn_is_known_until_its_turn_comes,
    consumers_that_share_journals_count_each_record_once,
    a_stream_that_lost_everything_is_made_good,
    journals_that_are_long_gone_are_forgotten,
);

/// The record of this number of a journal, on loan.
fn lent(journal: JournalId, seq: u64, floor: u64) -> Lent<UsageRecord> {
    let place = Some(Place { journal, seq, floor });
    let mut record = record(seq);
    // Apart from those of the other journal.
    if journal != self::journal(1) {
        record.request.id = RequestId::from_parts(seq, &[2; 10]);
    }
    Lent { receipt: Receipt(0, seq), place, record }
}

async fn booked(db: &Db, numbers: &[u64], floor: u64) -> (usize, Watermarks) {
    let lent: Vec<_> = numbers.iter().map(|seq| lent(journal(1), *seq, floor)).collect();
    let (booked, watermarks) = book(db, &lent).await.unwrap();
    (booked.requests, watermarks)
}

async fn ranges(db: &Db) -> Vec<(i64, i64)> {
    let rows = usage_journals::Entity::find().all(db.reader()).await.unwrap();
    let mut ranges: Vec<_> = rows.iter().map(|row| (row.first_seq, row.last_seq)).collect();
    ranges.sort_unstable();
    ranges
}

async fn the_books_say_how_far_a_journal_is(hub: Hub) {
    let db = hub.handle.admin().db();
    let a = journal(1);
    assert_eq!(booked(db, &[3, 4], 0).await, (2, vec![(a, 0)]));
    assert_eq!(booked(db, &[6], 0).await, (1, vec![(a, 0)]));
    assert_eq!(ranges(db).await, [(3, 4), (6, 6)]);
    assert_eq!(booked(db, &[1], 0).await, (1, vec![(a, 1)]));
    assert_eq!(booked(db, &[2, 5], 0).await, (2, vec![(a, 6)]));
    assert_eq!(ranges(db).await, [(1, 6)]);
    // Another database knew more: a journal that was told so sends none of it again.
    assert_eq!(booked(db, &[20], 18).await, (1, vec![(a, 18)]));
    assert_eq!(booked(db, &[19], 18).await, (1, vec![(a, 20)]));
    assert_eq!(ranges(db).await, [(1, 20)]);
    let both = [lent(journal(1), 21, 0), lent(journal(2), 1, 0)];
    let (_, mut watermarks) = book(db, &both).await.unwrap();
    watermarks.sort_unstable();
    assert_eq!(watermarks, [(journal(1), 21), (journal(2), 1)]);
}

async fn a_record_whose_number_is_booked_is_passed_over(hub: Hub) {
    let db = hub.handle.admin().db();
    booked(db, &[1, 2], 0).await;
    let rows = hourly(&hub).await;
    // The log forgets sooner than journals do.
    request_log::Entity::delete_many().exec(db.reader()).await.unwrap();
    assert_eq!(booked(db, &[1, 2], 0).await, (0, vec![(journal(1), 2)]));
    assert_eq!(request_log::Entity::find().count(db.reader()).await.unwrap(), 0);
    assert_eq!(hourly(&hub).await, rows);
}

async fn what_is_booked_before_its_turn_is_known_until_its_turn_comes(hub: Hub) {
    let db = hub.handle.admin().db();
    let ahead = async || {
        let rows = usage_journals_ahead::Entity::find().all(db.reader()).await.unwrap();
        let mut rows: Vec<_> = rows.into_iter().map(|row| (row.seq, row.request_id)).collect();
        rows.sort_unstable();
        rows
    };
    let named = |numbers: &[i64]| -> Vec<_> {
        let id = |seq: &i64| (*seq, record(seq.cast_unsigned()).request.id.to_string());
        numbers.iter().map(id).collect()
    };
    booked(db, &[1, 2], 0).await;
    assert_eq!(ahead().await, []);
    booked(db, &[5, 4, 5, 7], 0).await;
    assert_eq!(ahead().await, named(&[4, 5, 7]));
    // They come again, and with them what was missing before the first two.
    booked(db, &[3, 4, 5, 7], 0).await;
    assert_eq!(ahead().await, named(&[7]));
    booked(db, &[10], 9).await;
    assert_eq!(ahead().await, []);
    // A record that nobody can read has no request.
    let unreadable = Place { journal: journal(1), seq: 12, floor: 0 };
    let unreadable = Lent { receipt: Receipt(0, 12), place: Some(unreadable), record: "{}".to_owned() };
    set_aside_unreadable(db, &unreadable).await.unwrap();
    assert_eq!((ahead().await, ranges(db).await), (vec![], vec![(1, 10), (12, 12)]));
}

/// Each of two consumers is lent all records of two journals, in batches and orders of its own.
async fn consumers_that_share_journals_count_each_record_once(hub: Hub) {
    let db = hub.handle.admin().db();
    let consumer = |seed: u64| {
        let mut all: Vec<_> =
            (1..=60).flat_map(|n| [lent(journal(1), n, 0), lent(journal(2), n, 0)]).collect();
        let mut draws = rng(seed);
        for n in (1..all.len()).rev() {
            all.swap(n, usize::try_from(draws.next_u64() % (n as u64 + 1)).unwrap());
        }
        let db = db.clone();
        async move {
            let mut last = Vec::new();
            for batch in all.chunks(7) {
                last = book(&db, batch).await.unwrap().1;
            }
            last
        }
    };
    tokio::join!(consumer(1), consumer(2));
    let rows = usage_journals::Entity::find().all(db.reader()).await.unwrap();
    assert!(rows.iter().all(|row| (row.first_seq, row.last_seq) == (1, 60)), "{rows:?}");
    assert_eq!(rows.len(), 2);
    assert_eq!(usage_journals_ahead::Entity::find().count(db.reader()).await.unwrap(), 0);
    assert_eq!(ledger::Entity::find().count(db.reader()).await.unwrap(), 120);
    assert_eq!(hourly(&hub).await.iter().map(|row| row.requests).sum::<i64>(), 120);
}

/// One is killed when it has all but committed, while the other waits for it.
#[test]
fn a_consumer_that_is_killed_inside_its_transaction_books_nothing() {
    on(Kind::Postgres, |hub: Hub| async move {
        let db = hub.handle.admin().db().clone();
        let waiting = |table: &'static str| {
            let sql = format!(
                "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%{table}%'"
            );
            let statement = Statement::from_string(sea_orm::DbBackend::Postgres, sql);
            let db = db.clone();
            async move {
                let row = db.reader().query_one_raw(statement).await.unwrap();
                row.map(|row| row.try_get_by_index::<i32>(0).unwrap())
            }
        };
        let gate = db.reader().begin().await.unwrap();
        gate.execute_unprepared("LOCK TABLE usage_hourly IN EXCLUSIVE MODE").await.unwrap();
        let batch = |numbers: std::ops::RangeInclusive<u64>| {
            let (db, lent) = (db.clone(), numbers.map(|n| lent(journal(1), n, 0)).collect::<Vec<_>>());
            tokio::spawn(async move { book(&db, &lent).await })
        };
        let killed = batch(1..=5);
        eventually("the first is about to be done", || async { waiting("usage_hourly").await.is_some() })
            .await;
        let pid = waiting("usage_hourly").await.unwrap();
        let other = batch(4..=8);
        eventually("the other waits for it", || async { waiting("request_log").await.is_some() }).await;
        db.reader().execute_unprepared(&format!("SELECT pg_terminate_backend({pid})")).await.unwrap();
        killed.await.unwrap().unwrap_err();
        gate.rollback().await.unwrap();
        let (all, watermarks) = other.await.unwrap().unwrap();
        assert_eq!((all, watermarks), (Booked { requests: 5, attempts: 5 }, vec![(journal(1), 0)]));
        // They come again.
        assert_eq!(booked(&db, &[1, 2, 3, 4, 5], 0).await, (3, vec![(journal(1), 8)]));
        assert_eq!(hourly(&hub).await.iter().map(|row| row.requests).sum::<i64>(), 8);
    });
}

/// A journal that holds its records until it is told that they are booked, and sends by what it is told.
struct Journal {
    records: Vec<UsageRecord>,
    told: Progress,
}

impl Journal {
    /// One call; true when there is nothing left to send.
    async fn send(&mut self, stream: &dyn UsageStream, upto: u64) -> bool {
        let first = self.told.taken + 1;
        let records = (first..=upto).map(|n| &self.records[usize::try_from(n).unwrap() - 1]);
        let records = records.map(|record| record.to_bytes().unwrap()).collect();
        let floor = self.told.watermark;
        self.told = stream.append(UsageBatch { journal: journal(1), floor, first, records }).await.unwrap();
        self.told.taken == upto
    }
}

async fn a_stream_that_lost_everything_is_made_good(hub: Hub) {
    let db = hub.handle.admin().db();
    let mut journal = Journal { records: (1..=50).map(record).collect(), told: Progress::default() };
    let before = Arc::new(MemoryUsage::new(100));
    assert!(journal.send(&*before, 30).await);
    assert_eq!(Consumer::new(db.clone(), before.clone()).step().await.unwrap().booked.requests, 30);
    assert!(journal.send(&*before, 50).await);
    // Ten of twenty are booked, and nobody is told any more.
    let lent = before.take(10).await.unwrap();
    book(db, &lent.records).await.unwrap();

    let after = Arc::new(MemoryUsage::new(100));
    let consumer = Consumer::new(db.clone(), after.clone());
    assert!(!journal.send(&*after, 50).await);
    assert_eq!(journal.told, Progress { taken: 30, watermark: 30 });
    assert!(journal.send(&*after, 50).await);
    let consumed = consumer.step().await.unwrap();
    assert_eq!((consumed.records, consumed.booked), (20, Booked { requests: 10, attempts: 10 }));
    journal.send(&*after, 50).await;
    assert_eq!(journal.told, Progress { taken: 50, watermark: 50 });
    assert_eq!(hourly(&hub).await.iter().map(|row| row.requests).sum::<i64>(), 50);
    assert_eq!(after.append(asks(shared::testing::conformance::journal(1), 50)).await.unwrap().taken, 50);
}

async fn journals_that_are_long_gone_are_forgotten(hub: Hub) {
    const DAY_MS: i64 = 86_400_000;
    let db = hub.handle.admin().db();
    let row = |n: u8, first: i64, days: i64| usage_journals::Model {
        journal_id: journal(n).to_string(),
        first_seq: first,
        last_seq: first,
        updated_at_ms: days * DAY_MS,
    };
    let mut rows = vec![row(200, 1, 10), row(200, 3, 100), row(201, 1, 100)];
    rows.extend((0..150).flat_map(|n| [row(n, 1, 5), row(n, 7, 9)]));
    for n in [0, 200] {
        let row = usage_journals_ahead::Model {
            journal_id: journal(n).to_string(),
            seq: 7,
            request_id: record(u64::from(n)).request.id.to_string(),
        };
        let row: usage_journals_ahead::ActiveModel = row.into();
        usage_journals_ahead::Entity::insert_many([row]).exec_without_returning(db.reader()).await.unwrap();
    }
    let rows: Vec<usage_journals::ActiveModel> = rows.into_iter().map(Into::into).collect();
    usage_journals::Entity::insert_many(rows).exec_without_returning(db.reader()).await.unwrap();
    let job = QuietJournals::new(db.clone());
    assert_eq!(job.step(UnixMillis(99 * DAY_MS)).await.unwrap(), 0);
    assert_eq!(job.step(UnixMillis(100 * DAY_MS)).await.unwrap(), 300);
    assert_eq!(usage_journals::Entity::find().count(db.reader()).await.unwrap(), 3);
    let ahead = usage_journals_ahead::Entity::find().all(db.reader()).await.unwrap();
    assert_eq!(
        ahead.iter().map(|row| row.journal_id.clone()).collect::<Vec<_>>(),
        [journal(200).to_string()]
    );
}
