//! Budgets, kept for all gateways: one script, decided in one moment.
//!
//! A gateway's listens on a connection of its own to what is recalled. One that comes back has nothing to catch up on: what
//! was put aside ahead goes back by itself a little later.

use crate::channel::{Heard, listen};
use crate::config::{ConfigError, RedisConfig};
use crate::connection::{Upkeep, connect};
use crate::link::{Link, items, text};
use async_trait::async_trait;
use shared::contract::keys::quota_recalled;
use shared::contract::scripts::ScriptCall;
use shared::contract::scripts::quota::{
    QUOTA, QUOTA_EPOCH, admission, admit, begin, declare, epoch, give_back, keep, last_epoch, life,
    life_said, named_account, open, recall, release, release_holds, release_owner, settle, standing, stood,
    take_wanted, want,
};
use shared::ids::JournalId;
use shared::ports::{At, PortError, QuotaStore};
use shared::rules::quota::{
    AccountId, Admission, Ask, Back, HoldId, Life, Opening, ScopeId, Settle, Standing, Terms,
};
use shared::time::UnixMillis;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast;

/// The budgets in Redis.
pub struct RedisQuotas {
    link: Arc<Link>,
    recalls: broadcast::Sender<AccountId>,
    /// What listens; `None` where nothing is put aside ahead.
    upkeep: Option<Upkeep>,
    script: &'static str,
}

impl RedisQuotas {
    /// For a gateway: begins to listen, and keeps at it. Needs the runtime that its connection will live on.
    pub fn open(config: &RedisConfig, link: Arc<Link>) -> Result<Arc<Self>, ConfigError> {
        let (client, upkeep) = connect(config)?;
        let recalls = broadcast::Sender::new(MOST_RECALLS);
        let heard = recalls.clone();
        upkeep.until_closed(listen(client, quota_recalled(), move |said| {
            // What is missed, and what a later release says, only goes back later.
            if let Heard::Said(name) = said
                && let Some(account) = named_account(&name)
            {
                // Nobody may listen: then nothing was put aside.
                let _ = heard.send(account);
            }
        }));
        Ok(Arc::new(Self { link, recalls, upkeep: Some(upkeep), script: QUOTA }))
    }

    /// For who opens, asks and recalls: no recall comes to it.
    #[must_use]
    pub fn unannounced(link: Arc<Link>) -> Arc<Self> {
        Self::scripted(link, QUOTA)
    }

    /// The same with a script that differs from [`QUOTA`] in its clock: so the tests turn that of Redis.
    #[must_use]
    pub fn scripted(link: Arc<Link>, script: &'static str) -> Arc<Self> {
        Arc::new(Self { link, recalls: broadcast::Sender::new(1), upkeep: None, script })
    }

    /// Ends the connection that listens, if there is one. Returns when nothing of it is left.
    pub async fn close(&self) {
        if let Some(upkeep) = &self.upkeep {
            upkeep.close().await;
        }
    }

    /// The parts of a reply behind its moment.
    async fn call(&self, call: Result<ScriptCall, serde_json::Error>) -> Result<At<Vec<String>>, PortError> {
        self.call_within(DEADLINE, call).await
    }

    async fn call_within(
        &self,
        deadline: Duration,
        call: Result<ScriptCall, serde_json::Error>,
    ) -> Result<At<Vec<String>>, PortError> {
        // Only memory could fail here.
        let call = call.map_err(|_| PortError::Refused)?;
        let reply = items(self.link.eval(self.script, call, deadline).await?).ok_or(PortError::Unreadable)?;
        let parts: Option<Vec<String>> = reply.iter().map(text).collect();
        let mut parts = parts.ok_or(PortError::Unreadable)?.into_iter();
        let at = parts.next().and_then(|at| at.parse().ok()).ok_or(PortError::Unreadable)?;
        Ok(At { at: UnixMillis(at), said: parts.collect() })
    }

    /// The only number of a reply; `None`: it has none.
    async fn number(&self, call: ScriptCall) -> Result<Option<u64>, PortError> {
        match self.words(call).await?.as_slice() {
            [] => Ok(None),
            [number, ..] => number.parse().map(Some).map_err(|_| PortError::Unreadable),
        }
    }

    /// What [`QUOTA_EPOCH`] answers.
    async fn words(&self, call: ScriptCall) -> Result<Vec<String>, PortError> {
        let reply = items(self.link.eval(QUOTA_EPOCH, call, DEADLINE).await?).ok_or(PortError::Unreadable)?;
        reply.iter().map(text).collect::<Option<_>>().ok_or(PortError::Unreadable)
    }

    async fn tell(&self, call: Result<ScriptCall, serde_json::Error>) -> Result<At<()>, PortError> {
        let At { at, .. } = self.call(call).await?;
        Ok(At { at, said: () })
    }
}

fn flag(part: Option<&String>) -> Result<bool, PortError> {
    match part.map(String::as_str) {
        Some("1") => Ok(true),
        Some("0") => Ok(false),
        Some(_) | None => Err(PortError::Unreadable),
    }
}

#[async_trait]
impl QuotaStore for RedisQuotas {
    async fn epoch(&self) -> Result<Option<u64>, PortError> {
        self.number(epoch()).await
    }

    async fn last_epoch(&self) -> Result<Option<u64>, PortError> {
        self.number(last_epoch()).await
    }

    async fn begin(&self, epoch: u64) -> Result<(), PortError> {
        self.words(begin(epoch)).await.map(|_| ())
    }

    async fn want(&self, account: AccountId) -> Result<(), PortError> {
        self.words(want(account)).await.map(|_| ())
    }

    async fn take_wanted(&self, at_most: usize) -> Result<Vec<AccountId>, PortError> {
        // What a later release names is nothing that this one could open.
        Ok(self.words(take_wanted(at_most)).await?.iter().filter_map(|name| named_account(name)).collect())
    }

    async fn admit(&self, account: AccountId, ask: &Ask, epoch: u64) -> Result<At<Admission>, PortError> {
        let At { at, said } = self.call(admit(account, ask, epoch)).await?;
        Ok(At { at, said: admission(ask, &said).ok_or(PortError::Unreadable)? })
    }

    async fn settle(&self, account: AccountId, what: &Settle, epoch: u64) -> Result<At<bool>, PortError> {
        let At { at, said } = self.call(settle(account, what, epoch)).await?;
        Ok(At { at, said: flag(said.first())? })
    }

    async fn give_back(&self, account: AccountId, backs: &[Back]) -> Result<At<()>, PortError> {
        self.tell(give_back(account, backs)).await
    }

    async fn recall(&self, account: AccountId) -> Result<(), PortError> {
        self.words(recall(account)).await.map(|_| ())
    }

    fn recalls(&self) -> broadcast::Receiver<AccountId> {
        self.recalls.subscribe()
    }

    async fn release(&self, account: AccountId, hold: HoldId) -> Result<At<()>, PortError> {
        self.tell(release(account, hold)).await
    }

    async fn release_holds(
        &self,
        account: AccountId,
        owner: JournalId,
        epoch: u64,
    ) -> Result<At<()>, PortError> {
        self.tell(release_holds(account, owner, epoch)).await
    }

    async fn release_owner(&self, account: AccountId, owner: JournalId) -> Result<At<()>, PortError> {
        self.tell(release_owner(account, owner)).await
    }

    async fn declare(
        &self,
        account: AccountId,
        ask: &Ask,
        at: UnixMillis,
        epoch: u64,
    ) -> Result<At<()>, PortError> {
        self.tell(declare(account, ask, at, epoch)).await
    }

    async fn life(&self, account: AccountId, epoch: u64) -> Result<At<Option<Life>>, PortError> {
        let At { at, said } = self.call(life(account, epoch)).await?;
        Ok(At { at, said: life_said(&said).ok_or(PortError::Unreadable)? })
    }

    async fn open(
        &self,
        account: AccountId,
        epoch: u64,
        life: &Life,
        opening: &Opening,
    ) -> Result<At<bool>, PortError> {
        let At { at, said } = self.call_within(OPEN_DEADLINE, open(account, epoch, life, opening)).await?;
        Ok(At { at, said: flag(said.first())? })
    }

    async fn keep(&self, account: AccountId, scopes: &[(ScopeId, Terms)]) -> Result<At<()>, PortError> {
        self.tell(keep(account, scopes)).await
    }

    async fn standing(
        &self,
        account: AccountId,
        scopes: &[(ScopeId, Terms)],
        epoch: u64,
    ) -> Result<At<(bool, Standing)>, PortError> {
        let At { at, said } = self.call(standing(account, scopes, epoch)).await?;
        let (is_open, rest) = said.split_first().ok_or(PortError::Unreadable)?;
        let standing = stood(scopes, rest).ok_or(PortError::Unreadable)?;
        Ok(At { at, said: (flag(Some(is_open))?, standing) })
    }
}

/// A request waits for it.
const DEADLINE: Duration = Duration::from_millis(200);
/// Nobody waits for it, and it may be a day of many keys, with others before it.
const OPEN_DEADLINE: Duration = Duration::from_secs(2);
/// Recalls that a node has not looked at yet. Of more the oldest are missed.
const MOST_RECALLS: usize = 1_024;
