//! A provider may be used for a part of the day only.

use crate::column::text_null;
use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // SQLite adds one column a statement.
        for name in COLUMNS {
            let add = Table::alter().table("providers").add_column(text_null(name)).take();
            manager.alter_table(add).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in COLUMNS {
            manager.alter_table(Table::alter().table("providers").drop_column(name).take()).await?;
        }
        Ok(())
    }
}

/// `HH:MM` in the configured zone; both or none.
const COLUMNS: [&str; 2] = ["active_time_start", "active_time_end"];
