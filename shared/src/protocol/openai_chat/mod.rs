//! OpenAI's chat completions API (and completions, embeddings), and whoever copies it.

pub mod error;
pub mod response;
pub(crate) mod skim;
pub mod usage;
