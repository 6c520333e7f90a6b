//! What one event of a stream says, in the same words for every dialect.
//!
//! The rooms' `response.rs` fill an [`EventFacts`]; [`super::tap`] folds them into the facts of the stream
//! and [`crate::rules::gate`] decides on the [`EventKind`]. Knows nothing of any one dialect.

use super::tally::{Searches, UsagePatch};
use std::borrow::Cow;

/// What an event is to a gate and to a timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// A keep-alive: a comment, an empty line, a `ping`, an event without data. Not progress.
    Ping,
    /// The protocol moves, nothing is generated yet: `message_start`, `response.created`, a role chunk.
    Preamble,
    /// Something real of an answer: opens the gate.
    Content,
    /// The provider says that it failed.
    Error,
    /// The dialect's last event, when it carries nothing else: `message_stop`, `[DONE]`.
    End,
    /// A well-formed event that neither opens nor closes anything, or that we do not know. Progress.
    Other,
    /// Its data is not JSON.
    Malformed,
    /// It is too large to be read.
    Oversized,
}

impl EventKind {
    /// True for a sign of life of the protocol, which resets the progress timer.
    #[must_use]
    pub fn is_progress(self) -> bool {
        match self {
            Self::Ping | Self::Malformed => false,
            Self::Preamble | Self::Content | Self::Error | Self::End | Self::Other | Self::Oversized => true,
        }
    }

    /// True for a kind that settles a gate which is still holding.
    #[must_use]
    pub fn is_decisive(self) -> bool {
        match self {
            Self::Ping | Self::Preamble | Self::Other => false,
            Self::Content | Self::Error | Self::End | Self::Malformed | Self::Oversized => true,
        }
    }
}

/// How far an event takes the stream towards its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finish {
    /// More must come.
    #[default]
    No,
    /// The model stopped; the end of the bytes may follow and is then a correct end: Gemini has no
    /// other, copies of the other APIs forget theirs.
    Stopped,
    /// The protocol's own end.
    End,
}

/// A change of what silence means from here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The model thinks (or a Responses stream waits for its first item): long silence is normal.
    Thinking,
    /// The model answers: silence is suspicious.
    Answering,
}

/// What one event says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventFacts<'a> {
    /// What it is to a gate and a timer.
    pub kind: EventKind,
    /// How far it takes the stream towards its end.
    pub finish: Finish,
    /// Whether it changes what silence means.
    pub phase: Option<Phase>,
    /// The model it names.
    pub model: Option<Cow<'a, str>>,
    /// The response id it names.
    pub response_id: Option<Cow<'a, str>>,
    /// Why the model stopped, in the dialect's word.
    pub stop_reason: Option<Cow<'a, str>>,
    /// The service tier it names.
    pub service_tier: Option<Cow<'a, str>>,
    /// The tokens it counts.
    pub usage: Option<UsagePatch>,
    /// The model that was asked for advice, whose tokens are the usage's `advised`.
    pub advisor: Option<Cow<'a, str>>,
    /// Web searches that it shows.
    pub searches: Option<Searches>,
    /// True for the extra chat chunk (`choices: []` with usage) that comes only when asked for.
    pub is_usage_only: bool,
    /// The error it carries; `Some` exactly when `kind` is [`EventKind::Error`].
    pub error: Option<ErrorFacts<'a>>,
}

impl EventFacts<'_> {
    /// An event that says nothing but its kind.
    #[must_use]
    pub fn of(kind: EventKind) -> Self {
        Self {
            kind,
            finish: Finish::No,
            phase: None,
            model: None,
            response_id: None,
            stop_reason: None,
            service_tier: None,
            usage: None,
            advisor: None,
            searches: None,
            is_usage_only: false,
            error: None,
        }
    }
}

impl EventFacts<'_> {
    /// The same facts, free of the event's bytes.
    #[must_use]
    pub fn into_owned(self) -> EventFacts<'static> {
        EventFacts {
            kind: self.kind,
            finish: self.finish,
            phase: self.phase,
            model: own(self.model),
            response_id: own(self.response_id),
            stop_reason: own(self.stop_reason),
            service_tier: own(self.service_tier),
            usage: self.usage,
            advisor: own(self.advisor),
            searches: self.searches,
            is_usage_only: self.is_usage_only,
            error: self.error.map(ErrorFacts::into_owned),
        }
    }
}

/// What an error says of itself, whatever the vendor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorFacts<'a> {
    /// Its type: `overloaded_error`, `invalid_request_error`, `RESOURCE_EXHAUSTED`.
    pub error_type: Option<Cow<'a, str>>,
    /// Its code: `server_is_overloaded`, `insufficient_quota`, `429`.
    pub code: Option<Cow<'a, str>>,
    /// Its text.
    pub message: Option<Cow<'a, str>>,
}

impl ErrorFacts<'_> {
    /// The same facts, free of the event's bytes.
    #[must_use]
    pub fn into_owned(self) -> ErrorFacts<'static> {
        ErrorFacts { error_type: own(self.error_type), code: own(self.code), message: own(self.message) }
    }
}

fn own(text: Option<Cow<'_, str>>) -> Option<Cow<'static, str>> {
    text.map(|text| Cow::Owned(text.into_owned()))
}
