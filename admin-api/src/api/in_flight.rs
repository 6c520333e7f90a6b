//! `/api/v1/requests/in-flight`

use super::types::Moment;
use crate::error::Error;
use crate::extract::Params;
use crate::service::nodes::in_flight;
use crate::service::{Actor, Admin};
use actix_web::get;
use actix_web::web::{Data, Json};
use serde::{Deserialize, Serialize};
use shared::contract::in_flight::RunningRequest;
use shared::ids::{KeyId, ProviderId, UserId};
use shared::rules::in_flight::{Shown, Wanted};
use utoipa::{IntoParams, ToSchema};

/// The requests that run on the gateways that are there.
#[derive(Debug, Serialize, ToSchema)]
pub struct InFlightRequests {
    /// The oldest first, at most 1000.
    items: Vec<InFlightRequest>,
    /// Requests that ran and are not in `items`: what a gateway only counted, because it tells its oldest 200 and no filter
    /// can see the rest (a filter by `node_id` leaves out those of other gateways), and what fits the filter beyond the
    /// thousandth item. 0: `items` is all there is.
    left_out: u64,
    /// The gateways that were asked about, in the order of their starts.
    nodes: Vec<ReportingNode>,
}

/// A request for which a provider was called and which had not ended when its gateway told of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct InFlightRequest {
    /// `x-request-id` of the answer; the request's row in the log will have the same.
    id: String,
    /// The gateway that serves it.
    node_id: String,
    /// When its head was read, by the gateway's clock.
    started_at: Moment,
    user_id: i64,
    key_id: i64,
    /// The provider of the newest attempt.
    provider_id: Option<i64>,
    /// The model the seat asked for.
    model: Option<String>,
    /// Endpoint family, e.g. `anthropic_messages`.
    endpoint: String,
    is_stream: bool,
    /// The newest attempt: 1 for the first try.
    attempt: u32,
}

/// A gateway that told of itself in the last ten seconds.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReportingNode {
    /// As in `/api/v1/nodes`.
    id: String,
    /// When it looked, by its own clock: `items` has what ran then. Null: it tells nothing that can be read here (an older or
    /// a later release, a disk of its journal that does not answer, or it just left), and what runs there is neither in
    /// `items` nor in `left_out`.
    reported_at: Option<Moment>,
}

/// Which requests.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct InFlightList {
    user_id: Option<i64>,
    key_id: Option<i64>,
    /// The provider of the newest attempt.
    provider_id: Option<i64>,
    /// The model the seat asked for, in full.
    model: Option<String>,
    /// The gateway that serves them: an `id` of `/api/v1/nodes`.
    node_id: Option<String>,
}

impl From<InFlightList> for Wanted {
    fn from(list: InFlightList) -> Self {
        Self {
            user_id: list.user_id.map(UserId),
            key_id: list.key_id.map(KeyId),
            provider_id: list.provider_id.map(ProviderId),
            model: list.model,
            node_id: list.node_id,
        }
    }
}

impl From<Shown> for InFlightRequests {
    fn from(shown: Shown) -> Self {
        let node = |(id, at): (String, Option<_>)| ReportingNode { id, reported_at: at.map(Moment) };
        Self {
            items: shown.requests.into_iter().map(item).collect(),
            left_out: shown.left_out,
            nodes: shown.nodes.into_iter().map(node).collect(),
        }
    }
}

fn item((node_id, request): (String, RunningRequest)) -> InFlightRequest {
    InFlightRequest {
        id: request.id.to_string(),
        node_id,
        started_at: Moment(request.started_at),
        user_id: request.user_id.0,
        key_id: request.key_id.0,
        provider_id: request.provider_id.map(|id| id.0),
        model: request.model,
        endpoint: request.endpoint,
        is_stream: request.is_stream,
        attempt: request.attempt,
    }
}

/// Lists the requests that run right now on all gateways, oldest first.
///
/// Each gateway tells every 2.5 seconds, so a request is seen, seen with its next attempt, and gone up to some three
/// seconds late (`reported_at`); one of a gateway that died stays for up to ten. A request is in the list from the moment
/// a provider is called for it: not while its key is checked or its body arrives. It stays between two attempts, and while
/// its provider is read to the end after its seat has left. 503 while nobody can tell.
#[utoipa::path(tag = "requests", params(InFlightList), responses((status = 200, body = InFlightRequests)))]
#[get("/api/v1/requests/in-flight")]
pub async fn list_in_flight_requests(
    admin: Data<Admin>,
    _actor: Actor,
    params: Params<InFlightList>,
) -> Result<Json<InFlightRequests>, Error> {
    let wanted = params.0.into();
    admin.run(|admin| in_flight(admin, wanted)).await.map(|shown| Json(shown.into()))
}
