//! Queries on the rules on upstreams' errors.

use super::Rows;
use super::entity::error_rules::{ActiveModel, Column, Entity, Model};
use super::entity::error_rules_removed as removed;
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, PaginatorTrait,
    QueryFilter, QueryOrder, QuerySelect,
};
use shared::ids::ErrorRuleId;
use std::collections::BTreeSet;

/// The rule.
pub async fn rule(db: &impl ConnectionTrait, id: ErrorRuleId) -> Result<Option<Model>, DbErr> {
    Entity::find_by_id(id.0).one(db).await
}

/// Rules by id, after `after`.
pub async fn rules(db: &impl ConnectionTrait, after: ErrorRuleId, limit: u64) -> Result<Rows<Model>, DbErr> {
    let query = Entity::find().filter(Column::Id.gt(after.0)).order_by_asc(Column::Id).limit(limit + 1);
    Ok(Rows::cut(query.all(db).await?, limit))
}

/// All rules, by id.
pub async fn all(db: &impl ConnectionTrait) -> Result<Vec<Model>, DbErr> {
    Entity::find().order_by_asc(Column::Id).all(db).await
}

/// Those that are in force, by id.
pub async fn enabled(db: &impl ConnectionTrait) -> Result<Vec<Model>, DbErr> {
    Entity::find().filter(Column::IsEnabled.eq(true)).order_by_asc(Column::Id).all(db).await
}

/// How many there are.
pub async fn count(db: &impl ConnectionTrait) -> Result<u64, DbErr> {
    Entity::find().count(db).await
}

/// Adds a rule.
pub async fn insert(db: &impl ConnectionTrait, row: ActiveModel) -> Result<Model, DbErr> {
    row.insert(db).await
}

/// Writes the changed columns of a rule.
pub async fn update(db: &impl ConnectionTrait, row: ActiveModel) -> Result<Model, DbErr> {
    row.update(db).await
}

/// Removes a rule.
pub async fn delete(db: &impl ConnectionTrait, id: ErrorRuleId) -> Result<(), DbErr> {
    Entity::delete_by_id(id.0).exec(db).await.map(|_| ())
}

/// The names of the releases' rules that were deleted.
pub async fn removed_names(db: &impl ConnectionTrait) -> Result<BTreeSet<String>, DbErr> {
    let rows = removed::Entity::find().all(db).await?;
    Ok(rows.into_iter().map(|row| row.default_name).collect())
}

/// Notes that a release's rule was deleted.
pub async fn note_removed(db: &impl ConnectionTrait, default_name: String, at_ms: i64) -> Result<(), DbErr> {
    let row = removed::ActiveModel { default_name: Set(default_name), removed_at_ms: Set(at_ms) };
    let conflict = OnConflict::column(removed::Column::DefaultName).do_nothing().to_owned();
    removed::Entity::insert(row).on_conflict(conflict).exec_without_returning(db).await.map(|_| ())
}

/// Forgets which were deleted.
pub async fn forget_removed(db: &impl ConnectionTrait) -> Result<(), DbErr> {
    removed::Entity::delete_many().exec(db).await.map(|_| ())
}
