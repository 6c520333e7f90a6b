//! What a node has put aside ahead, account by account: see [`escrow`](super::super::escrow).

use super::{Doubt, LiveHold, Local, Own, Weight};
use crate::ids::KeyId;
use crate::money::NanoUsd;
use crate::rules::quota::escrow::{Drawing, Drawn, Grant};
use crate::rules::quota::recalls::Next;
use crate::rules::quota::words::{AccountId, Back, HoldId, Refusal};

impl Local {
    /// Lets a request in from what was put aside ahead; `None`: the store is to be asked.
    pub fn draw(
        &mut self,
        account: AccountId,
        drawing: &Drawing<'_>,
        key: Option<KeyId>,
        now_ms: u64,
    ) -> Option<Drawn> {
        let known = self.accounts.get_mut(&account)?;
        let drawn = known.escrows.draw(drawing, now_ms)?;
        let hold = LiveHold { id: drawing.hold, key, need: drawing.need, at: drawn.at };
        let own = Own { hold, weight: Weight::Store, doubt: Doubt::None, has_ended: false };
        known.holds.insert(drawing.hold, own);
        Some(drawn)
    }

    /// Would it do well to put something aside with the question that it asks now?
    pub fn is_worth(&mut self, account: AccountId, drawing: &Drawing<'_>, now_ms: u64) -> bool {
        self.accounts.entry(account).or_default().escrows.is_worth(drawing, now_ms)
    }

    /// The store has put this aside ahead.
    pub fn granted(&mut self, account: AccountId, grant: Grant, now_ms: u64) {
        self.accounts.entry(account).or_default().escrows.granted(grant, now_ms);
        self.ahead.insert(account);
    }

    /// What a request was drawn from, for its settle in this epoch.
    #[must_use]
    pub fn drawn_from(&self, account: AccountId, id: HoldId, epoch: u64) -> Option<HoldId> {
        self.accounts.get(&account)?.escrows.drawn_from(id, epoch)
    }

    /// What goes back with the settle of these requests.
    pub fn backs_with(&mut self, account: AccountId, holds: &[HoldId], epoch: u64) -> Vec<Back> {
        let known = self.accounts.get_mut(&account);
        known.map(|known| known.escrows.backs_with(holds, epoch)).unwrap_or_default()
    }

    /// Somebody was refused: what was put aside ahead in this account goes back.
    pub fn recall(&mut self, account: AccountId, now_ms: u64) {
        if let Some(known) = self.accounts.get_mut(&account) {
            known.escrows.recall(now_ms);
        }
    }

    /// What is done about a refusal, after so many waits for other nodes.
    pub fn refused(&mut self, account: AccountId, refusal: &Refusal, waits: u32, now_ms: u64) -> Next {
        let known = self.accounts.entry(account).or_default();
        let own = known.escrows.put_aside(refusal.scope);
        known.recalls.next(refusal, own, waits, now_ms)
    }

    /// Nothing more is drawn from what nobody draws from, and what is old.
    pub fn rest(&mut self, now_ms: u64) {
        for account in &self.ahead {
            if let Some(known) = self.accounts.get_mut(account) {
                known.escrows.rest(now_ms);
            }
        }
    }

    /// The same of all, at a stop.
    pub fn recall_all(&mut self, now_ms: u64) {
        for account in self.ahead.clone() {
            self.recall(account, now_ms);
        }
    }

    /// What is to be given back by itself, in one account or in all.
    #[must_use]
    pub fn backs(&self, of: Option<AccountId>) -> Vec<(AccountId, Vec<Back>)> {
        let accounts = self.ahead.iter().filter(|account| of.is_none_or(|of| of == **account));
        let backs =
            accounts.filter_map(|account| Some((*account, self.accounts.get(account)?.escrows.backs())));
        backs.filter(|(_, backs)| !backs.is_empty()).collect()
    }

    /// The store has heard of these.
    pub fn heard_back(&mut self, account: AccountId, backs: &[Back]) {
        let Some(known) = self.accounts.get_mut(&account) else { return };
        known.escrows.heard(backs);
        if known.escrows.is_empty() {
            self.ahead.remove(&account);
        }
    }

    /// A new epoch is in force: nothing was put aside ahead in it.
    pub fn begin_anew(&mut self) {
        for account in std::mem::take(&mut self.ahead) {
            if let Some(known) = self.accounts.get_mut(&account) {
                known.escrows.begin_anew();
            }
        }
    }

    /// Money put aside ahead that is still free.
    #[must_use]
    pub fn free(&self) -> NanoUsd {
        let ahead = self.ahead.iter().filter_map(|account| self.accounts.get(account));
        ahead.map(|known| known.escrows.free()).sum()
    }
}
