//! Every name in Redis: keys, channels, streams, and how long each lives.
//!
//! Keys that one script touches share a hash tag (the part in braces), so that they live on one node of a
//! Cluster. All names begin with [`PREFIX`], so that several products can share a Redis. Values are said here
//! too: who writes, who reads, what happens when it is gone.
//!
//! | key | type | lives | is |
//! |---|---|---|---|
//! | [`config_head`] | hash | for ever | `revision`, `schema` of what is published |
//! | [`config_core`] | string | for ever | [`super::snapshot::Core`], packed ([`super::codec`]) |
//! | [`config_users`] | hash | for ever | user id → [`super::snapshot::UserDoc`] as JSON |
//! | [`config_keys`] | 256 hashes | for ever | digest → [`super::snapshot::KeyDoc`] as JSON |
//! | [`config_deltas`] | stream | [`KEPT_DELTAS`] entries | id `<to>-0`, fields `from`, `delta`: [`super::delta::Delta`], packed |
//! | [`config_changed`] | channel | – | the new revision, in digits |
//! | [`node_beats`] | hash | [`NODE_TTL_SECS`] a field | node id → [`super::node::NodeBeat`] as JSON |
//! | [`node_index`] | sorted set | with its beat | node id by the Unix second (Redis's clock) of its last beat |
//! | [`node_in_flight`] | string | [`NODE_TTL_SECS`] | [`super::in_flight::InFlight`] of a node as JSON |
//! | [`usage`] | stream | until booked | fields `journal`, `seq`, `floor`, `record`: [`super::usage::UsageRecord`] as [`super::end`] writes it |
//! | [`usage_journal`] | hash | [`USAGE_JOURNAL_TTL_SECS`] | `taken`, `watermark` ([`crate::ports::Progress`]), `born`: of which stream |
//! | [`circuit_docs`] | hash | [`super::breaker::CIRCUIT_KEEP_MS`] a field | provider id → [`super::breaker::CircuitDoc`] as JSON |
//! | [`circuit_versions`] | sorted set | with its document | provider id by the number of its last change |
//! | [`circuit_head`] | hash | for ever | `born`, `last`, `floor`: the first and last number, and that of the last reset of all |
//! | [`circuit_nodes`] | sorted set | [`NODE_TTL_SECS`] | node id by the millisecond (Redis's clock) in which it last read |
//! | [`circuit_permits`] | hash | with the permit | provider id → node whose probe is out |
//! | [`circuit_changed`] | channel | – | the new last number, in digits |
//! | [`quota_head`] | hash, and what is named after it | for ever | what an account spent and holds (`lua/quota_v3.lua`) |
//! | [`quota_epoch`] | hash | for ever | `epoch`, and the `run` of Redis that it was begun in |
//! | [`quota_wanted`] | set | until taken | names of accounts (`u:7`, `p:7`) that are to be opened |
//! | [`quota_recalled`] | channel | – | the name of an account of which nodes are to give back what they put aside ahead |
//!
//! What is gone is written again: the configuration by the admin side's reconciler, a node by its next beat, usage by
//! the journals of the gateways, which keep each record until it is in the books. Which of the two usage keys is gone,
//! and whether whole or back to an earlier state, makes no difference (`lua/usage_append_v2.lua`). Budgets are opened anew from
//! the ledger, after the gateways have declared what they hold.

use crate::ids::JournalId;
use crate::rules::quota::AccountId;
use crate::secret::KeyDigest;

/// What all names begin with.
pub const PREFIX: &str = "cch:";

/// Entries of the stream of deltas; who is further behind reads the whole.
pub const KEPT_DELTAS: usize = 64;

/// How long a node counts as alive after its last beat (design §5).
pub const NODE_TTL_SECS: u64 = 10;

/// The consumer group of the books.
pub const USAGE_GROUP: &str = "books";

/// Records of one journal that may wait in the stream; the rest stays in the journal (design §8).
pub const USAGE_JOURNAL_BOUND: u64 = 10_000;

/// Records of all journals that may wait in the stream: some hundred megabytes. With more than ten gateways it is this
/// that keeps an admin side that is away from filling Redis, which other things need as well.
pub const USAGE_BOUND: u64 = 100_000;

/// How long the stream remembers a journal that it hears nothing of.
pub const USAGE_JOURNAL_TTL_SECS: u64 = 7 * 86_400;

/// After this many milliseconds without an acknowledgement a record goes to another consumer: longer than a
/// transaction of the books may take.
pub const USAGE_CLAIM_MS: u64 = 60_000;

/// Number of hashes that keys are spread over.
pub const KEY_BUCKETS: usize = 256;

/// What is published: `revision` and `schema`.
#[must_use]
pub fn config_head() -> String {
    format!("{PREFIX}{{cfg}}:head")
}

/// Providers, groups, prices, settings.
#[must_use]
pub fn config_core() -> String {
    format!("{PREFIX}{{cfg}}:core")
}

/// Users by id.
#[must_use]
pub fn config_users() -> String {
    format!("{PREFIX}{{cfg}}:users")
}

/// The keys whose digest begins with this byte.
#[must_use]
pub fn config_keys(bucket: u8) -> String {
    format!("{PREFIX}{{cfg}}:keys:{bucket:02x}")
}

/// The bucket of a key.
#[must_use]
pub fn key_bucket(digest: &KeyDigest) -> u8 {
    digest.first_byte()
}

/// The newest deltas.
#[must_use]
pub fn config_deltas() -> String {
    format!("{PREFIX}{{cfg}}:deltas")
}

/// Where a new revision is announced.
#[must_use]
pub fn config_changed() -> String {
    format!("{PREFIX}{{cfg}}:changed")
}

/// The nodes' last beats.
#[must_use]
pub fn node_beats() -> String {
    format!("{PREFIX}{{nodes}}:beats")
}

/// When each node beat last.
#[must_use]
pub fn node_index() -> String {
    format!("{PREFIX}{{nodes}}:index")
}

/// What runs on a node.
#[must_use]
pub fn node_in_flight(id: &str) -> String {
    format!("{PREFIX}{{nodes}}:in_flight:{id}")
}

/// Finished requests on their way to the books.
#[must_use]
pub fn usage() -> String {
    format!("{PREFIX}{{usage}}:stream")
}

/// How far a journal has come.
#[must_use]
pub fn usage_journal(id: JournalId) -> String {
    format!("{PREFIX}{{usage}}:journal:{id}")
}

/// How each provider stands.
#[must_use]
pub fn circuit_docs() -> String {
    format!("{PREFIX}{{brk}}:docs")
}

/// In which order that changed.
#[must_use]
pub fn circuit_versions() -> String {
    format!("{PREFIX}{{brk}}:versions")
}

/// The breakers' numbers.
#[must_use]
pub fn circuit_head() -> String {
    format!("{PREFIX}{{brk}}:head")
}

/// Who follows the breakers.
#[must_use]
pub fn circuit_nodes() -> String {
    format!("{PREFIX}{{brk}}:nodes")
}

/// Whose probes are out.
#[must_use]
pub fn circuit_permits() -> String {
    format!("{PREFIX}{{brk}}:permits")
}

/// An account's head; all that is kept of it is named after it and shares its hash tag.
#[must_use]
pub fn quota_head(account: AccountId) -> String {
    let (kind, id) = match account {
        AccountId::User(id) => ('u', id.0),
        AccountId::Provider(id) => ('p', id.0),
    };
    format!("{PREFIX}{{quota:{kind}:{id}}}:head")
}

/// The epoch of the store of budgets, and when the store had started that it was begun in (hash).
#[must_use]
pub fn quota_epoch() -> String {
    format!("{PREFIX}{{quota}}:epoch")
}

/// Accounts that are to be opened (set).
#[must_use]
pub fn quota_wanted() -> String {
    format!("{PREFIX}{{quota}}:wanted")
}

/// Where accounts are named of which all nodes are to give back what they put aside ahead.
#[must_use]
pub fn quota_recalled() -> String {
    format!("{PREFIX}{{quota}}:recalled")
}

/// Where a change of a breaker or a cool-down is announced.
#[must_use]
pub fn circuit_changed() -> String {
    format!("{PREFIX}{{brk}}:changed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_one_script_share_a_hash_tag_and_are_distinct() {
        let config = [config_head(), config_core(), config_users(), config_deltas(), config_changed()];
        let buckets = (0..=u8::MAX).map(config_keys);
        let mut names: Vec<String> = config.into_iter().chain(buckets).collect();
        assert!(names.iter().all(|name| name.starts_with("cch:{cfg}:")));
        let journal = JournalId::from_parts(crate::time::UnixMillis(0), &[0; 10]);
        assert!([usage(), usage_journal(journal)].iter().all(|name| name.starts_with("cch:{usage}:")));
        let breakers =
            [circuit_docs(), circuit_versions(), circuit_head(), circuit_nodes(), circuit_permits()];
        assert!(breakers.iter().all(|name| name.starts_with("cch:{brk}:")));
        names.extend(breakers);
        names.push(circuit_changed());
        let nodes = [node_beats(), node_index(), node_in_flight("a")];
        assert!(nodes.iter().all(|name| name.starts_with("cch:{nodes}:")));
        names.extend(nodes);
        names.extend([usage(), usage_journal(journal)]);
        let budgets = [quota_epoch(), quota_wanted(), quota_recalled()];
        assert!(budgets.iter().all(|name| name.starts_with("cch:{quota}:")));
        names.extend(budgets);
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn a_key_is_found_under_its_digests_first_byte() {
        let digest = KeyDigest::of("cch-x");
        assert_eq!(format!("{:02x}", key_bucket(&digest)), digest.to_hex()[..2]);
    }
}
