//! When a provider is not asked any more, and how it comes back.

use crate::column::{big, int};
use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let columns = [
            // Failures in a row; 0: it never opens.
            int(FAILURES).default(5).take(),
            big(OPEN_MS).default(1_800_000).take(),
            int(SUCCESSES).default(2).take(),
        ];
        // SQLite adds one column a statement.
        for column in columns {
            manager.alter_table(Table::alter().table("providers").add_column(column).take()).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in [FAILURES, OPEN_MS, SUCCESSES] {
            manager.alter_table(Table::alter().table("providers").drop_column(name).take()).await?;
        }
        Ok(())
    }
}

const FAILURES: &str = "circuit_breaker_failure_threshold";
const OPEN_MS: &str = "circuit_breaker_open_duration_ms";
const SUCCESSES: &str = "circuit_breaker_half_open_success_threshold";
