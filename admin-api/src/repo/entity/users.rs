//! A person or a team.

use sea_orm::entity::prelude::*;

/// A row of `users`; the columns are described where they are made, in `migrations`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "users")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub name: String,
    pub description: Option<String>,
    pub tags: String,
    pub provider_group: String,
    pub is_enabled: bool,
    pub expires_at_ms: Option<i64>,
    pub allowed_models: String,
    pub allowed_clients: String,
    pub blocked_clients: String,
    pub rpm_limit: Option<i32>,
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
    pub quota_reservation: Option<String>,
    pub budget_generations: i32,
    pub revision: i64,
    pub created_at_ms: i64,
    pub updated_at_ms: i64,
    pub deleted_at_ms: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
