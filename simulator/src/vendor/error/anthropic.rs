//! Anthropic's refusals.

use super::{Case, Refusal, Words};
use crate::vendor::tape::{fill, quoted};
use jiff::{SignedDuration, Timestamp};

pub(super) fn refusal(case: &Case<'_>) -> Refusal {
    let mut headers = vec![("x-should-retry", is_retryable(case.status).to_string())];
    if matches!(case.status, 429 | 529) || case.retry_after_secs.is_some() {
        headers.push(("retry-after", case.retry_after().to_string()));
    }
    if case.status == 429 {
        headers.extend(rate_limit_headers(case.retry_after()));
    }
    Refusal { headers, body: body(case) }
}

pub(super) fn in_stream(case: &Case<'_>) -> String {
    format!("event: error\ndata: {}\n\n", body(case))
}

/// What an answered request's headers say of the seat's windows.
pub(in crate::vendor) fn window_headers() -> [(&'static str, String); 4] {
    let in_an_hour = Timestamp::now().as_second() + 3600;
    [
        ("anthropic-ratelimit-unified-status", "allowed".to_owned()),
        ("anthropic-ratelimit-unified-5h-status", "allowed".to_owned()),
        ("anthropic-ratelimit-unified-5h-reset", in_an_hour.to_string()),
        ("anthropic-ratelimit-unified-5h-utilization", "0.25".to_owned()),
    ]
}

fn body(case: &Case<'_>) -> String {
    let model = format!("model: {}", case.model);
    let Words { kind, message, .. } = words(case, &model);
    let id = format!("req_{}", case.id);
    fill(ERROR, &[("kind", &quoted(kind)), ("message", &quoted(message)), ("id", &quoted(&id))])
}

fn words<'a>(case: &Case<'a>, model: &'a str) -> Words<'a> {
    let (kind, message) = match case.status {
        400 => ("invalid_request_error", "messages: at least one message is required"),
        401 => ("authentication_error", "invalid x-api-key"),
        402 => ("billing_error", "There is an issue with your billing or payment information."),
        403 => ("permission_error", "Your API key does not have permission to use the specified resource."),
        404 => ("not_found_error", model),
        413 => ("request_too_large", "Request exceeds the maximum size"),
        429 => (
            "rate_limit_error",
            "This request would exceed your account's rate limit. Please try again later.",
        ),
        504 => ("timeout_error", "Request timed out"),
        529 => ("overloaded_error", "Overloaded"),
        503 => ("api_error", "Service temporarily unavailable"),
        _ => ("api_error", "Internal server error"),
    };
    case.say(kind, message, None)
}

fn is_retryable(status: u16) -> bool {
    matches!(status, 408 | 409 | 429) || status >= 500
}

/// Epoch seconds for the windows of a subscription, RFC 3339 for the buckets of an organisation.
fn rate_limit_headers(retry_after_secs: u32) -> Vec<(&'static str, String)> {
    let reset = Timestamp::now()
        .saturating_add(SignedDuration::from_secs(retry_after_secs.into()))
        .map_or_else(|_| Timestamp::now().as_second(), Timestamp::as_second);
    let spelled = Timestamp::from_second(reset).map(|reset| reset.to_string()).unwrap_or_default();
    let epoch = reset.to_string();
    let rejected = || "rejected".to_owned();
    vec![
        ("anthropic-ratelimit-unified-status", rejected()),
        ("anthropic-ratelimit-unified-reset", epoch.clone()),
        ("anthropic-ratelimit-unified-representative-claim", "five_hour".to_owned()),
        ("anthropic-ratelimit-unified-fallback-percentage", "0.5".to_owned()),
        ("anthropic-ratelimit-unified-5h-status", rejected()),
        ("anthropic-ratelimit-unified-5h-reset", epoch.clone()),
        ("anthropic-ratelimit-unified-5h-utilization", "1.01".to_owned()),
        ("anthropic-ratelimit-unified-7d-status", "allowed".to_owned()),
        ("anthropic-ratelimit-unified-7d-reset", epoch),
        ("anthropic-ratelimit-unified-7d-utilization", "0.4".to_owned()),
        ("anthropic-ratelimit-requests-limit", "50".to_owned()),
        ("anthropic-ratelimit-requests-remaining", "0".to_owned()),
        ("anthropic-ratelimit-requests-reset", spelled.clone()),
        ("anthropic-ratelimit-input-tokens-limit", "50000".to_owned()),
        ("anthropic-ratelimit-input-tokens-remaining", "0".to_owned()),
        ("anthropic-ratelimit-input-tokens-reset", spelled),
    ]
}

const ERROR: &str = r#"{"type":"error","error":{"type":$kind,"message":$message},"request_id":$id}"#;
