//! The journals that gateways have, and those that nobody has.

use sea_orm::entity::prelude::*;

/// A row of `budget_journals`; the columns are described where they are made, in `migrations`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "budget_journals")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub journal_id: String,
    pub root: Option<String>,
    pub missing_since_ms: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
