//! How the request log is cut into days, which days are made ahead, and which are past keeping.
//!
//! A day is UTC's. A moment before 2020 or after 2099 (a clock that was never set, or is far ahead) belongs to one of
//! two parts that are always there, so that wrong clocks cannot make any number of days.

use crate::time::UnixMillis;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// A part of the request log: a table of its own on Postgres. Sorts by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogPart {
    /// All before 2020.
    Before,
    /// One day: the days since 1970-01-01.
    Day(i64),
    /// All from 2100 on.
    After,
}

impl LogPart {
    /// The part that holds this moment.
    #[must_use]
    pub fn of(at: UnixMillis) -> Self {
        match at.0.div_euclid(DAY_MS) {
            day if day < FIRST_DAY => Self::Before,
            day if day > LAST_DAY => Self::After,
            day => Self::Day(day),
        }
    }

    /// From this moment on, and before that one; `None`: without bound.
    #[must_use]
    pub fn bounds(self) -> (Option<UnixMillis>, Option<UnixMillis>) {
        match self {
            Self::Before => (None, Some(day_start(FIRST_DAY))),
            Self::Day(day) => (Some(day_start(day)), Some(day_start(day + 1))),
            Self::After => (Some(day_start(LAST_DAY + 1)), None),
        }
    }

    /// Its name after the log's: `before`, `20261125`, `after`.
    #[must_use]
    pub fn suffix(self) -> String {
        match self {
            Self::Before => "before".to_owned(),
            Self::Day(day) => {
                let start = Timestamp::from_millisecond(day_start(day).0).unwrap_or_default();
                start.strftime("%Y%m%d").to_string()
            }
            Self::After => "after".to_owned(),
        }
    }

    /// The part of this name.
    #[must_use]
    pub fn by_suffix(suffix: &str) -> Option<Self> {
        match suffix {
            "before" => Some(Self::Before),
            "after" => Some(Self::After),
            digits => {
                let start = Date::strptime("%Y%m%d", digits).ok()?.to_zoned(TimeZone::UTC).ok()?;
                let part = Self::of(UnixMillis(start.timestamp().as_millisecond()));
                // Only as we write it: not `2026115`.
                (part.suffix() == digits).then_some(part)
            }
        }
    }
}

/// Today and the days after it that are there before their first request comes: a week, so that nobody has to watch
/// the job that makes them.
pub fn made_ahead(now: UnixMillis) -> impl Iterator<Item = LogPart> {
    (0..=DAYS_AHEAD).map(move |days| LogPart::of(UnixMillis(now.0.saturating_add(days * DAY_MS))))
}

/// From which moment on requests stay in the log: today and so many whole days before it; `None`: all stay.
#[must_use]
pub fn kept_from(now: UnixMillis, retention_days: u16) -> Option<UnixMillis> {
    let days = i64::from(retention_days);
    (days > 0).then(|| day_start(now.0.div_euclid(DAY_MS) - days))
}

/// True when a day lies wholly before what is kept. The two parts without a day are never dropped.
#[must_use]
pub fn is_past(part: LogPart, kept_from: UnixMillis) -> bool {
    match part {
        LogPart::Day(day) => day_start(day + 1) <= kept_from,
        LogPart::Before | LogPart::After => false,
    }
}

fn day_start(day: i64) -> UnixMillis {
    UnixMillis(day.saturating_mul(DAY_MS))
}

const DAY_MS: i64 = 86_400_000;
/// 2020-01-01
const FIRST_DAY: i64 = 18_262;
/// 2099-12-31
const LAST_DAY: i64 = 47_481;
const DAYS_AHEAD: i64 = 7;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> UnixMillis {
        UnixMillis::parse_rfc3339(text).unwrap()
    }

    #[test]
    fn a_moment_is_within_the_bounds_of_its_part_alone() {
        for (text, suffix) in [
            ("1969-12-31T23:59:59.999Z", "before"),
            ("1970-01-01T00:00:00Z", "before"),
            ("2019-12-31T23:59:59.999Z", "before"),
            ("2020-01-01T00:00:00Z", "20200101"),
            ("2026-11-25T23:59:59.999Z", "20261125"),
            ("2026-11-26T00:30:00+01:00", "20261125"),
            ("2099-12-31T23:59:59.999Z", "20991231"),
            ("2100-01-01T00:00:00Z", "after"),
        ] {
            let part = LogPart::of(at(text));
            assert_eq!(part.suffix(), suffix, "{text}");
            assert_eq!(LogPart::by_suffix(suffix), Some(part));
            let (from, to) = part.bounds();
            assert!(from.is_none_or(|from| from <= at(text)) && to.is_none_or(|to| at(text) < to), "{text}");
        }
        assert_eq!(LogPart::of(UnixMillis(i64::MIN)), LogPart::Before);
        assert_eq!(LogPart::of(UnixMillis(i64::MAX)), LogPart::After);
    }

    #[test]
    fn only_our_own_names_are_parts() {
        for name in ["", "whole", "2026112", "202611250", "20261325", "20190101", "20261125_old", "+2026125"]
        {
            assert_eq!(LogPart::by_suffix(name), None, "{name}");
        }
    }

    #[test]
    fn today_and_a_week_are_made_ahead() {
        let parts: Vec<String> = made_ahead(at("2026-12-28T12:00:00Z")).map(LogPart::suffix).collect();
        let expected =
            ["20261228", "20261229", "20261230", "20261231", "20270101", "20270102", "20270103", "20270104"];
        assert_eq!(parts, expected);
    }

    #[test]
    fn today_and_as_many_whole_days_as_are_wanted_stay() {
        let now = at("2026-11-25T15:00:00Z");
        let kept = kept_from(now, 2).unwrap();
        assert_eq!(kept, at("2026-11-23T00:00:00Z"));
        assert!(is_past(LogPart::of(at("2026-11-22T23:59:59Z")), kept));
        assert!(!is_past(LogPart::of(kept), kept));
        assert!(!is_past(LogPart::Before, kept) && !is_past(LogPart::After, kept));
        assert_eq!(kept_from(now, 0), None);
    }
}
