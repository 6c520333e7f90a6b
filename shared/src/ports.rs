//! The ports: small traits about one topic each, through which the processes reach the outside.
//!
//! [`crate::memory`] has an in-process adapter of each, the crate `redis-adapters` one over Redis; both pass
//! `testing::conformance`. Every call is bounded: an adapter carries its own deadline and answers [`PortError`]
//! instead of hanging.

mod quotas;
mod responses;
mod sessions;

pub use quotas::{At, QuotaStore};
pub use responses::ResponseStore;
pub use sessions::{ActiveSessions, MAX_LISTED, MAX_SEEN, MAX_TOUCHES, SessionNews, SessionStore, Touch};

use crate::contract::breaker::{CircuitDoc, Order, PermitAsk, Report, Taken};
use crate::contract::delta::Delta;
use crate::contract::in_flight::InFlight;
use crate::contract::node::NodeBeat;
use crate::contract::snapshot::Snapshot;
use crate::contract::usage::UsageRecord;
use crate::ids::{JournalId, Revision};
use crate::time::UnixMillis;
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use std::sync::Arc;
use thiserror::Error;

/// Why a port could not do its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PortError {
    /// The far side did not answer in time or is away.
    #[error("far side is away")]
    Unavailable,
    /// The far side answered that it will not: no memory, no rights, another kind of value.
    #[error("far side refuses")]
    Refused,
    /// What is there is broken, or a later release wrote it for readers of its own.
    #[error("what is there cannot be read by this release")]
    Unreadable,
    /// A bounded queue is full.
    #[error("queue is full")]
    Full,
    /// Something newer is there already.
    #[error("a newer revision is published")]
    Stale,
}

impl PortError {
    /// A label for metrics and logs.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Refused => "refused",
            Self::Unreadable => "unreadable",
            Self::Full => "full",
            Self::Stale => "stale",
        }
    }
}

/// Where a gateway gets its configuration from. One follower per feed.
#[async_trait]
pub trait ConfigFeed: Send + Sync {
    /// Waits until there may be something newer than `after`: it is announced, or the way there was cut and is
    /// back. An announcement can be lost, so a follower also looks by itself now and then.
    async fn changed(&self, after: Option<Revision>);

    /// What leads from `after` (`None`: from nothing) to what is published.
    async fn read(&self, after: Option<Revision>) -> Result<ConfigNews, PortError>;

    /// Tells the feed which revision is in force at this reader.
    fn applied(&self, revision: Revision);
}

/// What a feed has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigNews {
    /// Nothing is published.
    Nothing,
    /// This revision is published, and it is not newer than what the reader has.
    Level(Revision),
    /// The way from what the reader has to what is published: at least one, each from where the last one ended.
    Deltas(Vec<Delta>),
    /// All of it, as it was in one moment.
    Whole(Arc<Snapshot>),
}

/// Where the admin side puts a configuration.
#[async_trait]
pub trait Publisher: Send + Sync {
    /// The newest published revision.
    async fn published(&self) -> Result<Option<Revision>, PortError>;

    /// Publishes a snapshot; refuses with [`PortError::Stale`] one that is not newer than what is there.
    async fn publish(&self, snapshot: Snapshot) -> Result<(), PortError>;
}

/// Where a gateway's journals put their records, each journal in the order of its numbers (design §8).
#[async_trait]
pub trait UsageStream: Send + Sync {
    /// Hands a batch over, as much of it as there is room for; an empty one only asks. What the stream has taken
    /// already is passed over. When the batch does not go on where the stream is with this journal, because the stream
    /// lost something, nothing is taken: the answer says from where to send again. When it fails, some may have arrived
    /// all the same.
    async fn append(&self, batch: UsageBatch) -> Result<Progress, PortError>;
}

/// Records of one journal, numbered one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageBatch {
    /// Whose they are.
    pub journal: JournalId,
    /// The journal holds nothing up to this number any more: it was told that all of that is in the books.
    pub floor: u64,
    /// Number of the first record.
    pub first: u64,
    /// [`UsageRecord`]s as [`crate::contract::end`] writes them.
    pub records: Vec<Bytes>,
}

/// How far the records of a journal have come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// The last number that the stream has taken. Never below `watermark`.
    pub taken: u64,
    /// All up to this number are in the books.
    pub watermark: u64,
}

/// Where the admin side takes usage records from. A record is lent until it is acknowledged; it can come more than
/// once, to the same taker or, when that one is gone, to another.
#[async_trait]
pub trait UsageSource: Send + Sync {
    /// The oldest records that nobody else holds, at most `max`; empty when there are none. What this taker holds
    /// already comes again first.
    async fn take(&self, max: usize) -> Result<Delivery, PortError>;

    /// Forgets these records: they are in the books, and the journals named are there up to the numbers beside them.
    async fn acknowledge(
        &self,
        receipts: &[Receipt],
        watermarks: &[(JournalId, u64)],
    ) -> Result<(), PortError>;

    /// What has not been acknowledged, by all takers together.
    async fn backlog(&self) -> Result<Backlog, PortError>;
}

/// Usage that is not in the books yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Entries, readable or not.
    pub waiting: u64,
    /// How many of them a taker holds.
    pub lent: u64,
    /// When the oldest one was handed over, by the clock of whoever keeps them.
    pub oldest_at: Option<UnixMillis>,
}

/// Records on loan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delivery {
    /// In the order in which they were handed over.
    pub records: Vec<Lent<UsageRecord>>,
    /// What stood in a record's place and is none that this release can read.
    pub unreadable: Vec<Lent<String>>,
}

/// A record on loan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lent<T> {
    /// What it is acknowledged by.
    pub receipt: Receipt,
    /// Where it is in its journal; `None` when not even that can be read.
    pub place: Option<Place>,
    /// The record.
    pub record: T,
}

/// Where a record is in its journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The journal.
    pub journal: JournalId,
    /// The record's number in it, from 1 on.
    pub seq: u64,
    /// [`UsageBatch::floor`] when the record was handed over.
    pub floor: u64,
}

impl Delivery {
    /// Adds an entry: among the records when this release can read it. What it cannot read is kept whole: as base64 where it
    /// is no text.
    pub fn add(&mut self, receipt: Receipt, place: Option<Place>, entry: &[u8]) {
        match UsageRecord::from_bytes(entry) {
            Some(record) => self.records.push(Lent { receipt, place, record }),
            None => {
                let record =
                    std::str::from_utf8(entry).map_or_else(|_| STANDARD.encode(entry), str::to_owned);
                self.unreadable.push(Lent { receipt, place, record });
            }
        }
    }

    /// How many entries it has, readable or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len() + self.unreadable.len()
    }

    /// True when there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a lent record is acknowledged by: two numbers whose order is that of the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Receipt(pub u64, pub u64);

/// Who is there, and how far.
#[async_trait]
pub trait NodeRegistry: Send + Sync {
    /// A sign of life and what runs there; both count for [`crate::contract::keys::NODE_TTL_SECS`]. `None`: what was
    /// told last still holds, for as long as it counts.
    async fn beat(&self, beat: NodeBeat, in_flight: Option<InFlight>) -> Result<(), PortError>;

    /// A node goes on purpose.
    async fn leave(&self, id: &str) -> Result<(), PortError>;

    /// The last beat of each node that is there, in the order of their ids.
    async fn nodes(&self) -> Result<Vec<NodeBeat>, PortError>;

    /// What each node that is there told last of what runs on it, in the order of their ids.
    async fn in_flight(&self) -> Result<Vec<NodeInFlight>, PortError>;

    /// True where nodes and registry are one process: nobody is there whose beats were lost.
    fn is_in_process(&self) -> bool {
        false
    }
}

/// What runs on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInFlight {
    /// The node.
    pub id: String,
    /// What it told; `None`: nothing that this release can read.
    pub told: Option<InFlight>,
}

/// Where breakers and cool-downs are kept for all gateways. The rules are in [`crate::rules::breaker`]; what a gateway
/// asks for each request is its own [`crate::rules::breaker::table::Table`], never this.
///
/// One node's worth of following: [`Self::changed`] goes by the last [`Self::read`] through the same value.
#[async_trait]
pub trait BreakerStore: Send + Sync {
    /// A node starts. True when nobody else was there (a cold start of the fleet): all state is gone for that. To be
    /// called until it answers, before the first read in the node's name.
    async fn join(&self, node: &str) -> Result<bool, PortError>;

    /// A node goes on purpose: its permits are free.
    async fn leave(&self, node: &str) -> Result<(), PortError>;

    /// Waits until there may be something newer than `since`: it is announced, or the way there was cut and is back. An
    /// announcement can be lost, so a follower also reads by itself, every
    /// [`crate::contract::breaker::READ_MS`]; that keeps it there, too.
    async fn changed(&self, since: Since);

    /// What changed since then, or all there is. A node that reads in its own name is there for
    /// [`crate::contract::keys::NODE_TTL_SECS`] from now on.
    async fn read(&self, node: Option<&str>, since: Since) -> Result<CircuitNews, PortError>;

    /// How an attempt ended. Only worth a call where the table says so. When it fails, it may have arrived all the same.
    async fn report(&self, report: &Report) -> Result<Told, PortError>;

    /// Takes the permit to probe, if it is to be had. One that is given in an answer that never arrives lapses by itself.
    async fn take_permit(&self, ask: &PermitAsk) -> Result<(Taken, Told), PortError>;

    /// Does something to breakers apart from attempts.
    async fn order(&self, order: &Order) -> Result<Told, PortError>;

    /// Tells what a node saw while the store was away. The later generation wins.
    async fn merge(&self, local: &[CircuitDoc]) -> Result<(), PortError>;
}

/// How far a reader has read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Since {
    /// The store's first number: it has another one when it lost everything. 0 = nothing was read.
    pub born: u64,
    /// The store's last number.
    pub upto: u64,
}

/// What changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CircuitNews {
    /// The store's clock.
    pub at: UnixMillis,
    /// True when these are all documents that there are; else those that changed.
    pub is_whole: bool,
    /// How far that is.
    pub upto: Since,
    /// The last reset of all: what has an older generation is void.
    pub floor: u64,
    /// In the order of their providers.
    pub docs: Vec<CircuitDoc>,
}

/// What came of something that was said to the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The store's clock.
    pub at: UnixMillis,
    /// The provider's document after it; `None` when it has none.
    pub doc: Option<CircuitDoc>,
    /// True when this made a transition: whoever caused it tells the operators.
    pub has_moved: bool,
}

/// A part of an operators' `/metrics` page that is written by somebody else than the page. A page is its parts, one
/// after the other: each family of metrics belongs to one of them alone.
#[async_trait]
pub trait MetricsPart: Send + Sync {
    /// As it is now, in Prometheus' text format.
    async fn text(&self) -> String;
}
