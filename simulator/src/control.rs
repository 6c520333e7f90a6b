//! The listener's own paths under `/__sim/`, for tests in other processes: records, sums, scripts.

use crate::script::Scripts;
use crate::stage::{Player, Stage};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Serialize;

/// True for paths that are ours and no vendor's.
pub(crate) fn is_control(path: &str) -> bool {
    path.starts_with("/__sim/")
}

/// `GET /__sim/served`, `DELETE /__sim/served`, `GET /__sim/totals`, `POST /__sim/script` (an object, or an
/// array as a sequence).
pub(crate) async fn answer(stage: &Stage, request: Request<Incoming>) -> Response<Player> {
    let (parts, body) = request.into_parts();
    match (&parts.method, parts.uri.path()) {
        (&Method::GET, "/__sim/served") => json(StatusCode::OK, &stage.book.served()),
        (&Method::GET, "/__sim/totals") => json(StatusCode::OK, &stage.book.totals()),
        (&Method::DELETE, "/__sim/served") => {
            stage.book.clear();
            json(StatusCode::OK, &serde_json::json!({"cleared": true}))
        }
        (&Method::POST, "/__sim/script") => {
            let Ok(body) = body.collect().await else {
                return problem(StatusCode::BAD_REQUEST, "the body did not come to its end");
            };
            let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
            match text.parse::<Scripts>() {
                Ok(scripts) => {
                    stage.set_scripts(scripts);
                    json(StatusCode::OK, &serde_json::json!({"set": true}))
                }
                Err(error) => problem(StatusCode::BAD_REQUEST, &error.to_string()),
            }
        }
        _ => problem(StatusCode::NOT_FOUND, "no such control path"),
    }
}

fn problem(status: StatusCode, message: &str) -> Response<Player> {
    json(status, &serde_json::json!({"error": message}))
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Player> {
    let body = serde_json::to_vec(value).unwrap_or_default();
    let mut response = Response::new(Player::unrecorded(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
