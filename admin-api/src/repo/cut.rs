//! What was cut with its gateway, by the books: which holds are over with it, and what counts of it beyond what is billed.

use super::books::MOST_OF_ONE_ATTEMPT;
use super::recount::{held, statement};
use super::spending::{Ahead, OfKey, left_out, of_any};
use sea_orm::{ConnectionTrait, DbErr};
use shared::ids::{KeyId, ProviderId, RequestId, UserId};
use shared::rules::quota::opening::Lump;
use shared::rules::quota::{AccountId, HoldId, MAX_AMOUNT};
use shared::time::UnixMillis;
use std::collections::{BTreeMap, BTreeSet};

/// What was cut with its gateway, of one account.
#[derive(Clone, Debug, Default)]
pub struct Interrupted {
    /// The holds of requests that began lately.
    pub holds: BTreeSet<HoldId>,
    /// What counts beyond what is billed: all that was put aside.
    pub beyond: Vec<OfKey>,
}

/// What was cut of these accounts; the holds of requests that began since.
pub async fn interrupted(
    db: &impl ConnectionTrait,
    accounts: impl Iterator<Item = AccountId>,
    since: UnixMillis,
    ahead: Ahead,
) -> Result<BTreeMap<AccountId, Interrupted>, DbErr> {
    let mut found: BTreeMap<_, _> = accounts.map(|account| (account, Interrupted::default())).collect();
    let conditions = of_any(found.keys());
    if conditions.is_empty() {
        return Ok(found);
    }
    let [cost, of_all] = ["l.cost_nano_usd", "a.cost_nano_usd"].map(|name| held(name, MOST_OF_ONE_ATTEMPT));
    let sql = format!(
        "SELECT request_id, attempt, user_id, provider_id, key_id, created_at_ms,
            COALESCE(admitted_at_ms, created_at_ms), COALESCE(attempt_admitted_at_ms, admitted_at_ms, created_at_ms),
            COALESCE(held_nano_usd, 0) - (SELECT CAST(SUM({of_all}) AS BIGINT) FROM ledger a WHERE a.request_id = l.request_id),
            COALESCE(attempt_held_nano_usd, 0) - {cost}
        FROM ledger l WHERE outcome = 'interrupted' AND ({conditions}){} ORDER BY request_id, attempt",
        left_out(ahead),
    );
    let mut last = None;
    for row in db.query_all_raw(statement(db, sql)).await? {
        // What is no id was not written by us.
        let Ok(request) = row.try_get_by_index::<String>(0)?.parse::<RequestId>() else { continue };
        let Ok(attempt) = u32::try_from(row.try_get_by_index::<i32>(1)?) else { continue };
        let user = AccountId::User(UserId(row.try_get_by_index(2)?));
        let provider = AccountId::Provider(ProviderId(row.try_get_by_index(3)?));
        let key = KeyId(row.try_get_by_index(4)?);
        let is_late = UnixMillis(row.try_get_by_index(5)?) >= since;
        let [of_user, of_provider]: [i64; 2] = [row.try_get_by_index(6)?, row.try_get_by_index(7)?];
        let [beyond_user, beyond_provider]: [i64; 2] = [row.try_get_by_index(8)?, row.try_get_by_index(9)?];
        // A request is one hold of its user's, however often it was cut.
        let is_first = last.replace(request) != Some(request);
        // What its user has put aside for failed attempts, each by itself, is over as well: this one may have failed and the next
        // not begun.
        for (account, holds, key, at, beyond) in [
            (user, 0..=attempt, key, of_user, if is_first { beyond_user } else { 0 }),
            (provider, attempt..=attempt, KeyId(0), of_provider, beyond_provider),
        ] {
            let Some(of_it) = found.get_mut(&account) else { continue };
            if is_late {
                of_it.holds.extend(holds.take(MOST_ATTEMPTS).map(|number| HoldId(request, number)));
            }
            if beyond > 0 {
                let at = UnixMillis(at);
                of_it.beyond.push((key, Lump { first: at, last: at, amount: beyond.min(MAX_AMOUNT) }));
            }
        }
    }
    if found.keys().any(|account| matches!(account, AccountId::Provider(_))) {
        failed_before(db, since, ahead, &mut found).await?;
    }
    Ok(found)
}

/// Attempts that had failed when their request was cut: whoever else adopts its journal tells of them as well.
async fn failed_before(
    db: &impl ConnectionTrait,
    since: UnixMillis,
    ahead: Ahead,
    found: &mut BTreeMap<AccountId, Interrupted>,
) -> Result<(), DbErr> {
    let sql = format!(
        "SELECT l.request_id, l.attempt, l.provider_id FROM (
            SELECT DISTINCT request_id FROM ledger WHERE outcome = 'interrupted' AND created_at_ms >= {}{}
        ) AS cut JOIN ledger l ON l.request_id = cut.request_id
        WHERE l.outcome <> 'interrupted' AND l.cost_nano_usd > 0",
        since.0,
        left_out(ahead),
    );
    for row in db.query_all_raw(statement(db, sql)).await? {
        let Ok(request) = row.try_get_by_index::<String>(0)?.parse::<RequestId>() else { continue };
        let Ok(attempt) = u32::try_from(row.try_get_by_index::<i32>(1)?) else { continue };
        let provider = AccountId::Provider(ProviderId(row.try_get_by_index(2)?));
        if let Some(of_it) = found.get_mut(&provider) {
            of_it.holds.insert(HoldId(request, attempt));
        }
    }
    Ok(())
}

/// More than a request makes: what says more was not written by us.
const MOST_ATTEMPTS: usize = 1_000;
