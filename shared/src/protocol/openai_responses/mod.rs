//! OpenAI's Responses API, as Codex speaks it.

pub mod error;
pub mod response;
pub mod usage;
