//! Sums by day: whatever is asked, and whoever books meanwhile, the numbers are those of the hours.

use crate::books::{book, hourly, record};
use crate::hub::{Database, Hub, Kind, on, on_both};
use admin_api::jobs::days::Days;
use admin_api::repo::books::add_hourly;
use admin_api::repo::db::Db;
use admin_api::repo::entity::usage_hourly::{self, Model};
use admin_api::repo::sums::{By, Of, Question, sums};
use admin_api::repo::usage_days;
use admin_api::service::now;
use jiff::tz::TimeZone;
use sea_orm::{ConnectionTrait, EntityTrait};
use shared::contract::usage::UsageRecord;
use shared::time::{HOUR_MS, UnixMillis};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use testbed::eventually;

on_both!(on:
    days_and_hours_give_the_numbers_of_the_hours_alone,
    a_day_that_is_over_is_read_by_its_sums,
    what_an_older_admin_api_books_into_a_summed_day_counts_at_once,
    another_zone_has_other_days,
    summing_beside_a_consumer_loses_nothing,
    two_who_sum_make_each_day_once,
);

mod starts {
    use super::*;

    on_both!(with_database: a_start_sums_the_days_that_are_there);
}

/// A Monday's midnight (UTC).
const MONDAY: UnixMillis = UnixMillis(1_790_553_600_000);
const DAY_MS: i64 = 24 * HOUR_MS;

fn hours_after(hours: i64) -> UnixMillis {
    UnixMillis(MONDAY.0 + hours * HOUR_MS)
}

/// Numbers from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from(self.0 >> 33).unwrap() % most
    }

    fn row(&mut self) -> Model {
        let key = self.below(6);
        let model = ["", "opus", "sonnet"][usize::try_from(self.below(3)).unwrap()].to_owned();
        let hour = hours_after(self.below(8 * 24)).0;
        let mut row = Model::empty((hour, 1 + key / 2, 11 + key, self.below(3), model));
        for quantity in [
            &mut row.requests,
            &mut row.input_tokens,
            &mut row.cache_write_5m_tokens,
            &mut row.cache_write_1h_tokens,
            &mut row.cache_read_tokens,
            &mut row.output_tokens,
            &mut row.reasoning_tokens,
            &mut row.image_input_tokens,
            &mut row.image_output_tokens,
            &mut row.web_search_requests,
            &mut row.cost_nano_usd,
        ] {
            *quantity = self.below(1_000_000_000);
        }
        row
    }

    fn question(&mut self) -> Question {
        let bounds: BTreeSet<_> = match self.below(3) {
            // Days of the zone, a span of them, anything.
            0 => (0..=self.below(9)).map(|day| UnixMillis(MONDAY.0 - 9 * HOUR_MS + day * DAY_MS)).collect(),
            1 => [0, 1 + self.below(8)].map(|day| UnixMillis(MONDAY.0 - 9 * HOUR_MS + day * DAY_MS)).into(),
            _ => (0..2 + self.below(3))
                .map(|_| UnixMillis(MONDAY.0 - DAY_MS + self.below(10 * DAY_MS)))
                .collect(),
        };
        let of = match self.below(6) {
            0 => Some(Of::User(1 + self.below(4))),
            1 => Some(Of::Key(11 + self.below(7))),
            2 => Some(Of::Provider(self.below(4))),
            3 => Some(Of::Model(["", "opus", "none"][usize::try_from(self.below(3)).unwrap()].to_owned())),
            _ => None,
        };
        let by = [By::Nothing, By::User, By::Key, By::Provider, By::Model];
        Question { bounds: bounds.into_iter().collect(), of, by: by[usize::try_from(self.below(5)).unwrap()] }
    }
}

/// The answer by definition.
async fn by_hours(db: &Db, question: &Question) -> Vec<Model> {
    let rows = usage_hourly::Entity::find().all(db.reader()).await.unwrap();
    let mut answer: BTreeMap<_, Model> = BTreeMap::new();
    for row in rows {
        let is_asked = match &question.of {
            None => true,
            Some(Of::User(id)) => row.user_id == *id,
            Some(Of::Key(id)) => row.key_id == *id,
            Some(Of::Provider(id)) => row.provider_id == *id,
            Some(Of::Model(name)) => row.model == *name,
        };
        let within =
            question.bounds.windows(2).find(|pair| (pair[0].0..pair[1].0).contains(&row.hour_start_ms));
        let Some(part) = within.filter(|_| is_asked) else { continue };
        let none = String::new;
        let key = match question.by {
            By::Nothing => (part[0].0, 0, 0, 0, none()),
            By::User => (part[0].0, row.user_id, 0, 0, none()),
            By::Key => (part[0].0, row.user_id, row.key_id, 0, none()),
            By::Provider => (part[0].0, 0, 0, row.provider_id, none()),
            By::Model => (part[0].0, 0, 0, 0, row.model.clone()),
        };
        let sum = answer.entry(key).or_insert_with_key(|key| Model::empty(key.clone()));
        sum.requests += row.requests;
        sum.input_tokens += row.input_tokens;
        sum.cache_write_5m_tokens += row.cache_write_5m_tokens;
        sum.cache_write_1h_tokens += row.cache_write_1h_tokens;
        sum.cache_read_tokens += row.cache_read_tokens;
        sum.output_tokens += row.output_tokens;
        sum.reasoning_tokens += row.reasoning_tokens;
        sum.image_input_tokens += row.image_input_tokens;
        sum.image_output_tokens += row.image_output_tokens;
        sum.web_search_requests += row.web_search_requests;
        sum.cost_nano_usd += row.cost_nano_usd;
    }
    answer.into_values().collect()
}

async fn days_and_hours_give_the_numbers_of_the_hours_alone(hub: Hub) {
    let db = hub.handle.admin().db();
    let tokyo = Days::new(db.clone(), TimeZone::get("Asia/Tokyo").unwrap());
    let mut dice = Dice(7);
    for round in 0..30 {
        let many = 1 + dice.below(120);
        let rows: BTreeMap<_, _> = (0..many).map(|_| dice.row()).map(|row| (row.key(), row)).collect();
        let rows: Vec<_> = rows.into_values().collect();
        if dice.below(2) == 0 {
            add_hourly(db.reader(), &rows).await.unwrap();
        }
        if dice.below(2) == 0 {
            tokyo.step(hours_after(dice.below(9 * 24))).await.unwrap();
        }
        for _ in 0..25 {
            let question = dice.question();
            let answer = sums(db, &question).await.unwrap();
            assert_eq!(answer, by_hours(db, &question).await, "round {round}: {question:?}");
        }
    }
}

fn everybody(from: UnixMillis, to: UnixMillis) -> Question {
    Question { bounds: vec![from, to], of: None, by: By::User }
}

async fn requests(db: &Db, question: &Question) -> i64 {
    sums(db, question).await.unwrap().iter().map(|row| row.requests).sum()
}

/// One request of a user in this hour.
fn used(hour: UnixMillis, user: i64) -> Model {
    Model { requests: 1, ..Model::empty((hour.0, user, 10 + user, 21, "opus".to_owned())) }
}

async fn holding(db: &Db) -> usize {
    usage_days::that_hold(db.reader()).await.unwrap().len()
}

async fn a_day_that_is_over_is_read_by_its_sums(hub: Hub) {
    let db = hub.handle.admin().db();
    let days = Days::new(db.clone(), TimeZone::UTC);
    assert_eq!(days.step(hours_after(30)).await.unwrap(), 0, "nothing is used yet");
    let rows: Vec<_> = [0, 23, 24, 47].map(|hour| used(hours_after(hour), 1)).into();
    add_hourly(db.reader(), &rows).await.unwrap();
    assert_eq!(days.step(hours_after(48)).await.unwrap(), 1, "the second may get more");
    assert_eq!(days.step(hours_after(48)).await.unwrap(), 0, "once");
    // What nobody else would say shows what is read.
    let all = everybody(MONDAY, hours_after(48));
    for (table, by) in [("usage_daily_keys", By::Key), ("usage_daily_models", By::Model)] {
        let question = Question { by, ..all.clone() };
        assert_eq!(requests(db, &question).await, 4);
        let change = format!("UPDATE {table} SET requests = requests + 100");
        db.reader().execute_unprepared(&change).await.unwrap();
        assert_eq!(requests(db, &question).await, 104);
        let noon = everybody(hours_after(12), hours_after(48));
        assert_eq!(requests(db, &Question { by, ..noon }).await, 3, "a part of a day is read by its hours");
    }
    let ones_models = Question { of: Some(Of::User(1)), by: By::Model, ..all };
    assert_eq!(requests(db, &ones_models).await, 4, "what days do not tell is read by hours");
}

async fn what_an_older_admin_api_books_into_a_summed_day_counts_at_once(hub: Hub) {
    let db = hub.handle.admin().db();
    let days = Days::new(db.clone(), TimeZone::UTC);
    add_hourly(db.reader(), &[used(hours_after(1), 1), used(hours_after(30), 1)]).await.unwrap();
    assert_eq!(days.step(hours_after(49)).await.unwrap(), 2);
    let all = everybody(MONDAY, hours_after(48));
    let quantities = "input_tokens, cache_write_5m_tokens, cache_write_1h_tokens, cache_read_tokens, output_tokens, \
                      reasoning_tokens, image_input_tokens, image_output_tokens, web_search_requests, cost_nano_usd";
    for (sql, expected) in [
        // A new row, one that is there, none any more: booking, booking, `rollups rebuild`.
        (
            format!(
                "INSERT INTO usage_hourly (hour_start_ms, user_id, key_id, provider_id, model, requests, {quantities}) \
            VALUES ({0}, 1, 11, 21, 'opus', 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0) \
            ON CONFLICT (hour_start_ms, user_id, key_id, provider_id, model) \
            DO UPDATE SET requests = usage_hourly.requests + excluded.requests",
                hours_after(2).0
            ),
            7,
        ),
        (
            format!(
                "INSERT INTO usage_hourly (hour_start_ms, user_id, key_id, provider_id, model, requests, {quantities}) \
            VALUES ({0}, 1, 11, 21, 'opus', 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0) \
            ON CONFLICT (hour_start_ms, user_id, key_id, provider_id, model) \
            DO UPDATE SET requests = usage_hourly.requests + excluded.requests",
                hours_after(1).0
            ),
            12,
        ),
        (format!("DELETE FROM usage_hourly WHERE hour_start_ms = {}", hours_after(2).0), 7),
    ] {
        assert_eq!(holding(db).await, 2);
        db.reader().execute_unprepared(&sql).await.unwrap();
        assert_eq!(holding(db).await, 1, "{sql}");
        assert_eq!(requests(db, &all).await, expected);
        // A second change tells nothing new.
        db.reader()
            .execute_unprepared("UPDATE usage_hourly SET output_tokens = 1 WHERE user_id = 1")
            .await
            .unwrap();
        assert_eq!(days.step(hours_after(49)).await.unwrap(), 2);
        assert_eq!(requests(db, &all).await, expected);
    }
    // Today is nobody's business.
    add_hourly(db.reader(), &[used(hours_after(60), 1)]).await.unwrap();
    assert_eq!(holding(db).await, 2);
}

async fn another_zone_has_other_days(hub: Hub) {
    let db = hub.handle.admin().db();
    let rows: Vec<_> = (0..72).map(|hour| used(hours_after(hour), 1)).collect();
    add_hourly(db.reader(), &rows).await.unwrap();
    let all = everybody(MONDAY, hours_after(72));
    // At 16:00 (UTC) of the fifth day: Tokyo's ended an hour ago.
    for (name, made) in [("UTC", 4), ("Asia/Tokyo", 5), ("UTC", 4)] {
        let days = Days::new(db.clone(), TimeZone::get(name).unwrap());
        let now = hours_after(112);
        assert_eq!(days.step(now).await.unwrap(), made, "{name}");
        assert_eq!(days.step(now).await.unwrap(), 0, "{name}");
        assert_eq!(requests(db, &all).await, 72, "{name}");
    }
}

async fn summing_beside_a_consumer_loses_nothing(hub: Hub) {
    let db = hub.handle.admin().db();
    let records: Vec<UsageRecord> = (0..3_000).step_by(10).map(record).collect();
    let days = Days::new(db.clone(), TimeZone::UTC);
    let is_consumed = Cell::new(false);
    let consuming = async {
        for batch in records.chunks(5) {
            book(db, batch).await.unwrap();
        }
        is_consumed.set(true);
    };
    let now = UnixMillis(records[299].request.started_at.0 + 2 * DAY_MS);
    let summing = async {
        let mut made = 0;
        while !is_consumed.get() {
            made += days.step(now).await.unwrap();
        }
        made
    };
    let ((), made) = tokio::join!(consuming, summing);
    assert!(made > 3, "days changed and were made again: {made}");
    let span = everybody(records[0].request.started_at.hour_start(), now);
    assert_eq!(requests(db, &span).await, 300);
    days.step(now).await.unwrap();
    assert_eq!(requests(db, &span).await, 300);
    assert_eq!(hourly(&hub).await.iter().map(|row| row.requests).sum::<i64>(), 300);
}

async fn two_who_sum_make_each_day_once(hub: Hub) {
    let db = hub.handle.admin().db();
    let rows: Vec<_> = (0..10).map(|day| used(hours_after(day * 24), 1)).collect();
    add_hourly(db.reader(), &rows).await.unwrap();
    let (one, two) = (Days::new(db.clone(), TimeZone::UTC), Days::new(db.clone(), TimeZone::UTC));
    let now = hours_after(300);
    let (one, two) = tokio::join!(one.step(now), two.step(now));
    assert_eq!(one.unwrap() + two.unwrap(), holding(db).await);
    assert_eq!(requests(db, &everybody(MONDAY, now)).await, 10);
}

async fn a_start_sums_the_days_that_are_there(database: Arc<Database>) {
    let hub = Hub::start(&database).await;
    let past = UnixMillis(now().0 - 3 * DAY_MS).hour_start();
    add_hourly(hub.handle.admin().db().reader(), &[used(past, 1)]).await.unwrap();
    hub.handle.stop().await.unwrap();
    let hub = Hub::start_with(&database, Arc::default(), &[("TZ", "Asia/Tokyo")]).await.unwrap();
    let db = hub.handle.admin().db();
    let tokyo = TimeZone::get("Asia/Tokyo").unwrap();
    eventually("its day is summed", || async {
        let hold = usage_days::that_hold(db.reader()).await.unwrap();
        hold.iter().any(|day| {
            let midnight = jiff::Timestamp::from_millisecond(day.start.0).unwrap().to_zoned(tokyo.clone());
            midnight.hour() == 0 && (day.start..day.end).contains(&past)
        })
    })
    .await;
}

/// Two consumers that book late into the same summed days, with rows beyond one statement.
#[test]
fn who_books_late_waits_for_nobody_in_a_circle() {
    on(Kind::Postgres, async |hub: Hub| {
        let db = hub.handle.admin().db();
        let days = Days::new(db.clone(), TimeZone::UTC);
        let rows = |users: std::ops::Range<i64>| -> Vec<_> {
            (0..3)
                .flat_map(|day| users.clone().map(move |user| used(hours_after(day * 24 + 5), user)))
                .collect()
        };
        add_hourly(db.reader(), &rows(0..1)).await.unwrap();
        days.step(hours_after(96)).await.unwrap();
        let booking = async |users| {
            let tx = db.write().await.unwrap();
            add_hourly(&tx, &rows(users)).await.unwrap();
            tx.commit().await.unwrap();
        };
        tokio::join!(booking(0..400), booking(1_000..1_700));
        assert_eq!(requests(db, &everybody(MONDAY, hours_after(72))).await, 3 * 1_101);
    });
}
