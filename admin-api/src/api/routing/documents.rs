//! What a choice is told as.

use crate::api::logs::chain;
use crate::api::quotas::QuotaDocument;
use crate::api::types::{Moment, effective_groups};
use crate::service::routing::{Answer, ProviderNow, Refused, SessionNow, Unknown};
use serde::Serialize;
use shared::contract::usage::{Candidate, ChainStep, Exclusion};
use shared::ids::ProviderId;
use shared::rules::affinity::Standing;
use shared::rules::select::{Reason, Selection};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// What a gateway would choose, and why.
#[derive(Debug, Serialize, ToSchema)]
pub struct RoutingExplanation {
    /// The configuration it was decided on.
    revision: u64,
    /// The seed of the draws, a 64-bit number as text: sent back it gives the same choice.
    seed: String,
    /// Which draw of the seed came first, from 0.
    draw: u64,
    at: Moment,
    /// The zone whose clock schedules went by.
    timezone: String,
    /// The caller's groups.
    groups: String,
    /// Why the caller would be refused before a provider is chosen; null: it would not. What follows holds as if not.
    refused: Option<RoutingRefusal>,
    /// How the budgets of the key and its user stand; null: nothing of them is limited, or nobody was asked.
    budget: Option<QuotaDocument>,
    /// The conversation that was asked about; null: none was.
    session: Option<RoutingSession>,
    /// Who would be asked first; null: nobody is left.
    provider: Option<RoutingProvider>,
    /// How a gateway comes there, in the words of `decision_chain` of a log row: it learns that a provider has no room when it
    /// has drawn it, and draws again.
    #[schema(value_type = Vec<chain::ChainStep>)]
    steps: Vec<ChainStep>,
    /// The tier that is drawn from, once all are out that have no room; null: nobody is left.
    priority: Option<u32>,
    /// That tier in full.
    candidates: Vec<RoutingCandidate>,
    /// Why the others are not drawn, in the order of the filters; each under the first that stops it.
    excluded: Vec<RoutingExclusion>,
    /// What nobody could tell, so that nothing of it stands against anybody here. Of another moment than now that is all of it.
    unknown: Vec<RoutingUnknown>,
}

/// A refusal before a choice.
#[derive(Debug, Serialize, ToSchema)]
pub struct RoutingRefusal {
    /// As `blocked_by` of a log row.
    code: &'static str,
    message: String,
    /// When the limit lets requests in again, at the latest; null: nobody knows, never, or it is no limit.
    resets_at: Option<Moment>,
}

/// A conversation and its provider.
#[derive(Debug, Serialize, ToSchema)]
pub struct RoutingSession {
    /// As `id` of the list of sessions has it.
    id: String,
    /// The provider that it is bound to; null: none. It is taken without a draw as long as nothing stands against it.
    bound: Option<RoutingProvider>,
    /// Why the binding is not in force any more: `deleted`, `disabled`, `other_account`, `other_group`; null: it is.
    gone: Option<&'static str>,
}

/// A provider.
#[derive(Debug, Serialize, ToSchema)]
pub struct RoutingProvider {
    id: i64,
    name: String,
    /// What it is asked for, by its redirects; null: no model was said.
    upstream_model: Option<String>,
}

/// A provider that can be drawn.
#[derive(Debug, Serialize, ToSchema)]
pub struct RoutingCandidate {
    provider_id: i64,
    name: String,
    weight: u32,
    /// 0 to 1.
    probability: f64,
    /// What it is asked for, by its redirects; null: no model was said.
    upstream_model: Option<String>,
    /// `ready`; `breaker_half_open`: by one request at a time; `cooling_overload`: because nobody else can.
    standing: &'static str,
    /// Until when it stands so; null: it says nothing.
    until: Option<Moment>,
}

/// A reason why providers are out.
#[derive(Debug, Serialize, ToSchema)]
pub struct RoutingExclusion {
    /// A fixed label: `disabled`, `outside_schedule`, …
    reason: String,
    /// How many.
    count: u32,
    /// The first 20 of them.
    provider_ids: Vec<i64>,
    /// The same, with what there is to say of each.
    providers: Vec<RoutingExcluded>,
}

/// A provider that is out.
#[derive(Debug, Serialize, ToSchema)]
pub struct RoutingExcluded {
    id: i64,
    name: String,
    /// Which of its limits is reached: `limit_daily`, `limit_concurrent_sessions`, …; null: none.
    limit: Option<&'static str>,
    /// Until when it is out, of a breaker, a cool-down or a limit; null: nobody knows, or it does not pass by itself.
    until: Option<Moment>,
}

/// What was not told.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RoutingUnknown {
    /// Breakers and cool-downs.
    Breakers,
    /// Budgets, requests of a minute and conversations at a time: all, or those that are being read from the ledger.
    Budgets,
    /// What the session is bound to.
    Session,
}

impl From<Answer> for RoutingExplanation {
    fn from(answer: Answer) -> Self {
        let known = Known(&answer.providers);
        let (priority, candidates, excluded) = match step(answer.selection) {
            ChainStep::Selected { priority, candidates, excluded, .. } => {
                (Some(priority), candidates, excluded)
            }
            ChainStep::Exhausted { excluded } => (None, Vec::new(), excluded),
            ChainStep::Reused { .. }
            | ChainStep::Attempted { .. }
            | ChainStep::Stopped { .. }
            | ChainStep::LeftOut { .. } => (None, Vec::new(), Vec::new()),
        };
        let total: f64 = candidates.iter().map(|candidate| f64::from(candidate.weight)).sum();
        Self {
            revision: answer.revision.0,
            seed: answer.seed.to_string(),
            draw: answer.draw,
            at: Moment(answer.at),
            timezone: answer.timezone,
            groups: effective_groups(&answer.groups),
            refused: answer.refused.map(RoutingRefusal::from),
            session: answer.session.map(|session| known.session(&session)),
            provider: answer.provider.map(|id| known.provider(id)),
            steps: answer.steps,
            priority,
            candidates: candidates.into_iter().map(|one| known.candidate(one, total)).collect(),
            excluded: excluded.into_iter().map(|exclusion| known.exclusion(exclusion)).collect(),
            unknown: answer.unknown.into_iter().map(RoutingUnknown::from).collect(),
            budget: answer.budget.map(QuotaDocument::from),
        }
    }
}

impl From<Refused> for RoutingRefusal {
    fn from(Refused { code, message, resets_at }: Refused) -> Self {
        Self { code, message, resets_at: resets_at.map(Moment) }
    }
}

impl From<Unknown> for RoutingUnknown {
    fn from(unknown: Unknown) -> Self {
        match unknown {
            Unknown::Breakers => Self::Breakers,
            Unknown::Budgets => Self::Budgets,
            Unknown::Session => Self::Session,
        }
    }
}

fn step(selection: Selection) -> ChainStep {
    match selection {
        Selection::Chosen(chosen) => chosen.into(),
        Selection::Exhausted(excluded) => excluded.into(),
    }
}

/// What there is to say of each provider.
struct Known<'a>(&'a BTreeMap<ProviderId, ProviderNow>);

impl Known<'_> {
    fn name(&self, id: ProviderId) -> String {
        self.0.get(&id).map(|now| now.name.clone()).unwrap_or_default()
    }

    fn upstream_model(&self, id: ProviderId) -> Option<String> {
        self.0.get(&id)?.upstream_model.clone()
    }

    fn provider(&self, id: ProviderId) -> RoutingProvider {
        RoutingProvider { id: id.0, name: self.name(id), upstream_model: self.upstream_model(id) }
    }

    fn session(&self, session: &SessionNow) -> RoutingSession {
        RoutingSession {
            id: session.key.to_string(),
            bound: session.bound.map(|(id, _)| self.provider(id)),
            gone: match session.bound {
                Some((_, Standing::Gone(why))) => Some(why.label()),
                Some((_, Standing::Usable)) | None => None,
            },
        }
    }

    fn candidate(&self, Candidate { provider_id, weight }: Candidate, total: f64) -> RoutingCandidate {
        let standing = self.0.get(&provider_id).map(|now| now.standing);
        RoutingCandidate {
            provider_id: provider_id.0,
            name: self.name(provider_id),
            weight,
            probability: f64::from(weight) / total,
            upstream_model: self.upstream_model(provider_id),
            standing: standing.map_or("ready", |standing| standing.label()),
            until: standing.and_then(|standing| standing.until()).map(Moment),
        }
    }

    fn exclusion(&self, Exclusion { reason, count, provider_ids }: Exclusion) -> RoutingExclusion {
        let excluded = |id: &ProviderId| {
            let now = self.0.get(id);
            let full = now.and_then(|now| now.full).filter(|_| reason == Reason::LimitReached.label());
            let standing = now.map(|now| now.standing).filter(|standing| reason == standing.label());
            let until = match full {
                Some(refusal) => refusal.resets_at,
                None => standing.and_then(|standing| standing.until()),
            };
            let limit = full.map(|refusal| refusal.label());
            RoutingExcluded { id: id.0, name: self.name(*id), limit, until: until.map(Moment) }
        };
        let providers = provider_ids.iter().map(excluded).collect();
        RoutingExclusion {
            reason: reason.clone(),
            count,
            provider_ids: provider_ids.iter().map(|id| id.0).collect(),
            providers,
        }
    }
}
