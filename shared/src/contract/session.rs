//! Sessions between nodes: what is published about their bindings, and which of them are active.
//!
//! | key | type | lives | is |
//! |---|---|---|---|
//! | [`binding`] | hash | `SESSION_TTL`, from the last word on | `provider`, `identity`, `generation`, `slow`; only `generation`: of the last binding, which ended |
//! | [`news`] | channel | – | [`NewsDoc`] as JSON |
//! | [`active_docs`] | hash | with the session | session key → [`SessionDoc`] as JSON |
//! | [`active_requests`] | hash | with the session | session key → requests |
//! | [`active_first`] | hash | with the session | session key → when it was first seen, Unix milliseconds of Redis's clock |
//! | [`active_seen`] | sorted set | `SESSION_TTL` from there on | session key by when it was last seen, the same |
//!
//! What is gone is bound again by the next request, and seen again. At most [`MAX_ACTIVE`] sessions are remembered as active.

use super::keys::PREFIX;
use super::scripts::ScriptCall;
use crate::ids::{KeyId, ProviderId, UserId};
use crate::ports::{SessionNews, Touch};
use crate::rules::affinity::{Binding, Identity, Pace};
use crate::rules::session::SessionKey;
use crate::time::UnixMillis;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Reads a binding: [`read`], answered by a [`parse_binding`].
pub const SESSION_READ: &str = include_str!("lua/session_read_v1.lua");

/// Reads a binding without being one of its requests: [`peek`], answered by a [`parse_binding`].
pub const SESSION_PEEK: &str = include_str!("lua/session_peek_v1.lua");

/// Binds a session: [`bind`], answered by a [`parse_binding`].
pub const SESSION_BIND: &str = include_str!("lua/session_bind_v1.lua");

/// Ends a binding: [`unbind`], [`end`].
pub const SESSION_END: &str = include_str!("lua/session_end_v1.lua");

/// Prolongs a binding's life: [`touch`].
pub const SESSION_TOUCH: &str = include_str!("lua/session_touch_v1.lua");

/// Remembers sessions as active: [`saw`].
pub const SESSION_SAW: &str = include_str!("lua/session_saw_v1.lua");

/// Tells which sessions are active: [`list`], answered by [`parse_active`]s.
pub const SESSION_LIST: &str = include_str!("lua/session_list_v1.lua");

/// Forgets that a session is active: [`forget`].
pub const SESSION_FORGET: &str = include_str!("lua/session_forget_v1.lua");

/// Raised when a reader of the last number would misunderstand a document of this one.
pub const SESSION_SCHEMA: u32 = 1;

/// Sessions that are remembered as active; of more, who was not seen longest is forgotten.
pub const MAX_ACTIVE: usize = 100_000;

/// What a session is, as of its last request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionDoc {
    /// [`SESSION_SCHEMA`] of the writer.
    pub schema: u32,
    /// Its id as the client gave it, or made of what it begins with.
    pub session_id: String,
    /// Whose it is.
    pub user_id: UserId,
    /// Whose key it uses.
    pub key_id: KeyId,
    /// Who served it; `None`: nobody yet.
    #[serde(default)]
    pub provider_id: Option<ProviderId>,
    /// The model asked for; cut at 128 bytes.
    #[serde(default)]
    pub model: Option<String>,
    /// `User-Agent`; cut at 256 bytes.
    #[serde(default)]
    pub client: Option<String>,
}

impl SessionDoc {
    /// As JSON, of a bounded length.
    #[must_use]
    pub fn to_json(&self) -> Bytes {
        let cut = |text: &Option<String>, limit: usize| {
            text.as_ref().map(|text| text[..text.floor_char_boundary(limit)].to_owned())
        };
        let fitted = Self {
            session_id: cut(&Some(self.session_id.clone()), 256).unwrap_or_default(),
            model: cut(&self.model, 128),
            client: cut(&self.client, 256),
            ..self.clone()
        };
        // Only memory could fail here.
        serde_json::to_vec(&fitted).unwrap_or_default().into()
    }

    /// `None` for what this release cannot read.
    #[must_use]
    pub fn from_json(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok().filter(|doc: &Self| doc.schema <= SESSION_SCHEMA)
    }
}

/// A session that was seen: by one node since it last told, or by all while it lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveSession {
    /// Which.
    pub key: SessionKey,
    /// What it is.
    pub doc: SessionDoc,
    /// Its requests in that time.
    pub requests: u64,
    /// When its first request came.
    pub first_seen_at: UnixMillis,
    /// When its last request came.
    pub last_seen_at: UnixMillis,
}

impl ActiveSession {
    /// Adds what was seen of the same session elsewhere, or later.
    pub fn merge(&mut self, other: Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.first_seen_at = self.first_seen_at.min(other.first_seen_at);
        if other.last_seen_at >= self.last_seen_at {
            self.last_seen_at = other.last_seen_at;
            self.doc = other.doc;
        }
    }

    /// Where it is in a list.
    #[must_use]
    pub fn place(&self) -> SessionPlace {
        SessionPlace { last_seen_at: self.last_seen_at, key: self.key }
    }
}

/// A place in the list of active sessions, which begins with the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionPlace {
    /// When the session there was last seen.
    pub last_seen_at: UnixMillis,
    /// Which it is.
    pub key: SessionKey,
}

/// Which sessions are listed; `None` passes all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionFilter {
    /// Of this user.
    pub user_id: Option<UserId>,
    /// Of this key.
    pub key_id: Option<KeyId>,
    /// Last served by this provider.
    pub provider_id: Option<ProviderId>,
    /// That last asked for this model.
    pub model: Option<String>,
    /// Whose id begins with this.
    pub session_id: Option<String>,
}

impl SessionFilter {
    /// True for a session that is listed.
    #[must_use]
    pub fn passes(&self, doc: &SessionDoc) -> bool {
        self.user_id.is_none_or(|id| id == doc.user_id)
            && self.key_id.is_none_or(|id| id == doc.key_id)
            && self.provider_id.is_none_or(|id| Some(id) == doc.provider_id)
            && self.model.as_ref().is_none_or(|model| Some(model) == doc.model.as_ref())
            && self.session_id.as_ref().is_none_or(|start| doc.session_id.starts_with(start))
    }
}

/// A page of the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionPage {
    /// The one last seen first.
    pub sessions: Vec<ActiveSession>,
    /// After which place the list goes on; `None`: this was the end.
    pub next: Option<SessionPlace>,
}

/// What is published about a binding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum NewsDoc {
    /// It was replaced.
    Moved {
        /// Whose.
        key: SessionKey,
        /// The new provider.
        provider_id: ProviderId,
        /// Which account it is.
        identity: Identity,
        /// The new generation.
        generation: u64,
    },
    /// It ended.
    Ended {
        /// Whose.
        key: SessionKey,
        /// This generation and all before.
        generation: u64,
    },
}

impl NewsDoc {
    /// What a message says. One that cannot be read counts as one that was missed.
    #[must_use]
    pub fn read(json: &[u8]) -> SessionNews {
        match serde_json::from_slice(json) {
            Ok(Self::Moved { key, provider_id, identity, generation }) => SessionNews::Moved {
                key,
                binding: Binding { provider_id, identity, generation, slow_turns: 0 },
            },
            Ok(Self::Ended { key, generation }) => SessionNews::Ended { key, generation },
            Err(_) => SessionNews::Missed,
        }
    }
}

/// A session's binding. The key stands in braces: all keys of one session live on one node of a Cluster.
#[must_use]
pub fn binding(key: SessionKey) -> String {
    format!("{PREFIX}{{s:{key}}}:binding")
}

/// Where moves and ends of bindings are announced.
#[must_use]
pub fn news() -> String {
    format!("{PREFIX}{{sessions}}:news")
}

/// What the active sessions are.
#[must_use]
pub fn active_docs() -> String {
    format!("{PREFIX}{{sessions}}:docs")
}

/// How many requests each made.
#[must_use]
pub fn active_requests() -> String {
    format!("{PREFIX}{{sessions}}:requests")
}

/// When each was first seen.
#[must_use]
pub fn active_first() -> String {
    format!("{PREFIX}{{sessions}}:first")
}

/// When each was last seen.
#[must_use]
pub fn active_seen() -> String {
    format!("{PREFIX}{{sessions}}:seen")
}

/// Reads the binding in force.
#[must_use]
pub fn read(key: SessionKey, ttl_ms: u64) -> ScriptCall {
    of_one(key, ttl_ms, [])
}

/// Reads the binding in force, whose life stays as it is.
#[must_use]
pub fn peek(key: SessionKey) -> ScriptCall {
    ScriptCall { keys: vec![binding(key)], args: Vec::new() }
}

/// Binds a session.
#[must_use]
pub fn bind(
    key: SessionKey,
    ttl_ms: u64,
    expected: Option<u64>,
    to: ProviderId,
    identity: Identity,
) -> ScriptCall {
    let expected = expected.map(|generation| generation.to_string()).unwrap_or_default();
    of_one(key, ttl_ms, [news(), key.to_string(), expected, to.to_string(), identity.to_string()])
}

/// Ends a binding if it is this one.
#[must_use]
pub fn unbind(key: SessionKey, ttl_ms: u64, generation: u64) -> ScriptCall {
    of_one(key, ttl_ms, [news(), key.to_string(), generation.to_string()])
}

/// Ends a binding, whichever it is.
#[must_use]
pub fn end(key: SessionKey, ttl_ms: u64) -> ScriptCall {
    of_one(key, ttl_ms, [news(), key.to_string(), String::new()])
}

/// Prolongs the life of a binding.
#[must_use]
pub fn touch(touch: &Touch, ttl_ms: u64) -> ScriptCall {
    let pace = match touch.pace {
        Some(Pace::Quick) => "quick",
        Some(Pace::Slow) => "slow",
        None => "",
    };
    of_one(touch.key, ttl_ms, [touch.generation.to_string(), pace.to_owned()])
}

/// Remembers these sessions as active.
#[must_use]
pub fn saw(now: UnixMillis, seen: &[ActiveSession], ttl_ms: u64) -> ScriptCall {
    let head = [ttl_ms.to_string(), MAX_ACTIVE.to_string(), now.0.to_string()];
    let each = seen.iter().flat_map(|session| {
        let moments = [session.first_seen_at, session.last_seen_at].map(|at| Bytes::from(at.0.to_string()));
        let [first, last] = moments;
        let requests = session.requests.to_string().into();
        [session.key.to_string().into(), session.doc.to_json(), requests, first, last]
    });
    ScriptCall { keys: active_keys(), args: head.map(Bytes::from).into_iter().chain(each).collect() }
}

/// Lists active sessions after a place.
#[must_use]
pub fn list(after: Option<SessionPlace>, count: usize, ttl_ms: u64) -> ScriptCall {
    let (at, key) = match after {
        Some(SessionPlace { last_seen_at, key }) => (last_seen_at.0.to_string(), key.to_string()),
        None => (String::new(), String::new()),
    };
    let args = [ttl_ms.to_string(), count.to_string(), at, key];
    ScriptCall { keys: active_keys(), args: args.map(Bytes::from).into() }
}

/// Forgets that this session is active.
#[must_use]
pub fn forget(key: SessionKey) -> ScriptCall {
    ScriptCall { keys: active_keys(), args: vec![key.to_string().into()] }
}

/// The binding that four words of a reply are; `None` if they are none.
#[must_use]
pub fn parse_binding(words: &[String]) -> Option<Binding> {
    let [provider_id, identity, generation, slow_turns] = words else { return None };
    Some(Binding {
        provider_id: provider_id.parse().ok()?,
        identity: identity.parse().ok()?,
        generation: generation.parse().ok()?,
        slow_turns: slow_turns.parse().ok()?,
    })
}

/// Where five words of a listing are, and the session that they are if this release can read it; `None` if they are
/// nowhere.
#[must_use]
pub fn parse_active(words: &[String]) -> Option<(SessionPlace, Option<ActiveSession>)> {
    let [key, last, doc, requests, first] = words else { return None };
    let place = SessionPlace { last_seen_at: UnixMillis(last.parse().ok()?), key: key.parse().ok()? };
    let session = || {
        Some(ActiveSession {
            key: place.key,
            doc: SessionDoc::from_json(doc.as_bytes())?,
            requests: requests.parse().ok()?,
            first_seen_at: UnixMillis(first.parse().ok()?),
            last_seen_at: place.last_seen_at,
        })
    };
    Some((place, session()))
}

fn of_one<const N: usize>(key: SessionKey, ttl_ms: u64, args: [String; N]) -> ScriptCall {
    let args = std::iter::once(ttl_ms.to_string()).chain(args).map(Bytes::from).collect();
    ScriptCall { keys: vec![binding(key)], args }
}

fn active_keys() -> Vec<String> {
    vec![active_docs(), active_requests(), active_first(), active_seen()]
}

#[cfg(test)]
mod tests;
