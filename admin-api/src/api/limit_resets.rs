//! `/api/v1/users/{id}/limits/reset`, `/api/v1/keys/{id}/limits/reset`, `/api/v1/providers/{id}/limits/reset`

use super::deleted;
use crate::error::Error;
use crate::extract::Fields;
use crate::service::limit_resets::{self as resets, ResetWindow};
use crate::service::{Actor, Admin};
use actix_web::web::{Data, Path};
use actix_web::{HttpResponse, post};
use serde::Deserialize;
use shared::ids::{KeyId, ProviderId, UserId};
use utoipa::ToSchema;

/// What begins anew.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitsReset {
    /// Default: `all`.
    #[serde(default)]
    window: ResetWindowName,
}

/// Which windows begin anew.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
pub enum ResetWindowName {
    /// All of them.
    #[default]
    #[serde(rename = "all")]
    All,
    /// That of five hours.
    #[serde(rename = "5h")]
    FiveHours,
}

/// Lets a user's limits of money, and those of its keys, begin anew: what was spent before now counts no more. Nothing of
/// the log and the ledger changes. 503 `quotas_unavailable` while the gateways' budgets cannot be reached: nothing changed.
#[utoipa::path(
    tag = "users",
    params(("id" = i64, Path)),
    request_body = Option<LimitsReset>,
    responses((status = 204))
)]
#[post("/api/v1/users/{id}/limits/reset")]
pub async fn reset_user_limits(
    admin: Data<Admin>,
    actor: Actor,
    id: Path<i64>,
    body: Fields,
) -> Result<HttpResponse, Error> {
    let window = window(body)?;
    let done = admin.run(|admin| resets::reset_user(admin, actor, UserId(*id), window)).await?;
    Ok(deleted(&admin, done.revision).await)
}

/// Lets a key's own limits of money begin anew; those of its user stay as they are. Otherwise as for a user.
#[utoipa::path(
    tag = "keys",
    params(("id" = i64, Path)),
    request_body = Option<LimitsReset>,
    responses((status = 204))
)]
#[post("/api/v1/keys/{id}/limits/reset")]
pub async fn reset_key_limits(
    admin: Data<Admin>,
    actor: Actor,
    id: Path<i64>,
    body: Fields,
) -> Result<HttpResponse, Error> {
    let window = window(body)?;
    let done = admin.run(|admin| resets::reset_key(admin, actor, KeyId(*id), window)).await?;
    Ok(deleted(&admin, done.revision).await)
}

/// Lets a provider's limits of money begin anew. Otherwise as for a user.
#[utoipa::path(
    tag = "providers",
    params(("id" = i64, Path)),
    request_body = Option<LimitsReset>,
    responses((status = 204))
)]
#[post("/api/v1/providers/{id}/limits/reset")]
pub async fn reset_provider_limits(
    admin: Data<Admin>,
    actor: Actor,
    id: Path<i64>,
    body: Fields,
) -> Result<HttpResponse, Error> {
    let window = window(body)?;
    let done = admin.run(|admin| resets::reset_provider(admin, actor, ProviderId(*id), window)).await?;
    Ok(deleted(&admin, done.revision).await)
}

fn window(body: Fields) -> Result<ResetWindow, Error> {
    Ok(match body.rest::<LimitsReset>()?.window {
        ResetWindowName::All => ResetWindow::All,
        ResetWindowName::FiveHours => ResetWindow::FiveHours,
    })
}
