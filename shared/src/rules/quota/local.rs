//! What a node knows of budgets by itself: which of its requests hold money, how the accounts stood when their store was
//! last heard, and what it let in alone since.
//!
//! ```text
//!  admitted ─────────────────────────► held ──► ended ──► told: forgotten
//!  let in alone ──► weighs on its own ──► counted by the store (declared, or told) ──► heard of: weighs no more
//! ```
//! What is let in from money that was put aside ahead ([`super::escrow`]) is held as if the store had said so.
//! What weighs on the node's own is what [`outage::Alone`] calls `own`: the store's last word does not know of it.

mod ahead;

use super::escrow::Escrows;
use super::outage::{self, Alone, Heard, OutagePolicy, Verdict};
use super::recalls::Recalls;
use super::window::Terms;
use super::words::{AccountId, HoldId, ScopeId, Standing};
use crate::ids::KeyId;
use crate::model::Limits;
use crate::money::NanoUsd;
use crate::time::UnixMillis;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// All accounts that this node has asked.
#[derive(Debug, Default)]
pub struct Local {
    accounts: HashMap<AccountId, Known>,
    /// Where something is put aside ahead.
    ahead: BTreeSet<AccountId>,
}

#[derive(Debug, Default)]
struct Known {
    heard: Heard,
    /// Limits of its keys, as they were when they were last asked for.
    keys: BTreeMap<KeyId, Limits>,
    holds: BTreeMap<HoldId, Own>,
    /// What weighs on the node's own.
    own: NanoUsd,
    escrows: Escrows,
    recalls: Recalls,
}

#[derive(Clone, Copy, Debug)]
struct Own {
    hold: LiveHold,
    weight: Weight,
    doubt: Doubt,
    has_ended: bool,
}

/// Who counts a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weight {
    /// The store does, and its last word may say so.
    Store,
    /// This node alone.
    Alone,
    /// The store does by now; its last word does not say so yet.
    Counted,
}

/// Whether a store that this node does not hear may have heard it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// It was not asked.
    None,
    /// It was asked, and its answer did not come: it may hold the money.
    MayBeHeld,
}

/// Money put aside for a request of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveHold {
    /// What it is called.
    pub id: HoldId,
    /// The key it was asked with, where the account is a user's.
    pub key: Option<KeyId>,
    /// How much.
    pub need: NanoUsd,
    /// When it was let in: by the store's clock, or by this node's when it decided alone.
    pub at: UnixMillis,
}

/// What a node is asked alone.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// What is to be put aside.
    pub hold: LiveHold,
    /// May the store have it?
    pub doubt: Doubt,
    /// Its need is a bound.
    pub is_strict: bool,
    /// Whose limits count, in the order in which they are looked at.
    pub scopes: &'a [(ScopeId, Terms)],
}

/// Who is asked when the store is away.
#[derive(Clone, Copy, Debug)]
pub struct Fleet {
    /// What is done then.
    pub policy: OutagePolicy,
    /// Gateways that were there, this one included.
    pub nodes: u32,
}

impl Local {
    /// These are the limits that an account is asked under.
    pub fn asked(&mut self, account: AccountId, scopes: &[(ScopeId, Terms)]) {
        let known = self.accounts.entry(account).or_default();
        for (scope, terms) in scopes {
            match scope {
                ScopeId::Key(key) if known.keys.get(key) != Some(&terms.limits) => {
                    known.keys.insert(*key, terms.limits.clone());
                }
                ScopeId::Key(_) | ScopeId::Owner => {}
            }
        }
    }

    /// The limits that a key was last asked under.
    #[must_use]
    pub fn limits_of(&self, account: AccountId, key: KeyId) -> Option<&Limits> {
        self.accounts.get(&account)?.keys.get(&key)
    }

    /// The store let a request in.
    pub fn admitted(&mut self, account: AccountId, hold: LiveHold, standing: &Standing) {
        let known = self.accounts.entry(account).or_default();
        known.heard(standing);
        known
            .holds
            .insert(hold.id, Own { hold, weight: Weight::Store, doubt: Doubt::None, has_ended: false });
    }

    /// Decides without the store, at the moment of the hold, and holds what it lets in.
    pub fn alone(&mut self, account: AccountId, asked: &Asked<'_>, fleet: Fleet) -> Verdict {
        let known = self.accounts.entry(account).or_default();
        let Asked { hold, doubt, is_strict, scopes } = *asked;
        let alone = Alone { scopes, heard: &known.heard, own: known.own, nodes: fleet.nodes };
        let verdict = outage::without_store(fleet.policy, is_strict, &alone, hold.need, hold.at);
        if verdict == Verdict::Go {
            known.own += hold.need;
            known.holds.insert(hold.id, Own { hold, weight: Weight::Alone, doubt, has_ended: false });
        }
        verdict
    }

    /// A hold is given up: what it was for never began. True when the store may have it.
    #[must_use]
    pub fn given_up(&mut self, account: AccountId, id: HoldId) -> bool {
        let Some(known) = self.accounts.get_mut(&account) else { return true };
        if known.escrows.given_up(id) {
            known.holds.remove(&id);
            return false;
        }
        match known.holds.remove(&id) {
            Some(own) => {
                known.weigh(own.weight, NanoUsd(own.hold.need.0.saturating_neg()));
                own.weight != Weight::Alone || own.doubt == Doubt::MayBeHeld
            }
            None => true,
        }
    }

    /// Its request is over and has cost this much, says its record. True when the store can hear of it a little later:
    /// something is put aside ahead in this account, and nobody waits for it; or nobody is to hear of it.
    pub fn ended(&mut self, account: AccountId, id: HoldId, cost: NanoUsd, now_ms: u64) -> bool {
        // Nobody asked it: it is not limited.
        let Some(known) = self.accounts.get_mut(&account) else { return true };
        known.escrows.ended(id, cost);
        let can_wait = known.escrows.can_wait(now_ms);
        let Some(own) = known.holds.get_mut(&id) else { return can_wait };
        let more = cost - own.hold.need;
        let weight = own.weight;
        (own.hold.need, own.has_ended) = (cost, true);
        known.weigh(weight, more);
        known.fit();
        can_wait
    }

    /// The store was told what it cost.
    pub fn told(&mut self, account: AccountId, id: HoldId) {
        let Some(known) = self.accounts.get_mut(&account) else { return };
        known.escrows.told(&[id]);
        match known.holds.get_mut(&id) {
            // Until the store is heard of again, its last word is without it.
            Some(own) if own.weight != Weight::Store => (own.weight, own.has_ended) = (Weight::Counted, true),
            Some(_) => drop(known.holds.remove(&id)),
            None => {}
        }
    }

    /// The store was told that it is under way.
    pub fn declared(&mut self, account: AccountId, id: HoldId) {
        let own = self.accounts.get_mut(&account).and_then(|known| known.holds.get_mut(&id));
        if let Some(own) = own.filter(|own| own.weight == Weight::Alone) {
            own.weight = Weight::Counted;
        }
    }

    /// Is a request of this node known by this hold?
    #[must_use]
    pub fn holds(&self, account: AccountId, id: HoldId) -> bool {
        self.accounts.get(&account).is_some_and(|known| known.holds.contains_key(&id))
    }

    /// What is under way in all accounts: how many holds, and how much money.
    #[must_use]
    pub fn held(&self) -> (u64, NanoUsd) {
        let all = self.accounts.values().flat_map(|known| known.holds.values());
        all.filter(|own| !own.has_ended)
            .fold((0, NanoUsd::ZERO), |(count, sum), own| (count + 1, sum + own.hold.need))
    }

    /// What is under way, to be declared to a store that has lost it. Whatever of it is given up from now on is taken back there:
    /// its declaration may be on its way.
    #[must_use]
    pub fn under_way(&mut self, account: AccountId) -> Vec<LiveHold> {
        self.running(account, |_| true)
    }

    /// The same of what this node let in alone, for a store that is back.
    #[must_use]
    pub fn let_in_alone(&mut self, account: AccountId) -> Vec<LiveHold> {
        self.running(account, |own| own.weight == Weight::Alone)
    }

    fn running(&mut self, account: AccountId, is_wanted: impl Fn(&Own) -> bool) -> Vec<LiveHold> {
        let holds = self.accounts.get_mut(&account).into_iter().flat_map(|known| known.holds.values_mut());
        let wanted = holds.filter(|own| !own.has_ended && is_wanted(own));
        wanted
            .map(|own| {
                own.doubt = Doubt::MayBeHeld;
                own.hold
            })
            .collect()
    }

    /// Forgets accounts that are not governed any more, and holds let in before `oldest`: nothing is heard of these.
    pub fn forget(&mut self, is_governed: impl Fn(AccountId) -> bool, oldest: UnixMillis) {
        self.accounts.retain(|account, _| is_governed(*account));
        self.ahead.retain(|account| is_governed(*account));
        for known in self.accounts.values_mut() {
            known.forget(|own| own.hold.at < oldest);
            known.escrows.forget(oldest);
        }
    }
}

impl Known {
    fn heard(&mut self, standing: &Standing) {
        self.heard.hear(standing);
        if self.own == NanoUsd::ZERO {
            // The rule: nothing is looked through on the way of each request.
            return;
        }
        let mut counted = NanoUsd::ZERO;
        self.holds.retain(|_, own| {
            if own.weight == Weight::Counted {
                own.weight = Weight::Store;
                counted += own.hold.need;
                return !own.has_ended;
            }
            true
        });
        self.own = self.own - counted;
        if self.holds.values().all(|own| own.weight == Weight::Store) {
            // What did not fit was told before all that did.
            self.own = NanoUsd::ZERO;
        }
    }

    /// A store that is away for hours must not fill the memory: of too much that has ended the oldest is forgotten one by one, and goes on
    /// weighing until all that ended after it is counted.
    fn fit(&mut self) {
        if self.holds.len() <= MOST_HOLDS {
            return;
        }
        let mut surplus = self.holds.len() - MOST_HOLDS / 2;
        self.holds.retain(|_, own| {
            let is_forgotten = surplus > 0 && own.has_ended;
            surplus -= usize::from(is_forgotten);
            !is_forgotten
        });
    }

    fn weigh(&mut self, weight: Weight, more: NanoUsd) {
        match weight {
            Weight::Store => {}
            Weight::Alone | Weight::Counted => self.own += more,
        }
    }

    fn forget(&mut self, is_old: impl Fn(&Own) -> bool) {
        let old: Vec<HoldId> = self.holds.iter().filter(|(_, own)| is_old(own)).map(|(id, _)| *id).collect();
        for id in old {
            if let Some(own) = self.holds.remove(&id) {
                self.weigh(own.weight, NanoUsd(own.hold.need.0.saturating_neg()));
            }
        }
    }
}

/// Of an account, some megabytes: more than requests that run at a time.
const MOST_HOLDS: usize = 20_000;

#[cfg(test)]
mod tests;
