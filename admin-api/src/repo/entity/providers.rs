//! One upstream account.

use sea_orm::entity::prelude::*;

/// A row of `providers`; the columns are described where they are made, in `migrations`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "providers")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub name: String,
    pub provider_type: String,
    pub url: String,
    pub sealed_secret: String,
    pub is_enabled: bool,
    pub weight: i32,
    pub priority: i32,
    pub group_priorities: String,
    pub active_time_start: Option<String>,
    pub active_time_end: Option<String>,
    pub group_tag: String,
    pub cost_multiplier: i64,
    pub allowed_models: String,
    pub allowed_clients: String,
    pub blocked_clients: String,
    pub model_redirects: String,
    pub max_attempts: i32,
    pub custom_headers: String,
    pub client_abort: String,
    pub first_byte_timeout_streaming_ms: i64,
    pub streaming_idle_timeout_ms: i64,
    pub request_timeout_non_streaming_ms: i64,
    pub circuit_breaker_failure_threshold: i32,
    pub circuit_breaker_open_duration_ms: i64,
    pub circuit_breaker_half_open_success_threshold: i32,
    pub proxy_url: Option<String>,
    pub sealed_proxy_password: Option<String>,
    pub proxy_fallback_to_direct: bool,
    pub ca_certificate: Option<String>,
    pub limit_5h_nano_usd: Option<i64>,
    pub limit_5h_reset_mode: String,
    pub limit_daily_nano_usd: Option<i64>,
    pub daily_reset_mode: String,
    pub daily_reset_time: String,
    pub limit_weekly_nano_usd: Option<i64>,
    pub limit_monthly_nano_usd: Option<i64>,
    pub limit_total_nano_usd: Option<i64>,
    pub limit_concurrent_sessions: Option<i32>,
    pub cost_reset_at_ms: Option<i64>,
    pub limit_5h_cost_reset_at_ms: Option<i64>,
    pub budget_generations: i32,
    pub revision: i64,
    pub created_at_ms: i64,
    pub updated_at_ms: i64,
    pub deleted_at_ms: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
