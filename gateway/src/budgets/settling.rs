//! What an account is told of what has ended.

use super::Budgets;
use shared::rules::quota::{AccountId, Back, Charge, HoldId, Owed, ScopeId, Settle, Terms};

/// What a record says, by its number, and whose limits count for it.
pub type Told<'a> = (&'a (u64, Owed), &'a Vec<(ScopeId, Terms)>);

impl Budgets {
    /// The store has charged these, and knows what goes back.
    pub fn charged(&self, told: &[Told<'_>], words: &Settle) {
        let mut local = self.local();
        told.iter().for_each(|((_, owed), _)| local.told(owed.account, owed.hold));
        // Of what is over nothing is known any more.
        if let Some(((_, owed), _)) = told.first() {
            local.heard_back(owed.account, &words.backs);
        }
    }

    /// What an account is told of these, and what goes back with it of what was put aside ahead.
    pub fn words(&self, account: AccountId, told: &[Told<'_>], epoch: u64) -> (Vec<Charge>, Vec<Back>) {
        let mut local = self.local();
        let holds: Vec<HoldId> = told.iter().map(|((_, owed), _)| owed.hold).collect();
        let backs = local.backs_with(account, &holds, epoch);
        let charge = |((seq, owed), scopes): &Told<'_>| Charge {
            seq: *seq,
            hold: owed.hold,
            cost: owed.cost,
            at: owed.at,
            is_interrupted: owed.is_interrupted,
            from: local.drawn_from(account, owed.hold, epoch),
            scopes: (*scopes).clone(),
        };
        (told.iter().map(charge).collect(), backs)
    }
}
