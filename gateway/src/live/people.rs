//! Users and keys: the part of a configuration that grows with the number of seats.
//!
//! Both are spread over buckets that revisions share: of twenty thousand keys, a changed one costs the copy of one
//! bucket of eighty. A key finds its user when it is looked up, so that a changed user touches none of its keys.

use shared::contract::delta::PrincipalsDelta;
use shared::contract::snapshot::{KeyDoc, Principals, UserDoc};
use shared::ids::UserId;
use shared::model::{Key, User};
use shared::secret::KeyDigest;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

/// A key with its user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The key's user.
    pub user: Arc<User>,
    /// The key.
    pub key: Arc<Key>,
}

/// All users and keys of a revision.
pub struct People {
    users: Spread<UserId, User>,
    keys: Spread<KeyDigest, Key>,
}

impl Default for People {
    fn default() -> Self {
        Self { users: Spread::new(user_bucket), keys: Spread::new(key_bucket) }
    }
}

impl People {
    /// Those of a snapshot.
    pub fn of(docs: &Principals) -> Self {
        let users = docs.users.iter().map(|doc| (doc.id, User::from(doc.clone())));
        let keys = docs.keys.iter().map(|doc| (doc.digest, Key::from(doc.clone())));
        let mut people = Self::default();
        people.users.change(users, []);
        people.keys.change(keys, []);
        people
    }

    /// Those after a delta.
    pub fn after(&self, delta: PrincipalsDelta) -> Self {
        let PrincipalsDelta { users, removed_users, keys, removed_keys } = delta;
        let mut people = Self { users: self.users.clone(), keys: self.keys.clone() };
        people.users.change(users.into_iter().map(|doc| (doc.id, User::from(doc))), removed_users);
        people.keys.change(keys.into_iter().map(|doc| (doc.digest, Key::from(doc))), removed_keys);
        people
    }

    /// Whose key this is. A key without its user is a row on its way out: unknown.
    pub fn principal(&self, digest: &KeyDigest) -> Option<Principal> {
        let key = self.keys.find(digest)?;
        let user = self.users.find(&key.user_id)?;
        Some(Principal { user: user.clone(), key: key.clone() })
    }

    /// A user.
    pub fn user(&self, id: UserId) -> Option<&Arc<User>> {
        self.users.find(&id)
    }

    /// All users, in any order.
    pub fn users(&self) -> impl Iterator<Item = &Arc<User>> {
        self.users.values()
    }

    /// As they are published, in the order of their ids.
    pub fn to_docs(&self) -> Principals {
        let mut users: Vec<UserDoc> = self.users.values().map(|user| UserDoc::from(&**user)).collect();
        let mut keys: Vec<KeyDoc> = self.keys.values().map(|key| KeyDoc::from(&**key)).collect();
        users.sort_unstable_by_key(|user| user.id);
        keys.sort_unstable_by_key(|key| key.id);
        Principals { users, keys }
    }

    /// Buckets that are not shared.
    #[cfg(test)]
    pub fn buckets_apart(&self, other: &Self) -> usize {
        self.users.buckets_apart(&other.users) + self.keys.buckets_apart(&other.keys)
    }
}

/// A map in [`BUCKETS`] parts; a clone shares them until they change.
#[derive(Clone)]
struct Spread<K, V> {
    buckets: Vec<Arc<HashMap<K, Arc<V>>>>,
    bucket_of: fn(&K) -> u8,
}

impl<K: Eq + Hash + Clone, V> Spread<K, V> {
    fn new(bucket_of: fn(&K) -> u8) -> Self {
        // One empty bucket stands for all: the first change of each makes its own.
        Self { buckets: vec![Arc::default(); BUCKETS], bucket_of }
    }

    fn find(&self, key: &K) -> Option<&Arc<V>> {
        self.buckets.get(usize::from((self.bucket_of)(key)))?.get(key)
    }

    fn change(&mut self, put: impl IntoIterator<Item = (K, V)>, removed: impl IntoIterator<Item = K>) {
        for key in removed {
            if let Some(bucket) = self.bucket_mut(&key) {
                bucket.remove(&key);
            }
        }
        for (key, value) in put {
            if let Some(bucket) = self.bucket_mut(&key) {
                bucket.insert(key, Arc::new(value));
            }
        }
    }

    /// `None` never: there is a bucket for each byte.
    fn bucket_mut(&mut self, key: &K) -> Option<&mut HashMap<K, Arc<V>>> {
        self.buckets.get_mut(usize::from((self.bucket_of)(key))).map(Arc::make_mut)
    }

    fn values(&self) -> impl Iterator<Item = &Arc<V>> {
        self.buckets.iter().flat_map(|bucket| bucket.values())
    }

    #[cfg(test)]
    fn buckets_apart(&self, other: &Self) -> usize {
        self.buckets.iter().zip(&other.buckets).filter(|(a, b)| !Arc::ptr_eq(a, b)).count()
    }
}

fn user_bucket(id: &UserId) -> u8 {
    // Ids are handed out one by one: their lowest byte spreads them evenly.
    id.0.to_le_bytes()[0]
}

fn key_bucket(digest: &KeyDigest) -> u8 {
    digest.first_byte()
}

/// One for each value of a byte.
const BUCKETS: usize = 256;
