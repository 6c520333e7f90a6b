//! One door to the four rooms: each question about a dialect is answered by the room that knows.

use super::error::{DialectError, StreamFault};
use super::facts::{EventFacts, EventKind};
use super::{Dialect, anthropic, gemini, openai_chat, openai_responses};
use std::borrow::Cow;

impl Dialect {
    /// All dialects.
    pub const ALL: [Self; 4] = [Self::Anthropic, Self::OpenaiChat, Self::OpenaiResponses, Self::Gemini];

    /// What an event says. `name` is the SSE event name (empty when there is none), `data` its data (empty
    /// for a comment or a keep-alive).
    #[must_use]
    pub fn classify<'a>(self, name: &[u8], data: &'a [u8]) -> EventFacts<'a> {
        if data.is_empty() {
            return EventFacts::of(EventKind::Ping);
        }
        let facts = self.classify_text(name, data);
        if facts.kind == EventKind::Malformed
            && let Some(repaired) = repair(data)
        {
            return self.classify_text(name, &repaired).into_owned();
        }
        facts
    }

    /// What a complete body says, in the words of an event: `Content` is an answer, `Other` is JSON without
    /// one. [`super::whole`] makes a verdict of it.
    #[must_use]
    pub fn classify_whole(self, body: &[u8]) -> EventFacts<'_> {
        let facts = self.classify_whole_text(body);
        if facts.kind == EventKind::Malformed
            && let Some(repaired) = repair(body)
        {
            return self.classify_whole_text(&repaired).into_owned();
        }
        facts
    }

    /// The kind of an event whose name alone says that it carries nothing else a tap wants; `None` when its
    /// data must be read. Right for every event with well-formed data; broken data is not noticed.
    #[must_use]
    pub fn skim(self, name: &[u8]) -> Option<EventKind> {
        match self {
            Self::Anthropic => anthropic::response::skim(name),
            Self::OpenaiResponses => openai_responses::response::skim(name),
            Self::OpenaiChat | Self::Gemini => None,
        }
    }

    /// The body of one of our own errors.
    #[must_use]
    pub fn error_body(self, err: &DialectError<'_>) -> Vec<u8> {
        match self {
            Self::Anthropic => anthropic::error::body(err),
            Self::OpenaiChat | Self::OpenaiResponses => openai_chat::error::body(err),
            Self::Gemini => gemini::error::body(err),
        }
    }

    /// The bytes of an error event in a stream whose head was sent already. The bytes relayed before must
    /// end an event; [`super::tap::StreamTap::closing_error`] sees to that.
    #[must_use]
    pub fn stream_error(self, fault: &StreamFault<'_>) -> Vec<u8> {
        match self {
            Self::Anthropic => anthropic::error::stream_error(fault),
            Self::OpenaiChat => openai_chat::error::stream_error(fault),
            Self::OpenaiResponses => openai_responses::error::stream_error(fault),
            Self::Gemini => gemini::error::stream_error(fault),
        }
    }

    /// Bytes that keep a silent SSE stream alive without meaning anything to the client.
    #[must_use]
    pub fn keep_alive(self) -> &'static [u8] {
        match self {
            Self::Anthropic => anthropic::error::KEEP_ALIVE,
            Self::OpenaiChat | Self::OpenaiResponses => openai_chat::error::KEEP_ALIVE,
            Self::Gemini => gemini::error::KEEP_ALIVE,
        }
    }

    fn classify_text<'a>(self, name: &[u8], data: &'a [u8]) -> EventFacts<'a> {
        match self {
            Self::Anthropic => anthropic::response::classify(name, data),
            Self::OpenaiChat => openai_chat::response::classify(name, data),
            Self::OpenaiResponses => openai_responses::response::classify(name, data),
            Self::Gemini => gemini::response::classify(name, data),
        }
    }

    fn classify_whole_text(self, body: &[u8]) -> EventFacts<'_> {
        match self {
            Self::Anthropic => anthropic::response::classify_whole(body),
            Self::OpenaiChat => openai_chat::response::classify_whole(body),
            Self::OpenaiResponses => openai_responses::response::classify_whole(body),
            Self::Gemini => gemini::response::classify_whole(body),
        }
    }
}

/// Data that is no UTF-8 as clients read it: with U+FFFD in the place of broken bytes, which relays that cut
/// a character between two events send. `None` when it is UTF-8.
fn repair(data: &[u8]) -> Option<Vec<u8>> {
    match String::from_utf8_lossy(data) {
        Cow::Borrowed(_) => None,
        Cow::Owned(repaired) => Some(repaired.into_bytes()),
    }
}

#[cfg(test)]
mod tests;
