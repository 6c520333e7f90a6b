//! Responses that providers keep, between nodes: who made which.
//!
//! | key | type | lives | is |
//! |---|---|---|---|
//! | [`makers`] | 256 hashes | [`RESPONSE_TTL_SECS`] from the last response on | response key → `<provider id>:<Unix second of Redis's clock>` |
//! | [`order`] | 256 lists | with its hash | the same response keys in the order in which they came |
//!
//! Spread by the first byte of the response's key. At most [`BUCKET_BOUND`] in each, the oldest going first: a million in
//! all, some 200 MB. What is gone is not known any more: see [`crate::rules::response`] for what a follow-up does then.

use super::keys::PREFIX;
use super::scripts::ScriptCall;
use crate::ids::ProviderId;
use crate::rules::response::ResponseKey;
use bytes::Bytes;

/// Tells who made a response: [`maker`], answered by the provider's id or nothing.
pub const RESPONSE_MAKER: &str = include_str!("lua/response_maker_v1.lua");

/// Remembers who made a response: [`remember`].
pub const RESPONSE_REMEMBER: &str = include_str!("lua/response_remember_v1.lua");

/// How long a response is remembered: as long as OpenAI keeps one.
pub const RESPONSE_TTL_SECS: u64 = 30 * 86_400;

/// Responses of one first byte that are remembered.
pub const BUCKET_BOUND: usize = 4_096;

/// Who made the responses of this first byte. It stands in braces: both keys live on one node of a Cluster.
#[must_use]
pub fn makers(bucket: u8) -> String {
    format!("{PREFIX}{{resp:{bucket:02x}}}:makers")
}

/// In which order they came.
#[must_use]
pub fn order(bucket: u8) -> String {
    format!("{PREFIX}{{resp:{bucket:02x}}}:order")
}

/// Asks who made a response.
#[must_use]
pub fn maker(key: ResponseKey) -> ScriptCall {
    let args = [key.to_string(), RESPONSE_TTL_SECS.to_string()];
    ScriptCall { keys: vec![makers(key.first_byte())], args: args.map(Bytes::from).into() }
}

/// Remembers who made a response.
#[must_use]
pub fn remember(key: ResponseKey, maker: ProviderId) -> ScriptCall {
    let args = [key.to_string(), maker.to_string(), RESPONSE_TTL_SECS.to_string(), BUCKET_BOUND.to_string()];
    let bucket = key.first_byte();
    ScriptCall { keys: vec![makers(bucket), order(bucket)], args: args.map(Bytes::from).into() }
}
