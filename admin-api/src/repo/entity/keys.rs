//! A seat's credential.

use sea_orm::entity::prelude::*;

/// A row of `keys`; the columns are described where they are made, in `migrations`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "keys")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub user_id: i64,
    pub name: String,
    pub digest: String,
    pub sealed_secret: Option<String>,
    pub masked_key: String,
    pub provider_group: String,
    pub is_enabled: bool,
    pub expires_at_ms: Option<i64>,
    pub allowed_models: String,
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
    pub revision: i64,
    pub created_at_ms: i64,
    pub updated_at_ms: i64,
    pub deleted_at_ms: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
