//! What an event or a body of Google's Gemini API is; both have the same shape.
//!
//! The gate opens at the first parts, finish reason or prompt feedback: a refusal is an answer. The stream
//! ends with its bytes; that is a correct end after a finish reason (or a blocked prompt).

use super::usage::Usage;
use crate::protocol::facts::{EventFacts, EventKind, Finish, Phase};
use crate::protocol::lenient::{Flag, Fold, Many, Raw, Text, lenient, parse};
use crate::protocol::tally::{Searches, UsageState};
use crate::protocol::upstream_error::read_error;
use std::borrow::Cow;
use std::collections::BTreeSet;

/// What an event says.
#[must_use]
pub fn classify<'a>(name: &[u8], data: &'a [u8]) -> EventFacts<'a> {
    if name == b"error" {
        return error(data);
    }
    match parse::<Chunk<'_>>(data) {
        Some(chunk) => read(chunk, data),
        // Not of this protocol, but relays that copy OpenAI's send it.
        None if data.trim_ascii() == b"[DONE]" => EventFacts::of(EventKind::End),
        None => EventFacts::of(EventKind::Malformed),
    }
}

/// What a complete body says: `Content` for an answer, `Other` for JSON without one.
#[must_use]
pub fn classify_whole(body: &[u8]) -> EventFacts<'_> {
    let Some(chunk) = parse::<Chunk<'_>>(body) else { return EventFacts::of(EventKind::Malformed) };
    let has_candidate = chunk.has_candidate();
    let mut facts = read(chunk, body);
    if let Some(usage) = &mut facts.usage {
        usage.state = UsageState::Final;
    }
    if facts.kind == EventKind::Preamble {
        // Candidates without parts or reason are still what the model gave.
        facts.kind = if has_candidate { EventKind::Content } else { EventKind::Other };
    }
    facts
}

fn read<'a>(chunk: Chunk<'a>, data: &'a [u8]) -> EventFacts<'a> {
    if chunk.error.is_filled() {
        return error(data);
    }
    match chunk.response.filled().and_then(|inner| parse::<Chunk<'_>>(inner.as_bytes())) {
        Some(inner) if inner.error.is_filled() => error(data),
        Some(inner) => inner.into_facts(),
        None => chunk.into_facts(),
    }
}

fn error(data: &[u8]) -> EventFacts<'_> {
    EventFacts { error: Some(read_error(data).facts), ..EventFacts::of(EventKind::Error) }
}

lenient! {
    struct Chunk<'a> {
        candidates: Many<Candidate<'a>> = "candidates",
        feedback: Raw<'a> = "promptFeedback",
        usage_metadata: Raw<'a> = "usageMetadata",
        model: Text<'a> = "modelVersion",
        id: Text<'a> = "responseId",
        error: Raw<'a> = "error",
        response: Raw<'a> = "response",
    }
}

lenient! {
    struct WireCandidate<'a> {
        content: Content = "content",
        finish_reason: Text<'a> = "finishReason",
        grounding: Grounding<'a> = "groundingMetadata",
    }
}

lenient! {
    struct Grounding<'a> {
        queries: Many<Queries<'a>> = "webSearchQueries",
    }
}

/// The queries that were searched for. "We ignore the empty web search queries when counting unique queries" (ai.google.dev,
/// "Grounding with Google Search").
#[derive(Clone, Debug, Default)]
struct Queries<'a>(BTreeSet<Cow<'a, str>>);

impl Fold for Queries<'_> {
    fn fold(&mut self, mut next: Self) {
        self.0.append(&mut next.0);
    }
}

impl<'de: 'a, 'a> serde::Deserialize<'de> for Queries<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Text::deserialize(deserializer)?.filled().into_iter().collect()))
    }
}

lenient! {
    struct Content {
        parts: Many<Part> = "parts",
    }
}

lenient! {
    struct WirePart {
        thought: Flag = "thought",
    }
}

lenient! {
    struct Feedback<'a> {
        block_reason: Text<'a> = "blockReason",
    }
}

/// What all candidates of a chunk say together.
#[derive(Clone, Debug, Default)]
struct Candidate<'a> {
    parts: usize,
    has_answer: bool,
    finish_reason: Text<'a>,
    queries: Queries<'a>,
}

impl Fold for Candidate<'_> {
    fn fold(&mut self, next: Self) {
        self.parts += next.parts;
        self.has_answer |= next.has_answer;
        if !next.finish_reason.as_str().is_empty() {
            self.finish_reason = next.finish_reason;
        }
        self.queries.fold(next.queries);
    }
}

impl<'de: 'a, 'a> serde::Deserialize<'de> for Candidate<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let WireCandidate { content, finish_reason, grounding } = WireCandidate::deserialize(deserializer)?;
        Ok(Self {
            parts: content.parts.count,
            has_answer: content.parts.folded.is_answer,
            finish_reason,
            queries: grounding.queries.folded,
        })
    }
}

/// Whether any part is more than a thought.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    is_answer: bool,
}

impl Fold for Part {
    fn fold(&mut self, next: Self) {
        self.is_answer |= next.is_answer;
    }
}

impl<'de> serde::Deserialize<'de> for Part {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        WirePart::deserialize(deserializer).map(|part| Self { is_answer: !part.thought.0 })
    }
}

impl<'a> Chunk<'a> {
    fn has_candidate(&self) -> bool {
        let inner = self.response.filled().and_then(|inner| parse::<Chunk<'_>>(inner.as_bytes()));
        inner.map_or(self.candidates.count, |inner| inner.candidates.count) > 0
    }

    fn into_facts(self) -> EventFacts<'a> {
        let Candidate { parts, has_answer, finish_reason, queries: Queries(queries) } =
            self.candidates.folded;
        let searched = u64::try_from(queries.len()).unwrap_or(u64::MAX);
        let feedback = self.feedback.filled();
        let block_reason = feedback.and_then(|json| parse::<Feedback<'_>>(json.as_bytes()));
        // The zero value of the enum is sent by some while the model still runs.
        let finish_reason = finish_reason.filled().filter(|reason| reason != "FINISH_REASON_UNSPECIFIED");
        let stop_reason = finish_reason.or(block_reason.and_then(|feedback| feedback.block_reason.filled()));
        let usage = self.usage_metadata.filled().and_then(|json| parse::<Usage>(json.as_bytes()));
        let (finish, state) = match stop_reason {
            Some(_) => (Finish::Stopped, UsageState::Final),
            None => (Finish::No, UsageState::Running),
        };
        let kind = if parts > 0 || stop_reason.is_some() || feedback.is_some() {
            EventKind::Content
        } else if self.candidates.is_array || usage.is_some() {
            EventKind::Preamble
        } else {
            EventKind::Other
        };
        let phase = if has_answer { Phase::Answering } else { Phase::Thinking };
        EventFacts {
            finish,
            phase: (parts > 0).then_some(phase),
            model: self.model.filled(),
            response_id: self.id.filled(),
            stop_reason,
            searches: (searched > 0).then_some(Searches::InAll(searched)),
            usage: usage.and_then(|usage| usage.patch(state)),
            ..EventFacts::of(kind)
        }
    }
}

#[cfg(test)]
mod tests;
