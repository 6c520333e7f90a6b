//! Our own errors in Anthropic's shape: `{"type":"error","error":{"type","message"},"request_id"}`.

use crate::protocol::error::{DialectError, ErrorKind, StreamFault, push_data, to_json};
use serde::Serialize;

/// A ping, as Anthropic sends them.
pub const KEEP_ALIVE: &[u8] = b"event: ping\ndata: {\"type\":\"ping\"}\n\n";

/// The body of one of our own errors. `code` has no place in this dialect.
#[must_use]
pub fn body(err: &DialectError<'_>) -> Vec<u8> {
    to_json(&Body {
        body_type: "error",
        error: Inner { error_type: type_name(err.kind), message: err.message },
        request_id: err.request_id,
    })
}

/// An `error` event: the provider's body byte for byte when it is an error of this dialect (clients match
/// its wording), else ours.
#[must_use]
pub fn stream_error(fault: &StreamFault<'_>) -> Vec<u8> {
    let mut event = b"event: error\n".to_vec();
    push_data(&mut event, &fault.data(body));
    event
}

/// Anthropic's name for what went wrong.
fn type_name(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidRequest => "invalid_request_error",
        ErrorKind::Authentication => "authentication_error",
        ErrorKind::Billing => "billing_error",
        ErrorKind::Permission => "permission_error",
        ErrorKind::NotFound => "not_found_error",
        ErrorKind::Conflict => "conflict_error",
        ErrorKind::TooLarge => "request_too_large",
        ErrorKind::RateLimit => "rate_limit_error",
        ErrorKind::Internal | ErrorKind::Unavailable => "api_error",
        ErrorKind::Timeout => "timeout_error",
        ErrorKind::Overloaded => "overloaded_error",
    }
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    body_type: &'static str,
    error: Inner<'a>,
    request_id: &'a str,
}

#[derive(Serialize)]
struct Inner<'a> {
    #[serde(rename = "type")]
    error_type: &'static str,
    message: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn fault<'a>(upstream_body: Option<&'a [u8]>) -> StreamFault<'a> {
        let error = DialectError::new(529, "over\nloaded", "r-1");
        StreamFault { error, upstream_body, response_id: None, sequence_number: 0 }
    }

    #[test]
    fn an_error_has_anthropics_shape_and_names() {
        let err = DialectError::new(429, "say \"please\"", "r-1").with_kind(ErrorKind::Billing);
        assert_eq!(
            serde_json::from_slice::<Value>(&body(&err)).unwrap(),
            json!({"type": "error", "error": {"type": "billing_error", "message": "say \"please\""}, "request_id": "r-1"})
        );
        for (status, name) in [
            (400, "invalid_request_error"),
            (401, "authentication_error"),
            (402, "billing_error"),
            (403, "permission_error"),
            (404, "not_found_error"),
            (413, "request_too_large"),
            (429, "rate_limit_error"),
            (500, "api_error"),
            (503, "api_error"),
            (504, "timeout_error"),
            (529, "overloaded_error"),
        ] {
            assert_eq!(type_name(ErrorKind::of_status(status)), name);
        }
    }

    #[test]
    fn the_providers_own_error_goes_into_the_stream_byte_for_byte() {
        let upstream = br#"{"type":"error", "error":{"type":"overloaded_error","message":"Overloaded"}}"#;
        let event = stream_error(&fault(Some(upstream)));
        assert_eq!(event, [b"event: error\ndata: ", &upstream[..], b"\n\n"].concat());
    }

    #[test]
    fn what_is_no_error_of_the_dialect_is_replaced_by_ours() {
        for body in [&b"<html>"[..], b"{}", b"", br#"{"error":null}"#] {
            let event = String::from_utf8(stream_error(&fault(Some(body)))).unwrap();
            assert!(event.starts_with("event: error\ndata: {\"type\":\"error\""), "{event}");
            assert!(event.contains(r"over\nloaded") && event.ends_with("}\n\n"));
        }
    }
}
