//! Where requests go: providers and the groups they belong to.

use crate::column::{big, big_null, flag, index, int, now_ms, row_id, table, text, text_null};
use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let groups = table(
            "provider_groups",
            vec![
                row_id("id"),
                text("name"),
                text_null("description"),
                // Millionths.
                big("cost_multiplier"),
                big("revision"),
                big("created_at_ms"),
                big("updated_at_ms"),
            ],
        );
        manager.create_table(groups).await?;
        let unique_name = index("provider_groups_name_key", "provider_groups", &["name"]).unique().take();
        manager.create_index(unique_name).await?;
        let now = now_ms();
        let default_group = Query::insert()
            .into_table("provider_groups")
            .columns(["name", "cost_multiplier", "revision", "created_at_ms", "updated_at_ms"])
            .values_panic(["default".into(), 1_000_000_i64.into(), 1_i64.into(), now.into(), now.into()])
            .take();
        manager.execute(default_group).await?;

        let providers = table(
            "providers",
            vec![
                row_id("id"),
                text("name"),
                text("provider_type"),
                text("url"),
                // Sealed at `provider:<id>:key`; empty once the provider is deleted.
                text("sealed_secret"),
                flag("is_enabled"),
                int("weight"),
                int("priority"),
                text("group_tag"),
                big("cost_multiplier"),
                text("allowed_models"),
                text("model_redirects"),
                int("max_attempts"),
                // Name to value, each value sealed at `provider:<id>:header:<name>`; empty once the provider is deleted.
                text("custom_headers"),
                text("client_abort"),
                big("first_byte_timeout_streaming_ms"),
                big("streaming_idle_timeout_ms"),
                big("request_timeout_non_streaming_ms"),
                big("revision"),
                big("created_at_ms"),
                big("updated_at_ms"),
                big_null("deleted_at_ms"),
            ],
        );
        manager.create_table(providers).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("providers").take()).await?;
        manager.drop_table(Table::drop().table("provider_groups").take()).await
    }
}
