//! Budgets: what accounts spent and hold.

use super::PortError;
use crate::ids::JournalId;
use crate::rules::quota::{
    AccountId, Admission, Ask, Back, HoldId, Life, Opening, ScopeId, Settle, Standing, Terms,
};
use crate::time::UnixMillis;
use async_trait::async_trait;
use tokio::sync::broadcast;

/// Something and the moment at which the store said it, by its clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At<T> {
    /// When.
    pub at: UnixMillis,
    /// What.
    pub said: T,
}

/// Where budgets are kept, for all gateways. The rules are in [`crate::rules::quota`]; each word is decided in one moment by
/// the store's clock, and may come twice or late.
#[async_trait]
pub trait QuotaStore: Send + Sync {
    /// The epoch that the admin side has begun here. `None`: none, because the store is new or has lost everything; or not since
    /// it last started, so that it may have lost a part.
    async fn epoch(&self) -> Result<Option<u64>, PortError>;

    /// The epoch that it has heard of last, also one of before it started: accounts may be in it. `None`: it knows none.
    async fn last_epoch(&self) -> Result<Option<u64>, PortError>;

    /// Begins an epoch, for all accounts: [`crate::rules::quota::epoch_of`] says which one an account is in.
    async fn begin(&self, epoch: u64) -> Result<(), PortError>;

    /// Asks for an account to be opened: whoever asked it was told that it is not, [`Admission::Unseeded`].
    async fn want(&self, account: AccountId) -> Result<(), PortError>;

    /// Takes accounts that are to be opened, at most so many. Whoever takes one and cannot open it wants it again.
    async fn take_wanted(&self, at_most: usize) -> Result<Vec<AccountId>, PortError>;

    /// Lets a request in, or says why not. When it fails, it may have been let in all the same: whoever asked gives the hold
    /// up with [`Self::release`], until that is answered.
    async fn admit(&self, account: AccountId, ask: &Ask, epoch: u64) -> Result<At<Admission>, PortError>;

    /// Charges what a record says, once. False: the account is not open in this epoch, and nothing was done.
    async fn settle(&self, account: AccountId, settle: &Settle, epoch: u64) -> Result<At<bool>, PortError>;

    /// Gives back what was put aside ahead.
    async fn give_back(&self, account: AccountId, backs: &[Back]) -> Result<At<()>, PortError>;

    /// Asks all nodes to give back what they put aside ahead in this account. Nobody answers.
    async fn recall(&self, account: AccountId) -> Result<(), PortError>;

    /// The accounts that are recalled from now on, this node's own words among them. Some may be missed.
    fn recalls(&self) -> broadcast::Receiver<AccountId>;

    /// Gives a hold up.
    async fn release(&self, account: AccountId, hold: HoldId) -> Result<At<()>, PortError>;

    /// Gives up all that a dead process's journal holds, of which the account was told everything under this epoch: what is left was
    /// put aside for what never began. Under another epoch nothing is done.
    async fn release_holds(
        &self,
        account: AccountId,
        owner: JournalId,
        epoch: u64,
    ) -> Result<At<()>, PortError>;

    /// The same for good, of one of which nothing more can come: all is in the books, too.
    async fn release_owner(&self, account: AccountId, owner: JournalId) -> Result<At<()>, PortError>;

    /// Puts aside what was let in before the store lost it.
    async fn declare(
        &self,
        account: AccountId,
        ask: &Ask,
        at: UnixMillis,
        epoch: u64,
    ) -> Result<At<()>, PortError>;

    /// The life in which an account is to be opened; `None`: it is open in this epoch. Whoever opens asks for it, then once more
    /// for the [`epoch`](Self::epoch): if that is still the one of before the ledger was read, nothing was lost until here, and
    /// what is lost later takes the life along.
    async fn life(&self, account: AccountId, epoch: u64) -> Result<At<Option<Life>>, PortError>;

    /// Opens the account with what the ledger says, once in an epoch. False: it is not open, because the store has lost what it
    /// had since it named this life, or a later epoch has begun for the account. The ledger is to be read anew.
    async fn open(
        &self,
        account: AccountId,
        epoch: u64,
        life: &Life,
        opening: &Opening,
    ) -> Result<At<bool>, PortError>;

    /// Begins to count apart what is spent from now on, where a window of these terms begins now.
    async fn keep(&self, account: AccountId, scopes: &[(ScopeId, Terms)]) -> Result<At<()>, PortError>;

    /// How these limits stand, and whether the account is open in this epoch.
    async fn standing(
        &self,
        account: AccountId,
        scopes: &[(ScopeId, Terms)],
        epoch: u64,
    ) -> Result<At<(bool, Standing)>, PortError>;
}
