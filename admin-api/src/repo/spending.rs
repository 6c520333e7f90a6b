//! What an account spent, by the books: rows of the ledger by the moment at which they count for budgets, and sums of hours
//! and days before them.
//!
//! Records above their journal's watermark are told to the store again, so what they booked is left out here.

use super::books::MOST_OF_ONE_ATTEMPT;
use super::entity::usage_journals_ahead;
use super::recount::{held, statement};
use super::wanted::{Wanted, column, found, place};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, EntityTrait, PaginatorTrait, QueryResult};
use shared::ids::{KeyId, ProviderId, UserId};
use shared::rules::quota::opening::{Lump, Reading};
use shared::rules::quota::{AccountId, MAX_AMOUNT};
use shared::rules::usage_days::{Sources, Span};
use shared::time::UnixMillis;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// What was spent with a key; of a provider's all is key 0's.
pub type OfKey = (KeyId, Lump);

/// What must be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ahead {
    /// No record is above its journal's watermark.
    None,
    /// Some are.
    Some,
}

/// Whether some records are above their journal's watermark.
pub async fn ahead(db: &impl ConnectionTrait) -> Result<Ahead, DbErr> {
    let count = usage_journals_ahead::Entity::find().count(db).await?;
    Ok(if count == 0 { Ahead::None } else { Ahead::Some })
}

/// The rows that are read of each of these accounts: asked for together, where all of them have few.
pub async fn rows_of_each(
    db: &impl ConnectionTrait,
    readings: &[(AccountId, Reading)],
    ahead: Ahead,
) -> Result<BTreeMap<AccountId, Vec<OfKey>>, DbErr> {
    // One alone may have as many as all together.
    if readings.len() > 1
        && let Some(all) = few_rows(db, readings, ahead).await?
    {
        return Ok(all);
    }
    let mut all = BTreeMap::new();
    for (account, reading) in readings {
        all.insert(*account, rows(db, *account, reading, ahead).await?);
    }
    Ok(all)
}

/// `None`: there are more than [`MOST_ROWS`].
async fn few_rows(
    db: &impl ConnectionTrait,
    readings: &[(AccountId, Reading)],
    ahead: Ahead,
) -> Result<Option<BTreeMap<AccountId, Vec<OfKey>>>, DbErr> {
    let mut all: BTreeMap<_, Vec<_>> = readings.iter().map(|(account, _)| (*account, vec![])).collect();
    let mut left = MOST_ROWS;
    let (users, providers): (Vec<_>, Vec<_>) =
        readings.iter().partition(|(account, _)| matches!(account, AccountId::User(_)));
    for some in [users, providers] {
        let ranges = some.into_iter().flat_map(|(account, reading)| {
            let one = |of: &Range<UnixMillis>| Wanted { account: *account, counts: of.start, of: of.clone() };
            reading.rows().iter().map(one)
        });
        let wanted: Vec<_> = ranges.collect();
        for some in wanted.chunks(SPANS_A_STATEMENT) {
            let Some(first) = some.first() else { continue };
            let (columns, from) = of_ledger(first.account, ["owner", "from_ms", "until_ms"], ahead);
            let found = found(db.get_database_backend(), some, &columns, &from);
            let sql = format!(
                "SELECT key_id, CAST(n AS BIGINT), at_ms, cost FROM ({found}) AS found LIMIT {}",
                left + 1
            );
            let rows = db.query_all_raw(statement(db, sql)).await?;
            let Some(fewer) = left.checked_sub(rows.len()) else { return Ok(None) };
            left = fewer;
            for row in rows {
                let Some(Wanted { account, .. }) = place(&row, some)? else { continue };
                let at = UnixMillis(row.try_get_by_index(2)?);
                let lump = Lump { first: at, last: at, amount: row.try_get_by_index(3)? };
                all.entry(*account).or_default().push((key(&row)?, lump));
            }
        }
    }
    Ok(Some(all))
}

/// The rows that are read of an account. Of many ([`MOST_ROWS`]) those of a minute are summed.
pub async fn rows(
    db: &impl ConnectionTrait,
    account: AccountId,
    reading: &Reading,
    ahead: Ahead,
) -> Result<Vec<OfKey>, DbErr> {
    let mut rows = Vec::new();
    for some in reading.rows().chunks(RANGES_A_STATEMENT) {
        let sql = format!("{} LIMIT {}", ranges(account, some, ahead), MOST_ROWS + 1 - rows.len());
        for row in db.query_all_raw(statement(db, sql)).await? {
            let at = UnixMillis(row.try_get_by_index(1)?);
            rows.push((key(&row)?, Lump { first: at, last: at, amount: row.try_get_by_index(2)? }));
        }
        if rows.len() > MOST_ROWS {
            return minutes(db, account, reading, ahead).await;
        }
    }
    Ok(rows)
}

/// The rows that are read, summed by minutes that go over no edge.
pub async fn minutes(
    db: &impl ConnectionTrait,
    account: AccountId,
    reading: &Reading,
    ahead: Ahead,
) -> Result<Vec<OfKey>, DbErr> {
    let within_minutes = reading.edges().iter().filter(|edge| edge.0 % MINUTE_MS != 0);
    // A bare number there would be the place of a column.
    let side = |edge: &UnixMillis| format!(", CASE WHEN at_ms >= {} THEN 1 ELSE 0 END", edge.0);
    let sides: String = within_minutes.map(side).collect();
    let sum = sum(db.get_database_backend(), "cost");
    let mut minutes = Vec::new();
    for some in reading.rows().chunks(RANGES_A_STATEMENT) {
        let sql = format!(
            "SELECT key_id, MIN(at_ms), MAX(at_ms), {sum} FROM ({}) AS spent GROUP BY key_id, at_ms / {MINUTE_MS}{sides}",
            ranges(account, some, ahead),
        );
        for row in db.query_all_raw(statement(db, sql)).await? {
            let [first, last] = [row.try_get_by_index(1)?, row.try_get_by_index(2)?].map(UnixMillis);
            minutes.push((key(&row)?, Lump { first, last, amount: row.try_get_by_index(3)? }));
        }
    }
    Ok(minutes)
}

/// The sums of the parts before, where they count, of each of these accounts. `hold`: the days whose sums hold.
pub async fn parts(
    db: &impl ConnectionTrait,
    readings: &[(AccountId, Reading)],
    hold: &BTreeSet<Span>,
    ahead: Ahead,
) -> Result<BTreeMap<AccountId, Vec<OfKey>>, DbErr> {
    let mut sums: BTreeMap<Place, i64> = BTreeMap::new();
    for (book, wanted) in wanted(readings, hold) {
        for some in wanted.chunks(SPANS_A_STATEMENT) {
            let sql = book.sums(db.get_database_backend(), some);
            for row in db.query_all_raw(statement(db, sql)).await? {
                let Some(Wanted { account, counts, .. }) = place(&row, some)? else { continue };
                let sum = sums.entry((*account, key(&row)?, *counts)).or_default();
                *sum = sum.saturating_add(row.try_get_by_index(2)?);
            }
        }
    }
    let readings: BTreeMap<_, _> = readings.iter().map(|(account, reading)| (*account, reading)).collect();
    if ahead == Ahead::Some && !readings.is_empty() {
        let cost = held("cost_nano_usd", MOST_OF_ONE_ATTEMPT);
        let sql = format!(
            "SELECT key_id, user_id, provider_id, created_at_ms, {cost} FROM ledger
            WHERE request_id IN (SELECT request_id FROM usage_journals_ahead) AND ({})",
            of_any(readings.keys()),
        );
        for row in db.query_all_raw(statement(db, sql)).await? {
            let user = AccountId::User(UserId(row.try_get_by_index(1)?));
            let provider = AccountId::Provider(ProviderId(row.try_get_by_index(2)?));
            let began = UnixMillis(row.try_get_by_index(3)?).hour_start();
            let cost: i64 = row.try_get_by_index(4)?;
            for (account, key) in [(user, key(&row)?), (provider, KeyId(0))] {
                if let Some(counts) = readings.get(&account).and_then(|reading| reading.sum_at(began)) {
                    *sums.entry((account, key, counts)).or_default() -= cost;
                }
            }
        }
    }
    let mut of_accounts: BTreeMap<_, Vec<_>> = readings.keys().map(|account| (*account, vec![])).collect();
    for ((account, key, at), amount) in sums {
        of_accounts.entry(account).or_default().push((key, Lump { first: at, last: at, amount }));
    }
    Ok(of_accounts)
}

/// Whose, with which key, and when it counts.
type Place = (AccountId, KeyId, UnixMillis);

/// Where sums are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Book {
    UserDays,
    UserHours,
    ProviderDays,
    ProviderHours,
}

fn wanted(readings: &[(AccountId, Reading)], hold: &BTreeSet<Span>) -> BTreeMap<Book, Vec<Wanted>> {
    let mut wanted: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (account, reading) in readings {
        let [of_days, of_hours] = match account {
            AccountId::User(_) => [Book::UserDays, Book::UserHours],
            AccountId::Provider(_) => [Book::ProviderDays, Book::ProviderHours],
        };
        for (counts, Sources { days, hours }) in reading.sums(hold) {
            for (book, spans) in [(of_days, days), (of_hours, hours)] {
                let one = |of: Span| Wanted { account: *account, counts, of: of.start..of.end };
                wanted.entry(book).or_default().extend(spans.into_iter().map(one));
            }
        }
    }
    wanted
}

impl Book {
    /// Key, place among the wanted ones, and cost. Summed there: a window is hundreds of days and hours, which take longer to
    /// tell than to find.
    fn sums(self, backend: DbBackend, wanted: &[Wanted]) -> String {
        let (table, start) = match self {
            Self::UserDays => ("usage_daily_keys", "day_start_ms"),
            Self::ProviderDays => ("usage_daily_models", "day_start_ms"),
            Self::UserHours | Self::ProviderHours => ("usage_hourly", "hour_start_ms"),
        };
        let (owner, key) = match self {
            Self::UserDays | Self::UserHours => ("user_id", "key_id"),
            Self::ProviderDays | Self::ProviderHours => ("provider_id", "CAST(0 AS BIGINT)"),
        };
        let found = found(
            backend,
            wanted,
            &format!("{key} AS of_key, cost_nano_usd AS cost"),
            &format!("{table} WHERE {owner} = owner AND {start} >= from_ms AND {start} < until_ms"),
        );
        let sum = sum(backend, "cost");
        format!("SELECT of_key, CAST(n AS BIGINT), {sum} FROM ({found}) AS found GROUP BY of_key, n")
    }
}

/// Key, moment and cost of the rows that began in these hours: a scan of the index for each.
fn ranges(account: AccountId, hours: &[Range<UnixMillis>], ahead: Ahead) -> String {
    let range = |hours: &Range<UnixMillis>| {
        let of = [column(account).1, hours.start.0, hours.end.0].map(|number| number.to_string());
        let (columns, from) = of_ledger(account, of.each_ref().map(String::as_str), ahead);
        format!("SELECT {columns} FROM {from}")
    };
    hours.iter().map(range).collect::<Vec<_>>().join(" UNION ALL ")
}

/// Key, moment and cost of an account of this kind, and where they are: in its rows that began in these hours.
fn of_ledger(kind: AccountId, [owner, from, until]: [&str; 3], ahead: Ahead) -> (String, String) {
    // As `rules::quota::owed` says.
    let at = match kind {
        AccountId::User(_) => "COALESCE(admitted_at_ms, created_at_ms)",
        AccountId::Provider(_) => "COALESCE(attempt_admitted_at_ms, admitted_at_ms, created_at_ms)",
    };
    let (key, left_out) = (key_of(kind), left_out(ahead));
    let cost = held("cost_nano_usd", MOST_OF_ONE_ATTEMPT);
    let column = column(kind).0;
    (
        format!("{key} AS key_id, {at} AS at_ms, {cost} AS cost"),
        format!(
            "ledger WHERE {column} = {owner} AND created_at_ms >= {from} AND created_at_ms < {until}
            AND cost_nano_usd > 0{left_out}"
        ),
    )
}

/// A condition for what these accounts have a part in; empty: there are none.
pub(super) fn of_any<'a>(accounts: impl Iterator<Item = &'a AccountId>) -> String {
    let conditions = accounts.map(|account| {
        let (column, id) = column(*account);
        // The plus keeps the account's own index out of it: SQLite would read all its rows for the few that are meant.
        format!("+{column} = {id}")
    });
    conditions.collect::<Vec<_>>().join(" OR ")
}

/// No sum is more than the largest amount: it could not be told, or not even be held.
fn sum(backend: DbBackend, of: &str) -> String {
    match backend {
        DbBackend::Postgres => format!("CAST(LEAST(SUM({of}), {MAX_AMOUNT}) AS BIGINT)"),
        // `SUM` would fail; up to there doubles are exact.
        _ => format!("CAST(MIN(TOTAL({of}), {MAX_AMOUNT}.0) AS INTEGER)"),
    }
}

fn key_of(account: AccountId) -> &'static str {
    match account {
        AccountId::User(_) => "key_id",
        AccountId::Provider(_) => "CAST(0 AS BIGINT)",
    }
}

/// A condition that leaves out what is above its journal's watermark.
pub(super) fn left_out(ahead: Ahead) -> &'static str {
    match ahead {
        Ahead::None => "",
        Ahead::Some => " AND request_id NOT IN (SELECT request_id FROM usage_journals_ahead)",
    }
}

fn key(row: &QueryResult) -> Result<KeyId, DbErr> {
    row.try_get_by_index(0).map(KeyId)
}

const MINUTE_MS: i64 = 60_000;
/// One by one they say exactly when five hours began; more would take longer than an opening may.
const MOST_ROWS: usize = 5_000;
/// SQLite joins at most 500.
const RANGES_A_STATEMENT: usize = 100;
/// Enough for sixteen accounts, but where their keys were reset one by one.
const SPANS_A_STATEMENT: usize = 200;
