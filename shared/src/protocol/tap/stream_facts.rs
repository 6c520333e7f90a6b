//! What is known of a stream: the fold of its events.

use super::text::generated_bytes;
use crate::contract::usage::TokenUsage;
use crate::protocol::Dialect;
use crate::protocol::facts::{ErrorFacts, EventFacts, EventKind, Finish, Phase};
use crate::protocol::tally::{Extras, UsageState, UsageTally};

/// What is known of a stream so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamFacts {
    tally: UsageTally,
    finish: Finish,
    /// The model the provider says it used.
    pub model: Option<String>,
    /// The provider's id of the response.
    pub response_id: Option<String>,
    /// Why the model stopped, in the dialect's word.
    pub stop_reason: Option<String>,
    /// The service tier the provider says it gave.
    pub service_tier: Option<String>,
    /// The model that was asked for advice.
    pub advisor: Option<String>,
    /// True while the model thinks, or a Responses stream waits for its first item.
    pub allows_long_silence: bool,
    /// True once something real of an answer has passed.
    pub has_content: bool,
    /// True once the stream ended as its protocol wants.
    pub ended: bool,
    /// The first error the provider put into the stream.
    pub error: Option<StreamError>,
    /// Bytes of generated text (as written in JSON) that have passed.
    pub content_bytes: u64,
    /// Events that have passed, keep-alives not counted.
    pub events: u64,
    /// True when an event was too large to be read: the facts may lack what it said.
    pub overflowed: bool,
}

/// An error that a provider put into a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamError {
    /// The event's data, at most 64 KiB of it.
    pub payload: Vec<u8>,
    /// Its type: `overloaded_error`, `RESOURCE_EXHAUSTED`.
    pub error_type: Option<String>,
    /// Its code: `server_is_overloaded`, `429`.
    pub code: Option<String>,
}

impl StreamFacts {
    /// What is known before the first byte.
    pub(super) fn at_start(dialect: Dialect) -> Self {
        // A Responses model thinks before its first item, often for minutes.
        let allows_long_silence = dialect == Dialect::OpenaiResponses;
        Self { allows_long_silence, ..Self::default() }
    }

    /// Takes note of an event that was too large to be read.
    pub(super) fn note_oversized(&mut self) -> EventKind {
        self.overflowed = true;
        self.events += 1;
        EventKind::Oversized
    }

    /// The bytes are over; `is_whole` when the framing allows it here.
    pub(super) fn finish(&mut self, is_whole: bool) {
        if is_whole && self.finish == Finish::Stopped {
            self.ended = true;
        }
        if self.ended {
            self.tally.finish();
        }
    }

    /// Takes what an event says.
    pub(super) fn absorb(&mut self, dialect: Dialect, facts: &EventFacts<'_>, data: &[u8]) {
        match facts.phase {
            Some(phase) => self.allows_long_silence = phase == Phase::Thinking,
            // Content without an item before it: the wait is over.
            None if facts.kind == EventKind::Content && !self.has_content => self.allows_long_silence = false,
            None => {}
        }
        self.note_kind(dialect, facts.kind, data);
        set_first(&mut self.model, facts.model.as_deref());
        set_first(&mut self.response_id, facts.response_id.as_deref());
        set_last(&mut self.stop_reason, facts.stop_reason.as_deref());
        // `response.created` echoes the tier asked for, `response.completed` says the one given.
        set_last(&mut self.service_tier, facts.service_tier.as_deref());
        if let Some(patch) = &facts.usage {
            self.tally.absorb(patch);
        }
        set_last(&mut self.advisor, facts.advisor.as_deref());
        if let Some(searches) = facts.searches {
            self.tally.note_searches(searches);
        }
        if let Some(error) = &facts.error
            && self.error.is_none()
        {
            self.error = Some(StreamError::new(error, data));
        }
        self.finish = self.finish.max(facts.finish);
        if facts.finish == Finish::End {
            self.ended = true;
            self.tally.finish();
        }
    }

    /// Takes an event that says nothing but its kind.
    pub(super) fn note_kind(&mut self, dialect: Dialect, kind: EventKind, data: &[u8]) {
        if kind != EventKind::Ping {
            self.events += 1;
        }
        if kind == EventKind::Content {
            self.has_content = true;
            self.content_bytes = self.content_bytes.saturating_add(generated_bytes(dialect, data));
        }
    }

    /// The tokens the provider counted so far; all 0 while [`Self::usage_state`] is `Unseen`.
    #[must_use]
    pub fn usage(&self) -> TokenUsage {
        self.tally.tokens()
    }

    /// What is billed beside [`Self::usage`], or makes it dearer.
    #[must_use]
    pub fn extras(&self) -> Extras {
        self.tally.extras()
    }

    /// True once an event has said that nothing follows: the end by its protocol's word, or an error.
    #[must_use]
    pub(super) fn is_over(&self) -> bool {
        self.finish == Finish::End || self.error.is_some()
    }

    /// How far [`Self::usage`] is the provider's last word.
    #[must_use]
    pub fn usage_state(&self) -> UsageState {
        self.tally.state()
    }

    /// The usage, with the output guessed from the relayed text (four bytes a token) where the provider
    /// counted less. For a flagged estimate when `usage_state` is not `Final`; input that was never
    /// counted stays 0, the caller knows the request.
    #[must_use]
    pub fn estimated_usage(&self) -> TokenUsage {
        let mut usage = self.usage();
        usage.output_tokens = usage.output_tokens.max(self.content_bytes.div_ceil(4));
        usage
    }
}

impl StreamError {
    /// True when its data is a document, not a part of one.
    pub(super) fn is_whole(&self) -> bool {
        serde_json::from_slice::<serde::de::IgnoredAny>(&self.payload).is_ok()
    }

    fn new(error: &ErrorFacts<'_>, data: &[u8]) -> Self {
        Self {
            payload: data.get(..MAX_PAYLOAD_BYTES).unwrap_or(data).to_vec(),
            error_type: error.error_type.as_deref().map(str::to_owned),
            code: error.code.as_deref().map(str::to_owned),
        }
    }
}

fn set_first(field: &mut Option<String>, word: Option<&str>) {
    if field.is_none() {
        *field = word.map(str::to_owned);
    }
}

fn set_last(field: &mut Option<String>, word: Option<&str>) {
    if word.is_some() && field.as_deref() != word {
        *field = word.map(str::to_owned);
    }
}

/// What is kept of an error's data.
const MAX_PAYLOAD_BYTES: usize = 64 * 1024;
