//! The configuration as the admin side writes it: as a delta where one leads on, else whole.
//!
//! Several admin-apis publish at once; the script refuses what is not newer. The delta is made against what *is*
//! published, read back from Redis where somebody else wrote it: whatever this process believes, readers get from
//! where they stand to where they should be.

use crate::feed::read;
use crate::link::{Link, items, text};
use async_trait::async_trait;
use shared::contract::delta::between;
use shared::contract::scripts::{
    CONFIG_PUBLISH, PublishReply, ScriptCall, publish_delta, publish_full, read_news,
};
use shared::contract::snapshot::Snapshot;
use shared::ids::Revision;
use shared::ports::{ConfigNews, PortError, Publisher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Publishes into Redis.
pub struct RedisPublisher {
    link: Arc<Link>,
    /// What was published when this process last knew. Taken out while it is worked with: whoever finds nothing
    /// reads it again.
    base: Mutex<Option<Snapshot>>,
}

impl RedisPublisher {
    /// Publishes through this link.
    #[must_use]
    pub fn new(link: Arc<Link>) -> Arc<Self> {
        Arc::new(Self { link, base: Mutex::new(None) })
    }

    /// Brings `base` to what is published; `None` when that is nothing, or nothing that can be read: then the whole
    /// is written over it.
    async fn catch_up(&self, base: Option<Snapshot>) -> Result<Option<Snapshot>, PortError> {
        match read(&self.link, base.as_ref().map(|base| base.revision)).await {
            Ok(ConfigNews::Nothing) | Err(PortError::Unreadable) => Ok(None),
            // Redis lost the newest ones: there is no way back to what it has but to read it.
            Ok(ConfigNews::Level(revision)) if base.as_ref().is_some_and(|b| b.revision != revision) => {
                match read(&self.link, None).await? {
                    ConfigNews::Whole(snapshot) => Ok(Some(Arc::unwrap_or_clone(snapshot))),
                    ConfigNews::Nothing | ConfigNews::Level(_) | ConfigNews::Deltas(_) => Ok(None),
                }
            }
            Ok(ConfigNews::Level(_)) => Ok(base),
            Ok(ConfigNews::Deltas(deltas)) => Ok(base.map(|mut base| {
                deltas.into_iter().for_each(|delta| base.apply(delta));
                base
            })),
            Ok(ConfigNews::Whole(snapshot)) => Ok(Some(Arc::unwrap_or_clone(snapshot))),
            Err(error) => Err(error),
        }
    }

    fn take_base(&self) -> Option<Snapshot> {
        self.base.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put_base(&self, base: Snapshot) {
        *self.base.lock().unwrap_or_else(PoisonError::into_inner) = Some(base);
    }

    async fn send(&self, call: ScriptCall) -> Result<PublishReply, PortError> {
        let reply = self.link.eval(CONFIG_PUBLISH, call, PUBLISH_DEADLINE).await?;
        let words = items(reply).unwrap_or_default();
        let word = |place: usize| words.get(place).and_then(text).unwrap_or_default();
        PublishReply::parse(&word(0), &word(1)).ok_or(PortError::Unreadable)
    }
}

#[async_trait]
impl Publisher for RedisPublisher {
    async fn published(&self) -> Result<Option<Revision>, PortError> {
        // Newer than any: the answer is which one is there, and nothing is sent along.
        let call = read_news(Some(Revision(NEWEST)));
        let reply = self.link.eval(shared::contract::scripts::CONFIG_READ, call, LOOK_DEADLINE).await?;
        let words = items(reply).unwrap_or_default();
        match words.first().and_then(text).as_deref() {
            Some("none") => Ok(None),
            Some("level") => {
                let revision = words.get(1).and_then(text).and_then(|digits| digits.parse().ok());
                revision.map(|number| Some(Revision(number))).ok_or(PortError::Unreadable)
            }
            _ => Err(PortError::Unreadable),
        }
    }

    async fn publish(&self, snapshot: Snapshot) -> Result<(), PortError> {
        let mut base = self.take_base();
        for _ in 0..ATTEMPTS {
            base = self.catch_up(base).await?;
            let call = match &base {
                Some(base) if base.revision >= snapshot.revision => return Err(PortError::Stale),
                // Documents of another release are written anew, all of them.
                Some(base) if base.schema == snapshot.schema => {
                    publish_delta(&between(base, &snapshot), &snapshot.core)
                }
                Some(_) | None => publish_full(&snapshot),
            };
            // Only memory could fail here.
            let call = call.map_err(|_| PortError::Refused)?;
            match self.send(call).await? {
                PublishReply::Published => {
                    self.put_base(snapshot);
                    return Ok(());
                }
                PublishReply::Stale(_) => return Err(PortError::Stale),
                // Somebody else was faster, with something that is still older than this.
                PublishReply::Gap(_) => {}
            }
        }
        Err(PortError::Unavailable)
    }
}

/// Lua counts exactly up to here.
const NEWEST: u64 = (1 << 53) - 1;
/// Each lost race brings the other's revision closer to ours.
const ATTEMPTS: usize = 5;
const LOOK_DEADLINE: Duration = Duration::from_millis(500);
const PUBLISH_DEADLINE: Duration = Duration::from_secs(5);
