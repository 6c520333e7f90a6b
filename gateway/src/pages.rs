//! Answers of our own that are no errors: the list of models, a page that says where things are, pings.

use crate::ctx::Arrival;
use crate::live::Principal;
use crate::seat::Seat;
use bytes::Bytes;
use pingora::http::ResponseHeader;
use serde_json::{Value, json};
use shared::protocol::Dialect;
use shared::protocol::detect::{LocalPage, ModelListing};
use shared::rules::access::{check_model, effective_groups};
use shared::rules::models::{Listed, listed};

/// The models that the caller may ask for, in the shape its client expects.
pub async fn models(seat: &mut Seat<'_>, arrival: &Arrival, principal: &Principal, listing: ModelListing) {
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
        .filter(|m| check_model(&principal.user, &principal.key, Some(&m.id)).is_ok())
        .collect();
    let body = match listing {
        ModelListing::Anthropic => anthropic(&models),
        ModelListing::Openai => json!({
            "object": "list",
            "data": models.iter().map(|m| {
                json!({"id": m.id, "object": "model", "created": 0, "owned_by": m.owner})
            }).collect::<Vec<_>>(),
        }),
        ModelListing::Gemini => json!({
            "models": models.iter().map(|m| {
                json!({
                    "name": format!("models/{}", m.id),
                    "displayName": m.id,
                    "supportedGenerationMethods": ["generateContent", "streamGenerateContent", "countTokens"],
                })
            }).collect::<Vec<_>>(),
        }),
    };
    send(seat, 200, "application/json", body.to_string().into(), Some(arrival)).await;
}

fn anthropic(models: &[Listed]) -> Value {
    let data: Vec<Value> = models
        .iter()
        .map(|m| {
            json!({"type": "model", "id": m.id, "display_name": m.id, "created_at": "1970-01-01T00:00:00Z"})
        })
        .collect();
    let id_at = |place: Option<&Listed>| place.map_or(Value::Null, |m| Value::from(m.id.as_str()));
    json!({
        "first_id": id_at(models.first()),
        "last_id": id_at(models.last()),
        "has_more": false,
        "data": data,
    })
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
    let is_head = seat.session().req_header().method == http::Method::HEAD;
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
