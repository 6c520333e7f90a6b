//! OpenAI's refusals, for chat and Responses.

use super::{Case, Refusal, Words};
use crate::vendor::openai_responses;
use crate::vendor::tape::{fill, quoted};

pub(super) fn refusal(case: &Case<'_>) -> Refusal {
    let mut headers = Vec::new();
    if case.status == 429 || case.retry_after_secs.is_some() {
        headers.push(("retry-after", case.retry_after().to_string()));
    }
    if case.status == 429 {
        let wait = format!("{}s", case.retry_after());
        headers.push(("retry-after-ms", (u64::from(case.retry_after()) * 1000).to_string()));
        headers.push(("x-ratelimit-limit-requests", "500".to_owned()));
        headers.push(("x-ratelimit-limit-tokens", "30000".to_owned()));
        headers.push(("x-ratelimit-remaining-requests", "499".to_owned()));
        headers.push(("x-ratelimit-remaining-tokens", "0".to_owned()));
        headers.push(("x-ratelimit-reset-requests", "120ms".to_owned()));
        headers.push(("x-ratelimit-reset-tokens", wait));
    }
    Refusal { headers, body: format!(r#"{{"error":{}}}"#, error_object(case)) }
}

pub(super) fn in_chat_stream(case: &Case<'_>) -> String {
    format!("data: {{\"error\":{}}}\n\n", error_object(case))
}

/// `response.failed`; the bare `error` event when the script names the type `error`.
pub(super) fn in_responses_stream(case: &Case<'_>, sequence: usize) -> String {
    let Words { message, code, .. } = words(case, MISSING);
    let code = code.unwrap_or("server_error");
    let (code, message, number) = (quoted(code), quoted(message), sequence.to_string());
    if case.words.and_then(|words| words.kind.as_deref()) == Some("error") {
        let data = fill(ERROR_EVENT, &[("code", &code), ("message", &message), ("number", &number)]);
        return format!("event: error\ndata: {data}\n\n");
    }
    let error = fill(RESPONSE_ERROR, &[("code", &code), ("message", &message)]);
    let response = openai_responses::failed(case.id, case.model, &error);
    let data = fill(FAILED, &[("number", &number), ("response", &response)]);
    format!("event: response.failed\ndata: {data}\n\n")
}

fn error_object(case: &Case<'_>) -> String {
    let missing = format!("The model `{}` does not exist or you do not have access to it.", case.model);
    let Words { kind, message, code } = words(case, &missing);
    let code = code.map_or("null".to_owned(), quoted);
    let param = if case.status == 404 { r#""model""# } else { "null" };
    let (kind, message) = (quoted(kind), quoted(message));
    fill(ERROR, &[("message", &message), ("kind", &kind), ("param", param), ("code", &code)])
}

fn words<'a>(case: &Case<'a>, missing: &'a str) -> Words<'a> {
    let invalid = "invalid_request_error";
    let (kind, message, code) = match case.status {
        400 => (invalid, "We could not parse the JSON body of your request.", None),
        401 => (invalid, "Incorrect API key provided: sk-simul*****ated.", Some("invalid_api_key")),
        403 => (
            "request_forbidden",
            "Country, region, or territory not supported",
            Some("unsupported_country_region_territory"),
        ),
        404 => (invalid, missing, Some("model_not_found")),
        413 => (invalid, "Request body is too large.", Some("request_too_large")),
        429 => (
            "tokens",
            "Rate limit reached on tokens per min (TPM): Limit 30000, Used 30000, Requested 25.",
            Some("rate_limit_exceeded"),
        ),
        503 | 529 => (
            "service_unavailable_error",
            "Our servers are currently overloaded. Please try again later.",
            Some("server_is_overloaded"),
        ),
        500.. => {
            ("server_error", "The server had an error while processing your request. Sorry about that!", None)
        }
        _ => (invalid, "Your request was refused.", None),
    };
    case.say(kind, message, code)
}

const MISSING: &str = "The model does not exist or you do not have access to it.";
const ERROR: &str = r#"{"message":$message,"type":$kind,"param":$param,"code":$code}"#;
const ERROR_EVENT: &str =
    r#"{"type":"error","sequence_number":$number,"code":$code,"message":$message,"param":null}"#;
const RESPONSE_ERROR: &str = r#"{"code":$code,"message":$message}"#;
const FAILED: &str = r#"{"type":"response.failed","sequence_number":$number,"response":$response}"#;
