//! When a provider is used: a span of the day, by the clock of the configured zone.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A daily span [start, end) of wall-clock minutes. One that ends before it starts crosses midnight. On the day that
/// summer time begins the minutes left out are in no span; on the day it ends a minute shown twice counts twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ActiveTimeDoc", into = "ActiveTimeDoc")]
pub struct ActiveTime {
    start: u16,
    end: u16,
}

/// Why two texts are no span of the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ActiveTimeError {
    /// The start is no time of the day.
    #[error("must be a time from 00:00 to 23:59, such as 08:30")]
    BadStart,
    /// The end is no time of the day.
    #[error("must be a time from 00:00 to 23:59, such as 08:30")]
    BadEnd,
    /// They are the same.
    #[error("must differ from active_time_start: leave both out for the whole day")]
    Empty,
}

impl ActiveTime {
    /// Reads `HH:MM` twice.
    pub fn parse(start: &str, end: &str) -> Result<Self, ActiveTimeError> {
        let start = parse_minute(start).ok_or(ActiveTimeError::BadStart)?;
        let end = parse_minute(end).ok_or(ActiveTimeError::BadEnd)?;
        if start == end {
            return Err(ActiveTimeError::Empty);
        }
        Ok(Self { start, end })
    }

    /// True at this minute of the day, 0 to 1439.
    #[must_use]
    pub fn contains(self, minute: u16) -> bool {
        if self.start < self.end {
            (self.start..self.end).contains(&minute)
        } else {
            minute >= self.start || minute < self.end
        }
    }

    /// When it starts, `HH:MM`.
    #[must_use]
    pub fn start(self) -> String {
        text(self.start)
    }

    /// When it ends, `HH:MM`; that minute is not in it.
    #[must_use]
    pub fn end(self) -> String {
        text(self.end)
    }
}

#[derive(Serialize, Deserialize)]
struct ActiveTimeDoc {
    start: String,
    end: String,
}

impl TryFrom<ActiveTimeDoc> for ActiveTime {
    type Error = ActiveTimeError;

    fn try_from(doc: ActiveTimeDoc) -> Result<Self, ActiveTimeError> {
        Self::parse(&doc.start, &doc.end)
    }
}

impl From<ActiveTime> for ActiveTimeDoc {
    fn from(span: ActiveTime) -> Self {
        Self { start: span.start(), end: span.end() }
    }
}

pub(super) fn parse_minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let number = |digits: &str, below: u16| {
        let is_plain = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit());
        digits.parse::<u16>().ok().filter(|n| is_plain && *n < below)
    };
    Some(number(hour, 24)? * 60 + number(minute, 60)?)
}

pub(super) fn text(minute: u16) -> String {
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{UnixMillis, Zone};
    use proptest::prelude::*;

    fn is_active(start: &str, end: &str, moment: &str) -> bool {
        let berlin = Zone::parse("Europe/Berlin").unwrap();
        let minute = berlin.minute_of_day(UnixMillis::parse_rfc3339(moment).unwrap());
        ActiveTime::parse(start, end).unwrap().contains(minute)
    }

    #[test]
    fn a_span_has_its_first_minute_and_not_its_last() {
        for (start, end, moment, active) in [
            ("08:00", "18:00", "2026-11-23T07:59:59+01:00", false),
            ("08:00", "18:00", "2026-11-23T08:00:00+01:00", true),
            ("08:00", "18:00", "2026-11-23T17:59:59+01:00", true),
            ("08:00", "18:00", "2026-11-23T18:00:00+01:00", false),
            ("22:00", "06:00", "2026-11-23T21:59:00+01:00", false),
            ("22:00", "06:00", "2026-11-23T22:00:00+01:00", true),
            ("22:00", "06:00", "2026-11-24T00:00:00+01:00", true),
            ("22:00", "06:00", "2026-11-24T06:00:00+01:00", false),
            ("23:59", "00:00", "2026-11-23T23:59:59+01:00", true),
            ("00:00", "23:59", "2026-11-23T23:59:00+01:00", false),
        ] {
            assert_eq!(is_active(start, end, moment), active, "{start} to {end} at {moment}");
        }
    }

    #[test]
    fn a_span_follows_the_clocks_over_both_changes_of_summer_time() {
        // 29 March 2026: 02:00 to 03:00 does not exist; a span in it is never active that day, one around it is.
        for minute in 0..60 {
            let moment = format!("2026-03-29T{:02}:{minute:02}:00Z", 1);
            assert!(!is_active("02:00", "03:00", &moment));
            assert!(is_active("01:30", "04:00", &moment));
        }
        assert!(is_active("01:30", "02:30", "2026-03-29T00:45:00Z"));
        assert!(!is_active("01:30", "02:30", "2026-03-29T01:00:00Z"), "the clock went from 01:59 to 03:00");
        // 25 October 2026: 02:00 to 03:00 comes twice, and is active twice.
        assert!(is_active("02:15", "02:45", "2026-10-25T00:30:00Z"));
        assert!(!is_active("02:15", "02:45", "2026-10-25T00:50:00Z"));
        assert!(is_active("02:15", "02:45", "2026-10-25T01:30:00Z"));
        assert!(!is_active("02:15", "02:45", "2026-10-25T01:45:00Z"));
    }

    #[test]
    fn what_is_no_span_is_refused() {
        for bad in ["", "8:00", "24:00", "12:60", "12", "12:000", "+1:00", "12:00:00", "１2:00"] {
            assert_eq!(ActiveTime::parse(bad, "09:00"), Err(ActiveTimeError::BadStart), "{bad}");
            assert_eq!(ActiveTime::parse("09:00", bad), Err(ActiveTimeError::BadEnd), "{bad}");
        }
        assert_eq!(ActiveTime::parse("09:00", "09:00"), Err(ActiveTimeError::Empty));
        assert!(serde_json::from_str::<ActiveTime>(r#"{"start":"09:00","end":"09:00"}"#).is_err());
    }

    proptest! {
        #[test]
        fn a_span_and_its_reverse_share_the_day(start in 0_u16..1_440, end in 0_u16..1_440, minute in 0_u16..1_440) {
            prop_assume!(start != end);
            let span = ActiveTime { start, end };
            let reverse = ActiveTime { start: end, end: start };
            prop_assert_ne!(span.contains(minute), reverse.contains(minute));
            prop_assert_eq!(ActiveTime::parse(&span.start(), &span.end()), Ok(span));
            let json = serde_json::to_string(&span).unwrap();
            prop_assert_eq!(serde_json::from_str::<ActiveTime>(&json).unwrap(), span);
        }
    }
}
