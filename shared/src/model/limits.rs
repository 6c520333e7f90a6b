//! What a user, a key or a provider may spend and ask for.

use crate::money::NanoUsd;
use crate::time::UnixMillis;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The limits of one user, key or provider. Whatever is `None` is without a limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Within five hours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub five_hours: Option<NanoUsd>,
    /// Which five hours.
    pub five_hours_mode: FiveHoursMode,
    /// Within a day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub daily: Option<NanoUsd>,
    /// Which day.
    pub daily_mode: DailyMode,
    /// When a fixed day begins, by the configured zone's clock.
    pub daily_reset_time: WallTime,
    /// From Monday to Sunday.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weekly: Option<NanoUsd>,
    /// Within a calendar month.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monthly: Option<NanoUsd>,
    /// For good, or since the last reset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<NanoUsd>,
    /// Requests within a minute; for users and keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// Conversations seen within `SESSION_TTL`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent_sessions: Option<u32>,
    /// What was spent before this moment counts in no window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reset_at: Option<UnixMillis>,
    /// The same for the five hours alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub five_hours_reset_at: Option<UnixMillis>,
}

impl Limits {
    /// True when nothing is limited; markers alone limit nothing.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        let money = [self.five_hours, self.daily, self.weekly, self.monthly, self.total];
        let counts = [self.requests_per_minute, self.concurrent_sessions];
        money.into_iter().flatten().all(|limit| limit.0 <= 0) && counts.into_iter().flatten().all(|n| n == 0)
    }
}

/// What is put aside for a request before it is known what it costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuotaReservation {
    /// What such requests have cost lately: a budget may be passed by what running requests cost more.
    #[default]
    Expected,
    /// The most that it can cost: a budget is never passed, and is refused a little early.
    Strict,
}

impl QuotaReservation {
    /// The name used in JSON and SQL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expected => "expected",
            Self::Strict => "strict",
        }
    }

    /// Reads a name; `None` for an unknown one.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Expected, Self::Strict].into_iter().find(|known| known.as_str() == name)
    }
}

/// Which five hours a limit is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FiveHoursMode {
    /// The last five.
    #[default]
    Rolling,
    /// Five from the first spending on; the next five begin with the first spending after them.
    Fixed,
}

impl FiveHoursMode {
    /// The name used in JSON and SQL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rolling => "rolling",
            Self::Fixed => "fixed",
        }
    }

    /// Reads a name; `None` for an unknown one.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Rolling, Self::Fixed].into_iter().find(|known| known.as_str() == name)
    }
}

/// Which day a limit is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DailyMode {
    /// From `daily_reset_time` to the same time of the next day.
    #[default]
    Fixed,
    /// The last 24 hours.
    Rolling,
}

impl DailyMode {
    /// The name used in JSON and SQL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::Rolling => "rolling",
        }
    }

    /// Reads a name; `None` for an unknown one.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Fixed, Self::Rolling].into_iter().find(|known| known.as_str() == name)
    }
}

/// A time of the day: minutes since midnight, 0 to 1439.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WallTime(u16);

/// Why a text is no time of the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("must be a time from 00:00 to 23:59, such as 08:30")]
pub struct WallTimeError;

impl WallTime {
    /// Reads `HH:MM`.
    pub fn parse(text: &str) -> Result<Self, WallTimeError> {
        super::schedule::parse_minute(text).map(Self).ok_or(WallTimeError)
    }

    /// The hour, 0 to 23.
    #[must_use]
    pub fn hour(self) -> i8 {
        i8::try_from(self.0 / 60).unwrap_or(0)
    }

    /// The minute of the hour, 0 to 59.
    #[must_use]
    pub fn minute(self) -> i8 {
        i8::try_from(self.0 % 60).unwrap_or(0)
    }
}

impl TryFrom<String> for WallTime {
    type Error = WallTimeError;

    fn try_from(text: String) -> Result<Self, WallTimeError> {
        Self::parse(&text)
    }
}

impl From<WallTime> for String {
    fn from(time: WallTime) -> Self {
        super::schedule::text(time.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_has_one_name_everywhere() {
        let json = |value: serde_json::Value| value.as_str().map(str::to_owned).unwrap();
        for mode in [FiveHoursMode::Rolling, FiveHoursMode::Fixed] {
            assert_eq!(json(serde_json::json!(mode)), mode.as_str());
            assert_eq!(FiveHoursMode::parse(mode.as_str()), Some(mode));
        }
        for mode in [DailyMode::Rolling, DailyMode::Fixed] {
            assert_eq!(json(serde_json::json!(mode)), mode.as_str());
            assert_eq!(DailyMode::parse(mode.as_str()), Some(mode));
        }
        for reservation in [QuotaReservation::Expected, QuotaReservation::Strict] {
            assert_eq!(json(serde_json::json!(reservation)), reservation.as_str());
            assert_eq!(QuotaReservation::parse(reservation.as_str()), Some(reservation));
        }
        assert_eq!((FiveHoursMode::parse(""), DailyMode::parse("x")), (None, None));
    }
}
