//! What users, keys and providers may spend and ask for.

use crate::column::{big_null, int, int_null, text, text_null};
use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // SQLite adds one column a statement.
        for (table, column) in columns() {
            manager.alter_table(Table::alter().table(table).add_column(column).take()).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, column) in columns() {
            let name = column.get_column_name();
            manager.alter_table(Table::alter().table(table).drop_column(name).take()).await?;
        }
        Ok(())
    }
}

/// Each column and its table. Defaults are for the rows that are there, and for those that an older release makes.
fn columns() -> Vec<(&'static str, ColumnDef)> {
    let alike = ["users", "keys", "providers"].into_iter().flat_map(|table| limits().map(|c| (table, c)));
    let mut all: Vec<_> = alike.collect();
    // Requests a minute.
    all.extend(["users", "keys"].map(|table| (table, int_null("rpm_limit"))));
    // Null: what the settings say.
    all.push(("users", text_null("quota_reservation")));
    // How often the account came under limits: only ever grows.
    all.extend(["users", "providers"].map(|table| (table, int("budget_generations").default(0).take())));
    all
}

/// Null: without a limit.
fn limits() -> [ColumnDef; 11] {
    [
        big_null("limit_5h_nano_usd"),
        text("limit_5h_reset_mode").default("rolling").take(),
        big_null("limit_daily_nano_usd"),
        text("daily_reset_mode").default("fixed").take(),
        text("daily_reset_time").default("00:00").take(),
        big_null("limit_weekly_nano_usd"),
        big_null("limit_monthly_nano_usd"),
        big_null("limit_total_nano_usd"),
        int_null("limit_concurrent_sessions"),
        // What was spent before counts in no window; in that of five hours.
        big_null("cost_reset_at_ms"),
        big_null("limit_5h_cost_reset_at_ms"),
    ]
}
