//! Cuts a byte stream into server-sent events, whatever the chunks it arrives in.
//!
//! Follows the HTML standard's event stream: LF, CRLF and CR end lines, a blank line ends an event, a BOM may
//! come first, `data` lines are joined by LF, a line that starts with a colon is a comment. Knows nothing of
//! what the data means.
//!
//! Invariants: the `raw` bytes of all frames, in order, are the bytes that came in (the rest after
//! [`SseReader::end`]); any split into chunks gives the same events; whole events in a chunk are not copied,
//! only a partial tail is; at most [`MAX_EVENT_BYTES`] are kept.

use memchr::{memchr, memchr2};
use std::borrow::Cow;

/// One event, or the bytes of one that is too large.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// An event with its blank line.
    Event(Event<'a>),
    /// The last event, cut off by the end of the bytes before its blank line.
    Unfinished(Event<'a>),
    /// Bytes of an event larger than the limit, as they come; `is_first` on its first frame.
    Skipped {
        /// The bytes.
        raw: &'a [u8],
        /// True on the event's first frame.
        is_first: bool,
    },
}

/// One server-sent event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// All its bytes, the blank line included.
    pub raw: &'a [u8],
    /// The value of its last `event` field; empty when it has none.
    pub name: &'a [u8],
    /// Its `data` lines, joined by LF; empty when it has none. An event without data is never dispatched by
    /// a client: a comment, an empty line, a keep-alive.
    pub data: Cow<'a, [u8]>,
}

/// The incremental reader.
#[derive(Debug)]
pub struct SseReader {
    /// The bytes of an event whose end has not come yet.
    tail: Vec<u8>,
    line: Line,
    is_skipping: bool,
    limit: usize,
}

/// Where in a line the bytes read so far end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// At the start of one.
    Start,
    /// Inside one that is not empty.
    Inside,
    /// After the CR that ended one: a LF still belongs to it.
    AfterCr,
    /// After the CR of a blank line in a stream that is not of the CR kind. The event is over, but the LF
    /// that most likely follows belongs to it: one byte decides.
    BlankCr,
}

impl SseReader {
    /// A reader at the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::with_limit(MAX_EVENT_BYTES)
    }

    /// A reader that skips events larger than `limit` bytes.
    #[must_use]
    pub fn with_limit(limit: usize) -> Self {
        Self { tail: Vec::new(), line: Line::Start, is_skipping: false, limit }
    }

    /// Takes a chunk and hands out each event that ends in it.
    pub fn push(&mut self, chunk: &[u8], mut on_frame: impl FnMut(Frame<'_>)) {
        let mut rest = chunk;
        while let Some(len) = self.line.find_event_end(rest) {
            let (head, after) = rest.split_at(len);
            self.finish_event(head, &mut on_frame);
            rest = after;
        }
        self.keep(rest, &mut on_frame);
    }

    /// The bytes are over: hands out what is left, if anything.
    pub fn end(&mut self, mut on_frame: impl FnMut(Frame<'_>)) {
        let line = std::mem::replace(&mut self.line, Line::Start);
        self.is_skipping = false;
        if self.tail.is_empty() {
            return;
        }
        let tail = std::mem::take(&mut self.tail);
        let event = Event::parse(&tail);
        on_frame(if line == Line::BlankCr { Frame::Event(event) } else { Frame::Unfinished(event) });
    }

    /// True when the bytes so far end inside an event.
    #[must_use]
    pub fn is_mid_event(&self) -> bool {
        self.is_skipping || !self.tail.is_empty()
    }

    /// The number of bytes kept because their event has not ended.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.tail.len()
    }

    /// `head` are the last bytes of an event.
    fn finish_event(&mut self, head: &[u8], on_frame: &mut impl FnMut(Frame<'_>)) {
        if self.is_skipping {
            on_frame(Frame::Skipped { raw: head, is_first: false });
            self.is_skipping = false;
        } else if self.tail.len() + head.len() > self.limit {
            self.skip(head, on_frame);
            self.is_skipping = false;
        } else if self.tail.is_empty() {
            on_frame(Frame::Event(Event::parse(head)));
        } else {
            self.tail.extend_from_slice(head);
            on_frame(Frame::Event(Event::parse(&self.tail)));
            self.tail.clear();
            self.tail.shrink_to(KEPT_CAPACITY);
        }
    }

    /// `rest` belongs to an event that has not ended.
    fn keep(&mut self, rest: &[u8], on_frame: &mut impl FnMut(Frame<'_>)) {
        if rest.is_empty() {
            return;
        }
        if self.is_skipping {
            on_frame(Frame::Skipped { raw: rest, is_first: false });
        } else if self.tail.len() + rest.len() > self.limit {
            self.skip(rest, on_frame);
        } else {
            self.tail.extend_from_slice(rest);
        }
    }

    /// The event is too large: gives up what was kept of it.
    fn skip(&mut self, more: &[u8], on_frame: &mut impl FnMut(Frame<'_>)) {
        self.is_skipping = true;
        let tail = std::mem::take(&mut self.tail);
        if !tail.is_empty() {
            on_frame(Frame::Skipped { raw: &tail, is_first: true });
        }
        on_frame(Frame::Skipped { raw: more, is_first: tail.is_empty() });
    }
}

impl Default for SseReader {
    fn default() -> Self {
        Self::new()
    }
}

impl Line {
    /// The number of `bytes` up to the end of the current event; `None` when it does not end in them.
    fn find_event_end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            if *self == Self::Inside {
                at += memchr2(b'\n', b'\r', bytes.get(at..)?)?;
            }
            let byte = *bytes.get(at)?;
            let (line, ends_after) = match (*self, byte) {
                (Self::BlankCr, b'\n') => (Self::Start, Some(at + 1)),
                // The event was over before this byte, which starts the next one.
                (Self::BlankCr, _) => (Self::Start, Some(at)),
                (Self::Start, b'\n') => (Self::Start, Some(at + 1)),
                (Self::Start, b'\r') => (Self::BlankCr, None),
                (Self::AfterCr, b'\n') => (Self::Start, None),
                // A stream of the CR kind, where waiting for a LF would hold each event back.
                (Self::AfterCr, b'\r') => (Self::AfterCr, Some(at + 1)),
                (Self::Inside, b'\n') => (Self::Start, None),
                (Self::Inside, b'\r') => (Self::AfterCr, None),
                (Self::Start | Self::AfterCr | Self::Inside, _) => (Self::Inside, None),
            };
            *self = line;
            if ends_after.is_some() {
                return ends_after;
            }
            at += 1;
        }
    }
}

impl<'a> Event<'a> {
    /// Reads the fields of one event's bytes.
    fn parse(raw: &'a [u8]) -> Self {
        let mut event = Event { raw, name: &[], data: Cow::Borrowed(&[]) };
        let mut has_data = false;
        // Wherever it stands: only at the start of a stream does a field name start with these bytes.
        let mut rest = raw.strip_prefix(BOM).unwrap_or(raw);
        while !rest.is_empty() {
            let end = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
            let (line, after) = rest.split_at(end);
            rest = after.get(1..).unwrap_or_default();
            let (field, value) = match memchr(b':', line) {
                Some(colon) => (&line[..colon], line.get(colon + 1..).unwrap_or_default()),
                None => (line, &[][..]),
            };
            let value = value.strip_prefix(b" ").unwrap_or(value);
            match field {
                b"event" => event.name = value,
                b"data" if has_data => {
                    let data = event.data.to_mut();
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                b"data" => {
                    event.data = Cow::Borrowed(value);
                    has_data = true;
                }
                _ => {}
            }
        }
        event
    }
}

/// The largest event that is read; larger ones pass unread.
pub const MAX_EVENT_BYTES: usize = 16 * 1024 * 1024;

/// What a reader keeps allocated between events.
const KEPT_CAPACITY: usize = 64 * 1024;

const BOM: &[u8] = b"\xef\xbb\xbf";

#[cfg(test)]
mod tests;
