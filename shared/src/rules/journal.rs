//! How the records of a journal go on: what of a batch the stream takes, and how far a journal is in the books.
//!
//! A journal numbers its records 1, 2, 3 …. The stream takes them in that order; the books get them in any, several
//! times even, because a record that is not known to be booked is sent again. Invariants: nothing is taken past a gap;
//! `taken ≥ watermark ≥ floor`; a watermark only covers numbers that were all booked, or that the journal itself was
//! told are.

use crate::ports::Progress;
use std::collections::BTreeMap;
use std::ops::Range;

/// What of a batch the stream takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intake {
    /// Which of its records, counted from 0.
    pub records: Range<usize>,
    /// How far the journal is after that.
    pub progress: Progress,
}

/// Decides on a batch that begins with the number `first` and has `count` records. `known` is `None` when the stream
/// has nothing of this journal, or cannot vouch for what it knows. `bound` is how many may wait at a time.
///
/// `contract/lua/usage_append_v2.lua` does the same.
#[must_use]
pub fn intake(known: Option<Progress>, floor: u64, first: u64, count: usize, bound: u64) -> Intake {
    let known = known.unwrap_or_default();
    let watermark = known.watermark.max(floor);
    let taken = known.taken.max(watermark);
    let progress = Progress { taken, watermark };
    let next = taken.saturating_add(1);
    if first > next {
        return Intake { records: 0..0, progress };
    }
    let passed_over = usize::try_from(next - first).unwrap_or(usize::MAX).min(count);
    let room = usize::try_from(bound.saturating_sub(taken - watermark)).unwrap_or(usize::MAX);
    let fresh = (count - passed_over).min(room);
    let taken = taken.saturating_add(fresh as u64);
    Intake { records: passed_over..passed_over + fresh, progress: Progress { taken, watermark } }
}

/// Which numbers of a journal are in the books: ranges that neither overlap nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// Adds the numbers from `first` to `last`, both included. Nothing when there is none between them.
    pub fn add(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        let (mut first, mut last) = (first, last);
        // Whatever begins before the new end (or right behind it) and does not end before the new start.
        let reach = last.saturating_add(1);
        while let Some((&start, &end)) = self.0.range(..=reach).next_back() {
            if end.saturating_add(1) < first {
                break;
            }
            self.0.remove(&start);
            first = first.min(start);
            last = last.max(end);
        }
        self.0.insert(first, last);
    }

    /// True when this number is in one of them.
    #[must_use]
    pub fn contains(&self, number: u64) -> bool {
        self.0.range(..=number).next_back().is_some_and(|(_, last)| *last >= number)
    }

    /// All numbers from 1 up to this one are there; 0 = not even the first.
    #[must_use]
    pub fn watermark(&self) -> u64 {
        self.0.first_key_value().filter(|(first, _)| **first <= 1).map_or(0, |(_, last)| *last)
    }

    /// True when there are numbers above the watermark.
    #[must_use]
    pub fn is_ahead(&self) -> bool {
        self.0.last_key_value().is_some_and(|(_, last)| *last > self.watermark())
    }

    /// First and last number of each, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().map(|(first, last)| (*first, *last))
    }
}

impl FromIterator<(u64, u64)> for Ranges {
    fn from_iter<T: IntoIterator<Item = (u64, u64)>>(ranges: T) -> Self {
        let mut all = Self::default();
        for (first, last) in ranges {
            all.add(first, last);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn progress(taken: u64, watermark: u64) -> Progress {
        Progress { taken, watermark }
    }

    #[test]
    fn a_batch_is_taken_where_the_stream_is() {
        // known, floor, first, count → which of its records, taken, watermark
        for (known, floor, first, count, records, taken, watermark) in [
            (None, 0, 1, 3, 0..3, 3, 0),
            // From the floor on, whatever was before.
            (None, 7, 8, 2, 0..2, 9, 7),
            (Some((5, 3)), 3, 6, 2, 0..2, 7, 3),
            // It has the first two already.
            (Some((5, 3)), 3, 4, 3, 2..3, 6, 3),
            (Some((5, 3)), 3, 4, 2, 2..2, 5, 3),
            (Some((5, 3)), 3, 2, 1, 1..1, 5, 3),
            // A gap: it lost something, or never had it.
            (Some((5, 3)), 3, 7, 2, 0..0, 5, 3),
            (None, 0, 2, 1, 0..0, 0, 0),
            // The journal was told more than the stream remembers.
            (Some((5, 3)), 9, 10, 1, 0..1, 10, 9),
            (Some((5, 3)), 4, 6, 1, 0..1, 6, 4),
            // Room for 4.
            (Some((5, 3)), 3, 6, 9, 0..2, 7, 3),
            (Some((7, 3)), 3, 8, 1, 0..0, 7, 3),
            // Only asks.
            (Some((5, 3)), 0, 6, 0, 0..0, 5, 3),
        ] {
            let known = known.map(|(taken, watermark)| progress(taken, watermark));
            let expected = Intake { records, progress: progress(taken, watermark) };
            assert_eq!(intake(known, floor, first, count, 4), expected, "{known:?} {floor} {first} {count}");
        }
    }

    proptest! {
        /// A sender that goes by the answers brings everything, in order, whatever is lost in between.
        #[test]
        fn what_is_taken_follows_on(
            steps in proptest::collection::vec((0u64..12, 0usize..6, any::<bool>(), 0u64..4), 1..60)
        ) {
            let (mut known, mut floor, mut stream) = (None::<Progress>, 0, Vec::new());
            for (first, count, is_lost, booked) in steps {
                if is_lost {
                    (known, stream) = (None, Vec::new());
                }
                let before = known;
                let first = floor + first;
                let taken = intake(known, floor, first, count, 5);
                let next = before.unwrap_or_default().taken.max(floor) + 1;
                stream.extend(taken.records.clone().map(|n| first + n as u64));
                prop_assert!(taken.progress.taken >= taken.progress.watermark);
                prop_assert!(taken.progress.taken - taken.progress.watermark <= 5);
                prop_assert_eq!(taken.progress.taken + 1 - next, taken.records.len() as u64);
                let tail = stream.iter().rev().take(taken.records.len()).rev();
                prop_assert!(tail.copied().eq(next..=taken.progress.taken));
                // Some of the oldest are booked.
                let watermark = (taken.progress.watermark + booked).min(taken.progress.taken);
                known = Some(progress(taken.progress.taken, watermark));
                floor = floor.max(watermark);
            }
        }

        #[test]
        fn ranges_are_the_set_of_their_numbers(
            added in proptest::collection::vec((0u64..40, 0u64..8), 0..30)
        ) {
            let mut numbers = BTreeSet::new();
            let mut ranges = Ranges::default();
            for (first, more) in added {
                numbers.extend(first..=first + more);
                ranges.add(first, first + more);
            }
            for number in 0..60 {
                prop_assert_eq!(ranges.contains(number), numbers.contains(&number), "{}", number);
            }
            let kept: Vec<_> = ranges.iter().collect();
            prop_assert!(kept.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "{:?}", kept);
            let watermark = (1..).take_while(|number| numbers.contains(number)).last().unwrap_or(0);
            prop_assert_eq!(ranges.watermark(), watermark);
            prop_assert_eq!(ranges.is_ahead(), numbers.iter().any(|number| *number > watermark));
            prop_assert_eq!(kept.into_iter().collect::<Ranges>(), ranges);
        }
    }

    #[test]
    fn nothing_is_added_by_an_empty_range_and_the_largest_numbers_hold() {
        let mut ranges = Ranges::default();
        ranges.add(1, 0);
        assert_eq!((ranges.watermark(), ranges.iter().count()), (0, 0));
        ranges.add(u64::MAX, u64::MAX);
        ranges.add(1, u64::MAX - 1);
        assert_eq!(ranges.iter().collect::<Vec<_>>(), [(1, u64::MAX)]);
    }
}
