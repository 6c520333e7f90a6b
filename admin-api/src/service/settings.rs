//! The settings of the whole installation: one document, published like everything else.

use super::change::{Change, Entry};
use super::{Actor, Admin, Changed, IfMatch};
use crate::error::{Error, Resource};
use crate::repo::catalogue;
use crate::repo::entity::settings::{ActiveModel, Model};
use sea_orm::ActiveValue::Set;
use serde_json::json;
use shared::ids::Revision;
use shared::model::Settings;
use shared::time::UnixMillis;

/// The stored settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSettings {
    /// The document.
    pub settings: Settings,
    /// The configuration revision of the last change; the ETag.
    pub revision: Revision,
    /// When they were last changed.
    pub updated_at: UnixMillis,
}

/// The settings.
pub async fn read(admin: Admin) -> Result<StoredSettings, Error> {
    stored(&catalogue::settings(admin.db().reader()).await?)
}

/// Changes the settings as `edit` says.
pub async fn update(
    admin: Admin,
    actor: Actor,
    if_match: IfMatch,
    edit: impl FnOnce(&mut Settings) + Send,
) -> Result<Changed<StoredSettings>, Error> {
    let change = Change::begin(&admin, &actor).await?;
    let before = stored(&catalogue::settings(&change.tx).await?)?;
    if_match.check(before.revision)?;
    let mut settings = before.settings.clone();
    edit(&mut settings);
    if settings == before.settings {
        return change.nothing(before).await;
    }
    let document = json!(settings);
    let row = ActiveModel {
        document: Set(document.to_string()),
        revision: Set(change.revision_column()),
        updated_at_ms: Set(change.now.0),
        ..Default::default()
    };
    let after = stored(&catalogue::update_settings(&change.tx, row).await?)?;
    let entry = Entry {
        verb: "update",
        resource: Resource::Settings,
        id: "settings".to_owned(),
        before: Some(json!(before.settings)),
        after: Some(document),
    };
    change.commit(after, entry).await
}

/// The row as its document; the snapshot is made of the same.
pub(super) fn stored(row: &Model) -> Result<StoredSettings, Error> {
    let settings = serde_json::from_str(&row.document).map_err(|_| Error::Corrupt {
        resource: Resource::Settings,
        id: row.id.to_string(),
        column: "document",
    })?;
    Ok(StoredSettings {
        settings,
        revision: Revision(row.revision.cast_unsigned()),
        updated_at: UnixMillis(row.updated_at_ms),
    })
}
