//! Which stretches of time limits are about.

use super::MAX_AMOUNT;
use crate::model::{DailyMode, FiveHoursMode, Limits, WallTime};
use crate::money::NanoUsd;
use crate::time::{UnixMillis, Zone};
use jiff::civil::{Date, Weekday};
use jiff::{Timestamp, ToSpan};

/// What a window is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `5h`.
    FiveHours,
    /// `daily`.
    Daily,
    /// `weekly`.
    Weekly,
    /// `monthly`.
    Monthly,
    /// `total`.
    Total,
}

impl Kind {
    /// In the order in which they are looked at: what comes back last is named first.
    pub const ALL: [Self; 5] = [Self::Total, Self::FiveHours, Self::Daily, Self::Weekly, Self::Monthly];

    /// The word for it in API, log and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FiveHours => "5h",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Total => "total",
        }
    }

    /// The name of its limit, without the unit.
    #[must_use]
    pub fn limit_name(self) -> &'static str {
        match self {
            Self::FiveHours => "limit_5h",
            Self::Daily => "limit_daily",
            Self::Weekly => "limit_weekly",
            Self::Monthly => "limit_monthly",
            Self::Total => "limit_total",
        }
    }

    /// As people call its budget.
    #[must_use]
    pub fn in_words(self) -> &'static str {
        match self {
            Self::FiveHours => "5-hour budget",
            Self::Daily => "daily budget",
            Self::Weekly => "weekly budget",
            Self::Monthly => "monthly budget",
            Self::Total => "total budget",
        }
    }
}

/// A limit and the stretch of time it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// What it is called.
    pub kind: Kind,
    /// What may be spent in it.
    pub limit: NanoUsd,
    /// Its stretch.
    pub span: Span,
    /// What was spent before this moment does not count.
    pub reset_at: Option<UnixMillis>,
}

/// A stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// From the last of these moments to the next.
    Calendar(Edges),
    /// So many milliseconds up to now.
    Rolling(i64),
    /// Five hours from the first spending on.
    FirstSpend,
    /// For good.
    Ever,
}

/// Four moments at which a window begins anew, one after the other. Whoever computes them means the second to be the last
/// one that is over; a store whose clock is a little behind or ahead finds its own among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edges(pub [UnixMillis; 4]);

impl Edges {
    /// The beginning of the window that holds `now`, and its end. Before the first edge and after the last one these
    /// stand in: no clock is wrong by a whole day.
    #[must_use]
    pub fn around(&self, now: UnixMillis) -> (UnixMillis, UnixMillis) {
        let [first, second, third, fourth] = self.0;
        if now < second {
            (first, second)
        } else if now < third {
            (second, third)
        } else {
            (third, fourth)
        }
    }
}

/// The limits of a scope, with the calendar they go by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The limits.
    pub limits: Limits,
    /// Where its days begin.
    pub day: Edges,
    /// Where weeks begin: Monday, midnight.
    pub week: Edges,
    /// Where months begin.
    pub month: Edges,
}

impl Terms {
    /// These limits by the zone's clock, around `now`.
    #[must_use]
    pub fn of(limits: &Limits, zone: &Zone, now: UnixMillis) -> Self {
        let clock = Clock { zone: zone.rules(), now };
        let today = clock.today();
        let monday = today.saturating_sub(i64::from(today.weekday().since(Weekday::Monday)).days());
        Self {
            limits: limits.clone(),
            day: clock.edges(today, limits.daily_reset_time, 1.day()),
            week: clock.edges(monday, WallTime::default(), 1.week()),
            month: clock.edges(today.first_of_month(), WallTime::default(), 1.month()),
        }
    }

    /// The windows that have a limit, in the order in which they are looked at.
    pub fn windows(&self) -> impl Iterator<Item = Window> + '_ {
        Kind::ALL.into_iter().filter_map(|kind| self.window(kind))
    }

    /// How many requests a minute may have; `None`: as many as one likes.
    #[must_use]
    pub fn limit_of_requests(&self) -> Option<u32> {
        self.limits.requests_per_minute.filter(|limit| *limit > 0)
    }

    /// How many conversations there may be at a time; `None`: as many as one likes.
    #[must_use]
    pub fn limit_of_sessions(&self) -> Option<u32> {
        self.limits.concurrent_sessions.filter(|limit| *limit > 0)
    }

    /// True when any window has a limit.
    #[must_use]
    pub fn limit_money(&self) -> bool {
        self.windows().next().is_some()
    }

    /// One of them.
    #[must_use]
    pub fn window(&self, kind: Kind) -> Option<Window> {
        let limits = &self.limits;
        let (limit, span) = match kind {
            Kind::FiveHours => (
                limits.five_hours,
                match limits.five_hours_mode {
                    FiveHoursMode::Rolling => Span::Rolling(FIVE_HOURS_MS),
                    FiveHoursMode::Fixed => Span::FirstSpend,
                },
            ),
            Kind::Daily => (
                limits.daily,
                match limits.daily_mode {
                    DailyMode::Fixed => Span::Calendar(self.day),
                    DailyMode::Rolling => Span::Rolling(DAY_MS),
                },
            ),
            Kind::Weekly => (limits.weekly, Span::Calendar(self.week)),
            Kind::Monthly => (limits.monthly, Span::Calendar(self.month)),
            Kind::Total => (limits.total, Span::Ever),
        };
        // 0 is no limit: a budget of nothing is said by switching a key off.
        let limit = NanoUsd(limit.filter(|limit| limit.0 > 0)?.0.min(MAX_AMOUNT));
        Some(Window { kind, limit, span, reset_at: self.reset_at(kind) })
    }

    /// True when a day, a week or a month begins after the one moment, and not after the other.
    #[must_use]
    pub fn begin_between(&self, one: UnixMillis, other: UnixMillis) -> bool {
        [self.day, self.week, self.month].iter().any(|edges| edges.around(one).0 != edges.around(other).0)
    }

    /// The marker that clips a window.
    #[must_use]
    pub fn reset_at(&self, kind: Kind) -> Option<UnixMillis> {
        let of_five_hours = self.limits.five_hours_reset_at.filter(|_| kind == Kind::FiveHours);
        self.limits.reset_at.max(of_five_hours)
    }

    /// The moments since which sums are kept, whatever is limited today: tomorrow another limit may be set.
    #[must_use]
    pub fn sums_at(&self, now: UnixMillis) -> [Option<UnixMillis>; 6] {
        [
            Some(EVER),
            Some(self.day.around(now).0),
            Some(self.week.around(now).0),
            Some(self.month.around(now).0),
            self.limits.reset_at,
            self.limits.five_hours_reset_at,
        ]
    }
}

struct Clock {
    zone: jiff::tz::TimeZone,
    now: UnixMillis,
}

impl Clock {
    fn today(&self) -> Date {
        // Moments of the year 10000 and later have no calendar; nothing comes from there.
        let now = Timestamp::from_millisecond(self.now.0).unwrap_or_default();
        self.zone.to_datetime(now).date()
    }

    /// A day's beginning. A time that the clocks leave out is as much later as they were put forward; of one that they
    /// show twice the first counts.
    fn moment(&self, date: Date, time: WallTime) -> UnixMillis {
        let clock = date.at(time.hour(), time.minute(), 0, 0);
        let moment = self.zone.to_ambiguous_timestamp(clock).compatible();
        moment.map_or(self.now, |moment| UnixMillis(moment.as_millisecond()))
    }

    /// `latest` is the last beginning that may be over.
    fn edges(&self, latest: Date, time: WallTime, step: jiff::Span) -> Edges {
        let second = if self.moment(latest, time) <= self.now { latest } else { latest.saturating_sub(step) };
        let first = second.saturating_sub(step);
        let third = second.saturating_add(step);
        let fourth = third.saturating_add(step);
        Edges([first, second, third, fourth].map(|date| self.moment(date, time)))
    }
}

/// The beginning of what is counted for good.
pub const EVER: UnixMillis = UnixMillis(0);
/// Five hours in milliseconds.
pub const FIVE_HOURS_MS: i64 = 5 * 3_600_000;
/// 24 hours in milliseconds.
pub const DAY_MS: i64 = 24 * 3_600_000;
