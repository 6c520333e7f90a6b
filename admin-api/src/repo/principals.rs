//! Queries on users and keys. Deleted rows are seen by nobody here.

use super::entity::{keys, users};
use super::{Rows, contains_pattern};
use sea_orm::sea_query::{Expr, ExprTrait, Func, LikeExpr};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};
use shared::ids::{KeyId, UserId};

/// The user, unless it was deleted.
pub async fn user(db: &impl ConnectionTrait, id: UserId) -> Result<Option<users::Model>, DbErr> {
    users::Entity::find_by_id(id.0).filter(users::Column::DeletedAtMs.is_null()).one(db).await
}

/// Users by id, after `after`; `name_has` matches a part of the name without case.
pub async fn users(
    db: &impl ConnectionTrait,
    name_has: Option<&str>,
    after: UserId,
    limit: u64,
) -> Result<Rows<users::Model>, DbErr> {
    let mut query = users::Entity::find()
        .filter(users::Column::DeletedAtMs.is_null())
        .filter(users::Column::Id.gt(after.0))
        .order_by_asc(users::Column::Id)
        .limit(limit + 1);
    if let Some(text) = name_has {
        let pattern = LikeExpr::new(contains_pattern(text)).escape('\\');
        query = query.filter(Expr::expr(Func::lower(Expr::col(users::Column::Name))).like(pattern));
    }
    Ok(Rows::cut(query.all(db).await?, limit))
}

/// Adds a user.
pub async fn insert_user(db: &impl ConnectionTrait, row: users::ActiveModel) -> Result<users::Model, DbErr> {
    row.insert(db).await
}

/// Writes the changed columns of a user.
pub async fn update_user(db: &impl ConnectionTrait, row: users::ActiveModel) -> Result<users::Model, DbErr> {
    row.update(db).await
}

/// The key, unless it was deleted.
pub async fn key(db: &impl ConnectionTrait, id: KeyId) -> Result<Option<keys::Model>, DbErr> {
    keys::Entity::find_by_id(id.0).filter(keys::Column::DeletedAtMs.is_null()).one(db).await
}

/// The key that is looked up by this digest, in hex, unless it was deleted.
pub async fn key_by_digest(db: &impl ConnectionTrait, digest: &str) -> Result<Option<keys::Model>, DbErr> {
    keys::Entity::find()
        .filter(keys::Column::Digest.eq(digest))
        .filter(keys::Column::DeletedAtMs.is_null())
        .one(db)
        .await
}

/// A user's keys by id, after `after`.
pub async fn keys(
    db: &impl ConnectionTrait,
    user: UserId,
    after: KeyId,
    limit: u64,
) -> Result<Rows<keys::Model>, DbErr> {
    let query = keys::Entity::find()
        .filter(keys::Column::UserId.eq(user.0))
        .filter(keys::Column::DeletedAtMs.is_null())
        .filter(keys::Column::Id.gt(after.0))
        .order_by_asc(keys::Column::Id)
        .limit(limit + 1);
    Ok(Rows::cut(query.all(db).await?, limit))
}

/// All of a user's keys.
pub async fn all_keys(db: &impl ConnectionTrait, user: UserId) -> Result<Vec<keys::Model>, DbErr> {
    keys::Entity::find()
        .filter(keys::Column::UserId.eq(user.0))
        .filter(keys::Column::DeletedAtMs.is_null())
        .order_by_asc(keys::Column::Id)
        .all(db)
        .await
}

/// Counts that a user's account came under limits. Nothing that is shown of the user changes.
pub async fn count_generation(db: &impl ConnectionTrait, user: UserId) -> Result<(), DbErr> {
    let column = users::Column::BudgetGenerations;
    users::Entity::update_many()
        .col_expr(column, Expr::col(column).add(1))
        .filter(users::Column::Id.eq(user.0))
        .exec(db)
        .await
        .map(|_| ())
}

/// Adds a key.
pub async fn insert_key(db: &impl ConnectionTrait, row: keys::ActiveModel) -> Result<keys::Model, DbErr> {
    row.insert(db).await
}

/// Writes the changed columns of a key.
pub async fn update_key(db: &impl ConnectionTrait, row: keys::ActiveModel) -> Result<keys::Model, DbErr> {
    row.update(db).await
}

/// Deletes all keys of a user: they stop working, their sealed copies are wiped.
pub async fn delete_keys_of(
    db: &impl ConnectionTrait,
    user: UserId,
    revision: i64,
    now_ms: i64,
) -> Result<(), DbErr> {
    keys::Entity::update_many()
        .col_expr(keys::Column::DeletedAtMs, Expr::value(now_ms))
        .col_expr(keys::Column::UpdatedAtMs, Expr::value(now_ms))
        .col_expr(keys::Column::SealedSecret, Expr::value(Option::<String>::None))
        .col_expr(keys::Column::Revision, Expr::value(revision))
        .filter(keys::Column::UserId.eq(user.0))
        .filter(keys::Column::DeletedAtMs.is_null())
        .exec(db)
        .await
        .map(|_| ())
}
