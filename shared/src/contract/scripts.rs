//! The Lua that runs inside Redis: versioned files, each with its key layout and replies in its head.

pub mod breaker;
pub mod quota;

use super::codec::DecodeError;
use super::delta::Delta;
use super::in_flight::InFlight;
use super::keys::{
    KEPT_DELTAS, KEY_BUCKETS, USAGE_BOUND, USAGE_CLAIM_MS, USAGE_GROUP, USAGE_JOURNAL_BOUND,
    USAGE_JOURNAL_TTL_SECS, config_changed, config_core, config_deltas, config_head, config_keys,
    config_users, key_bucket,
};
use super::node::NodeBeat;
use super::snapshot::{Core, KeyDoc, Principals, SNAPSHOT_SCHEMA, Snapshot, UserDoc};
use super::{codec, keys};
use crate::ids::{JournalId, Revision};
use crate::ports::{Place, Progress, Receipt, UsageBatch};
use bytes::Bytes;
use serde::de::DeserializeOwned;

/// Publishes a configuration. Arguments are made by [`publish_full`] and [`publish_delta`].
pub const CONFIG_PUBLISH: &str = include_str!("lua/config_publish_v1.lua");

/// Reads a configuration: [`read_news`], and [`read_whole`] when only that leads there.
pub const CONFIG_READ: &str = include_str!("lua/config_read_v1.lua");

/// Takes a journal's usage into the stream: [`append_usage`], answered by a [`progress`].
pub const USAGE_APPEND: &str = include_str!("lua/usage_append_v2.lua");

/// Lends usage to a consumer: [`take_usage`]; each record with its [`place`].
pub const USAGE_TAKE: &str = include_str!("lua/usage_take_v2.lua");

/// Lets booked usage go: [`settle_usage`].
pub const USAGE_SETTLE: &str = include_str!("lua/usage_settle_v2.lua");

/// Says how much usage waits: [`usage_backlog`].
pub const USAGE_BACKLOG: &str = include_str!("lua/usage_backlog_v1.lua");

/// Keeps a sign of life and what runs there, and answers all signs of life: [`beat`], [`leave`], [`beats`].
pub const NODE_BEAT: &str = include_str!("lua/node_beat_v2.lua");

/// Says what runs on nodes: [`nodes_in_flight`].
pub const NODE_IN_FLIGHT: &str = include_str!("lua/node_in_flight_v1.lua");

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
pub fn publish_delta(delta: &Delta, core: &Core) -> std::io::Result<ScriptCall> {
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

/// What leads from `after` to what is published.
#[must_use]
pub fn read_news(after: Option<Revision>) -> ScriptCall {
    let after = after.map(|revision| revision.to_string()).unwrap_or_default();
    ScriptCall { keys: document_keys(), args: vec![after.into()] }
}

/// All that is published.
#[must_use]
pub fn read_whole() -> ScriptCall {
    let mut call = read_news(None);
    call.keys.extend((0..=u8::MAX).map(config_keys));
    call
}

/// The documents of a whole read, as the script answers them.
#[derive(Clone, Debug, Default)]
pub struct WholeReply {
    /// The revision of all of them.
    pub revision: Revision,
    /// The schema of all of them.
    pub schema: u32,
    /// [`Core`], packed.
    pub core: Bytes,
    /// [`UserDoc`]s as JSON.
    pub users: Vec<Bytes>,
    /// [`KeyDoc`]s as JSON.
    pub keys: Vec<Bytes>,
}

impl WholeReply {
    /// The snapshot they make, users and keys in the order of their ids.
    pub fn into_snapshot(self) -> Result<Snapshot, DecodeError> {
        codec::check_schema(self.schema, SNAPSHOT_SCHEMA)?;
        let core: Core = codec::unpack(&self.core)?;
        let mut users: Vec<UserDoc> = documents(&self.users)?;
        let mut keys: Vec<KeyDoc> = documents(&self.keys)?;
        users.sort_unstable_by_key(|user| user.id);
        keys.sort_unstable_by_key(|key| key.id);
        let principals = Principals { users, keys };
        Ok(Snapshot { schema: self.schema, revision: self.revision, core, principals })
    }
}

fn documents<T: DeserializeOwned>(texts: &[Bytes]) -> Result<Vec<T>, serde_json::Error> {
    texts.iter().map(|json| serde_json::from_slice(json)).collect()
}

/// Takes this batch into the stream.
#[must_use]
pub fn append_usage(batch: UsageBatch) -> ScriptCall {
    let UsageBatch { journal, floor, first, records } = batch;
    let [bound, all, ttl] = [USAGE_JOURNAL_BOUND, USAGE_BOUND, USAGE_JOURNAL_TTL_SECS].map(|n| n.to_string());
    let head = [bound, all, ttl, journal.to_string(), floor.to_string(), first.to_string()];
    ScriptCall {
        keys: vec![keys::usage(), keys::usage_journal(journal)],
        args: head.into_iter().map(Bytes::from).chain(records).collect(),
    }
}

/// The answer to an [`append_usage`]: its two numbers.
#[must_use]
pub fn progress(taken: &str, watermark: &str) -> Option<Progress> {
    Some(Progress { taken: taken.parse().ok()?, watermark: watermark.parse().ok()? })
}

/// Lends at most `max` records to this consumer.
#[must_use]
pub fn take_usage(consumer: &str, max: usize) -> ScriptCall {
    let args = [USAGE_GROUP.to_owned(), consumer.to_owned(), max.to_string(), USAGE_CLAIM_MS.to_string()];
    ScriptCall { keys: vec![keys::usage()], args: args.into_iter().map(Bytes::from).collect() }
}

/// Lets these records go; each of these journals is in the books up to the number beside it.
#[must_use]
pub fn settle_usage(receipts: &[Receipt], watermarks: &[(JournalId, u64)]) -> ScriptCall {
    let head = [USAGE_GROUP.to_owned(), USAGE_JOURNAL_TTL_SECS.to_string()];
    let numbers = watermarks.iter().map(|(_, watermark)| watermark.to_string());
    let ids = receipts.iter().map(|Receipt(ms, count)| format!("{ms}-{count}"));
    let journals = watermarks.iter().map(|(journal, _)| keys::usage_journal(*journal));
    ScriptCall {
        keys: std::iter::once(keys::usage()).chain(journals).collect(),
        args: head.into_iter().chain(numbers).chain(ids).map(Bytes::from).collect(),
    }
}

/// How much waits.
#[must_use]
pub fn usage_backlog() -> ScriptCall {
    ScriptCall { keys: vec![keys::usage()], args: vec![Bytes::from_static(USAGE_GROUP.as_bytes())] }
}

/// The receipt that a stream's id is.
#[must_use]
pub fn receipt(id: &str) -> Option<Receipt> {
    let (ms, count) = id.split_once('-')?;
    Some(Receipt(ms.parse().ok()?, count.parse().ok()?))
}

/// The place that an entry of the stream names; `None` when it names none, or one that no journal has.
#[must_use]
pub fn place(journal: &str, seq: &str, floor: &str) -> Option<Place> {
    let place = Place { journal: journal.parse().ok()?, seq: seq.parse().ok()?, floor: floor.parse().ok()? };
    // Beyond these, Lua's numbers have gaps.
    (place.seq > 0 && place.seq.max(place.floor) < 1 << 53).then_some(place)
}

/// Keeps this beat and what runs there (`None`: what was told last still holds), and answers all beats.
pub fn beat(beat: &NodeBeat, in_flight: Option<&InFlight>) -> Result<ScriptCall, serde_json::Error> {
    let in_flight = in_flight.map(serde_json::to_vec).transpose()?;
    Ok(node_call(&beat.id, serde_json::to_vec(beat)?, in_flight.unwrap_or_default()))
}

/// Forgets this node.
#[must_use]
pub fn leave(id: &str) -> ScriptCall {
    node_call(id, Vec::new(), Vec::new())
}

/// Answers all beats.
#[must_use]
pub fn beats() -> ScriptCall {
    let args = vec![keys::NODE_TTL_SECS.to_string().into(), Bytes::new(), Bytes::new(), Bytes::new()];
    ScriptCall { keys: vec![keys::node_beats(), keys::node_index()], args }
}

/// What runs on these nodes; one at least.
#[must_use]
pub fn nodes_in_flight<'a>(ids: impl IntoIterator<Item = &'a str>) -> ScriptCall {
    ScriptCall { keys: ids.into_iter().map(keys::node_in_flight).collect(), args: Vec::new() }
}

fn node_call(id: &str, beat: Vec<u8>, in_flight: Vec<u8>) -> ScriptCall {
    let ttl = keys::NODE_TTL_SECS.to_string();
    ScriptCall {
        keys: vec![keys::node_beats(), keys::node_index(), keys::node_in_flight(id)],
        args: vec![ttl.into(), id.to_owned().into(), beat.into(), in_flight.into()],
    }
}

fn document_keys() -> Vec<String> {
    vec![config_head(), config_core(), config_users(), config_deltas()]
}

fn head(mode: &'static str, from: Revision, to: Revision, schema: u32) -> ScriptCall {
    let text = |text: String| Bytes::from(text);
    ScriptCall {
        keys: document_keys(),
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
    fn a_whole_reply_makes_the_snapshot_it_was_made_of() {
        let mut made = snapshot(vec![provider(1)]);
        made.principals.keys = (1..20).map(|id| key_doc(id, 1)).collect();
        let json = |key: &KeyDoc| Bytes::from(serde_json::to_vec(key).unwrap());
        let whole = WholeReply {
            revision: made.revision,
            schema: made.schema,
            core: codec::pack(&made.core).unwrap().into(),
            users: made.principals.users.iter().map(|u| serde_json::to_vec(u).unwrap().into()).collect(),
            keys: made.principals.keys.iter().rev().map(json).collect(),
        };
        assert_eq!(whole.clone().into_snapshot().unwrap(), made);
        let later = WholeReply { schema: SNAPSHOT_SCHEMA + 1, ..whole };
        assert!(matches!(later.into_snapshot(), Err(DecodeError::TooNew { .. })));
    }

    #[test]
    fn receipts_are_ids_of_the_stream() {
        assert_eq!(receipt("1700000000000-7"), Some(Receipt(1_700_000_000_000, 7)));
        assert_eq!(receipt("1700000000000"), None);
        let journal = JournalId::from_parts(crate::time::UnixMillis(0), &[1; 10]);
        let call = settle_usage(&[Receipt(5, 2)], &[(journal, 9)]);
        assert_eq!(call.args, ["books", "604800", "9", "5-2"]);
        assert_eq!(call.keys, [keys::usage(), keys::usage_journal(journal)]);
    }

    #[test]
    fn places_are_those_that_a_journal_can_have() {
        let journal = JournalId::from_parts(crate::time::UnixMillis(0), &[1; 10]);
        let name = journal.to_string();
        assert_eq!(place(&name, "7", "3"), Some(Place { journal, seq: 7, floor: 3 }));
        for (journal, seq, floor) in [
            ("", "", ""),
            ("x", "7", "3"),
            (&name, "0", "0"),
            (&name, "-1", "0"),
            (&name, "9007199254740992", "0"),
        ] {
            assert_eq!(place(journal, seq, floor), None, "{journal} {seq} {floor}");
        }
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
