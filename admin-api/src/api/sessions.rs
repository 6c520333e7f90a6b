//! `/api/v1/sessions`

use super::types::{Moment, Page, decode_cursor, encode_cursor, page_limit};
use crate::error::{Error, Resource};
use crate::extract::Params;
use crate::service::sessions::{list, terminate};
use crate::service::{Actor, Admin};
use actix_web::web::{Data, Json, Path};
use actix_web::{HttpResponse, get, post};
use serde::{Deserialize, Serialize};
use shared::contract::session::{ActiveSession, SessionFilter, SessionPage, SessionPlace};
use shared::ids::{KeyId, ProviderId, UserId};
use shared::rules::session::SessionKey;
use shared::time::UnixMillis;
use utoipa::{IntoParams, ToSchema};

/// A conversation that was seen within `SESSION_TTL`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Session)]
pub struct SessionDocument {
    /// Which: made of the key and the client's id.
    id: String,
    /// The client's id, or `content:…` where it gives none: the `session_id` of its rows in the log.
    session_id: String,
    user_id: i64,
    key_id: i64,
    /// Who served its last request; null: nobody.
    provider_id: Option<i64>,
    /// The model of its last request.
    model: Option<String>,
    /// `User-Agent`.
    client: Option<String>,
    /// Since it was first seen.
    requests: u64,
    first_seen_at: Moment,
    last_seen_at: Moment,
}

impl From<ActiveSession> for SessionDocument {
    fn from(session: ActiveSession) -> Self {
        let doc = session.doc;
        Self {
            id: session.key.to_string(),
            session_id: doc.session_id,
            user_id: doc.user_id.0,
            key_id: doc.key_id.0,
            provider_id: doc.provider_id.map(|id| id.0),
            model: doc.model,
            client: doc.client,
            requests: session.requests,
            first_seen_at: Moment(session.first_seen_at),
            last_seen_at: Moment(session.last_seen_at),
        }
    }
}

/// Which sessions.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SessionList {
    user_id: Option<i64>,
    key_id: Option<i64>,
    /// Who served its last request.
    provider_id: Option<i64>,
    /// The model of its last request, in full.
    model: Option<String>,
    /// What the client's id begins with.
    session_id: Option<String>,
    /// Items a page, 1 to 200. Default: 50. A page can have fewer and still not be the last one.
    limit: Option<u64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Lists the conversations that run, the one last seen first. Gateways tell every two seconds. 503 while nobody can tell.
#[utoipa::path(
    tag = "sessions",
    params(SessionList),
    responses((status = 200, body = Page<SessionDocument>))
)]
#[get("/api/v1/sessions")]
pub async fn list_sessions(
    admin: Data<Admin>,
    _actor: Actor,
    params: Params<SessionList>,
) -> Result<Json<Page<SessionDocument>>, Error> {
    let params = params.0;
    let limit = usize::try_from(page_limit(params.limit)?).unwrap_or(usize::MAX);
    let after = decode_cursor::<(i64, String)>(params.cursor.as_deref())?;
    let after = after
        .and_then(|(at, key)| Some(SessionPlace { last_seen_at: UnixMillis(at), key: key.parse().ok()? }));
    let filter = SessionFilter {
        user_id: params.user_id.map(UserId),
        key_id: params.key_id.map(KeyId),
        provider_id: params.provider_id.map(ProviderId),
        model: params.model,
        session_id: params.session_id,
    };
    let SessionPage { sessions, next } = admin.run(move |admin| list(admin, filter, after, limit)).await?;
    let next_cursor = next.map(|place| encode_cursor(&(place.last_seen_at.0, place.key.to_string())));
    Ok(Json(Page { items: sessions.into_iter().map(SessionDocument::from).collect(), next_cursor }))
}

/// Ends the binding of a conversation to its provider, on all gateways: its next request is drawn anew.
#[utoipa::path(tag = "sessions", params(("id" = String, Path)), responses((status = 204)))]
#[post("/api/v1/sessions/{id}/terminate")]
pub async fn terminate_session(
    admin: Data<Admin>,
    actor: Actor,
    id: Path<String>,
) -> Result<HttpResponse, Error> {
    let key: SessionKey = id.parse().map_err(|_| Error::NotFound(Resource::Session))?;
    admin.run(move |admin| terminate(admin, actor, key)).await?;
    Ok(HttpResponse::NoContent().finish())
}
