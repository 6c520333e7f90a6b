//! Provider groups: which providers a key may use, and the factor on what they serve.
//!
//! A group comes into being when a user, key or provider first names it; its name never changes, because they
//! refer to it by name. `default` always exists.

use super::change::{Change, Entry};
use super::check::{Violations, name_taken};
use super::{Actor, Admin, Changed, IfMatch, Stored};
use crate::error::{Error, Resource};
use crate::repo::entity::provider_groups::{ActiveModel, Model};
use crate::repo::{Rows, providers};
use sea_orm::ActiveValue::{Set, Unchanged};
use serde_json::{Value, json};
use shared::ids::{GroupId, Revision};
use shared::model::GroupSet;
use shared::money::Multiplier;
use shared::time::UnixMillis;

/// A stored group.
pub type Group = Stored<GroupFields>;

/// What an admin can set of a group; the name only at its making.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupFields {
    /// Unique name.
    pub name: String,
    /// A note for admins.
    pub description: Option<String>,
    /// Factor on the price of what the group's providers serve.
    pub cost_multiplier: Multiplier,
}

impl GroupFields {
    fn check(&self) -> Result<(), Error> {
        let mut v = Violations::default();
        v.text("name", &self.name, 1..=64);
        let is_one_name = GroupSet::parse(&self.name).to_string() == self.name;
        v.require(is_one_name && !self.name.contains(','), "name", "must be one name without commas");
        v.require(self.name != GroupSet::ALL, "name", "must not be `*`: it stands for every provider");
        v.note("description", self.description.as_deref());
        v.finish()
    }

    fn audited(&self) -> Value {
        json!({
            "name": self.name,
            "description": self.description,
            "cost_multiplier": self.cost_multiplier.to_decimal(),
        })
    }
}

/// Makes a group.
pub async fn create(admin: Admin, actor: Actor, fields: GroupFields) -> Result<Changed<Group>, Error> {
    fields.check()?;
    let change = Change::begin(&admin, &actor).await?;
    let mut row = columns(&fields);
    row.name = Set(fields.name.clone());
    row.revision = Set(change.revision_column());
    row.created_at_ms = Set(change.now.0);
    row.updated_at_ms = Set(change.now.0);
    let made = providers::insert_group(&change.tx, row).await.map_err(name_taken(Resource::ProviderGroup))?;
    change.commit(stored(&made), entry("create", made.id, None, Some(fields.audited()))).await
}

/// One group.
pub async fn read(admin: Admin, id: GroupId) -> Result<Group, Error> {
    Ok(stored(&found(admin.db().reader(), id).await?))
}

/// Groups by id, after `after`.
pub async fn list(admin: Admin, after: GroupId, limit: u64) -> Result<Rows<Group>, Error> {
    let rows = providers::groups(admin.db().reader(), after, limit).await?;
    Ok(Rows { items: rows.items.iter().map(stored).collect(), has_more: rows.has_more })
}

/// Changes a group as `edit` says; a changed name is ignored.
pub async fn update(
    admin: Admin,
    actor: Actor,
    id: GroupId,
    if_match: IfMatch,
    edit: impl FnOnce(&mut GroupFields) + Send,
) -> Result<Changed<Group>, Error> {
    let change = Change::begin(&admin, &actor).await?;
    let before = stored(&found(&change.tx, id).await?);
    if_match.check(before.revision)?;
    let mut fields = before.fields.clone();
    edit(&mut fields);
    fields.name.clone_from(&before.fields.name);
    if fields == before.fields {
        return change.nothing(before).await;
    }
    fields.check()?;
    let mut row = columns(&fields);
    row.id = Unchanged(id.0);
    row.revision = Set(change.revision_column());
    row.updated_at_ms = Set(change.now.0);
    let after = stored(&providers::update_group(&change.tx, row).await?);
    let entry = entry("update", id.0, Some(before.fields.audited()), Some(fields.audited()));
    change.commit(after, entry).await
}

/// Removes a group that nobody names.
pub async fn delete(
    admin: Admin,
    actor: Actor,
    id: GroupId,
    if_match: IfMatch,
) -> Result<Changed<()>, Error> {
    let change = Change::begin(&admin, &actor).await?;
    let before = stored(&found(&change.tx, id).await?);
    if_match.check(before.revision)?;
    if before.fields.name == GroupSet::DEFAULT {
        return Err(Error::DefaultGroup);
    }
    if providers::is_group_used(&change.tx, &before.fields.name).await? {
        return Err(Error::GroupInUse);
    }
    providers::delete_group(&change.tx, id).await?;
    change.commit((), entry("delete", id.0, Some(before.fields.audited()), None)).await
}

async fn found(db: &impl sea_orm::ConnectionTrait, id: GroupId) -> Result<Model, Error> {
    providers::group(db, id).await?.ok_or(Error::NotFound(Resource::ProviderGroup))
}

/// A row as its fields; the snapshot is made of the same.
pub(super) fn stored(row: &Model) -> Group {
    Stored {
        id: row.id,
        fields: GroupFields {
            name: row.name.clone(),
            description: row.description.clone(),
            cost_multiplier: Multiplier(row.cost_multiplier.cast_unsigned()),
        },
        revision: Revision(row.revision.cast_unsigned()),
        created_at: UnixMillis(row.created_at_ms),
        updated_at: UnixMillis(row.updated_at_ms),
    }
}

fn columns(fields: &GroupFields) -> ActiveModel {
    ActiveModel {
        description: Set(fields.description.clone()),
        cost_multiplier: Set(fields.cost_multiplier.0.cast_signed()),
        ..Default::default()
    }
}

fn entry(verb: &'static str, id: i64, before: Option<Value>, after: Option<Value>) -> Entry {
    Entry { verb, resource: Resource::ProviderGroup, id: id.to_string(), before, after }
}
