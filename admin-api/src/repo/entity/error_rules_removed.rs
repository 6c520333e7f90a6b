//! A rule of a release that an admin has deleted.

use sea_orm::entity::prelude::*;

/// A row of `error_rules_removed`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "error_rules_removed")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub default_name: String,
    pub removed_at_ms: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
