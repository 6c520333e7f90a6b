//! What an event or a body of Anthropic's Messages API is.
//!
//! The SSE event name decides, as it does for Anthropic's SDKs; without a known one the data's `type`. The
//! gate opens at the first `content_block_start`, at any delta and at a `message_delta` with a stop reason.

use super::usage::Usage;
use crate::protocol::facts::{EventFacts, EventKind, Finish, Phase};
use crate::protocol::lenient::{Raw, Text, lenient, parse};
use crate::protocol::tally::UsageState;
use crate::protocol::upstream_error::read_error;

/// What an event says.
#[must_use]
pub fn classify<'a>(name: &[u8], data: &'a [u8]) -> EventFacts<'a> {
    let Some(event) = parse::<Event<'_>>(data) else {
        return match Name::read(name) {
            Some(Name::Ping) => EventFacts::of(EventKind::Ping),
            Some(Name::Error) => error(data),
            _ => EventFacts::of(EventKind::Malformed),
        };
    };
    let name = Name::read(name).or_else(|| Name::read(event.event_type.as_str().as_bytes()));
    match name {
        Some(Name::Ping) => EventFacts::of(EventKind::Ping),
        Some(Name::MessageStart) => EventFacts {
            model: event.message.model.filled(),
            response_id: event.message.id.filled(),
            usage: event.message.usage.patch(UsageState::Started),
            advisor: event.message.usage.advisor(),
            service_tier: event.message.usage.service_tier.filled(),
            ..EventFacts::of(EventKind::Preamble)
        },
        Some(Name::BlockStart) => {
            let is_thinking = matches!(event.block.block_type.as_str(), "thinking" | "redacted_thinking");
            let phase = if is_thinking { Phase::Thinking } else { Phase::Answering };
            EventFacts { phase: Some(phase), ..EventFacts::of(EventKind::Content) }
        }
        Some(Name::BlockDelta) => EventFacts::of(EventKind::Content),
        Some(Name::BlockStop) => {
            EventFacts { phase: Some(Phase::Answering), ..EventFacts::of(EventKind::Other) }
        }
        Some(Name::MessageDelta) => {
            let stop_reason = event.delta.stop_reason.filled();
            let (kind, finish, state) = match stop_reason {
                // Everything is said; relays forget the `message_stop` that should follow.
                Some(_) => (EventKind::Content, Finish::Stopped, UsageState::Final),
                None => (EventKind::Other, Finish::No, UsageState::Running),
            };
            EventFacts {
                finish,
                usage: event.usage.patch(state),
                advisor: event.usage.advisor(),
                service_tier: event.usage.service_tier.filled(),
                stop_reason,
                ..EventFacts::of(kind)
            }
        }
        Some(Name::MessageStop) => EventFacts { finish: Finish::End, ..EventFacts::of(EventKind::End) },
        Some(Name::Error) => error(data),
        None if event.error.is_filled() => error(data),
        None => EventFacts::of(EventKind::Other),
    }
}

/// The kind of an event whose name alone says that it carries nothing else; see
/// [`crate::protocol::Dialect::skim`].
#[must_use]
pub fn skim(name: &[u8]) -> Option<EventKind> {
    match Name::read(name)? {
        Name::Ping => Some(EventKind::Ping),
        Name::BlockDelta => Some(EventKind::Content),
        Name::MessageStart
        | Name::BlockStart
        | Name::BlockStop
        | Name::MessageDelta
        | Name::MessageStop
        | Name::Error => None,
    }
}

/// What a complete body says: `Content` for an answer, `Other` for JSON without one.
#[must_use]
pub fn classify_whole(body: &[u8]) -> EventFacts<'_> {
    let Some(message) = parse::<Message<'_>>(body) else { return EventFacts::of(EventKind::Malformed) };
    if message.error.is_filled() {
        return error(body);
    }
    let stop_reason = message.stop_reason.filled();
    let is_answer = message.content.is_filled() || stop_reason.is_some();
    EventFacts {
        finish: Finish::End,
        model: message.model.filled(),
        response_id: message.id.filled(),
        usage: message.usage.patch(UsageState::Final),
        advisor: message.usage.advisor(),
        service_tier: message.usage.service_tier.filled(),
        stop_reason,
        ..EventFacts::of(if is_answer { EventKind::Content } else { EventKind::Other })
    }
}

fn error(data: &[u8]) -> EventFacts<'_> {
    EventFacts { error: Some(read_error(data).facts), ..EventFacts::of(EventKind::Error) }
}

/// The events of the protocol; an unknown one is to be ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Ping,
    MessageStart,
    BlockStart,
    BlockDelta,
    BlockStop,
    MessageDelta,
    MessageStop,
    Error,
}

impl Name {
    fn read(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"content_block_delta" => Self::BlockDelta,
            b"ping" => Self::Ping,
            b"message_start" => Self::MessageStart,
            b"content_block_start" => Self::BlockStart,
            b"content_block_stop" => Self::BlockStop,
            b"message_delta" => Self::MessageDelta,
            b"message_stop" => Self::MessageStop,
            b"error" => Self::Error,
            _ => return None,
        })
    }
}

lenient! {
    struct Event<'a> {
        event_type: Text<'a> = "type",
        message: Message<'a> = "message",
        block: Block<'a> = "content_block",
        delta: Delta<'a> = "delta",
        usage: Usage<'a> = "usage",
        error: Raw<'a> = "error",
    }
}

lenient! {
    struct Message<'a> {
        id: Text<'a> = "id",
        model: Text<'a> = "model",
        content: Raw<'a> = "content",
        stop_reason: Text<'a> = "stop_reason",
        usage: Usage<'a> = "usage",
        error: Raw<'a> = "error",
    }
}

lenient! {
    struct Block<'a> {
        block_type: Text<'a> = "type",
    }
}

lenient! {
    struct Delta<'a> {
        stop_reason: Text<'a> = "stop_reason",
    }
}

#[cfg(test)]
mod tests;
