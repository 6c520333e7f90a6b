//! Usage on its way to the books: a stream with a consumer group.
//!
//! The gateway's requests never wait for Redis: they put their records into a bounded queue in memory, from which
//! [`Shipper`] moves them here. While Redis is away or the stream is full, they stay in the queue; when that is full
//! as well, the gateway reports each record that it loses.

use crate::link::{Link, items, text};
use async_trait::async_trait;
use bytes::Bytes;
use shared::contract::codec::check_schema;
use shared::contract::scripts::{
    USAGE_APPEND, USAGE_BACKLOG, USAGE_SETTLE, USAGE_TAKE, append_usage, receipt, settle_usage, take_usage,
    usage_backlog,
};
use shared::contract::usage::{USAGE_SCHEMA, UsageRecord};
use shared::memory::MemoryUsage;
use shared::ports::{Backlog, Delivery, PortError, Receipt, UsageSink, UsageSource};
use shared::time::UnixMillis;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// The stream in Redis, from both ends.
pub struct RedisUsage {
    link: Arc<Link>,
    consumer: String,
}

impl RedisUsage {
    /// The stream behind this link. `consumer` is who takes from it: one name a process, never used by two at a
    /// time.
    #[must_use]
    pub fn new(link: Arc<Link>, consumer: impl Into<String>) -> Arc<Self> {
        Arc::new(Self { link, consumer: consumer.into() })
    }

    /// Hands records over, oldest first; answers how many there was room for. When it fails, some may have arrived
    /// all the same.
    async fn append(&self, records: Vec<Bytes>) -> Result<usize, PortError> {
        let reply = self.link.eval(USAGE_APPEND, append_usage(records.into_iter()), APPEND_DEADLINE).await?;
        text(&reply).and_then(|count| count.parse().ok()).ok_or(PortError::Unreadable)
    }
}

#[async_trait]
impl UsageSink for RedisUsage {
    async fn record(&self, record: UsageRecord) -> Result<(), PortError> {
        match self.append(vec![json(&record)?]).await? {
            0 => Err(PortError::Full),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl UsageSource for RedisUsage {
    async fn take(&self, max: usize) -> Result<Delivery, PortError> {
        let reply = self.link.eval(USAGE_TAKE, take_usage(&self.consumer, max), TAKE_DEADLINE).await?;
        let words = items(reply).ok_or(PortError::Unreadable)?;
        let mut delivery = Delivery::default();
        for entry in words.chunks_exact(2) {
            let [id, record] = entry else { continue };
            let receipt = text(id).as_deref().and_then(receipt).ok_or(PortError::Unreadable)?;
            let record = text(record).unwrap_or_default();
            match parse(&record) {
                Some(record) => delivery.records.push((receipt, record)),
                None => delivery.unreadable.push((receipt, record)),
            }
        }
        Ok(delivery)
    }

    async fn acknowledge(&self, receipts: &[Receipt]) -> Result<(), PortError> {
        if !receipts.is_empty() {
            self.link.eval(USAGE_SETTLE, settle_usage(receipts), SETTLE_DEADLINE).await?;
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

/// Moves a gateway's records from its queue into the stream.
pub struct Shipper {
    queue: Arc<MemoryUsage>,
    stream: Arc<RedisUsage>,
}

impl Shipper {
    /// From this queue into this stream. The queue must have no other taker.
    #[must_use]
    pub fn new(queue: Arc<MemoryUsage>, stream: Arc<RedisUsage>) -> Self {
        Self { queue, stream }
    }

    /// Ships until told to stop, then until the queue is empty or the deadline for that has passed. Stop it after the
    /// gateway has ended.
    pub async fn run(self, stop: CancellationToken) {
        let mut was_fine = true;
        while !stop.is_cancelled() {
            let pause = match self.step().await {
                Ok(BATCH) => continue,
                Ok(_) => {
                    was_fine = true;
                    IDLE_PAUSE
                }
                Err(error) => {
                    // Told once, not with each try.
                    if was_fine {
                        let waiting = self.queue.waiting();
                        tracing::warn!(error = error.label(), waiting, "usage waits in this process");
                    }
                    was_fine = false;
                    FAILED_PAUSE
                }
            };
            let _ = stop.run_until_cancelled(sleep(pause)).await;
        }
        let _ = timeout(DRAIN_DEADLINE, self.drain()).await;
        match self.queue.waiting() {
            0 => tracing::info!("usage is handed over to the last record"),
            lost => tracing::error!(lost, "usage records end with this process"),
        }
    }

    async fn drain(&self) {
        while self.queue.waiting() > 0 {
            if self.step().await.is_err() {
                sleep(FAILED_PAUSE).await;
            }
        }
    }

    /// Ships one batch; answers how many records it had.
    pub async fn step(&self) -> Result<usize, PortError> {
        let lent = self.queue.take(BATCH).await?;
        if lent.is_empty() {
            return Ok(0);
        }
        let (receipts, records): (Vec<Receipt>, Vec<UsageRecord>) = lent.records.into_iter().unzip();
        let texts = records.iter().map(json).collect::<Result<Vec<Bytes>, PortError>>()?;
        let taken = self.stream.append(texts).await?.min(receipts.len());
        self.queue.acknowledge(&receipts[..taken]).await?;
        if taken == receipts.len() { Ok(taken) } else { Err(PortError::Full) }
    }
}

fn json(record: &UsageRecord) -> Result<Bytes, PortError> {
    // Only memory could fail here: all of its maps have text for keys.
    serde_json::to_vec(record).map(Bytes::from).map_err(|_| PortError::Refused)
}

fn parse(text: &str) -> Option<UsageRecord> {
    let record: UsageRecord = serde_json::from_str(text).ok()?;
    check_schema(record.schema, USAGE_SCHEMA).is_ok().then_some(record)
}

/// Records a call: some hundred kilobytes.
const BATCH: usize = 256;
const IDLE_PAUSE: Duration = Duration::from_millis(20);
const FAILED_PAUSE: Duration = Duration::from_millis(250);
const APPEND_DEADLINE: Duration = Duration::from_secs(1);
const TAKE_DEADLINE: Duration = Duration::from_secs(2);
const SETTLE_DEADLINE: Duration = Duration::from_secs(1);
const BACKLOG_DEADLINE: Duration = Duration::from_millis(500);
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);
