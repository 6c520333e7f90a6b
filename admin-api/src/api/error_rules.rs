//! `/api/v1/error-rules`

use super::types::{Moment, Page, Patch, decode_cursor, page_limit, present, set};
use super::words::Word;
use super::{changed, created, deleted, did, found};
use crate::error::Error;
use crate::extract::{Body, Params};
use crate::service::error_rules::{self, ErrorRule, ErrorRuleFields, Synced};
use crate::service::{Actor, Admin, IfMatch};
use actix_web::web::{Data, Json, Path};
use actix_web::{HttpResponse, delete, get, patch, post};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::ids::ErrorRuleId;
use shared::model::{ErrorCategory, ErrorMatch};
use utoipa::{IntoParams, ToSchema};

type ErrorMatchName = Word<ErrorMatch>;
type ErrorCategoryName = Word<ErrorCategory>;

/// A rule to be made: an error it matches is the request's own fault. Nobody else is asked, no breaker counts it, nothing
/// cools down, and the seat reads the upstream's words, or those given here.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ErrorRuleCreate {
    /// What to look for, at most 1000 bytes. Unique.
    pattern: String,
    /// Default: `contains`.
    match_type: Option<ErrorMatchName>,
    category: ErrorCategoryName,
    /// A note for admins.
    description: Option<String>,
    /// Asked before rules with a higher number, -10000 to 10000. Default: 100; those that come with a release begin at 1000.
    priority: Option<i32>,
    /// Default: true.
    is_enabled: Option<bool>,
    /// What the seat reads in the place of the upstream's error: an error of Anthropic, OpenAI or Gemini, at most 10 KiB. A
    /// caller of another dialect gets the same words in its own. Not for an error in a stream whose content has begun.
    #[schema(value_type = Option<Object>)]
    override_response: Option<Value>,
    /// The status it is sent with, 400 to 599.
    override_status_code: Option<u16>,
}

impl From<ErrorRuleCreate> for ErrorRuleFields {
    fn from(body: ErrorRuleCreate) -> Self {
        Self {
            pattern: body.pattern,
            match_type: body.match_type.map_or(ErrorMatch::Contains, |word| word.0),
            category: body.category.0,
            description: body.description,
            priority: body.priority.unwrap_or(DEFAULT_PRIORITY),
            is_enabled: body.is_enabled.unwrap_or(true),
            override_response: body.override_response,
            override_status_code: body.override_status_code,
        }
    }
}

/// What changes of a rule: absent stays, null goes back to the default. A rule that came with a release is the admin's once
/// anything but `is_enabled` is changed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ErrorRuleUpdate {
    #[serde(default, deserialize_with = "present")]
    pattern: Option<String>,
    #[serde(default)]
    #[schema(value_type = Option<ErrorMatchName>)]
    match_type: Patch<ErrorMatchName>,
    #[serde(default, deserialize_with = "present")]
    category: Option<ErrorCategoryName>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    description: Patch<String>,
    #[serde(default)]
    #[schema(value_type = Option<i32>)]
    priority: Patch<i32>,
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    is_enabled: Patch<bool>,
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    override_response: Patch<Value>,
    #[serde(default)]
    #[schema(value_type = Option<u16>)]
    override_status_code: Patch<u16>,
}

impl ErrorRuleUpdate {
    fn apply(self, fields: &mut ErrorRuleFields) {
        set(&mut fields.pattern, self.pattern);
        set(
            &mut fields.match_type,
            self.match_type.or_default(Word(ErrorMatch::Contains)).map(|word| word.0),
        );
        set(&mut fields.category, self.category.map(|word| word.0));
        set(&mut fields.description, self.description.optional());
        set(&mut fields.priority, self.priority.or_default(DEFAULT_PRIORITY));
        set(&mut fields.is_enabled, self.is_enabled.or_default(true));
        set(&mut fields.override_response, self.override_response.optional());
        set(&mut fields.override_status_code, self.override_status_code.optional());
    }
}

/// A rule on the errors of upstreams.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ErrorRule)]
pub struct ErrorRuleDocument {
    id: i64,
    pattern: String,
    match_type: ErrorMatchName,
    category: ErrorCategoryName,
    description: Option<String>,
    priority: i32,
    is_enabled: bool,
    /// True while it is as a release made it, enabled or not: then it follows the next release.
    is_default: bool,
    /// By which releases know it; null: an admin made it.
    default_name: Option<String>,
    #[schema(value_type = Option<Object>)]
    override_response: Option<Value>,
    override_status_code: Option<u16>,
    /// The configuration revision of the last change; the `ETag`.
    revision: u64,
    created_at: Moment,
    updated_at: Moment,
}

impl From<ErrorRule> for ErrorRuleDocument {
    fn from(rule: ErrorRule) -> Self {
        let ErrorRule { stored, is_default, default_name } = rule;
        let fields = stored.fields;
        Self {
            id: stored.id,
            pattern: fields.pattern,
            match_type: Word(fields.match_type),
            category: Word(fields.category),
            description: fields.description,
            priority: fields.priority,
            is_enabled: fields.is_enabled,
            is_default,
            default_name,
            override_response: fields.override_response,
            override_status_code: fields.override_status_code,
            revision: stored.revision.0,
            created_at: Moment(stored.created_at),
            updated_at: Moment(stored.updated_at),
        }
    }
}

/// Which rules.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ErrorRuleList {
    /// Items a page, 1 to 200. Default: 50.
    limit: Option<u64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Lists rules by id. They are asked by priority, the lowest number first, then by id; the first that matches counts.
#[utoipa::path(
    tag = "error-rules",
    params(ErrorRuleList),
    responses((status = 200, body = Page<ErrorRuleDocument>))
)]
#[get("/api/v1/error-rules")]
pub async fn list_error_rules(
    admin: Data<Admin>,
    _actor: Actor,
    params: Params<ErrorRuleList>,
) -> Result<Json<Page<ErrorRuleDocument>>, Error> {
    let limit = page_limit(params.0.limit)?;
    let after = ErrorRuleId(decode_cursor(params.0.cursor.as_deref())?.unwrap_or(0));
    let rows = admin.run(|admin| error_rules::list(admin, after, limit)).await?;
    Ok(Json(Page::of(rows, |rule| rule.stored.id, ErrorRuleDocument::from)))
}

/// Makes a rule.
#[utoipa::path(
    tag = "error-rules",
    request_body = ErrorRuleCreate,
    responses((status = 201, body = ErrorRuleDocument))
)]
#[post("/api/v1/error-rules")]
pub async fn create_error_rule(
    admin: Data<Admin>,
    actor: Actor,
    body: Body<ErrorRuleCreate>,
) -> Result<HttpResponse, Error> {
    let made = admin.run(|admin| error_rules::create(admin, actor, body.0.into())).await?;
    let location = format!("/api/v1/error-rules/{}", made.value.stored.id);
    let etag = made.value.stored.revision;
    Ok(created(&admin, made.revision, location, etag, ErrorRuleDocument::from(made.value)).await)
}

/// What a restoration did, each rule by its name.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorRulesRestored {
    /// New, or back again.
    inserted: Vec<String>,
    /// Brought to this release's state.
    refreshed: Vec<String>,
    /// No release's any more.
    removed: Vec<String>,
}

/// Brings back the rules of this release that were deleted. Rules that an admin has changed stay as they are; to have one of
/// them as it came, delete it first.
#[utoipa::path(
    tag = "error-rules",
    responses((status = 200, body = ErrorRulesRestored))
)]
#[post("/api/v1/error-rules/restore")]
pub async fn restore_error_rules(admin: Data<Admin>, actor: Actor) -> Result<HttpResponse, Error> {
    let done = admin.run(|admin| error_rules::restore_defaults(admin, actor)).await?;
    let Synced { inserted, refreshed, removed } = done.value;
    Ok(did(&admin, done.revision, ErrorRulesRestored { inserted, refreshed, removed }).await)
}

/// Shows a rule.
#[utoipa::path(
    tag = "error-rules",
    params(("id" = i64, Path)),
    responses((status = 200, body = ErrorRuleDocument))
)]
#[get("/api/v1/error-rules/{id}")]
pub async fn read_error_rule(
    admin: Data<Admin>,
    _actor: Actor,
    id: Path<i64>,
) -> Result<HttpResponse, Error> {
    let rule = admin.run(|admin| error_rules::read(admin, ErrorRuleId(*id))).await?;
    let etag = rule.stored.revision;
    Ok(found(ErrorRuleDocument::from(rule), etag))
}

/// Changes a rule.
#[utoipa::path(
    tag = "error-rules",
    params(("id" = i64, Path)),
    request_body = ErrorRuleUpdate,
    responses((status = 200, body = ErrorRuleDocument))
)]
#[patch("/api/v1/error-rules/{id}")]
pub async fn update_error_rule(
    admin: Data<Admin>,
    actor: Actor,
    id: Path<i64>,
    if_match: IfMatch,
    body: Body<ErrorRuleUpdate>,
) -> Result<HttpResponse, Error> {
    let edit = move |fields: &mut ErrorRuleFields| body.0.apply(fields);
    let done = admin.run(|admin| error_rules::update(admin, actor, ErrorRuleId(*id), if_match, edit)).await?;
    let etag = done.value.stored.revision;
    Ok(changed(&admin, done.revision, etag, ErrorRuleDocument::from(done.value)).await)
}

/// Removes a rule. One that came with a release stays away until it is restored.
#[utoipa::path(tag = "error-rules", params(("id" = i64, Path)), responses((status = 204)))]
#[delete("/api/v1/error-rules/{id}")]
pub async fn delete_error_rule(
    admin: Data<Admin>,
    actor: Actor,
    id: Path<i64>,
    if_match: IfMatch,
) -> Result<HttpResponse, Error> {
    let done = admin.run(|admin| error_rules::delete(admin, actor, ErrorRuleId(*id), if_match)).await?;
    Ok(deleted(&admin, done.revision).await)
}

/// Before the rules that come with a release.
const DEFAULT_PRIORITY: i32 = 100;
