//! When an upstream says to come back, wherever a refusal says it (design §5, "rate limit").
//!
//! | where | what |
//! |---|---|
//! | the body's `RetryInfo` | Google: a delay |
//! | `retry-after` | seconds, or an HTTP date |
//! | `anthropic-ratelimit-unified-reset` | a subscription's window: epoch seconds |
//!
//! The first of these that can be read counts. Pure: `now` is an argument. How long it is believed is
//! [`crate::rules::cooldown`]'s affair.

use super::classify::{ErrorFacts, retry_after_secs};
use crate::time::UnixMillis;
use http::HeaderMap;
use jiff::fmt::rfc2822::DateTimeParser;

/// Seconds until the upstream wants to be asked again, at least 1; `None` when it does not say.
#[must_use]
pub fn told_wait_secs(facts: &ErrorFacts, headers: &HeaderMap, now: UnixMillis) -> Option<u64> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let by_header = || {
        let text = header("retry-after")?;
        retry_after_secs(text).or_else(|| Some(secs_until(http_date(text)?, now)))
    };
    let by_window = || {
        let reset = header("anthropic-ratelimit-unified-reset")?.parse::<i64>().ok()?;
        Some(secs_until(reset, now))
    };
    facts.retry_after_secs().or_else(by_header).or_else(by_window).map(|secs| secs.max(1))
}

/// The epoch second of `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(text: &str) -> Option<i64> {
    DateTimeParser::new().parse_timestamp(text).ok().map(|date| date.as_second())
}

/// Rounded up: a second too early is a refusal more. What has passed is now.
fn secs_until(epoch_secs: i64, now: UnixMillis) -> u64 {
    let left_ms = epoch_secs.saturating_mul(1_000).saturating_sub(now.0);
    u64::try_from(left_ms).unwrap_or(0).div_ceil(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-26T00:00:00Z and half a second.
    const NOW: UnixMillis = UnixMillis(1_795_651_200_500);

    fn told(body: &str, headers: &[(&'static str, &str)]) -> Option<u64> {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        told_wait_secs(&ErrorFacts::read(body.as_bytes()), &HeaderMap::from_iter(headers), NOW)
    }

    #[test]
    fn each_way_of_saying_it_is_understood() {
        let info = r#"{"error":{"code":429,"details":[{"retryDelay":"51820.638305887s"}]}}"#;
        assert_eq!(told(info, &[]), Some(51_821));
        assert_eq!(told("", &[("retry-after", "120")]), Some(120));
        assert_eq!(told("", &[("retry-after", "Thu, 26 Nov 2026 00:02:00 GMT")]), Some(120));
        assert_eq!(told("", &[("anthropic-ratelimit-unified-reset", "1795651320")]), Some(120));
        assert_eq!(told("", &[]), None);
    }

    #[test]
    fn the_wait_of_this_refusal_goes_before_the_window_s_end() {
        let both = [("retry-after", "7"), ("anthropic-ratelimit-unified-reset", "1795669200")];
        assert_eq!(told("", &both), Some(7));
        let garbled = [("retry-after", "soon"), ("anthropic-ratelimit-unified-reset", "1795651203")];
        assert_eq!(told("", &garbled), Some(3));
    }

    #[test]
    fn what_has_passed_is_a_second_and_what_cannot_be_read_is_nothing() {
        assert_eq!(told("", &[("retry-after", "Thu, 26 Nov 2020 00:02:00 GMT")]), Some(1));
        assert_eq!(told("", &[("retry-after", "0")]), Some(1));
        assert_eq!(told("", &[("anthropic-ratelimit-unified-reset", "-9223372036854775808")]), Some(1));
        for nonsense in ["-1", "tomorrow", "Thu, 99 Nov 2026 00:02:00 GMT", ""] {
            assert_eq!(told("", &[("retry-after", nonsense)]), None, "{nonsense}");
        }
    }
}
