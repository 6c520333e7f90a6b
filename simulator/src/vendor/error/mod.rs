//! How the vendors refuse: status, headers and body, and the error events of their streams.
//!
//! Each vendor's words stand in its own file, as its API sends them; a script may replace type, message and
//! code.

mod anthropic;
mod gemini;
mod openai;

pub(super) use anthropic::window_headers as anthropic_window_headers;

use crate::script::ErrorWords;
use crate::stage::{Dialect, Endpoint};

/// What is known when a request is refused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case<'a> {
    pub(crate) endpoint: Endpoint,
    pub(crate) status: u16,
    pub(crate) model: &'a str,
    /// Words that replace the vendor's own.
    pub(crate) words: Option<&'a ErrorWords>,
    pub(crate) retry_after_secs: Option<u32>,
    /// When to come back is said in the body, by a vendor that does.
    pub(crate) says_wait_in_body: bool,
    /// Our request id, without a prefix.
    pub(crate) id: &'a str,
}

/// A refusal as it leaves.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
}

/// An error's words: the vendor's, where the script has none.
struct Words<'a> {
    kind: &'a str,
    message: &'a str,
    code: Option<&'a str>,
}

impl<'a> Case<'a> {
    /// The vendor's refusal.
    pub(crate) fn refusal(&self) -> Refusal {
        match self.endpoint.dialect() {
            Some(Dialect::Anthropic) => anthropic::refusal(self),
            Some(Dialect::OpenaiChat | Dialect::OpenaiResponses) | None => openai::refusal(self),
            Some(Dialect::Gemini) => gemini::refusal(self),
        }
    }

    /// The vendor's error inside a stream: events as they go over the wire. `sequence` is the next
    /// `sequence_number` of a Responses stream; `is_first` says that nothing of the body has been sent.
    pub(crate) fn in_stream(&self, sequence: usize, is_first: bool) -> String {
        match self.endpoint.dialect() {
            Some(Dialect::Anthropic) => anthropic::in_stream(self),
            Some(Dialect::OpenaiResponses) => openai::in_responses_stream(self, sequence),
            Some(Dialect::OpenaiChat) | None => openai::in_chat_stream(self),
            Some(Dialect::Gemini) => gemini::in_stream(self, is_first),
        }
    }

    fn say(&self, kind: &'a str, message: &'a str, code: Option<&'a str>) -> Words<'a> {
        let own = self.words;
        Words {
            kind: own.and_then(|words| words.kind.as_deref()).unwrap_or(kind),
            message: own.and_then(|words| words.message.as_deref()).unwrap_or(message),
            code: own.and_then(|words| words.code.as_deref()).or(code),
        }
    }

    /// Seconds to wait.
    pub(crate) fn retry_after(&self) -> u32 {
        self.retry_after_secs.unwrap_or(USUAL_RETRY_AFTER_SECS)
    }
}

/// The status behind an error that comes inside a stream: the vendor is overloaded.
pub(crate) fn status_in_stream(endpoint: Endpoint) -> u16 {
    if endpoint.dialect() == Some(Dialect::Anthropic) { 529 } else { 503 }
}

const USUAL_RETRY_AFTER_SECS: u32 = 1;
