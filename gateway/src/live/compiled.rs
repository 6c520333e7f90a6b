//! The part of a configuration that is few and read whole: providers with their opened secrets, groups, prices,
//! settings.

use crate::events;
use shared::contract::snapshot::Core;
use shared::ids::ProviderId;
use shared::model::price::ModelPrice;
use shared::model::{Provider, Settings};
use shared::money::Multiplier;
use shared::rules::affinity::Identity;
use shared::rules::error_rules::ErrorRules;
use shared::rules::select::Pool;
pub use shared::rules::upstream::Reach as Route;
use shared::secret::HubKey;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// The core of a configuration and what was made of it.
#[derive(Default)]
pub struct Compiled {
    /// As it was published, secrets sealed.
    pub core: Core,
    /// The providers that can be used.
    pub providers: Vec<Provider>,
    /// All providers, ready for choosing.
    pub pool: Pool,
    /// Which account each provider is.
    pub identities: HashMap<ProviderId, Identity>,
    /// How to reach them.
    pub routes: HashMap<ProviderId, Arc<Route>>,
    /// Which errors are the request's own fault.
    pub error_rules: Arc<ErrorRules>,
    groups: HashMap<String, Multiplier>,
}

/// What usage costs.
#[derive(Clone, Copy)]
pub struct Terms<'a> {
    groups: &'a HashMap<String, Multiplier>,
    /// Prices by model.
    pub prices: &'a BTreeMap<String, ModelPrice>,
    /// System-wide settings.
    pub settings: &'a Settings,
}

impl Compiled {
    /// Compiles a core. A provider that cannot be used (its secret does not open, its URL is none) is reported
    /// and never chosen; the others serve. So is a rule on errors that this release does not know how to ask.
    /// `error_rules`: those of the core, where they were compiled before.
    pub fn of(core: Core, hub_key: &HubKey, error_rules: Option<Arc<ErrorRules>>) -> Self {
        let mut routes = HashMap::new();
        let mut unusable = HashSet::new();
        let mut providers = Vec::with_capacity(core.providers.len());
        for provider in &core.providers {
            match Route::of(provider, hub_key) {
                Ok(route) => {
                    routes.insert(provider.id, Arc::new(route));
                    providers.push(provider.clone());
                }
                Err(reason) => {
                    unusable.insert(provider.id);
                    events::provider_unusable(provider.id, reason);
                }
            }
        }
        let groups = core.groups.iter().map(|group| (group.name.clone(), group.cost_multiplier)).collect();
        let zone = &core.settings.timezone;
        if !zone.is_known() {
            events::zone_unknown(zone);
        }
        let pool = Pool::new(&core.providers, &unusable, zone);
        let identities = core.providers.iter().map(|provider| (provider.id, provider.identity())).collect();
        let error_rules = error_rules.unwrap_or_else(|| Arc::new(compiled_rules(&core)));
        Self { core, providers, pool, identities, routes, error_rules, groups }
    }

    /// What usage costs.
    pub fn terms(&self) -> Terms<'_> {
        Terms { groups: &self.groups, prices: &self.core.prices, settings: &self.core.settings }
    }
}

fn compiled_rules(core: &Core) -> ErrorRules {
    let (rules, unusable) = ErrorRules::compile(&core.error_rules);
    for rule in unusable {
        events::error_rule_unusable(rule);
    }
    rules
}

impl Terms<'_> {
    /// The factor of a group, if it exists.
    #[must_use]
    pub fn group_multiplier(&self, name: &str) -> Option<Multiplier> {
        self.groups.get(name).copied()
    }
}
