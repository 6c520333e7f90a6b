//! Client keys: a seat's credential. Looked up by digest, kept sealed for reveal, shown masked.

use super::change::{Change, Entry, record};
use super::check::{Star, Violations, name_taken};
use super::users::{check_future, live as live_user};
use super::vault::{key_place, masked, new_client_key};
use super::{Actor, Admin, Changed, IfMatch, Stored, generations, limits};
use crate::error::{Error, Resource};
use crate::repo::entity::keys::{ActiveModel, Model};
use crate::repo::limits::{Limited, SetLimits};
use crate::repo::{Rows, principals, providers};
use sea_orm::ActiveValue::{Set, Unchanged};
use serde_json::{Value, json};
use shared::ids::{KeyId, Revision, UserId};
use shared::model::{GroupSet, Limits};
use shared::secret::{KeyDigest, Sealed, Secret};
use shared::time::UnixMillis;

/// A stored key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its fields.
    pub stored: Stored<KeyFields>,
    /// Whose it is.
    pub user_id: UserId,
    /// What may be shown of it.
    pub masked_key: String,
}

/// What an admin can set of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFields {
    /// Display name, unique among the user's keys.
    pub name: String,
    /// Overrides the user's groups when it names any.
    pub provider_group: GroupSet,
    /// A disabled key is refused.
    pub is_enabled: bool,
    /// From this moment on the key is refused.
    pub expires_at: Option<UnixMillis>,
    /// Models the key may ask for besides the user's own rule; empty = all.
    pub allowed_models: Vec<String>,
    /// What the key may spend and ask for, besides the user's own limits. Its markers are set by resets alone.
    pub limits: Limits,
}

impl KeyFields {
    /// A key with this name and everything else as it is when not given.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            provider_group: GroupSet::default(),
            is_enabled: true,
            expires_at: None,
            allowed_models: Vec::new(),
            limits: Limits::default(),
        }
    }

    fn check(&self) -> Result<(), Error> {
        let mut v = Violations::default();
        v.name("name", &self.name);
        v.groups("provider_group", &self.provider_group, Star::Allowed);
        v.list("allowed_models", &self.allowed_models, 100, 1..=128);
        limits::check(&self.limits, &mut v);
        v.finish()
    }

    fn audited(&self) -> Value {
        let mut audited = json!({
            "name": self.name,
            "provider_group": self.provider_group,
            "is_enabled": self.is_enabled,
            "expires_at": self.expires_at.map(|t| t.to_string()),
            "allowed_models": self.allowed_models,
            "rpm_limit": self.limits.requests_per_minute,
        });
        limits::note(&self.limits, &mut audited);
        audited
    }
}

/// A new key and its plain text.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// The key.
    pub key: Key,
    /// Its plain text: shown now, later only by reveal.
    pub secret: Secret,
}

/// Makes a key for a user.
pub async fn create(
    admin: Admin,
    actor: Actor,
    user: UserId,
    fields: KeyFields,
) -> Result<Changed<NewKey>, Error> {
    fields.check()?;
    check_future(fields.expires_at)?;
    let change = Change::begin(&admin, &actor).await?;
    live_user(&change.tx, user).await?;
    let (key, secret) = insert(&change, &admin, user, &fields).await?;
    let mut after = fields.audited();
    after["user_id"] = json!(user);
    let entry = entry("create", key.stored.id, None, Some(after));
    change.commit(NewKey { key, secret }, entry).await
}

/// One key.
pub async fn read(admin: Admin, id: KeyId) -> Result<Key, Error> {
    stored(&live(admin.db().reader(), id).await?)
}

/// A user's keys by id, after `after`.
pub async fn list(admin: Admin, user: UserId, after: KeyId, limit: u64) -> Result<Rows<Key>, Error> {
    live_user(admin.db().reader(), user).await?;
    let rows = principals::keys(admin.db().reader(), user, after, limit).await?;
    rows.try_map(stored)
}

/// Changes a key as `edit` says. Its plain text never changes.
pub async fn update(
    admin: Admin,
    actor: Actor,
    id: KeyId,
    if_match: IfMatch,
    edit: impl FnOnce(&mut KeyFields) + Send,
) -> Result<Changed<Key>, Error> {
    let change = Change::begin(&admin, &actor).await?;
    let before = stored(&live(&change.tx, id).await?)?;
    if_match.check(before.stored.revision)?;
    let mut fields = before.stored.fields.clone();
    edit(&mut fields);
    if fields == before.stored.fields {
        return change.nothing(before).await;
    }
    fields.check()?;
    providers::ensure_groups(&change.tx, &fields.provider_group, change.revision_column(), change.now.0)
        .await?;
    if before.stored.fields.limits.is_unlimited() && !fields.limits.is_unlimited() {
        generations::limit_appears(&change, before.user_id).await?;
    }
    let mut row = columns(&fields);
    row.id = Unchanged(id.0);
    row.revision = Set(change.revision_column());
    row.updated_at_ms = Set(change.now.0);
    let after = principals::update_key(&change.tx, row).await.map_err(name_taken(Resource::Key))?;
    let entry = entry("update", id.0, Some(before.stored.fields.audited()), Some(fields.audited()));
    change.commit(stored(&after)?, entry).await
}

/// Deletes a key; its sealed copy is wiped.
pub async fn delete(admin: Admin, actor: Actor, id: KeyId, if_match: IfMatch) -> Result<Changed<()>, Error> {
    let change = Change::begin(&admin, &actor).await?;
    let before = stored(&live(&change.tx, id).await?)?;
    if_match.check(before.stored.revision)?;
    let row = ActiveModel {
        id: Unchanged(id.0),
        sealed_secret: Set(None),
        deleted_at_ms: Set(Some(change.now.0)),
        updated_at_ms: Set(change.now.0),
        revision: Set(change.revision_column()),
        ..Default::default()
    };
    principals::update_key(&change.tx, row).await?;
    change.commit((), entry("delete", id.0, Some(before.stored.fields.audited()), None)).await
}

/// Gives a key's plain text away, after the audit log has it.
pub async fn reveal(admin: Admin, actor: Actor, id: KeyId) -> Result<Secret, Error> {
    let row = live(admin.db().reader(), id).await?;
    let sealed = row.sealed_secret.ok_or(Error::NotFound(Resource::Key))?;
    let secret = admin.vault().open(&Sealed(sealed), &key_place(id.0))?;
    record(&admin, &actor, entry("reveal", id.0, None, None)).await?;
    Ok(secret)
}

/// Adds a key inside a change.
pub(super) async fn insert(
    change: &Change,
    admin: &Admin,
    user: UserId,
    fields: &KeyFields,
) -> Result<(Key, Secret), Error> {
    providers::ensure_groups(&change.tx, &fields.provider_group, change.revision_column(), change.now.0)
        .await?;
    if !fields.limits.is_unlimited() {
        generations::limit_appears(change, user).await?;
    }
    let secret = new_client_key()?;
    let mut row = columns(fields);
    row.user_id = Set(user.0);
    row.digest = Set(KeyDigest::of(secret.expose()).to_hex());
    row.masked_key = Set(masked(&secret));
    row.revision = Set(change.revision_column());
    row.created_at_ms = Set(change.now.0);
    row.updated_at_ms = Set(change.now.0);
    let made = principals::insert_key(&change.tx, row).await.map_err(name_taken(Resource::Key))?;
    // The envelope is bound to the row's id, which the database has just handed out.
    let sealed = admin.vault().seal(&secret, &key_place(made.id))?;
    let row =
        ActiveModel { id: Unchanged(made.id), sealed_secret: Set(Some(sealed.0)), ..Default::default() };
    Ok((stored(&principals::update_key(&change.tx, row).await?)?, secret))
}

/// A row as its fields; the snapshot is made of the same.
pub(super) fn stored(row: &Model) -> Result<Key, Error> {
    let corrupt = |column| Error::Corrupt { resource: Resource::Key, id: row.id.to_string(), column };
    let fields = KeyFields {
        name: row.name.clone(),
        provider_group: GroupSet::parse(&row.provider_group),
        is_enabled: row.is_enabled,
        expires_at: row.expires_at_ms.map(UnixMillis),
        allowed_models: serde_json::from_str(&row.allowed_models).map_err(|_| corrupt("allowed_models"))?,
        limits: limits::stored(row.limit_columns()).map_err(corrupt)?,
    };
    let stored = Stored {
        id: row.id,
        fields,
        revision: Revision(row.revision.cast_unsigned()),
        created_at: UnixMillis(row.created_at_ms),
        updated_at: UnixMillis(row.updated_at_ms),
    };
    Ok(Key { stored, user_id: UserId(row.user_id), masked_key: row.masked_key.clone() })
}

pub(super) async fn live(db: &impl sea_orm::ConnectionTrait, id: KeyId) -> Result<Model, Error> {
    principals::key(db, id).await?.ok_or(Error::NotFound(Resource::Key))
}

fn columns(fields: &KeyFields) -> ActiveModel {
    let mut row = ActiveModel {
        name: Set(fields.name.clone()),
        provider_group: Set(fields.provider_group.to_string()),
        is_enabled: Set(fields.is_enabled),
        expires_at_ms: Set(fields.expires_at.map(|t| t.0)),
        allowed_models: Set(json!(fields.allowed_models).to_string()),
        ..Default::default()
    };
    row.set_limit_columns(limits::columns(&fields.limits));
    row
}

fn entry(verb: &'static str, id: i64, before: Option<Value>, after: Option<Value>) -> Entry {
    Entry { verb, resource: Resource::Key, id: id.to_string(), before, after }
}
