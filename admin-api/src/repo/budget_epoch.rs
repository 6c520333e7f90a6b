//! The epoch of the store of budgets: one row, raised by the admin-api that begins the next one.

use super::entity::budget_epoch::{Column, Entity};
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter};

/// The last one that was begun; 0: none yet.
pub async fn kept(db: &impl ConnectionTrait) -> Result<u64, DbErr> {
    let row = Entity::find_by_id(ROW).one(db).await?;
    let row = row.ok_or_else(|| DbErr::RecordNotFound("budget_epoch".to_owned()))?;
    Ok(row.epoch.try_into().unwrap_or(0))
}

/// Raises it, unless another admin-api has; then false. The row stays locked until the transaction ends, so that one of
/// them tells the store.
pub async fn raise(db: &impl ConnectionTrait, from: u64, to: u64) -> Result<bool, DbErr> {
    let big = |epoch: u64| i64::try_from(epoch).unwrap_or(i64::MAX);
    let raised = Entity::update_many()
        .col_expr(Column::Epoch, Expr::value(big(to)))
        .filter(Column::Id.eq(ROW))
        .filter(Column::Epoch.eq(big(from)))
        .exec(db)
        .await?;
    Ok(raised.rows_affected == 1)
}

const ROW: i64 = 1;
