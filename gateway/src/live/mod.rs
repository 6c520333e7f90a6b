//! The configuration in force: a published snapshot, compiled once into what the hot path looks up.
//!
//! One immutable [`Live`] per revision, swapped whole; a request takes one and keeps it, so that it never
//! sees two configurations. Secrets are opened here and live only in memory.

mod follow;

pub use follow::follow;

use crate::events;
use shared::contract::snapshot::Snapshot;
use shared::ids::{ProviderId, Revision, UserId};
use shared::model::price::ModelPrice;
use shared::model::{Group, Key, Provider, Settings, User};
use shared::money::Multiplier;
use shared::rules::upstream::{BaseUrl, UpstreamHeaders};
use shared::secret::{HubKey, KeyDigest, SealError};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A configuration, ready for use.
pub struct Live {
    revision: Revision,
    principals: HashMap<KeyDigest, Arc<Principal>>,
    providers: Vec<Provider>,
    routes: HashMap<ProviderId, Arc<Route>>,
    terms: Terms,
}

/// A key with its user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The key's user.
    pub user: User,
    /// The key.
    pub key: Key,
}

/// How to reach a provider: its parsed address, and headers that carry its opened secret.
pub struct Route {
    /// Where requests go.
    pub base: BaseUrl,
    /// What requests carry besides the seat's headers.
    pub headers: UpstreamHeaders,
}

/// What usage costs.
pub struct Terms {
    groups: HashMap<String, Multiplier>,
    /// Prices by model.
    pub prices: BTreeMap<String, ModelPrice>,
    /// System-wide settings.
    pub settings: Settings,
}

impl Live {
    /// Nothing is configured: every key is unknown.
    #[must_use]
    pub fn empty() -> Self {
        let terms = Terms { groups: HashMap::new(), prices: BTreeMap::new(), settings: Settings::default() };
        Self {
            revision: Revision(0),
            principals: HashMap::new(),
            providers: Vec::new(),
            routes: HashMap::new(),
            terms,
        }
    }

    /// Compiles a snapshot. A provider that cannot be used (its secret does not open, its URL is none) is
    /// reported and left out; the others serve.
    #[must_use]
    pub fn compile(snapshot: &Snapshot, hub_key: &HubKey) -> Self {
        let users: HashMap<UserId, User> =
            snapshot.principals.users.iter().map(|doc| (doc.id, User::from(doc.clone()))).collect();
        let principals = snapshot.principals.keys.iter().filter_map(|doc| {
            // A key without its user is a row on its way out: unknown.
            let user = users.get(&doc.user_id)?.clone();
            Some((doc.digest, Arc::new(Principal { user, key: Key::from(doc.clone()) })))
        });
        let mut routes = HashMap::new();
        let mut providers = Vec::with_capacity(snapshot.core.providers.len());
        for provider in &snapshot.core.providers {
            match route(provider, hub_key) {
                Ok(route) => {
                    routes.insert(provider.id, Arc::new(route));
                    providers.push(provider.clone());
                }
                Err(reason) => events::provider_unusable(provider.id, reason),
            }
        }
        let groups = snapshot.core.groups.iter().map(|doc| {
            let group = Group::from(doc.clone());
            (group.name, group.cost_multiplier)
        });
        let terms = Terms {
            groups: groups.collect(),
            prices: snapshot.core.prices.clone(),
            settings: snapshot.core.settings.clone(),
        };
        Self { revision: snapshot.revision, principals: principals.collect(), providers, routes, terms }
    }

    /// The revision this was compiled from.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Whose key this is.
    #[must_use]
    pub fn principal(&self, digest: &KeyDigest) -> Option<&Arc<Principal>> {
        self.principals.get(digest)
    }

    /// All usable providers, in the order of their ids.
    #[must_use]
    pub fn providers(&self) -> &[Provider] {
        &self.providers
    }

    /// A provider and how to reach it.
    #[must_use]
    pub fn provider(&self, id: ProviderId) -> Option<(&Provider, &Arc<Route>)> {
        let provider = self.providers.iter().find(|p| p.id == id)?;
        self.routes.get(&id).map(|route| (provider, route))
    }

    /// What usage costs.
    #[must_use]
    pub fn terms(&self) -> &Terms {
        &self.terms
    }
}

impl Terms {
    /// The factor of a group, if it exists.
    #[must_use]
    pub fn group_multiplier(&self, name: &str) -> Option<Multiplier> {
        self.groups.get(name).copied()
    }
}

fn route(provider: &Provider, hub_key: &HubKey) -> Result<Route, &'static str> {
    let base = BaseUrl::parse(&provider.url).map_err(|error| error.label())?;
    let secret = hub_key
        .open(&provider.secret, &Provider::secret_place(provider.id))
        .map_err(|_| "key does not open with this HUB_SECRET_KEY")?;
    let opened = provider.custom_headers.iter().map(|(name, sealed)| {
        let value = hub_key.open(sealed, &Provider::header_place(provider.id, name))?;
        Ok((name.clone(), value.expose().to_owned()))
    });
    let custom = opened
        .collect::<Result<Vec<_>, SealError>>()
        .map_err(|_| "a custom header does not open with this HUB_SECRET_KEY")?;
    let headers = UpstreamHeaders::new(provider.provider_type, &base, &secret, &custom)
        .map_err(|error| error.label())?;
    Ok(Route { base, headers })
}
