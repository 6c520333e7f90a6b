//! The settings of the whole installation: one document, published like everything else but for what the gateways do
//! not need.

use super::change::{Change, Entry};
use super::{Actor, Admin, Changed, IfMatch};
use crate::error::{Error, Resource, Violation};
use crate::repo::catalogue;
use crate::repo::entity::settings::{ActiveModel, Model};
use sea_orm::ActiveValue::Set;
use sea_orm::ConnectionTrait;
use serde::{Deserialize, Serialize};
use serde_json::json;
use shared::ids::Revision;
use shared::model::Settings;
use shared::time::{UnixMillis, Zone};

/// All that can be set. A field that is missing in the stored document has its default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AllSettings {
    /// What the gateways obey: this is published.
    #[serde(flatten)]
    pub published: Settings,
    /// Where `timezone` comes from.
    pub timezone_source: TimezoneSource,
    /// How many whole days before today stay in the request log; 0: all.
    pub log_retention_days: u16,
}

impl Default for AllSettings {
    fn default() -> Self {
        Self {
            published: Settings::default(),
            timezone_source: TimezoneSource::default(),
            log_retention_days: DEFAULT_LOG_RETENTION_DAYS,
        }
    }
}

/// Who says by which zone schedules and windows go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimezoneSource {
    /// `TZ` of the admin side, as it was last started.
    #[default]
    Environment,
    /// An admin.
    Setting,
}

/// The stored settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSettings {
    /// The document.
    pub settings: AllSettings,
    /// The configuration revision of the last change; the ETag.
    pub revision: Revision,
    /// When they were last changed.
    pub updated_at: UnixMillis,
}

/// The settings.
pub async fn read(admin: Admin) -> Result<StoredSettings, Error> {
    stored(&catalogue::settings(admin.db().reader()).await?)
}

/// Takes the zone from `TZ`, unless an admin set one. All that serve learn it as they learn any setting, so a change of
/// the variable is one of the configuration.
pub async fn adopt_timezone(admin: Admin) -> Result<Changed<()>, Error> {
    let is_level = |stored: &StoredSettings| {
        stored.settings.timezone_source == TimezoneSource::Setting
            || stored.settings.published.timezone == *admin.timezone()
    };
    // Looked at first: a start that changes nothing makes no revision, and writes nothing.
    if is_level(&read(admin.clone()).await?) {
        return Ok(Changed { value: (), revision: None });
    }
    let actor = Actor::system("environment");
    let zone = admin.timezone().clone();
    let adopt = move |settings: &mut AllSettings| {
        if settings.timezone_source == TimezoneSource::Environment {
            settings.published.timezone = zone;
        }
    };
    Ok(update(admin, actor, IfMatch::Any, adopt).await?.map(|_| ()))
}

/// Changes the settings as `edit` says.
pub async fn update(
    admin: Admin,
    actor: Actor,
    if_match: IfMatch,
    edit: impl FnOnce(&mut AllSettings) + Send,
) -> Result<Changed<StoredSettings>, Error> {
    let change = Change::begin(&admin, &actor).await?;
    let before = stored(&catalogue::settings(&change.tx).await?)?;
    if_match.check(before.revision)?;
    let mut settings = before.settings.clone();
    edit(&mut settings);
    check(&settings)?;
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

fn check(settings: &AllSettings) -> Result<(), Error> {
    if settings.log_retention_days > MAX_LOG_RETENTION_DAYS {
        let message = format!("must be 0 (all stay) to {MAX_LOG_RETENTION_DAYS}");
        return Err(Error::Invalid(vec![Violation::new("log_retention_days", message)]));
    }
    Ok(())
}

/// Whose clock schedules and windows go by.
pub(super) async fn timezone(db: &impl ConnectionTrait) -> Result<Zone, Error> {
    Ok(stored(&catalogue::settings(db).await?)?.settings.published.timezone)
}

/// The row as its document; the snapshot and the jobs read the same.
pub(crate) fn stored(row: &Model) -> Result<StoredSettings, Error> {
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

/// A quarter of a year: the log is bounded without anybody's doing, and reaches back over a bill.
const DEFAULT_LOG_RETENTION_DAYS: u16 = 90;
const MAX_LOG_RETENTION_DAYS: u16 = 3650;
