//! Whose a header is. A header that is in none of these lists belongs to seat and upstream and passes.

use http::{HeaderName, HeaderValue, header};

/// Whether an admin may have a provider's requests carry this header: any that is neither framing, nor
/// negotiated by the gateway, nor authentication (that is the provider's key).
#[must_use]
pub fn is_allowed_custom_header(name: &str) -> bool {
    HeaderName::from_bytes(name.as_bytes()).is_ok_and(|name| !is_reserved(&name))
}

/// Set by the gateway alone.
pub(super) fn is_reserved(name: &HeaderName) -> bool {
    is_framing(name) || is_credential(name) || name == header::ACCEPT_ENCODING || is_our_own(name)
}

/// Meant for one connection, or describing one message on it. Never relayed, in either direction; who sends
/// the message writes them anew.
pub(super) fn is_framing(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "content-length"
            | "expect"
            | "host"
            | "http2-settings"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authentication-info"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Proves who the seat is to the gateway, or would prove who the gateway is to the upstream.
pub(super) fn is_credential(name: &HeaderName) -> bool {
    matches!(name.as_str(), "api-key" | "authorization" | "x-api-key" | "x-goog-api-key")
}

/// Spoken between the gateway and its own parts only.
fn is_our_own(name: &HeaderName) -> bool {
    name.as_str().starts_with("x-cch-")
}

/// Tells of the way from the seat to the gateway: addresses, identities and traces put in by balancers and
/// CDNs, and cookies of the gateway's own site. None of an upstream's business, and `cdn-loop` would even have a
/// CDN in front of the upstream refuse the request.
pub(super) fn is_of_the_way_here(name: &HeaderName) -> bool {
    let name = name.as_str();
    let is_listed = matches!(
        name,
        "b3" | "cdn-loop"
            | "cf-connecting-ip"
            | "cf-connecting-ipv6"
            | "cf-ew-via"
            | "cf-ipcountry"
            | "cf-pseudo-ipv4"
            | "cf-ray"
            | "cf-visitor"
            | "cf-worker"
            | "cookie"
            | "fastly-client-ip"
            | "forwarded"
            | "traceparent"
            | "tracestate"
            | "true-client-ip"
            | "via"
            | "x-amzn-trace-id"
            | "x-client-ip"
            | "x-cloud-trace-context"
            | "x-cluster-client-ip"
            | "x-correlation-id"
            | "x-original-forwarded-for"
            | "x-originating-ip"
            | "x-real-ip"
            | "x-remote-addr"
            | "x-remote-ip"
            | "x-request-id"
            | "x-trace-id"
    );
    let prefixes = ["akamai-", "cf-access-", "x-azure-", "x-b3-", "x-cch-", "x-forwarded-"];
    is_listed || prefixes.iter().any(|prefix| name.starts_with(prefix))
}

/// Says something about the upstream's site or account that would be taken for the gateway's.
///
/// Rate-limit headers speak of the provider's account, which all seats share; a seat is told its own limits
/// instead. The others would pin, redirect or clean up the gateway's origin in a browser.
pub(super) fn is_of_the_upstream_alone(name: &HeaderName) -> bool {
    let name = name.as_str();
    let is_listed = matches!(
        name,
        "alt-svc"
            | "clear-site-data"
            | "expect-ct"
            | "nel"
            | "public-key-pins"
            | "report-to"
            | "reporting-endpoints"
            | "set-cookie"
            | "set-cookie2"
            | "strict-transport-security"
            | "x-upstream-request-id"
    );
    let prefixes = ["anthropic-ratelimit-", "ratelimit-", "x-cch-", "x-ratelimit-"];
    is_listed
        || name == "ratelimit"
        || prefixes.iter().any(|prefix| name.starts_with(prefix))
        || is_of_codex_limits(name)
}

/// Codex's own: windows of the account and of each model group (`x-codex-bengalfox-primary-used-percent`), its credits and
/// its plan, and what is advertised to who has it. Others of that beginning (`x-codex-turn-state`) belong to the conversation.
fn is_of_codex_limits(name: &str) -> bool {
    let Some(name) = name.strip_prefix("x-codex-") else { return false };
    let is_of_window =
        ["primary", "secondary"].into_iter().any(|window| name.split('-').any(|part| part == window));
    matches!(name, "active-limit" | "allowed" | "limit-reached" | "plan-type" | "promo-message")
        || name == "rate-limit-reached-type"
        || name.starts_with("credits-")
        || name.ends_with("-limit-name")
        || is_of_window
}

/// Takes out what a `Connection` header named as meant for its connection.
pub(super) fn drop_named_by_connection(
    headers: &mut Vec<(HeaderName, HeaderValue)>,
    connection: &[&HeaderValue],
) {
    let names = || {
        let values = connection.iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).map(str::trim)
    };
    // Nearly always only framing is named, which is gone already.
    if names().any(|name| !name.eq_ignore_ascii_case("keep-alive") && !name.eq_ignore_ascii_case("close")) {
        headers.retain(|(header, _)| !names().any(|name| name.eq_ignore_ascii_case(header.as_str())));
    }
}

/// Header names and values for a test, in order.
#[cfg(test)]
pub(super) fn pairs(list: &[(&'static str, &'static str)]) -> Vec<(HeaderName, HeaderValue)> {
    list.iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect()
}

/// The reverse of [`pairs`].
#[cfg(test)]
pub(super) fn listed(headers: &[(HeaderName, HeaderValue)]) -> Vec<(&str, &str)> {
    headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect()
}
