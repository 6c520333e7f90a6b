//! Which records of a journal are in the books above its watermark.

use sea_orm::entity::prelude::*;

/// A row of `usage_journals_ahead`; the columns are described where they are made, in `migrations`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "usage_journals_ahead")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub journal_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub seq: i64,
    pub request_id: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
