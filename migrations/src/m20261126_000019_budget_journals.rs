//! The journals that gateways have, and those that are in nobody's hands: while there is one of these no budget is opened.
//!
//! An older admin-api neither reads nor writes it, and opens budgets as it did.

use crate::column::{big_null, table, text, text_null};
use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let id = text("journal_id").primary_key().take();
        // The directory that it is in, by the name that the gateways have made for it; since when nobody has it.
        let columns = vec![id, text_null("root"), big_null("missing_since_ms")];
        manager.create_table(table("budget_journals", columns)).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("budget_journals").take()).await
    }
}
