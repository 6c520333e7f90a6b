//! An account is opened with what the ledger says, once in an epoch.

use super::Account;
use crate::rules::quota::words::{Life, Opening};
use crate::time::UnixMillis;

impl Account {
    /// The life in which it is to be opened, `new` where it has none yet; `None`: it is open in this epoch. The ledger that it
    /// is opened with must be of that life: whatever was charged since the ledger was read is kept here then.
    pub fn life(&mut self, epoch: u64, new: Life) -> Option<Life> {
        (!self.is_open(epoch)).then(|| self.life.get_or_insert(new).clone())
    }

    /// Opens it with what the ledger says, once in an epoch and after all nodes have declared what they hold. What they
    /// settle above the opening's records they tell from now on. False: it is not open, because the ledger was read for
    /// another [life](Self::life) of the store, or an older epoch.
    #[must_use]
    pub fn open(&mut self, epoch: u64, life: &Life, opening: &Opening, now: UnixMillis) -> bool {
        if self.is_open(epoch) {
            return true;
        }
        if epoch < self.epoch || self.life.as_ref() != Some(life) {
            return false;
        }
        self.reach(epoch);
        self.seed(opening, now);
        true
    }

    /// What a store that starts again has of it: nobody knows how old it is, so it is not open, and begins another life.
    #[cfg(test)]
    pub(in crate::rules::quota) fn started_again(self) -> Self {
        Self { is_open: false, life: None, ..self }
    }

    pub(super) fn seed(&mut self, opening: &Opening, now: UnixMillis) {
        self.is_open = true;
        self.journals.clone_from(&opening.journals);
        for id in &opening.interrupted {
            self.charge_no_more(*id, true, now);
        }
        for spends in &opening.spends {
            self.scopes.entry(spends.scope).or_default().spent.seed(&spends.at, &spends.terms, now);
        }
    }
}
