//! The books: the request log, the ledger (one row an attempt) and the hourly roll-ups of it.
//!
//! No foreign keys to users, keys or providers: what was spent stays, whoever goes. The ledger and the
//! roll-ups survive a clean-up of the request log.

use crate::column::{big, big_null, flag, index, int, int_null, table, text, text_null};
use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        request_log(manager).await?;
        ledger(manager).await?;
        usage_hourly(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in ["usage_hourly", "ledger", "request_log"] {
            manager.drop_table(Table::drop().table(name).take()).await?;
        }
        Ok(())
    }
}

async fn request_log(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let mut columns = vec![
        // The `x-request-id` of the answer, a UUIDv7 in text: sorts by time.
        ColumnDef::new("id").text().not_null().primary_key().take(),
        big("created_at_ms"),
        big("user_id"),
        big("key_id"),
        big_null("provider_id"),
        text("endpoint"),
        text_null("model"),
        text_null("upstream_model"),
        flag("is_stream"),
        int("status"),
        text_null("blocked_by"),
        text_null("error"),
        text_null("stop_reason"),
        text_null("upstream_request_id"),
        text_null("client_ip"),
        text_null("client"),
        text_null("session_id"),
        int_null("message_count"),
        big_null("first_byte_ms"),
        big_null("first_content_ms"),
        big("duration_ms"),
        int("attempts"),
    ];
    // Sums over the request's attempts.
    columns.extend(QUANTITIES.map(big));
    columns.extend([
        big("cost_nano_usd"),
        text("cost_breakdown"),
        flag("is_estimate"),
        flag("is_unpriced"),
        text("decision_chain"),
    ]);
    manager.create_table(table("request_log", columns)).await?;
    let keyset = index("request_log_created_idx", "request_log", &["created_at_ms", "id"]);
    manager.create_index(keyset).await?;
    for (name, column) in [
        ("request_log_user_idx", "user_id"),
        ("request_log_key_idx", "key_id"),
        ("request_log_provider_idx", "provider_id"),
        ("request_log_model_idx", "model"),
        ("request_log_status_idx", "status"),
    ] {
        manager.create_index(index(name, "request_log", &[column, "created_at_ms", "id"])).await?;
    }
    // Most rows have neither, so these stay small.
    for column in ["session_id", "blocked_by"] {
        let statement = format!(
            "CREATE INDEX request_log_{column}_idx ON request_log ({column}, created_at_ms, id) \
             WHERE {column} IS NOT NULL"
        );
        manager.get_connection().execute_unprepared(&statement).await?;
    }
    Ok(())
}

async fn ledger(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let mut columns = vec![
        text("request_id"),
        int("attempt"),
        // When the request began: all its attempts count in one hour.
        big("created_at_ms"),
        big("user_id"),
        big("key_id"),
        big("provider_id"),
        text_null("model"),
        text_null("upstream_model"),
        // served | failed | drained | cancelled | interrupted
        text("outcome"),
    ];
    columns.extend(QUANTITIES.map(big));
    columns.extend(
        [
            "input_cost_nano_usd",
            "cache_write_5m_cost_nano_usd",
            "cache_write_1h_cost_nano_usd",
            "cache_read_cost_nano_usd",
            "output_cost_nano_usd",
            "fees_cost_nano_usd",
            // Always the sum of the six above.
            "cost_nano_usd",
            // Already in the items; millionths.
            "provider_cost_multiplier",
            "group_cost_multiplier",
        ]
        .map(big),
    );
    columns.extend(["is_estimate", "is_unpriced", "is_long_context", "is_priority_tier"].map(flag));
    let ledger = table("ledger", columns)
        .primary_key(Index::create().name("ledger_pkey").col("request_id").col("attempt"))
        .take();
    manager.create_table(ledger).await?;
    manager.create_index(index("ledger_created_idx", "ledger", &["created_at_ms", "request_id"])).await
}

async fn usage_hourly(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let mut columns = vec![
        big("hour_start_ms"),
        big("user_id"),
        big("key_id"),
        // 0 = nothing was forwarded.
        big("provider_id"),
        // The model the seat asked for; empty = it named none.
        text("model"),
        // Requests, not attempts: counted with the provider that answered, else the last one tried.
        big("requests"),
    ];
    columns.extend(QUANTITIES.map(big));
    columns.push(big("cost_nano_usd"));
    let mut key = Index::create();
    key.name("usage_hourly_pkey");
    for column in ["hour_start_ms", "user_id", "key_id", "provider_id", "model"] {
        key.col(column);
    }
    manager.create_table(table("usage_hourly", columns).primary_key(&mut key).take()).await?;
    for (name, column) in [
        ("usage_hourly_user_idx", "user_id"),
        ("usage_hourly_key_idx", "key_id"),
        ("usage_hourly_provider_idx", "provider_id"),
    ] {
        manager.create_index(index(name, "usage_hourly", &[column, "hour_start_ms"])).await?;
    }
    Ok(())
}

/// What is counted, in all three tables under the same names.
const QUANTITIES: [&str; 9] = [
    "input_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "cache_read_tokens",
    "output_tokens",
    "reasoning_tokens",
    "image_input_tokens",
    "image_output_tokens",
    "web_search_requests",
];
