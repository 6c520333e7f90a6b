//! Usage on its way to the books: a stream with a consumer group, from both ends.
//!
//! The gateway's journals append and keep what they appended until it is in the books; the admin side's consumers take.
//! What Redis loses in between, the journals send again. Nobody whom a seat waits for comes here.

use crate::link::{Link, items, text};
use async_trait::async_trait;
use fred::types::Value;
use shared::contract::scripts::{
    USAGE_APPEND, USAGE_BACKLOG, USAGE_SETTLE, USAGE_TAKE, append_usage, place, progress, receipt,
    settle_usage, take_usage, usage_backlog,
};
use shared::ids::{JournalId, unique_id};
use shared::ports::{Backlog, Delivery, PortError, Progress, Receipt, UsageBatch, UsageSource, UsageStream};
use shared::time::UnixMillis;
use std::sync::Arc;
use std::time::Duration;

/// The stream in Redis. Everybody may append to it; who takes from it has a name.
pub struct RedisUsage<Taker = Nobody> {
    link: Arc<Link>,
    taker: Taker,
}

/// Takes nothing from the stream.
#[derive(Debug)]
pub struct Nobody;

/// Who takes from the stream: one name a process, never used by two at a time.
#[derive(Clone, Debug)]
pub struct ConsumerName(String);

impl ConsumerName {
    /// A name of a process's own: what it held when it died is taken over by another.
    #[must_use]
    pub fn of_process(now: UnixMillis, chance: &[u8; 10]) -> Self {
        Self(unique_id(now, chance))
    }

    /// This name; `None` when it is empty.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        (!name.is_empty()).then(|| Self(name.to_owned()))
    }
}

impl RedisUsage {
    /// The stream behind this link, for who only appends.
    #[must_use]
    pub fn new(link: Arc<Link>) -> Arc<Self> {
        Arc::new(Self { link, taker: Nobody })
    }
}

impl RedisUsage<ConsumerName> {
    /// The stream behind this link, for who takes from it.
    #[must_use]
    pub fn taken_by(link: Arc<Link>, taker: ConsumerName) -> Arc<Self> {
        Arc::new(Self { link, taker })
    }
}

#[async_trait]
impl<Taker: Send + Sync> UsageStream for RedisUsage<Taker> {
    async fn append(&self, batch: UsageBatch) -> Result<Progress, PortError> {
        let reply = self.link.eval(USAGE_APPEND, append_usage(batch), APPEND_DEADLINE).await?;
        let words = words(reply)?;
        match words.as_slice() {
            [taken, watermark] => progress(taken, watermark).ok_or(PortError::Unreadable),
            _ => Err(PortError::Unreadable),
        }
    }
}

#[async_trait]
impl UsageSource for RedisUsage<ConsumerName> {
    async fn take(&self, max: usize) -> Result<Delivery, PortError> {
        let reply = self.link.eval(USAGE_TAKE, take_usage(&self.taker.0, max), TAKE_DEADLINE).await?;
        let mut delivery = Delivery::default();
        for entry in items(reply).ok_or(PortError::Unreadable)?.chunks_exact(5) {
            let [id, journal, seq, floor, record] = entry else { continue };
            let receipt = receipt(&word(id)).ok_or(PortError::Unreadable)?;
            let place = place(&word(journal), &word(seq), &word(floor));
            // No text: MessagePack.
            delivery.add(receipt, place, record.as_bytes().unwrap_or_default());
        }
        Ok(delivery)
    }

    async fn acknowledge(
        &self,
        receipts: &[Receipt],
        watermarks: &[(JournalId, u64)],
    ) -> Result<(), PortError> {
        if !receipts.is_empty() || !watermarks.is_empty() {
            self.link.eval(USAGE_SETTLE, settle_usage(receipts, watermarks), SETTLE_DEADLINE).await?;
        }
        Ok(())
    }

    async fn backlog(&self) -> Result<Backlog, PortError> {
        let reply = self.link.eval(USAGE_BACKLOG, usage_backlog(), BACKLOG_DEADLINE).await?;
        let words = items(reply).ok_or(PortError::Unreadable)?;
        let word = |place: usize| words.get(place).and_then(text).ok_or(PortError::Unreadable);
        let count = |place| word(place)?.parse::<u64>().map_err(|_| PortError::Unreadable);
        // An id of the stream begins with Redis's time.
        let handed_over_at = |id: Receipt| UnixMillis(i64::try_from(id.0).unwrap_or(i64::MAX));
        Ok(Backlog { waiting: count(0)?, lent: count(1)?, oldest_at: receipt(&word(2)?).map(handed_over_at) })
    }
}

/// The items of a reply as texts; what is none is empty.
fn words(reply: Value) -> Result<Vec<String>, PortError> {
    let items = items(reply).ok_or(PortError::Unreadable)?;
    Ok(items.iter().map(word).collect())
}

fn word(item: &Value) -> String {
    text(item).unwrap_or_default()
}

const APPEND_DEADLINE: Duration = Duration::from_secs(1);
const TAKE_DEADLINE: Duration = Duration::from_secs(2);
const SETTLE_DEADLINE: Duration = Duration::from_secs(1);
const BACKLOG_DEADLINE: Duration = Duration::from_millis(500);
