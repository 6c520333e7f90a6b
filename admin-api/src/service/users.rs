//! Users: a person or a team. Deleting one ends its keys; its name stays resolvable for the books.

use super::change::{Change, Entry};
use super::check::{Star, Violations};
use super::keys::{Key, KeyFields};
use super::{Actor, Admin, Changed, IfMatch, Stored, generations, keys, limits, now};
use crate::error::{Error, Resource};
use crate::repo::entity::users::{ActiveModel, Model};
use crate::repo::limits::{Limited, SetLimits};
use crate::repo::{Rows, principals, providers};
use sea_orm::ActiveValue::{Set, Unchanged};
use serde_json::{Value, json};
use shared::ids::{Revision, UserId};
use shared::model::{ClientPattern, GroupSet, Limits, QuotaReservation};
use shared::secret::Secret;
use shared::time::UnixMillis;

/// A stored user.
pub type User = Stored<UserFields>;

/// What an admin can set of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserFields {
    /// Display name.
    pub name: String,
    /// A note for admins.
    pub description: Option<String>,
    /// Labels.
    pub tags: Vec<String>,
    /// Groups whose providers the user's keys may use.
    pub provider_group: GroupSet,
    /// A disabled user's keys are refused.
    pub is_enabled: bool,
    /// From this moment on the user's keys are refused.
    pub expires_at: Option<UnixMillis>,
    /// Models the user may ask for; empty = all.
    pub allowed_models: Vec<String>,
    /// Clients the user's keys may be used with; empty = all.
    pub allowed_clients: Vec<ClientPattern>,
    /// Clients that are refused, whatever is allowed.
    pub blocked_clients: Vec<ClientPattern>,
    /// What all of the user's keys together may spend and ask for. Its markers are set by resets alone.
    pub limits: Limits,
    /// What is put aside for a request; `None`: what the settings say.
    pub quota_reservation: Option<QuotaReservation>,
}

impl UserFields {
    /// A user with this name and everything else as it is when not given.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            description: None,
            tags: Vec::new(),
            provider_group: GroupSet::default(),
            is_enabled: true,
            expires_at: None,
            allowed_models: Vec::new(),
            allowed_clients: Vec::new(),
            blocked_clients: Vec::new(),
            limits: Limits::default(),
            quota_reservation: None,
        }
    }

    fn check(&self) -> Result<(), Error> {
        let mut v = Violations::default();
        v.name("name", &self.name);
        v.note("description", self.description.as_deref());
        v.list("tags", &self.tags, 20, 1..=32);
        v.groups("provider_group", &self.provider_group, Star::Allowed);
        v.list("allowed_models", &self.allowed_models, 100, 1..=128);
        v.clients("allowed_clients", &self.allowed_clients);
        v.clients("blocked_clients", &self.blocked_clients);
        limits::check(&self.limits, &mut v);
        v.finish()
    }

    fn audited(&self) -> Value {
        let mut audited = json!({
            "name": self.name,
            "description": self.description,
            "tags": self.tags,
            "provider_group": self.provider_group,
            "is_enabled": self.is_enabled,
            "expires_at": self.expires_at.map(|t| t.to_string()),
            "allowed_models": self.allowed_models,
            "allowed_clients": self.allowed_clients,
            "blocked_clients": self.blocked_clients,
            "rpm_limit": self.limits.requests_per_minute,
            "quota_reservation": self.quota_reservation,
        });
        limits::note(&self.limits, &mut audited);
        audited
    }
}

/// A new user with its first key.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// The user.
    pub user: User,
    /// Its first key, named `default`.
    pub key: Key,
    /// The key's plain text: shown now, later only by reveal.
    pub secret: Secret,
}

/// Makes a user and its first key.
pub async fn create(admin: Admin, actor: Actor, fields: UserFields) -> Result<Changed<NewUser>, Error> {
    fields.check()?;
    check_future(fields.expires_at)?;
    let change = Change::begin(&admin, &actor).await?;
    providers::ensure_groups(&change.tx, &fields.provider_group, change.revision_column(), change.now.0)
        .await?;
    let mut row = columns(&fields);
    // Whoever comes under limits for the first time.
    row.budget_generations = Set(i32::from(!fields.limits.is_unlimited()));
    row.revision = Set(change.revision_column());
    row.created_at_ms = Set(change.now.0);
    row.updated_at_ms = Set(change.now.0);
    let user = stored(&principals::insert_user(&change.tx, row).await?)?;
    let (key, secret) = keys::insert(&change, &admin, UserId(user.id), &KeyFields::named("default")).await?;
    let mut after = fields.audited();
    after["first_key_id"] = json!(key.stored.id);
    let entry = entry("create", user.id, None, Some(after));
    change.commit(NewUser { user, key, secret }, entry).await
}

/// One user.
pub async fn read(admin: Admin, id: UserId) -> Result<User, Error> {
    stored(&live(admin.db().reader(), id).await?)
}

/// Users by id, after `after`.
pub async fn list(
    admin: Admin,
    name_has: Option<String>,
    after: UserId,
    limit: u64,
) -> Result<Rows<User>, Error> {
    let rows = principals::users(admin.db().reader(), name_has.as_deref(), after, limit).await?;
    rows.try_map(stored)
}

/// Changes a user as `edit` says.
pub async fn update(
    admin: Admin,
    actor: Actor,
    id: UserId,
    if_match: IfMatch,
    edit: impl FnOnce(&mut UserFields) + Send,
) -> Result<Changed<User>, Error> {
    let change = Change::begin(&admin, &actor).await?;
    let before = stored(&live(&change.tx, id).await?)?;
    if_match.check(before.revision)?;
    let mut fields = before.fields.clone();
    edit(&mut fields);
    if fields == before.fields {
        return change.nothing(before).await;
    }
    fields.check()?;
    providers::ensure_groups(&change.tx, &fields.provider_group, change.revision_column(), change.now.0)
        .await?;
    if before.fields.limits.is_unlimited() && !fields.limits.is_unlimited() {
        generations::limit_appears(&change, id).await?;
    }
    let mut row = columns(&fields);
    row.id = Unchanged(id.0);
    row.revision = Set(change.revision_column());
    row.updated_at_ms = Set(change.now.0);
    let after = stored(&principals::update_user(&change.tx, row).await?)?;
    let entry = entry("update", id.0, Some(before.fields.audited()), Some(fields.audited()));
    change.commit(after, entry).await
}

/// Deletes a user and all its keys.
pub async fn delete(admin: Admin, actor: Actor, id: UserId, if_match: IfMatch) -> Result<Changed<()>, Error> {
    let change = Change::begin(&admin, &actor).await?;
    let before = stored(&live(&change.tx, id).await?)?;
    if_match.check(before.revision)?;
    let row = ActiveModel {
        id: Unchanged(id.0),
        deleted_at_ms: Set(Some(change.now.0)),
        updated_at_ms: Set(change.now.0),
        revision: Set(change.revision_column()),
        ..Default::default()
    };
    principals::update_user(&change.tx, row).await?;
    principals::delete_keys_of(&change.tx, id, change.revision_column(), change.now.0).await?;
    change.commit((), entry("delete", id.0, Some(before.fields.audited()), None)).await
}

/// The user's row, unless it was deleted.
pub(super) async fn live(db: &impl sea_orm::ConnectionTrait, id: UserId) -> Result<Model, Error> {
    principals::user(db, id).await?.ok_or(Error::NotFound(Resource::User))
}

/// A new expiry must lie ahead: who wants to end a key at once, disables or deletes it.
pub(super) fn check_future(expires_at: Option<UnixMillis>) -> Result<(), Error> {
    let mut v = Violations::default();
    v.require(expires_at.is_none_or(|t| t > now()), "expires_at", "must be in the future");
    v.finish()
}

/// A row as its fields; the snapshot is made of the same.
pub(super) fn stored(row: &Model) -> Result<User, Error> {
    let corrupt = |column| Error::Corrupt { resource: Resource::User, id: row.id.to_string(), column };
    let fields = UserFields {
        name: row.name.clone(),
        description: row.description.clone(),
        tags: serde_json::from_str(&row.tags).map_err(|_| corrupt("tags"))?,
        provider_group: GroupSet::parse(&row.provider_group),
        is_enabled: row.is_enabled,
        expires_at: row.expires_at_ms.map(UnixMillis),
        allowed_models: serde_json::from_str(&row.allowed_models).map_err(|_| corrupt("allowed_models"))?,
        allowed_clients: serde_json::from_str(&row.allowed_clients)
            .map_err(|_| corrupt("allowed_clients"))?,
        blocked_clients: serde_json::from_str(&row.blocked_clients)
            .map_err(|_| corrupt("blocked_clients"))?,
        limits: limits::stored(row.limit_columns()).map_err(corrupt)?,
        quota_reservation: match &row.quota_reservation {
            Some(name) => Some(QuotaReservation::parse(name).ok_or_else(|| corrupt("quota_reservation"))?),
            None => None,
        },
    };
    Ok(Stored {
        id: row.id,
        fields,
        revision: Revision(row.revision.cast_unsigned()),
        created_at: UnixMillis(row.created_at_ms),
        updated_at: UnixMillis(row.updated_at_ms),
    })
}

fn columns(fields: &UserFields) -> ActiveModel {
    let mut row = ActiveModel {
        name: Set(fields.name.clone()),
        description: Set(fields.description.clone()),
        tags: Set(json!(fields.tags).to_string()),
        provider_group: Set(fields.provider_group.to_string()),
        is_enabled: Set(fields.is_enabled),
        expires_at_ms: Set(fields.expires_at.map(|t| t.0)),
        allowed_models: Set(json!(fields.allowed_models).to_string()),
        allowed_clients: Set(json!(fields.allowed_clients).to_string()),
        blocked_clients: Set(json!(fields.blocked_clients).to_string()),
        quota_reservation: Set(fields.quota_reservation.map(|name| name.as_str().to_owned())),
        ..Default::default()
    };
    row.set_limit_columns(limits::columns(&fields.limits));
    row
}

fn entry(verb: &'static str, id: i64, before: Option<Value>, after: Option<Value>) -> Entry {
    Entry { verb, resource: Resource::User, id: id.to_string(), before, after }
}
