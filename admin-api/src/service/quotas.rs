//! How budgets stand: what their store says of the accounts that the database has under limits.
//!
//! What is under limits is read in one moment; then all accounts are asked for side by side, within one deadline. One that is
//! not open in the store's epoch is wanted, as a gateway would, so that it is known the next time.

use super::Admin;
use super::providers::as_published;
use super::settings;
use super::snapshot::{key_doc, user_doc};
use crate::error::Error;
use crate::repo::entity::{keys, providers, users};
use crate::repo::{principals, quotas};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use sea_orm::ConnectionTrait;
use shared::ids::{KeyId, ProviderId, UserId};
use shared::model::{Key, Provider, User};
use shared::ports::{PortError, QuotaStore};
use shared::rules::quota::{
    AccountId, RequestsNow, ScopeId, SessionsNow, Standing, Terms, Window, WindowNow, epoch_of, scope_of_key,
    scopes_of_provider,
};
use shared::time::{UnixMillis, Zone};
use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// Which accounts.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Whose: of one kind alone.
    pub kind: Option<AccountKind>,
    /// This user's.
    pub user: Option<UserId>,
    /// This provider's.
    pub provider: Option<ProviderId>,
    /// Those behind this one: users come first, by id.
    pub after: Option<AccountId>,
    /// At most so many.
    pub limit: u64,
}

/// Whose an account is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountKind {
    /// A user's, with its keys.
    User,
    /// A provider's.
    Provider,
}

/// Some accounts.
#[derive(Clone, Debug)]
pub struct QuotaPage {
    /// How they stand.
    pub items: Vec<Quota>,
    /// The last one that was looked at, when more follow.
    pub next: Option<AccountId>,
}

/// How an account stands.
#[derive(Clone, Debug)]
pub struct Quota {
    /// Whose.
    pub account: AccountId,
    /// The user's or the provider's name.
    pub name: String,
    /// False: nobody knows yet what was spent.
    pub is_open: bool,
    /// Its limited windows: its own, then those of its keys.
    pub windows: Vec<QuotaWindow>,
    /// Its limits on the requests of a minute, in the same order.
    pub requests: Vec<QuotaCount<RequestsNow>>,
    /// Its limits on conversations at a time.
    pub sessions: Vec<QuotaCount<SessionsNow>>,
}

/// The key that a limit is of, and its name; `None`: the account's own.
pub type OfKey = Option<(KeyId, String)>;

/// How many there are of what is counted.
#[derive(Clone, Debug)]
pub struct QuotaCount<Now> {
    /// Whose limit.
    pub key: OfKey,
    /// How many there may be.
    pub limit: u32,
    /// What the store says of it; `None`: nothing, the account is not open.
    pub now: Option<Now>,
}

/// How a window stands.
#[derive(Clone, Debug)]
pub struct QuotaWindow {
    /// Whose limit.
    pub key: OfKey,
    /// Its limit.
    pub window: Window,
    /// What the store says of it; `None`: nothing, the account is not open.
    pub now: Option<WindowNow>,
}

/// How a key and its user stand.
#[derive(Clone, Debug)]
pub struct QuotaOfKey {
    /// The user.
    pub user: User,
    /// The key.
    pub key: Key,
    /// The account, without other keys. `None`: nothing of it is limited.
    pub quota: Option<Quota>,
}

/// Accounts that are under limits.
pub async fn list(admin: Admin, wanted: Wanted) -> Result<QuotaPage, Error> {
    let moment = admin.db().read_moment().await?;
    let zone = settings::timezone(&moment).await?;
    let (accounts, next) = governed(&moment, &wanted, &zone).await?;
    moment.rollback().await?;
    Ok(QuotaPage { items: standings(&admin, accounts).await?, next })
}

/// One key and its user.
pub async fn of_key(admin: Admin, key: KeyId) -> Result<QuotaOfKey, Error> {
    let moment = admin.db().read_moment().await?;
    // Deleted since it was let in.
    let (user, key) = principal(&moment, key).await?.ok_or(Error::Unauthenticated)?;
    let zone = settings::timezone(&moment).await?;
    moment.rollback().await?;
    let quota = of_caller(&admin, &user, &key, &zone, super::now()).await?;
    Ok(QuotaOfKey { user, key, quota })
}

/// A key and its user as they are published; `None`: one of them is not there.
pub(super) async fn principal(db: &impl ConnectionTrait, key: KeyId) -> Result<Option<(User, Key)>, Error> {
    let Some(key) = principals::key(db, key).await? else { return Ok(None) };
    let id = UserId(key.user_id);
    let Some(user) = principals::user(db, id).await? else { return Ok(None) };
    let is_governed = !quotas::governed_users(db, Some(id), UserId(0), 1).await?.items.is_empty();
    Ok(Some((User::from(user_doc(&user, is_governed)?), Key::from(key_doc(&key)?))))
}

/// The user's account, without other keys. `None`: nothing of it is limited.
pub(super) async fn of_caller(
    admin: &Admin,
    user: &User,
    key: &Key,
    zone: &Zone,
    now: UnixMillis,
) -> Result<Option<Quota>, Error> {
    if user.budget_generation == 0 {
        return Ok(None);
    }
    let account = Account::of_user(user, std::slice::from_ref(key), zone, now);
    Ok(standings(admin, vec![account]).await?.pop())
}

/// Those of these providers that are under limits.
pub(super) async fn of_providers(
    admin: &Admin,
    providers: &[Provider],
    zone: &Zone,
    now: UnixMillis,
) -> Result<Vec<Quota>, Error> {
    let governed = providers.iter().filter(|provider| provider.budget_generation > 0);
    standings(admin, governed.map(|provider| Account::of_provider(provider, zone, now)).collect()).await
}

impl Quota {
    /// As the store said it; `None`: nobody knows yet.
    #[must_use]
    pub fn standing(&self) -> Option<Standing> {
        self.is_open.then(|| Standing {
            windows: self.windows.iter().filter_map(|window| window.now).collect(),
            requests: self.requests.iter().filter_map(|count| count.now).collect(),
            sessions: self.sessions.iter().filter_map(|count| count.now).collect(),
        })
    }
}

/// Those that are wanted, and the last one that was looked at when more follow.
async fn governed(
    db: &impl ConnectionTrait,
    wanted: &Wanted,
    zone: &Zone,
) -> Result<(Vec<Account>, Option<AccountId>), Error> {
    let Wanted { kind, user, provider, after, limit } = *wanted;
    let now = super::now();
    let mut accounts = Vec::new();
    let mut left = limit;
    let mut last = None;
    if kind != Some(AccountKind::Provider)
        && provider.is_none()
        && !matches!(after, Some(AccountId::Provider(_)))
    {
        let after = if let Some(AccountId::User(id)) = after { id } else { UserId(0) };
        let rows = quotas::governed_users(db, user, after, left).await?;
        last = rows.items.last().map(|row| AccountId::User(UserId(row.id)));
        left = left.saturating_sub(u64::try_from(rows.items.len()).unwrap_or(u64::MAX));
        let mut keys = keys_by_user(quotas::limited_keys(db, rows.items.iter().map(|row| row.id)).await?);
        accounts.extend(rows.items.iter().filter_map(|row| {
            let keys = keys.remove(&row.id).unwrap_or_default();
            readable(user_of(row, &keys, zone, now))
        }));
        if rows.has_more {
            return Ok((accounts, last));
        }
    }
    if kind == Some(AccountKind::User) || user.is_some() {
        return Ok((accounts, None));
    }
    let after = if let Some(AccountId::Provider(id)) = after { id } else { ProviderId(0) };
    let rows = quotas::governed_providers(db, provider, after, left).await?;
    last = rows.items.last().map(|row| AccountId::Provider(ProviderId(row.id))).or(last);
    accounts.extend(rows.items.iter().filter_map(|row| readable(provider_of(row, zone, now))));
    Ok((accounts, last.filter(|_| rows.has_more)))
}

fn keys_by_user(rows: Vec<keys::Model>) -> HashMap<i64, Vec<keys::Model>> {
    let mut by_user: HashMap<i64, Vec<keys::Model>> = HashMap::new();
    for row in rows {
        by_user.entry(row.user_id).or_default().push(row);
    }
    by_user
}

fn user_of(row: &users::Model, keys: &[keys::Model], zone: &Zone, now: UnixMillis) -> Result<Account, Error> {
    let user = User::from(user_doc(row, !keys.is_empty())?);
    let keys: Vec<Key> = keys.iter().filter_map(|key| readable(key_doc(key))).map(Key::from).collect();
    Ok(Account::of_user(&user, &keys, zone, now))
}

fn provider_of(row: &providers::Model, zone: &Zone, now: UnixMillis) -> Result<Account, Error> {
    Ok(Account::of_provider(&as_published(row)?, zone, now))
}

/// A row that cannot be read is published to nobody: nothing is spent there.
fn readable<T>(read: Result<T, Error>) -> Option<T> {
    read.inspect_err(|error| tracing::error!(%error, "row left out of the budgets")).ok()
}

/// An account that is under limits.
struct Account {
    id: AccountId,
    generation: u32,
    name: String,
    /// Its own first.
    scopes: Vec<(ScopeId, Terms)>,
    /// Names of keys.
    keys: HashMap<KeyId, String>,
}

impl Account {
    fn of_user(user: &User, keys: &[Key], zone: &Zone, now: UnixMillis) -> Self {
        let mut scopes = vec![(ScopeId::Owner, Terms::of(&user.limits, zone, now))];
        let of_keys = keys.iter().map(|key| scope_of_key(user, key, zone, now));
        // One without a limit has nothing to show.
        scopes.extend(of_keys.filter(|(_, terms)| !terms.limits.is_unlimited()));
        Self {
            id: AccountId::User(user.id),
            generation: user.budget_generation,
            name: user.name.clone(),
            scopes,
            keys: keys.iter().map(|key| (key.id, key.name.clone())).collect(),
        }
    }

    fn of_provider(provider: &Provider, zone: &Zone, now: UnixMillis) -> Self {
        Self {
            id: AccountId::Provider(provider.id),
            generation: provider.budget_generation,
            name: provider.name.clone(),
            scopes: scopes_of_provider(provider, zone, now),
            keys: HashMap::new(),
        }
    }

    /// As the store says, or with limits alone.
    fn quota(self, standing: Option<&Standing>) -> Quota {
        let (mut windows, mut requests, mut sessions) = (Vec::new(), Vec::new(), Vec::new());
        let windows_now = standing.map(|standing| by_scope(&standing.windows, |now| (now.scope, now.kind)));
        let requests_now = standing.map(|standing| by_scope(&standing.requests, |now| now.scope));
        let sessions_now = standing.map(|standing| by_scope(&standing.sessions, |now| now.scope));
        for (scope, terms) in &self.scopes {
            let key = match scope {
                ScopeId::Owner => None,
                ScopeId::Key(id) => Some((*id, self.keys.get(id).cloned().unwrap_or_default())),
            };
            let mut limited: Vec<Window> = terms.windows().collect();
            limited.sort_by_key(|window| window.kind);
            windows.extend(limited.into_iter().map(|window| {
                let now = windows_now.as_ref().and_then(|all| all.get(&(*scope, window.kind)).copied());
                QuotaWindow { key: key.clone(), window, now }
            }));
            requests.extend(terms.limit_of_requests().map(|limit| {
                let now = requests_now.as_ref().and_then(|all| all.get(scope).copied());
                QuotaCount { key: key.clone(), limit, now }
            }));
            sessions.extend(terms.limit_of_sessions().map(|limit| {
                let now = sessions_now.as_ref().and_then(|all| all.get(scope).copied());
                QuotaCount { key: key.clone(), limit, now }
            }));
        }
        let is_open = standing.is_some();
        Quota { account: self.id, name: self.name, is_open, windows, requests, sessions }
    }
}

fn by_scope<Now: Copy, Place: Eq + Hash>(all: &[Now], place: impl Fn(&Now) -> Place) -> HashMap<Place, Now> {
    all.iter().map(|now| (place(now), *now)).collect()
}

/// How they all stand, in their order.
async fn standings(admin: &Admin, accounts: Vec<Account>) -> Result<Vec<Quota>, Error> {
    if accounts.is_empty() {
        return Ok(Vec::new());
    }
    let store = admin.quotas();
    let asked = async {
        let epoch = store.epoch().await?;
        let each = accounts.into_iter().map(|account| standing(store, account, epoch));
        stream::iter(each).buffered(AT_A_TIME).try_collect().await
    };
    let asked = tokio::time::timeout(DEADLINE, asked).await.unwrap_or(Err(PortError::Unavailable));
    asked.map_err(Error::Quotas)
}

async fn standing(store: &dyn QuotaStore, account: Account, epoch: Option<u64>) -> Result<Quota, PortError> {
    let standing = match epoch {
        Some(epoch) => known(store, &account, epoch_of(epoch, account.generation)).await?,
        // None has begun: nothing can be open.
        None => None,
    };
    if standing.is_none() {
        store.want(account.id).await?;
    }
    Ok(account.quota(standing.as_ref()))
}

/// What the store knows of it; `None`: it is not open in this epoch.
async fn known(store: &dyn QuotaStore, account: &Account, epoch: u64) -> Result<Option<Standing>, PortError> {
    let mut all = Standing::default();
    for scopes in account.scopes.chunks(SCOPES_A_CALL) {
        let (is_open, standing) = store.standing(account.id, scopes, epoch).await?.said;
        if !is_open {
            return Ok(None);
        }
        all.windows.extend(standing.windows);
        all.requests.extend(standing.requests);
        all.sessions.extend(standing.sessions);
    }
    Ok(Some(all))
}

/// Accounts that are asked for side by side.
const AT_A_TIME: usize = 16;
/// For all of a page.
const DEADLINE: Duration = Duration::from_secs(2);
/// A user may have thousands of keys, and a call has a deadline.
pub(super) const SCOPES_A_CALL: usize = 100;
