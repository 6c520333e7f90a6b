//! Which records of the gateways' journals are in the books (or among the dead letters): what a journal is told, and by
//! what a record that comes again is known.

use crate::column::{big, index, table, text};
use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // A row is a range of numbers, both ends included. The ranges of a journal neither overlap nor touch: one row,
        // but for what several consumers, or a loss on the way, leave open for a while.
        let columns = vec![text("journal_id"), big("first_seq"), big("last_seq"), big("updated_at_ms")];
        let mut key = Index::create();
        key.name("usage_journals_pkey").col("journal_id").col("first_seq");
        manager.create_table(table("usage_journals", columns).primary_key(&mut key).take()).await?;
        manager.create_index(index("usage_journals_updated_idx", "usage_journals", &["updated_at_ms"])).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("usage_journals").take()).await
    }
}
