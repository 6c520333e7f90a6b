//! A rule on the errors of upstreams.

use sea_orm::entity::prelude::*;

/// A row of `error_rules`; the columns are described where they are made, in `migrations`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "error_rules")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub pattern: String,
    pub match_type: String,
    pub category: String,
    pub description: Option<String>,
    pub priority: i32,
    pub is_enabled: bool,
    pub is_default: bool,
    pub default_name: Option<String>,
    pub override_response: Option<String>,
    pub override_status_code: Option<i32>,
    pub revision: i64,
    pub created_at_ms: i64,
    pub updated_at_ms: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
