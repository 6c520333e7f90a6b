//! What a node tells of the requests that run on it, beside its beat ([`super::node`]).

use super::usage::UsageRecord;
use crate::ids::{KeyId, ProviderId, RequestId, UserId};
use crate::time::UnixMillis;
use serde::{Deserialize, Serialize};

/// Raised when a reader of the last number would misunderstand a document of this one.
pub const IN_FLIGHT_SCHEMA: u32 = 1;

/// Requests that one document names, some 60 KB of JSON; those beyond are counted. It travels with a beat.
pub const IN_FLIGHT_BOUND: usize = 200;

/// The requests that run on a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFlight {
    /// [`IN_FLIGHT_SCHEMA`] of the writer.
    pub schema: u32,
    /// When the node looked, by its own clock.
    pub at: UnixMillis,
    /// The oldest ones, at most [`IN_FLIGHT_BOUND`], the oldest first.
    pub requests: Vec<RunningRequest>,
    /// How many more there were.
    pub left_out: u64,
}

/// A request for which a provider has been called and which has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningRequest {
    /// `x-request-id` of its answer, and the id of its log row later.
    pub id: RequestId,
    /// When its head was read.
    pub started_at: UnixMillis,
    /// The key's user.
    pub user_id: UserId,
    /// The key.
    pub key_id: KeyId,
    /// The provider of the newest attempt.
    #[serde(default)]
    pub provider_id: Option<ProviderId>,
    /// The model the seat asked for.
    #[serde(default)]
    pub model: Option<String>,
    /// Endpoint family, e.g. `anthropic_messages`.
    pub endpoint: String,
    /// True when the seat asked for a stream.
    #[serde(default)]
    pub is_stream: bool,
    /// The newest attempt, from 1.
    pub attempt: u32,
}

impl From<UsageRecord> for RunningRequest {
    /// A request as its *begin* in a journal tells of it.
    fn from(begin: UsageRecord) -> Self {
        let request = begin.request;
        Self {
            id: request.id,
            started_at: request.started_at,
            user_id: request.caller.user_id,
            key_id: request.caller.key_id,
            provider_id: request.provider_id,
            model: request.model,
            endpoint: request.endpoint,
            is_stream: request.is_stream,
            attempt: begin.attempts.last().map_or(1, |last| last.attempt),
        }
    }
}
