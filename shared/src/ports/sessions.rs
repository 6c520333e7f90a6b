//! Sessions: what each is bound to, and which of them are active.

use super::PortError;
use crate::contract::session::{ActiveSession, SessionFilter, SessionPage, SessionPlace};
use crate::ids::ProviderId;
use crate::rules::affinity::{Binding, Identity, Pace};
use crate::rules::session::SessionKey;
use crate::time::UnixMillis;
use async_trait::async_trait;

/// Where a gateway's sessions are bound to their providers. The rules are in [`crate::rules::affinity`]; a running session
/// seldom comes here, because a gateway keeps what it knows in a [`crate::rules::affinity::cache::BindingCache`].
///
/// A binding lives `SESSION_TTL` from its last [`Self::read`], [`Self::touch`] or [`Self::bind`] on. No generation of a
/// session is ever given twice, unless the store's clock goes back by more than that.
#[async_trait]
pub trait SessionStore: Send + Sync {
    /// The binding in force, whose life is prolonged; `None`: none is.
    async fn read(&self, key: SessionKey) -> Result<Option<Binding>, PortError>;

    /// Binds a session if the expected generation is in force, or none; `expected` of `None` is never in force. Answers
    /// what is in force then, by whomever. When it fails, it may have been done all the same.
    async fn bind(
        &self,
        key: SessionKey,
        expected: Option<u64>,
        to: ProviderId,
        identity: Identity,
    ) -> Result<Binding, PortError>;

    /// Ends a binding if this generation is in force; true if it was.
    async fn unbind(&self, key: SessionKey, generation: u64) -> Result<bool, PortError>;

    /// Prolongs lives and counts slow turns. Answers, in the same order, how many of them each binding has then; `None`
    /// where that generation is not in force. Refuses more than [`MAX_TOUCHES`] with [`PortError::Full`]. When it fails,
    /// some may have been done.
    async fn touch(&self, touches: &[Touch]) -> Result<Vec<Option<u32>>, PortError>;

    /// Waits until there is news, then tells all of it in its order: of moves and ends, one's own as well, but of no first
    /// binding. One follower per store. What is not told for long is [`SessionNews::Missed`].
    async fn news(&self) -> Vec<SessionNews>;

    /// Tells which sessions this node saw since it last told; `now` is its clock, by which the moments in `seen` are
    /// understood. Refuses more than [`MAX_SEEN`] with [`PortError::Full`].
    async fn saw(&self, now: UnixMillis, seen: &[ActiveSession]) -> Result<(), PortError>;
}

/// The sessions that were seen within `SESSION_TTL`, and what they are bound to, for people.
#[async_trait]
pub trait ActiveSessions: Send + Sync {
    /// Those after a place, the one last seen first; `None`: from the beginning. At most `limit`, and at most
    /// [`MAX_LISTED`]. A page can have fewer and still not be the last one. The moments are the store's clock.
    async fn list(
        &self,
        filter: &SessionFilter,
        after: Option<SessionPlace>,
        limit: usize,
    ) -> Result<SessionPage, PortError>;

    /// The binding in force, whose life is not prolonged; `None`: none is.
    async fn bound(&self, key: SessionKey) -> Result<Option<Binding>, PortError>;

    /// Ends a session's binding, whichever it is, and forgets that it was seen; its next request is drawn anew. False if
    /// nothing was known of it.
    async fn terminate(&self, key: SessionKey) -> Result<bool, PortError>;
}

/// Prolongs the life of a binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Touch {
    /// Of this session.
    pub key: SessionKey,
    /// If this generation is in force.
    pub generation: u64,
    /// How the turn was; `None`: it says nothing.
    pub pace: Option<Pace>,
}

/// What happened to a session's binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionNews {
    /// It was replaced by this one.
    Moved {
        /// Whose.
        key: SessionKey,
        /// The new one.
        binding: Binding,
    },
    /// It ended.
    Ended {
        /// Whose.
        key: SessionKey,
        /// This generation and all before.
        generation: u64,
    },
    /// Something was not told: the way there was cut and is back, or there was too much of it.
    Missed,
}

/// Touches at a time.
pub const MAX_TOUCHES: usize = 256;

/// Sessions that a node tells of at a time.
pub const MAX_SEEN: usize = 500;

/// Sessions that are listed at a time.
pub const MAX_LISTED: usize = 1_000;
