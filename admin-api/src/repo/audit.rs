//! Queries on the audit log.

use super::Rows;
use super::entity::audit_log;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect,
};

/// Which entries are listed.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// e.g. `user.create`.
    pub action: Option<String>,
    /// e.g. `user`.
    pub resource_type: Option<String>,
    /// The resource's id, as text.
    pub resource_id: Option<String>,
    /// From this moment on, Unix milliseconds.
    pub from_ms: Option<i64>,
    /// Before this moment, Unix milliseconds.
    pub to_ms: Option<i64>,
    /// Only entries older than this place: (created, id).
    pub before: Option<(i64, i64)>,
}

/// Adds an entry.
pub async fn insert(db: &impl ConnectionTrait, row: audit_log::ActiveModel) -> Result<(), DbErr> {
    row.insert(db).await.map(|_| ())
}

/// Entries, newest first.
pub async fn entries(
    db: &impl ConnectionTrait,
    filter: &AuditFilter,
    limit: u64,
) -> Result<Rows<audit_log::Model>, DbErr> {
    use audit_log::Column::{Action, CreatedAtMs, Id, ResourceId, ResourceType};
    let mut condition = Condition::all()
        .add_option(filter.action.as_ref().map(|v| Action.eq(v.as_str())))
        .add_option(filter.resource_type.as_ref().map(|v| ResourceType.eq(v.as_str())))
        .add_option(filter.resource_id.as_ref().map(|v| ResourceId.eq(v.as_str())))
        .add_option(filter.from_ms.map(|v| CreatedAtMs.gte(v)))
        .add_option(filter.to_ms.map(|v| CreatedAtMs.lt(v)));
    if let Some((created_at_ms, id)) = filter.before {
        let same_moment = Condition::all().add(CreatedAtMs.eq(created_at_ms)).add(Id.lt(id));
        condition = condition.add(Condition::any().add(CreatedAtMs.lt(created_at_ms)).add(same_moment));
    }
    let rows = audit_log::Entity::find()
        .filter(condition)
        .order_by_desc(CreatedAtMs)
        .order_by_desc(Id)
        .limit(limit + 1)
        .all(db)
        .await?;
    Ok(Rows::cut(rows, limit))
}
