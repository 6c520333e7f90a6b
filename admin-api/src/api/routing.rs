//! `/api/v1/routing/explain`

use super::types::Moment;
use crate::error::{Error, Violation};
use crate::extract::Params;
use crate::service::routing::{Answer, Caller, Question, explain};
use crate::service::{Actor, Admin};
use actix_web::get;
use actix_web::web::{Data, Json};
use rand::TryRngCore;
use rand::rngs::OsRng;
use serde::{Deserialize, Serialize};
use shared::contract::usage::{Candidate, ChainStep, Exclusion};
use shared::ids::{KeyId, ProviderId};
use shared::model::GroupSet;
use shared::protocol::Dialect;
use shared::rules::select::Selection;
use utoipa::{IntoParams, ToSchema};

/// What a client speaks.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientFormat {
    /// Anthropic Messages.
    Anthropic,
    /// OpenAI chat completions.
    OpenaiChat,
    /// OpenAI Responses.
    OpenaiResponses,
    /// Google Gemini.
    Gemini,
}

impl From<ClientFormat> for Dialect {
    fn from(format: ClientFormat) -> Self {
        match format {
            ClientFormat::Anthropic => Self::Anthropic,
            ClientFormat::OpenaiChat => Self::OpenaiChat,
            ClientFormat::OpenaiResponses => Self::OpenaiResponses,
            ClientFormat::Gemini => Self::Gemini,
        }
    }
}

/// The facts of a choice.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ExplainParams {
    /// What the client speaks.
    #[param(inline)]
    format: ClientFormat,
    /// The requested model, before any redirect. Without it every model rule lets through.
    model: Option<String>,
    /// Who calls: a key, with its groups and the rules of it and its user.
    key_id: Option<i64>,
    /// In the place of a key: a caller of these groups, separated by commas; `*` = all. Default: `default`.
    groups: Option<String>,
    /// The client's `User-Agent`.
    user_agent: Option<String>,
    /// The request's moment, for schedules and expiry. Default: now.
    #[param(value_type = Option<Moment>)]
    at: Option<Moment>,
    /// The seed of the draws, as `routing_seed` of a log row has it. Default: chance.
    seed: Option<u64>,
    /// Ids of the providers that are out already, separated by commas: in the chain of a log row those that were drawn or reused
    /// before and did not serve.
    tried: Option<String>,
    /// Which draw of the seed is made, from 0: in the chain of a log row the number of `selected` steps before. Default: one
    /// for each of `tried`. A provider that a session was bound to took none; one that was drawn in two rounds took two.
    draw: Option<u64>,
}

impl ExplainParams {
    fn parse(self) -> Result<Question, Error> {
        let invalid = |field: &str, message: &str| Error::Invalid(vec![Violation::new(field, message)]);
        let caller = match (self.key_id, self.groups) {
            (Some(_), Some(_)) => return Err(invalid("groups", "must not stand beside key_id")),
            (Some(id), None) => Caller::Key(KeyId(id)),
            (None, groups) => Caller::Groups(GroupSet::parse(&groups.unwrap_or_default())),
        };
        let tried = self.tried.unwrap_or_default();
        let ids = tried.split(',').map(str::trim).filter(|id| !id.is_empty()).map(str::parse);
        let tried = ids
            .map(|id| id.map(ProviderId))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| invalid("tried", "must be ids of providers, separated by commas"))?;
        Ok(Question {
            dialect: self.format.into(),
            model: self.model.filter(|model| !model.is_empty()),
            caller,
            client: self.user_agent.filter(|name| !name.is_empty()),
            at: self.at.map(|moment| moment.0),
            seed: match self.seed {
                Some(seed) => seed,
                None => OsRng.try_next_u64().map_err(|_| Error::NoEntropy)?,
            },
            tried,
            draw: self.draw,
        })
    }
}

/// What a gateway would choose, and why.
#[derive(Debug, Serialize, ToSchema)]
pub struct RoutingExplanation {
    /// The configuration it was decided on.
    revision: u64,
    /// The seed of the draws, a 64-bit number as text: sent back it gives the same choice.
    seed: String,
    /// Which draw of the seed was made, from 0.
    draw: u64,
    at: Moment,
    /// The zone whose clock schedules went by.
    timezone: String,
    /// The caller's groups.
    groups: String,
    /// Why the caller would be refused before a provider is chosen; null: it would not. What follows holds as if not.
    refused: Option<RoutingRefusal>,
    /// Who was drawn; null: nobody was left.
    provider: Option<RoutingProvider>,
    /// The tier that served; null: none.
    priority: Option<u32>,
    /// That tier in full.
    candidates: Vec<RoutingCandidate>,
    /// Why the others could not be drawn, in the order of the filters; each under the first that stopped it.
    excluded: Vec<RoutingExclusion>,
}

/// A refusal before a choice.
#[derive(Debug, Serialize, ToSchema)]
pub struct RoutingRefusal {
    /// As `blocked_by` of a log row.
    code: &'static str,
    message: String,
}

/// A provider.
#[derive(Debug, Serialize, ToSchema)]
pub struct RoutingProvider {
    id: i64,
    name: String,
}

/// A provider that could be drawn.
#[derive(Debug, Serialize, ToSchema)]
pub struct RoutingCandidate {
    provider_id: i64,
    name: String,
    weight: u32,
    /// 0 to 1.
    probability: f64,
}

/// A reason why providers were out.
#[derive(Debug, Serialize, ToSchema)]
pub struct RoutingExclusion {
    /// A fixed label: `disabled`, `outside_schedule`, …
    reason: String,
    /// How many.
    count: u32,
    /// The first 20 of them.
    provider_ids: Vec<i64>,
}

impl RoutingExplanation {
    fn of(answer: Answer, seed: u64) -> Self {
        let name = |id: ProviderId| answer.names.get(&id).cloned().unwrap_or_default();
        let step = match answer.selection {
            Selection::Chosen(chosen) => ChainStep::from(chosen),
            Selection::Exhausted(excluded) => ChainStep::from(excluded),
        };
        let (drawn, candidates, excluded) = match step {
            ChainStep::Selected { provider_id, priority, candidates, excluded, .. } => {
                (Some((provider_id, priority)), candidates, excluded)
            }
            ChainStep::Exhausted { excluded } => (None, Vec::new(), excluded),
            ChainStep::Reused { .. } | ChainStep::Attempted { .. } | ChainStep::LeftOut { .. } => {
                (None, Vec::new(), Vec::new())
            }
        };
        let total: f64 = candidates.iter().map(|candidate| f64::from(candidate.weight)).sum();
        let candidate = |Candidate { provider_id, weight }: Candidate| RoutingCandidate {
            provider_id: provider_id.0,
            name: name(provider_id),
            weight,
            probability: f64::from(weight) / total,
        };
        let exclusion = |Exclusion { reason, count, provider_ids }: Exclusion| RoutingExclusion {
            reason,
            count,
            provider_ids: provider_ids.into_iter().map(|id| id.0).collect(),
        };
        Self {
            revision: answer.revision.0,
            seed: seed.to_string(),
            draw: answer.draw,
            at: Moment(answer.at),
            timezone: answer.timezone.clone(),
            groups: super::types::effective_groups(&answer.groups),
            refused: answer.refused.map(|(code, message)| RoutingRefusal { code, message }),
            provider: drawn.map(|(id, _)| RoutingProvider { id: id.0, name: name(id) }),
            priority: drawn.map(|(_, priority)| priority),
            candidates: candidates.into_iter().map(candidate).collect(),
            excluded: excluded.into_iter().map(exclusion).collect(),
        }
    }
}

/// What a gateway would choose for a request, and why, on the newest configuration; nothing is sent. With the facts and
/// `routing_seed` of a log row whose revision is still the newest, the choice is that of the request.
#[utoipa::path(tag = "routing", params(ExplainParams), responses((status = 200, body = RoutingExplanation)))]
#[get("/api/v1/routing/explain")]
pub async fn explain_routing(
    admin: Data<Admin>,
    _actor: Actor,
    params: Params<ExplainParams>,
) -> Result<Json<RoutingExplanation>, Error> {
    let question = params.0.parse()?;
    let seed = question.seed;
    let answer = admin.run(|admin| explain(admin, question)).await?;
    Ok(Json(RoutingExplanation::of(answer, seed)))
}
