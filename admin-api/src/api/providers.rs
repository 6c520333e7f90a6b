//! `/api/v1/providers`

mod documents;

use super::types::{Page, decode_cursor, page_limit};
use super::{changed, created, deleted, found};
use crate::error::Error;
use crate::extract::{Body, Params};
use crate::service::providers::ProviderFields;
use crate::service::{Actor, Admin, IfMatch, providers};
use actix_web::web::{Data, Json, Path};
use actix_web::{HttpResponse, delete, get, patch, post};
use documents::ProviderDocument;
pub(super) use documents::{ProviderCreate, ProviderUpdate};
use serde::Deserialize;
use shared::ids::ProviderId;
use utoipa::IntoParams;

/// Which providers.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ProviderList {
    /// A part of the name, without case.
    q: Option<String>,
    /// Items a page, 1 to 200. Default: 50.
    limit: Option<u64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Lists providers by id.
#[utoipa::path(
    tag = "providers",
    params(ProviderList),
    responses((status = 200, body = Page<ProviderDocument>))
)]
#[get("/api/v1/providers")]
pub async fn list_providers(
    admin: Data<Admin>,
    _actor: Actor,
    params: Params<ProviderList>,
) -> Result<Json<Page<ProviderDocument>>, Error> {
    let limit = page_limit(params.0.limit)?;
    let after = ProviderId(decode_cursor(params.0.cursor.as_deref())?.unwrap_or(0));
    let rows = admin.run(|admin| providers::list(admin, params.0.q, after, limit)).await?;
    Ok(Json(Page::of(rows, |provider| provider.id, ProviderDocument::from)))
}

/// Makes a provider.
#[utoipa::path(
    tag = "providers",
    request_body = ProviderCreate,
    responses((status = 201, body = ProviderDocument))
)]
#[post("/api/v1/providers")]
pub async fn create_provider(
    admin: Data<Admin>,
    actor: Actor,
    body: Body<ProviderCreate>,
) -> Result<HttpResponse, Error> {
    let (fields, key) = body.0.parse()?;
    let made = admin.run(|admin| providers::create(admin, actor, fields, key)).await?;
    let location = format!("/api/v1/providers/{}", made.value.id);
    let etag = made.value.revision;
    Ok(created(&admin, made.revision, location, etag, ProviderDocument::from(made.value)).await)
}

/// Shows a provider, without its secret.
#[utoipa::path(tag = "providers", params(("id" = i64, Path)), responses((status = 200, body = ProviderDocument)))]
#[get("/api/v1/providers/{id}")]
pub async fn read_provider(admin: Data<Admin>, _actor: Actor, id: Path<i64>) -> Result<HttpResponse, Error> {
    let provider = admin.run(|admin| providers::read(admin, ProviderId(*id))).await?;
    let etag = provider.revision;
    Ok(found(ProviderDocument::from(provider), etag))
}

/// Changes a provider.
#[utoipa::path(
    tag = "providers",
    params(("id" = i64, Path)),
    request_body = ProviderUpdate,
    responses((status = 200, body = ProviderDocument))
)]
#[patch("/api/v1/providers/{id}")]
pub async fn update_provider(
    admin: Data<Admin>,
    actor: Actor,
    id: Path<i64>,
    if_match: IfMatch,
    body: Body<ProviderUpdate>,
) -> Result<HttpResponse, Error> {
    let mut edit = body.0.parse()?;
    let key = edit.key.take();
    let apply = move |fields: &mut ProviderFields| edit.apply(fields);
    let id = ProviderId(*id);
    let done = admin.run(|admin| providers::update(admin, actor, id, if_match, key, apply)).await?;
    let etag = done.value.revision;
    Ok(changed(&admin, done.revision, etag, ProviderDocument::from(done.value)).await)
}

/// Deletes a provider; its secret and its headers' values are wiped. Its log and ledger rows stay.
#[utoipa::path(tag = "providers", params(("id" = i64, Path)), responses((status = 204)))]
#[delete("/api/v1/providers/{id}")]
pub async fn delete_provider(
    admin: Data<Admin>,
    actor: Actor,
    id: Path<i64>,
    if_match: IfMatch,
) -> Result<HttpResponse, Error> {
    let done = admin.run(|admin| providers::delete(admin, actor, ProviderId(*id), if_match)).await?;
    Ok(deleted(&admin, done.revision).await)
}
