//! `/api/v1/users/{id}/keys` and `/api/v1/keys/{id}`

use super::limits::{LimitsDocument, LimitsUpdate, count};
use super::types::{Moment, Page, Patch, decode_cursor, page_limit, present, set};
use super::{changed, created, deleted, found};
use crate::error::Error;
use crate::extract::{Body, Params, beside};
use crate::service::keys::{Key, KeyFields};
use crate::service::{Actor, Admin, IfMatch, keys};
use actix_web::web::{Data, Json, Path};
use actix_web::{HttpResponse, delete, get, patch, post};
use serde::{Deserialize, Serialize};
use shared::ids::{KeyId, UserId};
use shared::model::{GroupSet, Limits};
use shared::secret::Secret;
use utoipa::{IntoParams, ToSchema};

/// A key to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyCreate {
    /// Display name, 1 to 64 characters, unique among the user's keys.
    name: String,
    /// Overrides the user's groups when it names any.
    provider_group: Option<String>,
    /// A disabled key is refused. Default: true.
    is_enabled: Option<bool>,
    /// From this moment on the key is refused.
    expires_at: Option<Moment>,
    /// Models the key may ask for besides the user's own rule; empty = all.
    allowed_models: Option<Vec<String>>,
    /// Requests a minute, 0 to 1000000; 0 = no limit. Default: no limit.
    rpm_limit: Option<u32>,
    #[serde(flatten, deserialize_with = "beside")]
    limits: LimitsUpdate,
}

impl From<KeyCreate> for KeyFields {
    fn from(body: KeyCreate) -> Self {
        let requests_per_minute = body.rpm_limit.filter(|n| *n != 0);
        let mut limits = Limits { requests_per_minute, ..Limits::default() };
        body.limits.apply(&mut limits);
        Self {
            name: body.name,
            provider_group: GroupSet::parse(&body.provider_group.unwrap_or_default()),
            is_enabled: body.is_enabled.unwrap_or(true),
            expires_at: body.expires_at.map(|m| m.0),
            allowed_models: body.allowed_models.unwrap_or_default(),
            limits,
        }
    }
}

/// What changes of a key: absent stays, null goes back to the default.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyUpdate {
    #[serde(default, deserialize_with = "present")]
    name: Option<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    provider_group: Patch<String>,
    #[serde(default, deserialize_with = "present")]
    is_enabled: Option<bool>,
    /// May lie in the past: the key has expired then.
    #[serde(default)]
    #[schema(value_type = Option<Moment>)]
    expires_at: Patch<Moment>,
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    allowed_models: Patch<Vec<String>>,
    #[serde(default)]
    #[schema(value_type = Option<u32>)]
    rpm_limit: Patch<u32>,
    #[serde(flatten, deserialize_with = "beside")]
    limits: LimitsUpdate,
}

impl KeyUpdate {
    fn apply(self, fields: &mut KeyFields) {
        set(&mut fields.name, self.name);
        let groups = self.provider_group.or_default(String::new());
        set(&mut fields.provider_group, groups.map(|text| GroupSet::parse(&text)));
        set(&mut fields.is_enabled, self.is_enabled);
        set(&mut fields.expires_at, self.expires_at.optional().map(|m| m.map(|m| m.0)));
        set(&mut fields.allowed_models, self.allowed_models.or_default(Vec::new()));
        set(&mut fields.limits.requests_per_minute, count(self.rpm_limit));
        self.limits.apply(&mut fields.limits);
    }
}

/// A key, masked.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Key)]
pub struct KeyDocument {
    id: i64,
    user_id: i64,
    name: String,
    /// What may be shown of it.
    #[schema(example = "cch-••••••x7Qd")]
    masked_key: String,
    /// Null: the user's groups apply.
    provider_group: Option<String>,
    is_enabled: bool,
    expires_at: Option<Moment>,
    allowed_models: Vec<String>,
    /// Requests a minute; null: no limit.
    rpm_limit: Option<u32>,
    #[serde(flatten)]
    limits: LimitsDocument,
    /// The configuration revision of the last change; the `ETag`.
    revision: u64,
    created_at: Moment,
    updated_at: Moment,
}

impl From<Key> for KeyDocument {
    fn from(key: Key) -> Self {
        let fields = key.stored.fields;
        let groups = &fields.provider_group;
        Self {
            id: key.stored.id,
            user_id: key.user_id.0,
            name: fields.name,
            masked_key: key.masked_key,
            provider_group: (!groups.is_empty()).then(|| groups.to_string()),
            is_enabled: fields.is_enabled,
            expires_at: fields.expires_at.map(Moment),
            allowed_models: fields.allowed_models,
            rpm_limit: fields.limits.requests_per_minute,
            limits: fields.limits.into(),
            revision: key.stored.revision.0,
            created_at: Moment(key.stored.created_at),
            updated_at: Moment(key.stored.updated_at),
        }
    }
}

/// A new key with its plain text.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyWithSecret {
    #[serde(flatten)]
    key: KeyDocument,
    /// The key itself: shown now, later only by reveal.
    secret: String,
}

impl KeyWithSecret {
    /// Shows the plain text this once.
    pub(super) fn new(key: Key, secret: &Secret) -> Self {
        Self { key: key.into(), secret: secret.expose().to_owned() }
    }
}

/// A key's plain text.
#[derive(Serialize, ToSchema)]
pub struct KeySecret {
    secret: String,
}

/// Which keys.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct KeyList {
    /// Items a page, 1 to 200. Default: 50.
    limit: Option<u64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Lists a user's keys by id.
#[utoipa::path(
    tag = "keys",
    params(("id" = i64, Path, description = "The user"), KeyList),
    responses((status = 200, body = Page<KeyDocument>))
)]
#[get("/api/v1/users/{id}/keys")]
pub async fn list_keys(
    admin: Data<Admin>,
    _actor: Actor,
    id: Path<i64>,
    params: Params<KeyList>,
) -> Result<Json<Page<KeyDocument>>, Error> {
    let limit = page_limit(params.0.limit)?;
    let after = KeyId(decode_cursor(params.0.cursor.as_deref())?.unwrap_or(0));
    let rows = admin.run(|admin| keys::list(admin, UserId(*id), after, limit)).await?;
    Ok(Json(Page::of(rows, |key| key.stored.id, KeyDocument::from)))
}

/// Makes a key for a user; its `secret` is shown once.
#[utoipa::path(
    tag = "keys",
    params(("id" = i64, Path, description = "The user")),
    request_body = KeyCreate,
    responses((status = 201, body = KeyWithSecret))
)]
#[post("/api/v1/users/{id}/keys")]
pub async fn create_key(
    admin: Data<Admin>,
    actor: Actor,
    id: Path<i64>,
    body: Body<KeyCreate>,
) -> Result<HttpResponse, Error> {
    let made = admin.run(|admin| keys::create(admin, actor, UserId(*id), body.0.into())).await?;
    let stored = &made.value.key.stored;
    let (location, etag) = (format!("/api/v1/keys/{}", stored.id), stored.revision);
    let body = KeyWithSecret::new(made.value.key, &made.value.secret);
    Ok(created(&admin, made.revision, location, etag, body).await)
}

/// Shows a key, masked.
#[utoipa::path(tag = "keys", params(("id" = i64, Path)), responses((status = 200, body = KeyDocument)))]
#[get("/api/v1/keys/{id}")]
pub async fn read_key(admin: Data<Admin>, _actor: Actor, id: Path<i64>) -> Result<HttpResponse, Error> {
    let key = admin.run(|admin| keys::read(admin, KeyId(*id))).await?;
    let etag = key.stored.revision;
    Ok(found(KeyDocument::from(key), etag))
}

/// Changes a key. Its plain text never changes.
#[utoipa::path(
    tag = "keys",
    params(("id" = i64, Path)),
    request_body = KeyUpdate,
    responses((status = 200, body = KeyDocument))
)]
#[patch("/api/v1/keys/{id}")]
pub async fn update_key(
    admin: Data<Admin>,
    actor: Actor,
    id: Path<i64>,
    if_match: IfMatch,
    body: Body<KeyUpdate>,
) -> Result<HttpResponse, Error> {
    let edit = move |fields: &mut KeyFields| body.0.apply(fields);
    let done = admin.run(|admin| keys::update(admin, actor, KeyId(*id), if_match, edit)).await?;
    let etag = done.value.stored.revision;
    Ok(changed(&admin, done.revision, etag, KeyDocument::from(done.value)).await)
}

/// Deletes a key: it is refused from now on. Its log and ledger rows stay.
#[utoipa::path(tag = "keys", params(("id" = i64, Path)), responses((status = 204)))]
#[delete("/api/v1/keys/{id}")]
pub async fn delete_key(
    admin: Data<Admin>,
    actor: Actor,
    id: Path<i64>,
    if_match: IfMatch,
) -> Result<HttpResponse, Error> {
    let done = admin.run(|admin| keys::delete(admin, actor, KeyId(*id), if_match)).await?;
    Ok(deleted(&admin, done.revision).await)
}

/// Shows a key's plain text. The audit log has who asked.
#[utoipa::path(tag = "keys", params(("id" = i64, Path)), responses((status = 200, body = KeySecret)))]
#[post("/api/v1/keys/{id}/reveal")]
pub async fn reveal_key(admin: Data<Admin>, actor: Actor, id: Path<i64>) -> Result<Json<KeySecret>, Error> {
    let secret = admin.run(|admin| keys::reveal(admin, actor, KeyId(*id))).await?;
    Ok(Json(KeySecret { secret: secret.expose().to_owned() }))
}
