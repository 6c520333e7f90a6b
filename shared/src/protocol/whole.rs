//! Reads a complete body that is not a stream: usage, model, stop reason, and whether it is an answer at all.
//!
//! Providers and relays answer 200 with an error, an HTML page or nothing. A verdict other than
//! [`WholeVerdict::Fine`] means: not an answer, try elsewhere. Knows nothing of status codes.

use super::Dialect;
use super::facts::ErrorFacts;
use super::tally::UsageState;
use crate::contract::usage::TokenUsage;

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

/// Reads a complete, decoded body.
#[must_use]
pub fn read(_dialect: Dialect, _expect: Expect, _body: &[u8]) -> WholeFacts {
    WholeFacts {
        verdict: WholeVerdict::Fine,
        usage: TokenUsage::default(),
        usage_state: UsageState::Unseen,
        model: None,
        response_id: None,
        stop_reason: None,
        service_tier: None,
    }
}

/// What an error body says, whichever vendor wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamError<'a> {
    /// Type, code and text.
    pub facts: ErrorFacts<'a>,
    /// Google's `RetryInfo`: when to come back, in milliseconds.
    pub retry_delay_ms: Option<u64>,
}

/// Reads an error body of any vendor; everything `None` when it is not JSON.
#[must_use]
pub fn read_error(_body: &[u8]) -> UpstreamError<'_> {
    UpstreamError::default()
}
