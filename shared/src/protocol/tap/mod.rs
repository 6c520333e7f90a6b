//! Watches a stream on its way from a provider to a seat.
//!
//! Bytes pass untouched; the tap reads along and keeps what the books and the gate need: usage, model, stop
//! reason, whether the model thinks, whether the stream ended as its protocol wants. Knows nothing of
//! sockets, timers or prices. Any split of the same bytes into chunks gives the same facts and the same
//! relayed bytes.

mod stream_facts;

pub use stream_facts::{StreamError, StreamFacts};

use super::Dialect;
use super::error::StreamFault;
use super::facts::EventKind;
use bytes::Bytes;

/// How events are cut out of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// `text/event-stream`.
    Sse,
    /// One JSON array whose elements arrive one by one: Gemini's `streamGenerateContent` without `alt=sse`.
    JsonArray,
}

/// What a tap changes in the bytes that pass. By default nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TapOptions {
    /// Drop the extra chat chunk (`choices: []` with usage) that we asked for and the seat did not.
    /// Bytes are then relayed in whole events.
    pub withhold_usage_chunk: bool,
}

/// Reads along a stream.
#[derive(Debug)]
pub struct StreamTap {
    dialect: Dialect,
    facts: StreamFacts,
}

/// What came out of a chunk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// The bytes to relay now; may be empty.
    pub bytes: Bytes,
    /// What happened in the chunk.
    pub seen: Seen,
}

/// What happened in a chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// A sign of life of the protocol: resets the progress timer.
    pub progress: bool,
    /// Something real of an answer.
    pub content: bool,
    /// The provider said that it failed.
    pub error: bool,
    /// The protocol's end.
    pub ended: bool,
    /// An event that was too large to be read.
    pub overflow: bool,
    /// The first event that settles a gate: Content, Error, End or Malformed.
    pub decisive: Option<EventKind>,
}

impl StreamTap {
    /// A tap for a stream of `dialect`.
    #[must_use]
    pub fn new(dialect: Dialect, _framing: Framing, _options: TapOptions) -> Self {
        Self { dialect, facts: StreamFacts::default() }
    }

    /// Takes a chunk and returns what to relay now: the very same bytes unless an option asks otherwise.
    pub fn push(&mut self, chunk: Bytes) -> Passed {
        let seen = self.observe(&chunk);
        Passed { bytes: chunk, seen }
    }

    /// Reads along without relaying: for the decoded copy of a compressed stream.
    pub fn observe(&mut self, _chunk: &[u8]) -> Seen {
        Seen::default()
    }

    /// The provider's bytes are over, rightly or not: what was held back, and what its last event said.
    pub fn end(&mut self) -> Passed {
        Passed::default()
    }

    /// What is known so far.
    #[must_use]
    pub fn facts(&self) -> &StreamFacts {
        &self.facts
    }

    /// The bytes that tell the seat of a failure after the head was sent, placed so that a half-relayed
    /// event does not swallow them. `fault.response_id` and `fault.sequence_number` are filled in from the
    /// facts. Empty for a JSON array, which cannot carry one: cut the connection.
    #[must_use]
    pub fn closing_error(&self, fault: &StreamFault<'_>) -> Vec<u8> {
        self.dialect.stream_error(fault)
    }
}
