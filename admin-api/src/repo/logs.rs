//! Queries on the request log and the ledger rows behind it.

use super::Rows;
use super::entity::{ledger, request_log};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select,
};
use shared::ids::RequestId;

/// Which requests are listed.
#[derive(Clone, Debug, Default)]
pub struct LogFilter {
    /// The key's user.
    pub user_id: Option<i64>,
    /// The key.
    pub key_id: Option<i64>,
    /// The provider whose answer the seat got.
    pub provider_id: Option<i64>,
    /// The model the seat asked for.
    pub model: Option<String>,
    /// The HTTP status the seat saw.
    pub status: Option<i32>,
    /// The conversation.
    pub session_id: Option<String>,
    /// Why the request was refused here.
    pub blocked_by: Option<String>,
    /// From this moment on, Unix milliseconds.
    pub from_ms: Option<i64>,
    /// Before this moment, Unix milliseconds.
    pub to_ms: Option<i64>,
    /// Only requests older than this place: (created, id).
    pub before: Option<(i64, String)>,
}

/// Requests, newest first.
pub async fn requests(
    db: &impl ConnectionTrait,
    filter: &LogFilter,
    limit: u64,
) -> Result<Rows<request_log::Model>, DbErr> {
    Ok(Rows::cut(select_requests(filter, limit).all(db).await?, limit))
}

/// The query behind [`requests`], with one row more than wanted.
#[must_use]
pub fn select_requests(filter: &LogFilter, limit: u64) -> Select<request_log::Entity> {
    use request_log::Column::{
        BlockedBy, CreatedAtMs, Id, KeyId, Model, ProviderId, SessionId, Status, UserId,
    };
    let mut condition = Condition::all()
        .add_option(filter.user_id.map(|v| UserId.eq(v)))
        .add_option(filter.key_id.map(|v| KeyId.eq(v)))
        .add_option(filter.provider_id.map(|v| ProviderId.eq(v)))
        .add_option(filter.model.as_ref().map(|v| Model.eq(v.as_str())))
        .add_option(filter.status.map(|v| Status.eq(v)))
        .add_option(filter.session_id.as_ref().map(|v| SessionId.eq(v.as_str())))
        .add_option(filter.blocked_by.as_ref().map(|v| BlockedBy.eq(v.as_str())))
        .add_option(filter.from_ms.map(|v| CreatedAtMs.gte(v)))
        .add_option(filter.to_ms.map(|v| CreatedAtMs.lt(v)));
    if let Some((created_at_ms, id)) = &filter.before {
        // The redundant upper bound lets the index end the scan; databases do not derive it from the OR.
        let same_moment = Condition::all().add(CreatedAtMs.eq(*created_at_ms)).add(Id.lt(id.as_str()));
        condition = condition
            .add(CreatedAtMs.lte(*created_at_ms))
            .add(Condition::any().add(CreatedAtMs.lt(*created_at_ms)).add(same_moment));
    }
    request_log::Entity::find()
        .filter(condition)
        .order_by_desc(CreatedAtMs)
        .order_by_desc(Id)
        .limit(limit + 1)
}

/// One request. Its id says when it began, and so in which of the log's days it is.
pub async fn request(db: &impl ConnectionTrait, id: RequestId) -> Result<Option<request_log::Model>, DbErr> {
    let created_at_ms = i64::try_from(id.unix_ms()).unwrap_or(i64::MAX);
    request_log::Entity::find_by_id(id.to_string())
        .filter(request_log::Column::CreatedAtMs.eq(created_at_ms))
        .one(db)
        .await
}

/// The ledger rows of one request, in the order of its attempts.
pub async fn attempts(db: &impl ConnectionTrait, request_id: &str) -> Result<Vec<ledger::Model>, DbErr> {
    ledger::Entity::find()
        .filter(ledger::Column::RequestId.eq(request_id))
        .order_by_asc(ledger::Column::Attempt)
        .all(db)
        .await
}
