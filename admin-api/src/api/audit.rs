//! `/api/v1/audit-log`

use super::types::{Moment, Page, decode_cursor, page_limit};
use crate::error::Error;
use crate::extract::Params;
use crate::repo::audit::{AuditFilter, entries};
use crate::repo::entity::audit_log::Model;
use crate::service::{Actor, Admin};
use actix_web::get;
use actix_web::web::{Data, Json};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::time::UnixMillis;
use utoipa::{IntoParams, ToSchema};

/// Who changed what, when.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditEntry {
    id: i64,
    created_at: Moment,
    /// `admin_token`, or the part of the system that acted by itself.
    actor: String,
    client_ip: Option<String>,
    request_id: Option<String>,
    /// e.g. `user.create`, `key.reveal`
    action: String,
    resource_type: String,
    resource_id: String,
    /// The configuration revision the change made; null for what changes nothing.
    revision: Option<i64>,
    /// As it was, secrets redacted.
    #[schema(value_type = Option<Object>)]
    before: Option<Value>,
    /// As it became, secrets redacted.
    #[schema(value_type = Option<Object>)]
    after: Option<Value>,
}

impl From<Model> for AuditEntry {
    fn from(row: Model) -> Self {
        let parse = |text: Option<String>| text.and_then(|t| serde_json::from_str(&t).ok());
        Self {
            id: row.id,
            created_at: Moment(UnixMillis(row.created_at_ms)),
            actor: row.actor,
            client_ip: row.client_ip,
            request_id: row.request_id,
            action: row.action,
            resource_type: row.resource_type,
            resource_id: row.resource_id,
            revision: row.revision,
            before: parse(row.before_json),
            after: parse(row.after_json),
        }
    }
}

/// Which entries.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditList {
    /// e.g. `user.create`
    action: Option<String>,
    /// e.g. `user`
    resource_type: Option<String>,
    /// The resource's id.
    resource_id: Option<String>,
    /// From this moment on.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Moment>,
    /// Before this moment.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Moment>,
    /// Items a page, 1 to 200. Default: 50.
    limit: Option<u64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Lists the audit log, newest first.
#[utoipa::path(tag = "audit-log", params(AuditList), responses((status = 200, body = Page<AuditEntry>)))]
#[get("/api/v1/audit-log")]
pub async fn list_audit_log(
    admin: Data<Admin>,
    _actor: Actor,
    params: Params<AuditList>,
) -> Result<Json<Page<AuditEntry>>, Error> {
    let params = params.0;
    let limit = page_limit(params.limit)?;
    let filter = AuditFilter {
        action: params.action,
        resource_type: params.resource_type,
        resource_id: params.resource_id,
        from_ms: params.from.map(|m| m.0.0),
        to_ms: params.to.map(|m| m.0.0),
        before: decode_cursor(params.cursor.as_deref())?,
    };
    let rows =
        admin.run(|admin| async move { Ok(entries(admin.db().reader(), &filter, limit).await?) }).await?;
    Ok(Json(Page::of(rows, |row| (row.created_at_ms, row.id), AuditEntry::from)))
}
