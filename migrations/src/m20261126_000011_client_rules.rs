//! Which programs may use a user's keys, and which a provider serves.

use crate::column::text;
use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // SQLite adds one column a statement.
        for (table, name) in COLUMNS {
            let column = text(name).default("[]").take();
            manager.alter_table(Table::alter().table(table).add_column(column).take()).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, name) in COLUMNS {
            manager.alter_table(Table::alter().table(table).drop_column(name).take()).await?;
        }
        Ok(())
    }
}

/// Arrays of patterns.
const COLUMNS: [(&str, &str); 4] = [
    ("users", "allowed_clients"),
    ("users", "blocked_clients"),
    ("providers", "allowed_clients"),
    ("providers", "blocked_clients"),
];
