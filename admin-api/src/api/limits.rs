//! Limits on the wire, which users, keys and providers have alike: to be set, and as they are shown.

use super::types::{Moment, Patch, Usd, set};
use serde::{Deserialize, Serialize};
use shared::model::{DailyMode, FiveHoursMode, Limits, QuotaReservation, WallTime};
use utoipa::ToSchema;

/// Which five hours a limit is about.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FiveHoursModeName {
    /// The last five.
    Rolling,
    /// Five from the first spending on; the next five begin with the first spending after them.
    Fixed,
}

/// Which day a limit is about.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DailyModeName {
    /// From `daily_reset_time` to the same time of the next day.
    Fixed,
    /// The last 24 hours.
    Rolling,
}

/// What is put aside for a request before it is known what it costs.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum QuotaReservationName {
    /// What such requests have cost lately: a budget may be passed by what running requests cost more.
    Expected,
    /// The most that it can cost: a budget is never passed, and is refused a little early.
    Strict,
}

/// Limits that are set. Absent: it stays (or, of what is made, has its default). Null goes back to the default. No limit is
/// null, and 0 means the same. Amounts are US dollars as decimal text with at most nine decimals, up to 9007199.254740991;
/// numbers are accepted. Fixed days, weeks and months go by the clock of the settings' `timezone`.
#[derive(Debug, Deserialize, ToSchema)]
pub struct LimitsUpdate {
    /// What may be spent within five hours, in US dollars. Default: no limit.
    #[serde(default)]
    #[schema(value_type = Option<Usd>)]
    limit_5h_usd: Patch<Usd>,
    /// Which five hours. Default: `rolling`.
    #[serde(default)]
    #[schema(value_type = Option<FiveHoursModeName>)]
    limit_5h_reset_mode: Patch<FiveHoursModeName>,
    /// What may be spent within a day, in US dollars. Default: no limit.
    #[serde(default)]
    #[schema(value_type = Option<Usd>)]
    limit_daily_usd: Patch<Usd>,
    /// Which day. Default: `fixed`.
    #[serde(default)]
    #[schema(value_type = Option<DailyModeName>)]
    daily_reset_mode: Patch<DailyModeName>,
    /// When a fixed day begins, `HH:MM`. Default: `00:00`.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "08:30")]
    daily_reset_time: Patch<WallTime>,
    /// What may be spent from Monday to Sunday, in US dollars. Default: no limit.
    #[serde(default)]
    #[schema(value_type = Option<Usd>)]
    limit_weekly_usd: Patch<Usd>,
    /// What may be spent within a calendar month, in US dollars. Default: no limit.
    #[serde(default)]
    #[schema(value_type = Option<Usd>)]
    limit_monthly_usd: Patch<Usd>,
    /// What may be spent for good, or since the last reset, in US dollars. Default: no limit.
    #[serde(default)]
    #[schema(value_type = Option<Usd>)]
    limit_total_usd: Patch<Usd>,
    /// How many conversations there may be at a time: those seen within `SESSION_TTL`, 0 to 1000000. Default: no limit.
    #[serde(default)]
    #[schema(value_type = Option<u32>)]
    limit_concurrent_sessions: Patch<u32>,
}

impl LimitsUpdate {
    /// Sets what is given. Markers stay.
    pub(super) fn apply(self, limits: &mut Limits) {
        let amount =
            |patch: Patch<Usd>| patch.optional().map(|usd| usd.map(|usd| usd.0).filter(|n| n.0 != 0));
        set(&mut limits.five_hours, amount(self.limit_5h_usd));
        let mode = self.limit_5h_reset_mode.or_default(FiveHoursMode::default().into());
        set(&mut limits.five_hours_mode, mode.map(Into::into));
        set(&mut limits.daily, amount(self.limit_daily_usd));
        let mode = self.daily_reset_mode.or_default(DailyMode::default().into());
        set(&mut limits.daily_mode, mode.map(Into::into));
        set(&mut limits.daily_reset_time, self.daily_reset_time.or_default(WallTime::default()));
        set(&mut limits.weekly, amount(self.limit_weekly_usd));
        set(&mut limits.monthly, amount(self.limit_monthly_usd));
        set(&mut limits.total, amount(self.limit_total_usd));
        set(&mut limits.concurrent_sessions, count(self.limit_concurrent_sessions));
    }
}

/// What a limit of a count becomes: `None` = it stays.
pub(super) fn count(patch: Patch<u32>) -> Option<Option<u32>> {
    patch.optional().map(|count| count.filter(|n| *n != 0))
}

/// Limits. Null: no limit.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Limits)]
pub struct LimitsDocument {
    limit_5h_usd: Option<Usd>,
    limit_5h_reset_mode: FiveHoursModeName,
    limit_daily_usd: Option<Usd>,
    daily_reset_mode: DailyModeName,
    #[schema(value_type = String, example = "08:30")]
    daily_reset_time: WallTime,
    limit_weekly_usd: Option<Usd>,
    limit_monthly_usd: Option<Usd>,
    limit_total_usd: Option<Usd>,
    limit_concurrent_sessions: Option<u32>,
    /// The last reset: what was spent before counts in no window.
    cost_reset_at: Option<Moment>,
    /// The last reset of the five hours alone.
    limit_5h_cost_reset_at: Option<Moment>,
}

impl From<Limits> for LimitsDocument {
    fn from(limits: Limits) -> Self {
        Self {
            limit_5h_usd: limits.five_hours.map(Usd),
            limit_5h_reset_mode: limits.five_hours_mode.into(),
            limit_daily_usd: limits.daily.map(Usd),
            daily_reset_mode: limits.daily_mode.into(),
            daily_reset_time: limits.daily_reset_time,
            limit_weekly_usd: limits.weekly.map(Usd),
            limit_monthly_usd: limits.monthly.map(Usd),
            limit_total_usd: limits.total.map(Usd),
            limit_concurrent_sessions: limits.concurrent_sessions,
            cost_reset_at: limits.reset_at.map(Moment),
            limit_5h_cost_reset_at: limits.five_hours_reset_at.map(Moment),
        }
    }
}

impl From<FiveHoursModeName> for FiveHoursMode {
    fn from(name: FiveHoursModeName) -> Self {
        match name {
            FiveHoursModeName::Rolling => Self::Rolling,
            FiveHoursModeName::Fixed => Self::Fixed,
        }
    }
}

impl From<FiveHoursMode> for FiveHoursModeName {
    fn from(mode: FiveHoursMode) -> Self {
        match mode {
            FiveHoursMode::Rolling => Self::Rolling,
            FiveHoursMode::Fixed => Self::Fixed,
        }
    }
}

impl From<DailyModeName> for DailyMode {
    fn from(name: DailyModeName) -> Self {
        match name {
            DailyModeName::Fixed => Self::Fixed,
            DailyModeName::Rolling => Self::Rolling,
        }
    }
}

impl From<DailyMode> for DailyModeName {
    fn from(mode: DailyMode) -> Self {
        match mode {
            DailyMode::Fixed => Self::Fixed,
            DailyMode::Rolling => Self::Rolling,
        }
    }
}

impl From<QuotaReservationName> for QuotaReservation {
    fn from(name: QuotaReservationName) -> Self {
        match name {
            QuotaReservationName::Expected => Self::Expected,
            QuotaReservationName::Strict => Self::Strict,
        }
    }
}

impl From<QuotaReservation> for QuotaReservationName {
    fn from(reservation: QuotaReservation) -> Self {
        match reservation {
            QuotaReservation::Expected => Self::Expected,
            QuotaReservation::Strict => Self::Strict,
        }
    }
}
