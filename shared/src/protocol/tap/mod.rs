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
mod reader;
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
use reader::EventReader;

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
    cutter: Cutter,
    reader: EventReader,
    options: TapOptions,
    /// True when [`Self::end`] has handed out the first bytes of an event that never ended.
    ended_mid_event: bool,
    /// True when they ended between a CR and its LF: the last event is whole, but not every client sees that.
    ended_on_cr: bool,
    is_plain_promised: bool,
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
        Self {
            cutter,
            reader: EventReader::new(dialect),
            options,
            ended_mid_event: false,
            ended_on_cr: false,
            is_plain_promised: false,
        }
    }

    /// Takes a chunk and returns what to relay now: the very same bytes unless an option asks otherwise.
    pub fn push(&mut self, chunk: Bytes) -> Passed {
        if let Cutter::Sse(cutter) = &mut self.cutter
            && self.options.withhold_usage_chunk
        {
            return withhold(cutter, &mut self.reader, chunk);
        }
        let seen = self.observe(&chunk);
        Passed { bytes: chunk, seen }
    }

    /// Reads along without relaying: for the decoded copy of a compressed stream.
    pub fn observe(&mut self, chunk: &[u8]) -> Seen {
        let Self { cutter, reader, .. } = self;
        let mut seen = Seen::default();
        match cutter {
            Cutter::Sse(cutter) => cutter.push(chunk, |frame| {
                read_frame(reader, &mut seen, &frame);
            }),
            Cutter::Array(cutter) => cutter.push(chunk, |element| {
                seen.note(match element {
                    Element::Whole(json) => reader.read(b"", json).kind,
                    Element::Oversized => reader.note_oversized(),
                    Element::NotJson => EventKind::Malformed,
                });
            }),
        }
        seen
    }

    /// The provider's bytes are over, rightly or not: what was held back, and what its last event said.
    pub fn end(&mut self) -> Passed {
        let Self { cutter, reader, .. } = self;
        let mut passed = Passed::default();
        let is_whole = match cutter {
            Cutter::Sse(cutter) => {
                let mut is_mid_event = cutter.is_mid_event();
                let mut is_on_cr = false;
                cutter.end(|frame| {
                    let is_extra = read_frame(reader, &mut passed.seen, &frame);
                    if let Frame::Event(event) | Frame::Unfinished(event) = &frame
                        && self.options.withhold_usage_chunk
                    {
                        let raw = if is_extra { &[][..] } else { event.raw };
                        passed.bytes = Bytes::copy_from_slice(raw);
                    }
                    is_on_cr = matches!(frame, Frame::Event(_)) && !is_extra;
                    is_mid_event &= !matches!(frame, Frame::Event(_)) && !is_extra;
                });
                self.ended_on_cr |= is_on_cr;
                self.ended_mid_event |= is_mid_event;
                true
            }
            // An array without its bracket is cut, whatever its elements say.
            Cutter::Array(cutter) => !cutter.is_mid_element() && !cutter.is_open(),
        };
        reader.finish(is_whole);
        passed
    }

    /// The seat was told that it gets plain bytes, whatever comes encoded.
    pub fn promise_plain(&mut self) {
        self.is_plain_promised = true;
    }

    /// True when the seat must get plain bytes whatever came encoded: it was promised that, or what passes is changed.
    #[must_use]
    pub fn wants_plain(&self) -> bool {
        self.is_plain_promised || self.options.withhold_usage_chunk
    }

    /// True where bytes of our own can be put between what was relayed and what will be: server-sent events, none of
    /// them half relayed.
    #[must_use]
    pub fn is_between_events(&self) -> bool {
        match &self.cutter {
            Cutter::Sse(cutter) => self.options.withhold_usage_chunk || !cutter.is_mid_event(),
            Cutter::Array(_) => false,
        }
    }

    /// What is known so far.
    #[must_use]
    pub fn facts(&self) -> &StreamFacts {
        self.reader.facts()
    }

    /// True once nothing real can follow: the protocol's end was said, or an error, and an array is closed.
    #[must_use]
    pub fn is_over(&self) -> bool {
        match &self.cutter {
            Cutter::Sse(_) => self.reader.facts().is_over(),
            Cutter::Array(cutter) => cutter.is_closed(),
        }
    }

    /// What a client lacks to read the last event of a stream that was over but for that: an error or the end, whose
    /// bytes broke off before its line ends or the array's bracket. To be asked after [`Self::end`].
    #[must_use]
    pub fn missing_end(&self) -> Option<&'static [u8]> {
        let facts = self.reader.facts();
        let is_readable = facts.error.as_ref().is_none_or(StreamError::is_whole);
        match &self.cutter {
            Cutter::Sse(_) => (self.ended_mid_event && facts.is_over() && is_readable).then_some(b"\n\n"),
            Cutter::Array(cutter) => {
                let is_placed = cutter.is_open() && !cutter.is_after_comma();
                (is_placed && facts.error.is_some()).then_some(b"\n]")
            }
        }
    }

    /// The bytes that tell the seat of a failure after the head was sent, placed so that an event whose
    /// first half was relayed does not swallow them. The response id and sequence number come from the facts.
    /// Empty where a JSON array cannot take one more element: then cut the connection.
    #[must_use]
    pub fn closing_error(&self, fault: &StreamFault<'_>) -> Vec<u8> {
        let (dialect, facts) = (self.reader.dialect(), self.reader.facts());
        let fault = StreamFault {
            response_id: fault.response_id.or(facts.response_id.as_deref()),
            sequence_number: fault.sequence_number.max(facts.events),
            ..*fault
        };
        match &self.cutter {
            Cutter::Sse(cutter) => {
                let relays_parts = !self.options.withhold_usage_chunk;
                let is_mid_event = self.ended_mid_event || (relays_parts && cutter.is_mid_event());
                let mut bytes = match is_mid_event {
                    true => half_event_end(dialect).to_vec(),
                    false if self.ended_on_cr => b"\n".to_vec(),
                    false => Vec::new(),
                };
                bytes.extend(dialect.stream_error(&fault));
                bytes
            }
            Cutter::Array(cutter) if cutter.is_open() => {
                gemini::error::array_error(&fault, cutter.is_after_comma())
            }
            Cutter::Array(_) => Vec::new(),
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

/// Reads a frame; true for the extra usage chunk.
fn read_frame(reader: &mut EventReader, seen: &mut Seen, frame: &Frame<'_>) -> bool {
    let read = match frame {
        Frame::Event(event) => reader.read(event.name, &event.data),
        Frame::Unfinished(event) => match reader.read_unfinished(event.name, &event.data) {
            Some(read) => read,
            None => return false,
        },
        Frame::Skipped { is_first: true, .. } => {
            seen.note(reader.note_oversized());
            return false;
        }
        Frame::Skipped { is_first: false, .. } => return false,
    };
    seen.note(read.kind);
    read.is_usage_only
}

/// Passes on the whole events of a chunk but for the extra usage chunk, without copying where nothing was
/// kept from before and nothing is dropped in between.
fn withhold(cutter: &mut SseReader, reader: &mut EventReader, chunk: Bytes) -> Passed {
    let kept = cutter.kept();
    let mut seen = Seen::default();
    // Positions in kept bytes + chunk; `copied` holds what cannot be a slice of the chunk.
    let mut at = 0_usize;
    let mut run = 0..0;
    let mut copied = BytesMut::new();
    cutter.push(&chunk, |frame| {
        let is_extra = read_frame(reader, &mut seen, &frame);
        let raw = match &frame {
            Frame::Event(event) | Frame::Unfinished(event) => event.raw,
            Frame::Skipped { raw, .. } => raw,
        };
        let start = at;
        at += raw.len();
        if is_extra {
            return;
        }
        if start < kept || !copied.is_empty() {
            copied.extend_from_slice(raw);
        } else if run.is_empty() {
            run = start - kept..at - kept;
        } else if run.end == start - kept {
            run.end = at - kept;
        } else {
            copied.extend_from_slice(chunk.get(run.clone()).unwrap_or_default());
            copied.extend_from_slice(raw);
        }
    });
    let bytes = match copied.is_empty() {
        true if run == (0..chunk.len()) => chunk,
        true => chunk.slice(run),
        false => copied.freeze(),
    };
    Passed { bytes, seen }
}

/// What ends an event whose first half was relayed.
fn half_event_end(dialect: Dialect) -> &'static [u8] {
    match dialect {
        // Only the line: the half joins the error's event, whose name its SDKs go by; as an event of its own
        // its broken JSON would be thrown at the client before the error is read.
        Dialect::Anthropic => b"\n",
        // Codex and others skip an event that they cannot read, and then see the error's own.
        Dialect::OpenaiChat | Dialect::OpenaiResponses | Dialect::Gemini => b"\n\n",
    }
}

#[cfg(test)]
mod tests;
