//! What a choice is explained on: of the configuration as it is now, in one moment, what a choice looks at.

use super::Caller;
use crate::error::{Error, Resource};
use crate::repo::db::Db;
use crate::repo::{providers, revision};
use crate::service::quotas::principal;
use crate::service::settings;
use crate::service::snapshot::published_providers;
use shared::ids::{ProviderId, Revision};
use shared::model::{Key, Provider, User};
use shared::time::Zone;

/// A part of the configuration. A hub may have thousands of users, keys and prices, and none of those is asked for.
pub struct Ground {
    /// The newest revision at that moment.
    pub revision: Revision,
    /// The zone whose clock schedules and budgets go by.
    pub zone: Zone,
    /// All providers, by id.
    pub providers: Vec<Provider>,
    /// Who calls; `None`: somebody of some groups.
    pub principal: Option<(User, Key)>,
}

impl Ground {
    /// Reads it.
    pub async fn read(db: &Db, caller: &Caller) -> Result<Self, Error> {
        let moment = db.read_moment().await?;
        let principal = match caller {
            Caller::Groups(_) => None,
            Caller::Key(id) => Some(principal(&moment, *id).await?.ok_or(Error::NotFound(Resource::Key))?),
        };
        let ground = Self {
            revision: revision::newest(&moment).await?,
            zone: settings::timezone(&moment).await?,
            providers: published_providers(&providers::all_providers(&moment).await?),
            principal,
        };
        moment.rollback().await?;
        Ok(ground)
    }

    /// The provider with this id.
    pub fn provider(&self, id: ProviderId) -> Option<&Provider> {
        let place = self.providers.binary_search_by_key(&id, |provider| provider.id).ok()?;
        self.providers.get(place)
    }
}
