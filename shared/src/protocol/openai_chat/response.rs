//! What an event or a body of OpenAI's chat completions API is (legacy completions too).
//!
//! The gate opens at the first chunk with content, reasoning, tool calls, a refusal or a finish reason; the
//! role chunk with its empty content is a preamble. `[DONE]` ends the stream; so does the end of the bytes
//! after a finish reason, because not every copy of the API sends `[DONE]`.

use super::usage::Usage;
use crate::protocol::facts::{EventFacts, EventKind, Finish, Phase};
use crate::protocol::lenient::{Fold, Many, Raw, Text, lenient, parse};
use crate::protocol::tally::{UsagePatch, UsageState};
use crate::protocol::upstream_error::read_error;

/// What an event says.
#[must_use]
pub fn classify<'a>(name: &[u8], data: &'a [u8]) -> EventFacts<'a> {
    if data.trim_ascii() == b"[DONE]" {
        return EventFacts { finish: Finish::End, ..EventFacts::of(EventKind::End) };
    }
    if name == b"error" {
        return error(data);
    }
    let Some(chunk) = parse::<Chunk<'_>>(data) else { return EventFacts::of(EventKind::Malformed) };
    if chunk.is_error() {
        return error(data);
    }
    let choice = &chunk.choices.folded;
    let kind = if choice.says_something() || choice.is_stopped {
        EventKind::Content
    } else if chunk.choices.is_array {
        EventKind::Preamble
    } else {
        EventKind::Other
    };
    let finish = if choice.is_stopped { Finish::Stopped } else { Finish::No };
    chunk.into_facts(kind, finish)
}

/// What a complete body says: `Content` for an answer, `Other` for JSON without one.
#[must_use]
pub fn classify_whole(body: &[u8]) -> EventFacts<'_> {
    let Some(answer) = parse::<Chunk<'_>>(body) else { return EventFacts::of(EventKind::Malformed) };
    if answer.is_error() {
        return error(body);
    }
    let kind = if answer.choices.count > 0 { EventKind::Content } else { EventKind::Other };
    let mut facts = answer.into_facts(kind, Finish::End);
    if let Some(usage) = &mut facts.usage {
        usage.state = UsageState::Final;
    }
    facts
}

fn error(data: &[u8]) -> EventFacts<'_> {
    EventFacts { error: Some(read_error(data).facts), ..EventFacts::of(EventKind::Error) }
}

lenient! {
    struct Chunk<'a> {
        id: Text<'a> = "id",
        object: Text<'a> = "object",
        model: Text<'a> = "model",
        service_tier: Text<'a> = "service_tier",
        choices: Many<Choice<'a>> = "choices",
        usage: Usage = "usage",
        error: Raw<'a> = "error",
    }
}

lenient! {
    struct WireChoice<'a> {
        delta: Delta<'a> = "delta",
        text: Raw<'a> = "text",
        finish_reason: Text<'a> = "finish_reason",
        // Moonshot counts here.
        usage: Usage = "usage",
    }
}

lenient! {
    struct Delta<'a> {
        content: Raw<'a> = "content",
        tool_calls: Raw<'a> = "tool_calls",
        function_call: Raw<'a> = "function_call",
        refusal: Raw<'a> = "refusal",
        audio: Raw<'a> = "audio",
        images: Raw<'a> = "images",
        // Three names for reasoning: DeepSeek's, OpenRouter's two.
        reasoning_content: Raw<'a> = "reasoning_content",
        reasoning: Raw<'a> = "reasoning",
        reasoning_details: Raw<'a> = "reasoning_details",
    }
}

/// What all choices of a chunk say together.
#[derive(Clone, Debug, Default)]
struct Choice<'a> {
    has_answer: bool,
    has_reasoning: bool,
    is_stopped: bool,
    finish_reason: Text<'a>,
    usage: Option<UsagePatch>,
}

impl Choice<'_> {
    fn says_something(&self) -> bool {
        self.has_answer || self.has_reasoning
    }
}

impl Fold for Choice<'_> {
    fn fold(&mut self, next: Self) {
        self.has_answer |= next.has_answer;
        self.has_reasoning |= next.has_reasoning;
        if next.is_stopped {
            self.is_stopped = true;
            self.finish_reason = next.finish_reason;
        }
        self.usage = next.usage.or(self.usage);
    }
}

impl<'de: 'a, 'a> serde::Deserialize<'de> for Choice<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let WireChoice { delta, text, finish_reason, usage } = WireChoice::deserialize(deserializer)?;
        let answers = [
            text,
            delta.content,
            delta.tool_calls,
            delta.function_call,
            delta.refusal,
            delta.audio,
            delta.images,
        ];
        let reasonings = [delta.reasoning_content, delta.reasoning, delta.reasoning_details];
        Ok(Self {
            has_answer: answers.into_iter().any(Raw::is_filled),
            has_reasoning: reasonings.into_iter().any(Raw::is_filled),
            is_stopped: !finish_reason.as_str().is_empty(),
            finish_reason,
            usage: usage.patch(UsageState::Running),
        })
    }
}

impl<'a> Chunk<'a> {
    /// vLLM says `"object":"error"` where others have an `error`.
    fn is_error(&self) -> bool {
        self.error.is_filled() || self.object.as_str() == "error"
    }

    fn into_facts(self, kind: EventKind, finish: Finish) -> EventFacts<'a> {
        let is_extra = self.choices.is_array && self.choices.count == 0;
        let choice = self.choices.folded;
        let state = if is_extra || choice.is_stopped { UsageState::Final } else { UsageState::Running };
        let usage = self.usage.patch(state).or(choice.usage.map(|usage| UsagePatch { state, ..usage }));
        let phase = match (choice.has_answer, choice.has_reasoning) {
            (true, _) => Some(Phase::Answering),
            (false, true) => Some(Phase::Thinking),
            (false, false) => None,
        };
        EventFacts {
            finish,
            phase,
            model: self.model.filled(),
            response_id: self.id.filled(),
            stop_reason: choice.finish_reason.filled(),
            service_tier: self.service_tier.filled(),
            is_usage_only: is_extra && usage.is_some(),
            usage,
            ..EventFacts::of(kind)
        }
    }
}

#[cfg(test)]
mod tests;
