//! Reads the events of one stream into its facts, as little of each as is enough.
//!
//! Until the first content every event is read whole, so that the gate sees a broken one. After it, an event
//! is not parsed when its name (Anthropic, Responses) or the chunk before it (chat) tells what it is.

use super::stream_facts::StreamFacts;
use crate::protocol::Dialect;
use crate::protocol::facts::{EventFacts, EventKind};
use crate::protocol::openai_chat::skim::Skimmer;

/// The reader of one stream.
#[derive(Debug)]
pub(super) struct EventReader {
    dialect: Dialect,
    facts: StreamFacts,
    chat: Skimmer,
}

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) kind: EventKind,
    /// True for the extra usage chunk.
    pub(super) is_usage_only: bool,
}

impl EventReader {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self { dialect, facts: StreamFacts::at_start(dialect), chat: Skimmer::default() }
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.dialect
    }

    pub(super) fn facts(&self) -> &StreamFacts {
        &self.facts
    }

    /// Reads an event.
    pub(super) fn read(&mut self, name: &[u8], data: &[u8]) -> Read {
        if let Some(facts) = self.skim(name, data) {
            return self.absorb(&facts, data);
        }
        let facts = self.dialect.classify(name, data);
        if self.dialect == Dialect::OpenaiChat && name.is_empty() {
            self.chat.learn(data, &facts);
        }
        self.absorb(&facts, data)
    }

    /// Reads an event whose end never came; `None` when it was cut in its data, which is nobody's fault.
    pub(super) fn read_unfinished(&mut self, name: &[u8], data: &[u8]) -> Option<Read> {
        let facts = self.dialect.classify(name, data);
        (facts.kind != EventKind::Malformed).then(|| self.absorb(&facts, data))
    }

    /// Takes note of an event that was too large to be read.
    pub(super) fn note_oversized(&mut self) -> EventKind {
        self.facts.note_oversized()
    }

    /// The bytes are over; `is_whole` when the framing allows it here.
    pub(super) fn finish(&mut self, is_whole: bool) {
        self.facts.finish(is_whole);
    }

    fn skim(&mut self, name: &[u8], data: &[u8]) -> Option<EventFacts<'static>> {
        if !self.facts.has_content || data.is_empty() {
            return None;
        }
        match self.dialect {
            Dialect::Anthropic | Dialect::OpenaiResponses => self.dialect.skim(name).map(EventFacts::of),
            Dialect::OpenaiChat if name.is_empty() => self.chat.skim(data).inspect(|_| self.chat.hit()),
            Dialect::OpenaiChat | Dialect::Gemini => None,
        }
    }

    fn absorb(&mut self, facts: &EventFacts<'_>, data: &[u8]) -> Read {
        self.facts.absorb(self.dialect, facts, data);
        Read { kind: facts.kind, is_usage_only: facts.is_usage_only }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CHAT: [&str; 14] = [
        r#"{"model":"m","choices":[{"delta":{"content":"a"},"finish_reason":null}]}"#,
        r#"{"model":"m","choices":[{"delta":{"content":"bc"},"finish_reason":null}]}"#,
        r#"{"model":"m","choices":[{"delta":{"content":""},"finish_reason":null}]}"#,
        r#"{"model":"m","choices":[{"delta":{"content":"\"]}"},"finish_reason":null}]}"#,
        r#"{"model":"m","choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}"#,
        r#"{"model":"m","choices":[{"delta":{"reasoning":"a"},"finish_reason":null}]}"#,
        r#"{"model":"m","choices":[{"delta":{"reasoning":"bc"},"finish_reason":null}]}"#,
        r#"{"service_tier":"flex","choices":[{"delta":{"content":"a"}}]}"#,
        r#"{"service_tier":"flex","choices":[{"delta":{"content":"b"}}]}"#,
        r#"{"service_tier":"default","choices":[{"delta":{"content":"b"}}]}"#,
        r#"{"choices":[{"delta":{"tool_calls":[{"function":{"arguments":"{"}}]}}]}"#,
        r#"{"choices":[{"delta":{"tool_calls":[{"function":{"arguments":"}"}}]}}]}"#,
        r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#,
        r#"{"error":{"code":"x"}}"#,
    ];

    const NAMED: [(&str, &str); 10] = [
        ("ping", r#"{"type":"ping"}"#),
        ("content_block_start", r#"{"content_block":{"type":"thinking"}}"#),
        ("content_block_delta", r#"{"delta":{"thinking":"hm"}}"#),
        ("content_block_stop", "{}"),
        ("message_delta", r#"{"delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":3}}"#),
        ("response.output_item.added", r#"{"item":{"type":"reasoning"}}"#),
        ("response.output_text.delta", r#"{"delta":"x","usage":{"output_tokens":9},"error":"y"}"#),
        ("response.completed", r#"{"response":{"usage":{"output_tokens":4}}}"#),
        ("", r#"{"type":"content_block_delta","delta":{"text":"x"}}"#),
        ("", r#"{"type":"response.output_text.delta","delta":"x"}"#),
    ];

    proptest! {
        #[test]
        fn what_is_not_parsed_leaves_the_facts_that_parsing_would(
            chunks in prop::collection::vec(prop::sample::select(CHAT.to_vec()), 0..30),
            events in prop::collection::vec(prop::sample::select(NAMED.to_vec()), 0..20),
        ) {
            for dialect in Dialect::ALL {
                let (mut quick, mut slow) = (EventReader::new(dialect), EventReader::new(dialect));
                for (name, data) in chunks.iter().map(|data| ("", *data)).chain(events.iter().copied()) {
                    let read = quick.read(name.as_bytes(), data.as_bytes());
                    // An unfinished event is never guessed at.
                    let expected = slow.read_unfinished(name.as_bytes(), data.as_bytes());
                    prop_assert_eq!(Some(read), expected);
                }
                prop_assert_eq!(quick.facts(), slow.facts());
            }
        }
    }
}
