//! `/api/v1/provider-groups`

use super::types::{Factor, Moment, Page, Patch, decode_cursor, page_limit, present, set};
use super::{changed, created, deleted, found};
use crate::error::Error;
use crate::extract::{Body, Params};
use crate::service::groups::{Group, GroupFields};
use crate::service::{Actor, Admin, IfMatch, groups};
use actix_web::web::{Data, Json, Path};
use actix_web::{HttpResponse, delete, get, patch, post};
use serde::{Deserialize, Serialize};
use shared::ids::GroupId;
use shared::money::Multiplier;
use utoipa::{IntoParams, ToSchema};

/// A group to be made. A group also comes into being when a user, key or provider first names it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProviderGroupCreate {
    /// Unique, 1 to 64 characters, no commas. Never changes.
    name: String,
    /// A note for admins.
    description: Option<String>,
    /// Factor on the price of what the group's providers serve, 0 to 1000. Default: 1.
    cost_multiplier: Option<Factor>,
}

impl From<ProviderGroupCreate> for GroupFields {
    fn from(body: ProviderGroupCreate) -> Self {
        Self {
            name: body.name,
            description: body.description,
            cost_multiplier: body.cost_multiplier.map_or(Multiplier::ONE, |f| f.0),
        }
    }
}

/// What changes of a group: absent stays, null goes back to the default.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProviderGroupUpdate {
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    description: Patch<String>,
    #[serde(default, deserialize_with = "present")]
    cost_multiplier: Option<Factor>,
}

impl ProviderGroupUpdate {
    fn apply(self, fields: &mut GroupFields) {
        set(&mut fields.description, self.description.optional());
        set(&mut fields.cost_multiplier, self.cost_multiplier.map(|f| f.0));
    }
}

/// A group.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProviderGroup)]
pub struct ProviderGroupDocument {
    id: i64,
    name: String,
    description: Option<String>,
    cost_multiplier: Factor,
    /// The configuration revision of the last change; the `ETag`.
    revision: u64,
    created_at: Moment,
    updated_at: Moment,
}

impl From<Group> for ProviderGroupDocument {
    fn from(group: Group) -> Self {
        Self {
            id: group.id,
            name: group.fields.name,
            description: group.fields.description,
            cost_multiplier: Factor(group.fields.cost_multiplier),
            revision: group.revision.0,
            created_at: Moment(group.created_at),
            updated_at: Moment(group.updated_at),
        }
    }
}

/// Which groups.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ProviderGroupList {
    /// Items a page, 1 to 200. Default: 50.
    limit: Option<u64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Lists groups by id. `default` is always among them.
#[utoipa::path(
    tag = "provider-groups",
    params(ProviderGroupList),
    responses((status = 200, body = Page<ProviderGroupDocument>))
)]
#[get("/api/v1/provider-groups")]
pub async fn list_provider_groups(
    admin: Data<Admin>,
    _actor: Actor,
    params: Params<ProviderGroupList>,
) -> Result<Json<Page<ProviderGroupDocument>>, Error> {
    let limit = page_limit(params.0.limit)?;
    let after = GroupId(decode_cursor(params.0.cursor.as_deref())?.unwrap_or(0));
    let rows = admin.run(|admin| groups::list(admin, after, limit)).await?;
    Ok(Json(Page::of(rows, |group| group.id, ProviderGroupDocument::from)))
}

/// Makes a group.
#[utoipa::path(
    tag = "provider-groups",
    request_body = ProviderGroupCreate,
    responses((status = 201, body = ProviderGroupDocument))
)]
#[post("/api/v1/provider-groups")]
pub async fn create_provider_group(
    admin: Data<Admin>,
    actor: Actor,
    body: Body<ProviderGroupCreate>,
) -> Result<HttpResponse, Error> {
    let made = admin.run(|admin| groups::create(admin, actor, body.0.into())).await?;
    let location = format!("/api/v1/provider-groups/{}", made.value.id);
    let etag = made.value.revision;
    Ok(created(&admin, made.revision, location, etag, ProviderGroupDocument::from(made.value)).await)
}

/// Shows a group.
#[utoipa::path(
    tag = "provider-groups",
    params(("id" = i64, Path)),
    responses((status = 200, body = ProviderGroupDocument))
)]
#[get("/api/v1/provider-groups/{id}")]
pub async fn read_provider_group(
    admin: Data<Admin>,
    _actor: Actor,
    id: Path<i64>,
) -> Result<HttpResponse, Error> {
    let group = admin.run(|admin| groups::read(admin, GroupId(*id))).await?;
    let etag = group.revision;
    Ok(found(ProviderGroupDocument::from(group), etag))
}

/// Changes a group; its name never changes.
#[utoipa::path(
    tag = "provider-groups",
    params(("id" = i64, Path)),
    request_body = ProviderGroupUpdate,
    responses((status = 200, body = ProviderGroupDocument))
)]
#[patch("/api/v1/provider-groups/{id}")]
pub async fn update_provider_group(
    admin: Data<Admin>,
    actor: Actor,
    id: Path<i64>,
    if_match: IfMatch,
    body: Body<ProviderGroupUpdate>,
) -> Result<HttpResponse, Error> {
    let edit = move |fields: &mut GroupFields| body.0.apply(fields);
    let done = admin.run(|admin| groups::update(admin, actor, GroupId(*id), if_match, edit)).await?;
    let etag = done.value.revision;
    Ok(changed(&admin, done.revision, etag, ProviderGroupDocument::from(done.value)).await)
}

/// Removes a group that nobody names any more.
#[utoipa::path(tag = "provider-groups", params(("id" = i64, Path)), responses((status = 204)))]
#[delete("/api/v1/provider-groups/{id}")]
pub async fn delete_provider_group(
    admin: Data<Admin>,
    actor: Actor,
    id: Path<i64>,
    if_match: IfMatch,
) -> Result<HttpResponse, Error> {
    let done = admin.run(|admin| groups::delete(admin, actor, GroupId(*id), if_match)).await?;
    Ok(deleted(&admin, done.revision).await)
}
