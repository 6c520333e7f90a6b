//! JSON numbers: their grammar, which of them `serde_json` calls out of range, and integers.
//!
//! Out of range is what overflows `serde_json`'s own (not correctly rounded) float arithmetic, so that
//! arithmetic is repeated here, borderline quirks included.

/// The end of the number that starts at `start`, or the offset where it stops being one.
pub(super) fn end_of_number(bytes: &[u8], start: usize) -> Result<usize, usize> {
    let mut at = start;
    if bytes.get(at) == Some(&b'-') {
        at += 1;
    }
    let mut size = Size::default();
    let integer = at;
    while let Some(digit) = digit(bytes, at) {
        size.push_integer(digit);
        at += 1;
    }
    let is_padded = bytes.get(integer) == Some(&b'0') && at > integer + 1;
    if at == integer || is_padded {
        return Err(at);
    }
    if bytes.get(at) == Some(&b'.') {
        at += 1;
        let fraction = at;
        size.is_full = false;
        while let Some(digit) = digit(bytes, at) {
            size.push_fraction(digit);
            at += 1;
        }
        if at == fraction {
            return Err(at);
        }
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        at += 1;
        let sign = match bytes.get(at) {
            Some(b'-') => -1,
            _ => 1,
        };
        if matches!(bytes.get(at), Some(b'+' | b'-')) {
            at += 1;
        }
        let first = at;
        let mut exponent = 0_i64;
        while let Some(digit) = digit(bytes, at) {
            exponent = exponent.saturating_mul(10).saturating_add(i64::from(digit));
            at += 1;
        }
        if at == first {
            return Err(at);
        }
        size.exponent = size.exponent.saturating_add(sign * exponent);
    }
    if size.is_out_of_range() { Err(at) } else { Ok(at) }
}

/// The value of a well-formed number that is a whole one from 0 to 2^64 - 1, also when written `2.0` or `1e3`.
/// Exact: no float is involved.
pub(super) fn non_negative_integer(number: &str) -> Option<u64> {
    if let Ok(integer) = number.parse::<u64>() {
        return Some(integer);
    }
    let magnitude = number.strip_prefix('-').unwrap_or(number);
    let (mantissa, exponent) = magnitude.split_once(['e', 'E']).unwrap_or((magnitude, "0"));
    let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = [integer, fraction].concat();
    let significant = digits.trim_end_matches('0');
    if significant.is_empty() {
        return Some(0);
    }
    if magnitude != number {
        return None;
    }
    let zeros = i64::try_from(digits.len() - significant.len()).ok()?;
    let places = i64::try_from(fraction.len()).ok()?;
    let power = exponent.parse::<i64>().ok()?.checked_add(zeros - places)?;
    let power = 10_u64.checked_pow(u32::try_from(power).ok()?)?;
    significant.trim_start_matches('0').parse::<u64>().ok()?.checked_mul(power)
}

fn digit(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit <= 9)
}

/// A number's magnitude as `serde_json` gathers it: `significand × 10^exponent`.
#[derive(Default)]
struct Size {
    significand: u64,
    exponent: i64,
    is_full: bool,
}

impl Size {
    fn push_integer(&mut self, digit: u8) {
        if !self.push(digit) {
            self.exponent += 1;
        }
    }

    fn push_fraction(&mut self, digit: u8) {
        if self.push(digit) {
            self.exponent -= 1;
        }
    }

    /// Takes a digit in, unless one before it found no room.
    fn push(&mut self, digit: u8) -> bool {
        let next = self.significand.checked_mul(10).and_then(|s| s.checked_add(u64::from(digit)));
        match next {
            Some(next) if !self.is_full => {
                self.significand = next;
                true
            }
            _ => {
                self.is_full = true;
                false
            }
        }
    }

    fn is_out_of_range(&self) -> bool {
        // A significand below 2e19 cannot overflow f64 below 10^289.
        if self.significand == 0 || self.exponent < LOWEST_RISKY_EXPONENT {
            return false;
        }
        let power = usize::try_from(self.exponent - LOWEST_RISKY_EXPONENT).ok().and_then(|i| POWERS.get(i));
        power.is_none_or(|power| (self.significand as f64 * power).is_infinite())
    }
}

const LOWEST_RISKY_EXPONENT: i64 = 289;

/// 10^289 to 10^308, the largest power in an f64.
const POWERS: [f64; 20] = [
    1e289, 1e290, 1e291, 1e292, 1e293, 1e294, 1e295, 1e296, 1e297, 1e298, 1e299, 1e300, 1e301, 1e302, 1e303,
    1e304, 1e305, 1e306, 1e307, 1e308,
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn agrees(number: &str) -> bool {
        let is_number = end_of_number(number.as_bytes(), 0) == Ok(number.len());
        is_number == serde_json::from_str::<serde_json::Value>(number).is_ok()
    }

    #[test]
    fn borders_are_those_of_serde_json() {
        for number in [
            "0",
            "-0",
            "00",
            "01",
            "-01",
            "-",
            "1.",
            ".5",
            "1.e3",
            "1e",
            "1e+",
            "1e-",
            "1E+05",
            "0e999",
            "0.0e99999999999",
            "1e308",
            "1e309",
            "-1e309",
            "1.7976931348623157e308",
            "1.7976931348623158e308",
            "1.7976931348623159e308",
            "17976931348623157e292",
            "17976931348623159e292",
            "179769313486231580793e289",
            "1e-400",
            "1e-99999999999",
            "1e99999999999",
            "18446744073709551615",
            "18446744073709551616",
            "18446744073709551616e289",
            "1844674407370955161600.5e288",
            "18446744073709551610.5e289",
            "0.00000000001e318",
            "0.00000000001e320",
        ] {
            assert!(agrees(number), "{number}");
        }
        for digits in 305..=312 {
            for lead in ["1", "17976931348623157", "17976931348623159", "9"] {
                assert!(agrees(&format!("{lead:0<digits$}")), "{lead} padded to {digits}");
                assert!(agrees(&format!("{lead:0<digits$}.5")), "{lead} padded to {digits}, and a half");
            }
        }
    }

    #[test]
    fn a_whole_number_may_be_written_as_a_float() {
        for (number, expected) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("-0.0e5", Some(0)),
            ("0e99999999999999999999", Some(0)),
            ("1.0", Some(1)),
            ("1e3", Some(1000)),
            ("1.5e1", Some(15)),
            ("0.002E+3", Some(2)),
            ("1000e-3", Some(1)),
            ("100000000000000000000000e-22", Some(10)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551615.00", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("1e19", Some(10_000_000_000_000_000_000)),
            ("1e20", None),
            ("1e99999999999999999999", None),
            ("1.5", None),
            ("1e-1", None),
            ("307448273412173.969", None),
            ("-1", None),
            ("-1.0", None),
        ] {
            assert_eq!(non_negative_integer(number), expected, "{number}");
        }
    }

    proptest! {
        #[test]
        fn numbers_are_judged_as_serde_json_does(number in "-?[0-9]{0,25}(\\.[0-9]{0,25})?([eE][+-]?[0-9]{0,3})?") {
            prop_assert!(agrees(&number), "{}", number);
        }

        #[test]
        fn the_edge_of_the_range_is_that_of_serde_json(lead in 1_u64.., tail in "[0-9]{0,5}(\\.[0-9]{1,5})?", exponent in 280..310) {
            let number = format!("{lead}{tail}e{exponent}");
            prop_assert!(agrees(&number), "{}", number);
        }
    }
}
