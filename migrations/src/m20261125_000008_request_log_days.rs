//! The request log by day, on Postgres: a table of its own for each day (UTC), so that a clean-up drops a table instead
//! of deleting millions of rows. Its rows are copied over. SQLite, which has no partitions, keeps the table it has.
//!
//! The key is (`created_at_ms`, `id`): a partitioned table's key holds what it is partitioned by. A request's id carries
//! the same millisecond, so the id alone says where the row is.
//!
//! An older admin-api cannot book beside this step (its insert names the old key); it waits, and what it has taken
//! comes again.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.get_database_backend() != DbBackend::Postgres {
            return Ok(());
        }
        let db = manager.get_connection();
        db.execute_unprepared(SPLIT).await?;
        db.execute_unprepared("ALTER TABLE request_log ADD PRIMARY KEY (created_at_ms, id)").await?;
        for (column, others) in FILTERS {
            db.execute_unprepared(&format!(
                "CREATE INDEX request_log_{column}_idx ON request_log ({column}, created_at_ms, {others})"
            ))
            .await?;
        }
        // Most rows have neither, so these stay small.
        for column in ["session_id", "blocked_by"] {
            db.execute_unprepared(&format!(
                "CREATE INDEX request_log_{column}_idx ON request_log ({column}, created_at_ms) \
                 WHERE {column} IS NOT NULL"
            ))
            .await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.get_database_backend() != DbBackend::Postgres {
            return Ok(());
        }
        let db = manager.get_connection();
        db.execute_unprepared(JOIN).await?;
        for (name, column) in [
            ("user", "user_id"),
            ("key", "key_id"),
            ("provider", "provider_id"),
            ("model", "model"),
            ("status", "status"),
        ] {
            let index =
                format!("CREATE INDEX request_log_{name}_idx ON request_log ({column}, created_at_ms, id)");
            db.execute_unprepared(&index).await?;
        }
        for column in ["session_id", "blocked_by"] {
            let index = format!(
                "CREATE INDEX request_log_{column}_idx ON request_log ({column}, created_at_ms, id) \
                 WHERE {column} IS NOT NULL"
            );
            db.execute_unprepared(&index).await?;
        }
        Ok(())
    }
}

/// What is filtered by, and what of the filters beside it the index answers without a look at the row: a status that a
/// provider never gave is found to be none in the index alone. The id is in none: two requests of one millisecond are
/// sorted when they are read.
const FILTERS: [(&str, &str); 5] = [
    ("user_id", "status, provider_id"),
    ("key_id", "status, provider_id"),
    ("provider_id", "status"),
    ("model", "status, provider_id"),
    ("status", "provider_id"),
];

/// Days from 2020 to 2099 have a table each; what a clock that was never set, or is far ahead, calls its day is in one
/// of two more. Keys and indexes come after the rows: that is faster, and their names are free by then.
const SPLIT: &str = "
ALTER TABLE request_log RENAME TO request_log_whole;
CREATE TABLE request_log (LIKE request_log_whole INCLUDING DEFAULTS) PARTITION BY RANGE (created_at_ms);
CREATE TABLE request_log_before PARTITION OF request_log FOR VALUES FROM (MINVALUE) TO (1577836800000);
CREATE TABLE request_log_after PARTITION OF request_log FOR VALUES FROM (4102444800000) TO (MAXVALUE);
DO $$
DECLARE
    day bigint;
BEGIN
    FOR day IN
        SELECT DISTINCT created_at_ms / 86400000 FROM request_log_whole
        WHERE created_at_ms >= 1577836800000 AND created_at_ms < 4102444800000
    LOOP
        EXECUTE format(
            'CREATE TABLE %I PARTITION OF request_log FOR VALUES FROM (%s) TO (%s)',
            'request_log_' || to_char(to_timestamp(day * 86400) AT TIME ZONE 'UTC', 'YYYYMMDD'),
            day * 86400000, (day + 1) * 86400000
        );
    END LOOP;
END $$;
INSERT INTO request_log SELECT * FROM request_log_whole;
DROP TABLE request_log_whole;
";

const JOIN: &str = "
ALTER TABLE request_log RENAME TO request_log_days;
CREATE TABLE request_log (LIKE request_log_days INCLUDING DEFAULTS);
INSERT INTO request_log SELECT * FROM request_log_days;
DROP TABLE request_log_days;
ALTER TABLE request_log ADD PRIMARY KEY (id);
CREATE INDEX request_log_created_idx ON request_log (created_at_ms, id);
";
