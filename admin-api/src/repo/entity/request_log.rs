//! A finished request.

use sea_orm::entity::prelude::*;

/// A row of `request_log`; the columns are described where they are made, in `migrations`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "request_log")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub created_at_ms: i64,
    pub user_id: i64,
    pub key_id: i64,
    pub provider_id: Option<i64>,
    pub endpoint: String,
    pub model: Option<String>,
    pub upstream_model: Option<String>,
    pub is_stream: bool,
    pub status: i32,
    pub blocked_by: Option<String>,
    pub error: Option<String>,
    pub stop_reason: Option<String>,
    pub upstream_request_id: Option<String>,
    pub client_ip: Option<String>,
    pub client: Option<String>,
    pub session_id: Option<String>,
    pub message_count: Option<i32>,
    pub first_byte_ms: Option<i64>,
    pub first_content_ms: Option<i64>,
    pub duration_ms: i64,
    pub attempts: i32,
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
    pub cost_nano_usd: i64,
    pub cost_breakdown: String,
    pub is_estimate: bool,
    pub is_unpriced: bool,
    pub decision_chain: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
