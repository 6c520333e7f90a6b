//! Who calls: users (a person or a team) and their keys (a seat's credential).

use super::client::ClientPattern;
use super::group::GroupSet;
use super::limits::{Limits, QuotaReservation};
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
    /// What all of the user's keys together may spend and ask for.
    pub limits: Limits,
    /// What is put aside for a request; `None`: what the settings say.
    pub quota_reservation: Option<QuotaReservation>,
    /// How often the user's account has come under limits, its own or a key's: an account that comes under limits anew is
    /// opened from the ledger, because nobody counted meanwhile. 0: nothing of it is limited now, and nothing is counted.
    pub budget_generation: u32,
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
    /// What the key may spend and ask for, besides the user's own limits.
    pub limits: Limits,
}
