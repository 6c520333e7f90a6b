//! The number of the newest configuration: one row, raised inside the transaction of every change.

use super::entity::config_revision;
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter};
use shared::ids::Revision;

/// The newest committed revision.
pub async fn newest(db: &impl ConnectionTrait) -> Result<Revision, DbErr> {
    let row = config_revision::Entity::find_by_id(ROW).one(db).await?;
    let row = row.ok_or_else(|| DbErr::RecordNotFound("config_revision".to_owned()))?;
    Ok(Revision(row.revision.cast_unsigned()))
}

/// Raises the number and returns it. The row stays locked until the transaction ends, so that revisions
/// are committed in their order; do this first in a transaction.
pub async fn raise(db: &impl ConnectionTrait) -> Result<Revision, DbErr> {
    let column = config_revision::Column::Revision;
    config_revision::Entity::update_many()
        .col_expr(column, Expr::col(column).add(1))
        .filter(config_revision::Column::Id.eq(ROW))
        .exec(db)
        .await?;
    newest(db).await
}

const ROW: i64 = 1;
