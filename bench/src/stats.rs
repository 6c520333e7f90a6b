//! Medians, and ratios round by round: what two subjects did in the same round met the same machine.

/// Median and extremes of several rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The middle value, or the mean of the two middle ones.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of these values; `None` without any.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let upper = *values.get(middle)?;
        let median =
            if values.len() % 2 == 1 { upper } else { f64::midpoint(upper, *values.get(middle - 1)?) };
        Some(Self { median, min: *values.first()?, max: *values.last()? })
    }

    /// Of the ratios `ours / theirs` of each round. `None` when a round has nothing to divide by: it was too
    /// short to be measured.
    #[must_use]
    pub fn of_ratios(pairs: impl IntoIterator<Item = (f64, f64)>) -> Option<Self> {
        let ratios: Option<Vec<f64>> =
            pairs.into_iter().map(|(ours, theirs)| (theirs > 0.0).then(|| ours / theirs)).collect();
        Self::of(ratios?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let ratios = Spread::of_ratios([(1.0, 2.0), (30.0, 10.0), (4.0, 4.0)]);
        assert_eq!(ratios, Some(Spread { median: 1.0, min: 0.5, max: 3.0 }));
        assert_eq!(Spread::of_ratios([(1.0, 2.0), (1.0, 0.0)]), None);
    }
}
