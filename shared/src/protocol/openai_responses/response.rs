//! What an event or a body of OpenAI's Responses API is.
//!
//! The SSE event name decides, without one the data's `type`. The gate opens at the first output item, at
//! any `*.delta`, and at a `response.completed` or `response.incomplete`. `response.created` and its like
//! echo the request, `codex.rate_limits` comes first of all: preambles.

use super::usage::Usage;
use crate::protocol::facts::{EventFacts, EventKind, Finish, Phase};
use crate::protocol::lenient::{Fold, Many, Raw, Text, lenient, parse};
use crate::protocol::tally::{Searches, UsageState};
use crate::protocol::upstream_error::read_error;

/// What an event says.
#[must_use]
pub fn classify<'a>(name: &[u8], data: &'a [u8]) -> EventFacts<'a> {
    let Some(event) = parse::<Event<'_>>(data) else {
        return match Name::read(name) {
            Name::KeepAlive => EventFacts::of(EventKind::Ping),
            Name::Error => error(data),
            _ if data.trim_ascii() == b"[DONE]" => EventFacts::of(EventKind::End),
            _ => EventFacts::of(EventKind::Malformed),
        };
    };
    let name = match Name::read(name) {
        Name::Unknown => Name::read(event.event_type.as_str().as_bytes()),
        name => name,
    };
    match name {
        Name::KeepAlive => EventFacts::of(EventKind::Ping),
        Name::Preamble => event.response.into_facts(EventKind::Preamble, Finish::No),
        Name::ItemAdded => {
            let is_thinking = event.item.item_type.as_str() == "reasoning";
            let phase = if is_thinking { Phase::Thinking } else { Phase::Answering };
            EventFacts { phase: Some(phase), ..EventFacts::of(EventKind::Content) }
        }
        Name::ItemDone => EventFacts {
            phase: Some(Phase::Answering),
            searches: event.item.is_search().then_some(Searches::More(1)),
            ..EventFacts::of(EventKind::Content)
        },
        Name::Delta => EventFacts::of(EventKind::Content),
        Name::Completed if !event.response.is_failed() => {
            event.response.into_facts(EventKind::Content, Finish::End)
        }
        Name::Completed | Name::Failed => EventFacts {
            error: Some(read_error(data).facts),
            ..event.response.into_facts(EventKind::Error, Finish::End)
        },
        Name::Error => error(data),
        Name::Progress | Name::Unknown if event.error.is_filled() => error(data),
        Name::Progress | Name::Unknown => EventFacts::of(EventKind::Other),
    }
}

/// The kind of an event whose name alone says that it carries nothing else; see
/// [`crate::protocol::Dialect::skim`].
#[must_use]
pub fn skim(name: &[u8]) -> Option<EventKind> {
    match Name::read(name) {
        Name::Delta => Some(EventKind::Content),
        Name::KeepAlive => Some(EventKind::Ping),
        Name::Preamble
        | Name::ItemAdded
        | Name::ItemDone
        | Name::Completed
        | Name::Failed
        | Name::Error
        | Name::Progress
        | Name::Unknown => None,
    }
}

/// What a complete body says: `Content` for an answer, `Other` for JSON without one.
#[must_use]
pub fn classify_whole(body: &[u8]) -> EventFacts<'_> {
    let Some(response) = parse::<Response<'_>>(body) else { return EventFacts::of(EventKind::Malformed) };
    if response.is_failed() {
        return EventFacts {
            error: Some(read_error(body).facts),
            ..response.into_facts(EventKind::Error, Finish::End)
        };
    }
    let is_answer = response.output.is_filled() || !response.status.as_str().is_empty();
    let kind = if is_answer { EventKind::Content } else { EventKind::Other };
    response.into_facts(kind, Finish::End)
}

fn error(data: &[u8]) -> EventFacts<'_> {
    EventFacts { error: Some(read_error(data).facts), ..EventFacts::of(EventKind::Error) }
}

/// The events that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    KeepAlive,
    Preamble,
    ItemAdded,
    ItemDone,
    Delta,
    Completed,
    Failed,
    Error,
    /// Any other event of the protocol.
    Progress,
    Unknown,
}

impl Name {
    fn read(name: &[u8]) -> Self {
        match name {
            b"response.output_item.added" => Self::ItemAdded,
            b"response.output_item.done" => Self::ItemDone,
            b"response.created" | b"response.in_progress" | b"response.queued" => Self::Preamble,
            b"response.completed" | b"response.incomplete" | b"response.done" => Self::Completed,
            b"response.failed" | b"response.cancelled" => Self::Failed,
            b"error" | b"response.error" => Self::Error,
            b"ping" | b"keepalive" => Self::KeepAlive,
            _ if name.starts_with(b"codex.") => Self::Preamble,
            _ if name.ends_with(b".delta") => Self::Delta,
            _ if name.starts_with(b"response.") => Self::Progress,
            _ => Self::Unknown,
        }
    }
}

lenient! {
    struct Event<'a> {
        event_type: Text<'a> = "type",
        response: Response<'a> = "response",
        item: Item<'a> = "item",
        error: Raw<'a> = "error",
    }
}

lenient! {
    struct Response<'a> {
        id: Text<'a> = "id",
        model: Text<'a> = "model",
        status: Text<'a> = "status",
        service_tier: Text<'a> = "service_tier",
        output: Raw<'a> = "output",
        error: Raw<'a> = "error",
        incomplete: Incomplete<'a> = "incomplete_details",
        usage: Usage = "usage",
    }
}

lenient! {
    struct Incomplete<'a> {
        reason: Text<'a> = "reason",
    }
}

lenient! {
    struct Item<'a> {
        item_type: Text<'a> = "type",
        action: Action<'a> = "action",
    }
}

lenient! {
    struct Action<'a> {
        action_type: Text<'a> = "type",
    }
}

impl Item<'_> {
    /// "Search actions incur a tool call cost" (OpenAI, "Web search"): to open a page and to look in it do not. An item of the first
    /// releases says no action: it searched.
    fn is_search(&self) -> bool {
        self.item_type.as_str() == "web_search_call"
            && matches!(self.action.action_type.as_str(), "search" | "")
    }
}

/// The searches among the items of an answer.
#[derive(Clone, Copy, Debug, Default)]
struct SearchItems(u64);

impl Fold for SearchItems {
    fn fold(&mut self, next: Self) {
        self.0 += next.0;
    }
}

impl<'de> serde::Deserialize<'de> for SearchItems {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Item::deserialize(deserializer).map(|item| Self(u64::from(item.is_search())))
    }
}

impl<'a> Response<'a> {
    fn is_failed(&self) -> bool {
        self.error.is_filled() || matches!(self.status.as_str(), "failed" | "cancelled")
    }

    /// Most answers have none: only then the items are read.
    fn searches(&self) -> Option<Searches> {
        let items = self.output.filled()?;
        memchr::memmem::find(items.as_bytes(), b"web_search_call")?;
        let items: Many<SearchItems> = parse(items.as_bytes())?;
        Some(Searches::InAll(items.folded.0))
    }

    fn into_facts(self, kind: EventKind, finish: Finish) -> EventFacts<'a> {
        let searches = self.searches();
        let state = if finish == Finish::End { UsageState::Final } else { UsageState::Running };
        // Only an end has a reason: a response that runs says `in_progress`.
        let stop_reason = match finish {
            Finish::End => self.incomplete.reason.filled().or(self.status.filled()),
            Finish::No | Finish::Stopped => None,
        };
        EventFacts {
            finish,
            searches,
            model: self.model.filled(),
            response_id: self.id.filled(),
            service_tier: self.service_tier.filled(),
            usage: self.usage.patch(state),
            stop_reason,
            ..EventFacts::of(kind)
        }
    }
}

#[cfg(test)]
mod tests;
