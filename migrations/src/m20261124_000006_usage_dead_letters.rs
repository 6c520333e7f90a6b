//! Usage that the books refuse for good: kept whole, so that nothing a gateway counted is lost.

use crate::column::{big, index, row_id, table, text};
use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let dead_letters = table(
            "usage_dead_letters",
            vec![
                row_id("id"),
                // When the books refused it, not when the request was.
                big("received_at_ms"),
                text("request_id"),
                // The kind of refusal and the database's code, never its message: that may quote the data.
                text("reason"),
                // A `shared::contract::usage::UsageRecord`, to be booked once the reason is gone.
                text("record_json"),
            ],
        );
        manager.create_table(dead_letters).await?;
        // A record that comes again, because its acknowledgement was lost, is kept once.
        let mut once = index("usage_dead_letters_request_id_key", "usage_dead_letters", &["request_id"]);
        manager.create_index(once.unique().take()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("usage_dead_letters").take()).await
    }
}
