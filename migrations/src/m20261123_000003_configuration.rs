//! The rest of the published configuration: prices, settings, and the number of the newest revision.

use crate::column::{big, now_ms, table, text};
use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // A model may have a bundled row and a manual one; the manual one wins, and deleting it falls back.
        let prices = table(
            "model_prices",
            vec![
                text("model"),
                // `seed` or `manual`.
                text("source"),
                // The entry's raw text in LiteLLM's field names: numbers keep their notation.
                text("prices"),
                big("revision"),
                big("created_at_ms"),
                big("updated_at_ms"),
            ],
        )
        .primary_key(Index::create().name("model_prices_pkey").col("model").col("source"))
        .take();
        manager.create_table(prices).await?;

        let settings = table(
            "settings",
            vec![
                single_row("id"),
                text("document"),
                // SHA-256 of the price seed that is in `model_prices`; empty before the first start.
                text("price_seed_digest"),
                big("revision"),
                big("updated_at_ms"),
            ],
        );
        manager.create_table(settings).await?;
        let row = Query::insert()
            .into_table("settings")
            .columns(["id", "document", "price_seed_digest", "revision", "updated_at_ms"])
            .values_panic([1_i64.into(), "{}".into(), "".into(), 1_i64.into(), now_ms().into()])
            .take();
        manager.execute(row).await?;

        manager.create_table(table("config_revision", vec![single_row("id"), big("revision")])).await?;
        let row = Query::insert()
            .into_table("config_revision")
            .columns(["id", "revision"])
            .values_panic([1_i64.into(), 1_i64.into()])
            .take();
        manager.execute(row).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in ["config_revision", "settings", "model_prices"] {
            manager.drop_table(Table::drop().table(name).take()).await?;
        }
        Ok(())
    }
}

/// The id of a table that has exactly one row.
fn single_row(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).big_integer().not_null().primary_key().check(Expr::col(name).eq(1)).take()
}
