//! What budgets are opened from: when the rows of the ledger count, whose they are, and which of them gateways will tell
//! again; and the epoch of the store of budgets, so that one admin-api begins each.
//!
//! Nothing of it is needed to book: an older admin-api leaves the moments empty, and its rows count from their beginning.
//! On Postgres nobody books while the indexes are made, some seconds for a million rows; records wait meanwhile.

use crate::column::{big, big_null, index, table, text};
use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // SQLite adds one column a statement.
        for name in COLUMNS {
            let add = Table::alter().table("ledger").add_column(big_null(name)).take();
            manager.alter_table(add).await?;
        }
        for (name, column) in INDEXES {
            manager.create_index(index(name, "ledger", &[column, "created_at_ms"])).await?;
        }
        let db = manager.get_connection();
        // Few rows: those whose gateway died meanwhile.
        db.execute_unprepared(
            "CREATE INDEX ledger_interrupted_idx ON ledger (created_at_ms) WHERE outcome = 'interrupted'",
        )
        .await?;
        let id = ColumnDef::new("id").big_integer().not_null().primary_key().take();
        manager.create_table(table("budget_epoch", vec![id, big("epoch")])).await?;
        db.execute_unprepared("INSERT INTO budget_epoch (id, epoch) VALUES (1, 0)").await?;
        // Records that are booked although one before them in their journal is not. Empty but for what several consumers,
        // or a loss on the way, leave open for a while.
        let mut key = Index::create();
        key.name("usage_journals_ahead_pkey").col("journal_id").col("seq");
        let columns = vec![text("journal_id"), big("seq"), text("request_id")];
        manager.create_table(table("usage_journals_ahead", columns).primary_key(&mut key).take()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in ["usage_journals_ahead", "budget_epoch"] {
            manager.drop_table(Table::drop().table(name).take()).await?;
        }
        for name in INDEXES.map(|(name, _)| name).into_iter().chain(["ledger_interrupted_idx"]) {
            manager.drop_index(Index::drop().name(name).table("ledger").to_owned()).await?;
        }
        for name in COLUMNS {
            manager.alter_table(Table::alter().table("ledger").drop_column(name).take()).await?;
        }
        Ok(())
    }
}

/// When the request's user let it in, and when the attempt's provider did, by the clock of the store of budgets. What they
/// had put aside where the gateway died meanwhile: that counts, if it is more than what is billed.
const COLUMNS: [&str; 4] =
    ["admitted_at_ms", "attempt_admitted_at_ms", "held_nano_usd", "attempt_held_nano_usd"];
const INDEXES: [(&str, &str); 2] = [("ledger_user_idx", "user_id"), ("ledger_provider_idx", "provider_id")];
