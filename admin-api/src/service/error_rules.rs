//! Rules by which an upstream's error is the request's own fault.
//!
//! Those of a release ([`defaults`]) stand among those of admins. A rule is *default* as long as no admin has changed more
//! of it than whether it is enabled.

mod defaults;
pub mod tester;

pub use defaults::{Synced, restore_defaults, sync_defaults};

use super::change::{Change, Entry};
use super::check::Violations;
use super::{Actor, Admin, Changed, IfMatch, Stored};
use crate::error::{Error, Resource};
use crate::repo::entity::error_rules::{ActiveModel, Model};
use crate::repo::{Rows, error_rules as repo};
use sea_orm::ActiveValue::{Set, Unchanged};
use sea_orm::{ConnectionTrait, DbErr, SqlErr};
use serde_json::{Value, json};
use shared::contract::snapshot::ErrorRuleDoc;
use shared::ids::{ErrorRuleId, Revision};
use shared::model::{ErrorBody, ErrorCategory, ErrorMatch, ErrorPattern};
use shared::time::UnixMillis;

/// A stored rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorRule {
    /// The row.
    pub stored: Stored<ErrorRuleFields>,
    /// True while it is as a release made it, enabled or not.
    pub is_default: bool,
    /// By which the release knows it, if it came with one.
    pub default_name: Option<String>,
}

/// What an admin can set of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorRuleFields {
    /// What it looks for. Unique.
    pub pattern: String,
    /// How that is compared.
    pub match_type: ErrorMatch,
    /// What it is about.
    pub category: ErrorCategory,
    /// A note for admins.
    pub description: Option<String>,
    /// Asked before rules with a higher number.
    pub priority: i32,
    /// Asked at all.
    pub is_enabled: bool,
    /// What the seat reads instead.
    pub override_response: Option<Value>,
    /// The status it is sent with.
    pub override_status_code: Option<u16>,
}

impl ErrorRuleFields {
    fn check(&self) -> Result<(), Error> {
        let mut v = Violations::default();
        match ErrorPattern::new(self.match_type, &self.pattern) {
            Ok(_) => v.require(!self.pattern.contains('\0'), "pattern", "must not hold NUL"),
            Err(error) => v.require(false, "pattern", &error.to_string()),
        }
        v.note("description", self.description.as_deref());
        v.number("priority", &self.priority, &(-10_000..=10_000));
        if let Some(document) = &self.override_response
            && let Err(error) = ErrorBody::new(document.clone())
        {
            v.require(false, "override_response", &error.to_string());
        }
        if let Some(code) = &self.override_status_code {
            v.number("override_status_code", code, &(400..=599));
        }
        v.finish()
    }

    /// The same but for whether it is asked.
    fn is_alike(&self, other: &Self) -> bool {
        Self { is_enabled: other.is_enabled, ..self.clone() } == *other
    }

    fn audited(&self) -> Value {
        json!({
            "pattern": self.pattern,
            "match_type": self.match_type.as_str(),
            "category": self.category.as_str(),
            "description": self.description,
            "priority": self.priority,
            "is_enabled": self.is_enabled,
            "override_response": self.override_response,
            "override_status_code": self.override_status_code,
        })
    }
}

/// Makes a rule.
pub async fn create(
    admin: Admin,
    actor: Actor,
    fields: ErrorRuleFields,
) -> Result<Changed<ErrorRule>, Error> {
    fields.check()?;
    let change = Change::begin(&admin, &actor).await?;
    if repo::count(&change.tx).await? >= MAX_RULES {
        return Err(Error::TooManyErrorRules(MAX_RULES));
    }
    let row = ActiveModel {
        is_default: Set(false),
        default_name: Set(None),
        revision: Set(change.revision_column()),
        created_at_ms: Set(change.now.0),
        updated_at_ms: Set(change.now.0),
        ..columns(&fields)
    };
    let made = repo::insert(&change.tx, row).await.map_err(pattern_taken)?;
    let entry = entry("create", made.id, None, Some(fields.audited()));
    change.commit(stored(&made)?, entry).await
}

/// One rule.
pub async fn read(admin: Admin, id: ErrorRuleId) -> Result<ErrorRule, Error> {
    stored(&found(admin.db().reader(), id).await?)
}

/// Rules by id, after `after`.
pub async fn list(admin: Admin, after: ErrorRuleId, limit: u64) -> Result<Rows<ErrorRule>, Error> {
    repo::rules(admin.db().reader(), after, limit).await?.try_map(stored)
}

/// Changes a rule as `edit` says. A release's own rule is the admin's from then on, unless only its switch was turned.
pub async fn update(
    admin: Admin,
    actor: Actor,
    id: ErrorRuleId,
    if_match: IfMatch,
    edit: impl FnOnce(&mut ErrorRuleFields) + Send,
) -> Result<Changed<ErrorRule>, Error> {
    let change = Change::begin(&admin, &actor).await?;
    let before = stored(&found(&change.tx, id).await?)?;
    if_match.check(before.stored.revision)?;
    let mut fields = before.stored.fields.clone();
    edit(&mut fields);
    if fields == before.stored.fields {
        return change.nothing(before).await;
    }
    fields.check()?;
    let row = ActiveModel {
        id: Unchanged(id.0),
        is_default: Set(before.is_default && fields.is_alike(&before.stored.fields)),
        revision: Set(change.revision_column()),
        updated_at_ms: Set(change.now.0),
        ..columns(&fields)
    };
    let after = stored(&repo::update(&change.tx, row).await.map_err(pattern_taken)?)?;
    let entry = entry("update", id.0, Some(before.stored.fields.audited()), Some(fields.audited()));
    change.commit(after, entry).await
}

/// Removes a rule. One that came with a release stays away: see [`restore_defaults`].
pub async fn delete(
    admin: Admin,
    actor: Actor,
    id: ErrorRuleId,
    if_match: IfMatch,
) -> Result<Changed<()>, Error> {
    let change = Change::begin(&admin, &actor).await?;
    let before = stored(&found(&change.tx, id).await?)?;
    if_match.check(before.stored.revision)?;
    if let Some(name) = before.default_name {
        repo::note_removed(&change.tx, name, change.now.0).await?;
    }
    repo::delete(&change.tx, id).await?;
    change.commit((), entry("delete", id.0, Some(before.stored.fields.audited()), None)).await
}

async fn found(db: &impl ConnectionTrait, id: ErrorRuleId) -> Result<Model, Error> {
    repo::rule(db, id).await?.ok_or(Error::NotFound(Resource::ErrorRule))
}

fn stored(row: &Model) -> Result<ErrorRule, Error> {
    let corrupt = |column| Error::Corrupt { resource: Resource::ErrorRule, id: row.id.to_string(), column };
    let document = row.override_response.as_deref().map(serde_json::from_str).transpose();
    let fields = ErrorRuleFields {
        pattern: row.pattern.clone(),
        match_type: ErrorMatch::parse(&row.match_type).ok_or_else(|| corrupt("match_type"))?,
        category: ErrorCategory::parse(&row.category).ok_or_else(|| corrupt("category"))?,
        description: row.description.clone(),
        priority: row.priority,
        is_enabled: row.is_enabled,
        override_response: document.map_err(|_| corrupt("override_response"))?,
        override_status_code: status(row)?,
    };
    Ok(ErrorRule {
        stored: Stored {
            id: row.id,
            fields,
            revision: Revision(row.revision.cast_unsigned()),
            created_at: UnixMillis(row.created_at_ms),
            updated_at: UnixMillis(row.updated_at_ms),
        },
        is_default: row.is_default,
        default_name: row.default_name.clone(),
    })
}

/// A row as gateways get it: what a later release wrote into it is theirs to judge.
pub(super) fn as_published(row: &Model) -> Result<ErrorRuleDoc, Error> {
    Ok(ErrorRuleDoc {
        id: ErrorRuleId(row.id),
        match_type: row.match_type.clone(),
        pattern: row.pattern.clone(),
        category: row.category.clone(),
        priority: row.priority,
        override_response: row.override_response.clone(),
        override_status_code: status(row)?,
    })
}

fn status(row: &Model) -> Result<Option<u16>, Error> {
    let corrupt = |_| Error::Corrupt {
        resource: Resource::ErrorRule,
        id: row.id.to_string(),
        column: "override_status_code",
    };
    row.override_status_code.map(u16::try_from).transpose().map_err(corrupt)
}

fn columns(fields: &ErrorRuleFields) -> ActiveModel {
    ActiveModel {
        pattern: Set(fields.pattern.clone()),
        match_type: Set(fields.match_type.as_str().to_owned()),
        category: Set(fields.category.as_str().to_owned()),
        description: Set(fields.description.clone()),
        priority: Set(fields.priority),
        is_enabled: Set(fields.is_enabled),
        override_response: Set(fields.override_response.as_ref().map(Value::to_string)),
        override_status_code: Set(fields.override_status_code.map(i32::from)),
        ..Default::default()
    }
}

fn pattern_taken(error: DbErr) -> Error {
    match error.sql_err() {
        Some(SqlErr::UniqueConstraintViolation(_)) => Error::PatternTaken,
        _ => Error::Database(error),
    }
}

fn entry(verb: &'static str, id: i64, before: Option<Value>, after: Option<Value>) -> Entry {
    Entry { verb, resource: Resource::ErrorRule, id: id.to_string(), before, after }
}

/// All of them are asked for every error, and travel whole when one changes.
const MAX_RULES: u64 = 500;
