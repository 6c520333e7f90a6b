//! The ports: small traits about one topic each, through which the processes reach the outside.
//!
//! [`crate::memory`] has an in-process adapter of each; the Redis adapters come with the split shape. Every
//! call is bounded: an adapter carries its own deadline and answers [`PortError`] instead of hanging.

use crate::contract::snapshot::Snapshot;
use crate::contract::usage::UsageRecord;
use crate::ids::Revision;
use async_trait::async_trait;
use std::sync::Arc;
use thiserror::Error;

/// Why a port could not do its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PortError {
    /// The far side did not answer in time or is away.
    #[error("far side is away")]
    Unavailable,
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
            Self::Full => "full",
            Self::Stale => "stale",
        }
    }
}

/// Where a gateway gets its configuration from.
#[async_trait]
pub trait ConfigFeed: Send + Sync {
    /// Waits for a snapshot newer than `after` (`None`: for any) and returns it.
    async fn next(&self, after: Option<Revision>) -> Result<Arc<Snapshot>, PortError>;

    /// Tells the feed which revision is in force at this reader.
    fn applied(&self, revision: Revision);
}

/// Where the admin side puts a configuration.
#[async_trait]
pub trait Publisher: Send + Sync {
    /// The newest published revision.
    async fn published(&self) -> Result<Option<Revision>, PortError>;

    /// Publishes a snapshot; refuses with [`PortError::Stale`] one that is not newer than what is there.
    async fn publish(&self, snapshot: Snapshot) -> Result<(), PortError>;
}

/// Where a gateway puts what it knows about a finished request.
#[async_trait]
pub trait UsageSink: Send + Sync {
    /// Hands a record over. [`PortError::Full`] returns when the bound is reached; the caller decides.
    async fn record(&self, record: UsageRecord) -> Result<(), PortError>;
}

/// Where the admin side takes usage records from.
#[async_trait]
pub trait UsageSource: Send + Sync {
    /// The oldest records that were not acknowledged yet, at most `max`; empty when there are none.
    async fn peek(&self, max: usize) -> Result<Vec<UsageRecord>, PortError>;

    /// Forgets the oldest `count` records: they are in the books.
    async fn acknowledge(&self, count: usize) -> Result<(), PortError>;
}
