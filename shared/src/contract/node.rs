//! What a node says of itself, every [`BEAT_MS`].

use crate::ids::Revision;
use crate::money::NanoUsd;
use crate::time::UnixMillis;
use serde::{Deserialize, Serialize};

/// Raised when a reader of the last number would misunderstand a beat of this one.
pub const NODE_SCHEMA: u32 = 1;

/// Milliseconds between two beats: three may be lost before the node counts as gone.
pub const BEAT_MS: u64 = 2_500;

/// A sign of life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeBeat {
    /// [`NODE_SCHEMA`] of the writer.
    pub schema: u32,
    /// Made at each start of a process.
    pub id: String,
    /// What runs there.
    pub kind: NodeKind,
    /// The machine's name, for people.
    #[serde(default)]
    pub host: String,
    /// The release.
    #[serde(default)]
    pub version: String,
    /// When the process started.
    pub started_at: UnixMillis,
    /// When it said this.
    pub at: UnixMillis,
    /// The configuration in force there; `None`: none yet.
    #[serde(default)]
    pub revision: Option<Revision>,
    /// True when it takes new requests.
    #[serde(default)]
    pub is_ready: bool,
    /// Requests in flight.
    #[serde(default)]
    pub running_requests: u64,
    /// The epoch of the store of budgets that it goes by: all that it may hold was declared there. `None`: it knows of none,
    /// and holds nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_epoch: Option<u64>,
    /// For how many requests and attempts under way it has put money aside; a request counts at its user and at each provider
    /// that is limited. `None`: an earlier release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_holds: Option<u64>,
    /// How much money that is, and what it has put aside ahead of requests, in nano-USD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_held: Option<NanoUsd>,
    /// How much of that is put aside ahead, and still free, in nano-USD. `None`: an earlier release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_escrowed: Option<NanoUsd>,
}

/// What runs on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// Serves seats.
    Gateway,
    /// What a later release knows.
    #[serde(other)]
    Other,
}
