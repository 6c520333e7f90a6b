//! What accounts are opened with: the books and the configuration, as they were in one moment.
//!
//! Nothing here decides: how books are read and what is told of them is in `shared::rules::quota::opening`.

use super::{generations, limits, settings};
use crate::error::{Error, Resource};
use crate::repo::cut::{Interrupted, interrupted};
use crate::repo::db::Db;
use crate::repo::entity::{keys, providers, users};
use crate::repo::limits::Limited;
use crate::repo::spending::{Ahead, OfKey, ahead, parts, rows_of_each};
use crate::repo::{budget_epoch, journals, revision, usage_days};
use sea_orm::{ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter};
use shared::ids::{KeyId, ProviderId, Revision, UserId};
use shared::model::Limits;
use shared::rules::old_journals::{counts_from, may_count};
use shared::rules::quota::opening::{Lump, MARGIN_MS, Reading, scopes_of_user, spends};
use shared::rules::quota::window::DAY_MS;
use shared::rules::quota::{AccountId, Opening, ScopeId, Spends, Terms};
use shared::rules::usage_days::Span;
use shared::time::{UnixMillis, Zone};
use std::collections::{BTreeMap, BTreeSet};

/// The database in one moment.
pub struct Moment {
    tx: DatabaseTransaction,
    /// The newest configuration.
    pub revision: Revision,
    /// The last epoch of the store of budgets that was begun; 0: none yet.
    pub epoch: u64,
}

/// A governed account, as it is configured.
#[derive(Clone, Debug)]
pub struct Budget {
    /// How often it has come under limits.
    pub generation: u32,
    /// The user's or the provider's own limits.
    pub owner: Limits,
    /// Those of the user's keys, deleted ones too.
    pub keys: BTreeMap<KeyId, Limits>,
    /// The deleted ones.
    pub deleted: BTreeSet<KeyId>,
}

impl Moment {
    /// Begins it.
    pub async fn begin(db: &Db) -> Result<Self, Error> {
        let tx = db.read_moment().await?;
        // The first look is the one that counts.
        let revision = revision::newest(&tx).await?;
        let epoch = budget_epoch::kept(&tx).await?;
        Ok(Self { tx, revision, epoch })
    }

    /// Ends it.
    pub async fn end(self) -> Result<(), Error> {
        Ok(self.tx.rollback().await?)
    }

    /// Those of these accounts that are there and governed. One that cannot be read is told and left out, as it is of what is
    /// published.
    pub async fn budgets(&self, accounts: &[AccountId]) -> Result<BTreeMap<AccountId, Budget>, Error> {
        let (mut of_users, mut of_providers) = (Vec::new(), Vec::new());
        for account in accounts {
            match account {
                AccountId::User(id) => of_users.push(id.0),
                AccountId::Provider(id) => of_providers.push(id.0),
            }
        }
        let mut budgets = BTreeMap::new();
        if !of_users.is_empty() {
            let of_user = keys::Column::UserId.is_in(of_users.clone());
            let mut all_keys: BTreeMap<i64, Vec<keys::Model>> = BTreeMap::new();
            // Deleted ones as well: what they spent is their user's.
            for key in keys::Entity::find().filter(of_user).all(&self.tx).await? {
                all_keys.entry(key.user_id).or_default().push(key);
            }
            let there = users::Entity::find().filter(users::Column::Id.is_in(of_users));
            for user in there.filter(users::Column::DeletedAtMs.is_null()).all(&self.tx).await? {
                let of_it = all_keys.remove(&user.id).unwrap_or_default();
                budgets.insert(AccountId::User(UserId(user.id)), budget_of_user(&user, &of_it));
            }
        }
        if !of_providers.is_empty() {
            let there = providers::Entity::find().filter(providers::Column::Id.is_in(of_providers));
            for row in there.filter(providers::Column::DeletedAtMs.is_null()).all(&self.tx).await? {
                budgets.insert(AccountId::Provider(ProviderId(row.id)), budget_of_provider(&row));
            }
        }
        Ok(readable(budgets))
    }

    /// What these are opened with, at a moment of the store.
    pub async fn openings(
        &self,
        due: Vec<(AccountId, Budget, UnixMillis)>,
    ) -> Result<Vec<(AccountId, Opening)>, Error> {
        let Some(now) = due.iter().map(|(_, _, now)| *now).min() else { return Ok(Vec::new()) };
        let books = Books {
            zone: settings::timezone(&self.tx).await?,
            ahead: ahead(&self.tx).await?,
            hold: usage_days::that_hold(&self.tx).await?,
        };
        let journals = journals::watermarks(&self.tx).await?;
        let since = UnixMillis(now.0 - CORRECTED_WITHIN_MS - MARGIN_MS);
        let accounts = due.iter().map(|(account, ..)| *account);
        let mut interrupted = interrupted(&self.tx, accounts, since, books.ahead).await?;
        let reads = due.into_iter().map(|(account, budget, now)| {
            let scopes = budget.scopes(account, &books.zone, now);
            let reading = Reading::of(scopes.values(), now);
            ((budget, scopes, now), (account, reading))
        });
        let (due, readings): (Vec<_>, Vec<_>) = reads.unzip();
        let mut rows = rows_of_each(&self.tx, &readings, books.ahead).await?;
        let mut parts = parts(&self.tx, &readings, &books.hold, books.ahead).await?;
        let mut openings = Vec::with_capacity(due.len());
        for ((budget, scopes, now), (account, _)) in due.into_iter().zip(&readings) {
            let Interrupted { holds, beyond } = interrupted.remove(account).unwrap_or_default();
            let from = counts_from(scopes.values(), now);
            let counting = journals.iter().filter(|watermark| may_count(watermark.heard, from));
            let journals = counting.map(|watermark| (watermark.journal, watermark.seq)).collect();
            let mut rows = rows.remove(account).unwrap_or_default();
            rows.extend(beyond);
            let parts = parts.remove(account).unwrap_or_default();
            let spends = budget.spends(scopes, parts, rows, now);
            let interrupted = holds.into_iter().collect();
            openings.push((*account, Opening { spends, journals, interrupted }));
        }
        Ok(openings)
    }
}

/// What all openings of a moment have in common.
struct Books {
    zone: Zone,
    ahead: Ahead,
    hold: BTreeSet<Span>,
}

impl Budget {
    fn scopes(&self, account: AccountId, zone: &Zone, now: UnixMillis) -> BTreeMap<ScopeId, Terms> {
        match account {
            AccountId::User(_) => scopes_of_user(&self.owner, &self.keys, zone, now),
            AccountId::Provider(_) => [(ScopeId::Owner, Terms::of(&self.owner, zone, now))].into(),
        }
    }

    /// What these scopes spent, where something is known of them or may still be spent.
    fn spends(
        &self,
        scopes: BTreeMap<ScopeId, Terms>,
        parts: Vec<OfKey>,
        rows: Vec<OfKey>,
        now: UnixMillis,
    ) -> Vec<Spends> {
        let of_keys = |all: Vec<OfKey>| {
            let mut by_key: BTreeMap<KeyId, Vec<Lump>> = BTreeMap::new();
            all.into_iter().for_each(|(key, lump)| by_key.entry(key).or_default().push(lump));
            by_key
        };
        let (rows, parts) = (of_keys(rows), of_keys(parts));
        let all = |by_key: &BTreeMap<KeyId, Vec<Lump>>| by_key.values().flatten().copied().collect();
        let of_scopes = scopes.into_iter().filter_map(|(scope, terms)| {
            let (parts, rows): (Vec<_>, Vec<_>) = match scope {
                ScopeId::Owner => (all(&parts), all(&rows)),
                ScopeId::Key(key) => {
                    let of = |by_key: &BTreeMap<_, Vec<_>>| by_key.get(&key).cloned().unwrap_or_default();
                    (of(&parts), of(&rows))
                }
            };
            let is_needed = !self.is_deleted(scope) || !parts.is_empty() || !rows.is_empty();
            is_needed.then(|| spends(scope, terms, &parts, &rows, now))
        });
        of_scopes.collect()
    }

    fn is_deleted(&self, scope: ScopeId) -> bool {
        match scope {
            ScopeId::Owner => false,
            ScopeId::Key(key) => self.deleted.contains(&key),
        }
    }
}

fn readable(budgets: BTreeMap<AccountId, Result<Budget, Error>>) -> BTreeMap<AccountId, Budget> {
    let told = |(account, budget): (AccountId, Result<Budget, Error>)| {
        let budget =
            budget.inspect_err(|error| tracing::error!(?account, %error, "a budget cannot be opened"));
        Some((account, budget.ok()?)).filter(|(_, budget)| budget.generation > 0)
    };
    budgets.into_iter().filter_map(told).collect()
}

fn budget_of_user(user: &users::Model, all_keys: &[keys::Model]) -> Result<Budget, Error> {
    let key = |row: &keys::Model| {
        // Nobody is let in with one that cannot be read; the others go on.
        let told =
            |error: &Error| tracing::error!(key_id = row.id, %error, "a key's budget cannot be opened");
        let limits = limits_of(row, Resource::Key, row.id).inspect_err(told).ok()?;
        Some((KeyId(row.id), limits))
    };
    let (live, deleted): (Vec<_>, Vec<_>) = all_keys.iter().partition(|row| row.deleted_at_ms.is_none());
    let is_governed = user.is_limited() || live.into_iter().any(Limited::is_limited);
    Ok(Budget {
        generation: generations::published(is_governed, user.budget_generations),
        owner: limits_of(user, Resource::User, user.id)?,
        keys: all_keys.iter().filter_map(key).collect(),
        deleted: deleted.into_iter().map(|row| KeyId(row.id)).collect(),
    })
}

fn budget_of_provider(row: &providers::Model) -> Result<Budget, Error> {
    Ok(Budget {
        generation: generations::published(row.is_limited(), row.budget_generations),
        owner: limits_of(row, Resource::Provider, row.id)?,
        keys: BTreeMap::new(),
        deleted: BTreeSet::new(),
    })
}

fn limits_of(row: &impl Limited, resource: Resource, id: i64) -> Result<Limits, Error> {
    let corrupt = |column| Error::Corrupt { resource, id: id.to_string(), column };
    limits::stored(row.limit_columns()).map_err(corrupt)
}

/// How long what was interrupted is remembered: as an account does.
const CORRECTED_WITHIN_MS: i64 = 8 * DAY_MS;
