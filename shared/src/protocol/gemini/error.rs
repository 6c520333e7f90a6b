//! Our own errors in Google's shape: `{"error":{"code","message","status"}}`.

use crate::protocol::error::{DialectError, ErrorKind, StreamFault, push_data, to_json};
use serde::Serialize;

/// An empty line: a comment breaks Google's SDK.
pub const KEEP_ALIVE: &[u8] = b"\n";

/// The body of one of our own errors. A code goes into a `google.rpc.ErrorInfo`.
#[must_use]
pub fn body(err: &DialectError<'_>) -> Vec<u8> {
    let details = err.code.map(|reason| [ErrorInfo { info_type: ERROR_INFO, reason }]);
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
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<[ErrorInfo<'a>; 1]>,
}

#[derive(Serialize)]
struct ErrorInfo<'a> {
    #[serde(rename = "@type")]
    info_type: &'static str,
    reason: &'a str,
}

const ERROR_INFO: &str = "type.googleapis.com/google.rpc.ErrorInfo";

#[cfg(test)]
mod tests {
    use super::*;
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
    fn an_error_in_a_stream_is_an_event_or_the_last_element() {
        let error = DialectError::new(504, "late", "r-1");
        let fault = StreamFault { error, upstream_body: None, response_id: None, sequence_number: 0 };
        assert!(stream_error(&fault).starts_with(b"data: {\"error\":{\"code\":504"));
        let whole = [&b"[{\"candidates\":[]}"[..], &array_error(&fault, false)].concat();
        let array: Value = serde_json::from_slice(&whole).unwrap();
        assert_eq!(array[1]["error"]["status"], "DEADLINE_EXCEEDED");
    }
}
