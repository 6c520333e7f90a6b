//! The header list of an answer to a seat.

use super::names::{drop_named_by_connection, is_framing, is_of_the_upstream_alone};
use http::header::{self, HeaderName, HeaderValue};

/// What an upstream's head becomes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeatHeaders {
    /// To be sent to the seat, in the upstream's order.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The upstream's `content-length`, not in `headers`: whether it still holds is the relay's to say.
    pub content_length: Option<u64>,
}

/// Turns an upstream's headers into the seat's. They pass verbatim, `request-id` and `retry-after` included, but
/// for:
/// - framing (`content-length` is kept aside);
/// - `x-request-id`, which becomes `x-upstream-request-id`: the name is ours;
/// - all rate-limit headers (`anthropic-ratelimit-*`, `x-ratelimit-*`, `ratelimit*`, and Codex's windows, credits and plan), not only
///   Anthropic's unified ones: they tell the state of an account that all seats share, and a seat that paces itself by
///   them reacts to others' traffic;
/// - cookies and what a browser would hold against the gateway's own origin.
#[must_use]
pub fn response_headers<'a>(
    upstream: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
) -> SeatHeaders {
    let mut seat = SeatHeaders { headers: Vec::with_capacity(24), content_length: None };
    let mut connection = Vec::new();
    for (name, value) in upstream {
        if name == header::CONNECTION {
            connection.push(value);
        } else if name == header::CONTENT_LENGTH {
            seat.content_length = value.to_str().ok().and_then(|length| length.parse().ok());
        } else if name == X_REQUEST_ID {
            seat.headers.push((HeaderName::from_static(X_UPSTREAM_REQUEST_ID), value.clone()));
        } else if !is_framing(name) && !is_of_the_upstream_alone(name) {
            seat.headers.push((name.clone(), value.clone()));
        }
    }
    drop_named_by_connection(&mut seat.headers, &connection);
    seat
}

/// The id under which the upstream's operator finds the request: the vendors' own names first, then those of
/// relays and CDNs. Ids that are empty, not ASCII or longer than 128 bytes are passed over.
#[must_use]
pub fn upstream_request_id<'a>(
    upstream: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
) -> Option<&'a str> {
    let named = upstream.into_iter().filter_map(|(name, value)| {
        let rank = REQUEST_IDS.iter().position(|known| name == known)?;
        let id = value.to_str().ok()?.trim();
        (1..=MAX_REQUEST_ID).contains(&id.len()).then_some((rank, id))
    });
    named.min_by_key(|(rank, _)| *rank).map(|(_, id)| id)
}

const X_REQUEST_ID: &str = "x-request-id";
const X_UPSTREAM_REQUEST_ID: &str = "x-upstream-request-id";

/// Bytes of an upstream's id that are worth a place in the log.
const MAX_REQUEST_ID: usize = 128;

/// Names of request ids, the most telling first.
const REQUEST_IDS: [&str; 7] = [
    "request-id",
    X_REQUEST_ID,
    "x-oneapi-request-id",
    "x-amzn-requestid",
    "apim-request-id",
    "x-goog-request-id",
    "cf-ray",
];

#[cfg(test)]
mod tests {
    use super::super::names::{listed, pairs};
    use super::*;

    fn relayed(upstream: &[(&'static str, &'static str)]) -> SeatHeaders {
        response_headers(pairs(upstream).iter().map(|(n, v)| (n, v)))
    }

    #[test]
    fn an_answer_passes_verbatim_and_in_order() {
        let upstream = [
            ("content-type", "text/event-stream"),
            ("request-id", "req_1"),
            ("retry-after", "3"),
            ("x-should-retry", "true"),
            ("x-codex-turn-state", "t"),
            ("content-encoding", "gzip"),
            ("x-multi", "1"),
            ("anthropic-organization-id", "o"),
            ("x-multi", "2"),
            ("cache-control", "no-cache"),
        ];
        assert_eq!(listed(&relayed(&upstream).headers), upstream);
    }

    #[test]
    fn what_is_the_upstreams_alone_stays_there() {
        for name in [
            "connection",
            "keep-alive",
            "transfer-encoding",
            "trailer",
            "upgrade",
            "proxy-authenticate",
            "anthropic-ratelimit-unified-5h-utilization",
            "anthropic-ratelimit-requests-remaining",
            "x-ratelimit-remaining-tokens",
            "x-codex-primary-used-percent",
            "x-codex-secondary-reset-at",
            "x-codex-primary-over-secondary-limit-percent",
            "x-codex-bengalfox-secondary-window-minutes",
            "x-codex-bengalfox-limit-name",
            "x-codex-credits-balance",
            "x-codex-plan-type",
            "x-codex-active-limit",
            "x-codex-rate-limit-reached-type",
            "x-codex-promo-message",
            "ratelimit",
            "ratelimit-limit",
            "set-cookie",
            "alt-svc",
            "strict-transport-security",
            "clear-site-data",
            "nel",
            "report-to",
            "x-cch-x",
            "x-upstream-request-id",
        ] {
            assert_eq!(
                listed(&relayed(&[(name, "v"), ("x-kept", "v")]).headers),
                [("x-kept", "v")],
                "{name}"
            );
        }
    }

    #[test]
    fn an_upstreams_request_id_gets_another_name() {
        let upstream = [("x-upstream-request-id", "theirs"), ("x-request-id", "a"), ("request-id", "b")];
        assert_eq!(
            listed(&relayed(&upstream).headers),
            [("x-upstream-request-id", "a"), ("request-id", "b")]
        );
    }

    #[test]
    fn the_length_is_told_but_not_sent() {
        assert_eq!(
            relayed(&[("content-length", "42")]),
            SeatHeaders { headers: Vec::new(), content_length: Some(42) }
        );
        assert_eq!(relayed(&[("content-length", "x")]).content_length, None);
    }

    #[test]
    fn what_connection_names_is_not_sent() {
        let upstream = [("connection", "x-hop, keep-alive"), ("x-hop", "1"), ("x-kept", "2")];
        assert_eq!(listed(&relayed(&upstream).headers), [("x-kept", "2")]);
    }

    #[test]
    fn the_vendors_request_id_comes_first() {
        let id = |upstream: &[(&'static str, &'static str)]| {
            upstream_request_id(pairs(upstream).iter().map(|(n, v)| (n, v))).map(str::to_owned)
        };
        assert_eq!(id(&[("cf-ray", "c"), ("x-request-id", "b"), ("request-id", "a")]).as_deref(), Some("a"));
        assert_eq!(id(&[("cf-ray", "c"), ("x-request-id", "b")]).as_deref(), Some("b"));
        assert_eq!(id(&[("request-id", " "), ("cf-ray", "c")]).as_deref(), Some("c"));
        assert_eq!(id(&[("date", "today")]), None);
    }
}
