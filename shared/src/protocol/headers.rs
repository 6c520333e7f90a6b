//! Names of headers that are looked up in every request. Made once: a name given as text is parsed with each look-up.

use http::HeaderName;

/// Tells requests to Anthropic's API from OpenAI's.
pub static ANTHROPIC_VERSION: HeaderName = HeaderName::from_static("anthropic-version");
/// Codex's conversation.
pub static SESSION_ID: HeaderName = HeaderName::from_static("session_id");
/// A credential, as Anthropic's SDKs send it.
pub static X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// Claude Code's conversation.
pub static X_CLAUDE_CODE_SESSION_ID: HeaderName = HeaderName::from_static("x-claude-code-session-id");
/// The way that a request came.
pub static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// A credential, as Google's SDKs send it.
pub static X_GOOG_API_KEY: HeaderName = HeaderName::from_static("x-goog-api-key");
/// The id of a request: ours on answers.
pub static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Another name of Codex's conversation.
pub static X_SESSION_ID: HeaderName = HeaderName::from_static("x-session-id");
/// Seconds that an SDK waits for the next byte of its answer.
pub static X_STAINLESS_READ_TIMEOUT: HeaderName = HeaderName::from_static("x-stainless-read-timeout");
/// Seconds that an SDK waits for its answer.
pub static X_STAINLESS_TIMEOUT: HeaderName = HeaderName::from_static("x-stainless-timeout");
