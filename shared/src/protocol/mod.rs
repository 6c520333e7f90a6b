//! Wire dialects: bytes in, values out. Knows nothing of sockets.
//!
//! `detect` tells what a request is, `scan` reads the few fields of a body that decisions need, `splice`
//! replaces bytes in it, `sse` cuts a stream into events. Each dialect has the same rooms: `response` (what
//! an event or a body is), `usage` (tokens), `error` (our own errors in its shape); `dialect` is the door to
//! them. `facts` and `tally` are what the rooms answer, in no dialect's words; `tap` watches a passing stream
//! through them, `whole` a complete body.

pub mod anthropic;
pub mod detect;
mod dialect;
pub mod error;
pub mod facts;
pub mod gemini;
pub mod headers;
pub(crate) mod lenient;
pub mod openai_chat;
pub mod openai_responses;
pub mod reach;
pub mod scan;
pub mod splice;
pub mod sse;
pub mod tally;
pub mod tap;
pub mod upstream_error;
pub mod whole;

use serde::{Deserialize, Serialize};

/// The API a client or a provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// Anthropic Messages.
    Anthropic,
    /// OpenAI chat completions (and completions, embeddings).
    OpenaiChat,
    /// OpenAI Responses.
    OpenaiResponses,
    /// Google Gemini.
    Gemini,
}
