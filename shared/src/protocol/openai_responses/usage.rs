//! The Responses API counts like chat under other names (`input_tokens` for `prompt_tokens`): one reader
//! serves both. Usage comes in the last event, `response.incomplete` and `response.failed` included.

pub(crate) use crate::protocol::openai_chat::usage::Usage;
