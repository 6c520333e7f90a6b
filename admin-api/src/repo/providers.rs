//! Queries on providers and their groups. Deleted providers are seen by nobody here.

use super::entity::{keys, provider_groups, providers, users};
use super::{Rows, contains_pattern};
use sea_orm::sea_query::{Expr, ExprTrait, Func, LikeExpr, OnConflict};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter,
    QueryOrder, QuerySelect,
};
use shared::ids::{GroupId, ProviderId};
use shared::model::GroupSet;

/// The provider, unless it was deleted.
pub async fn provider(db: &impl ConnectionTrait, id: ProviderId) -> Result<Option<providers::Model>, DbErr> {
    providers::Entity::find_by_id(id.0).filter(providers::Column::DeletedAtMs.is_null()).one(db).await
}

/// All providers, by id.
pub async fn all_providers(db: &impl ConnectionTrait) -> Result<Vec<providers::Model>, DbErr> {
    providers::Entity::find()
        .filter(providers::Column::DeletedAtMs.is_null())
        .order_by_asc(providers::Column::Id)
        .all(db)
        .await
}

/// Providers by id, after `after`; `name_has` matches a part of the name without case.
pub async fn providers(
    db: &impl ConnectionTrait,
    name_has: Option<&str>,
    after: ProviderId,
    limit: u64,
) -> Result<Rows<providers::Model>, DbErr> {
    let mut query = providers::Entity::find()
        .filter(providers::Column::DeletedAtMs.is_null())
        .filter(providers::Column::Id.gt(after.0))
        .order_by_asc(providers::Column::Id)
        .limit(limit + 1);
    if let Some(text) = name_has {
        let pattern = LikeExpr::new(contains_pattern(text)).escape('\\');
        query = query.filter(Expr::expr(Func::lower(Expr::col(providers::Column::Name))).like(pattern));
    }
    Ok(Rows::cut(query.all(db).await?, limit))
}

/// Adds a provider.
pub async fn insert_provider(
    db: &impl ConnectionTrait,
    row: providers::ActiveModel,
) -> Result<providers::Model, DbErr> {
    row.insert(db).await
}

/// Writes the changed columns of a provider.
pub async fn update_provider(
    db: &impl ConnectionTrait,
    row: providers::ActiveModel,
) -> Result<providers::Model, DbErr> {
    row.update(db).await
}

/// The group.
pub async fn group(db: &impl ConnectionTrait, id: GroupId) -> Result<Option<provider_groups::Model>, DbErr> {
    provider_groups::Entity::find_by_id(id.0).one(db).await
}

/// Groups by id, after `after`.
pub async fn groups(
    db: &impl ConnectionTrait,
    after: GroupId,
    limit: u64,
) -> Result<Rows<provider_groups::Model>, DbErr> {
    let query = provider_groups::Entity::find()
        .filter(provider_groups::Column::Id.gt(after.0))
        .order_by_asc(provider_groups::Column::Id)
        .limit(limit + 1);
    Ok(Rows::cut(query.all(db).await?, limit))
}

/// Adds a group.
pub async fn insert_group(
    db: &impl ConnectionTrait,
    row: provider_groups::ActiveModel,
) -> Result<provider_groups::Model, DbErr> {
    row.insert(db).await
}

/// Writes the changed columns of a group.
pub async fn update_group(
    db: &impl ConnectionTrait,
    row: provider_groups::ActiveModel,
) -> Result<provider_groups::Model, DbErr> {
    row.update(db).await
}

/// Removes a group.
pub async fn delete_group(db: &impl ConnectionTrait, id: GroupId) -> Result<(), DbErr> {
    provider_groups::Entity::delete_by_id(id.0).exec(db).await.map(|_| ())
}

/// Makes the named groups that are not there yet, with a factor of one.
pub async fn ensure_groups(
    db: &impl ConnectionTrait,
    set: &GroupSet,
    revision: i64,
    now_ms: i64,
) -> Result<(), DbErr> {
    let rows: Vec<_> = set
        .names()
        .filter(|name| *name != GroupSet::ALL && *name != GroupSet::DEFAULT)
        .map(|name| provider_groups::ActiveModel {
            name: Set(name.to_owned()),
            cost_multiplier: Set(1_000_000),
            revision: Set(revision),
            created_at_ms: Set(now_ms),
            updated_at_ms: Set(now_ms),
            ..Default::default()
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let conflict = OnConflict::column(provider_groups::Column::Name).do_nothing().to_owned();
    provider_groups::Entity::insert_many(rows)
        .on_conflict(conflict)
        .exec_without_returning(db)
        .await
        .map(|_| ())
}

/// True when a live user, key or provider names the group.
pub async fn is_group_used(db: &impl ConnectionTrait, name: &str) -> Result<bool, DbErr> {
    // Lists are text; the pattern finds candidates, the parser decides.
    let named = |sets: Vec<String>| {
        sets.iter().any(|s| !s.is_empty() && GroupSet::parse(s).names().any(|n| n == name))
    };
    let pattern =
        LikeExpr::new(format!("%{}%", name.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")))
            .escape('\\');
    let users: Vec<String> = users::Entity::find()
        .select_only()
        .column(users::Column::ProviderGroup)
        .filter(users::Column::DeletedAtMs.is_null())
        .filter(Expr::col(users::Column::ProviderGroup).like(pattern.clone()))
        .into_tuple()
        .all(db)
        .await?;
    let keys: Vec<String> = keys::Entity::find()
        .select_only()
        .column(keys::Column::ProviderGroup)
        .filter(keys::Column::DeletedAtMs.is_null())
        .filter(Expr::col(keys::Column::ProviderGroup).like(pattern.clone()))
        .into_tuple()
        .all(db)
        .await?;
    let providers: Vec<String> = providers::Entity::find()
        .select_only()
        .column(providers::Column::GroupTag)
        .filter(providers::Column::DeletedAtMs.is_null())
        .filter(Expr::col(providers::Column::GroupTag).like(pattern))
        .into_tuple()
        .all(db)
        .await?;
    Ok(named(users) || named(keys) || named(providers))
}
