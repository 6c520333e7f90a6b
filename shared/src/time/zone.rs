//! The zone whose clock schedules and windows go by.

use super::UnixMillis;
use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::LazyLock;

/// An IANA time zone such as `Europe/Berlin`. All processes take its rules from the same table, which is part of the
/// release: what a machine has installed makes no difference.
///
/// A name that this release does not know is kept, so that it is passed on as it came, and its clock is UTC's.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Zone {
    name: String,
    rules: Option<TimeZone>,
}

impl Zone {
    /// The zone of this name, in whatever case; `None` when there is none.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let rules = ZONES.get(name).ok()?;
        Some(Self { name: rules.iana_name()?.to_owned(), rules: Some(rules) })
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// False when this release does not know the name, so that UTC's clock is used.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.rules.is_some()
    }

    /// Its rules; those of UTC where the name is not known.
    #[must_use]
    pub fn rules(&self) -> TimeZone {
        self.rules.clone().unwrap_or(TimeZone::UTC)
    }

    /// Minutes since midnight that the zone's clocks show at a moment: 0 to 1439. A minute that a clock shows twice,
    /// where summer time ends, is the same number twice.
    #[must_use]
    pub fn minute_of_day(&self, at: UnixMillis) -> u16 {
        let rules = self.rules();
        // Moments of the year 10000 and later have no clock; nothing comes from there.
        let clock =
            Timestamp::from_millisecond(at.0).map(|moment| rules.to_datetime(moment)).unwrap_or_default();
        u16::from(clock.hour().unsigned_abs()) * 60 + u16::from(clock.minute().unsigned_abs())
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self { name: "UTC".to_owned(), rules: Some(TimeZone::UTC) }
    }
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Zone {}

impl From<String> for Zone {
    fn from(name: String) -> Self {
        Self::parse(&name).unwrap_or(Self { name, rules: None })
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> Self {
        zone.name
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(zone: &str, moment: &str) -> u16 {
        Zone::parse(zone).unwrap().minute_of_day(UnixMillis::parse_rfc3339(moment).unwrap())
    }

    #[test]
    fn the_clock_is_the_zones_own() {
        assert_eq!(minute("UTC", "2026-11-23T23:59:59Z"), 23 * 60 + 59);
        assert_eq!(minute("Asia/Shanghai", "2026-11-23T16:00:00Z"), 0);
        assert_eq!(minute("Asia/Kathmandu", "2026-11-23T00:00:00Z"), 5 * 60 + 45);
        assert_eq!(minute("America/New_York", "2026-11-23T12:00:00Z"), 7 * 60);
        assert_eq!(Zone::default().minute_of_day(UnixMillis(-1)), 23 * 60 + 59);
        assert_eq!(Zone::default().minute_of_day(UnixMillis(i64::MAX)), 0);
    }

    #[test]
    fn summer_time_leaves_an_hour_out_and_has_one_twice() {
        // Berlin, 29 March 2026: 01:59 is followed by 03:00. 25 October: 02:59 is followed by 02:00.
        assert_eq!(minute("Europe/Berlin", "2026-03-29T00:59:00Z"), 60 + 59);
        assert_eq!(minute("Europe/Berlin", "2026-03-29T01:00:00Z"), 3 * 60);
        assert_eq!(minute("Europe/Berlin", "2026-10-25T00:30:00Z"), 2 * 60 + 30);
        assert_eq!(minute("Europe/Berlin", "2026-10-25T01:30:00Z"), 2 * 60 + 30);
    }

    #[test]
    fn a_name_is_written_as_the_table_has_it_and_an_unknown_one_is_kept() {
        assert_eq!(Zone::parse("europe/berlin").unwrap().name(), "Europe/Berlin");
        assert_eq!(Zone::parse("Mars/Olympus"), None);
        assert_eq!(Zone::parse(""), None);
        let later: Zone = serde_json::from_str("\"Mars/Olympus\"").unwrap();
        assert!(!later.is_known());
        assert_eq!(later.minute_of_day(UnixMillis(60_000)), 1);
        assert_eq!(serde_json::to_string(&later).unwrap(), "\"Mars/Olympus\"");
    }
}
