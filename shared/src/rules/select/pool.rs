//! The providers of a configuration, made ready for choosing: once per snapshot, so that a choice among hundreds compares
//! numbers. Names of groups are numbers here, and each different list of rules is there once.

use crate::contract::breaker::Terms;
use crate::ids::ProviderId;
use crate::model::{ActiveTime, ClientPattern, GroupSet, ModelRule, Provider};
use crate::protocol::Dialect;
use crate::time::Zone;
use std::collections::{HashMap, HashSet};

/// Who can be chosen.
#[derive(Debug, Default)]
pub struct Pool {
    /// In the order of their ids.
    pub(super) members: Vec<Member>,
    groups: HashMap<String, usize>,
    /// Each list that any member has, once.
    pub(super) model_rules: Vec<Vec<ModelRule>>,
    /// The same of client rules.
    pub(super) client_rules: Vec<ClientRules>,
    /// Whose clock schedules go by.
    pub(super) zone: Zone,
}

/// Which clients a provider serves.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ClientRules {
    pub allowed: Vec<ClientPattern>,
    pub blocked: Vec<ClientPattern>,
}

/// What of a provider decides.
#[derive(Debug)]
pub(super) struct Member {
    pub id: ProviderId,
    pub is_enabled: bool,
    pub is_usable: bool,
    pub active_time: Option<ActiveTime>,
    pub dialect: Dialect,
    pub weight: u32,
    /// What its breaker is judged under.
    pub terms: Terms,
    priority: u32,
    /// Which of [`Pool::model_rules`]; `None`: it serves every model.
    pub model_rules: Option<usize>,
    /// Which of [`Pool::client_rules`]; `None`: it serves every client.
    pub client_rules: Option<usize>,
    groups: Vec<Membership>,
}

#[derive(Debug)]
struct Membership {
    group: usize,
    priority: Option<u32>,
}

impl Pool {
    /// All providers of a snapshot. Those that cannot be asked at all (the secret does not open, the URL is none) are
    /// explained and never chosen.
    #[must_use]
    pub fn new(providers: &[Provider], unusable: &HashSet<ProviderId>, zone: &Zone) -> Self {
        let mut pool = Self { zone: zone.clone(), ..Self::default() };
        for provider in providers {
            let memberships = provider.group_tag.names().map(|name| Membership {
                group: pool.group(name),
                priority: provider.group_priorities.get(name).copied(),
            });
            let groups = memberships.collect();
            pool.members.push(Member {
                id: provider.id,
                is_enabled: provider.is_enabled,
                is_usable: !unusable.contains(&provider.id),
                active_time: provider.active_time,
                dialect: provider.provider_type.dialect(),
                weight: provider.weight,
                terms: provider.circuit_terms(),
                priority: provider.priority,
                model_rules: once(&mut pool.model_rules, &provider.allowed_models, Vec::is_empty),
                client_rules: once(&mut pool.client_rules, &client_rules(provider), |rules| {
                    rules.allowed.is_empty() && rules.blocked.is_empty()
                }),
                groups,
            });
        }
        pool.members.sort_by_key(|member| member.id);
        pool
    }

    /// The one provider that there is for a caller: enabled, of its groups, speaking its API. `None` when there are none or
    /// several, be it that all but one rest just now.
    #[must_use]
    pub fn sole(&self, groups: &GroupSet, dialect: Dialect) -> Option<ProviderId> {
        let access = self.access(groups);
        let mut all = self
            .members
            .iter()
            .filter(|member| member.is_enabled && member.dialect == dialect && access.may_use(member));
        all.next().filter(|_| all.next().is_none()).map(|member| member.id)
    }

    /// The number of a group.
    fn group(&mut self, name: &str) -> usize {
        match self.groups.get(name) {
            Some(number) => *number,
            None => {
                let number = self.groups.len();
                self.groups.insert(name.to_owned(), number);
                number
            }
        }
    }

    /// Which of the pool's groups a caller has.
    pub(super) fn access(&self, caller: &GroupSet) -> Access {
        let mut named = vec![false; self.groups.len()];
        for number in caller.names().filter_map(|name| self.groups.get(name)) {
            if let Some(place) = named.get_mut(*number) {
                *place = true;
            }
        }
        Access { named, has_all: caller.names().any(|name| name == GroupSet::ALL) }
    }
}

/// The groups of a caller.
pub(super) struct Access {
    /// By number.
    named: Vec<bool>,
    has_all: bool,
}

impl Access {
    pub fn may_use(&self, member: &Member) -> bool {
        self.has_all || member.groups.iter().any(|membership| self.names(membership.group))
    }

    /// The tier of a member for this caller. Who may use all groups is of none of them, unless it names them too.
    pub fn priority(&self, member: &Member) -> u32 {
        let of_mine = member.groups.iter().filter(|membership| self.names(membership.group));
        of_mine.filter_map(|membership| membership.priority).min().unwrap_or(member.priority)
    }

    fn names(&self, group: usize) -> bool {
        self.named.get(group).is_some_and(|is_named| *is_named)
    }
}

fn client_rules(provider: &Provider) -> ClientRules {
    ClientRules { allowed: provider.allowed_clients.clone(), blocked: provider.blocked_clients.clone() }
}

/// The place of equal rules, which are put there if they are not; `None` for those that say nothing.
fn once<T: PartialEq + Clone>(all: &mut Vec<T>, rules: &T, is_empty: impl Fn(&T) -> bool) -> Option<usize> {
    if is_empty(rules) {
        return None;
    }
    let place = all.iter().position(|known| known == rules);
    Some(place.unwrap_or_else(|| {
        all.push(rules.clone());
        all.len() - 1
    }))
}
