//! Queries on what is under limits: users with a limit of their own or a limited key, and providers. Deleted rows are seen by
//! nobody here.

use super::Rows;
use super::entity::{keys, providers, users};
use super::limits::LimitedRows;
use sea_orm::sea_query::Query;
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use shared::ids::{ProviderId, UserId};

/// Users whose accounts are published as governed, by id, after `after`; `only`: this one, if it is.
pub async fn governed_users(
    db: &impl ConnectionTrait,
    only: Option<UserId>,
    after: UserId,
    limit: u64,
) -> Result<Rows<users::Model>, DbErr> {
    let with_limited_key = Query::select()
        .column(keys::Column::UserId)
        .from(keys::Entity)
        .and_where(keys::Column::DeletedAtMs.is_null())
        .cond_where(keys::Entity::are_limited())
        .to_owned();
    let is_governed = users::Entity::are_limited().add(users::Column::Id.in_subquery(with_limited_key));
    let mut query = users::Entity::find()
        .filter(users::Column::DeletedAtMs.is_null())
        .filter(users::Column::BudgetGenerations.gt(0))
        .filter(is_governed)
        .filter(users::Column::Id.gt(after.0))
        .order_by_asc(users::Column::Id)
        .limit(limit + 1);
    if let Some(id) = only {
        query = query.filter(users::Column::Id.eq(id.0));
    }
    Ok(Rows::cut(query.all(db).await?, limit))
}

/// The same of providers.
pub async fn governed_providers(
    db: &impl ConnectionTrait,
    only: Option<ProviderId>,
    after: ProviderId,
    limit: u64,
) -> Result<Rows<providers::Model>, DbErr> {
    let mut query = providers::Entity::find()
        .filter(providers::Column::DeletedAtMs.is_null())
        .filter(providers::Column::BudgetGenerations.gt(0))
        .filter(providers::Entity::are_limited())
        .filter(providers::Column::Id.gt(after.0))
        .order_by_asc(providers::Column::Id)
        .limit(limit + 1);
    if let Some(id) = only {
        query = query.filter(providers::Column::Id.eq(id.0));
    }
    Ok(Rows::cut(query.all(db).await?, limit))
}

/// The limited keys of these users, each user's by id.
pub async fn limited_keys(
    db: &impl ConnectionTrait,
    users: impl IntoIterator<Item = i64>,
) -> Result<Vec<keys::Model>, DbErr> {
    keys::Entity::find()
        .filter(keys::Column::UserId.is_in(users))
        .filter(keys::Column::DeletedAtMs.is_null())
        .filter(keys::Entity::are_limited())
        .order_by_asc(keys::Column::UserId)
        .order_by_asc(keys::Column::Id)
        .all(db)
        .await
}
