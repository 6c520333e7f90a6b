//! Anthropic's Messages API, as Claude Code speaks it.

pub mod error;
pub mod message;
pub mod response;
pub mod usage;
