//! Answers of our own that are no errors: the list of models, a page that says where things are, pings.

use crate::ctx::Arrival;
use crate::live::Principal;
use crate::reject::Reject;
use crate::seat::Seat;
use bytes::Bytes;
use pingora::http::ResponseHeader;
use serde_json::{Value, json};
use shared::protocol::Dialect;
use shared::protocol::detect::{LocalPage, ModelListing};
use shared::rules::access::{check_model, effective_groups};
use shared::rules::models::{Listed, listed};

/// The models that the caller may ask for, or one of them, in the shape its client expects.
pub async fn models(
    seat: &mut Seat<'_>,
    arrival: &Arrival,
    principal: &Principal,
    listing: ModelListing,
    only: Option<&str>,
) -> Result<(), Reject> {
    let groups = effective_groups(&principal.user, &principal.key);
    let dialects: &[Dialect] = match listing {
        ModelListing::Anthropic => &[Dialect::Anthropic],
        ModelListing::Openai => &[Dialect::OpenaiChat, Dialect::OpenaiResponses],
        ModelListing::Gemini => &[Dialect::Gemini],
    };
    let live = &arrival.live;
    let catalogue = live.terms().prices.keys().map(String::as_str);
    let models: Vec<Listed> = listed(live.providers(), groups, dialects, catalogue)
        .into_iter()
        .filter(|m| only.is_none_or(|only| m.id == only))
        .filter(|m| check_model(&principal.user, &principal.key, Some(&m.id)).is_ok())
        .collect();
    let shown: Vec<Value> = models.iter().map(|m| shown(listing, m)).collect();
    let body = match only {
        Some(_) => shown.into_iter().next().ok_or(Reject::UnknownModel)?,
        None => list(listing, shown),
    };
    send(seat, 200, "application/json", body.to_string().into(), Some(arrival)).await;
    Ok(())
}

/// One model. When a model was made is not known here; the fields say so with the epoch.
fn shown(listing: ModelListing, model: &Listed) -> Value {
    let id = model.id.as_str();
    match listing {
        ModelListing::Anthropic => {
            json!({"type": "model", "id": id, "display_name": id, "created_at": "1970-01-01T00:00:00Z"})
        }
        ModelListing::Openai => {
            json!({"id": id, "object": "model", "created": 0, "owned_by": model.owner})
        }
        ModelListing::Gemini => json!({
            "name": format!("models/{id}"),
            "displayName": id,
            "supportedGenerationMethods": ["generateContent", "streamGenerateContent", "countTokens"],
        }),
    }
}

fn list(listing: ModelListing, models: Vec<Value>) -> Value {
    let id_at = |place: Option<&Value>| place.map_or(Value::Null, |m| m["id"].clone());
    match listing {
        ModelListing::Anthropic => json!({
            "first_id": id_at(models.first()),
            "last_id": id_at(models.last()),
            "has_more": false,
            "data": models,
        }),
        ModelListing::Openai => json!({"object": "list", "data": models}),
        ModelListing::Gemini => json!({"models": models}),
    }
}

/// A page of our own.
pub async fn local(seat: &mut Seat<'_>, page: LocalPage) {
    match page {
        LocalPage::Root => send(seat, 200, "text/plain; charset=utf-8", ROOT.into(), None).await,
        LocalPage::Ping => {
            send(seat, 200, "application/json", Bytes::from_static(br#"{"status":"pong"}"#), None).await;
        }
        LocalPage::Hello => send(seat, 200, "text/plain; charset=utf-8", Bytes::new(), None).await,
    }
}

async fn send(seat: &mut Seat<'_>, status: u16, content_type: &str, body: Bytes, arrival: Option<&Arrival>) {
    let is_head = seat.http().req_header().method == http::Method::HEAD;
    let head = || -> pingora::Result<ResponseHeader> {
        let mut head = ResponseHeader::build_no_case(status, Some(3))?;
        head.insert_header("content-type", content_type)?;
        head.insert_header("content-length", body.len().to_string())?;
        if let Some(arrival) = arrival {
            head.insert_header("x-request-id", arrival.id.to_string())?;
        }
        Ok(head)
    };
    if let Ok(head) = head() {
        seat.start(head).await;
        if !is_head {
            seat.send(body).await;
        }
        seat.finish().await;
    }
}

const ROOT: &str = "Claude Code Hub\n\n\
    Seats: ANTHROPIC_BASE_URL = this address; OpenAI clients: this address + /v1; Gemini clients: this address.\n\
    Admin API and Swagger UI: the admin address (default port 23001), /swagger-ui/.\n";
