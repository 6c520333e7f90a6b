//! Journals that dead processes left, as far as budgets go: taken in hands, and let go when all is told and booked.

use super::{AT_A_TIME, Teller};
use crate::journal::source::Adopted;
use futures::stream::{self, StreamExt as _};
use shared::ids::JournalId;
use shared::rules::quota::telling::Governed;
use shared::rules::quota::{AccountId, epoch_of};
use std::time::Duration;
use tokio::time::Instant;

impl Teller {
    /// Journals of dead processes of which all was looked at: once what could not be told of them is declared, they are in this
    /// node's hands. So are the requests that were cut with them, which have ended in its own.
    pub(super) async fn take_in_hands(&mut self, epoch: u64) {
        let (budgets, declarations) = (self.budgets.clone(), &self.declarations);
        let Some((own, adopted)) = self.sources.split_first_mut() else { return };
        let handed_on = |id| {
            let of = adopted.iter().find(|source| source.id() == id)?;
            of.as_adopted().map(|adopted| adopted.handed_on())
        };
        let Some((governed, ids)) = budgets.tellings.for_hands(epoch, handed_on) else { return };
        for source in adopted.iter_mut().filter(|source| ids.contains(&source.id())) {
            let last = source.marks().last();
            let handed_on = source.as_adopted().map_or(0, |adopted| adopted.handed_on());
            let declared = async {
                budgets.declare_untold(own, handed_on, &governed, declarations, epoch).await?;
                budgets.declare_untold(source, last, &governed, declarations, epoch).await
            };
            // The store or a disk does not answer: the next round tries again.
            if declared.await.is_ok() {
                budgets.tellings.take_in_hands(source.id(), epoch, governed.clone());
            }
        }
    }

    /// What dead processes had put aside, ahead of requests above all, is given up once all is told of what came of it: the books may
    /// be away for long. One journal at a time, and none that the books will have in a moment: it is a call for every account.
    pub(super) async fn give_up_holds(&mut self, epoch: u64) {
        let Some(own) = self.sources.first().map(|own| own.marks().clone()) else { return };
        let told: Vec<JournalId> =
            self.sources.iter().filter_map(|source| Some(source.told(&own)?.id)).collect();
        self.waiting.retain(|id, _| told.contains(id));
        let governed = self.budgets.tellings.governed();
        for id in told {
            let (since, given_up) = *self.waiting.entry(id).or_insert((Instant::now(), None));
            if given_up == Some(epoch) || since.elapsed() < BOOKS_PATIENCE {
                continue;
            }
            let release = |(account, generation)| {
                self.budgets.store.release_holds(account, id, epoch_of(epoch, generation))
            };
            let released = stream::iter(governed.accounts()).map(release).buffer_unordered(AT_A_TIME);
            if released.all(|released| async move { released.is_ok() }).await {
                self.waiting.insert(id, (since, Some(epoch)));
            }
            return;
        }
    }

    /// The first journal of a dead process that is told and booked to its end: nothing is held for it any more.
    pub(super) async fn let_go(&mut self, epoch: Option<u64>) {
        if !self.budgets.tellings.know_who_is_governed() {
            // Something may be held for it in accounts that a later configuration names.
            return;
        }
        let Some(own) = self.sources.first().map(|own| own.marks().clone()) else { return };
        // One at a time: each is a call for every account, and others wait to be told.
        let Some(adopted) = self.sources.iter().find_map(|source| source.finished(&own)).cloned() else {
            return;
        };
        let governed = self.budgets.tellings.governed();
        let is_released = governed.is_empty() || (epoch.is_some() && self.release(&adopted, &governed).await);
        if is_released {
            adopted.release();
            self.sources.retain(|source| source.id() != adopted.id);
            self.budgets.tellings.forget(adopted.id);
            self.declarations.forget(adopted.id);
        }
    }

    async fn release(&self, adopted: &Adopted, governed: &Governed) -> bool {
        let accounts: Vec<AccountId> = governed.accounts().map(|(account, _)| account).collect();
        let release = |account| self.budgets.store.release_owner(account, adopted.id);
        let released = stream::iter(accounts).map(release).buffer_unordered(AT_A_TIME);
        released.all(|released| async move { released.is_ok() }).await
    }
}

/// How long books that are there may take.
const BOOKS_PATIENCE: Duration = Duration::from_secs(2);
