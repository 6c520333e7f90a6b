//! What a node says of itself, every [`BEAT_MS`].

use crate::ids::{JournalId, Revision};
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
    /// The directory of journals of its machine, by a name that was made for it. `None`: it has none, or an earlier release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal_root: Option<String>,
    /// The journals in its hands: its own while anything of it is left, and each adopted one of which all is told or declared
    /// under [`NodeBeat::quota_epoch`]. `None`: an earlier release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journals: Option<Vec<JournalId>>,
    /// All journals whose directories its last look at the root has found, whoever has them. `None`: it has not looked yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journals_there: Option<Vec<JournalId>>,
    /// The journals that it adopts: locked, and not gone yet. `None`: an earlier release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journals_adopted: Option<Vec<JournalId>>,
    /// When that look began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scanned_at: Option<UnixMillis>,
}

/// What runs on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// Serves seats.
    Gateway,
    /// Nothing any more: its last word, which nobody counts as a node.
    Left,
    /// What a later release knows.
    #[serde(other)]
    Other,
}
