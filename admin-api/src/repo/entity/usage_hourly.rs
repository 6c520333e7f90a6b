//! What was used in one hour.

use sea_orm::entity::prelude::*;
use serde::Serialize;

/// A row of `usage_hourly`; the columns are described where they are made, in `migrations`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, DeriveEntityModel)]
#[sea_orm(table_name = "usage_hourly")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub hour_start_ms: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub key_id: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub provider_id: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub model: String,
    pub requests: i64,
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
}

/// Hour, user, key, provider and model of a row.
pub type Key = (i64, i64, i64, i64, String);

impl Model {
    /// A row in which nothing is counted yet.
    #[must_use]
    pub fn empty((hour_start_ms, user_id, key_id, provider_id, model): Key) -> Self {
        Self {
            hour_start_ms,
            user_id,
            key_id,
            provider_id,
            model,
            requests: 0,
            input_tokens: 0,
            cache_write_5m_tokens: 0,
            cache_write_1h_tokens: 0,
            cache_read_tokens: 0,
            output_tokens: 0,
            reasoning_tokens: 0,
            image_input_tokens: 0,
            image_output_tokens: 0,
            web_search_requests: 0,
            cost_nano_usd: 0,
        }
    }

    /// What there is one row of.
    #[must_use]
    pub fn key(&self) -> Key {
        (self.hour_start_ms, self.user_id, self.key_id, self.provider_id, self.model.clone())
    }
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
