//! Reads a complete body that is not a stream: usage, model, stop reason, and whether it is an answer at all.
//!
//! Providers and relays answer 200 with an error, an HTML page or nothing. A verdict other than
//! [`WholeVerdict::Fine`] means: not an answer, try elsewhere. Knows nothing of status codes.

pub use super::upstream_error::{UpstreamError, read_error};

use super::Dialect;
use super::facts::EventKind;
use super::tally::{Extras, UsageState, UsageTally};
use crate::contract::usage::TokenUsage;
use std::borrow::Cow;

/// What the caller expects in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// A generated answer.
    Generation,
    /// Some JSON without an answer in it: a token count, embeddings, a list of models, a compaction.
    AnyJson,
}

/// What a body says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WholeFacts {
    /// Whether it is an answer.
    pub verdict: WholeVerdict,
    /// The tokens counted; all 0 when `usage_state` is `Unseen`.
    pub usage: TokenUsage,
    /// `Final` when the body counts tokens, else `Unseen`.
    pub usage_state: UsageState,
    /// The model it names.
    pub model: Option<String>,
    /// The response id it names.
    pub response_id: Option<String>,
    /// Why the model stopped, in the dialect's word.
    pub stop_reason: Option<String>,
    /// The service tier it names.
    pub service_tier: Option<String>,
    /// What is billed beside the tokens, or makes them dearer.
    pub extras: Extras,
    /// The model that was asked for advice.
    pub advisor: Option<String>,
}

/// Whether a body is an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WholeVerdict {
    /// What was expected.
    Fine,
    /// An error under a good status; [`read_error`] reads it.
    ErrorInside,
    /// A web page.
    Html,
    /// Nothing, or an answer without anything in it.
    Empty,
    /// Not JSON.
    NotJson,
}

impl WholeVerdict {
    /// A label for logs and metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::ErrorInside => "error_inside",
            Self::Html => "html_body",
            Self::Empty => "empty_body",
            Self::NotJson => "not_json",
        }
    }
}

/// Reads a complete, decoded body.
#[must_use]
pub fn read(dialect: Dialect, expect: Expect, body: &[u8]) -> WholeFacts {
    let text = body.strip_prefix(BOM).unwrap_or(body).trim_ascii_start();
    if text.is_empty() {
        return WholeFacts::of(WholeVerdict::Empty);
    }
    let facts = dialect.classify_whole(text);
    let verdict = match (facts.kind, expect) {
        (EventKind::Error, _) => WholeVerdict::ErrorInside,
        (EventKind::Malformed | EventKind::Oversized, _) if is_html(text) => WholeVerdict::Html,
        (EventKind::Malformed | EventKind::Oversized, _) => WholeVerdict::NotJson,
        (EventKind::Content, _) => WholeVerdict::Fine,
        (EventKind::Ping | EventKind::Preamble | EventKind::End | EventKind::Other, Expect::Generation) => {
            WholeVerdict::Empty
        }
        (EventKind::Ping | EventKind::Preamble | EventKind::End | EventKind::Other, Expect::AnyJson) => {
            WholeVerdict::Fine
        }
    };
    let mut tally = UsageTally::default();
    if let Some(patch) = &facts.usage {
        tally.absorb(patch);
    }
    if let Some(searches) = facts.searches {
        tally.note_searches(searches);
    }
    WholeFacts {
        verdict,
        usage: tally.tokens(),
        usage_state: tally.state(),
        model: facts.model.map(Cow::into_owned),
        response_id: facts.response_id.map(Cow::into_owned),
        stop_reason: facts.stop_reason.map(Cow::into_owned),
        service_tier: facts.service_tier.map(Cow::into_owned),
        extras: tally.extras(),
        advisor: facts.advisor.map(Cow::into_owned),
    }
}

impl WholeFacts {
    fn of(verdict: WholeVerdict) -> Self {
        Self {
            verdict,
            usage: TokenUsage::default(),
            usage_state: UsageState::Unseen,
            model: None,
            response_id: None,
            stop_reason: None,
            service_tier: None,
            extras: Extras::default(),
            advisor: None,
        }
    }
}

/// True for a text that starts as a web page does.
fn is_html(text: &[u8]) -> bool {
    [&b"<!doctype html"[..], b"<html", b"<head", b"<!--"]
        .iter()
        .any(|start| text.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start)))
}

const BOM: &[u8] = b"\xef\xbb\xbf";

#[cfg(test)]
mod tests;
