//! Our own errors in OpenAI's shape: `{"error":{"message","type","param","code"}}`.

use crate::protocol::error::{DialectError, ErrorKind, StreamFault, push_data, to_json};
use serde::Serialize;

/// A comment, which OpenAI's clients skip. Without an empty line after it: that would end an event, and a client that has
/// seen an `id` takes it for one without data.
pub const KEEP_ALIVE: &[u8] = b": ping\n";

/// The body of one of our own errors, in chat and in Responses.
#[must_use]
pub fn body(err: &DialectError<'_>) -> Vec<u8> {
    let (error_type, _) = names(err.kind);
    to_json(&Body { error: Inner { message: err.message, error_type, param: None, code: code(err) } })
}

/// An event whose data is an error: the provider's body byte for byte when it is one, else ours.
#[must_use]
pub fn stream_error(fault: &StreamFault<'_>) -> Vec<u8> {
    let mut event = Vec::new();
    push_data(&mut event, &fault.data(body));
    event
}

/// The code of an error: its own, else OpenAI's for its kind.
pub(crate) fn code<'a>(err: &DialectError<'a>) -> Option<&'a str> {
    err.code.or(names(err.kind).1)
}

/// OpenAI's type and code for what went wrong.
fn names(kind: ErrorKind) -> (&'static str, Option<&'static str>) {
    match kind {
        ErrorKind::InvalidRequest => ("invalid_request_error", None),
        ErrorKind::Authentication => ("invalid_request_error", Some("invalid_api_key")),
        ErrorKind::Billing => ("insufficient_quota", Some("insufficient_quota")),
        ErrorKind::Permission => ("permission_error", Some("permission_denied")),
        ErrorKind::NotFound => ("invalid_request_error", Some("not_found")),
        ErrorKind::Conflict => ("invalid_request_error", Some("conflict")),
        ErrorKind::TooLarge => ("invalid_request_error", Some("request_too_large")),
        ErrorKind::RateLimit => ("rate_limit_error", Some("rate_limit_exceeded")),
        ErrorKind::Internal => ("server_error", Some("server_error")),
        ErrorKind::Unavailable => ("server_error", Some("service_unavailable")),
        ErrorKind::Timeout => ("server_error", Some("timeout")),
        ErrorKind::Overloaded => ("server_error", Some("server_is_overloaded")),
    }
}

#[derive(Serialize)]
struct Body<'a> {
    error: Inner<'a>,
}

#[derive(Serialize)]
struct Inner<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    error_type: &'static str,
    param: Option<&'a str>,
    code: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn an_error_has_openais_shape() {
        let err = DialectError::new(404, "gone", "r-1").with_code("previous_response_not_found");
        assert_eq!(
            serde_json::from_slice::<Value>(&body(&err)).unwrap(),
            json!({"error": {"message": "gone", "type": "invalid_request_error", "param": null, "code": "previous_response_not_found"}})
        );
        let err = DialectError::new(400, "no", "r-1");
        assert_eq!(
            serde_json::from_slice::<Value>(&body(&err)).unwrap(),
            json!({"error": {"message": "no", "type": "invalid_request_error", "param": null, "code": null}})
        );
        let err = DialectError::new(429, "later", "r-1").with_kind(ErrorKind::Billing);
        let quota: Value = serde_json::from_slice(&body(&err)).unwrap();
        assert_eq!(quota["error"]["code"], "insufficient_quota");
    }

    #[test]
    fn an_error_in_a_stream_is_an_event_of_its_own() {
        let error = DialectError::new(504, "late", "r-1");
        let fault = StreamFault { error, upstream_body: None, response_id: None, sequence_number: 0 };
        let event = String::from_utf8(stream_error(&fault)).unwrap();
        assert!(event.starts_with("data: {\"error\":{\"message\":\"late\"") && event.ends_with("}\n\n"));
        // A body of several lines stays one event with the same data.
        let fault = StreamFault { upstream_body: Some(b"{\"error\":\r\n{\"code\":1}\n}"), ..fault };
        assert_eq!(stream_error(&fault), b"data: {\"error\":\ndata: {\"code\":1}\ndata: }\n\n");
    }
}
