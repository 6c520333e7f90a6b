//! The configuration as a gateway reads it: announced by pub/sub, read by one script in one moment.
//!
//! A second connection listens, because one that listens can do nothing else. Whenever it comes (back), that counts
//! as an announcement: what was announced meanwhile was missed.

use crate::channel::{counted, listen};
use crate::config::{ConfigError, RedisConfig};
use crate::connection::{Upkeep, connect};
use crate::link::{Link, bytes, items, text};
use async_trait::async_trait;
use bytes::Bytes;
use fred::types::Value;
use shared::contract::codec;
use shared::contract::delta::Delta;
use shared::contract::keys::config_changed;
use shared::contract::scripts::{CONFIG_READ, WholeReply, read_news, read_whole};
use shared::contract::snapshot::{SNAPSHOT_SCHEMA, Snapshot};
use shared::ids::Revision;
use shared::ports::{ConfigFeed, ConfigNews, PortError};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// Follows what is published in Redis.
pub struct RedisFeed {
    link: Arc<Link>,
    /// How often something was announced.
    announced: watch::Sender<u64>,
    /// How often at the last read that worked.
    seen: AtomicU64,
    upkeep: Upkeep,
}

impl RedisFeed {
    /// Begins to listen, and keeps at it. Needs the runtime that its connection will live on.
    pub fn open(config: &RedisConfig, link: Arc<Link>) -> Result<Arc<Self>, ConfigError> {
        let (client, upkeep) = connect(config)?;
        let announced = watch::Sender::new(0);
        upkeep.until_closed(listen(client, config_changed(), counted(announced.clone())));
        Ok(Arc::new(Self { link, announced, seen: AtomicU64::new(0), upkeep }))
    }

    /// Ends the connection that listens; nothing is announced from now on. Returns when nothing of it is left.
    pub async fn close(&self) {
        self.upkeep.close().await;
    }
}

#[async_trait]
impl ConfigFeed for RedisFeed {
    async fn changed(&self, _after: Option<Revision>) {
        let seen = self.seen.load(Ordering::Acquire);
        // The sender lives in `self`: it cannot be gone.
        let _ = self.announced.subscribe().wait_for(|announced| *announced > seen).await;
    }

    async fn read(&self, after: Option<Revision>) -> Result<ConfigNews, PortError> {
        // Before the call: what is announced meanwhile may not be in the answer.
        let announced = *self.announced.borrow();
        let news = read(&self.link, after).await?;
        self.seen.store(announced, Ordering::Release);
        Ok(news)
    }

    fn applied(&self, _revision: Revision) {
        // The heartbeat tells it.
    }
}

/// What leads from `after` to what is published.
pub(crate) async fn read(link: &Link, after: Option<Revision>) -> Result<ConfigNews, PortError> {
    let reply = link.eval(CONFIG_READ, read_news(after), NEWS_DEADLINE).await?;
    match parse(reply).ok_or(PortError::Unreadable)? {
        Reply::Nothing => Ok(ConfigNews::Nothing),
        Reply::Level(revision) => Ok(ConfigNews::Level(revision)),
        Reply::Deltas(schema, packed) => {
            codec::check_schema(schema, SNAPSHOT_SCHEMA).map_err(unreadable)?;
            let deltas: Result<Vec<Delta>, _> = packed.iter().map(|delta| codec::unpack(delta)).collect();
            Ok(ConfigNews::Deltas(deltas.map_err(unreadable)?))
        }
        Reply::Whole(_) => whole(link).await,
    }
}

async fn whole(link: &Link) -> Result<ConfigNews, PortError> {
    let reply = link.eval(CONFIG_READ, read_whole(), WHOLE_DEADLINE).await?;
    match parse(reply).ok_or(PortError::Unreadable)? {
        // Flushed between the two calls.
        Reply::Nothing => Ok(ConfigNews::Nothing),
        Reply::Level(_) | Reply::Deltas(..) => Err(PortError::Unreadable),
        Reply::Whole(whole) => {
            // Twenty thousand keys take some tens of milliseconds: not on a thread that serves.
            let reading = tokio::task::spawn_blocking(move || whole.into_snapshot()).await;
            let snapshot: Snapshot = reading.map_err(|_| PortError::Unavailable)?.map_err(unreadable)?;
            Ok(ConfigNews::Whole(Arc::new(snapshot)))
        }
    }
}

fn unreadable(error: codec::DecodeError) -> PortError {
    tracing::error!(%error, "the published configuration cannot be read by this release");
    PortError::Unreadable
}

enum Reply {
    Nothing,
    Level(Revision),
    Deltas(u32, Vec<Bytes>),
    Whole(WholeReply),
}

/// Reads the script's reply; `None` if it is none of its.
fn parse(reply: Value) -> Option<Reply> {
    let mut parts = items(reply)?.into_iter();
    let word = text(&parts.next()?)?;
    if word == "none" {
        return Some(Reply::Nothing);
    }
    let revision = Revision(text(&parts.next()?)?.parse().ok()?);
    let schema = text(&parts.next()?)?.parse().ok()?;
    match word.as_str() {
        "level" => Some(Reply::Level(revision)),
        "deltas" => Some(Reply::Deltas(schema, parts.map(bytes).collect::<Option<_>>()?)),
        "whole" => {
            let mut whole = WholeReply { revision, schema, ..WholeReply::default() };
            if let Some(core) = parts.next() {
                whole.core = bytes(core)?;
                whole.users = documents(parts.next()?)?;
                for bucket in parts {
                    whole.keys.extend(documents(bucket)?);
                }
            }
            Some(Reply::Whole(whole))
        }
        _ => None,
    }
}

fn documents(list: Value) -> Option<Vec<Bytes>> {
    items(list)?.into_iter().map(bytes).collect()
}

const NEWS_DEADLINE: Duration = Duration::from_millis(500);
/// Some megabytes, once at a start or after a gap.
const WHOLE_DEADLINE: Duration = Duration::from_secs(5);
