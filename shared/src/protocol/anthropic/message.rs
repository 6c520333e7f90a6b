//! A message of our own: what a client reads as a model's whole answer although none was asked. It took no tokens.

use serde_json::{Value, json};

/// A message that says one text and ends its turn.
#[derive(Clone, Copy, Debug)]
pub struct OwnMessage<'a> {
    /// Its id, `msg_…`.
    pub id: &'a str,
    /// The model that it is told to be of: the one asked for.
    pub model: &'a str,
    /// What it says.
    pub text: &'a str,
}

impl OwnMessage<'_> {
    /// The body of an answer that is no stream.
    #[must_use]
    pub fn whole(&self) -> String {
        let content = json!([{ "type": "text", "text": self.text }]);
        self.message(&content, &json!("end_turn")).to_string()
    }

    /// All events of a stream, from `message_start` to `message_stop`.
    #[must_use]
    pub fn stream(&self) -> String {
        let events = [
            json!({ "type": "message_start", "message": self.message(&json!([]), &Value::Null) }),
            json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }),
            json!({
                "type": "content_block_delta",
                "index": 0,
                "delta": { "type": "text_delta", "text": self.text },
            }),
            json!({ "type": "content_block_stop", "index": 0 }),
            json!({
                "type": "message_delta",
                "delta": { "stop_reason": "end_turn", "stop_sequence": null },
                "usage": usage(),
            }),
            json!({ "type": "message_stop" }),
        ];
        let written = events.iter().map(|event| {
            let name = event["type"].as_str().unwrap_or_default();
            format!("event: {name}\ndata: {event}\n\n")
        });
        written.collect()
    }

    fn message(&self, content: &Value, stop_reason: &Value) -> Value {
        json!({
            "model": self.model,
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": null,
            "usage": usage(),
        })
    }
}

fn usage() -> Value {
    json!({
        "input_tokens": 0,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Dialect;
    use crate::protocol::tap::{Framing, StreamTap, TapOptions};

    const SAYS: OwnMessage<'_> = OwnMessage { id: "msg_1", model: "claude \"4\"", text: "Ready.\n" };

    #[test]
    fn the_whole_message_says_its_text_and_took_nothing() {
        let said: Value = serde_json::from_str(&SAYS.whole()).unwrap();
        assert_eq!(
            said,
            json!({
                "model": "claude \"4\"",
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "content": [{ "type": "text", "text": "Ready.\n" }],
                "stop_reason": "end_turn",
                "stop_sequence": null,
                "usage": {
                    "input_tokens": 0,
                    "cache_creation_input_tokens": 0,
                    "cache_read_input_tokens": 0,
                    "output_tokens": 0,
                },
            })
        );
    }
    #[test]
    fn the_stream_is_whole_as_the_protocol_wants_it_and_says_the_same() {
        let stream = SAYS.stream();
        let mut tap = StreamTap::new(Dialect::Anthropic, Framing::Sse, TapOptions::default());
        let seen = tap.observe(stream.as_bytes());
        assert!(seen.content && !seen.error && tap.is_over() && tap.is_between_events());
        let facts = tap.facts();
        assert_eq!(facts.stop_reason.as_deref(), Some("end_turn"));
        assert_eq!((facts.usage().total_input(), facts.usage().output_tokens), (0, 0));
        let names: Vec<_> = stream.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
        assert_eq!(
            names,
            [
                "message_start",
                "content_block_start",
                "content_block_delta",
                "content_block_stop",
                "message_delta",
                "message_stop",
            ]
        );
        let events: Vec<Value> = stream
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .map(|data| serde_json::from_str(data).unwrap())
            .collect();
        let types: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
        assert_eq!(types, names);
        assert_eq!(
            (&events[0]["message"]["model"], &events[2]["delta"]["text"]),
            (&json!(SAYS.model), &json!(SAYS.text))
        );
    }
}
