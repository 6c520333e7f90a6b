//! Which records of a journal are still to be told to which accounts.
//!
//! Each account is told in the order of the numbers. One that cannot be told falls behind alone, and is told again from where
//! it stopped; the others go on. What nobody has to be told any more may be deleted ([`Telling::told`]).
//!
//! ```text
//!  told ──────────────► behind: account 7 ────────► read ───────► last
//!  (may be deleted)     (account 7 is told again)   (all others)
//! ```
//! An account is opened with what the books had, up to a number that no node hears. What is told of records up to it is known
//! there, what is above is charged: each by its own number, so all that is due to an account goes in one settle, and may be
//! divided otherwise when it is told again.

use super::owed::Owed;
use super::words::AccountId;
use std::collections::{BTreeMap, HashMap};

/// The accounts that are under limits, each with its generation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Governed(HashMap<AccountId, u32>);

impl FromIterator<(AccountId, u32)> for Governed {
    /// Generation 0 is that of an account without limits.
    fn from_iter<T: IntoIterator<Item = (AccountId, u32)>>(accounts: T) -> Self {
        Self(accounts.into_iter().filter(|(_, generation)| *generation > 0).collect())
    }
}

impl Governed {
    /// The generation of an account; `None`: nothing of it is limited.
    #[must_use]
    pub fn generation(&self, account: AccountId) -> Option<u32> {
        self.0.get(&account).copied()
    }

    /// True when nothing is limited anywhere.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub fn accounts(&self) -> impl Iterator<Item = (AccountId, u32)> + '_ {
        self.0.iter().map(|(account, generation)| (*account, *generation))
    }
}

/// How far one journal has been told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Telling {
    /// All up to this number was told to all accounts that are not behind.
    read: u64,
    behind: BTreeMap<AccountId, Behind>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Behind {
    told: u64,
    retry_at_ms: u64,
    pause_ms: u64,
}

/// A look at the records of a stretch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pass {
    from: u64,
    to: u64,
    /// What is to be told, each account's in order.
    pub due: Vec<Due>,
    /// Accounts that come out of it as far as `to`, because nothing in it is theirs.
    idle: Vec<(AccountId, u32)>,
    /// What is above this number was not looked at before.
    pub news_above: u64,
}

/// What an account is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Which.
    pub account: AccountId,
    /// Its generation.
    pub generation: u32,
    /// The number of the first of their records.
    pub first: u64,
    /// Which of the charges that the pass was made of these are, in their order.
    pub charges: Vec<usize>,
}

/// What is looked at now.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The last number of the journal.
    pub last: u64,
    /// By the node's own clock, in milliseconds.
    pub now_ms: u64,
    /// False while the store is away or has no epoch: records are read, and nobody is told.
    pub can_tell: bool,
}

impl Telling {
    /// Nobody was told anything above this number.
    #[must_use]
    pub fn from(floor: u64) -> Self {
        Self { read: floor, ..Self::default() }
    }

    /// Other accounts are governed from now on. Those that are newly so are told from `floor` on: whoever opens them has
    /// in his books what is below it.
    pub fn govern(&mut self, before: &Governed, after: &Governed, floor: u64) {
        if before.is_empty() {
            // Nobody had to be told anything, and nothing was read.
            *self = Self::from(floor);
            return;
        }
        for (account, generation) in after.accounts() {
            if before.generation(account) != Some(generation) {
                self.behind.insert(account, Behind { told: floor, retry_at_ms: 0, pause_ms: 0 });
            }
        }
        self.behind.retain(|account, behind| after.generation(*account).is_some() && behind.told < self.read);
    }

    /// Up to which number nobody has to be told anything any more. `None`: it is not known who is governed, and everything may
    /// have to be told.
    #[must_use]
    pub fn told(&self, governed: Option<&Governed>) -> u64 {
        let Some(governed) = governed else { return 0 };
        if governed.is_empty() {
            return u64::MAX;
        }
        self.behind.values().map(|behind| behind.told).min().map_or(self.read, |told| told.min(self.read))
    }

    /// Where to read on: the records above this number. `None`: there is nothing to do now.
    #[must_use]
    pub fn next(&self, moment: Moment) -> Option<u64> {
        let behind = self.ready(moment).map(|(_, behind)| behind.told).min();
        let news = (self.read < moment.last).then_some(self.read);
        behind.into_iter().chain(news).min()
    }

    /// When there may be something to do although nothing is written, in milliseconds by the node's own clock.
    #[must_use]
    pub fn wake_at_ms(&self) -> Option<u64> {
        self.behind.values().map(|behind| behind.retry_at_ms).min()
    }

    /// Is there something that this account could not be told?
    #[must_use]
    pub fn is_behind(&self, account: AccountId) -> bool {
        self.behind.contains_key(&account)
    }

    /// Was everything looked at up to this number?
    #[must_use]
    pub fn is_read(&self, last: u64) -> bool {
        self.read >= last
    }

    /// Has this account not been told yet what this record says of it?
    #[must_use]
    pub fn is_untold(&self, account: AccountId, seq: u64) -> bool {
        seq > self.behind.get(&account).map_or(self.read, |behind| behind.told)
    }

    fn ready(&self, moment: Moment) -> impl Iterator<Item = (AccountId, Behind)> {
        let behind = self.behind.iter().map(|(account, behind)| (*account, *behind));
        behind.filter(move |(_, behind)| moment.can_tell && behind.retry_at_ms <= moment.now_ms)
    }

    /// What the records above `from` up to `to` are to be told whom: these are their charges, in order.
    #[must_use]
    pub fn pass(
        &self,
        (from, to): (u64, u64),
        charges: &[(u64, Owed)],
        governed: &Governed,
        moment: Moment,
    ) -> Pass {
        // Only these come along: of the others something before is untold.
        let along: BTreeMap<AccountId, u64> = self
            .ready(moment)
            .filter(|(_, behind)| behind.told >= from)
            .map(|(account, behind)| (account, behind.told))
            .collect();
        let mut due: BTreeMap<AccountId, Due> = BTreeMap::new();
        for (n, (seq, owed)) in charges.iter().enumerate() {
            let account = owed.account;
            let Some(generation) = governed.generation(account) else { continue };
            let told = match self.behind.contains_key(&account) {
                true => along.get(&account).copied(),
                false => Some(self.read),
            };
            if told.is_none_or(|told| *seq <= told) {
                continue;
            }
            let due =
                due.entry(account).or_insert(Due { account, generation, first: *seq, charges: Vec::new() });
            due.charges.push(n);
        }
        let idle = along.iter().filter(|(account, told)| !due.contains_key(account) && **told < to);
        let idle = idle.filter_map(|(account, _)| Some((*account, governed.generation(*account)?)));
        Pass { from, to, idle: idle.collect(), due: due.into_values().collect(), news_above: self.read }
    }

    /// What came of a pass: which of its accounts, in their order, were told. `governed` may have changed since.
    pub fn passed(&mut self, pass: &Pass, are_told: &[bool], governed: &Governed, moment: Moment) {
        debug_assert_eq!(pass.due.len(), are_told.len());
        let is_same = |account, generation| governed.generation(account) == Some(generation);
        for (due, is_told) in pass.due.iter().zip(are_told) {
            if is_same(due.account, due.generation) {
                self.heard(due, *is_told, pass.to, moment);
            }
        }
        for (account, generation) in &pass.idle {
            if is_same(*account, *generation)
                && let Some(behind) = self.behind.get_mut(account)
            {
                behind.told = behind.told.max(pass.to);
            }
        }
        if pass.from <= self.read {
            self.read = self.read.max(pass.to);
        }
        self.behind.retain(|_, behind| behind.told < self.read);
    }

    fn heard(&mut self, due: &Due, is_told: bool, to: u64, moment: Moment) {
        let account = due.account;
        if is_told {
            if let Some(behind) = self.behind.get_mut(&account) {
                *behind = Behind { told: to, retry_at_ms: 0, pause_ms: 0 };
            }
            return;
        }
        let pause_ms = self.behind.get(&account).map_or(0, |behind| behind.pause_ms);
        let pause_ms = (pause_ms * 2).clamp(FIRST_PAUSE_MS, LAST_PAUSE_MS);
        let retry_at_ms = moment.now_ms + pause_ms;
        self.behind.insert(account, Behind { told: due.first.saturating_sub(1), retry_at_ms, pause_ms });
    }

    /// The records above `from` are gone up to this number: the books needed their room.
    pub fn lift(&mut self, from: u64, to: u64) {
        for told in self.behind.values_mut().map(|behind| &mut behind.told).chain([&mut self.read]) {
            if (from..to).contains(told) {
                *told = to;
            }
        }
        self.behind.retain(|_, behind| behind.told < self.read);
    }

    /// An account has answered, or all may: those that are behind are told at once.
    pub fn retry(&mut self, is_meant: impl Fn(AccountId) -> bool) {
        for (_, behind) in self.behind.iter_mut().filter(|(account, _)| is_meant(**account)) {
            (behind.retry_at_ms, behind.pause_ms) = (0, 0);
        }
    }
}

/// How soon an account that cannot be told is tried again.
const FIRST_PAUSE_MS: u64 = 50;
/// How long it takes at most until it is.
const LAST_PAUSE_MS: u64 = 5_000;

#[cfg(test)]
mod tests;
