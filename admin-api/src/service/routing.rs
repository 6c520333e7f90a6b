//! What would be chosen, and why: the choice of a gateway, made here on the newest configuration.
//!
//! The same pool and the same functions as a gateway's, so the same facts and seed give the same choice. Breakers, cool-downs,
//! budgets and bindings of sessions are those of now, and count when the question is about now. Of a request no more is known
//! than that it is one that a model answers: whoever has no room has none for the cheapest.

mod budgets;
mod ground;

use super::quotas::Quota;
use super::{Admin, circuits, now};
use crate::error::Error;
use budgets::Budgets;
use ground::Ground;
use shared::contract::usage::ChainStep;
use shared::ids::{KeyId, ProviderId, Revision};
use shared::model::rules::redirected;
use shared::model::{Client, GroupSet, Key, User};
use shared::protocol::Dialect;
use shared::rules::access;
use shared::rules::affinity::{self, draw_seed};
use shared::rules::breaker::table::{Standing, Table};
use shared::rules::quota::Refusal;
use shared::rules::select::{Draws, Out, OutReason, Pool, SelectFacts, Selection, course, select};
use shared::rules::session::{IdSource, SessionId, SessionKey};
use shared::time::UnixMillis;
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
    /// The key's conversation, as its log rows name it; `None`: the request begins one.
    pub session: Option<(KeyId, String)>,
    /// The only provider that may serve; `None`: all may.
    pub only: Option<ProviderId>,
    /// The request's moment; `None`: now.
    pub at: Option<UnixMillis>,
    /// The seed of the draws; `None`: the session's, or else `chance`.
    pub seed: Option<u64>,
    /// A seed by chance.
    pub chance: u64,
    /// Who is out already: drawn or reused, and did not serve.
    pub tried: Vec<ProviderId>,
    /// Which draw of the seed comes first, from 0; `None`: each one that was tried took one, but for the session's own.
    pub draw: Option<u64>,
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
    /// Why the caller would be refused before a choice, if it would.
    pub refused: Option<Refused>,
    /// How the caller's budgets stand; `None`: there are none, or nobody was asked.
    pub budget: Option<Quota>,
    /// The session that was asked about.
    pub session: Option<SessionNow>,
    /// The seed of the draws.
    pub seed: u64,
    /// Which draw of the seed came first, from 0.
    pub draw: u64,
    /// What a log row would say of the choice, refused or not.
    pub steps: Vec<ChainStep>,
    /// Who would be asked first; `None`: nobody is left.
    pub provider: Option<ProviderId>,
    /// Among whom a draw is made once all are out that have no room.
    pub selection: Selection,
    /// What there is to say of each provider.
    pub providers: BTreeMap<ProviderId, ProviderNow>,
    /// What nobody could tell: it counts for nothing here.
    pub unknown: Vec<Unknown>,
}

/// A refusal before a choice.
#[derive(Clone, Debug)]
pub struct Refused {
    /// A stable word.
    pub code: &'static str,
    /// A sentence.
    pub message: String,
    /// When it ends, at the latest; `None`: nobody knows, or never.
    pub resets_at: Option<UnixMillis>,
}

/// A conversation.
#[derive(Clone, Debug)]
pub struct SessionNow {
    /// Which.
    pub key: SessionKey,
    /// What it is bound to, and what that means; `None`: to nothing, or nobody knows.
    pub bound: Option<(ProviderId, affinity::Standing)>,
}

/// A provider.
#[derive(Clone, Debug)]
pub struct ProviderNow {
    /// Its name.
    pub name: String,
    /// What it would be asked for; `None`: no model was said.
    pub upstream_model: Option<String>,
    /// How it stands.
    pub standing: Standing,
    /// Why it has no room; `None`: it has, as far as anybody can say.
    pub full: Option<Refusal>,
}

/// What was not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// How providers stand.
    Breakers,
    /// How budgets stand, or some of them.
    Budgets,
    /// What the session is bound to.
    Session,
}

/// Decides on the newest configuration.
pub async fn explain(admin: Admin, question: Question) -> Result<Answer, Error> {
    let ground = Ground::read(admin.db(), &question.caller).await?;
    let at = question.at.unwrap_or_else(now);
    let client = question.client.as_deref().map(Client);
    let model = question.model.as_deref();
    let groups = match (&question.caller, &ground.principal) {
        (Caller::Groups(groups), _) => groups.clone(),
        (Caller::Key(_), Some((user, key))) => access::effective_groups(user, key).clone(),
        (Caller::Key(_), None) => GroupSet::default(),
    };
    let Moment { table, budgets, session, unknown } = Moment::of(&admin, &ground, &question, &groups).await;
    let bound = session.as_ref().and_then(SessionNow::usable);
    let denied = ground.principal.as_ref().and_then(|(user, key)| refusal(user, key, at, client, model));
    let full = |id: ProviderId| budgets.full.contains_key(&id);
    // A gateway that drew one without room has not tried it.
    let why = |id| if full(id) { OutReason::LimitReached } else { OutReason::AlreadyTried };
    let tried: Vec<Out> = question.tried.iter().map(|id| Out { provider_id: *id, why: why(*id) }).collect();
    let unusable = ground.providers.iter().filter(|p| !admin.vault().can_reach(p)).map(|p| p.id).collect();
    let pool = Pool::new(&ground.providers, &unusable, &ground.zone);
    let table = table.as_ref().map(|(table, at)| (table, *at));
    let facts = SelectFacts {
        pool: &pool,
        groups: &groups,
        dialect: question.dialect,
        model,
        client,
        at,
        table,
        out: &tried,
        only: question.only,
    };
    let standing = session.as_ref().and_then(|session| session.bound).map(|(_, standing)| standing);
    let of_session = session.as_ref().map(|session| draw_seed(&session.key, standing, question.chance));
    let seed = question.seed.or(of_session).unwrap_or(question.chance);
    let draw = question.draw(bound);
    // A session's provider is taken first, or not at all; and one that may go to one alone is drawn.
    let reused = bound.filter(|_| tried.is_empty() && draw == 0 && question.only.is_none());
    let course = course(&facts, reused, full, (ground.revision, seed, draw));
    let mut out = tried.clone();
    out.extend(budgets.full.keys().map(|id| Out { provider_id: *id, why: OutReason::LimitReached }));
    let selection = select(&SelectFacts { out: &out, ..facts }, &mut Draws::at(seed, draw));
    let providers = ground.providers.iter().map(|provider| {
        let standing = table.map_or(Standing::Ready, |(table, at)| {
            table.standing(provider.id, &provider.circuit_terms(), model, at)
        });
        let upstream_model =
            model.map(|model| redirected(&provider.model_redirects, model).unwrap_or(model).to_owned());
        let full = budgets.full.get(&provider.id).copied();
        (provider.id, ProviderNow { name: provider.name.clone(), upstream_model, standing, full })
    });
    Ok(Answer {
        revision: ground.revision,
        at,
        timezone: ground.zone.name().to_owned(),
        refused: denied.or_else(|| budgets.refusal.as_ref().map(Refused::of)),
        budget: budgets.caller,
        session,
        seed,
        draw,
        steps: course.steps,
        provider: course.provider,
        selection,
        providers: providers.collect(),
        unknown,
        groups,
    })
}

impl Question {
    fn draw(&self, bound: Option<ProviderId>) -> u64 {
        let took_one = self.tried.iter().filter(|id| Some(**id) != bound);
        self.draw.unwrap_or_else(|| u64::try_from(took_one.count()).unwrap_or(u64::MAX))
    }
}

impl SessionNow {
    fn usable(&self) -> Option<ProviderId> {
        match self.bound {
            Some((id, affinity::Standing::Usable)) => Some(id),
            Some((_, affinity::Standing::Gone(_))) | None => None,
        }
    }
}

impl Refused {
    fn of(refusal: &Refusal) -> Self {
        Self { code: refusal.label(), message: refusal.message(), resets_at: refusal.resets_at }
    }
}

/// What gateways and stores know now. Of another moment nobody knows it.
struct Moment {
    table: Option<(Table, UnixMillis)>,
    budgets: Budgets,
    session: Option<SessionNow>,
    unknown: Vec<Unknown>,
}

impl Moment {
    async fn of(admin: &Admin, ground: &Ground, question: &Question, groups: &GroupSet) -> Self {
        let key = question.session.as_ref().map(|(key, text)| {
            // Where it was found is no part of a session's key.
            SessionKey::of(*key, &SessionId { text: text.clone(), source: IdSource::ClaudeHeader })
        });
        let unbound = key.map(|key| SessionNow { key, bound: None });
        if question.at.is_some() {
            let mut unknown = vec![Unknown::Breakers, Unknown::Budgets];
            unknown.extend(key.map(|_| Unknown::Session));
            return Self { table: None, budgets: Budgets::default(), session: unbound, unknown };
        }
        let mut unknown = Vec::new();
        let table = circuits::table(admin).await;
        if table.is_none() {
            unknown.push(Unknown::Breakers);
        }
        let mut session = unbound;
        if let Some(session) = &mut session {
            match admin.sessions().bound(session.key).await {
                Ok(binding) => {
                    session.bound = binding.map(|binding| {
                        let provider = ground.provider(binding.provider_id).map(|p| (p, p.identity()));
                        (binding.provider_id, affinity::standing(&binding, provider, groups))
                    });
                }
                Err(_) => unknown.push(Unknown::Session),
            }
        }
        let runs_at = session.as_ref().and_then(|session| session.bound).map(|(id, _)| id);
        let budgets = Budgets::ask(admin, ground, runs_at, now()).await;
        if !budgets.is_whole {
            unknown.push(Unknown::Budgets);
        }
        Self { table, budgets, session, unknown }
    }
}

/// What a gateway asks before it chooses, in its order.
fn refusal(
    user: &User,
    key: &Key,
    at: UnixMillis,
    client: Option<Client<'_>>,
    model: Option<&str>,
) -> Option<Refused> {
    let refused = |code, message| Some(Refused { code, message, resets_at: None });
    if let Err(denied) = access::check(user, key, at) {
        return refused(denied.label(), denied.to_string());
    }
    if let Err(denied) = access::check_client(user, client) {
        return refused(denied.label(), denied.to_string());
    }
    let denied = access::check_model(user, key, model).err()?;
    refused(denied.label(), denied.to_string())
}
