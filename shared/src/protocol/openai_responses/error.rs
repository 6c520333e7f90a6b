//! Our own errors in a Responses stream: a `response.failed` event. Error bodies are chat's.

use crate::protocol::error::{StreamFault, push_data, to_json};
use crate::protocol::openai_chat;
use crate::protocol::upstream_error::read_error;
use serde::Serialize;

/// A `response.failed` event, with the provider's code and text when it has given any.
#[must_use]
pub fn stream_error(fault: &StreamFault<'_>) -> Vec<u8> {
    let upstream = fault.upstream_body.map(|body| read_error(body).facts).unwrap_or_default();
    let own_code = openai_chat::error::code(&fault.error).unwrap_or("server_error");
    // Codex decides by the code; a provider that names only a type means that by it.
    let code = upstream.code.or(upstream.error_type);
    let error = match upstream.message.as_deref() {
        Some(message) => Inner { code: code.as_deref().unwrap_or(own_code), message },
        None => Inner { code: own_code, message: fault.error.message },
    };
    let own_id;
    let id = match fault.response_id {
        Some(id) => id,
        None => {
            own_id = format!("resp_{}", fault.error.request_id.replace('-', ""));
            &own_id
        }
    };
    let response = Response {
        id,
        object: "response",
        created_at: 0,
        status: "failed",
        error,
        incomplete_details: None,
        output: [],
        usage: None,
    };
    let data = Event { event_type: "response.failed", sequence_number: fault.sequence_number, response };
    let mut event = b"event: response.failed\n".to_vec();
    push_data(&mut event, &to_json(&data));
    event
}

#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    event_type: &'static str,
    sequence_number: u64,
    response: Response<'a>,
}

#[derive(Serialize)]
struct Response<'a> {
    id: &'a str,
    object: &'static str,
    created_at: u64,
    status: &'static str,
    error: Inner<'a>,
    incomplete_details: Option<&'static str>,
    output: [&'static str; 0],
    usage: Option<u64>,
}

#[derive(Serialize)]
struct Inner<'a> {
    code: &'a str,
    message: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::error::DialectError;
    use serde_json::Value;

    fn event(fault: &StreamFault<'_>) -> Value {
        let bytes = stream_error(fault);
        let text = String::from_utf8(bytes).unwrap();
        let data = text.strip_prefix("event: response.failed\ndata: ").unwrap();
        serde_json::from_str(data.strip_suffix("\n\n").unwrap()).unwrap()
    }

    #[test]
    fn a_failure_in_a_stream_is_a_failed_response() {
        let error = DialectError::new(529, "busy", "01-02");
        let fault =
            StreamFault { error, upstream_body: None, response_id: Some("resp_1"), sequence_number: 9 };
        let own = event(&fault);
        assert_eq!(own["type"], "response.failed");
        assert_eq!(own["sequence_number"], 9);
        assert_eq!(own["response"]["id"], "resp_1");
        assert_eq!(own["response"]["status"], "failed");
        assert_eq!(own["response"]["error"]["code"], "server_is_overloaded");
        assert_eq!(event(&StreamFault { response_id: None, ..fault })["response"]["id"], "resp_0102");
    }

    #[test]
    fn the_providers_code_and_text_are_kept() {
        let error = DialectError::new(400, "ours", "r");
        let body = br#"{"error":{"message":"too long","type":"t","code":"context_length_exceeded"}}"#;
        let fault = StreamFault { error, upstream_body: Some(body), response_id: None, sequence_number: 0 };
        let theirs = event(&fault);
        assert_eq!(theirs["response"]["error"]["code"], "context_length_exceeded");
        assert_eq!(theirs["response"]["error"]["message"], "too long");
        let html = event(&StreamFault { upstream_body: Some(b"<html>"), ..fault });
        assert_eq!(html["response"]["error"]["message"], "ours");
    }
}
