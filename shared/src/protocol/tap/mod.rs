//! Watches a stream on its way from a provider to a seat.
//!
//! Bytes pass untouched; the tap reads along and keeps what the books and the gate need: usage, model, stop
//! reason, whether the model thinks, whether the stream ended as its protocol wants. Knows nothing of
//! sockets, timers or prices.
//!
//! Invariants: any split of the same bytes into chunks gives the same facts and the same relayed bytes;
//! without an option what is relayed is what came, chunk for chunk, not copied; whatever the bytes, at most
//! [`MAX_EVENT_BYTES`] are kept and nothing panics.

mod json_array;
mod stream_facts;
mod text;

pub use stream_facts::{StreamError, StreamFacts};

use super::Dialect;
use super::error::StreamFault;
use super::facts::EventKind;
use super::gemini;
use super::sse::{Frame, MAX_EVENT_BYTES, SseReader};
use bytes::{Bytes, BytesMut};
use json_array::{ArrayReader, Element};

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
    /// Bytes are then relayed in whole events. Without effect on a JSON array.
    pub withhold_usage_chunk: bool,
}

/// Reads along a stream.
#[derive(Debug)]
pub struct StreamTap {
    dialect: Dialect,
    cutter: Cutter,
    options: TapOptions,
    facts: StreamFacts,
    /// True when [`Self::end`] has handed out the first bytes of an event that never ended.
    ended_mid_event: bool,
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
    /// The first event that settles a gate, if any: see [`EventKind::is_decisive`].
    pub decisive: Option<EventKind>,
}

#[derive(Debug)]
enum Cutter {
    Sse(SseReader),
    Array(ArrayReader),
}

impl StreamTap {
    /// A tap for a stream of `dialect`.
    #[must_use]
    pub fn new(dialect: Dialect, framing: Framing, options: TapOptions) -> Self {
        Self::with_limit(dialect, framing, options, MAX_EVENT_BYTES)
    }

    fn with_limit(dialect: Dialect, framing: Framing, options: TapOptions, limit: usize) -> Self {
        let cutter = match framing {
            Framing::Sse => Cutter::Sse(SseReader::with_limit(limit)),
            Framing::JsonArray => Cutter::Array(ArrayReader::with_limit(limit)),
        };
        Self { dialect, cutter, options, facts: StreamFacts::at_start(dialect), ended_mid_event: false }
    }

    /// Takes a chunk and returns what to relay now: the very same bytes unless an option asks otherwise.
    pub fn push(&mut self, chunk: Bytes) -> Passed {
        if let Cutter::Sse(reader) = &mut self.cutter
            && self.options.withhold_usage_chunk
        {
            return withhold(self.dialect, reader, &mut self.facts, &chunk);
        }
        let seen = self.observe(&chunk);
        Passed { bytes: chunk, seen }
    }

    /// Reads along without relaying: for the decoded copy of a compressed stream.
    pub fn observe(&mut self, chunk: &[u8]) -> Seen {
        let Self { dialect, cutter, facts, .. } = self;
        let mut seen = Seen::default();
        match cutter {
            Cutter::Sse(reader) => reader.push(chunk, |frame| {
                read_frame(*dialect, facts, &mut seen, &frame);
            }),
            Cutter::Array(reader) => reader.push(chunk, |element| {
                let kind = match element {
                    Element::Whole(json) => return seen.note(facts.read(*dialect, b"", json).0),
                    Element::Oversized => facts.note_oversized(),
                    Element::NotJson => EventKind::Malformed,
                };
                seen.note(kind);
            }),
        }
        seen
    }

    /// The provider's bytes are over, rightly or not: what was held back, and what its last event said.
    pub fn end(&mut self) -> Passed {
        let Self { dialect, cutter, facts, .. } = self;
        let mut passed = Passed::default();
        let is_whole = match cutter {
            Cutter::Sse(reader) => {
                let mut is_mid_event = reader.is_mid_event();
                reader.end(|frame| {
                    let is_extra = read_frame(*dialect, facts, &mut passed.seen, &frame);
                    if let Frame::Event(event) | Frame::Unfinished(event) = &frame
                        && self.options.withhold_usage_chunk
                    {
                        let raw = if is_extra { &[][..] } else { event.raw };
                        passed.bytes = Bytes::copy_from_slice(raw);
                    }
                    is_mid_event &= !matches!(frame, Frame::Event(_)) && !is_extra;
                });
                self.ended_mid_event |= is_mid_event;
                true
            }
            // An array without its bracket is cut, whatever its elements say.
            Cutter::Array(reader) => !reader.is_mid_element() && !reader.is_open(),
        };
        self.facts.finish(is_whole);
        passed
    }

    /// What is known so far.
    #[must_use]
    pub fn facts(&self) -> &StreamFacts {
        &self.facts
    }

    /// The bytes that tell the seat of a failure after the head was sent, placed so that an event whose
    /// first half was relayed does not swallow them. The response id and sequence number come from the facts.
    /// Empty where a JSON array cannot take one more element: then cut the connection.
    #[must_use]
    pub fn closing_error(&self, fault: &StreamFault<'_>) -> Vec<u8> {
        let fault = StreamFault {
            response_id: fault.response_id.or(self.facts.response_id.as_deref()),
            sequence_number: fault.sequence_number.max(self.facts.events),
            ..*fault
        };
        match &self.cutter {
            Cutter::Sse(reader) => {
                let relays_parts = !self.options.withhold_usage_chunk;
                let is_mid_event = self.ended_mid_event || (relays_parts && reader.is_mid_event());
                let mut bytes = if is_mid_event { self.half_event_end().to_vec() } else { Vec::new() };
                bytes.extend(self.dialect.stream_error(&fault));
                bytes
            }
            Cutter::Array(reader) if reader.is_open() => gemini::error::array_error(&fault),
            Cutter::Array(_) => Vec::new(),
        }
    }

    /// What ends an event whose first half was relayed.
    fn half_event_end(&self) -> &'static [u8] {
        match self.dialect {
            // Only the line: the half joins the error's event, whose name its SDKs go by; as an event of its
            // own its broken JSON would be thrown at the client before the error is read.
            Dialect::Anthropic => b"\n",
            // Codex and others skip an event that they cannot read, and then see the error's own.
            Dialect::OpenaiChat | Dialect::OpenaiResponses | Dialect::Gemini => b"\n\n",
        }
    }
}

impl Seen {
    fn note(&mut self, kind: EventKind) {
        self.progress |= kind.is_progress();
        self.content |= kind == EventKind::Content;
        self.error |= kind == EventKind::Error;
        if self.decisive.is_none() && kind.is_decisive() {
            self.decisive = Some(kind);
        }
    }
}

/// Folds a frame into the facts; true for the extra usage chunk.
fn read_frame(dialect: Dialect, facts: &mut StreamFacts, seen: &mut Seen, frame: &Frame<'_>) -> bool {
    let (kind, is_usage_only) = match frame {
        Frame::Event(event) => facts.read(dialect, event.name, &event.data),
        Frame::Unfinished(event) => {
            let read = facts.read_unfinished(dialect, event.name, &event.data);
            let Some(read) = read else { return false };
            read
        }
        Frame::Skipped { is_first: true, .. } => (facts.note_oversized(), false),
        Frame::Skipped { is_first: false, .. } => return false,
    };
    seen.note(kind);
    is_usage_only
}

/// Passes on the whole events of a chunk but for the extra usage chunk, without copying where nothing was
/// kept from before and nothing is dropped in between.
fn withhold(dialect: Dialect, reader: &mut SseReader, facts: &mut StreamFacts, chunk: &Bytes) -> Passed {
    let kept = reader.kept();
    let mut seen = Seen::default();
    // Positions in kept bytes + chunk; `copied` holds what cannot be a slice of the chunk.
    let mut at = 0_usize;
    let mut run = 0..0;
    let mut copied = BytesMut::new();
    reader.push(chunk, |frame| {
        let is_extra = read_frame(dialect, facts, &mut seen, &frame);
        let raw = match &frame {
            Frame::Event(event) | Frame::Unfinished(event) => event.raw,
            Frame::Skipped { raw, .. } => raw,
        };
        let start = at;
        at += raw.len();
        if is_extra {
            return;
        }
        if start < kept {
            copied.extend_from_slice(raw);
        } else if run.is_empty() && copied.is_empty() {
            run = start - kept..at - kept;
        } else if run.end == start - kept && copied.is_empty() {
            run.end = at - kept;
        } else {
            if copied.is_empty() {
                copied.extend_from_slice(chunk.get(run.clone()).unwrap_or_default());
            }
            copied.extend_from_slice(raw);
        }
    });
    let bytes = if copied.is_empty() { chunk.slice(run) } else { copied.freeze() };
    Passed { bytes, seen }
}

#[cfg(test)]
mod tests;
