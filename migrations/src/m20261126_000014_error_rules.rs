//! Rules by which an upstream's error is the request's own fault.

use crate::column::{big, flag, index, int, int_null, row_id, table, text, text_null};
use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let rules = table(
            "error_rules",
            vec![
                row_id("id"),
                text("pattern"),
                // `contains`, `exact` or `regex`.
                text("match_type"),
                text("category"),
                text_null("description"),
                int("priority"),
                flag("is_enabled"),
                // False as soon as an admin has changed more than `is_enabled`: then no release touches it any more.
                flag("is_default"),
                // By which a release knows its own rule again, whatever it looks for now.
                text_null("default_name"),
                // An error document of one of the vendors.
                text_null("override_response"),
                int_null("override_status_code"),
                big("revision"),
                big("created_at_ms"),
                big("updated_at_ms"),
            ],
        );
        manager.create_table(rules).await?;
        for (name, column) in [(PATTERN, "pattern"), (NAME, "default_name")] {
            manager.create_index(index(name, "error_rules", &[column]).unique().take()).await?;
        }
        // Rules of a release that an admin has deleted: they do not come back.
        let removed = table(
            "error_rules_removed",
            vec![ColumnDef::new("default_name").text().not_null().primary_key().take(), big("removed_at_ms")],
        );
        manager.create_table(removed).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in ["error_rules_removed", "error_rules"] {
            manager.drop_table(Table::drop().table(name).take()).await?;
        }
        Ok(())
    }
}

const PATTERN: &str = "error_rules_pattern_key";
const NAME: &str = "error_rules_default_name_key";
