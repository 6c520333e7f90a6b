//! A provider may have another tier for callers of a group.

use crate::column::text;
use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // An object: group → tier.
        let column = text("group_priorities").default("{}").take();
        manager.alter_table(Table::alter().table("providers").add_column(column).take()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.alter_table(Table::alter().table("providers").drop_column("group_priorities").take()).await
    }
}
