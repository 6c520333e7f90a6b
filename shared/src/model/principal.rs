//! Who calls: users (a person or a team) and their keys (a seat's credential).

use super::client::ClientPattern;
use super::group::GroupSet;
use crate::ids::{KeyId, UserId};
use crate::secret::KeyDigest;
use crate::time::UnixMillis;

/// A person or a team.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Row id.
    pub id: UserId,
    /// Display name.
    pub name: String,
    /// A disabled user's keys are refused.
    pub is_enabled: bool,
    /// From this moment on the user's keys are refused.
    pub expires_at: Option<UnixMillis>,
    /// Groups whose providers the user's keys may use, unless a key names its own.
    pub provider_group: GroupSet,
    /// Models the user may ask for, compared without case; empty = all.
    pub allowed_models: Vec<String>,
    /// Clients the user's keys may be used with; empty = all.
    pub allowed_clients: Vec<ClientPattern>,
    /// Clients they may not be used with, whatever is allowed.
    pub blocked_clients: Vec<ClientPattern>,
}

/// A seat's credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Row id.
    pub id: KeyId,
    /// Whose key it is.
    pub user_id: UserId,
    /// Display name.
    pub name: String,
    /// What the key is looked up by.
    pub digest: KeyDigest,
    /// A disabled key is refused.
    pub is_enabled: bool,
    /// From this moment on the key is refused.
    pub expires_at: Option<UnixMillis>,
    /// Overrides the user's groups when it names any.
    pub provider_group: GroupSet,
    /// Models the key may ask for besides the user's own rule, compared without case; empty = all.
    pub allowed_models: Vec<String>,
}
