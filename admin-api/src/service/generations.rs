//! How often an account came under limits.
//!
//! An account is a user with all keys, or a provider. While nothing of it is limited, nobody counts what it spends, and 0 is
//! published as its generation. Each time a first limit appears its row counts one more, in the transaction that sets it: so
//! gateways see another generation than the last one that they counted for, and have the account opened from the ledger.

use super::change::Change;
use super::users;
use crate::error::Error;
use crate::repo::limits::Limited;
use crate::repo::principals;
use shared::ids::UserId;

/// A limit is about to be set on a user or key that has none: when it is the first one of the account, that is counted.
pub(super) async fn limit_appears(change: &Change, user: UserId) -> Result<(), Error> {
    let row = users::live(&change.tx, user).await?;
    let is_governed =
        row.is_limited() || principals::all_keys(&change.tx, user).await?.iter().any(Limited::is_limited);
    if !is_governed {
        principals::count_generation(&change.tx, user).await?;
    }
    Ok(())
}

/// A row's count as it is published.
pub(super) fn published(is_governed: bool, count: i32) -> u32 {
    if is_governed { count.cast_unsigned() } else { 0 }
}
