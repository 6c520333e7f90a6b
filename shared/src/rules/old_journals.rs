//! Which journals of the books an account must know when it is opened.
//!
//! A gateway tells again, under a new epoch, what is above its floor, and whoever adopts a journal tells what is left of it. What of
//! that the ledger had already, the opening has counted: the account must know how far the journal was booked, or a record
//! is charged twice. The admin side cannot know that a journal tells nothing any more: the last word that it hears of one
//! is its last record, whose floor is always below it, and the directory of a gateway that died may lie on its disk for weeks until
//! another one starts there and adopts it. So neither the list of live nodes nor "all of it is booked" is a bound.
//!
//! What bounds it is what a record told twice could do. It counts at the moment of its admission, which was before its journal
//! was last heard of in the books. Where no limited window of the account looks back so far, it changes nothing that anybody is let
//! in or refused by; only a window that looks back for good needs all of them. Who gets another limit while the account is open may then see
//! such a record twice: never less than was spent, and never more than an old directory had left. So the error is on the side that lets
//! nobody through.

use crate::rules::quota::Terms;
use crate::rules::quota::window::{DAY_MS, EVER, FIVE_HOURS_MS, Span};
use crate::time::{HOUR_MS, UnixMillis};

/// The earliest moment that counts in a limited window of these scopes, by the store's clock; `now` if none is limited.
pub fn counts_from<'a>(terms: impl IntoIterator<Item = &'a Terms>, now: UnixMillis) -> UnixMillis {
    let begins = |terms: &'a Terms| {
        terms.windows().map(move |window| {
            let begins = match window.span {
                Span::Calendar(edges) => edges.around(now).0,
                // Rings look back a bucket more than the window is long; a day is more than each of them is.
                Span::Rolling(length_ms) => UnixMillis(now.0 - length_ms - DAY_MS),
                Span::FirstSpend => UnixMillis(now.0 - FIVE_HOURS_MS - DAY_MS),
                Span::Ever => EVER,
            };
            begins.max(window.reset_at.unwrap_or(EVER))
        })
    };
    terms.into_iter().flat_map(begins).min().unwrap_or(now)
}

/// True for a journal whose records may count in an account of which everything from `counts_from` on does. `heard`: when a
/// record of it was last booked, by the clock of whoever booked it.
#[must_use]
pub fn may_count(heard: UnixMillis, counts_from: UnixMillis) -> bool {
    heard.0.saturating_add(CLOCKS_MS) >= counts_from.0
}

/// How far the clocks of those who book and of the store of budgets may be apart.
const CLOCKS_MS: i64 = HOUR_MS;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{JournalId, RequestId};
    use crate::model::{DailyMode, FiveHoursMode, Limits};
    use crate::money::NanoUsd;
    use crate::rules::quota::opening::{Lump, Reading, spends};
    use crate::rules::quota::{Account, Charge, HoldId, Opening, ScopeId, Settle};
    use crate::testing::conformance::journal;
    use crate::time::Zone;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const NOW: UnixMillis = UnixMillis(1_792_900_000_000);

    fn limits() -> impl Strategy<Value = Limits> {
        let some = || prop::option::of(Just(NanoUsd(1_000_000)));
        let reset = prop::option::of(0..90 * DAY_MS);
        (
            some(),
            some(),
            some(),
            some(),
            prop::option::weighted(0.2, Just(NanoUsd(1_000_000))),
            any::<[bool; 2]>(),
            reset,
        )
            .prop_map(
                |(five_hours, daily, weekly, monthly, total, [is_fixed, is_rolling], reset)| Limits {
                    five_hours,
                    five_hours_mode: if is_fixed { FiveHoursMode::Fixed } else { FiveHoursMode::Rolling },
                    daily,
                    daily_mode: if is_rolling { DailyMode::Rolling } else { DailyMode::Fixed },
                    weekly,
                    monthly,
                    total,
                    reset_at: reset.map(|back| UnixMillis(NOW.0 - back)),
                    ..Limits::default()
                },
            )
    }

    proptest! {
        /// All that was booked is told again, by journals that were each heard of when their last record was booked.
        #[test]
        fn what_is_told_twice_changes_no_window_of_an_account_that_does_not_know_its_journal(
            limits in limits(),
            backs in prop::collection::vec((0..90 * DAY_MS, 0_i64..30 * 60_000, 1_i64..1_000), 1..20),
        ) {
            let terms = Terms::of(&limits, &Zone::default(), NOW);
            let from = counts_from([&terms], NOW);
            let reading = Reading::of([&terms], NOW);
            let (mut sums, mut rows) = (Vec::new(), Vec::new());
            let mut told = Vec::new();
            let mut journals: BTreeMap<JournalId, u64> = BTreeMap::new();
            let mut known = journals.clone();
            for (n, (back, later, amount)) in (1_u8..).zip(backs) {
                let at = UnixMillis(NOW.0 - back);
                let lump = |at| Lump { first: at, last: at, amount };
                match reading.sum_at(at) {
                    Some(counts) => sums.push(lump(counts)),
                    None => rows.push(lump(at)),
                }
                let charge = Charge {
                    seq: 1,
                    hold: HoldId(RequestId::from_bytes([n; 16]), 0),
                    cost: NanoUsd(amount),
                    at,
                    is_interrupted: false,
                    from: None,
                    scopes: vec![(ScopeId::Owner, terms.clone())],
                };
                told.push(Settle { journal: journal(n), charges: vec![charge], backs: Vec::new() });
                journals.insert(journal(n), 1);
                if may_count(UnixMillis(at.0 + later), from) {
                    known.insert(journal(n), 1);
                }
            }
            let spends = vec![spends(ScopeId::Owner, terms.clone(), &sums, &rows, NOW)];
            let windows = |journals| {
                let opening = Opening { spends: spends.clone(), journals, interrupted: Vec::new() };
                let mut account = Account::opened(1, &opening, NOW);
                for settle in &told {
                    assert!(account.settle(settle, 1, NOW));
                }
                account.standing(&[(ScopeId::Owner, terms.clone())], NOW)
            };
            prop_assert_eq!(windows(known), windows(journals));
        }
    }

    #[test]
    fn a_window_for_good_needs_all_journals_and_one_that_was_reset_those_since() {
        let of = |limits: &Limits| counts_from([&Terms::of(limits, &Zone::default(), NOW)], NOW);
        let weekly = Limits { weekly: Some(NanoUsd(1)), ..Limits::default() };
        let total = Limits { total: Some(NanoUsd(1)), ..weekly.clone() };
        let reset_at = UnixMillis(NOW.0 - 40 * DAY_MS);
        assert!(of(&weekly).0 > NOW.0 - 8 * DAY_MS);
        assert!(may_count(UnixMillis(NOW.0 - 90 * DAY_MS), of(&total)));
        let reset = Limits { reset_at: Some(reset_at), ..total };
        assert!(may_count(reset_at, of(&reset)));
        assert!(!may_count(UnixMillis(reset_at.0 - 2 * HOUR_MS), of(&reset)));
        // Of several scopes the one that looks back farthest.
        let both = [&weekly, &reset].map(|limits| Terms::of(limits, &Zone::default(), NOW));
        assert_eq!(counts_from(&both, NOW), reset_at);
        assert_eq!(counts_from([], NOW), NOW);
    }
}
