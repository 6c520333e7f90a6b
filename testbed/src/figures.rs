//! Figures for people: what the tests that are run by hand print.

use std::fmt;
use std::time::Duration;

/// How long something took, each time.
pub struct Times(Vec<Duration>);

impl Times {
    /// Of so many tries.
    #[must_use]
    pub fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    /// The time that so many of a hundred tries stayed within; 100: the longest.
    #[must_use]
    pub fn within(&self, percent: usize) -> Duration {
        self.0.last().map_or(Duration::ZERO, |_| self.0[(self.0.len() - 1) * percent / 100])
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [median, most, longest] =
            [50, 99, 100].map(|percent| self.within(percent).as_secs_f64() * 1_000.0);
        write!(f, "p50 {median:.2} ms, p99 {most:.2} ms, longest {longest:.2} ms of {}", self.0.len())
    }
}
