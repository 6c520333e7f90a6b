//! Which days have sums of their own beside those by hour, and which of both answer a question.
//!
//! A day is the configured zone's, in whole hours: a question about days of that zone is answered by sums of days alone.
//! A day is summed an hour after its end; one whose hours change afterwards is left to its hours until it is summed again.
//! Hours are always right, so a question may always be answered by them: days only make it quicker. Knows nothing of
//! what is summed.

use crate::time::{HOUR_MS, UnixMillis};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use std::collections::BTreeSet;

/// Hours from `start` on and before `end`; both begin an hour (UTC).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The first hour.
    pub start: UnixMillis,
    /// The hour after the last.
    pub end: UnixMillis,
}

/// The days that should have sums by `now` and have none, newest first. `oldest`: the first hour that was used; a day
/// without use in between counts, so that days stay neighbours.
#[must_use]
pub fn due(zone: &TimeZone, now: UnixMillis, oldest: UnixMillis, summed: &BTreeSet<Span>) -> Vec<Span> {
    let oldest = oldest.max(FIRST);
    let mut due = Vec::new();
    let Some(mut date) = date_of(zone, now) else { return due };
    while let Some(day) = day(zone, date).filter(|day| day.end > oldest) {
        if day.end.0.saturating_add(SETTLE_MS) <= now.0 && !summed.contains(&day) {
            due.push(day);
        }
        let Ok(before) = date.yesterday() else { break };
        date = before;
    }
    due
}

/// What answers a question: together all its hours, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// Days that have sums, neighbours joined; few ([`MOST_RUNS`]).
    pub days: Vec<Span>,
    /// The hours between them.
    pub hours: Vec<Span>,
}

/// What answers a question about the hours from each of these moments, in their order, to the next. Of the days that
/// are summed those help that lie within one of these parts.
#[must_use]
pub fn sources(bounds: &[UnixMillis], summed: &BTreeSet<Span>) -> Sources {
    let bounds: Vec<UnixMillis> = bounds.iter().copied().map(hour_from).collect();
    let (Some(&start), Some(&end)) = (bounds.first(), bounds.last()) else { return Sources::default() };
    let is_within_one = |day: &&Span| {
        let part = bounds.partition_point(|bound| *bound <= day.start);
        part > 0 && bounds.get(part).is_some_and(|next| day.end <= *next)
    };
    let mut days: Vec<Span> = Vec::new();
    let from = Span { start, end: start };
    let until_end = summed.range(from..).take_while(|day| day.start < end);
    for day in until_end.filter(is_within_one) {
        match days.last_mut() {
            Some(run) if run.end == day.start => run.end = day.end,
            _ => days.push(*day),
        }
    }
    if days.len() > MOST_RUNS {
        days.sort_by_key(|run| run.start.0 - run.end.0);
        days.truncate(MOST_RUNS);
        days.sort();
    }
    let mut hours = Vec::new();
    let mut at = start;
    for run in &days {
        hours.push(Span { start: at, end: run.start });
        at = run.end;
    }
    hours.push(Span { start: at, end });
    hours.retain(|span| span.start < span.end);
    Sources { days, hours }
}

fn day(zone: &TimeZone, date: Date) -> Option<Span> {
    let next = date.tomorrow().ok()?;
    Some(Span { start: hour_from(midnight(zone, date)?), end: hour_from(midnight(zone, next)?) })
}

/// When a day begins: an hour later where a change of clocks has no midnight.
fn midnight(zone: &TimeZone, date: Date) -> Option<UnixMillis> {
    date.to_zoned(zone.clone()).ok().map(|zoned| UnixMillis(zoned.timestamp().as_millisecond()))
}

fn date_of(zone: &TimeZone, at: UnixMillis) -> Option<Date> {
    Timestamp::from_millisecond(at.0).ok().map(|at| at.to_zoned(zone.clone()).date())
}

/// The first hour that does not begin before `at`. Zones whose days begin within an hour (India's) begin with it.
fn hour_from(at: UnixMillis) -> UnixMillis {
    let begun = at.hour_start();
    if begun == at { at } else { UnixMillis(begun.0.saturating_add(HOUR_MS)) }
}

/// What a clock that was never set has dated before 2020 is left to its hours.
const FIRST: UnixMillis = UnixMillis(1_577_836_800_000);
/// Requests are dated by their beginning: those around midnight are booked by then.
const SETTLE_MS: i64 = HOUR_MS;
/// Each is a condition of a statement. Where days that changed leave more, the longest are taken.
const MOST_RUNS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> UnixMillis {
        UnixMillis::parse_rfc3339(text).unwrap()
    }

    fn span(start: &str, end: &str) -> Span {
        Span { start: at(start), end: at(end) }
    }

    fn zone(posix: &str) -> TimeZone {
        TimeZone::posix(posix).unwrap()
    }

    const BERLIN: &str = "CET-1CEST,M3.5.0,M10.5.0/3";
    /// Clocks go from midnight to one on a Sunday in March.
    const BEIRUT: &str = "EET-2EEST,M3.5.0/0,M10.5.0/0";
    const INDIA: &str = "IST-5:30";

    #[test]
    fn a_day_is_due_an_hour_after_its_end_and_once() {
        let (utc, oldest) = (TimeZone::UTC, at("2026-11-23T17:00:00Z"));
        let due_at = |now: &str, summed: &BTreeSet<Span>| due(&utc, at(now), oldest, summed);
        let days = [
            span("2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z"),
            span("2026-11-23T00:00:00Z", "2026-11-24T00:00:00Z"),
        ];
        assert_eq!(due_at("2026-11-25T00:59:59.999Z", &BTreeSet::new()), days[1..]);
        assert_eq!(due_at("2026-11-25T01:00:00Z", &BTreeSet::new()), days);
        assert_eq!(due_at("2026-11-25T01:00:00Z", &BTreeSet::from([days[0]])), days[1..]);
        assert_eq!(due_at("2026-11-25T01:00:00Z", &days.into()), []);
        // Another zone's day is not this day.
        let shifted = span("2026-11-23T23:00:00Z", "2026-11-24T23:00:00Z");
        assert_eq!(due_at("2026-11-25T01:00:00Z", &BTreeSet::from([shifted])), days);
    }

    #[test]
    fn days_follow_the_clocks_of_the_zone_and_leave_no_hour_out() {
        for (name, long, short) in [(BERLIN, 25, 23), (BEIRUT, 25, 23), (INDIA, 24, 24), ("UTC0", 24, 24)] {
            let oldest = at("2026-01-01T00:00:00Z");
            let days = due(&zone(name), at("2027-01-01T00:00:00Z"), oldest, &BTreeSet::new());
            let hours = |day: &Span| (day.end.0 - day.start.0) / HOUR_MS;
            assert_eq!(days.iter().map(hours).max(), Some(long), "{name}");
            assert_eq!(days.iter().map(hours).min(), Some(short), "{name}");
            assert!(days.windows(2).all(|pair| pair[1].end == pair[0].start), "{name}");
            assert!(days.last().is_some_and(|day| day.start <= oldest), "{name}");
        }
        let first =
            due(&zone(INDIA), at("2026-11-25T20:00:00Z"), at("2026-11-25T00:00:00Z"), &BTreeSet::new());
        assert_eq!(first, [span("2026-11-24T19:00:00Z", "2026-11-25T19:00:00Z")]);
    }

    #[test]
    fn a_clock_that_was_never_set_makes_no_days() {
        let days = due(&TimeZone::UTC, at("2020-01-03T01:00:00Z"), UnixMillis(0), &BTreeSet::new());
        assert_eq!(days.len(), 2);
        assert_eq!(due(&TimeZone::UTC, UnixMillis(0), UnixMillis(0), &BTreeSet::new()), []);
        assert_eq!(due(&TimeZone::UTC, UnixMillis(i64::MAX), UnixMillis(0), &BTreeSet::new()), []);
    }

    #[test]
    fn whole_days_are_answered_by_days_and_the_rest_by_hours() {
        let utc = TimeZone::UTC;
        let days = due(&utc, at("2026-11-25T12:00:00Z"), at("2026-10-01T00:00:00Z"), &BTreeSet::new());
        let summed: BTreeSet<Span> = days.into_iter().collect();
        let bounds = [at("2026-11-20T10:30:00Z"), at("2026-11-25T12:00:00Z")];
        let Sources { days, hours } = sources(&bounds, &summed);
        assert_eq!(days, [span("2026-11-21T00:00:00Z", "2026-11-25T00:00:00Z")]);
        assert_eq!(
            hours,
            [
                span("2026-11-20T11:00:00Z", "2026-11-21T00:00:00Z"),
                span("2026-11-25T00:00:00Z", "2026-11-25T12:00:00Z")
            ]
        );
        // Parts that cut every day in two.
        let noons: Vec<_> =
            (20..=25).map(|day| UnixMillis(at(&format!("2026-11-{day}T12:00:00Z")).0)).collect();
        assert_eq!(sources(&noons, &summed).days, []);
        for bounds in [vec![], vec![at("2026-11-20T10:00:00Z")], vec![at("2026-11-20T10:00:00Z"); 2]] {
            assert_eq!(sources(&bounds, &summed), Sources::default());
        }
    }

    #[test]
    fn many_changed_days_make_no_long_statement() {
        let utc = TimeZone::UTC;
        let days = due(&utc, at("2026-11-25T12:00:00Z"), at("2025-10-01T00:00:00Z"), &BTreeSet::new());
        let summed: BTreeSet<Span> = days.into_iter().step_by(2).collect();
        let Sources { days, hours } =
            sources(&[at("2025-10-01T00:00:00Z"), at("2026-11-25T00:00:00Z")], &summed);
        assert_eq!((days.len(), hours.len() <= MOST_RUNS + 1), (MOST_RUNS, true));
    }

    proptest! {
        #[test]
        fn every_hour_is_answered_once_and_no_day_crosses_a_bound(
            name in prop::sample::select(vec![BERLIN, BEIRUT, INDIA, "UTC0", "<+14>-14"]),
            kept in prop::collection::vec(any::<bool>(), 90),
            mut bounds in prop::collection::vec(0..(100 * 24 * 4_i64), 2..9),
        ) {
            let origin = at("2026-02-20T00:00:00Z");
            let zone = zone(name);
            let days = due(&zone, at("2026-06-01T00:00:00Z"), origin, &BTreeSet::new());
            let summed: BTreeSet<Span> = days.into_iter().zip(kept).filter(|(_, kept)| *kept).map(|(day, _)| day).collect();
            bounds.sort_unstable();
            let bounds: Vec<_> = bounds.iter().map(|quarter| UnixMillis(origin.0 + quarter * HOUR_MS / 4)).collect();
            let Sources { days, hours } = sources(&bounds, &summed);
            let holds = |spans: &[Span], hour: UnixMillis| spans.iter().filter(|s| s.start <= hour && hour < s.end).count();
            let mut hour = UnixMillis(origin.0 - 3 * HOUR_MS);
            while hour.0 < origin.0 + 101 * 24 * HOUR_MS {
                let is_asked = hour >= bounds[0] && hour < bounds[bounds.len() - 1];
                prop_assert_eq!(holds(&days, hour) + holds(&hours, hour), usize::from(is_asked));
                if holds(&days, hour) > 0 {
                    let day: Vec<_> = summed.iter().filter(|day| day.start <= hour && hour < day.end).collect();
                    prop_assert_eq!(day.len(), 1);
                    let part = |at: UnixMillis| bounds.partition_point(|bound| *bound <= at);
                    prop_assert_eq!(part(day[0].start), part(UnixMillis(day[0].end.0 - HOUR_MS)));
                }
                hour = UnixMillis(hour.0 + HOUR_MS);
            }
        }
    }
}
