//! The Lua that runs inside Redis: versioned files, each with its key layout and replies in its head.

use super::delta::Delta;
use super::keys::{
    KEPT_DELTAS, KEY_BUCKETS, config_changed, config_core, config_deltas, config_head, config_keys,
    config_users, key_bucket,
};
use super::snapshot::Snapshot;
use super::{codec, keys};
use crate::ids::Revision;
use bytes::Bytes;

/// Publishes a configuration. Arguments are made by [`publish_full`] and [`publish_delta`].
pub const CONFIG_PUBLISH: &str = include_str!("lua/config_publish_v1.lua");

/// Keys and arguments of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptCall {
    /// `KEYS`.
    pub keys: Vec<String>,
    /// `ARGV`.
    pub args: Vec<Bytes>,
}

/// What [`CONFIG_PUBLISH`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishReply {
    /// It is published.
    Published,
    /// As new or newer is there.
    Stale(Revision),
    /// The delta does not start at what is there (`None`: nothing is).
    Gap(Option<Revision>),
}

impl PublishReply {
    /// Reads the script's two words; `None` if they are none of its.
    #[must_use]
    pub fn parse(word: &str, revision: &str) -> Option<Self> {
        let current = revision.parse::<i64>().ok()?;
        let current = u64::try_from(current).ok().map(Revision);
        match word {
            "published" => Some(Self::Published),
            "stale" => current.map(Self::Stale),
            "gap" => Some(Self::Gap(current)),
            _ => None,
        }
    }
}

/// Replaces all that is published by this snapshot.
pub fn publish_full(snapshot: &Snapshot) -> std::io::Result<ScriptCall> {
    let mut call = head("full", Revision(0), snapshot.revision, snapshot.schema);
    call.args[CORE] = codec::pack(&snapshot.core)?.into();
    let buckets = (0..=u8::MAX).map(config_keys);
    call.keys.extend(buckets);
    for user in &snapshot.principals.users {
        put(&mut call, USERS, user.id.to_string(), serde_json::to_vec(user)?);
    }
    for key in &snapshot.principals.keys {
        let place = FIRST_BUCKET + usize::from(key_bucket(&key.digest));
        put(&mut call, place, key.digest.to_hex(), serde_json::to_vec(key)?);
    }
    debug_assert_eq!(call.keys.len(), FIRST_BUCKET - 1 + KEY_BUCKETS);
    Ok(call)
}

/// Goes on by a delta; `core` is the whole core after it, needed when any of its sections changed.
pub fn publish_delta(delta: &Delta, core: &super::snapshot::Core) -> std::io::Result<ScriptCall> {
    let mut call = head("delta", delta.from, delta.to, delta.schema);
    if !delta.core.is_empty() {
        call.args[CORE] = codec::pack(core)?.into();
    }
    call.args[DELTA] = codec::pack(delta)?.into();
    for user in &delta.principals.users {
        put(&mut call, USERS, user.id.to_string(), serde_json::to_vec(user)?);
    }
    for id in &delta.principals.removed_users {
        put(&mut call, USERS, id.to_string(), Vec::new());
    }
    for key in &delta.principals.keys {
        let place = bucket_place(&mut call, key_bucket(&key.digest));
        put(&mut call, place, key.digest.to_hex(), serde_json::to_vec(key)?);
    }
    for digest in &delta.principals.removed_keys {
        let place = bucket_place(&mut call, key_bucket(digest));
        put(&mut call, place, digest.to_hex(), Vec::new());
    }
    Ok(call)
}

fn head(mode: &'static str, from: Revision, to: Revision, schema: u32) -> ScriptCall {
    let text = |text: String| Bytes::from(text);
    ScriptCall {
        keys: vec![config_head(), config_core(), config_users(), config_deltas()],
        args: vec![
            Bytes::from_static(mode.as_bytes()),
            text(from.to_string()),
            text(to.to_string()),
            text(schema.to_string()),
            Bytes::new(),
            Bytes::new(),
            text(config_changed()),
            text(KEPT_DELTAS.to_string()),
        ],
    }
}

/// One operation of the script. An empty value removes.
fn put(call: &mut ScriptCall, place: usize, field: String, value: Vec<u8>) {
    call.args.extend([Bytes::from(place.to_string()), field.into(), value.into()]);
}

/// The place of a bucket among the keys, which it joins if it is new: a delta names only those it touches.
fn bucket_place(call: &mut ScriptCall, bucket: u8) -> usize {
    let name = keys::config_keys(bucket);
    let found = call.keys.iter().position(|key| *key == name);
    let at = found.unwrap_or_else(|| {
        call.keys.push(name);
        call.keys.len() - 1
    });
    at + 1
}

/// Places in `ARGV`, from 0.
const CORE: usize = 4;
const DELTA: usize = 5;
/// Places in `KEYS`, from 1 as Lua counts.
const USERS: usize = 3;
const FIRST_BUCKET: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::delta::between;
    use crate::testing::{key_doc, provider, snapshot};

    #[test]
    fn a_delta_names_only_the_buckets_it_touches() {
        let old = snapshot(vec![provider(1)]);
        let mut new = old.clone();
        new.revision = Revision(2);
        new.principals.keys.push(key_doc(2, 1));
        let removed = new.principals.keys.remove(0);
        let call = publish_delta(&between(&old, &new), &new.core).unwrap();
        assert_eq!(call.keys.len(), 4 + 2);
        assert!(call.args[CORE].is_empty() && !call.args[DELTA].is_empty());
        assert_eq!(call.args.len(), 8 + 2 * 3);
        assert_eq!(call.args[12], removed.digest.to_hex());
        assert!(call.args[13].is_empty());
        assert_eq!(call.keys[4], config_keys(key_bucket(&new.principals.keys[0].digest)));
    }

    #[test]
    fn replies_are_read() {
        assert_eq!(PublishReply::parse("published", "7"), Some(PublishReply::Published));
        assert_eq!(PublishReply::parse("stale", "9"), Some(PublishReply::Stale(Revision(9))));
        assert_eq!(PublishReply::parse("gap", "-1"), Some(PublishReply::Gap(None)));
        assert_eq!(PublishReply::parse("gap", "4"), Some(PublishReply::Gap(Some(Revision(4)))));
        assert_eq!(PublishReply::parse("what", "4"), None);
    }
}
