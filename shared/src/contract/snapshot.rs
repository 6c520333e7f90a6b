//! The published configuration: one numbered, immutable document per revision.

use crate::ids::{ErrorRuleId, GroupId, KeyId, Revision, UserId};
use crate::model::price::ModelPrice;
use crate::model::{ClientPattern, Group, GroupSet, Key, Limits, Provider, QuotaReservation, Settings, User};
use crate::money::Multiplier;
use crate::secret::KeyDigest;
use crate::time::UnixMillis;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Raised when a reader of the last number would misunderstand a document of this one.
pub const SNAPSHOT_SCHEMA: u32 = 2;

/// Everything a gateway needs to know to serve, at one revision. Provider secrets and custom headers stay sealed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// [`SNAPSHOT_SCHEMA`] of the writer.
    pub schema: u32,
    /// The database's revision that this document shows.
    pub revision: Revision,
    /// Providers, groups, prices and settings.
    pub core: Core,
    /// Users and keys.
    pub principals: Principals,
}

/// The part that is small and read whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Core {
    /// All providers, disabled ones too: the gateway explains exclusions.
    pub providers: Vec<Provider>,
    /// All groups.
    pub groups: Vec<GroupDoc>,
    /// The price catalogue by model name.
    pub prices: BTreeMap<String, ModelPrice>,
    /// System-wide settings.
    pub settings: Settings,
    /// The enabled rules on the errors of upstreams.
    pub error_rules: Vec<ErrorRuleDoc>,
}

/// The part that grows with the number of seats.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Principals {
    /// All users.
    pub users: Vec<UserDoc>,
    /// All keys.
    pub keys: Vec<KeyDoc>,
}

/// A rule on the errors of upstreams, as published. Names are texts, and so is the replacement: what a later release adds
/// to them must not make the whole unreadable to this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorRuleDoc {
    /// Its id.
    pub id: ErrorRuleId,
    /// A name of [`ErrorMatch`](crate::model::ErrorMatch).
    pub match_type: String,
    /// What it looks for.
    pub pattern: String,
    /// A name of [`ErrorCategory`](crate::model::ErrorCategory).
    pub category: String,
    /// Asked before rules with a higher number.
    #[serde(default)]
    pub priority: i32,
    /// What the seat reads instead, as JSON text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub override_response: Option<String>,
    /// The status it is sent with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub override_status_code: Option<u16>,
}

/// A [`Group`] as published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of model::Group, documented there")]
pub struct GroupDoc {
    pub id: GroupId,
    pub name: String,
    pub cost_multiplier: Multiplier,
}

/// A [`User`] as published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of model::User, documented there")]
pub struct UserDoc {
    pub id: UserId,
    pub name: String,
    pub is_enabled: bool,
    #[serde(default)]
    pub expires_at_ms: Option<UnixMillis>,
    #[serde(default)]
    pub provider_group: GroupSet,
    #[serde(default)]
    pub allowed_models: Vec<String>,
    #[serde(default)]
    pub allowed_clients: Vec<ClientPattern>,
    #[serde(default)]
    pub blocked_clients: Vec<ClientPattern>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub limits: Limits,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_reservation: Option<QuotaReservation>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub budget_generation: u32,
}

/// A [`Key`] as published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of model::Key, documented there")]
pub struct KeyDoc {
    pub id: KeyId,
    pub user_id: UserId,
    pub name: String,
    pub digest: KeyDigest,
    pub is_enabled: bool,
    #[serde(default)]
    pub expires_at_ms: Option<UnixMillis>,
    #[serde(default)]
    pub provider_group: GroupSet,
    #[serde(default)]
    pub allowed_models: Vec<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub limits: Limits,
}

/// Readers of earlier releases know nothing of it, and miss nothing.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl From<GroupDoc> for Group {
    fn from(doc: GroupDoc) -> Self {
        Self { id: doc.id, name: doc.name, cost_multiplier: doc.cost_multiplier }
    }
}

impl From<UserDoc> for User {
    fn from(doc: UserDoc) -> Self {
        Self {
            id: doc.id,
            name: doc.name,
            is_enabled: doc.is_enabled,
            expires_at: doc.expires_at_ms,
            provider_group: doc.provider_group,
            allowed_models: doc.allowed_models,
            allowed_clients: doc.allowed_clients,
            blocked_clients: doc.blocked_clients,
            limits: doc.limits,
            quota_reservation: doc.quota_reservation,
            budget_generation: doc.budget_generation,
        }
    }
}

impl From<&User> for UserDoc {
    fn from(user: &User) -> Self {
        Self {
            id: user.id,
            name: user.name.clone(),
            is_enabled: user.is_enabled,
            expires_at_ms: user.expires_at,
            provider_group: user.provider_group.clone(),
            allowed_models: user.allowed_models.clone(),
            allowed_clients: user.allowed_clients.clone(),
            blocked_clients: user.blocked_clients.clone(),
            limits: user.limits.clone(),
            quota_reservation: user.quota_reservation,
            budget_generation: user.budget_generation,
        }
    }
}

impl From<&Key> for KeyDoc {
    fn from(key: &Key) -> Self {
        Self {
            id: key.id,
            user_id: key.user_id,
            name: key.name.clone(),
            digest: key.digest,
            is_enabled: key.is_enabled,
            expires_at_ms: key.expires_at,
            provider_group: key.provider_group.clone(),
            allowed_models: key.allowed_models.clone(),
            limits: key.limits.clone(),
        }
    }
}

impl From<KeyDoc> for Key {
    fn from(doc: KeyDoc) -> Self {
        Self {
            id: doc.id,
            user_id: doc.user_id,
            name: doc.name,
            digest: doc.digest,
            is_enabled: doc.is_enabled,
            expires_at: doc.expires_at_ms,
            provider_group: doc.provider_group,
            allowed_models: doc.allowed_models,
            limits: doc.limits,
        }
    }
}
