//! What one scope has spent, in a form that answers for every window.

use super::MAX_AMOUNT;
use super::window::{DAY_MS, EVER, FIVE_HOURS_MS, Kind, Span, Terms, Window};
use crate::time::UnixMillis;
use std::collections::BTreeMap;

/// Amounts are nano-USD.
///
/// Windows that begin at a moment are sums *since* it, kept from then on. Rolling ones are rings of buckets. The five
/// hours from the first spending on are kept by themselves, because only the spending says when they begin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    sums: BTreeMap<UnixMillis, i64>,
    five_hours: Ring<FIVE_HOURS_CELL_MS>,
    day: Ring<DAY_CELL_MS>,
    first: Option<FirstSpend>,
    /// The newest moment that anything was spent at.
    newest: Option<UnixMillis>,
}

/// Five hours that began with a spending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstSpend {
    /// When they began.
    pub start: UnixMillis,
    /// When the five hours before ended, or these began if that was earlier: nothing before it can belong to these.
    pub not_before: UnixMillis,
    /// What was spent in them.
    pub amount: i64,
}

impl Spent {
    /// What was spent before this account was known, one moment after the other.
    pub fn seed(&mut self, spends: &[(UnixMillis, i64)], terms: &Terms, now: UnixMillis) {
        self.keep_sums(terms, now);
        for (at, amount) in spends {
            self.add(*at, *amount, now);
        }
    }

    /// Adds what was spent at a moment; less than nothing corrects what was too much.
    pub fn add(&mut self, at: UnixMillis, amount: i64, now: UnixMillis) {
        for (_, sum) in self.sums.range_mut(..=at) {
            *sum = plus(*sum, amount);
        }
        self.five_hours.add(at, amount, now, FIVE_HOURS_MS);
        self.day.add(at, amount, now, DAY_MS);
        self.add_to_first(at, amount);
        if amount > 0 {
            self.newest = self.newest.max(Some(at));
        }
    }

    /// What is heard of late may have begun five hours that are over by now: then it belongs to those, and these stay as they are.
    fn add_to_first(&mut self, at: UnixMillis, amount: i64) {
        let newest = self.newest.unwrap_or(at);
        let Some(first) = &mut self.first else {
            if amount > 0 {
                self.first = Some(FirstSpend::opened(at, EVER, amount));
            }
            return;
        };
        // Of requests let in before these hours began; what belongs to the hours before is over.
        if at < first.not_before {
            return;
        }
        if at >= first.end() {
            if amount > 0 {
                *first = FirstSpend::opened(at, first.end(), amount);
            }
            return;
        }
        if at < first.start && amount > 0 {
            let end = UnixMillis(at.0 + FIVE_HOURS_MS);
            if end <= newest {
                first.not_before = end.min(first.start);
                return;
            }
            first.start = at;
        }
        first.amount = plus(first.amount, amount);
    }

    /// Keeps the sums that windows of these terms need, from now on.
    pub fn keep_sums(&mut self, terms: &Terms, now: UnixMillis) {
        let wanted = terms.sums_at(now);
        for start in wanted.into_iter().flatten() {
            if !self.sums.contains_key(&start) {
                self.sums.insert(start, self.since_unkept(start));
            }
        }
        if self.sums.len() > MOST_SUMS {
            let old = UnixMillis(now.0 - DAY_MS);
            self.sums.retain(|start, _| *start >= old || wanted.contains(&Some(*start)));
        }
    }

    /// At most what was spent since a moment of which no sum was kept: exact when nothing was spent since, else that of
    /// the next older sum, and no more than what the buckets of the last day say.
    fn since_unkept(&self, start: UnixMillis) -> i64 {
        if self.newest.is_none_or(|newest| newest < start) {
            return 0;
        }
        // The sum of everything is kept from the first word on.
        let older = self.sums.range(..=start).next_back().map_or(0, |(_, sum)| *sum);
        match self.day.since(start) {
            Some(of_buckets) => older.min(of_buckets),
            None => older,
        }
    }

    /// What counts in a window now.
    pub fn within(&self, window: &Window, now: UnixMillis) -> i64 {
        let since_reset = window.reset_at.filter(|reset_at| *reset_at <= now);
        let of_reset = since_reset.map_or(MAX_AMOUNT, |reset_at| self.since(reset_at));
        let of_span = match window.span {
            Span::Calendar(edges) => self.since(edges.around(now).0),
            Span::Ever => self.since(EVER),
            Span::Rolling(FIVE_HOURS_MS) => self.five_hours.within(now, FIVE_HOURS_MS),
            Span::Rolling(width) => self.day.within(now, width),
            Span::FirstSpend => match &self.first {
                Some(first) if now < first.end() => first.amount,
                _ => 0,
            },
        };
        of_span.min(of_reset)
    }

    fn since(&self, start: UnixMillis) -> i64 {
        self.sums.get(&start).copied().unwrap_or_else(|| self.since_unkept(start))
    }

    /// From when on spending counts in the five hours that a spending begins, also what is heard of late.
    #[cfg(test)]
    pub(super) fn first_counts_from(&self, now: UnixMillis) -> UnixMillis {
        match self.first {
            None => EVER,
            Some(first) if first.end() <= now => first.end(),
            Some(first) => {
                let newest = self.newest.unwrap_or(first.start);
                first.not_before.max(UnixMillis(newest.0 - FIVE_HOURS_MS + 1))
            }
        }
    }

    /// When there is room in a window for what is not there now: `needed` less than what counts. `None`: never by
    /// itself.
    pub fn room_at(&self, window: &Window, surplus: i64, now: UnixMillis) -> Option<UnixMillis> {
        match window.span {
            Span::Calendar(edges) => Some(edges.around(now).1),
            Span::Ever => None,
            Span::Rolling(FIVE_HOURS_MS) => self.five_hours.room_at(surplus, now, FIVE_HOURS_MS),
            Span::Rolling(width) => self.day.room_at(surplus, now, width),
            Span::FirstSpend => self.first.filter(|first| now < first.end()).map(|first| first.end()),
        }
    }

    /// When a window began and ends, where it has such moments.
    pub fn stretch(&self, window: &Window, now: UnixMillis) -> (Option<UnixMillis>, Option<UnixMillis>) {
        let (start, end) = match window.span {
            Span::Calendar(edges) => {
                let (start, end) = edges.around(now);
                (Some(start), Some(end))
            }
            Span::Ever => (None, None),
            Span::Rolling(width) => (Some(UnixMillis(now.0 - width)), None),
            Span::FirstSpend => match self.first.filter(|first| now < first.end()) {
                Some(first) => (Some(first.start), Some(first.end())),
                None => (None, None),
            },
        };
        debug_assert!(window.kind != Kind::Total || end.is_none());
        (start.max(window.reset_at.filter(|reset_at| *reset_at <= now)), end)
    }
}

impl FirstSpend {
    fn opened(start: UnixMillis, not_before: UnixMillis, amount: i64) -> Self {
        Self { start, not_before, amount: plus(0, amount) }
    }

    fn end(&self) -> UnixMillis {
        UnixMillis(self.start.0 + FIVE_HOURS_MS)
    }
}

/// Buckets of `CELL_MS`, by their number since 1970. A bucket counts as long as any of it lies in the window, so that what
/// was spent is never forgotten early.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ring<const CELL_MS: i64> {
    cells: BTreeMap<i64, i64>,
}

impl<const CELL_MS: i64> Ring<CELL_MS> {
    fn add(&mut self, at: UnixMillis, amount: i64, now: UnixMillis, width: i64) {
        let first = Self::first(now, width);
        self.cells = self.cells.split_off(&first);
        let cell = at.0.div_euclid(CELL_MS);
        if cell >= first {
            let kept = self.cells.entry(cell).or_default();
            *kept = plus(*kept, amount);
        }
    }

    /// The first bucket that counts.
    fn first(now: UnixMillis, width: i64) -> i64 {
        (now.0 - width).div_euclid(CELL_MS)
    }

    fn within(&self, now: UnixMillis, width: i64) -> i64 {
        self.cells.range(Self::first(now, width)..).fold(0, |sum, (_, amount)| plus(sum, *amount))
    }

    /// At most what was spent since a moment, where the buckets reach back to it.
    fn since(&self, start: UnixMillis) -> Option<i64> {
        let cell = start.0.div_euclid(CELL_MS);
        let (oldest, _) = self.cells.first_key_value()?;
        // Older ones may have been let go.
        (*oldest < cell).then(|| self.cells.range(cell..).fold(0, |sum, (_, amount)| plus(sum, *amount)))
    }

    fn room_at(&self, surplus: i64, now: UnixMillis, width: i64) -> Option<UnixMillis> {
        let mut gone = 0;
        self.cells.range(Self::first(now, width)..).find_map(|(cell, amount)| {
            gone = plus(gone, *amount);
            (gone >= surplus).then(|| UnixMillis((cell + 1) * CELL_MS + width))
        })
    }
}

/// Amounts are never below nothing, nor above what Lua can count.
pub(super) fn plus(sum: i64, amount: i64) -> i64 {
    sum.saturating_add(amount).clamp(0, MAX_AMOUNT)
}

/// The width of a bucket of the last five hours.
pub(super) const FIVE_HOURS_CELL_MS: i64 = 5 * 60_000;
/// The width of a bucket of the last day.
pub(super) const DAY_CELL_MS: i64 = 15 * 60_000;
/// A week of days, and whatever else is looked at. Then those go that nobody asks for any more.
const MOST_SUMS: usize = 16;
