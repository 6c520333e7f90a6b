//! `/api/v1/me/…`: what a key's holder may see of itself. Let in by the key, not by the admin token.

use super::quotas::QuotaLimitsDocument;
use super::types::Moment;
use crate::error::Error;
use crate::service::Admin;
use crate::service::quotas::{QuotaOfKey, of_key};
use crate::service::seats::Seat;
use actix_web::get;
use actix_web::web::{Data, Json};
use serde::Serialize;
use shared::model::Limits;
use shared::time::UnixMillis;
use utoipa::ToSchema;

/// How a key and its user stand.
#[derive(Debug, Serialize, ToSchema)]
pub struct MyQuota {
    key: MyLimits,
    /// Whose key it is: its limits hold for all keys together.
    user: MyLimits,
    /// False: what was spent is not known yet, and only limits are said; ask again soon. True also where nothing is limited.
    is_open: bool,
    #[serde(flatten)]
    limits: QuotaLimitsDocument,
}

/// What is no window.
#[derive(Debug, Serialize, ToSchema)]
pub struct MyLimits {
    name: String,
    /// From when on it is refused; null: never.
    expires_at: Option<Moment>,
    /// Requests of a minute; null: no limit.
    rpm_limit: Option<u32>,
    /// Conversations at a time; null: no limit.
    limit_concurrent_sessions: Option<u32>,
}

impl MyLimits {
    fn of(name: String, expires_at: Option<UnixMillis>, limits: &Limits) -> Self {
        Self {
            name,
            expires_at: expires_at.map(Moment),
            rpm_limit: limits.requests_per_minute.filter(|n| *n > 0),
            limit_concurrent_sessions: limits.concurrent_sessions.filter(|n| *n > 0),
        }
    }
}

impl From<QuotaOfKey> for MyQuota {
    fn from(QuotaOfKey { user, key, quota }: QuotaOfKey) -> Self {
        Self {
            is_open: quota.as_ref().is_none_or(|quota| quota.is_open),
            limits: quota.map(QuotaLimitsDocument::from).unwrap_or_default(),
            key: MyLimits::of(key.name, key.expires_at, &key.limits),
            user: MyLimits::of(user.name, user.expires_at, &user.limits),
        }
    }
}

/// Shows the holder of a key how the budgets of the key and its user stand. Wants the key itself, as
/// `Authorization: Bearer cch-…` or in `x-api-key`. 503 `quotas_unavailable` while the gateways' budgets cannot be reached.
#[utoipa::path(tag = "me", responses((status = 200, body = MyQuota)))]
#[get("/api/v1/me/quota")]
pub async fn read_my_quota(admin: Data<Admin>, seat: Seat) -> Result<Json<MyQuota>, Error> {
    admin.run(move |admin| of_key(admin, seat.key_id)).await.map(|of_key| Json(of_key.into()))
}
