//! One attempt of a request.

use sea_orm::entity::prelude::*;
use serde::Serialize;

/// A row of `ledger`; the columns are described where they are made, in `migrations`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, DeriveEntityModel)]
#[sea_orm(table_name = "ledger")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub request_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub attempt: i32,
    pub created_at_ms: i64,
    pub user_id: i64,
    pub key_id: i64,
    pub provider_id: i64,
    pub model: Option<String>,
    pub upstream_model: Option<String>,
    pub outcome: String,
    pub input_tokens: i64,
    #[sea_orm(column_name = "cache_write_5m_tokens")]
    pub cache_write_5m_tokens: i64,
    #[sea_orm(column_name = "cache_write_1h_tokens")]
    pub cache_write_1h_tokens: i64,
    pub cache_read_tokens: i64,
    pub output_tokens: i64,
    pub reasoning_tokens: i64,
    pub image_input_tokens: i64,
    pub image_output_tokens: i64,
    pub web_search_requests: i64,
    pub input_cost_nano_usd: i64,
    #[sea_orm(column_name = "cache_write_5m_cost_nano_usd")]
    pub cache_write_5m_cost_nano_usd: i64,
    #[sea_orm(column_name = "cache_write_1h_cost_nano_usd")]
    pub cache_write_1h_cost_nano_usd: i64,
    pub cache_read_cost_nano_usd: i64,
    pub output_cost_nano_usd: i64,
    pub fees_cost_nano_usd: i64,
    pub cost_nano_usd: i64,
    pub provider_cost_multiplier: i64,
    pub group_cost_multiplier: i64,
    pub is_estimate: bool,
    pub is_unpriced: bool,
    pub is_long_context: bool,
    pub is_priority_tier: bool,
    pub admitted_at_ms: Option<i64>,
    pub attempt_admitted_at_ms: Option<i64>,
    pub held_nano_usd: Option<i64>,
    pub attempt_held_nano_usd: Option<i64>,
    pub is_fast: bool,
    pub is_us_only: bool,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
