//! Who holds a key.

use super::snapshot::{key_doc, user_doc};
use super::{Admin, now};
use crate::error::Error;
use crate::repo::principals;
use shared::ids::{KeyId, UserId};
use shared::model::{Key, User};
use shared::rules::access;
use shared::secret::KeyDigest;

/// The holder of a key that may be used. Sees itself, and nobody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Whose key it is.
    pub user_id: UserId,
    /// The key.
    pub key_id: KeyId,
}

/// Whose key this is. Unknown, deleted, disabled and expired ones, or those of such a user, are nobody's: whoever guesses is not
/// told which.
pub async fn holder(admin: Admin, digest: KeyDigest) -> Result<Seat, Error> {
    let db = admin.db().reader();
    let key = principals::key_by_digest(db, &digest.to_hex()).await?.ok_or(Error::Unauthenticated)?;
    let user = principals::user(db, UserId(key.user_id)).await?.ok_or(Error::Unauthenticated)?;
    let (user, key) = (User::from(user_doc(&user, false)?), Key::from(key_doc(&key)?));
    access::check(&user, &key, now()).map_err(|_| Error::Unauthenticated)?;
    Ok(Seat { user_id: user.id, key_id: key.id })
}
