//! What a record says about budgets, and whose limits count.

use super::calendar::Calendar;
use super::window::Terms;
use super::words::{AccountId, HoldId, ScopeId};
use crate::contract::usage::{AttemptEntry, Outcome, UsageRecord};
use crate::ids::KeyId;
use crate::model::{Key, Limits, Provider, User};
use crate::money::NanoUsd;
use crate::time::{UnixMillis, Zone};

/// What a record says about one account: a [`Charge`](super::Charge) but for the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owed {
    /// Whose money it is.
    pub account: AccountId,
    /// The key it was spent with, where the account is a user's.
    pub key: Option<KeyId>,
    /// Its hold.
    pub hold: HoldId,
    /// What it cost.
    pub cost: NanoUsd,
    /// When it counts.
    pub at: UnixMillis,
    /// Its request was cut with its process: several may tell of it, each who adopts the journal.
    pub is_interrupted: bool,
}

/// All that a record says about budgets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// What is charged: its user's first, with a charge for each attempt that was covered by itself, then that of each provider
    /// that was tried.
    pub owed: Vec<Owed>,
    /// Holds that it says nothing of: no store let them in, and nothing was spent.
    pub silent: Vec<(AccountId, HoldId)>,
}

/// What a record says about budgets: its user's first, then that of each provider that was tried. Nothing of a request that
/// was neither let in nor forwarded. Everything that is in the ledger counts, a failed attempt's tokens too: what a budget
/// shows is what the books show.
#[must_use]
pub fn owed(record: &UsageRecord) -> Vec<Owed> {
    Said::of(record).owed
}

impl Said {
    /// Of a record that is at hand.
    #[must_use]
    pub fn of(record: &UsageRecord) -> Self {
        let request = &record.request;
        let admitted_at = request.admitted_at.unwrap_or(request.started_at);
        let mut all = Self { owed: Vec::with_capacity(1 + record.attempts.len()), silent: Vec::new() };
        let sum = |sum, attempt: &AttemptEntry| sum + attempt.cost.total;
        let cost = record.attempts.iter().fold(NanoUsd(0), sum);
        // What was put aside for these is told by itself: the rest is what the request's own hold is for.
        let covered = record.attempts.iter().filter(|attempt| attempt.is_covered);
        let of_covered = covered.clone().fold(NanoUsd(0), sum);
        let is_interrupted = record.attempts.iter().any(|attempt| attempt.outcome == Outcome::Interrupted);
        let user = AccountId::User(request.caller.user_id);
        let hold = HoldId(request.id, 0);
        // What cost nothing and has no hold says nothing: a count of tokens.
        if request.admitted_at.is_some() || cost != NanoUsd(0) {
            all.owed.push(Owed {
                account: user,
                key: Some(request.caller.key_id),
                hold,
                cost: at_least(cost - of_covered, request.held - of_covered, is_interrupted),
                at: admitted_at,
                is_interrupted,
            });
            all.owed.extend(covered.map(|attempt| Owed {
                account: user,
                key: Some(request.caller.key_id),
                hold: HoldId(request.id, attempt.attempt),
                cost: attempt.cost.total,
                at: admitted_at,
                is_interrupted,
            }));
        } else {
            all.silent.push((user, hold));
        }
        for attempt in &record.attempts {
            let account = AccountId::Provider(attempt.provider_id);
            let hold = HoldId(request.id, attempt.attempt);
            if attempt.admitted_at.is_none() && attempt.cost.total == NanoUsd(0) {
                all.silent.push((account, hold));
                continue;
            }
            all.owed.push(Owed {
                account,
                key: None,
                hold,
                cost: at_least(attempt.cost.total, attempt.held, attempt.outcome == Outcome::Interrupted),
                at: attempt.admitted_at.unwrap_or(admitted_at),
                is_interrupted,
            });
        }
        all
    }
}

/// What a record of a journal says; `None` for what this release cannot read.
#[must_use]
pub fn said_by(record: &[u8]) -> Option<Said> {
    UsageRecord::from_bytes(record).map(|record| Said::of(&record))
}

/// Of what was cut with its process nobody knows how far it came: all that was put aside is taken for spent.
fn at_least(cost: NanoUsd, held: NanoUsd, is_interrupted: bool) -> NanoUsd {
    if is_interrupted { cost.max(held) } else { cost }
}

/// Whose limits count for a caller, in the order in which they are looked at: the key's, then the user's. A user's markers
/// clip the key's windows as well.
#[must_use]
pub fn scopes_of_caller(user: &User, key: &Key, zone: &Zone, now: UnixMillis) -> Vec<(ScopeId, Terms)> {
    Calendar::default().scopes_of_caller(user, key, zone, now)
}

/// Of [`scopes_of_caller`] the key's alone.
#[must_use]
pub fn scope_of_key(user: &User, key: &Key, zone: &Zone, now: UnixMillis) -> (ScopeId, Terms) {
    Calendar::default().scope_of_key(user, key, zone, now)
}

/// A key's limits, clipped by its user's markers.
pub(super) fn limits_of_key(user: &Limits, key: &Limits) -> Limits {
    Limits {
        reset_at: key.reset_at.max(user.reset_at),
        five_hours_reset_at: key.five_hours_reset_at.max(user.five_hours_reset_at),
        ..key.clone()
    }
}

/// What [`scopes_of_caller`] says for a provider.
#[must_use]
pub fn scopes_of_provider(provider: &Provider, zone: &Zone, now: UnixMillis) -> Vec<(ScopeId, Terms)> {
    Calendar::default().scopes_of_provider(provider, zone, now)
}

impl Calendar {
    /// [`scopes_of_caller`], quicker.
    pub fn scopes_of_caller(
        &mut self,
        user: &User,
        key: &Key,
        zone: &Zone,
        now: UnixMillis,
    ) -> Vec<(ScopeId, Terms)> {
        vec![self.scope_of_key(user, key, zone, now), (ScopeId::Owner, self.terms(&user.limits, zone, now))]
    }

    fn scope_of_key(&mut self, user: &User, key: &Key, zone: &Zone, now: UnixMillis) -> (ScopeId, Terms) {
        (ScopeId::Key(key.id), self.terms(&limits_of_key(&user.limits, &key.limits), zone, now))
    }

    /// [`scopes_of_provider`], quicker.
    pub fn scopes_of_provider(
        &mut self,
        provider: &Provider,
        zone: &Zone,
        now: UnixMillis,
    ) -> Vec<(ScopeId, Terms)> {
        vec![(ScopeId::Owner, self.terms(&provider.limits, zone, now))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::usage::{AttemptEntry, CostBreakdown, TokenUsage, USAGE_SCHEMA, UsageFlags};
    use crate::ids::{ProviderId, UserId};
    use crate::testing::{key, usage_record, user};

    fn attempt(attempt: u32, outcome: Outcome, cost: i64, admitted_at: Option<UnixMillis>) -> AttemptEntry {
        AttemptEntry {
            attempt,
            provider_id: ProviderId(i64::from(attempt)),
            upstream_model: None,
            outcome,
            usage: TokenUsage::default(),
            cost: CostBreakdown { total: NanoUsd(cost), ..CostBreakdown::default() },
            flags: UsageFlags::default(),
            admitted_at,
            held: NanoUsd(0),
            is_covered: false,
        }
    }

    #[test]
    fn a_user_owes_all_attempts_and_each_provider_its_own() {
        let mut record = usage_record(1);
        assert_eq!(owed(&record), [], "it was refused");
        record.request.admitted_at = Some(UnixMillis(50));
        record.attempts = vec![
            attempt(1, Outcome::Failed, 3, None),
            attempt(2, Outcome::Interrupted, 40, Some(UnixMillis(60))),
        ];
        let id = record.request.id;
        let of = |account, key, n, cost, at, is_interrupted| Owed {
            account,
            key,
            hold: HoldId(id, n),
            cost: NanoUsd(cost),
            at: UnixMillis(at),
            is_interrupted,
        };
        let user = AccountId::User(UserId(1));
        let provider = |id| AccountId::Provider(ProviderId(id));
        let expected = [
            of(user, Some(KeyId(1)), 0, 43, 50, true),
            of(provider(1), None, 1, 3, 50, true),
            of(provider(2), None, 2, 40, 60, true),
        ];
        assert_eq!(owed(&record), expected);
        record.attempts.clear();
        assert_eq!(owed(&record), [of(user, Some(KeyId(1)), 0, 0, 50, false)], "its hold goes");
    }

    #[test]
    fn what_was_cut_with_its_process_counts_as_what_was_put_aside() {
        let mut record = usage_record(1);
        (record.request.admitted_at, record.request.held) = (Some(UnixMillis(50)), NanoUsd(900));
        let cut =
            AttemptEntry { held: NanoUsd(700), ..attempt(1, Outcome::Interrupted, 40, Some(UnixMillis(60))) };
        record.attempts = vec![cut];
        let costs = |record: &UsageRecord| owed(record).iter().map(|owed| owed.cost.0).collect::<Vec<_>>();
        assert_eq!(costs(&record), [900, 700]);
        record.attempts[0].outcome = Outcome::Served;
        assert_eq!(costs(&record), [40, 40], "one that ended is known");
    }

    #[test]
    fn what_a_failed_attempt_cost_is_told_by_itself_where_it_was_covered() {
        let mut record = usage_record(1);
        // Seventy for an attempt, and what the first one came to.
        (record.request.admitted_at, record.request.held) = (Some(UnixMillis(50)), NanoUsd(73));
        let covered = AttemptEntry { is_covered: true, ..attempt(1, Outcome::Failed, 3, None) };
        record.attempts =
            vec![covered, attempt(2, Outcome::Failed, 5, None), attempt(3, Outcome::Served, 60, None)];
        let of_user = |record: &UsageRecord| {
            let of_user = |owed: &Owed| matches!(owed.account, AccountId::User(_));
            owed(record)
                .into_iter()
                .filter(of_user)
                .map(|owed| (owed.hold.1, owed.cost.0))
                .collect::<Vec<_>>()
        };
        assert_eq!(of_user(&record), [(0, 65), (1, 3)]);
        record.attempts[2].outcome = Outcome::Interrupted;
        assert_eq!(
            of_user(&record),
            [(0, 70), (1, 3)],
            "cut with its process, it may have cost all of its own"
        );
    }

    #[test]
    fn what_costs_nothing_and_holds_nothing_is_not_told() {
        let mut record = usage_record(1);
        record.attempts = vec![attempt(1, Outcome::Served, 0, None)];
        assert_eq!(owed(&record), []);
        let (request, provider) = (record.request.id, AccountId::Provider(ProviderId(1)));
        let silent = vec![(AccountId::User(UserId(1)), HoldId(request, 0)), (provider, HoldId(request, 1))];
        let said = Said { owed: vec![], silent };
        assert_eq!(said_by(&record.to_bytes().unwrap()), Some(said));
    }

    #[test]
    fn a_journals_record_says_the_same_as_the_record() {
        let mut record = usage_record(1);
        record.request.admitted_at = Some(UnixMillis(50));
        record.attempts = vec![
            attempt(1, Outcome::Failed, 3, None),
            attempt(2, Outcome::Interrupted, 40, Some(UnixMillis(60))),
            attempt(3, Outcome::Failed, 0, None),
        ];
        let said = said_by(&record.to_bytes().unwrap()).unwrap();
        assert_eq!((said.owed.len(), said.silent.len()), (3, 1));
        assert_eq!(said.owed, owed(&record));
        record.schema = USAGE_SCHEMA + 1;
        assert_eq!(said_by(&record.to_bytes().unwrap()), None, "a later release means something else");
        assert_eq!(said_by(crate::journal::UNREADABLE_RECORD.as_bytes()), None);
    }

    #[test]
    fn a_users_markers_clip_the_keys_windows() {
        let at = |at: i64| Some(UnixMillis(at));
        let (mut person, mut seat) = (user(1), key(7, 1));
        person.limits = Limits { reset_at: at(20), five_hours_reset_at: at(5), ..Limits::default() };
        seat.limits = Limits { reset_at: at(10), five_hours_reset_at: at(30), ..Limits::default() };
        let scopes = scopes_of_caller(&person, &seat, &Zone::default(), UnixMillis(100));
        let markers = |n: usize| (scopes[n].1.limits.reset_at, scopes[n].1.limits.five_hours_reset_at);
        assert_eq!((scopes[0].0, markers(0)), (ScopeId::Key(KeyId(7)), (at(20), at(30))));
        assert_eq!((scopes[1].0, markers(1)), (ScopeId::Owner, (at(20), at(5))));
    }
}
