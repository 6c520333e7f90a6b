//! Money as integers: no float ever holds an amount.
//!
//! Prices are pico-USD per token (10⁻¹²), amounts nano-USD (10⁻⁹), multipliers millionths. A price item is
//! multiplied out in `i128` and rounded half-up to nano-USD exactly once; a cost is the sum of its rounded
//! items, so the stored items always add up to the stored total (design §7).

use serde::{Deserialize, Serialize};
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};
use thiserror::Error;

/// Why a decimal text is no amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum MoneyError {
    /// Not of the form `12`, `12.5` or `-0.5` (an exponent such as `3e-6` is allowed).
    #[error("is not a decimal number")]
    NotDecimal,
    /// More digits behind the point than the unit can hold.
    #[error("has more decimal places than can be stored")]
    TooFine,
    /// Beyond the largest amount.
    #[error("is too large")]
    TooLarge,
    /// Below zero where only amounts from zero on make sense.
    #[error("must not be negative")]
    Negative,
}

/// A price: pico-USD (10⁻¹² USD) per token, or per one unit of whatever is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PicoUsd(pub u64);

impl PicoUsd {
    /// Reads a decimal USD text such as `0.000003` or `3e-06`; digits finer than 10⁻¹² are rounded half-up.
    pub fn parse_usd(text: &str) -> Result<Self, MoneyError> {
        let scaled = parse_scaled(text, 12, Finer::RoundHalfUp)?;
        u64::try_from(scaled)
            .map(Self)
            .map_err(|_| if scaled < 0 { MoneyError::Negative } else { MoneyError::TooLarge })
    }

    /// The price as a decimal USD text without an exponent, e.g. `0.000003`.
    #[must_use]
    pub fn to_usd(self) -> String {
        format_scaled(i128::from(self.0), 12)
    }

    /// This price times a factor, rounded half-up.
    #[must_use]
    pub fn times(self, factor: Multiplier) -> Self {
        let product = u128::from(self.0) * u128::from(factor.0);
        let rounded = (product + u128::from(Multiplier::ONE.0) / 2) / u128::from(Multiplier::ONE.0);
        Self(u64::try_from(rounded).unwrap_or(u64::MAX))
    }
}

/// An amount of money: nano-USD (10⁻⁹ USD).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NanoUsd(pub i64);

impl NanoUsd {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Reads a decimal USD text such as `12.50`; digits finer than 10⁻⁹ are refused.
    pub fn parse_usd(text: &str) -> Result<Self, MoneyError> {
        let scaled = parse_scaled(text, 9, Finer::Refuse)?;
        i64::try_from(scaled).map(Self).map_err(|_| MoneyError::TooLarge)
    }

    /// The amount as a decimal USD text with at least two places, e.g. `12.50` or `0.000001234`.
    #[must_use]
    pub fn to_usd(self) -> String {
        format_scaled(i128::from(self.0), 9)
    }
}

impl fmt::Display for NanoUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_usd())
    }
}

impl Add for NanoUsd {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for NanoUsd {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for NanoUsd {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Sum for NanoUsd {
    fn sum<I: Iterator<Item = Self>>(items: I) -> Self {
        items.fold(Self::ZERO, Add::add)
    }
}

/// A factor on a price, in millionths: `1_000_000` is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Multiplier(pub u64);

impl Multiplier {
    /// Leaves a price as it is.
    pub const ONE: Self = Self(1_000_000);
    /// The largest factor that is accepted: one thousand.
    pub const MAX: Self = Self(1_000_000_000);

    /// Reads a decimal text such as `1.25`; at most six decimal places, 0 to 1000.
    pub fn parse(text: &str) -> Result<Self, MoneyError> {
        let scaled = parse_scaled(text, 6, Finer::Refuse)?;
        match u64::try_from(scaled) {
            Ok(millionths) if millionths <= Self::MAX.0 => Ok(Self(millionths)),
            Ok(_) => Err(MoneyError::TooLarge),
            Err(_) if scaled < 0 => Err(MoneyError::Negative),
            Err(_) => Err(MoneyError::TooLarge),
        }
    }

    /// The factor as a decimal text, e.g. `1.25`.
    #[must_use]
    pub fn to_decimal(self) -> String {
        format_scaled(i128::from(self.0), 6)
    }
}

impl Default for Multiplier {
    fn default() -> Self {
        Self::ONE
    }
}

/// What `count` units at `price` cost under the provider's and the group's factor, rounded half-up once.
///
/// `count × pico × m₁ × m₂ ÷ (10⁶ × 10⁶ × 10³)`; saturates instead of overflowing.
#[must_use]
pub fn item_cost(count: u64, price: PicoUsd, provider: Multiplier, group: Multiplier) -> NanoUsd {
    const DIVISOR: i128 = 1_000_000 * 1_000_000 * 1_000;
    // Most items of a request are of nothing, and a division of 128 bits is dear.
    if count == 0 || price.0 == 0 {
        return NanoUsd::ZERO;
    }
    let product = i128::from(count)
        .checked_mul(i128::from(price.0))
        .and_then(|p| p.checked_mul(i128::from(provider.0)))
        .and_then(|p| p.checked_mul(i128::from(group.0)))
        .and_then(|p| p.checked_add(DIVISOR / 2));
    match product {
        Some(product) => NanoUsd(i64::try_from(product / DIVISOR).unwrap_or(i64::MAX)),
        None => NanoUsd(i64::MAX),
    }
}

/// What to do with digits finer than the unit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Finer {
    Refuse,
    RoundHalfUp,
}

/// Reads `[-]digits[.digits][e[±]digits]` as an integer of 10^-`places`.
fn parse_scaled(text: &str, places: i32, finer: Finer) -> Result<i128, MoneyError> {
    let text = text.trim();
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => {
            (mantissa, exponent.parse::<i32>().map_err(|_| MoneyError::NotDecimal)?)
        }
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() && fraction.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return Err(MoneyError::NotDecimal);
    }
    let mut value: i128 = 0;
    for digit in whole.bytes().chain(fraction.bytes()) {
        value = value
            .checked_mul(10)
            .and_then(|v| v.checked_add(i128::from(digit - b'0')))
            .ok_or(MoneyError::TooLarge)?;
    }
    let fraction_len = i32::try_from(fraction.len()).map_err(|_| MoneyError::TooLarge)?;
    let shift = places.saturating_add(exponent).saturating_sub(fraction_len);
    let scaled = scale(value, shift, finer)?;
    Ok(if negative { -scaled } else { scaled })
}

/// `value × 10^shift` for a value from zero on.
fn scale(value: i128, shift: i32, finer: Finer) -> Result<i128, MoneyError> {
    if value == 0 {
        return Ok(0);
    }
    let power = 10_i128.checked_pow(shift.unsigned_abs());
    match (shift >= 0, power) {
        (true, Some(power)) => value.checked_mul(power).ok_or(MoneyError::TooLarge),
        (true, None) => Err(MoneyError::TooLarge),
        (false, Some(power)) if value % power == 0 => Ok(value / power),
        (false, _) if finer == Finer::Refuse => Err(MoneyError::TooFine),
        (false, Some(power)) => Ok(value.saturating_add(power / 2) / power),
        (false, None) => Ok(0),
    }
}

fn format_scaled(value: i128, places: u32) -> String {
    let unit = 10_i128.pow(places);
    let sign = if value < 0 { "-" } else { "" };
    let magnitude = value.unsigned_abs();
    let unit = unit.unsigned_abs();
    let fraction = format!("{:0width$}", magnitude % unit, width = places as usize);
    let trimmed = fraction.trim_end_matches('0');
    format!("{sign}{}.{trimmed:0<2}", magnitude / unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn prices_read_litellm_notation_exactly() {
        assert_eq!(PicoUsd::parse_usd("3e-06"), Ok(PicoUsd(3_000_000)));
        assert_eq!(PicoUsd::parse_usd("0.000003"), Ok(PicoUsd(3_000_000)));
        assert_eq!(PicoUsd::parse_usd("1.5e-05"), Ok(PicoUsd(15_000_000)));
        assert_eq!(PicoUsd::parse_usd("7.5e-8"), Ok(PicoUsd(75_000)));
        assert_eq!(PicoUsd::parse_usd("1.25e-13"), Ok(PicoUsd(0)));
        assert_eq!(PicoUsd::parse_usd("5e-13"), Ok(PicoUsd(1)));
        assert_eq!(PicoUsd::parse_usd("-1"), Err(MoneyError::Negative));
        assert_eq!(PicoUsd::parse_usd("1e30"), Err(MoneyError::TooLarge));
    }

    #[test]
    fn amounts_refuse_what_they_cannot_hold() {
        assert_eq!(NanoUsd::parse_usd("12.50"), Ok(NanoUsd(12_500_000_000)));
        assert_eq!(NanoUsd::parse_usd("-0.000000001"), Ok(NanoUsd(-1)));
        assert_eq!(NanoUsd::parse_usd("0.0000000001"), Err(MoneyError::TooFine));
        for bad in ["", ".", "-", "1.2.3", "0x10", "1e", "NaN", "inf", "1 2", "+1"] {
            assert_eq!(NanoUsd::parse_usd(bad), Err(MoneyError::NotDecimal), "{bad:?}");
        }
    }

    #[test]
    fn an_item_is_rounded_half_up_once() {
        let one = Multiplier::ONE;
        assert_eq!(item_cost(1, PicoUsd(499), one, one), NanoUsd(0));
        assert_eq!(item_cost(1, PicoUsd(500), one, one), NanoUsd(1));
        assert_eq!(item_cost(1_000, PicoUsd(3_000_000), one, one), NanoUsd(3_000_000));
        // 3 × 333 pico × 1.5 × 1.1 = 1648.35 pico: rounded once to 2 nano, where rounding twice gives 1 or 2.
        let m = |t: &str| Multiplier::parse(t).unwrap();
        assert_eq!(item_cost(3, PicoUsd(333), m("1.5"), m("1.1")), NanoUsd(2));
        assert_eq!(item_cost(u64::MAX, PicoUsd(u64::MAX), Multiplier::MAX, one), NanoUsd(i64::MAX));
    }

    #[test]
    fn multipliers_stay_in_their_range() {
        assert_eq!(Multiplier::parse("0"), Ok(Multiplier(0)));
        assert_eq!(Multiplier::parse("1.25").unwrap().to_decimal(), "1.25");
        assert_eq!(Multiplier::parse("1000.000001"), Err(MoneyError::TooLarge));
        assert_eq!(Multiplier::parse("-0.1"), Err(MoneyError::Negative));
        assert_eq!(Multiplier::parse("0.0000001"), Err(MoneyError::TooFine));
    }

    proptest! {
        #[test]
        fn an_amount_survives_its_text(nano in any::<i64>()) {
            prop_assert_eq!(NanoUsd::parse_usd(&NanoUsd(nano).to_usd()), Ok(NanoUsd(nano)));
        }

        #[test]
        fn a_price_survives_its_text(pico in any::<u64>()) {
            prop_assert_eq!(PicoUsd::parse_usd(&PicoUsd(pico).to_usd()), Ok(PicoUsd(pico)));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,24}") {
            let _ = NanoUsd::parse_usd(&text);
            let _ = PicoUsd::parse_usd(&text);
        }
    }
}
