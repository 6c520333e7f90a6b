//! Where days, weeks and months begin, kept for as long as that holds: the hot path asks with each request, and a question to the
//! zone's rules costs as much as the rest of a decision.

use super::window::{Edges, Terms};
use crate::model::{Limits, WallTime};
use crate::time::{UnixMillis, Zone};
use std::collections::HashMap;

/// The edges that were asked for last.
#[derive(Clone, Debug, Default)]
pub struct Calendar {
    zone: Zone,
    known: HashMap<WallTime, Known>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    day: Edges,
    week: Edges,
    month: Edges,
}

impl Known {
    /// The second edge of each is the last one that is over.
    fn holds_at(&self, now: UnixMillis) -> bool {
        [self.day, self.week, self.month].iter().all(|Edges([_, last, next, _])| *last <= now && now < *next)
    }
}

impl Calendar {
    /// [`Terms::of`] these limits.
    pub fn terms(&mut self, limits: &Limits, zone: &Zone, now: UnixMillis) -> Terms {
        if self.zone != *zone {
            *self = Self { zone: zone.clone(), known: HashMap::new() };
        }
        let time = limits.daily_reset_time;
        if let Some(Known { day, week, month }) = self.known.get(&time).filter(|known| known.holds_at(now)) {
            return Terms { limits: limits.clone(), day: *day, week: *week, month: *month };
        }
        let terms = Terms::of(limits, zone, now);
        // There are 1 440 times of day.
        self.known.insert(time, Known { day: terms.day, week: terms.week, month: terms.month });
        terms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_kept_is_what_would_be_asked(
            questions in prop::collection::vec((0_usize..3, 0_usize..3, 0_i64..400 * 24 * 60), 1..80),
        ) {
            let mut calendar = Calendar::default();
            // Summer time begins and ends in there, and nothing comes in order.
            let zones = ["UTC", "Europe/Berlin", "America/New_York"].map(|name| Zone::parse(name).unwrap());
            let times = ["00:00", "02:30", "18:15"].map(|time| WallTime::parse(time).unwrap());
            for (zone, time, minutes) in questions {
                let limits = Limits { daily_reset_time: times[time], ..Limits::default() };
                let now = UnixMillis(1_790_000_000_000 + minutes * 60_000);
                prop_assert_eq!(calendar.terms(&limits, &zones[zone], now), Terms::of(&limits, &zones[zone], now));
            }
        }
    }
}
