//! Moments as integers. Stored and sent as Unix milliseconds inside, RFC 3339 at the API's door.

mod zone;

pub use zone::Zone;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A moment: milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMillis(pub i64);

/// One hour in milliseconds: the width of a roll-up bucket.
pub const HOUR_MS: i64 = 3_600_000;

impl UnixMillis {
    /// Reads an RFC 3339 text with an offset; fractions of a millisecond are cut off.
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        text.parse::<Timestamp>().ok().map(|t| Self(t.as_millisecond()))
    }

    /// RFC 3339 in UTC, whole seconds, for people: `2026-11-23T09:30:00Z`. Part of a second counts as one: what waits until
    /// then does not come too early.
    #[must_use]
    pub fn to_rfc3339_secs(self) -> String {
        let secs = self.0.div_euclid(1_000) + i64::from(self.0.rem_euclid(1_000) > 0);
        Timestamp::from_second(secs).map_or_else(|_| self.to_string(), |t| t.to_string())
    }

    /// The start of the hour (UTC) that holds this moment.
    #[must_use]
    pub fn hour_start(self) -> Self {
        Self(self.0 - self.0.rem_euclid(HOUR_MS))
    }

    /// So many milliseconds later.
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX)))
    }

    /// Milliseconds from `earlier` to this moment; 0 when the clock went backwards.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }
}

impl fmt::Display for UnixMillis {
    /// RFC 3339 in UTC with milliseconds, e.g. `2026-11-23T09:30:00.000Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Timestamp::from_millisecond(self.0) {
            Ok(t) => write!(f, "{t:.3}"),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_survives_its_text() {
        let t = UnixMillis::parse_rfc3339("2026-11-23T10:30:00.125+01:00").unwrap();
        assert_eq!(t.to_string(), "2026-11-23T09:30:00.125Z");
        assert_eq!(UnixMillis::parse_rfc3339(&t.to_string()), Some(t));
        assert_eq!(UnixMillis::parse_rfc3339("2026-11-23 10:30"), None);
    }

    #[test]
    fn a_moment_for_people_has_no_fractions() {
        let text = |ms| UnixMillis(ms).to_rfc3339_secs();
        assert_eq!([text(0), text(1)], ["1970-01-01T00:00:00Z", "1970-01-01T00:00:01Z"]);
    }

    #[test]
    fn hours_start_on_the_hour_before_1970_too() {
        assert_eq!(UnixMillis(HOUR_MS + 1).hour_start(), UnixMillis(HOUR_MS));
        assert_eq!(UnixMillis(-1).hour_start(), UnixMillis(-HOUR_MS));
    }
}
