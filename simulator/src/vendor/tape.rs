//! A body in one piece of memory, with the ends of its events.
//!
//! The vendors write a [`Template`] once for each kind of request; only the ids differ between two answers, so
//! pressing a [`Tape`] is one copy and a few patches.

use crate::usage::Usage;
use bytes::Bytes;
use std::sync::Arc;

/// What an event is to the reader of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It tells that an answer begins; a gate does not take it for one.
    Opening,
    /// It carries a piece of the answer.
    Content,
    /// It holds the others together.
    Structure,
}

/// One event of a tape. A whole answer is one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// Where it ends in the bytes.
    pub(crate) end: usize,
    pub(crate) kind: Kind,
    /// The usage a reader knows once it has read this far.
    pub(crate) told: Option<Usage>,
}

/// A body, ready to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Tape {
    pub(crate) bytes: Bytes,
    pub(crate) events: Arc<[Event]>,
}

impl Tape {
    /// A body that is one event.
    pub(crate) fn whole(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let only = Event { end: bytes.len(), kind: Kind::Content, told: None };
        Self { bytes, events: Arc::new([only]) }
    }

    /// The bytes of events `from..to`.
    pub(crate) fn span(&self, from: usize, to: usize) -> Bytes {
        self.bytes.slice(self.start(from)..self.start(to))
    }

    /// The opening events alone.
    pub(crate) fn opening(&self) -> Self {
        let count = self.events.iter().take_while(|event| event.kind == Kind::Opening).count();
        Self { bytes: self.span(0, count), events: self.events[..count].into() }
    }

    fn start(&self, event: usize) -> usize {
        event.checked_sub(1).map_or(0, |before| self.events[before].end)
    }
}

/// A body whose ids are still open.
#[derive(Debug)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    id_spots: Vec<usize>,
    events: Arc<[Event]>,
}

impl Template {
    /// Puts the answer's id in all its places.
    pub(crate) fn press(&self, id: &str) -> Tape {
        let mut bytes = self.bytes.clone();
        for &spot in &self.id_spots {
            bytes[spot..spot + ID_LEN].copy_from_slice(&id.as_bytes()[..ID_LEN]);
        }
        Tape { bytes: bytes.into(), events: Arc::clone(&self.events) }
    }

    /// Bytes of the body.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// Writes a template, event by event.
#[derive(Debug, Default)]
pub(crate) struct TapeWriter {
    bytes: String,
    events: Vec<Event>,
    told: Option<Usage>,
}

impl TapeWriter {
    /// Adds an event as it goes over the wire.
    pub(crate) fn event(&mut self, kind: Kind, wire: &str) {
        self.bytes.push_str(wire);
        self.events.push(Event { end: self.bytes.len(), kind, told: self.told });
    }

    /// From the next event on a reader knows this usage.
    pub(crate) fn tell(&mut self, usage: Option<Usage>) {
        self.told = usage.or(self.told);
    }

    /// Finds the places of the id.
    pub(crate) fn finish(self) -> Template {
        let id_spots = self.bytes.match_indices(ID).map(|(at, _)| at).collect();
        Template { bytes: self.bytes.into_bytes(), id_spots, events: self.events.into() }
    }
}

/// Fills the `$names` of a pattern; the values are not looked at again.
pub(crate) fn fill(pattern: &str, values: &[(&str, &str)]) -> String {
    let mut out = String::with_capacity(pattern.len() + 64);
    let mut rest = pattern;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let value = values.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        debug_assert!(value.is_some(), "no value for ${name}");
        out.push_str(value.unwrap_or_default());
        rest = after;
    }
    out.push_str(rest);
    out
}

/// A string as JSON, with its quotes.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Stands for the id until the tape is pressed.
pub(crate) const ID: &str = "ID-OF-THE-ANSWER-24BYTES";
/// Length of every id.
pub(crate) const ID_LEN: usize = ID.len();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pressed_tape_has_the_id_everywhere_and_keeps_its_events() {
        let mut writer = TapeWriter::default();
        writer.event(Kind::Opening, &format!("<{ID}>"));
        writer.tell(Some(Usage { input: 1, ..Usage::default() }));
        writer.event(Kind::Content, &format!("{ID}{ID}"));
        let template = writer.finish();
        let id = "0123456789abcdef01234567";
        let tape = template.press(id);
        assert_eq!(&tape.span(0, 1)[..], format!("<{id}>").as_bytes());
        assert_eq!(&tape.span(1, 2)[..], format!("{id}{id}").as_bytes());
        assert_eq!(tape.events[0].told, None);
        assert_eq!(tape.events[1].told.map(|usage| usage.input), Some(1));
        assert_eq!(template.len(), tape.bytes.len());
    }

    #[test]
    fn values_are_not_filled_again() {
        assert_eq!(fill(r#"{"a":$a,"b":"$b_c"}"#, &[("a", "$b_c"), ("b_c", "x")]), r#"{"a":$b_c,"b":"x"}"#);
        assert_eq!(quoted("a\"\n"), r#""a\"\n""#);
    }
}
