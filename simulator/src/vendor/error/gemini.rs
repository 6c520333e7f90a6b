//! Google's refusals: `google.rpc.Status` with its details.

use super::{Case, Refusal, Words};
use crate::stage::Endpoint;
use crate::vendor::tape::{fill, quoted};

pub(super) fn refusal(case: &Case<'_>) -> Refusal {
    let status = status_body(case);
    // Without `alt=sse` the stream is an array, and so is its refusal.
    let is_array = case.endpoint == Endpoint::GeminiStreamArray;
    Refusal { headers: Vec::new(), body: if is_array { format!("[{status}\n]\n") } else { status } }
}

pub(super) fn in_stream(case: &Case<'_>, is_first: bool) -> String {
    match (case.endpoint, is_first) {
        (Endpoint::GeminiStreamArray, true) => format!("[{}\n]\n", status_body(case)),
        (Endpoint::GeminiStreamArray, false) => format!(",\r\n{}\n]\n", status_body(case)),
        _ => format!("data: {}\r\n\r\n", status_body(case)),
    }
}

fn status_body(case: &Case<'_>) -> String {
    let missing = format!(
        "models/{} is not found for API version v1beta, or is not supported for generateContent.",
        case.model
    );
    let Words { kind, message, .. } = words(case, &missing);
    let details = details(case);
    let values = [
        ("code", case.status.to_string()),
        ("message", quoted(message)),
        ("kind", quoted(kind)),
        ("details", details),
    ];
    fill(STATUS, &values.each_ref().map(|(name, value)| (*name, value.as_str())))
}

fn words<'a>(case: &Case<'a>, missing: &'a str) -> Words<'a> {
    let (kind, message) = match case.status {
        400 => ("INVALID_ARGUMENT", "Request contains an invalid argument."),
        401 => (
            "UNAUTHENTICATED",
            "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential.",
        ),
        403 => ("PERMISSION_DENIED", "The caller does not have permission"),
        404 => ("NOT_FOUND", missing),
        413 => ("INVALID_ARGUMENT", "Request payload size exceeds the limit: 20971520 bytes."),
        429 => (
            "RESOURCE_EXHAUSTED",
            "You exceeded your current quota, please check your plan and billing details.",
        ),
        503 | 529 => ("UNAVAILABLE", "The model is overloaded. Please try again later."),
        504 => ("DEADLINE_EXCEEDED", "The request timed out. Please try again."),
        _ => ("INTERNAL", "An internal error has occurred. Please retry."),
    };
    case.say(kind, message, None)
}

fn details(case: &Case<'_>) -> String {
    let mut details = Vec::new();
    match case.status {
        401 => details.push(ERROR_INFO.to_owned()),
        429 => details.push(fill(QUOTA_FAILURE, &[("model", &quoted(case.model))])),
        _ => {}
    }
    if case.says_wait_in_body && (case.status == 429 || case.retry_after_secs.is_some()) {
        details.push(fill(RETRY_INFO, &[("delay", &format!("{}s", case.retry_after()))]));
    }
    if details.is_empty() { String::new() } else { format!(r#","details":[{}]"#, details.join(",")) }
}

const STATUS: &str = r#"{"error":{"code":$code,"message":$message,"status":$kind$details}}"#;
const ERROR_INFO: &str = r#"{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"ACCESS_TOKEN_TYPE_UNSUPPORTED","domain":"googleapis.com"}"#;
const QUOTA_FAILURE: &str = r#"{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaMetric":"generativelanguage.googleapis.com/generate_content_paid_tier_input_token_count","quotaId":"GenerateContentPaidTierInputTokensPerModelPerMinute","quotaDimensions":{"model":$model,"location":"global"},"quotaValue":"1000000"}]}"#;
const RETRY_INFO: &str = r#"{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"$delay"}"#;
