//! What an account is opened with: which of its books are read, and what its scopes spent in as few words as say the same.
//!
//! Books are by hour of a request's beginning, budgets by the moment of its admission, which is the same within
//! [`MARGIN_MS`]: a slow upload, a clock that is off. So rows are read one by one around each moment at which a window of
//! some scope begins, and of the last day; whole hours, and days, are read as sums.
//!
//! What is told is for windows what the rows would be. Sums since a moment: nothing is moved over such a moment; what is older
//! than a day is told at the end of such a stretch, so that a sum since a moment that nobody knew of is never too small. Rings:
//! nothing is moved out of its bucket. The five hours from the first spending on ([`Span::FirstSpend`](super::Span)) begin where they
//! would, wherever one knows where: windows follow one another, so it needs a pause of five hours within the last day, or
//! a day on which each beginning leads to the same end. A scope that never rests has neither. Where it has such a limit, all that
//! may be in these five hours is told as if it were spent when the last of the possible ones began: never less than was
//! spent, never forgotten early, and a refusal that lasts up to five hours longer.

use super::owed::limits_of_key;
use super::spent::{DAY_CELL_MS, FIVE_HOURS_CELL_MS};
use super::window::{DAY_MS, EVER, FIVE_HOURS_MS, Kind, Span, Terms};
use super::words::{ScopeId, Spends};
use crate::ids::KeyId;
use crate::model::Limits;
use crate::rules::usage_days::{self, Sources, sources};
use crate::time::{HOUR_MS, UnixMillis, Zone};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// How a request's beginning and its admission may be apart, either way.
pub const MARGIN_MS: i64 = HOUR_MS;

/// The scopes of a user with these keys, whose limits clip each other as they do at an admission.
#[must_use]
pub fn scopes_of_user(
    user: &Limits,
    keys: &BTreeMap<KeyId, Limits>,
    zone: &Zone,
    now: UnixMillis,
) -> BTreeMap<ScopeId, Terms> {
    let of_keys =
        keys.iter().map(|(id, key)| (ScopeId::Key(*id), Terms::of(&limits_of_key(user, key), zone, now)));
    of_keys.chain([(ScopeId::Owner, Terms::of(user, zone, now))]).collect()
}

/// Which books of an account are read how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// At which moments windows begin; the first is that of everything.
    edges: Vec<UnixMillis>,
    /// Whole hours of beginnings whose rows are read, in their order; the last of them has no end.
    rows: Vec<Range<UnixMillis>>,
}

impl Reading {
    /// For scopes of these terms, by the store's clock.
    pub fn of<'a>(terms: impl IntoIterator<Item = &'a Terms>, now: UnixMillis) -> Self {
        let kept = terms.into_iter().flat_map(|terms| terms.sums_at(now)).flatten();
        let edges: BTreeSet<_> = kept.filter(|edge| *edge > EVER && *edge <= now).collect();
        let around = edges.iter().map(|edge| {
            let from = UnixMillis(edge.0.saturating_sub(MARGIN_MS)).hour_start().max(EVER);
            from..UnixMillis(edge.0.saturating_add(MARGIN_MS)).hour_start().plus_ms(HOUR_MS.unsigned_abs())
        });
        let lately = lately(now)..UnixMillis(i64::MAX);
        let mut rows: Vec<Range<UnixMillis>> = Vec::new();
        for hours in around.filter(|hours| hours.start < lately.start).chain([lately.clone()]) {
            match rows.last_mut() {
                Some(last) if hours.start <= last.end => last.end = last.end.max(hours.end),
                _ => rows.push(hours),
            }
        }
        Self { edges: [EVER].into_iter().chain(edges).collect(), rows }
    }

    /// The beginnings of the rows that are read, each one once.
    #[must_use]
    pub fn rows(&self) -> &[Range<UnixMillis>] {
        &self.rows
    }

    /// The moments over which rows may not be summed.
    #[must_use]
    pub fn edges(&self) -> &[UnixMillis] {
        &self.edges
    }

    /// The hours before the last rows, in parts: from each of these to the next.
    #[must_use]
    pub fn parts(&self) -> Vec<UnixMillis> {
        let mut parts: Vec<_> = self.rows.iter().flat_map(|hours| [hours.start, hours.end]).collect();
        parts.pop();
        parts.insert(0, EVER);
        parts.dedup();
        parts
    }

    /// The sums that are read, each with when it counts: of days where they hold, of the hours around them.
    #[must_use]
    pub fn sums(&self, hold: &BTreeSet<usage_days::Span>) -> Vec<(UnixMillis, Sources)> {
        let parts = self.parts();
        let sum = |part: &[UnixMillis]| Some((self.sum_at(*part.first()?)?, sources(part, hold)));
        parts.windows(2).filter_map(sum).collect()
    }

    /// When the sum of a part counts, or of a row that began in it; `None`: its rows are read.
    #[must_use]
    pub fn sum_at(&self, began: UnixMillis) -> Option<UnixMillis> {
        let is_row = self.rows.iter().any(|hours| hours.contains(&began));
        (!is_row).then(|| last_before(&self.edges, began))
    }
}

/// What was spent from one moment to another, both of them moments of a spending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lump {
    /// The first moment.
    pub first: UnixMillis,
    /// The last one.
    pub last: UnixMillis,
    /// How much in nano-USD.
    pub amount: i64,
}

/// What a scope spent, for its [`Opening`](super::Opening). `sums` are the sums of parts where they count
/// ([`Reading::sum_at`]), `rows` those of the rows, in any order; none of these goes over an edge. `now` is the one of the
/// terms.
#[must_use]
pub fn spends(scope: ScopeId, terms: Terms, sums: &[Lump], rows: &[Lump], now: UnixMillis) -> Spends {
    let edges: BTreeSet<_> = terms.sums_at(now).into_iter().flatten().collect();
    let edges: Vec<_> = edges.into_iter().collect();
    // Nothing is spent tomorrow, whatever a node's clock says.
    let rows = rows.iter().map(|row| Lump { first: row.first.min(now), last: row.last.min(now), ..*row });
    let lately = lately(now);
    let (old, new): (Vec<_>, Vec<_>) = rows.filter(|row| row.amount > 0).partition(|row| row.first < lately);
    let mut at: BTreeMap<UnixMillis, i64> = BTreeMap::new();
    for lump in sums.iter().chain(&old).filter(|lump| lump.amount > 0) {
        let next = edges.get(edges.partition_point(|edge| *edge <= lump.first));
        let end = next.map_or(lately, |edge| lately.min(*edge));
        add(&mut at, UnixMillis(end.0 - 1), lump.amount);
    }
    let new = apart(new);
    let mut words = Words { edges, now, ends: None, at };
    let before: Vec<_> = words.at.keys().copied().collect();
    before.into_iter().for_each(|moment| words.begins(moment));
    let new = if is_by_first_spend(&terms) { gathered(new, lately, now) } else { new };
    words.tell(&new);
    Spends { scope, terms, at: words.at.into_iter().collect() }
}

/// Rows of the last day as words, as they are put.
struct Words {
    edges: Vec<UnixMillis>,
    now: UnixMillis,
    /// When the five hours end that began with what was put.
    ends: Option<UnixMillis>,
    at: BTreeMap<UnixMillis, i64>,
}

impl Words {
    /// True when this spending begins five hours.
    fn is_beginning(&self, moment: UnixMillis) -> bool {
        self.ends.is_none_or(|ends| moment >= ends)
    }

    fn begins(&mut self, moment: UnixMillis) {
        if self.is_beginning(moment) {
            self.ends = Some(ended(moment));
        }
    }

    fn tell(&mut self, rows: &[Lump]) {
        let mut word: Option<((usize, i64), UnixMillis)> = None;
        for (n, row) in rows.iter().enumerate() {
            // A minute in which five hours end: their successors begin with its end, and have all of it.
            let moment = if !self.is_beginning(row.first) && self.is_beginning(row.last) {
                row.last
            } else {
                row.first
            };
            let bucket = self.bucket(moment);
            // The newest moment is known, too.
            let is_last = n + 1 == rows.len();
            let at = match word {
                Some((of, at)) if of == bucket && !is_last && !self.is_beginning(moment) => at,
                _ if is_last => row.last,
                _ => moment,
            };
            self.begins(at);
            word = Some((bucket, at));
            add(&mut self.at, at, row.amount);
        }
    }

    /// The edge before it, and the bucket of the rings: the finer ones where five hours may look.
    fn bucket(&self, moment: UnixMillis) -> (usize, i64) {
        let reach = self.now.0 - FIVE_HOURS_MS - FIVE_HOURS_CELL_MS;
        let width = if moment.0 < reach { DAY_CELL_MS } else { FIVE_HOURS_CELL_MS };
        (self.edges.partition_point(|edge| *edge <= moment), moment.0.div_euclid(width))
    }
}

/// Tells what may be in the last five hours at the beginning of the last ones that are possible, where there are several.
fn gathered(mut rows: Vec<Lump>, lately: UnixMillis, now: UnixMillis) -> Vec<Lump> {
    // From here on all rows are there. Five hours that were under way end somewhere in the next five.
    let known = UnixMillis(lately.0 + MARGIN_MS);
    let from = |moment: UnixMillis| rows.partition_point(|row| row.last < moment);
    let beginning = |n: usize, moment| {
        let row: &Lump = rows.get(n)?;
        Some((n, if row.first < moment { row.last } else { row.first }))
    };
    let first_ones = from(known)..=from(ended(known));
    let first_ones = first_ones.flat_map(|n| [beginning(n, known), beginning(n, UnixMillis(i64::MAX))]);
    let mut beginnings: BTreeSet<(usize, UnixMillis)> = first_ones.flatten().collect();
    // Each step is five hours: a handful.
    loop {
        let onward = |(n, began): &(usize, UnixMillis)| {
            let end = ended(*began);
            beginning(from(end), end).unwrap_or((*n, *began))
        };
        let stepped: BTreeSet<_> = beginnings.iter().map(onward).collect();
        if stepped == beginnings {
            break;
        }
        beginnings = stepped;
    }
    if let (Some((earliest, _)), Some((latest, moment))) =
        (beginnings.first().copied(), beginnings.last().copied())
        && beginnings.len() > 1
        && ended(moment) > now
    {
        for row in &mut rows[earliest..=latest] {
            (row.first, row.last) = (moment, row.last.max(moment));
        }
    }
    rows
}

fn ended(began: UnixMillis) -> UnixMillis {
    UnixMillis(began.0 + FIVE_HOURS_MS)
}

/// In their order, joined where they overlap: those of several keys.
fn apart(mut rows: Vec<Lump>) -> Vec<Lump> {
    rows.sort_unstable();
    let mut apart: Vec<Lump> = Vec::with_capacity(rows.len());
    for row in rows {
        match apart.last_mut() {
            Some(last) if row.first <= last.last => {
                last.last = last.last.max(row.last);
                last.amount = last.amount.saturating_add(row.amount);
            }
            _ => apart.push(row),
        }
    }
    apart
}

fn is_by_first_spend(terms: &Terms) -> bool {
    terms.window(Kind::FiveHours).is_some_and(|window| window.span == Span::FirstSpend)
}

/// From which hour on all rows are read: more than a day, by the margin and the hour.
fn lately(now: UnixMillis) -> UnixMillis {
    UnixMillis(now.0 - DAY_MS - DAY_CELL_MS - MARGIN_MS).hour_start()
}

fn last_before(edges: &[UnixMillis], moment: UnixMillis) -> UnixMillis {
    let after = edges.partition_point(|edge| *edge <= moment);
    after.checked_sub(1).and_then(|n| edges.get(n)).copied().unwrap_or(EVER)
}

fn add(at: &mut BTreeMap<UnixMillis, i64>, moment: UnixMillis, amount: i64) {
    let sum = at.entry(moment).or_default();
    *sum = sum.saturating_add(amount);
}
