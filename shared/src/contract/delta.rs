//! What changed between two revisions of the configuration.
//!
//! A delta is small where the change is: a key revoked among twenty thousand is one digest. Sections of the
//! core are replaced whole. [`between`] and [`Snapshot::apply`] are each other's inverse: applying the delta of
//! two snapshots to the first gives the second.

use super::snapshot::{Core, ErrorRuleDoc, GroupDoc, KeyDoc, SNAPSHOT_SCHEMA, Snapshot, UserDoc};
use crate::ids::{Revision, UserId};
use crate::model::price::ModelPrice;
use crate::model::{Provider, Settings};
use crate::secret::KeyDigest;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;

/// The way from one revision to a later one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delta {
    /// [`SNAPSHOT_SCHEMA`] of the writer.
    pub schema: u32,
    /// The revision it starts from.
    pub from: Revision,
    /// The revision it leads to.
    pub to: Revision,
    /// Sections of the core that changed.
    #[serde(default)]
    pub core: CoreDelta,
    /// Users and keys that changed.
    #[serde(default)]
    pub principals: PrincipalsDelta,
}

/// Sections of the core, each whole or unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CoreDelta {
    /// All providers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub providers: Option<Vec<Provider>>,
    /// All groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<GroupDoc>>,
    /// The whole price catalogue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prices: Option<BTreeMap<String, ModelPrice>>,
    /// The settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings: Option<Settings>,
    /// All rules on errors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_rules: Option<Vec<ErrorRuleDoc>>,
}

/// Users and keys that are new, changed or gone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PrincipalsDelta {
    /// New or changed users.
    pub users: Vec<UserDoc>,
    /// Users that are gone.
    pub removed_users: Vec<UserId>,
    /// New or changed keys.
    pub keys: Vec<KeyDoc>,
    /// Keys that are gone.
    pub removed_keys: Vec<KeyDigest>,
}

impl CoreDelta {
    /// True when no section changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What leads from `old` to `new`.
#[must_use]
pub fn between(old: &Snapshot, new: &Snapshot) -> Delta {
    let (users, removed_users) = changes(&old.principals.users, &new.principals.users, |user| user.id);
    let (keys, removed_keys) = changes(&old.principals.keys, &new.principals.keys, |key| key.digest);
    Delta {
        schema: SNAPSHOT_SCHEMA,
        from: old.revision,
        to: new.revision,
        core: CoreDelta {
            providers: changed(&old.core.providers, &new.core.providers),
            groups: changed(&old.core.groups, &new.core.groups),
            prices: changed(&old.core.prices, &new.core.prices),
            settings: changed(&old.core.settings, &new.core.settings),
            error_rules: changed(&old.core.error_rules, &new.core.error_rules),
        },
        principals: PrincipalsDelta { users, removed_users, keys, removed_keys },
    }
}

impl Snapshot {
    /// Goes on to the delta's revision. Users and keys are put in the order of their ids.
    pub fn apply(&mut self, delta: Delta) {
        self.revision = delta.to;
        self.core.apply(delta.core);
        let PrincipalsDelta { users, removed_users, keys, removed_keys } = delta.principals;
        replace(&mut self.principals.users, users, removed_users, |user| user.id);
        self.principals.users.sort_unstable_by_key(|user| user.id);
        replace(&mut self.principals.keys, keys, removed_keys, |key| key.digest);
        self.principals.keys.sort_unstable_by_key(|key| key.id);
    }
}

impl Core {
    /// Puts the changed sections in.
    pub fn apply(&mut self, delta: CoreDelta) {
        let CoreDelta { providers, groups, prices, settings, error_rules } = delta;
        self.providers = providers.unwrap_or_else(|| std::mem::take(&mut self.providers));
        self.groups = groups.unwrap_or_else(|| std::mem::take(&mut self.groups));
        self.prices = prices.unwrap_or_else(|| std::mem::take(&mut self.prices));
        self.settings = settings.unwrap_or_else(|| std::mem::take(&mut self.settings));
        self.error_rules = error_rules.unwrap_or_else(|| std::mem::take(&mut self.error_rules));
    }
}

fn changed<T: PartialEq + Clone>(old: &T, new: &T) -> Option<T> {
    (old != new).then(|| new.clone())
}

/// New or changed documents, and the names of those that are gone.
fn changes<T: PartialEq + Clone, K: Eq + Hash>(old: &[T], new: &[T], name: fn(&T) -> K) -> (Vec<T>, Vec<K>) {
    let mut before: HashMap<K, &T> = old.iter().map(|doc| (name(doc), doc)).collect();
    let put = new.iter().filter(|doc| before.remove(&name(doc)) != Some(*doc)).cloned().collect();
    // In the old order, so that the same two snapshots give the same delta.
    let gone = old.iter().map(name).filter(|name| before.contains_key(name)).collect();
    (put, gone)
}

fn replace<T, K: Ord>(docs: &mut Vec<T>, put: Vec<T>, gone: Vec<K>, name: fn(&T) -> K) {
    let leaving: BTreeSet<K> = gone.into_iter().chain(put.iter().map(name)).collect();
    docs.retain(|doc| !leaving.contains(&name(doc)));
    docs.extend(put);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{error_rule, group_doc, key_doc, provider, snapshot, user_doc};
    use proptest::prelude::*;

    fn any_snapshot(revision: u64) -> impl Strategy<Value = Snapshot> {
        let ids = || prop::collection::btree_map(0..12_i64, any::<bool>(), 0..8);
        (ids(), ids(), ids()).prop_map(move |(providers, users, keys)| {
            let mut made = snapshot(Vec::new());
            made.revision = Revision(revision);
            made.core.providers = providers
                .into_iter()
                .map(|(id, is_enabled)| Provider { is_enabled, ..provider(id) })
                .collect();
            made.core.groups = vec![group_doc(i64::try_from(users.len() % 2).unwrap(), "default")];
            made.core.error_rules =
                (0..i64::try_from(keys.len() % 3).unwrap()).map(|id| error_rule(id, "x")).collect();
            made.principals.users =
                users.into_iter().map(|(id, is_enabled)| UserDoc { is_enabled, ..user_doc(id) }).collect();
            made.principals.keys =
                keys.into_iter().map(|(id, is_enabled)| KeyDoc { is_enabled, ..key_doc(id, 1) }).collect();
            made
        })
    }

    #[test]
    fn one_changed_key_is_all_that_travels() {
        let mut old = snapshot(vec![provider(1)]);
        old.principals.keys = (0..1_000).map(|id| key_doc(id, 1)).collect();
        let mut new = old.clone();
        new.revision = Revision(2);
        new.principals.keys[500].is_enabled = false;
        let gone = new.principals.keys.remove(7).digest;
        let delta = between(&old, &new);
        assert!(delta.core.is_empty());
        assert_eq!(delta.principals.keys, [new.principals.keys[499].clone()]);
        assert_eq!(delta.principals.removed_keys, [gone]);
        assert!(serde_json::to_vec(&delta).unwrap().len() < 1_000);
    }

    proptest! {
        #[test]
        fn a_delta_leads_from_one_snapshot_to_the_other(old in any_snapshot(4), new in any_snapshot(9)) {
            let delta = between(&old, &new);
            let json = serde_json::to_vec(&delta).unwrap();
            let mut went = old;
            went.apply(serde_json::from_slice(&json).unwrap());
            prop_assert_eq!(went, new);
        }
    }
}
