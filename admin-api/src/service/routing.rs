//! What would be chosen, and why: the choice of a gateway, made here on the published configuration.
//!
//! The same pool and the same function as a gateway's, so the same facts and seed give the same choice. Breakers and
//! cool-downs are those of now, and count when the question is about now. So do budgets that are used up; what a request
//! needs beyond that is not known here.

use super::{Admin, circuits, now};
use crate::error::{Error, Resource};
use futures::future::join_all;
use shared::contract::snapshot::Snapshot;
use shared::ids::{KeyId, ProviderId, Revision};
use shared::model::{Client, GroupSet, Key, Provider, User};
use shared::money::NanoUsd;
use shared::ports::QuotaStore;
use shared::protocol::Dialect;
use shared::rules::access;
use shared::rules::quota::{
    AccountId, ScopeId, Terms, WindowNow, epoch_of, scopes_of_caller, scopes_of_provider,
};
use shared::rules::select::{Draws, Out, OutReason, Pool, SelectFacts, Selection, select};
use shared::time::{UnixMillis, Zone};
use std::collections::BTreeMap;

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// What the client speaks.
    pub dialect: Dialect,
    /// The requested model; `None` passes every model rule.
    pub model: Option<String>,
    /// Who calls.
    pub caller: Caller,
    /// The client's `User-Agent`.
    pub client: Option<String>,
    /// The request's moment; `None`: now.
    pub at: Option<UnixMillis>,
    /// The seed of the draws.
    pub seed: u64,
    /// Who is out already: drawn or reused, and did not serve.
    pub tried: Vec<ProviderId>,
    /// Which draw of the seed is made, from 0; `None`: each one that was tried took one.
    pub draw: Option<u64>,
}

impl Question {
    fn draw(&self) -> u64 {
        self.draw.unwrap_or_else(|| u64::try_from(self.tried.len()).unwrap_or(u64::MAX))
    }
}

/// Who calls.
#[derive(Clone, Debug)]
pub enum Caller {
    /// A key: its groups, and the rules of key and user.
    Key(KeyId),
    /// Somebody of these groups.
    Groups(GroupSet),
}

/// What a gateway would do.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The configuration it was decided on.
    pub revision: Revision,
    /// The request's moment.
    pub at: UnixMillis,
    /// The zone whose clock schedules went by.
    pub timezone: String,
    /// The caller's groups.
    pub groups: GroupSet,
    /// Why the caller would be refused before a choice, if it would: a stable word, and a sentence.
    pub refused: Option<(&'static str, String)>,
    /// Which draw of the seed was made, from 0.
    pub draw: u64,
    /// The choice, refused or not.
    pub selection: Selection,
    /// The names of providers.
    pub names: BTreeMap<ProviderId, String>,
}

/// Decides on the newest configuration.
pub async fn explain(admin: Admin, question: Question) -> Result<Answer, Error> {
    let snapshot = super::snapshot::build(admin.db()).await?;
    let at = question.at.unwrap_or_else(now);
    let client = question.client.as_deref().map(Client);
    let (groups, refused) = match &question.caller {
        Caller::Groups(groups) => (groups.clone(), None),
        Caller::Key(id) => {
            let (user, key) = principal(&snapshot, *id)?;
            let groups = access::effective_groups(&user, &key).clone();
            (groups, refusal(&user, &key, at, client, question.model.as_deref()))
        }
    };
    let budgets = if question.at.is_none() { Budgets::of(&admin, &snapshot, at).await } else { None };
    let refused = match (refused, &question.caller, &budgets) {
        (None, Caller::Key(id), Some(budgets)) => budgets.refusal(principal(&snapshot, *id)?).await,
        (refused, ..) => refused,
    };
    let core = &snapshot.core;
    // First those without room: a gateway that drew one of them has not tried it.
    let mut out = match &budgets {
        Some(budgets) => budgets.providers_without_room(&core.providers).await,
        None => Vec::new(),
    };
    out.extend(question.tried.iter().map(|id| Out { provider_id: *id, why: OutReason::AlreadyTried }));
    let unusable = core.providers.iter().filter(|p| !admin.vault().can_reach(p)).map(|p| p.id).collect();
    let pool = Pool::new(&core.providers, &unusable, &core.settings.timezone);
    // Of another moment nobody knows how providers stood.
    let table = if question.at.is_none() { circuits::table(&admin).await } else { None };
    let facts = SelectFacts {
        pool: &pool,
        groups: &groups,
        dialect: question.dialect,
        model: question.model.as_deref(),
        client,
        at,
        table: table.as_ref().map(|(table, at)| (table, *at)),
        out: &out,
        // A dry run goes on from no response.
        only: None,
    };
    let draw = question.draw();
    let selection = select(&facts, &mut Draws::at(question.seed, draw));
    Ok(Answer {
        revision: snapshot.revision,
        at,
        timezone: core.settings.timezone.name().to_owned(),
        groups,
        refused,
        draw,
        selection,
        names: core.providers.iter().map(|p| (p.id, p.name.clone())).collect(),
    })
}

/// Budgets as they stand now.
struct Budgets<'a> {
    store: &'a dyn QuotaStore,
    epoch: u64,
    zone: &'a Zone,
    at: UnixMillis,
}

impl<'a> Budgets<'a> {
    /// `None`: nobody can say.
    async fn of(admin: &'a Admin, snapshot: &'a Snapshot, at: UnixMillis) -> Option<Self> {
        let store = admin.quotas();
        let epoch = store.epoch().await.ok()??;
        Some(Self { store, epoch, zone: &snapshot.core.settings.timezone, at })
    }

    /// The first window that is used up, of an account that is open.
    async fn used_up(
        &self,
        account: AccountId,
        generation: u32,
        scopes: &[(ScopeId, Terms)],
    ) -> Option<WindowNow> {
        if generation == 0 {
            return None;
        }
        let asked = self.store.standing(account, scopes, epoch_of(self.epoch, generation)).await;
        let (is_open, standing) = asked.ok()?.said;
        standing.windows.into_iter().find(|window| is_open && window.is_used_up())
    }

    async fn refusal(&self, (user, key): (User, Key)) -> Option<(&'static str, String)> {
        let scopes = scopes_of_caller(&user, &key, self.zone, self.at);
        let window = self.used_up(AccountId::User(user.id), user.budget_generation, &scopes).await?;
        let refusal = window.refusal(NanoUsd::ZERO);
        Some((refusal.label(), refusal.message()))
    }

    async fn providers_without_room(&self, providers: &[Provider]) -> Vec<Out> {
        let ask = |provider: &Provider| {
            let (id, generation) = (provider.id, provider.budget_generation);
            let scopes = scopes_of_provider(provider, self.zone, self.at);
            async move {
                let window = self.used_up(AccountId::Provider(id), generation, &scopes).await;
                window.map(|_| Out { provider_id: id, why: OutReason::LimitReached })
            }
        };
        let governed = providers.iter().filter(|provider| provider.budget_generation > 0);
        join_all(governed.map(ask)).await.into_iter().flatten().collect()
    }
}

fn principal(snapshot: &Snapshot, id: KeyId) -> Result<(User, Key), Error> {
    let principals = &snapshot.principals;
    let key = principals.keys.iter().find(|key| key.id == id).ok_or(Error::NotFound(Resource::Key))?;
    let user = principals.users.iter().find(|user| user.id == key.user_id);
    let user = user.ok_or(Error::NotFound(Resource::User))?;
    Ok((user.clone().into(), key.clone().into()))
}

/// What a gateway asks before it chooses, in its order.
fn refusal(
    user: &User,
    key: &Key,
    at: UnixMillis,
    client: Option<Client<'_>>,
    model: Option<&str>,
) -> Option<(&'static str, String)> {
    if let Err(denied) = access::check(user, key, at) {
        return Some((denied.label(), denied.to_string()));
    }
    if let Err(denied) = access::check_client(user, client) {
        return Some((denied.label(), denied.to_string()));
    }
    let denied = access::check_model(user, key, model).err()?;
    Some((denied.label(), denied.to_string()))
}
