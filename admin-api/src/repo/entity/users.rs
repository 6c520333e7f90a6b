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
    pub revision: i64,
    pub created_at_ms: i64,
    pub updated_at_ms: i64,
    pub deleted_at_ms: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
