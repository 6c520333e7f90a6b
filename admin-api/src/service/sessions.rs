//! Conversations that run: which, and how an admin ends one's binding.

use super::change::{Entry, record};
use super::{Actor, Admin};
use crate::error::{Error, Resource};
use shared::contract::session::{SessionFilter, SessionPage, SessionPlace};
use shared::rules::session::SessionKey;

/// Those that were seen within `SESSION_TTL`, the one last seen first, after a place. A page may have fewer than `limit`.
pub async fn list(
    admin: Admin,
    filter: SessionFilter,
    after: Option<SessionPlace>,
    limit: usize,
) -> Result<SessionPage, Error> {
    admin.sessions().list(&filter, after, limit).await.map_err(Error::Sessions)
}

/// Ends the binding of a session, on all gateways: its next request is drawn anew. In the audit log.
pub async fn terminate(admin: Admin, actor: Actor, key: SessionKey) -> Result<(), Error> {
    let was_known = admin.sessions().terminate(key).await.map_err(Error::Sessions)?;
    if !was_known {
        return Err(Error::NotFound(Resource::Session));
    }
    let id = key.to_string();
    record(
        &admin,
        &actor,
        Entry { verb: "terminate", resource: Resource::Session, id, before: None, after: None },
    )
    .await
}
