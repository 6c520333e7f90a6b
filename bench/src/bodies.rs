//! What is asked and answered: bodies in the shape of the Anthropic Messages API, the same in every run.
//!
//! Requests have an exact size; replies carry a usage block, so that the gateway has tokens to book. The head
//! field `x-bench-reply` tells the upstream which reply is wanted, because the path is the same for all.

use serde_json::json;
use std::fmt::Write as _;

/// One thing that is measured: a size of request and a kind of reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// Its name on the command line and in the report.
    pub name: &'static str,
    /// Size of the request's body in bytes.
    pub request_bytes: usize,
    /// What comes back.
    pub reply: Reply,
}

/// A kind of reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A whole message with `Content-Length`, one write.
    Json,
    /// [`EVENTS`] server-sent events, chunked; each is a write of its own, none waits for another. The head
    /// leaves with the first event, the end of the body with the last.
    Events,
    /// The same bytes in one write: what a proxy sees of an upstream that is faster than it.
    Burst,
    /// The first three events at once, then one at a time, slowly, until the connection closes.
    Slow,
}

/// The case of the promises on CPU: the less a request and its answer carry, the more our own work is of it.
pub const SMALLEST: &str = "json_2k";

/// All cases, in the order of the report.
pub const CASES: [Case; 6] = [
    Case { name: SMALLEST, request_bytes: SMALL, reply: Reply::Json },
    Case { name: "json_200k", request_bytes: LARGE, reply: Reply::Json },
    Case { name: "sse_2k", request_bytes: SMALL, reply: Reply::Events },
    Case { name: "sse_200k", request_bytes: LARGE, reply: Reply::Events },
    Case { name: "sse_burst_2k", request_bytes: SMALL, reply: Reply::Burst },
    Case { name: "sse_burst_200k", request_bytes: LARGE, reply: Reply::Burst },
];

/// The request of the case of open streams.
pub const SLOW: Case = Case { name: "streams", request_bytes: SMALL, reply: Reply::Slow };

impl Case {
    /// True for a reply of events.
    #[must_use]
    pub fn is_stream(self) -> bool {
        self.reply != Reply::Json
    }

    /// Head and body of the request, as they go over the wire.
    #[must_use]
    pub fn request(self, client_secret: &str) -> Vec<u8> {
        let body = request_body(self.request_bytes, self.is_stream());
        let mut wire = format!(
            "POST /v1/messages HTTP/1.1\r\nhost: hub.example\r\naccept: application/json\r\n\
             content-type: application/json\r\nuser-agent: claude-cli/2.0.14 (external, cli)\r\n\
             authorization: Bearer {client_secret}\r\nanthropic-version: 2023-06-01\r\n\
             anthropic-beta: claude-code-20250219,interleaved-thinking-2025-05-14\r\nx-app: cli\r\n\
             {REPLY_FIELD}: {}\r\ncontent-length: {}\r\n\r\n",
            self.reply.as_str(),
            body.len()
        )
        .into_bytes();
        wire.extend_from_slice(body.as_bytes());
        wire
    }
}

impl Reply {
    /// Its value in the head field.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Events => "events",
            Self::Burst => "burst",
            Self::Slow => "slow",
        }
    }

    /// From its value in the head field.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        [Self::Json, Self::Events, Self::Burst, Self::Slow]
            .into_iter()
            .find(|r| r.as_str().as_bytes() == value)
    }

    /// The body that must reach the client, byte for byte. Empty for [`Reply::Slow`], which has no end.
    #[must_use]
    pub fn body(self) -> Vec<u8> {
        match self {
            Self::Json => message().into_bytes(),
            Self::Events | Self::Burst => events().concat().into_bytes(),
            Self::Slow => Vec::new(),
        }
    }
}

/// A Messages request of exactly `bytes` bytes (at least 512): a conversation with turns of about 1 KB, in
/// which code and its escapes are quoted, as Claude Code sends them.
fn request_body(bytes: usize, is_stream: bool) -> String {
    let mut body = format!(
        r#"{{"model":"{MODEL}","max_tokens":4096,"stream":{is_stream},"metadata":{{"user_id":"user_bench"}},"system":[{{"type":"text","text":"You are a careful engineer.","cache_control":{{"type":"ephemeral"}}}}],"messages":["#
    );
    let end = r#"{"role":"user","content":""#.len() + r#""}]}"#.len();
    let turn = |role: &str| json!({"role": role, "content": TEXT.repeat(TEXTS_PER_TURN)}).to_string();
    let turns = format!("{},{},", turn("user"), turn("assistant"));
    while body.len() + turns.len() + end <= bytes {
        body.push_str(&turns);
    }
    let filler = bytes.saturating_sub(body.len() + end);
    let _ = write!(body, r#"{{"role":"user","content":"{}"}}]}}"#, "x".repeat(filler));
    body
}

/// A whole message of about 1 KB.
fn message() -> String {
    json!({
        "id": "msg_01BenchBenchBenchBenchBe", "type": "message", "role": "assistant", "model": MODEL,
        "content": [{"type": "text", "text": TEXT.repeat(4)}],
        "stop_reason": "end_turn", "stop_sequence": null,
        "usage": {"input_tokens": INPUT_TOKENS, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 128,
            "output_tokens": OUTPUT_TOKENS, "service_tier": "standard"}
    })
    .to_string()
}

/// The same as a stream of [`EVENTS`] events.
#[must_use]
pub fn events() -> Vec<String> {
    let event = |name: &str, data: serde_json::Value| format!("event: {name}\ndata: {data}\n\n");
    let mut events = vec![
        event(
            "message_start",
            json!({"type": "message_start", "message": {"id": "msg_01BenchBenchBenchBenchBe", "type": "message",
                "role": "assistant", "model": MODEL, "content": [], "stop_reason": null, "stop_sequence": null,
                "usage": {"input_tokens": INPUT_TOKENS, "cache_creation_input_tokens": 0,
                    "cache_read_input_tokens": 128, "output_tokens": 1, "service_tier": "standard"}}}),
        ),
        event(
            "content_block_start",
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        ),
    ];
    for number in 0..EVENTS - 5 {
        let text = format!(" word{number} and more");
        let delta = json!({"type": "text_delta", "text": text});
        events.push(event(
            "content_block_delta",
            json!({"type": "content_block_delta", "index": 0, "delta": delta}),
        ));
    }
    events.push(event("content_block_stop", json!({"type": "content_block_stop", "index": 0})));
    events.push(event(
        "message_delta",
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null},
            "usage": {"output_tokens": OUTPUT_TOKENS}}),
    ));
    events.push(event("message_stop", json!({"type": "message_stop"})));
    events
}

/// The head field by which a reply is asked for.
pub const REPLY_FIELD: &str = "x-bench-reply";
/// The model of all requests.
pub const MODEL: &str = "claude-sonnet-4-5";
/// Events of a stream.
pub const EVENTS: usize = 40;
/// Output tokens of every reply, by which the gateway's books are checked.
pub const OUTPUT_TOKENS: u64 = 57;
const INPUT_TOKENS: u64 = 412;
const SMALL: usize = 2 << 10;
const LARGE: usize = 200 << 10;
const TEXT: &str =
    "Please look at `src/main.rs`:\n\tlet path = \"/etc/hosts\";\nand say what it does, line by line.";
const TEXTS_PER_TURN: usize = 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_json_of_the_promised_size() {
        for case in CASES {
            let body = request_body(case.request_bytes, case.is_stream());
            assert_eq!(body.len(), case.request_bytes, "{}", case.name);
            let body: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert_eq!(body["stream"], case.is_stream());
            let messages = body["messages"].as_array().unwrap();
            for (index, message) in messages.iter().enumerate() {
                assert_eq!(message["role"], if index % 2 == 0 { "user" } else { "assistant" });
            }
        }
    }

    #[test]
    fn a_stream_has_forty_events_and_ends() {
        let events = events();
        assert_eq!(events.len(), EVENTS);
        assert!(events[EVENTS - 1].starts_with("event: message_stop\n"));
    }
}
