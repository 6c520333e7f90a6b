//! The configuration in force: a published snapshot, compiled once into what the hot path looks up.
//!
//! One immutable [`Live`] per revision, swapped whole ([`InForce`]); a request takes one and keeps it, so that it
//! never sees two configurations. What a delta does not touch is shared between revisions. Secrets are opened here
//! and live only in memory; what is kept on disk ([`disk`]) has them sealed.

mod compiled;
pub mod disk;
mod follow;
mod in_force;
mod people;

pub use compiled::{Route, Terms};
pub use follow::Follower;
pub use in_force::{InForce, Unusable};
pub use people::Principal;

use compiled::Compiled;
use people::People;
use shared::contract::breaker::Terms as CircuitTerms;
use shared::contract::delta::Delta;
use shared::contract::snapshot::{SNAPSHOT_SCHEMA, Snapshot};
use shared::ids::{ProviderId, Revision, UserId};
use shared::model::{Provider, User};
use shared::rules::affinity::Identity;
use shared::rules::error_rules::ErrorRules;
use shared::rules::quota::AccountId;
use shared::rules::quota::telling::Governed;
use shared::rules::select::Pool;
use shared::secret::{HubKey, KeyDigest};
use std::sync::Arc;

/// A configuration, ready for use.
pub struct Live {
    revision: Revision,
    people: People,
    compiled: Arc<Compiled>,
}

impl Live {
    /// Nothing is configured: every key is unknown.
    #[must_use]
    pub fn empty() -> Self {
        Self { revision: Revision(0), people: People::default(), compiled: Arc::default() }
    }

    /// Compiles a snapshot.
    #[must_use]
    pub fn compile(snapshot: &Snapshot, hub_key: &HubKey) -> Self {
        Self {
            revision: snapshot.revision,
            people: People::of(&snapshot.principals),
            compiled: Arc::new(Compiled::of(snapshot.core.clone(), hub_key, None)),
        }
    }

    /// The configuration that a delta leads to from here; its `from` must be this one's revision.
    #[must_use]
    pub fn after(&self, delta: Delta, hub_key: &HubKey) -> Self {
        debug_assert_eq!(delta.from, self.revision);
        let compiled = if delta.core.is_empty() {
            self.compiled.clone()
        } else {
            let mut core = self.compiled.core.clone();
            let is_same = delta.core.error_rules.is_none();
            core.apply(delta.core);
            Arc::new(Compiled::of(core, hub_key, is_same.then(|| self.compiled.error_rules.clone())))
        };
        Self { revision: delta.to, people: self.people.after(delta.principals), compiled }
    }

    /// The snapshot that this is compiled from.
    #[must_use]
    pub fn to_snapshot(&self) -> Snapshot {
        Snapshot {
            schema: SNAPSHOT_SCHEMA,
            revision: self.revision,
            core: self.compiled.core.clone(),
            principals: self.people.to_docs(),
        }
    }

    /// The revision this was compiled from; 0: there was none yet.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Whose key this is.
    #[must_use]
    pub fn principal(&self, digest: &KeyDigest) -> Option<Principal> {
        self.people.principal(digest)
    }

    /// The accounts that are under limits.
    #[must_use]
    pub fn governed(&self) -> Governed {
        let users = self.people.users().map(|user| (AccountId::User(user.id), user.budget_generation));
        let providers = self.compiled.core.providers.iter();
        let providers = providers.map(|p| (AccountId::Provider(p.id), p.budget_generation));
        users.chain(providers).collect()
    }

    /// A user.
    #[must_use]
    pub fn user(&self, id: UserId) -> Option<&Arc<User>> {
        self.people.user(id)
    }

    /// All usable providers, in the order of their ids.
    #[must_use]
    pub fn providers(&self) -> &[Provider] {
        &self.compiled.providers
    }

    /// All providers, ready for choosing.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.compiled.pool
    }

    /// Which errors of upstreams are the request's own fault.
    #[must_use]
    pub fn error_rules(&self) -> &ErrorRules {
        &self.compiled.error_rules
    }

    /// A provider and how to reach it.
    #[must_use]
    pub fn provider(&self, id: ProviderId) -> Option<(&Provider, &Arc<Route>)> {
        let provider = self.compiled.providers.iter().find(|p| p.id == id)?;
        self.compiled.routes.get(&id).map(|route| (provider, route))
    }

    /// A provider, usable or not, and which account it is.
    #[must_use]
    pub fn account(&self, id: ProviderId) -> Option<(&Provider, Identity)> {
        let provider = self.compiled.core.providers.iter().find(|p| p.id == id)?;
        self.compiled.identities.get(&id).map(|identity| (provider, *identity))
    }

    /// What the breaker of a provider is judged under; `None` when it is never asked: there is none, or it is switched off.
    #[must_use]
    pub fn circuit_terms(&self, id: ProviderId) -> Option<CircuitTerms> {
        let provider = self.compiled.core.providers.iter().find(|p| p.id == id)?;
        provider.is_enabled.then(|| provider.circuit_terms())
    }

    /// What usage costs.
    #[must_use]
    pub fn terms(&self) -> Terms<'_> {
        self.compiled.terms()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::contract::delta::between;
    use shared::testing::{client_secret, hub_key, key_doc, provider, snapshot, user_doc};

    fn digest(key_id: i64) -> KeyDigest {
        KeyDigest::of(&client_secret(key_id))
    }

    #[test]
    fn deltas_lead_to_what_the_whole_would_be() {
        let mut old = snapshot(vec![provider(1), provider(2)]);
        old.principals.users.push(user_doc(2));
        old.principals.keys.extend([key_doc(2, 2), key_doc(3, 2), key_doc(4, 9)]);
        let mut new = old.clone();
        new.revision = Revision(2);
        new.core.providers[0].weight = 7;
        new.principals.users[1].is_enabled = false;
        new.principals.users.push(user_doc(9));
        new.principals.keys.remove(0);
        new.principals.keys[0].is_enabled = false;
        let before = Live::compile(&old, &hub_key());
        assert!(before.principal(&digest(4)).is_none(), "a key without its user is unknown");
        let after = before.after(between(&old, &new), &hub_key());
        assert_eq!(after.to_snapshot(), new);
        assert_eq!(after.providers()[0].weight, 7);
        assert!(after.principal(&digest(1)).is_none());
        assert!(!after.principal(&digest(2)).unwrap().key.is_enabled);
        assert!(!after.principal(&digest(3)).unwrap().user.is_enabled);
        assert!(after.principal(&digest(4)).is_some(), "its user came");
        // A request that took the old one goes on with it.
        assert_eq!(before.to_snapshot(), old);
        assert!(before.principal(&digest(1)).is_some());
    }

    #[test]
    fn what_a_delta_does_not_touch_is_shared() {
        let mut old = snapshot(vec![provider(1)]);
        old.principals.keys = (1..=2_000).map(|id| key_doc(id, 1)).collect();
        let mut new = old.clone();
        new.revision = Revision(2);
        new.principals.keys[700].is_enabled = false;
        let before = Live::compile(&old, &hub_key());
        let after = before.after(between(&old, &new), &hub_key());
        assert!(Arc::ptr_eq(&before.compiled, &after.compiled));
        assert_eq!(before.people.buckets_apart(&after.people), 1);
    }

    /// By hand: `cargo test --release -p gateway one_changed_key -- --ignored --nocapture`.
    #[test]
    #[ignore = "prints a figure; run it by hand"]
    fn what_one_changed_key_of_twenty_thousand_costs() {
        let mut old = snapshot((1..=200).map(provider).collect());
        old.principals.users = (1..=2_000).map(user_doc).collect();
        old.principals.keys = (1..=20_000).map(|id| key_doc(id, 1 + id % 2_000)).collect();
        let mut live = Live::compile(&old, &hub_key());
        let deltas: Vec<Delta> = (0..1_000)
            .map(|n| {
                let mut delta = Delta { from: Revision(n + 1), to: Revision(n + 2), ..Delta::default() };
                let mut key = key_doc(1 + i64::try_from(n).unwrap() * 19, 1);
                key.is_enabled = false;
                delta.principals.keys = vec![key];
                delta
            })
            .collect();
        let (began, count) = (std::time::Instant::now(), deltas.len());
        for delta in deltas {
            live = live.after(delta, &hub_key());
        }
        println!("one changed key: {:?}", began.elapsed() / u32::try_from(count).unwrap());
        assert_eq!(live.revision(), Revision(1_001));
    }
}
