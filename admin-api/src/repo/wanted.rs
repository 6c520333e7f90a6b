//! Questions about many accounts at once: what is there for each of them in some time, found by the account's own index.

use sea_orm::{DbBackend, DbErr, QueryResult};
use shared::rules::quota::AccountId;
use shared::time::UnixMillis;
use std::ops::Range;

/// What is wanted of an account, and when it counts where it is summed.
pub(super) struct Wanted {
    pub account: AccountId,
    pub counts: UnixMillis,
    pub of: Range<UnixMillis>,
}

/// These columns of what is there for each that is wanted, by its place `n`: a scan of the account's index for each, from
/// `from_ms` to `until_ms` of its `owner`.
pub(super) fn found(backend: DbBackend, wanted: &[Wanted], columns: &str, from: &str) -> String {
    let one = |(n, Wanted { account, of, .. }): (usize, &Wanted)| {
        format!("({n}, {}, {}, {})", column(*account).1, of.start.0, of.end.0)
    };
    let values = wanted.iter().enumerate().map(one).collect::<Vec<_>>().join(", ");
    let of_each = match backend {
        // The offset keeps it apart: else Postgres may read the table from end to end and join what it finds.
        DbBackend::Postgres => {
            format!(
                "SELECT n, found.* FROM wanted CROSS JOIN LATERAL (SELECT {columns} FROM {from} OFFSET 0) AS found"
            )
        }
        // SQLite takes the tables of a cross join in their order.
        _ => format!("SELECT n, {columns} FROM wanted CROSS JOIN {from}"),
    };
    format!("WITH wanted (n, owner, from_ms, until_ms) AS (VALUES {values}) {of_each}")
}

/// Which of the wanted ones a row was found for.
pub(super) fn place<'a>(row: &QueryResult, wanted: &'a [Wanted]) -> Result<Option<&'a Wanted>, DbErr> {
    Ok(usize::try_from(row.try_get_by_index::<i64>(1)?).ok().and_then(|n| wanted.get(n)))
}

/// The column that says whose a row is, and the account's number there.
pub(super) fn column(account: AccountId) -> (&'static str, i64) {
    match account {
        AccountId::User(id) => ("user_id", id.0),
        AccountId::Provider(id) => ("provider_id", id.0),
    }
}
