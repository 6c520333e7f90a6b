//! `/api/v1/routing/explain`

mod documents;

use super::types::Moment;
use crate::error::{Error, Violation};
use crate::extract::Params;
use crate::service::routing::{Caller, Question, explain};
use crate::service::{Actor, Admin};
use actix_web::get;
use actix_web::web::{Data, Json};
use documents::RoutingExplanation;
use rand::TryRngCore;
use rand::rngs::OsRng;
use serde::Deserialize;
use shared::ids::{KeyId, ProviderId};
use shared::model::GroupSet;
use shared::protocol::Dialect;
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
    /// A conversation of the key, as `session_id` of a log row has it; what is told is of a turn that is not its first. Default:
    /// the request begins one.
    session_id: Option<String>,
    /// The one provider that may serve: who made the response that `previous_response_id` names. Default: all may.
    only: Option<i64>,
    /// The request's moment, for schedules and expiry. Default: now.
    #[param(value_type = Option<Moment>)]
    at: Option<Moment>,
    /// The seed of the draws, as `routing_seed` of a log row has it. Default: that of a session that is bound, else chance.
    seed: Option<u64>,
    /// Ids of the providers that are out already, separated by commas: in the chain of a log row those that were drawn or reused
    /// before and did not serve.
    tried: Option<String>,
    /// Which draw of the seed comes first, from 0: in the chain of a log row the number of `selected` steps before. Default: one
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
        let session = match (self.session_id.filter(|id| !id.is_empty()), &caller) {
            (Some(id), Caller::Key(key)) => Some((*key, id)),
            (Some(_), Caller::Groups(_)) => return Err(invalid("session_id", "needs a key_id")),
            (None, _) => None,
        };
        Ok(Question {
            dialect: self.format.into(),
            model: self.model.filter(|model| !model.is_empty()),
            caller,
            client: self.user_agent.filter(|name| !name.is_empty()),
            at: self.at.map(|moment| moment.0),
            session,
            only: self.only.map(ProviderId),
            seed: self.seed,
            chance: OsRng.try_next_u64().map_err(|_| Error::NoEntropy)?,
            tried,
            draw: self.draw,
        })
    }
}

/// What a gateway would choose for a request, and why, on the newest configuration; nothing is sent and nothing counted. With
/// the facts and `routing_seed` of a log row whose revision is still the newest, the choice is that of the request, as long as
/// breakers, cool-downs and budgets stand as they did. Of budgets is told what stands against every request that a model
/// answers; what a certain one may cost is not known here.
#[utoipa::path(tag = "routing", params(ExplainParams), responses((status = 200, body = RoutingExplanation)))]
#[get("/api/v1/routing/explain")]
pub async fn explain_routing(
    admin: Data<Admin>,
    _actor: Actor,
    params: Params<ExplainParams>,
) -> Result<Json<RoutingExplanation>, Error> {
    let question = params.0.parse()?;
    let answer = admin.run(|admin| explain(admin, question)).await?;
    Ok(Json(answer.into()))
}
