//! What a node knows of budgets by itself: which of its requests hold money, how the accounts stood when their store was
//! last heard, and what it let in alone since.
//!
//! ```text
//!  admitted ─────────────────────────► held ──► ended ──► told: forgotten
//!  let in alone ──► weighs on its own ──► counted by the store (declared, or told) ──► heard of: weighs no more
//! ```
//! What weighs on the node's own is what [`outage::Alone`] calls `own`: the store's last word does not know of it.

use super::outage::{self, Alone, OutagePolicy, Verdict};
use super::window::Terms;
use super::words::{AccountId, HoldId, ScopeId, Standing};
use crate::ids::KeyId;
use crate::model::Limits;
use crate::money::NanoUsd;
use crate::time::UnixMillis;
use std::collections::{BTreeMap, HashMap};

/// All accounts that this node has asked.
#[derive(Debug, Default)]
pub struct Local {
    accounts: HashMap<AccountId, Known>,
}

#[derive(Debug, Default)]
struct Known {
    last: Standing,
    /// Limits of its keys, as they were when they were last asked for.
    keys: BTreeMap<KeyId, Limits>,
    holds: BTreeMap<HoldId, Own>,
    /// What weighs on the node's own.
    own: NanoUsd,
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
    pub fn alone(
        &mut self,
        account: AccountId,
        hold: LiveHold,
        doubt: Doubt,
        is_strict: bool,
        fleet: Fleet,
    ) -> Verdict {
        let known = self.accounts.entry(account).or_default();
        let alone = Alone { last: &known.last, own: known.own, nodes: fleet.nodes };
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
        match known.holds.remove(&id) {
            Some(own) => {
                known.weigh(own.weight, NanoUsd(own.hold.need.0.saturating_neg()));
                own.weight != Weight::Alone || own.doubt == Doubt::MayBeHeld
            }
            None => true,
        }
    }

    /// Its request is over and has cost this much, says its record.
    pub fn ended(&mut self, account: AccountId, id: HoldId, cost: NanoUsd) {
        let Some(known) = self.accounts.get_mut(&account) else { return };
        let Some(own) = known.holds.get_mut(&id) else { return };
        let more = cost - own.hold.need;
        let weight = own.weight;
        (own.hold.need, own.has_ended) = (cost, true);
        known.weigh(weight, more);
        known.fit();
    }

    /// The store was told what it cost.
    pub fn told(&mut self, account: AccountId, id: HoldId) {
        let Some(known) = self.accounts.get_mut(&account) else { return };
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
        for known in self.accounts.values_mut() {
            known.forget(|own| own.hold.at < oldest);
        }
    }
}

impl Known {
    fn heard(&mut self, standing: &Standing) {
        self.last.clone_from(standing);
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
mod tests {
    use super::*;
    use crate::ids::{RequestId, UserId};
    use crate::rules::quota::{Kind, WindowNow};

    const USER: AccountId = AccountId::User(UserId(1));
    const FLEET: Fleet = Fleet { policy: OutagePolicy::Bounded, nodes: 2 };

    fn id(n: u64) -> HoldId {
        HoldId(RequestId::from_parts(n, &[0; 10]), 0)
    }

    fn hold(n: u64, need: i64) -> LiveHold {
        LiveHold { id: id(n), key: Some(KeyId(1)), need: NanoUsd(need), at: UnixMillis(10) }
    }

    fn standing(spent: i64, held: i64) -> Standing {
        vec![WindowNow {
            scope: ScopeId::Owner,
            kind: Kind::Total,
            limit: NanoUsd(100),
            spent: NanoUsd(spent),
            held: NanoUsd(held),
            escrowed: NanoUsd(0),
            starts_at: None,
            resets_at: None,
        }]
    }

    fn alone(local: &mut Local, n: u64, need: i64) -> bool {
        local.alone(USER, hold(n, need), Doubt::None, false, FLEET) == Verdict::Go
    }

    #[test]
    fn what_a_node_lets_in_alone_weighs_on_its_share_until_the_store_says_that_it_counts_it() {
        let mut local = Local::default();
        local.admitted(USER, hold(1, 10), &standing(10, 10));
        // 80 are left, 40 of them are this node's.
        assert!(alone(&mut local, 2, 30));
        assert!(!alone(&mut local, 3, 11) && alone(&mut local, 3, 10));
        // Cheaper than was thought, and dearer.
        local.ended(USER, id(2), NanoUsd(25));
        assert!(!alone(&mut local, 4, 6) && alone(&mut local, 4, 5));
        assert!(!local.given_up(USER, id(4)), "the store has never heard of it");
        // Told, but the last word of the store is older.
        local.told(USER, id(2));
        local.declared(USER, id(3));
        assert!(!alone(&mut local, 5, 6));
        local.admitted(USER, hold(6, 20), &standing(35, 40));
        assert!(!alone(&mut local, 7, 13) && alone(&mut local, 7, 12), "25 are left");
        assert!(local.holds(USER, id(3)) && !local.holds(USER, id(2)));
    }

    #[test]
    fn what_runs_is_declared_and_what_has_ended_is_not() {
        let mut local = Local::default();
        local.admitted(USER, hold(1, 10), &standing(0, 10));
        local.admitted(USER, hold(2, 10), &standing(0, 20));
        assert!(alone(&mut local, 3, 1));
        assert!(alone(&mut local, 4, 1));
        local.ended(USER, id(2), NanoUsd(5));
        local.ended(USER, id(4), NanoUsd(5));
        assert_eq!(local.under_way(USER), [hold(1, 10), hold(3, 1)]);
        assert_eq!(local.held(), (2, NanoUsd(11)));
        assert_eq!(local.let_in_alone(USER), [hold(3, 1)]);
        local.declared(USER, id(3));
        assert_eq!(local.let_in_alone(USER), []);
        assert!(local.given_up(USER, id(3)) && local.given_up(USER, id(1)), "the store has them");
        local.told(USER, id(2));
        assert!(!local.holds(USER, id(2)));
        assert!(local.given_up(USER, id(2)), "nobody knows: it may");
    }

    #[test]
    fn what_is_given_up_while_it_is_declared_is_taken_back_from_the_store() {
        for list in [Local::under_way, Local::let_in_alone] {
            let mut local = Local::default();
            assert!(alone(&mut local, 1, 1) && alone(&mut local, 2, 1));
            assert!(!local.given_up(USER, id(2)), "nobody was told of it");
            assert_eq!(list(&mut local, USER), [hold(1, 1)]);
            assert!(local.given_up(USER, id(1)));
        }
    }

    #[test]
    fn a_store_that_is_away_for_hours_fills_no_memory_and_what_was_spent_meanwhile_weighs_all_the_same() {
        let mut local = Local::default();
        let fleet = Fleet { policy: OutagePolicy::Open, nodes: 1 };
        local.admitted(USER, hold(0, 1), &standing(0, 1));
        assert_eq!(local.alone(USER, hold(1, 1), Doubt::None, false, fleet), Verdict::Go);
        let last = 3 * MOST_HOLDS as u64;
        for n in 2..=last {
            assert_eq!(local.alone(USER, hold(n, 1), Doubt::None, false, fleet), Verdict::Go);
            local.ended(USER, id(n), NanoUsd(2));
        }
        assert!(local.accounts[&USER].holds.len() <= MOST_HOLDS);
        assert!(local.holds(USER, id(0)) && local.holds(USER, id(1)), "what runs is known");
        let all = 1 + 2 * i64::try_from(last - 1).unwrap();
        assert_eq!(local.accounts[&USER].own, NanoUsd(all));
        // The store is back, and is told in order. The last word that is heard before the end leaves what is untold.
        local.declared(USER, id(1));
        (2..last).for_each(|n| local.told(USER, id(n)));
        local.admitted(USER, hold(last + 1, 1), &standing(9, 0));
        assert!(local.accounts[&USER].own > NanoUsd(0));
        local.told(USER, id(last));
        local.admitted(USER, hold(last + 2, 1), &standing(9, 0));
        assert_eq!(local.accounts[&USER].own, NanoUsd(0));
    }

    #[test]
    fn what_the_store_was_asked_for_in_vain_is_taken_back_from_it() {
        let mut local = Local::default();
        assert_eq!(local.alone(USER, hold(1, 10), Doubt::MayBeHeld, false, FLEET), Verdict::Go);
        assert!(local.given_up(USER, id(1)));
    }

    #[test]
    fn what_is_not_limited_any_more_and_what_is_too_old_is_forgotten() {
        let mut local = Local::default();
        local.admitted(USER, hold(1, 10), &standing(80, 10));
        assert!(alone(&mut local, 2, 5));
        local.forget(|_| true, UnixMillis(10));
        assert!(local.holds(USER, id(1)) && !alone(&mut local, 3, 1));
        local.forget(|_| true, UnixMillis(11));
        assert!(!local.holds(USER, id(1)) && alone(&mut local, 3, 5), "nor does it weigh");
        local.forget(|_| false, UnixMillis(0));
        assert!(!local.holds(USER, id(3)));
    }
}
