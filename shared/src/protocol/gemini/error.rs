//! Our own errors in Google's shape: `{"error":{"code","message","status"}}`.

use crate::protocol::error::{DialectError, ErrorKind, StreamFault, push_data, to_json};
use serde::Serialize;

/// An empty line: a comment breaks Google's SDK.
pub const KEEP_ALIVE: &[u8] = b"\n";

/// The body of one of our own errors. Its code goes into a `google.rpc.ErrorInfo`, the seconds until it may be served into
/// a `google.rpc.RetryInfo`.
///
/// Gemini CLI goes by this body, not by `x-should-retry`: of a 429 it asks ten times again unless a detail says that the quota
/// is used up. What it then does for each reason: `packages/core/src/utils/googleQuotaErrors.ts` of google-gemini/gemini-cli.
#[must_use]
pub fn body(err: &DialectError<'_>) -> Vec<u8> {
    let mut details = Vec::new();
    if err.status == 429 && err.retry.is_final {
        let metadata = err.code.map(|code| Metadata { code });
        details.push(Detail::ErrorInfo { reason: USED_UP, domain: Some(USED_UP_DOMAIN), metadata });
    } else if let Some(reason) = err.code {
        details.push(Detail::ErrorInfo { reason, domain: None, metadata: None });
    }
    if let Some(secs) = err.retry.after_secs {
        details.push(Detail::RetryInfo { retry_delay: format!("{secs}s") });
    }
    let status = status_name(err.kind);
    to_json(&Body { error: Inner { code: err.status, message: err.message, status, details } })
}

/// An event whose data is an error: the provider's body byte for byte when it is one, else ours.
#[must_use]
pub fn stream_error(fault: &StreamFault<'_>) -> Vec<u8> {
    let mut event = Vec::new();
    push_data(&mut event, &fault.data(body));
    event
}

/// The rest of a JSON array whose last element is the error; the bytes before must end an element, or the comma after one.
#[must_use]
pub fn array_error(fault: &StreamFault<'_>, is_after_comma: bool) -> Vec<u8> {
    let comma: &[u8] = if is_after_comma { b"" } else { b",\n" };
    [comma, &*fault.data(body), b"\n]"].concat()
}

/// The `google.rpc.Code` for what went wrong.
fn status_name(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidRequest | ErrorKind::TooLarge => "INVALID_ARGUMENT",
        ErrorKind::Authentication => "UNAUTHENTICATED",
        ErrorKind::Permission => "PERMISSION_DENIED",
        ErrorKind::NotFound => "NOT_FOUND",
        ErrorKind::Conflict => "ABORTED",
        ErrorKind::Billing | ErrorKind::RateLimit => "RESOURCE_EXHAUSTED",
        ErrorKind::Internal => "INTERNAL",
        ErrorKind::Unavailable | ErrorKind::Overloaded => "UNAVAILABLE",
        ErrorKind::Timeout => "DEADLINE_EXCEEDED",
    }
}

#[derive(Serialize)]
struct Body<'a> {
    error: Inner<'a>,
}

#[derive(Serialize)]
struct Inner<'a> {
    code: u16,
    message: &'a str,
    status: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<Detail<'a>>,
}

/// What a `google.rpc.Status` may tell beside its message.
#[derive(Serialize)]
#[serde(tag = "@type")]
enum Detail<'a> {
    #[serde(rename = "type.googleapis.com/google.rpc.ErrorInfo")]
    ErrorInfo {
        reason: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        domain: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        metadata: Option<Metadata<'a>>,
    },
    #[serde(rename = "type.googleapis.com/google.rpc.RetryInfo")]
    RetryInfo {
        #[serde(rename = "retryDelay")]
        retry_delay: String,
    },
}

#[derive(Serialize)]
struct Metadata<'a> {
    code: &'a str,
}

/// Google's word for a quota that is not worth another try, and the service whose word it is: a reason means something in
/// its domain alone.
const USED_UP: &str = "QUOTA_EXHAUSTED";
const USED_UP_DOMAIN: &str = "cloudcode-pa.googleapis.com";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::error::Retry;
    use serde_json::{Value, json};

    #[test]
    fn an_error_has_googles_shape_and_names() {
        let err = DialectError::new(429, "later", "r-1");
        assert_eq!(
            serde_json::from_slice::<Value>(&body(&err)).unwrap(),
            json!({"error": {"code": 429, "message": "later", "status": "RESOURCE_EXHAUSTED"}})
        );
        let with_code: Value = serde_json::from_slice(&body(&err.with_code("daily_cost"))).unwrap();
        assert_eq!(with_code["error"]["details"][0]["reason"], "daily_cost");
        for (status, name) in [
            (400, "INVALID_ARGUMENT"),
            (401, "UNAUTHENTICATED"),
            (403, "PERMISSION_DENIED"),
            (404, "NOT_FOUND"),
            (500, "INTERNAL"),
            (503, "UNAVAILABLE"),
            (504, "DEADLINE_EXCEEDED"),
        ] {
            assert_eq!(status_name(ErrorKind::of_status(status)), name);
        }
    }

    #[test]
    fn a_quota_that_is_used_up_says_so_in_words_that_stop_gemini_cli_and_when_it_resets() {
        let details = |err: DialectError<'_>| {
            serde_json::from_slice::<Value>(&body(&err)).unwrap()["error"]["details"].take()
        };
        let refused =
            DialectError::new(429, "used up", "r-1").with_kind(ErrorKind::Billing).with_code("limit_daily");
        let wait = json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7200s"});
        let used_up = json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "QUOTA_EXHAUSTED",
            "domain": "cloudcode-pa.googleapis.com",
            "metadata": {"code": "limit_daily"},
        });
        let retry = Retry { is_final: true, after_secs: Some(7_200) };
        assert_eq!(details(refused.with_retry(retry)), json!([used_up, wait]));
        // Nobody knows when.
        assert_eq!(details(refused.with_retry(Retry { after_secs: None, ..retry })), json!([used_up]));
        // A moment's rate is not used up.
        let plain = json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "limit_daily"});
        assert_eq!(details(refused.with_retry(Retry { is_final: false, ..retry })), json!([plain, wait]));
        // What is no quota never says so.
        let denied =
            DialectError::new(403, "denied", "r-1").with_retry(Retry { is_final: true, after_secs: None });
        assert_eq!(details(denied), Value::Null);
    }

    #[test]
    fn an_error_in_a_stream_is_an_event_or_the_last_element() {
        let error = DialectError::new(504, "late", "r-1");
        let fault = StreamFault { error, upstream_body: None, response_id: None, sequence_number: 0 };
        assert!(stream_error(&fault).starts_with(b"data: {\"error\":{\"code\":504"));
        let whole = [&b"[{\"candidates\":[]}"[..], &array_error(&fault, false)].concat();
        let array: Value = serde_json::from_slice(&whole).unwrap();
        assert_eq!(array[1]["error"]["status"], "DEADLINE_EXCEEDED");
    }
}
