//! What made the tokens of an attempt dearer: fast mode, and that it was served in the US alone.
//!
//! False for the rows that are there, and for those that an older admin-api makes: their cost was derived without it.

use crate::column::flag;
use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // SQLite adds one column a statement.
        for name in COLUMNS {
            let column = flag(name).default(false).take();
            manager.alter_table(Table::alter().table("ledger").add_column(column).take()).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in COLUMNS {
            manager.alter_table(Table::alter().table("ledger").drop_column(name).take()).await?;
        }
        Ok(())
    }
}

const COLUMNS: [&str; 2] = ["is_fast", "is_us_only"];
