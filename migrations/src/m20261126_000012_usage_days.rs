//! Sums by day beside those by hour: by key, and by provider and model. They are made of the hours by the admin API, a day
//! at a time, when the day is over; also those of the days that are there already.
//!
//! Whoever changes an hour of a summed day says so in the same transaction: triggers do it, for admin-apis that know
//! nothing of days too. Such a day is read by its hours until it is summed again. So this step changes nothing for an
//! older admin-api, which may book, check and rebuild beside a newer one.

use crate::column::{big, table, text};
use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut key = Index::create().name("usage_days_pkey").col("day_start_ms").take();
        let days = table("usage_days", vec![big("day_start_ms"), big("day_end_ms")]);
        manager.create_table(days.clone().primary_key(&mut key).take()).await?;
        // No key: nobody who books waits for another one here.
        manager.create_table(table("usage_days_reopened", vec![big("day_start_ms")])).await?;
        sums(manager, "usage_daily_keys", [big("user_id"), big("key_id")]).await?;
        sums(manager, "usage_daily_models", [big("provider_id"), text("model")]).await?;
        let db = manager.get_connection();
        let reopening = match manager.get_database_backend() {
            DbBackend::Postgres => ON_POSTGRES.to_owned(),
            _ => ["INSERT", "UPDATE", "DELETE"].map(on_sqlite).concat(),
        };
        db.execute_unprepared(&reopening).await.map(|_| ())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let db = manager.get_connection();
        let on_table = match manager.get_database_backend() {
            DbBackend::Postgres => " ON usage_hourly",
            _ => "",
        };
        for change in ["insert", "update", "delete"] {
            db.execute_unprepared(&format!("DROP TRIGGER usage_hourly_reopens_{change}{on_table}")).await?;
        }
        if manager.get_database_backend() == DbBackend::Postgres {
            db.execute_unprepared("DROP FUNCTION usage_hourly_reopens()").await?;
        }
        for name in ["usage_daily_models", "usage_daily_keys", "usage_days_reopened", "usage_days"] {
            manager.drop_table(Table::drop().table(name).take()).await?;
        }
        Ok(())
    }
}

async fn sums(manager: &SchemaManager<'_>, name: &'static str, of: [ColumnDef; 2]) -> Result<(), DbErr> {
    let names = of.clone().map(|column| column.get_column_name());
    let mut columns = vec![big("day_start_ms")];
    columns.extend(of);
    columns.extend(QUANTITIES.map(big));
    let mut key = Index::create();
    key.name(format!("{name}_pkey")).col("day_start_ms");
    for column in &names {
        key.col(column.clone());
    }
    manager.create_table(table(name, columns).primary_key(&mut key).take()).await?;
    for column in names {
        let mut index = Index::create();
        index.name(format!("{name}_{column}_idx")).table(name).col(column).col("day_start_ms");
        manager.create_index(index).await?;
    }
    Ok(())
}

/// As in `usage_hourly`.
const QUANTITIES: [&str; 11] = [
    "requests",
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

/// Once a statement. Days do not overlap: the last that begins before an hour is the only one that may hold it.
const ON_POSTGRES: &str = "
CREATE FUNCTION usage_hourly_reopens() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage_days_reopened (day_start_ms)
    SELECT DISTINCT day.day_start_ms
    FROM (SELECT DISTINCT hour_start_ms FROM changed) AS hour
    CROSS JOIN LATERAL (
        SELECT * FROM usage_days WHERE day_start_ms <= hour.hour_start_ms ORDER BY day_start_ms DESC LIMIT 1
    ) AS day
    WHERE day.day_end_ms > hour.hour_start_ms
        AND NOT EXISTS (SELECT 1 FROM usage_days_reopened AS known WHERE known.day_start_ms = day.day_start_ms);
    RETURN NULL;
END $$;
CREATE TRIGGER usage_hourly_reopens_insert AFTER INSERT ON usage_hourly
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION usage_hourly_reopens();
CREATE TRIGGER usage_hourly_reopens_update AFTER UPDATE ON usage_hourly
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION usage_hourly_reopens();
CREATE TRIGGER usage_hourly_reopens_delete AFTER DELETE ON usage_hourly
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION usage_hourly_reopens();
";

/// Once a row: SQLite has no other triggers.
fn on_sqlite(change: &str) -> String {
    let row = if change == "DELETE" { "OLD" } else { "NEW" };
    format!(
        "CREATE TRIGGER usage_hourly_reopens_{} AFTER {change} ON usage_hourly
        BEGIN
            INSERT INTO usage_days_reopened (day_start_ms)
            SELECT day_start_ms FROM usage_days
            WHERE day_start_ms = (SELECT MAX(day_start_ms) FROM usage_days WHERE day_start_ms <= {row}.hour_start_ms)
                AND day_end_ms > {row}.hour_start_ms
                AND NOT EXISTS (
                    SELECT 1 FROM usage_days_reopened AS known WHERE known.day_start_ms = usage_days.day_start_ms
                );
        END;
        ",
        change.to_lowercase()
    )
}
