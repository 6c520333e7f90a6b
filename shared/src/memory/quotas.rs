//! Budgets of one process.

use crate::ids::JournalId;
use crate::ports::{At, PortError, QuotaStore};
use crate::rules::quota::{
    Account, AccountId, Admission, Ask, Back, HoldId, Life, Opening, ScopeId, Settle, Standing, Terms,
};
use crate::time::UnixMillis;
use async_trait::async_trait;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use tokio::sync::broadcast;

/// The accounts behind a lock. They end with the process, and are opened from the ledger at its start.
pub struct MemoryQuotas {
    accounts: Mutex<HashMap<AccountId, Account>>,
    wanted: Mutex<BTreeSet<AccountId>>,
    /// 0: none yet.
    epoch: AtomicU64,
    recalls: broadcast::Sender<AccountId>,
    clock: Box<dyn Fn() -> UnixMillis + Send + Sync>,
}

impl MemoryQuotas {
    /// Knows no account yet. `clock` tells the time.
    #[must_use]
    pub fn new(clock: impl Fn() -> UnixMillis + Send + Sync + 'static) -> Self {
        Self {
            accounts: Mutex::default(),
            wanted: Mutex::default(),
            epoch: AtomicU64::new(0),
            recalls: broadcast::Sender::new(MOST_RECALLS),
            clock: Box::new(clock),
        }
    }

    fn with<T>(&self, id: AccountId, ask: impl FnOnce(&mut Account, UnixMillis) -> T) -> At<T> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let at = (self.clock)();
        At { at, said: ask(accounts.entry(id).or_default(), at) }
    }
}

impl fmt::Debug for MemoryQuotas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryQuotas").finish_non_exhaustive()
    }
}

#[async_trait]
impl QuotaStore for MemoryQuotas {
    async fn epoch(&self) -> Result<Option<u64>, PortError> {
        Ok(Some(self.epoch.load(Ordering::Acquire)).filter(|epoch| *epoch != 0))
    }

    async fn last_epoch(&self) -> Result<Option<u64>, PortError> {
        self.epoch().await
    }

    async fn begin(&self, epoch: u64) -> Result<(), PortError> {
        self.epoch.store(epoch, Ordering::Release);
        Ok(())
    }

    async fn want(&self, account: AccountId) -> Result<(), PortError> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).insert(account);
        Ok(())
    }

    async fn take_wanted(&self, at_most: usize) -> Result<Vec<AccountId>, PortError> {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::iter::from_fn(|| wanted.pop_first()).take(at_most).collect())
    }

    async fn admit(&self, account: AccountId, ask: &Ask, epoch: u64) -> Result<At<Admission>, PortError> {
        Ok(self.with(account, |account, now| account.admit(ask, epoch, now)))
    }

    async fn settle(&self, account: AccountId, settle: &Settle, epoch: u64) -> Result<At<bool>, PortError> {
        Ok(self.with(account, |account, now| account.settle(settle, epoch, now)))
    }

    async fn give_back(&self, account: AccountId, backs: &[Back]) -> Result<At<()>, PortError> {
        Ok(self.with(account, |account, now| account.give_back(backs, now)))
    }

    async fn recall(&self, account: AccountId) -> Result<(), PortError> {
        // Without anybody who listens nothing was put aside.
        let _ = self.recalls.send(account);
        Ok(())
    }

    fn recalls(&self) -> broadcast::Receiver<AccountId> {
        self.recalls.subscribe()
    }

    async fn release(&self, account: AccountId, hold: HoldId) -> Result<At<()>, PortError> {
        Ok(self.with(account, |account, now| account.release(hold, now)))
    }

    async fn release_holds(
        &self,
        account: AccountId,
        owner: JournalId,
        epoch: u64,
    ) -> Result<At<()>, PortError> {
        Ok(self.with(account, |account, now| account.release_holds(owner, epoch, now)))
    }

    async fn release_owner(&self, account: AccountId, owner: JournalId) -> Result<At<()>, PortError> {
        Ok(self.with(account, |account, now| account.release_owner(owner, now)))
    }

    async fn declare(
        &self,
        account: AccountId,
        ask: &Ask,
        at: UnixMillis,
        epoch: u64,
    ) -> Result<At<()>, PortError> {
        Ok(self.with(account, |account, _| account.declare(ask, at, epoch)))
    }

    async fn life(&self, account: AccountId, epoch: u64) -> Result<At<Option<Life>>, PortError> {
        // It loses nothing before it ends.
        Ok(self.with(account, |account, _| account.life(epoch, Life("process".to_owned()))))
    }

    async fn open(
        &self,
        account: AccountId,
        epoch: u64,
        life: &Life,
        opening: &Opening,
    ) -> Result<At<bool>, PortError> {
        Ok(self.with(account, |account, now| account.open(epoch, life, opening, now)))
    }

    async fn keep(&self, account: AccountId, scopes: &[(ScopeId, Terms)]) -> Result<At<()>, PortError> {
        Ok(self.with(account, |account, now| account.keep(scopes, now)))
    }

    async fn standing(
        &self,
        account: AccountId,
        scopes: &[(ScopeId, Terms)],
        epoch: u64,
    ) -> Result<At<(bool, Standing)>, PortError> {
        Ok(self.with(account, |account, now| (account.is_open(epoch), account.standing(scopes, now))))
    }
}

/// Recalls that a node has not looked at yet. Of more the oldest are missed: what they were about goes back by itself.
const MOST_RECALLS: usize = 1_024;
