//! Placeholder.

use crate::protocol::facts::{EventFacts, EventKind};

/// What an event says.
#[must_use]
pub fn classify<'a>(_name: &[u8], _data: &'a [u8]) -> EventFacts<'a> {
    EventFacts::of(EventKind::Other)
}

/// The kind by name alone.
#[must_use]
pub fn skim(_name: &[u8]) -> Option<EventKind> {
    None
}
