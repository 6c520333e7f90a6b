//! How the databases find what an account is opened with: the plans of all questions of an opening, printed. By hand:
//! `cargo test -p admin-api --test it plans_of_an_opening -- --ignored --nocapture --test-threads 1`.

use crate::hub::{Hub, Kind, on};
use admin_api::repo::cut::interrupted;
use admin_api::repo::db::Db;
use admin_api::repo::spending::{Ahead, minutes, parts, rows, rows_of_each};
use admin_api::repo::{journals, usage_days};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, Statement};
use shared::ids::{ProviderId, UserId};
use shared::model::Limits;
use shared::money::NanoUsd;
use shared::rules::quota::opening::Reading;
use shared::rules::quota::{AccountId, Terms};
use shared::time::{UnixMillis, Zone};

#[test]
#[ignore = "prints plans; run it by hand"]
fn plans_of_an_opening_on_postgres() {
    on(Kind::Postgres, plans);
}

#[test]
#[ignore = "prints plans; run it by hand"]
fn plans_of_an_opening_on_sqlite() {
    on(Kind::Sqlite, plans);
}

/// Explains each question before it asks it.
struct Explained<'a>(&'a Db);

#[async_trait::async_trait]
#[expect(clippy::print_stdout, reason = "plans are for the one who asked")]
impl ConnectionTrait for Explained<'_> {
    fn get_database_backend(&self) -> DbBackend {
        self.0.reader().get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.0.reader().execute_raw(statement).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.0.reader().execute_unprepared(sql).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.query_all_raw(statement).await.map(|rows| rows.into_iter().next())
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let (how, column) = match self.get_database_backend() {
            DbBackend::Postgres => ("EXPLAIN (ANALYZE, BUFFERS, COSTS OFF)", 0),
            _ => ("EXPLAIN QUERY PLAN", 3),
        };
        let explain = Statement { sql: format!("{how} {}", statement.sql), ..statement.clone() };
        for row in self.0.reader().query_all_raw(explain).await? {
            println!("{}", row.try_get_by_index::<String>(column)?);
        }
        self.0.reader().query_all_raw(statement).await
    }
}

#[expect(clippy::print_stdout, reason = "plans are for the one who asked")]
async fn plans(hub: Hub) {
    let db = hub.handle.admin().db();
    let now = admin_api::service::now();
    let seed = match db.reader().get_database_backend() {
        DbBackend::Postgres => {
            hub.make_provider("one").await;
            "UPDATE providers SET id = 1000; ".to_owned() + super::ROWS
        }
        _ => ROWS_OF_SQLITE.to_owned(),
    };
    let tx = db.write().await.unwrap();
    if tx.get_database_backend() == DbBackend::Postgres {
        tx.execute_unprepared("SET LOCAL statement_timeout = 0").await.unwrap();
    }
    tx.execute_unprepared(&seed.replace("{now}", &now.0.to_string())).await.unwrap();
    tx.commit().await.unwrap();
    let days = admin_api::jobs::days::Days::new(db.clone(), jiff::tz::TimeZone::UTC).step(now).await.unwrap();
    db.reader().execute_unprepared("ANALYZE").await.unwrap();
    println!("{days} days are summed");
    let limits = Limits {
        daily: Some(NanoUsd(1)),
        weekly: Some(NanoUsd(1)),
        monthly: Some(NanoUsd(1)),
        total: Some(NanoUsd(1)),
        ..Limits::default()
    };
    let terms = Terms::of(&limits, &Zone::default(), now);
    let reading = Reading::of([&terms], now);
    let hold = usage_days::that_hold(db.reader()).await.unwrap();
    let explained = Explained(db);
    println!("\n# watermarks\n");
    journals::watermarks(&explained).await.unwrap();
    let accounts = [
        ("a user", AccountId::User(UserId(700))),
        ("the busiest user", AccountId::User(UserId(1))),
        ("the busiest provider", AccountId::Provider(ProviderId(1))),
    ];
    for (who, account) in accounts {
        println!("\n# rows of {who}\n");
        let found = rows(&explained, account, &reading, Ahead::Some).await.unwrap().len();
        println!("\n# parts of {who} ({found} rows)\n");
        parts(&explained, &[(account, reading.clone())], &hold, Ahead::Some).await.unwrap();
    }
    println!("\n# parts of sixteen users\n");
    let some: Vec<_> = (1..=16).map(|id| (AccountId::User(UserId(id)), reading.clone())).collect();
    parts(&explained, &some, &hold, Ahead::Some).await.unwrap();
    println!("\n# rows of them\n");
    rows_of_each(&explained, &some[8..], Ahead::Some).await.unwrap();
    println!("\n# minutes of the busiest provider\n");
    minutes(&explained, accounts[2].1, &reading, Ahead::None).await.unwrap();
    println!("\n# what was interrupted of sixteen users\n");
    let since = UnixMillis(now.0 - 9 * 86_400_000);
    let some = (1..=16).map(|id| AccountId::User(UserId(id)));
    interrupted(&explained, some, since, Ahead::None).await.unwrap();
}

/// The same as the rows for Postgres, a fifth of them: it has no `generate_series`, and no squares of chance.
const ROWS_OF_SQLITE: &str = "
INSERT INTO ledger (request_id, attempt, created_at_ms, user_id, key_id, provider_id, model, outcome, input_tokens, cache_write_5m_tokens,
    cache_write_1h_tokens, cache_read_tokens, output_tokens, reasoning_tokens, image_input_tokens, image_output_tokens, web_search_requests,
    input_cost_nano_usd, cache_write_5m_cost_nano_usd, cache_write_1h_cost_nano_usd, cache_read_cost_nano_usd, output_cost_nano_usd,
    fees_cost_nano_usd, cost_nano_usd, provider_cost_multiplier, group_cost_multiplier, is_estimate, is_unpriced, is_long_context,
    is_priority_tier)
WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 200000),
    drawn AS (SELECT n, {now} - 90 * 86400000 + n * 38880 AS at, 1 + (n * 7919 % 63) * (n * 104729 % 63) AS key_id FROM numbers)
SELECT printf('%032x', n), 1, at, (key_id + 1) / 2, key_id, 1 + (n * 31 % 7) * (n * 37 % 8), 'model-' || n % 10,
    CASE WHEN n % 10000 = 0 THEN 'interrupted' ELSE 'served' END,
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, n, 1, 1, false, false, false, false
FROM drawn;
INSERT INTO usage_hourly
SELECT created_at_ms - created_at_ms % 3600000, user_id, key_id, provider_id, model, count(*), sum(input_tokens), sum(1), sum(1), sum(1), sum(1),
    sum(1), sum(1), sum(1), sum(1), sum(cost_nano_usd)
FROM ledger GROUP BY 1, 2, 3, 4, 5;
";
