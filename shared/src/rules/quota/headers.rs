//! What a seat is told of its own budgets, in its dialect's headers.
//!
//! Claude Code warns at 75 % and at 95 % of what `anthropic-ratelimit-unified-*` say (reference/protocols.md §6.2; the form was
//! observed at subscription seats). It knows two windows: of five hours and of seven days. Here a day stands with the five hours and
//! what is longer with the seven days; of each the tightest is told. What is told is what was spent, not what is held: a budget must
//! not look used up because of what running requests may cost.
//!
//! Codex shows two windows by what `x-codex-*` say (openai/codex, codex-rs/codex-api/src/rate_limits.rs): the primary and the
//! secondary one, here the same two. How long they are it is told in minutes, and calls them by that.
//!
//! OpenAI's clients read how many requests of a minute are left in `x-ratelimit-*-requests`. Nothing else is told of requests, and
//! nothing at all of what nobody limits.

use super::window::{FIVE_HOURS_MS, Kind};
use super::words::{Refusal, RequestsNow, Standing, What, WindowNow};
use crate::money::NanoUsd;
use crate::protocol::Dialect;
use crate::time::UnixMillis;
use std::cmp::Reverse;

/// A header and its value.
pub type Header = (&'static str, String);

/// The headers of an answer to a request that was let in.
#[must_use]
pub fn of_standing(dialect: Dialect, standing: &Standing, now: UnixMillis) -> Vec<Header> {
    told(dialect, standing, false, now)
}

/// The headers of a refusal: of the limit that is reached.
#[must_use]
pub fn of_refusal(dialect: Dialect, refusal: &Refusal, now: UnixMillis) -> Vec<Header> {
    let Refusal { scope, what, resets_at } = *refusal;
    let mut standing = Standing::default();
    match what {
        What::Money { kind, limit, spent, held, escrowed, .. } => {
            let window = WindowNow { scope, kind, limit, spent, held, escrowed, starts_at: None, resets_at };
            standing.windows.push(window);
        }
        // When the next one is let in: the rest comes back a little later.
        What::Requests { limit, current } => {
            standing.requests.push(RequestsNow { scope, limit, current, resets_at });
        }
        What::Sessions { .. } => {}
    }
    told(dialect, &standing, true, now)
}

fn told(dialect: Dialect, standing: &Standing, is_refused: bool, now: UnixMillis) -> Vec<Header> {
    match dialect {
        Dialect::Anthropic => unified(&standing.windows, is_refused, now),
        Dialect::OpenaiChat | Dialect::OpenaiResponses => {
            let mut headers = limit_headers(&standing.windows, now);
            headers.extend(request_headers(&standing.requests, now).into_iter().flatten());
            if dialect == Dialect::OpenaiResponses {
                add_codex(&mut headers, &standing.windows, now);
            }
            headers
        }
        Dialect::Gemini => limit_headers(&standing.windows, now),
    }
}

/// The one with the greatest part spent; of several the one that comes back last.
fn tightest<'a>(windows: impl Iterator<Item = &'a WindowNow>, now: UnixMillis) -> Option<&'a WindowNow> {
    windows.max_by_key(|window| (spent_parts(window), resets_at(window, now).unwrap_or(UnixMillis(i64::MAX))))
}

/// What is spent of a window, in ten-thousandths, rounded down: 74.999 % is not 75 %.
fn spent_parts(window: &WindowNow) -> i64 {
    let parts = i128::from(window.spent.0.max(0)) * PARTS / i128::from(window.limit.0.max(1));
    i64::try_from(parts.min(PARTS)).unwrap_or(0)
}

/// When it begins anew. What goes by gradually has gone by then.
fn resets_at(window: &WindowNow, now: UnixMillis) -> Option<UnixMillis> {
    let width = match window.kind {
        Kind::FiveHours => FIVE_HOURS_MS,
        Kind::Daily => super::window::DAY_MS,
        Kind::Weekly | Kind::Monthly | Kind::Total => return window.resets_at,
    };
    window.resets_at.or(Some(UnixMillis(now.0.saturating_add(width))))
}

fn is_short(window: &WindowNow) -> bool {
    matches!(window.kind, Kind::FiveHours | Kind::Daily)
}

/// The tightest of the short windows, and of the long ones.
fn two(windows: &[WindowNow], now: UnixMillis) -> [Option<&WindowNow>; 2] {
    [true, false].map(|short| tightest(windows.iter().filter(|window| is_short(window) == short), now))
}

fn unified(windows: &[WindowNow], is_refused: bool, now: UnixMillis) -> Vec<Header> {
    let [short, long] = two(windows, now);
    let Some(worst) = tightest([short, long].into_iter().flatten(), now) else { return Vec::new() };
    let status = |window: &WindowNow| match spent_parts(window) {
        _ if is_refused => "rejected",
        WARNS_AT.. => "allowed_warning",
        _ => "allowed",
    };
    let seconds = |window: &WindowNow| resets_at(window, now).map(seconds);
    let claim = if is_short(worst) { "five_hour" } else { "seven_day" };
    let mut headers = vec![
        ("anthropic-ratelimit-unified-status", status(worst).to_owned()),
        ("anthropic-ratelimit-unified-representative-claim", claim.to_owned()),
    ];
    headers.extend(seconds(worst).map(|at| ("anthropic-ratelimit-unified-reset", at)));
    let windows = [
        (
            short,
            [
                "anthropic-ratelimit-unified-5h-status",
                "anthropic-ratelimit-unified-5h-utilization",
                "anthropic-ratelimit-unified-5h-reset",
            ],
        ),
        (
            long,
            [
                "anthropic-ratelimit-unified-7d-status",
                "anthropic-ratelimit-unified-7d-utilization",
                "anthropic-ratelimit-unified-7d-reset",
            ],
        ),
    ];
    for (window, [of_status, of_utilization, of_reset]) in windows {
        let Some(window) = window else { continue };
        headers.push((of_status, status(window).to_owned()));
        headers.push((of_utilization, utilization(window)));
        headers.extend(seconds(window).map(|at| (of_reset, at)));
    }
    headers
}

/// Unix seconds, rounded up: who waits until then is not too early.
fn seconds(at: UnixMillis) -> String {
    (at.0 + 999).div_euclid(1_000).to_string()
}

fn add_codex(headers: &mut Vec<Header>, windows: &[WindowNow], now: UnixMillis) {
    let names = [
        [
            "x-codex-primary-used-percent",
            "x-codex-primary-window-minutes",
            "x-codex-primary-reset-at",
            "x-codex-primary-reset-after-seconds",
        ],
        [
            "x-codex-secondary-used-percent",
            "x-codex-secondary-window-minutes",
            "x-codex-secondary-reset-at",
            "x-codex-secondary-reset-after-seconds",
        ],
    ];
    for (window, [of_percent, of_minutes, of_reset, of_wait]) in two(windows, now).into_iter().zip(names) {
        let Some(window) = window else { continue };
        headers.push((of_percent, percent(window)));
        headers.extend(minutes(window.kind).map(|minutes| (of_minutes, minutes.to_string())));
        if let Some(at) = resets_at(window, now) {
            headers.push((of_reset, seconds(at)));
            headers.push((of_wait, at.since(now).div_ceil(1_000).to_string()));
        }
    }
}

/// What a client knows the window by. One for good has no length: it is shown without a name.
fn minutes(kind: Kind) -> Option<u32> {
    match kind {
        Kind::FiveHours => Some(300),
        Kind::Daily => Some(1_440),
        Kind::Weekly => Some(10_080),
        Kind::Monthly => Some(43_200),
        Kind::Total => None,
    }
}

/// A part of a hundred: `74.99`.
fn percent(window: &WindowNow) -> String {
    let parts = spent_parts(window);
    decimal(format!("{}.{:02}", parts / 100, parts % 100))
}

/// A part of one: `0.74`.
fn utilization(window: &WindowNow) -> String {
    let parts = spent_parts(window);
    decimal(format!("{}.{:04}", parts / 10_000, parts % 10_000))
}

/// One digit behind the point at least, and no zeros that say nothing.
fn decimal(text: String) -> String {
    match text.trim_end_matches('0') {
        whole if whole.ends_with('.') => format!("{whole}0"),
        text => text.to_owned(),
    }
}

/// As OpenAI tells of requests and tokens, of dollars: the tightest window.
fn limit_headers(windows: &[WindowNow], now: UnixMillis) -> Vec<Header> {
    let Some(window) = tightest(windows.iter(), now) else { return Vec::new() };
    let left = NanoUsd(window.limit.0.saturating_sub(window.spent.0).max(0));
    let mut headers =
        vec![("x-ratelimit-limit-usd", window.limit.to_usd()), ("x-ratelimit-remaining-usd", left.to_usd())];
    let reset = resets_at(window, now);
    headers.extend(reset.map(|at| ("x-ratelimit-reset-usd", format!("{}s", at.since(now).div_ceil(1_000)))));
    headers
}

/// As OpenAI tells of requests: the limit of which the fewest are left; of several the one that comes back last.
fn request_headers(requests: &[RequestsNow], now: UnixMillis) -> Option<[Header; 3]> {
    let tightest = requests.iter().min_by_key(|now| (now.remaining(), Reverse(now.resets_at)))?;
    let secs = tightest.resets_at.map_or(0, |at| at.since(now).div_ceil(1_000));
    Some([
        ("x-ratelimit-limit-requests", tightest.limit.to_string()),
        ("x-ratelimit-remaining-requests", tightest.remaining().to_string()),
        ("x-ratelimit-reset-requests", duration(secs)),
    ])
}

/// As OpenAI writes one: `1s`, `6m0s`.
fn duration(secs: u64) -> String {
    match (secs / 60, secs % 60) {
        (0, secs) => format!("{secs}s"),
        (minutes, secs) => format!("{minutes}m{secs}s"),
    }
}

/// The whole, as [`spent_parts`] counts.
const PARTS: i128 = 10_000;
/// From here on a client warns.
const WARNS_AT: i64 = 7_500;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::quota::ScopeId;

    const NOW: UnixMillis = UnixMillis(1_790_000_000_000);

    fn window(kind: Kind, spent: i64, resets_in_s: Option<i64>) -> WindowNow {
        WindowNow {
            scope: ScopeId::Owner,
            kind,
            limit: NanoUsd(20_000_000_000),
            spent: NanoUsd(spent),
            held: NanoUsd(19_000_000_000),
            escrowed: NanoUsd(0),
            starts_at: None,
            resets_at: resets_in_s.map(|s| UnixMillis(NOW.0 + s * 1_000)),
        }
    }

    fn requests(current: u32, limit: u32, resets_in_s: i64) -> RequestsNow {
        let resets_at = Some(UnixMillis(NOW.0 + resets_in_s * 1_000));
        RequestsNow { scope: ScopeId::Owner, limit, current, resets_at }
    }

    /// One a line, sorted.
    fn text(headers: Vec<Header>) -> String {
        let mut lines: Vec<String> =
            headers.into_iter().map(|(name, value)| format!("{name}: {value}")).collect();
        lines.sort_unstable();
        lines.join("\n")
    }

    #[test]
    fn the_headers_of_a_claude_seat_are_as_recorded_at_74_75_95_and_100_percent() {
        let examples = include_str!("headers/unified.txt");
        let mut said = String::new();
        for (percent, of_week) in [("74", 10), ("75", 10), ("95", 96), ("100", 10)] {
            let spent = percent.parse::<i64>().unwrap() * 200_000_000;
            let windows = vec![
                window(Kind::FiveHours, 1_000_000_000, None),
                // Not quite a dollar-cent over: rounded down.
                window(Kind::Daily, spent + 1_999_999, Some(3_600)),
                window(Kind::Weekly, of_week * 200_000_000, Some(400_000)),
                window(Kind::Total, 0, None),
            ];
            let requests = vec![requests(1, 60, 60)];
            let standing = Standing { windows, requests, ..Standing::default() };
            said += &format!("# {percent} %\n{}\n", text(of_standing(Dialect::Anthropic, &standing, NOW)));
        }
        let what = What::Money {
            kind: Kind::Monthly,
            limit: NanoUsd(20_000_000_000),
            spent: NanoUsd(20_000_000_001),
            held: NanoUsd(0),
            escrowed: NanoUsd(0),
            need: NanoUsd(1),
        };
        let refusal = Refusal { scope: ScopeId::Owner, what, resets_at: Some(UnixMillis(NOW.0 + 1_500)) };
        said += &format!("# refused\n{}\n", text(of_refusal(Dialect::Anthropic, &refusal, NOW)));
        assert_eq!(said, examples);
    }

    #[test]
    fn other_seats_read_dollars_of_their_tightest_window() {
        let windows = vec![
            window(Kind::FiveHours, 1_000_000_000, None),
            window(Kind::Weekly, 12_340_000_000, Some(90)),
        ];
        let standing = Standing { windows, ..Standing::default() };
        for dialect in [Dialect::OpenaiChat, Dialect::OpenaiResponses, Dialect::Gemini] {
            let mut headers = of_standing(dialect, &standing, NOW);
            // What Codex reads beside.
            headers.retain(|(name, _)| dialect != Dialect::OpenaiResponses || !name.starts_with("x-codex-"));
            assert_eq!(
                text(headers),
                "x-ratelimit-limit-usd: 20.00\nx-ratelimit-remaining-usd: 7.66\nx-ratelimit-reset-usd: 90s"
            );
        }
    }

    /// What Codex reads, as `name: value` without the common beginning.
    fn codex(headers: Vec<Header>) -> String {
        text(headers.into_iter().filter(|(name, _)| name.starts_with("x-codex-")).collect())
            .replace("x-codex-", "")
    }

    #[test]
    fn codex_reads_its_short_and_its_long_window_by_their_length() {
        let windows = vec![
            window(Kind::FiveHours, 1_000_000_000, None),
            // 74.999 % are not 75.
            window(Kind::Daily, 14_999_999_999, Some(3_600)),
            window(Kind::Weekly, 1_500_000_000, Some(400_000)),
            window(Kind::Monthly, 200_000_000, Some(900_000)),
        ];
        let standing = Standing { windows, ..Standing::default() };
        assert_eq!(
            codex(of_standing(Dialect::OpenaiResponses, &standing, NOW)),
            "primary-reset-after-seconds: 3600\nprimary-reset-at: 1790003600\nprimary-used-percent: 74.99\n\
             primary-window-minutes: 1440\nsecondary-reset-after-seconds: 400000\nsecondary-reset-at: 1790400000\n\
             secondary-used-percent: 7.5\nsecondary-window-minutes: 10080"
        );
        for dialect in [Dialect::Anthropic, Dialect::OpenaiChat, Dialect::Gemini] {
            assert_eq!(codex(of_standing(dialect, &standing, NOW)), "", "{dialect:?}");
        }
        let one = |window| {
            let standing = Standing { windows: vec![window], ..Standing::default() };
            codex(of_standing(Dialect::OpenaiResponses, &standing, NOW))
        };
        assert_eq!(
            one(window(Kind::FiveHours, 0, None)),
            "primary-reset-after-seconds: 18000\nprimary-reset-at: 1790018000\nprimary-used-percent: 0.0\n\
             primary-window-minutes: 300"
        );
        assert_eq!(one(window(Kind::Total, 30_000_000_000, None)), "secondary-used-percent: 100.0");
        assert!(one(window(Kind::Monthly, 0, Some(9))).ends_with("secondary-window-minutes: 43200"));
        let used_up = window(Kind::Weekly, 20_000_000_000, Some(90)).refusal(NanoUsd(1));
        assert!(
            codex(of_refusal(Dialect::OpenaiResponses, &used_up, NOW))
                .contains("secondary-used-percent: 100.0")
        );
    }

    #[test]
    fn who_has_no_limit_is_told_nothing() {
        for dialect in [Dialect::Anthropic, Dialect::OpenaiChat, Dialect::OpenaiResponses] {
            assert_eq!(of_standing(dialect, &Standing::default(), NOW), []);
        }
        let what = What::Requests { limit: 1, current: 1 };
        let refusal = Refusal { scope: ScopeId::Owner, what, resets_at: Some(NOW) };
        for dialect in [Dialect::Anthropic, Dialect::Gemini] {
            assert_eq!(of_refusal(dialect, &refusal, NOW), []);
        }
        let what = What::Sessions { limit: 1, current: 1 };
        assert_eq!(of_refusal(Dialect::OpenaiChat, &Refusal { what, ..refusal }, NOW), []);
    }

    #[test]
    fn openais_seats_read_which_requests_of_a_minute_are_left_also_where_none_is() {
        for (standing, said) in [
            (vec![requests(1, 60, 65)], "60 59 1m5s"),
            (vec![requests(1, 60, 60), requests(7, 10, 5)], "10 3 5s"),
            (vec![requests(9, 10, 5), requests(1, 2, 60)], "2 1 1m0s"),
            (vec![RequestsNow { resets_at: None, ..requests(0, 9, 0) }], "9 9 0s"),
            // The limit was lowered meanwhile.
            (vec![requests(5, 3, 360)], "3 0 6m0s"),
        ] {
            let standing = Standing { requests: standing, ..Standing::default() };
            for dialect in [Dialect::OpenaiChat, Dialect::OpenaiResponses] {
                let headers = of_standing(dialect, &standing, NOW);
                let (names, values): (Vec<_>, Vec<_>) = headers.into_iter().unzip();
                assert_eq!(
                    names,
                    ["limit", "remaining", "reset"].map(|part| format!("x-ratelimit-{part}-requests"))
                );
                assert_eq!(values.join(" "), said);
            }
            assert_eq!(of_standing(Dialect::Anthropic, &standing, NOW), []);
        }
        let what = What::Requests { limit: 60, current: 60 };
        let refusal = Refusal { scope: ScopeId::Owner, what, resets_at: Some(UnixMillis(NOW.0 + 3_001)) };
        assert_eq!(
            text(of_refusal(Dialect::OpenaiChat, &refusal, NOW)),
            "x-ratelimit-limit-requests: 60\nx-ratelimit-remaining-requests: 0\nx-ratelimit-reset-requests: 4s"
        );
    }
}
