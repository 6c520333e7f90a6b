//! Which conversation a request belongs to (design §6), and by which name it is known inside.
//!
//! The id is the first of these that is valid; what is not valid is passed over:
//!
//! | from | is valid with |
//! |---|---|
//! | header `x-claude-code-session-id` | 8–256 bytes of `[A-Za-z0-9_.:-]` |
//! | `metadata.user_id`: JSON `{device_id, account_uuid, session_id}`, or `user_…_account_<uuid or nothing>_session_<id>` | the same |
//! | header `session_id`, then `x-session-id` (Codex) | 21–256 bytes of them |
//! | `prompt_cache_key` | the same |
//! | what the conversation begins with ([`content`]) | there is a message |
//!
//! An id is the client's word: it is scoped to the caller's key by [`SessionKey`], so that nobody comes into another
//! key's conversation by guessing, and no text of a client's ever is a name in Redis. Knows nothing of providers.

mod content;

use crate::ids::KeyId;
use crate::protocol::headers::{SESSION_ID, X_CLAUDE_CODE_SESSION_ID, X_SESSION_ID};
use crate::protocol::lenient::{Text, lenient, parse};
use crate::protocol::scan::SessionHints;
use http::{HeaderMap, HeaderName};
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// A conversation's id, as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionId {
    /// At most 256 bytes of `[A-Za-z0-9_.:-]`.
    pub text: String,
    /// Where it was found.
    pub source: IdSource,
}

/// Where an id was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdSource {
    /// `x-claude-code-session-id`.
    ClaudeHeader,
    /// `metadata.user_id`.
    MetadataUserId,
    /// `session_id` or `x-session-id`.
    CodexHeader,
    /// `prompt_cache_key`.
    PromptCacheKey,
    /// What the conversation begins with.
    Content,
}

impl SessionId {
    /// True when the binding that this id leads to may be used for a request with so many messages. Many conversations
    /// begin with the same words: an id made of them is believed from the second message on.
    #[must_use]
    pub fn may_reuse(&self, message_count: Option<u32>) -> bool {
        self.source != IdSource::Content || message_count.is_some_and(|count| count > 1)
    }
}

/// The conversation that a request belongs to; `hints` are what [`crate::protocol::scan::scan`] found in `body`. `None`
/// when nothing tells.
#[must_use]
pub fn identify(headers: &HeaderMap, hints: &SessionHints, body: &[u8]) -> Option<SessionId> {
    let header = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let found = |text: &str, source| SessionId { text: text.to_owned(), source };
    if let Some(text) = header(&X_CLAUDE_CODE_SESSION_ID).and_then(|text| valid(text, CLAUDE_BYTES)) {
        return Some(found(text, IdSource::ClaudeHeader));
    }
    if let Some(text) = hints.metadata_user_id.as_deref().and_then(of_user_id) {
        return Some(SessionId { text, source: IdSource::MetadataUserId });
    }
    for name in [&SESSION_ID, &X_SESSION_ID] {
        if let Some(text) = header(name).and_then(|text| valid(text, CODEX_BYTES)) {
            return Some(found(text, IdSource::CodexHeader));
        }
    }
    if let Some(text) = hints.prompt_cache_key.as_deref().and_then(|text| valid(text, CODEX_BYTES)) {
        return Some(found(text, IdSource::PromptCacheKey));
    }
    let text = content::id(body, hints.first_message.clone()?)?;
    Some(SessionId { text, source: IdSource::Content })
}

lenient! {
    /// `metadata.user_id` of Claude Code from 2.1.78 on.
    struct UserId<'a> {
        session_id: Text<'a> = "session_id",
    }
}

/// The session in a `metadata.user_id`. One that is of neither form names a person, not a conversation.
fn of_user_id(text: &str) -> Option<String> {
    if text.trim_start().starts_with('{') {
        let id: UserId<'_> = parse(text.as_bytes())?;
        return valid(id.session_id.as_str(), CLAUDE_BYTES).map(str::to_owned);
    }
    let (user, session) = text.strip_prefix("user_")?.rsplit_once("_session_")?;
    let _ = user.split_once("_account_")?;
    valid(session, CLAUDE_BYTES).map(str::to_owned)
}

fn valid(text: &str, bytes: RangeInclusive<usize>) -> Option<&str> {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"_.:-".contains(&b);
    (bytes.contains(&text.len()) && text.bytes().all(is_plain)).then_some(text)
}

/// A conversation of one key: what its binding is found by. 16 bytes of a hash, 32 characters of hex in JSON and Redis.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey([u8; 16]);

impl SessionKey {
    /// The first 16 bytes of SHA-256 of the caller's key, a zero byte and the id.
    #[must_use]
    pub fn of(key_id: KeyId, id: &SessionId) -> Self {
        Self(first_half(&[key_id.to_string().as_bytes(), id.text.as_bytes()]))
    }

    /// The key of these bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes: evenly spread, whatever the ids were.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0
    }
}

impl fmt::Display for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for SessionKey {
    type Err = NotAKey;

    /// Reads 32 characters of lower-case hex: one spelling for each key.
    fn from_str(text: &str) -> Result<Self, NotAKey> {
        let is_hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 32 || !text.bytes().all(is_hex) {
            return Err(NotAKey);
        }
        u128::from_str_radix(text, 16).map(|bits| Self(bits.to_be_bytes())).map_err(|_| NotAKey)
    }
}

/// The first 16 bytes of SHA-256 of these parts, a zero byte between them.
pub(super) fn first_half(parts: &[&[u8]]) -> [u8; 16] {
    let mut hash = Context::new(&SHA256);
    for (place, part) in parts.iter().enumerate() {
        if place > 0 {
            hash.update(&[0]);
        }
        hash.update(part);
    }
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(hash.finish().as_ref()).for_each(|(to, from)| *to = *from);
    bytes
}

/// A text that is no [`SessionKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 32 characters of lower-case hex")]
pub struct NotAKey;

impl Serialize for SessionKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SessionKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Length of what Claude Code calls a session.
const CLAUDE_BYTES: RangeInclusive<usize> = 8..=256;
/// Length of what Codex calls one: anything shorter is somebody's label for many of them.
const CODEX_BYTES: RangeInclusive<usize> = 21..=256;

#[cfg(test)]
mod tests;
