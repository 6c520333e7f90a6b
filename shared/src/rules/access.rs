//! May this key be used, by this client, and for this model? Knows nothing of how a key arrives or how a refusal is written.

use crate::model::client::{self, Client, ClientDenied};
use crate::model::{GroupSet, Key, User};
use crate::time::UnixMillis;
use thiserror::Error;

/// Why a known key is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Denied {
    /// The key is switched off.
    #[error("the key is disabled")]
    KeyDisabled,
    /// The key's `expires_at` has come.
    #[error("the key has expired")]
    KeyExpired,
    /// The key's user is switched off.
    #[error("the user is disabled")]
    UserDisabled,
    /// The user's `expires_at` has come.
    #[error("the user has expired")]
    UserExpired,
}

impl Denied {
    /// The name used in logs and metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::KeyDisabled => "key_disabled",
            Self::KeyExpired => "key_expired",
            Self::UserDisabled => "user_disabled",
            Self::UserExpired => "user_expired",
        }
    }
}

/// Whose model rule refuses a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ModelDenied {
    /// The user's.
    #[error("the user's allowed models leave this model out")]
    ByUser,
    /// The key's.
    #[error("the key's allowed models leave this model out")]
    ByKey,
}

impl ModelDenied {
    /// The name used in logs and metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::ByUser => "model_denied_by_user",
            Self::ByKey => "model_denied_by_key",
        }
    }
}

/// Asks whether a key may be used now. The key's own state is named before its user's.
pub fn check(user: &User, key: &Key, now: UnixMillis) -> Result<(), Denied> {
    let is_over = |expires_at: Option<UnixMillis>| expires_at.is_some_and(|end| now >= end);
    if !key.is_enabled {
        return Err(Denied::KeyDisabled);
    }
    if is_over(key.expires_at) {
        return Err(Denied::KeyExpired);
    }
    if !user.is_enabled {
        return Err(Denied::UserDisabled);
    }
    if is_over(user.expires_at) {
        return Err(Denied::UserExpired);
    }
    Ok(())
}

/// Asks whether user and key may ask for this model: both rules must let it through. A request without a
/// model passes.
pub fn check_model(user: &User, key: &Key, model: Option<&str>) -> Result<(), ModelDenied> {
    let Some(model) = model else {
        return Ok(());
    };
    if !allows(&user.allowed_models, model) {
        return Err(ModelDenied::ByUser);
    }
    if !allows(&key.allowed_models, model) {
        return Err(ModelDenied::ByKey);
    }
    Ok(())
}

/// Asks whether the user's keys may be used with this client.
pub fn check_client(user: &User, client: Option<Client<'_>>) -> Result<(), ClientDenied> {
    client::check(&user.allowed_clients, &user.blocked_clients, client)
}

/// The groups whose providers a key may use: its own if it names any, else its user's.
#[must_use]
pub fn effective_groups<'a>(user: &'a User, key: &'a Key) -> &'a GroupSet {
    if key.provider_group.is_empty() { &user.provider_group } else { &key.provider_group }
}

/// The whole name, compared without case; an empty list lets everything through.
fn allows(allowed: &[String], model: &str) -> bool {
    allowed.is_empty() || allowed.iter().any(|name| name.eq_ignore_ascii_case(model))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ClientPattern;
    use crate::testing::{key, user};

    const NOON: UnixMillis = UnixMillis(1_000);

    #[test]
    fn a_key_in_order_is_let_in_until_the_very_moment_it_expires() {
        let user = user(1);
        let at = |end| Key { expires_at: Some(UnixMillis(end)), ..key(1, 1) };
        assert_eq!(check(&user, &key(1, 1), NOON), Ok(()));
        assert_eq!(check(&user, &at(1_001), NOON), Ok(()));
        assert_eq!(check(&user, &at(1_000), NOON), Err(Denied::KeyExpired));
    }

    #[test]
    fn each_state_is_refused_by_its_own_name_the_keys_first() {
        let past = Some(UnixMillis(0));
        let off_key = Key { is_enabled: false, expires_at: past, ..key(1, 1) };
        let old_key = Key { expires_at: past, ..key(1, 1) };
        let off_user = User { is_enabled: false, expires_at: past, ..user(1) };
        let old_user = User { expires_at: past, ..user(1) };
        for (user, key, denied) in [
            (&off_user, &off_key, Denied::KeyDisabled),
            (&off_user, &old_key, Denied::KeyExpired),
            (&off_user, &key(1, 1), Denied::UserDisabled),
            (&old_user, &key(1, 1), Denied::UserExpired),
        ] {
            assert_eq!(check(user, key, NOON), Err(denied));
        }
    }

    #[test]
    fn a_model_must_pass_the_users_rule_and_the_keys() {
        let names = |list: &[&str]| list.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let person = User { allowed_models: names(&["Claude-Opus-5", "gpt-5"]), ..user(1) };
        let seat = Key { allowed_models: names(&["claude-opus-5", "o3"]), ..key(1, 1) };
        assert_eq!(check_model(&person, &seat, Some("CLAUDE-opus-5")), Ok(()));
        assert_eq!(check_model(&person, &seat, Some("o3")), Err(ModelDenied::ByUser));
        assert_eq!(check_model(&person, &seat, Some("gpt-5")), Err(ModelDenied::ByKey));
        assert_eq!(check_model(&person, &seat, Some("claude-opus-5-5")), Err(ModelDenied::ByUser));
        assert_eq!(check_model(&person, &seat, None), Ok(()));
        assert_eq!(check_model(&user(1), &key(1, 1), Some("anything")), Ok(()));
    }

    #[test]
    fn a_client_must_pass_its_users_rules() {
        let tool = vec![ClientPattern::new("tool")];
        let only = User { allowed_clients: tool.clone(), ..user(1) };
        let all_but = User { blocked_clients: tool, ..user(1) };
        let (tool, other) = (Some(Client("tool/1")), Some(Client("other/1")));
        for (user, client, verdict) in [
            (&user(1), None, Ok(())),
            (&only, tool, Ok(())),
            (&only, other, Err(ClientDenied::NotAllowed)),
            (&only, None, Err(ClientDenied::Unnamed)),
            (&all_but, tool, Err(ClientDenied::Blocked)),
            (&all_but, other, Ok(())),
        ] {
            assert_eq!(check_client(user, client), verdict, "{client:?}");
        }
    }

    #[test]
    fn a_keys_own_groups_replace_its_users() {
        let person = User { provider_group: GroupSet::parse("a,b"), ..user(1) };
        let seat = Key { provider_group: GroupSet::parse("c"), ..key(1, 1) };
        assert_eq!(effective_groups(&person, &seat).to_string(), "c");
        assert_eq!(effective_groups(&person, &key(1, 1)).to_string(), "a,b");
    }
}
