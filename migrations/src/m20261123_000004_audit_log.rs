//! Who changed what, when: before and after, without secrets.

use crate::column::{big, big_null, index, row_id, table, text, text_null};
use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let audit_log = table(
            "audit_log",
            vec![
                row_id("id"),
                big("created_at_ms"),
                text("actor"),
                text_null("client_ip"),
                text_null("request_id"),
                text("action"),
                text("resource_type"),
                text("resource_id"),
                // The configuration revision the change made; null for what changes nothing (a reveal).
                big_null("revision"),
                text_null("before_json"),
                text_null("after_json"),
            ],
        );
        manager.create_table(audit_log).await?;
        let keyset = index("audit_log_created_idx", "audit_log", &["created_at_ms", "id"]);
        manager.create_index(keyset).await?;
        let columns = ["resource_type", "resource_id", "id"];
        manager.create_index(index("audit_log_resource_idx", "audit_log", &columns)).await?;
        manager.create_index(index("audit_log_action_idx", "audit_log", &["action", "id"])).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("audit_log").take()).await
    }
}
