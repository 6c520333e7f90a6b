//! Whose limits count for what is told of a request that is over, or that the store has lost.

use super::Budgets;
use crate::live::Live;
use shared::ids::KeyId;
use shared::model::Limits;
use shared::rules::quota::{AccountId, ScopeId, Terms};
use shared::time::{UnixMillis, Zone};
use std::collections::HashMap;

/// An account and, where it is a user's, a key.
type Asked = (AccountId, Option<KeyId>);

/// The limits of a configuration at a moment. A calendar is computed once for each account and key.
pub struct Limited<'a> {
    budgets: &'a Budgets,
    live: &'a Live,
    zone: &'a Zone,
    now: UnixMillis,
    known: HashMap<Asked, Vec<(ScopeId, Terms)>>,
}

impl<'a> Limited<'a> {
    /// Those in force.
    pub fn new(budgets: &'a Budgets, live: &'a Live, now: UnixMillis) -> Self {
        Self { budgets, live, zone: &live.terms().settings.timezone, now, known: HashMap::new() }
    }

    /// The scopes of an account, with a key where it is a user's. Of a key that this process was never asked for, only what is
    /// counted without a limit is known: its calendar begins at midnight.
    pub fn scopes(&mut self, account: AccountId, key: Option<KeyId>) -> Vec<(ScopeId, Terms)> {
        if let Some(known) = self.known.get(&(account, key)) {
            return known.clone();
        }
        let scopes = match account {
            AccountId::Provider(id) => match self.live.account(id) {
                Some((provider, _)) => {
                    self.budgets.calendar().scopes_of_provider(provider, self.zone, self.now)
                }
                None => vec![(ScopeId::Owner, self.terms(&Limits::default()))],
            },
            AccountId::User(id) => {
                let of_user = self.live.user(id).map(|user| user.limits.clone()).unwrap_or_default();
                let of_key = key.map(|key| (key, self.of_key(account, key, &of_user)));
                let of_key = of_key.map(|(key, limits)| (ScopeId::Key(key), limits));
                let both = of_key.into_iter().chain([(ScopeId::Owner, of_user)]);
                both.map(|(scope, limits)| (scope, self.terms(&limits))).collect()
            }
        };
        self.known.insert((account, key), scopes.clone());
        scopes
    }

    fn terms(&self, limits: &Limits) -> Terms {
        self.budgets.calendar().terms(limits, self.zone, self.now)
    }

    fn of_key(&self, account: AccountId, key: KeyId, of_user: &Limits) -> Limits {
        let asked = self.budgets.local().limits_of(account, key).cloned();
        asked.unwrap_or_else(|| Limits {
            reset_at: of_user.reset_at,
            five_hours_reset_at: of_user.five_hours_reset_at,
            ..Limits::default()
        })
    }
}
