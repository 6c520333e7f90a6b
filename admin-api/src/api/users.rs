//! `/api/v1/users`

use super::keys::KeyWithSecret;
use super::limits::{LimitsDocument, LimitsUpdate, QuotaReservationName, count};
use super::rules::{client_patterns, client_texts};
use super::types::{Moment, Page, Patch, decode_cursor, effective_groups, page_limit, present, set};
use super::{changed, created, deleted, found};
use crate::error::Error;
use crate::extract::{Body, Params, beside};
use crate::service::users::{User, UserFields};
use crate::service::{Actor, Admin, IfMatch, users};
use actix_web::web::{Data, Json, Path};
use actix_web::{HttpResponse, delete, get, patch, post};
use serde::{Deserialize, Serialize};
use shared::ids::{Revision, UserId};
use shared::model::{GroupSet, Limits};
use utoipa::{IntoParams, ToSchema};

/// A user to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserCreate {
    /// Display name, 1 to 64 characters.
    name: String,
    /// A note for admins.
    description: Option<String>,
    /// Labels: at most 20 of 32 characters.
    tags: Option<Vec<String>>,
    /// Groups whose providers the user's keys may use, separated by commas; `*` = all. Default: `default`.
    provider_group: Option<String>,
    /// A disabled user's keys are refused. Default: true.
    is_enabled: Option<bool>,
    /// From this moment on the user's keys are refused.
    expires_at: Option<Moment>,
    /// Models the user may ask for; empty = all.
    allowed_models: Option<Vec<String>>,
    /// Programs the user's keys may be used with, by `User-Agent`; empty = all. A preset (`claude-code`, `claude-code-cli`,
    /// `claude-code-cli-sdk`, `claude-code-vscode`, `claude-code-sdk-ts`, `claude-code-sdk-py`, `claude-code-gh-action`,
    /// `codex-cli`, `gemini-cli`), the name of a product in it, or a text with `*` for any text. At most 100 of 128
    /// characters.
    allowed_clients: Option<Vec<String>>,
    /// Programs they may not be used with, whatever is allowed.
    blocked_clients: Option<Vec<String>>,
    /// Requests a minute, 0 to 1000000; 0 = no limit. Default: no limit.
    rpm_limit: Option<u32>,
    #[serde(flatten, deserialize_with = "beside")]
    limits: LimitsUpdate,
    /// What is put aside for a request of the user's keys. Default: what the settings say.
    quota_reservation: Option<QuotaReservationName>,
}

impl From<UserCreate> for UserFields {
    fn from(body: UserCreate) -> Self {
        let requests_per_minute = body.rpm_limit.filter(|n| *n != 0);
        let mut limits = Limits { requests_per_minute, ..Limits::default() };
        body.limits.apply(&mut limits);
        Self {
            name: body.name,
            description: body.description,
            tags: body.tags.unwrap_or_default(),
            provider_group: GroupSet::parse(&body.provider_group.unwrap_or_default()),
            is_enabled: body.is_enabled.unwrap_or(true),
            expires_at: body.expires_at.map(|m| m.0),
            allowed_models: body.allowed_models.unwrap_or_default(),
            allowed_clients: client_patterns(body.allowed_clients.unwrap_or_default()),
            blocked_clients: client_patterns(body.blocked_clients.unwrap_or_default()),
            limits,
            quota_reservation: body.quota_reservation.map(Into::into),
        }
    }
}

/// What changes of a user: absent stays, null goes back to the default.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserUpdate {
    #[serde(default, deserialize_with = "present")]
    name: Option<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    description: Patch<String>,
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    tags: Patch<Vec<String>>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    provider_group: Patch<String>,
    #[serde(default, deserialize_with = "present")]
    is_enabled: Option<bool>,
    /// May lie in the past: the user has expired then.
    #[serde(default)]
    #[schema(value_type = Option<Moment>)]
    expires_at: Patch<Moment>,
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    allowed_models: Patch<Vec<String>>,
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    allowed_clients: Patch<Vec<String>>,
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    blocked_clients: Patch<Vec<String>>,
    #[serde(default)]
    #[schema(value_type = Option<u32>)]
    rpm_limit: Patch<u32>,
    #[serde(flatten, deserialize_with = "beside")]
    limits: LimitsUpdate,
    #[serde(default)]
    #[schema(value_type = Option<QuotaReservationName>)]
    quota_reservation: Patch<QuotaReservationName>,
}

impl UserUpdate {
    fn apply(self, fields: &mut UserFields) {
        set(&mut fields.name, self.name);
        set(&mut fields.description, self.description.optional());
        set(&mut fields.tags, self.tags.or_default(Vec::new()));
        let groups = self.provider_group.or_default(String::new());
        set(&mut fields.provider_group, groups.map(|text| GroupSet::parse(&text)));
        set(&mut fields.is_enabled, self.is_enabled);
        set(&mut fields.expires_at, self.expires_at.optional().map(|m| m.map(|m| m.0)));
        set(&mut fields.allowed_models, self.allowed_models.or_default(Vec::new()));
        let patterns = |patch: Patch<Vec<String>>| patch.or_default(Vec::new()).map(client_patterns);
        set(&mut fields.allowed_clients, patterns(self.allowed_clients));
        set(&mut fields.blocked_clients, patterns(self.blocked_clients));
        set(&mut fields.limits.requests_per_minute, count(self.rpm_limit));
        self.limits.apply(&mut fields.limits);
        let reservation = self.quota_reservation.optional();
        set(&mut fields.quota_reservation, reservation.map(|name| name.map(Into::into)));
    }
}

/// A user.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = User)]
pub struct UserDocument {
    id: i64,
    name: String,
    description: Option<String>,
    tags: Vec<String>,
    provider_group: String,
    is_enabled: bool,
    expires_at: Option<Moment>,
    allowed_models: Vec<String>,
    allowed_clients: Vec<String>,
    blocked_clients: Vec<String>,
    /// Requests a minute; null: no limit.
    rpm_limit: Option<u32>,
    #[serde(flatten)]
    limits: LimitsDocument,
    /// What is put aside for a request; null: what the settings say.
    quota_reservation: Option<QuotaReservationName>,
    /// The configuration revision of the last change; the `ETag`.
    revision: u64,
    created_at: Moment,
    updated_at: Moment,
}

impl From<User> for UserDocument {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            name: user.fields.name,
            description: user.fields.description,
            tags: user.fields.tags,
            provider_group: effective_groups(&user.fields.provider_group),
            is_enabled: user.fields.is_enabled,
            expires_at: user.fields.expires_at.map(Moment),
            allowed_models: user.fields.allowed_models,
            allowed_clients: client_texts(&user.fields.allowed_clients),
            blocked_clients: client_texts(&user.fields.blocked_clients),
            rpm_limit: user.fields.limits.requests_per_minute,
            limits: user.fields.limits.into(),
            quota_reservation: user.fields.quota_reservation.map(Into::into),
            revision: user.revision.0,
            created_at: Moment(user.created_at),
            updated_at: Moment(user.updated_at),
        }
    }
}

/// A new user and its first key.
#[derive(Debug, Serialize, ToSchema)]
pub struct UserCreated {
    user: UserDocument,
    key: KeyWithSecret,
}

/// Which users.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UserList {
    /// A part of the name, without case.
    q: Option<String>,
    /// Items a page, 1 to 200. Default: 50.
    limit: Option<u64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Lists users by id.
#[utoipa::path(tag = "users", params(UserList), responses((status = 200, body = Page<UserDocument>)))]
#[get("/api/v1/users")]
pub async fn list_users(
    admin: Data<Admin>,
    _actor: Actor,
    params: Params<UserList>,
) -> Result<Json<Page<UserDocument>>, Error> {
    let limit = page_limit(params.0.limit)?;
    let after = UserId(decode_cursor(params.0.cursor.as_deref())?.unwrap_or(0));
    let rows = admin.run(|admin| users::list(admin, params.0.q, after, limit)).await?;
    Ok(Json(Page::of(rows, |user| user.id, UserDocument::from)))
}

/// Makes a user and its first key, whose `secret` is shown once.
#[utoipa::path(tag = "users", request_body = UserCreate, responses((status = 201, body = UserCreated)))]
#[post("/api/v1/users")]
pub async fn create_user(
    admin: Data<Admin>,
    actor: Actor,
    body: Body<UserCreate>,
) -> Result<HttpResponse, Error> {
    let made = admin.run(|admin| users::create(admin, actor, body.0.into())).await?;
    let (location, etag) = (format!("/api/v1/users/{}", made.value.user.id), made.value.user.revision);
    let body = UserCreated {
        user: made.value.user.into(),
        key: KeyWithSecret::new(made.value.key, &made.value.secret),
    };
    Ok(created(&admin, made.revision, location, etag, body).await)
}

/// Shows a user.
#[utoipa::path(tag = "users", params(("id" = i64, Path)), responses((status = 200, body = UserDocument)))]
#[get("/api/v1/users/{id}")]
pub async fn read_user(admin: Data<Admin>, _actor: Actor, id: Path<i64>) -> Result<HttpResponse, Error> {
    let user = admin.run(|admin| users::read(admin, UserId(*id))).await?;
    let etag = user.revision;
    Ok(found(UserDocument::from(user), etag))
}

/// Changes a user.
#[utoipa::path(
    tag = "users",
    params(("id" = i64, Path)),
    request_body = UserUpdate,
    responses((status = 200, body = UserDocument))
)]
#[patch("/api/v1/users/{id}")]
pub async fn update_user(
    admin: Data<Admin>,
    actor: Actor,
    id: Path<i64>,
    if_match: IfMatch,
    body: Body<UserUpdate>,
) -> Result<HttpResponse, Error> {
    let edit = move |fields: &mut UserFields| body.0.apply(fields);
    let done = admin.run(|admin| users::update(admin, actor, UserId(*id), if_match, edit)).await?;
    let etag: Revision = done.value.revision;
    Ok(changed(&admin, done.revision, etag, UserDocument::from(done.value)).await)
}

/// Deletes a user and all its keys. Its log and ledger rows stay.
#[utoipa::path(tag = "users", params(("id" = i64, Path)), responses((status = 204)))]
#[delete("/api/v1/users/{id}")]
pub async fn delete_user(
    admin: Data<Admin>,
    actor: Actor,
    id: Path<i64>,
    if_match: IfMatch,
) -> Result<HttpResponse, Error> {
    let done = admin.run(|admin| users::delete(admin, actor, UserId(*id), if_match)).await?;
    Ok(deleted(&admin, done.revision).await)
}
