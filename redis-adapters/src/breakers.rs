//! Breakers and cool-downs, kept for all gateways: one script for each word, decided and announced in one moment.
//!
//! A gateway's listens on a connection of its own, as the configuration's feed does; an admin side only asks.

use crate::channel::{counted, listen};
use crate::config::{ConfigError, RedisConfig};
use crate::connection::{Upkeep, connect};
use crate::link::{Link, items, text};
use async_trait::async_trait;
use fred::types::Value;
use shared::contract::breaker::{CircuitDoc, Order, Pass, PermitAsk, Report, Taken};
use shared::contract::keys::circuit_changed;
use shared::contract::scripts::ScriptCall;
use shared::contract::scripts::breaker::{
    BREAKER_MERGE, BREAKER_NODE, BREAKER_ORDER, BREAKER_PERMIT, BREAKER_READ, BREAKER_REPORT, join, leave,
    merge, order, read, report, take_permit,
};
use shared::ports::{BreakerStore, CircuitNews, PortError, Since, Told};
use shared::time::UnixMillis;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// The breakers in Redis.
pub struct RedisBreakers {
    link: Arc<Link>,
    /// How often something was announced.
    announced: watch::Sender<u64>,
    /// How often at the last read that worked.
    seen: AtomicU64,
    /// What listens; `None` where nobody waits for changes.
    upkeep: Option<Upkeep>,
}

impl RedisBreakers {
    /// For a gateway: begins to listen, and keeps at it. Needs the runtime that its connection will live on.
    pub fn open(config: &RedisConfig, link: Arc<Link>) -> Result<Arc<Self>, ConfigError> {
        let (client, upkeep) = connect(config)?;
        let announced = watch::Sender::new(0);
        upkeep.until_closed(listen(client, circuit_changed(), counted(announced.clone())));
        Ok(Arc::new(Self { link, announced, seen: AtomicU64::new(0), upkeep: Some(upkeep) }))
    }

    /// For who reads and orders now and then: nothing is announced to it.
    #[must_use]
    pub fn unannounced(link: Arc<Link>) -> Arc<Self> {
        Arc::new(Self { link, announced: watch::Sender::new(0), seen: AtomicU64::new(0), upkeep: None })
    }

    /// Ends the connection that listens, if there is one. Returns when nothing of it is left.
    pub async fn close(&self) {
        if let Some(upkeep) = &self.upkeep {
            upkeep.close().await;
        }
    }

    async fn call(&self, script: &'static str, call: ScriptCall) -> Result<Reply, PortError> {
        items(self.link.eval(script, call, DEADLINE).await?).map(Reply).ok_or(PortError::Unreadable)
    }
}

#[async_trait]
impl BreakerStore for RedisBreakers {
    async fn join(&self, node: &str) -> Result<bool, PortError> {
        let reply = self.link.eval(BREAKER_NODE, join(node), DEADLINE).await?;
        Reply(vec![reply]).flag(0)
    }

    async fn leave(&self, node: &str) -> Result<(), PortError> {
        self.link.eval(BREAKER_NODE, leave(node), DEADLINE).await.map(|_| ())
    }

    async fn changed(&self, _since: Since) {
        let seen = self.seen.load(Ordering::Acquire);
        // The sender lives in `self`: it cannot be gone.
        let _ = self.announced.subscribe().wait_for(|announced| *announced > seen).await;
    }

    async fn read(&self, node: Option<&str>, since: Since) -> Result<CircuitNews, PortError> {
        // Before the call: what is announced meanwhile may not be in the answer.
        let announced = *self.announced.borrow();
        let reply = self.call(BREAKER_READ, read(node, since)).await?;
        let mut news = CircuitNews {
            at: reply.at()?,
            is_whole: reply.flag(1)?,
            upto: Since { born: reply.number(2)?, upto: reply.number(3)? },
            floor: reply.number(4)?,
            docs: Vec::new(),
        };
        for value in reply.0.iter().skip(5) {
            match text(value).and_then(|json| CircuitDoc::from_json(json.as_bytes())) {
                Some(doc) => news.docs.push(doc),
                // A later release's: its provider counts as well here, the others are known.
                None => tracing::debug!("a breaker's document cannot be read by this release"),
            }
        }
        news.docs.sort_unstable_by_key(|doc| doc.provider_id);
        self.seen.store(announced, Ordering::Release);
        Ok(news)
    }

    async fn report(&self, said: &Report) -> Result<Told, PortError> {
        // Only memory could fail here, and below.
        let call = report(said).map_err(|_| PortError::Refused)?;
        self.call(BREAKER_REPORT, call).await?.told()
    }

    async fn take_permit(&self, ask: &PermitAsk) -> Result<(Taken, Told), PortError> {
        let call = take_permit(ask).map_err(|_| PortError::Refused)?;
        let reply = self.call(BREAKER_PERMIT, call).await?;
        let told = reply.told()?;
        let seen = reply.number(4)?;
        let taken = match reply.word(3)?.as_str() {
            "granted" => {
                let fence = told.doc.as_ref().map(|doc| doc.version).ok_or(PortError::Unreadable)?;
                Taken::Granted(Pass { seen, fence: Some(fence) })
            }
            "unneeded" => Taken::Unneeded(Pass { seen, fence: None }),
            "refused" => Taken::Refused,
            _ => return Err(PortError::Unreadable),
        };
        Ok((taken, told))
    }

    async fn order(&self, what: &Order) -> Result<Told, PortError> {
        let call = order(what).map_err(|_| PortError::Refused)?;
        self.call(BREAKER_ORDER, call).await?.told()
    }

    async fn merge(&self, local: &[CircuitDoc]) -> Result<(), PortError> {
        let call = merge(local).map_err(|_| PortError::Refused)?;
        self.link.eval(BREAKER_MERGE, call, DEADLINE).await.map(|_| ())
    }
}

/// The parts of a reply.
struct Reply(Vec<Value>);

impl Reply {
    fn word(&self, place: usize) -> Result<String, PortError> {
        self.0.get(place).and_then(text).ok_or(PortError::Unreadable)
    }

    fn read<T: FromStr>(&self, place: usize) -> Result<T, PortError> {
        self.word(place)?.parse().map_err(|_| PortError::Unreadable)
    }

    fn number(&self, place: usize) -> Result<u64, PortError> {
        self.read(place)
    }

    fn flag(&self, place: usize) -> Result<bool, PortError> {
        self.number(place).map(|flag| flag == 1)
    }

    fn at(&self) -> Result<UnixMillis, PortError> {
        self.read(0).map(UnixMillis)
    }

    fn told(&self) -> Result<Told, PortError> {
        let json = self.word(1)?;
        // A later release's document counts as none.
        Ok(Told { at: self.at()?, doc: CircuitDoc::from_json(json.as_bytes()), has_moved: self.flag(2)? })
    }
}

const DEADLINE: Duration = Duration::from_millis(500);
