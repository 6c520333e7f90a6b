//! Who calls: users and their keys.

use crate::column::{big, big_null, flag, index, row_id, table, text, text_null};
use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let users = table(
            "users",
            vec![
                row_id("id"),
                text("name"),
                text_null("description"),
                text("tags"),
                text("provider_group"),
                flag("is_enabled"),
                big_null("expires_at_ms"),
                text("allowed_models"),
                // The configuration revision of the last change: the row's ETag.
                big("revision"),
                big("created_at_ms"),
                big("updated_at_ms"),
                big_null("deleted_at_ms"),
            ],
        );
        manager.create_table(users).await?;
        let keys = table(
            "keys",
            vec![
                row_id("id"),
                big("user_id"),
                text("name"),
                // SHA-256 in hex: what a seat is looked up by.
                text("digest"),
                // The sealed copy for reveal; null once the key is deleted.
                text_null("sealed_secret"),
                text("masked_key"),
                text("provider_group"),
                flag("is_enabled"),
                big_null("expires_at_ms"),
                text("allowed_models"),
                big("revision"),
                big("created_at_ms"),
                big("updated_at_ms"),
                big_null("deleted_at_ms"),
            ],
        )
        .foreign_key(ForeignKey::create().name("keys_user_id_fkey").from("keys", "user_id").to("users", "id"))
        .take();
        manager.create_table(keys).await?;
        manager.create_index(index("keys_digest_key", "keys", &["digest"]).unique().take()).await?;
        manager.create_index(index("keys_user_id_idx", "keys", &["user_id", "id"])).await?;
        // A name is free again once its key is deleted.
        let statement =
            "CREATE UNIQUE INDEX keys_live_name_key ON keys (user_id, name) WHERE deleted_at_ms IS NULL";
        manager.get_connection().execute_unprepared(statement).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("keys").take()).await?;
        manager.drop_table(Table::drop().table("users").take()).await
    }
}
