use super::super::is_allowed_custom_header;
use super::super::names::{listed, pairs};
use super::*;

fn provider(provider_type: ProviderType, url: &str, custom: &[(&str, &str)]) -> UpstreamHeaders {
    let custom: Vec<_> = custom.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let base = BaseUrl::parse(url).unwrap();
    UpstreamHeaders::new(provider_type, &base, &Secret::new("sk-1"), &custom).unwrap()
}

fn sent(provider: &UpstreamHeaders, seat: &[(&'static str, &'static str)]) -> Vec<(String, String)> {
    let seat = pairs(seat);
    let headers = provider.request(seat.iter().map(|(n, v)| (n, v)), BodyForm::AsSent);
    listed(&headers).into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
}

/// What reaches the upstream of a seat's headers alone.
fn passed(seat: &[(&'static str, &'static str)]) -> Vec<(String, String)> {
    let mut headers = sent(&provider(ProviderType::Codex, "http://x", &[("content-type", "c")]), seat);
    let ours = headers.split_off(headers.len() - 3);
    assert_eq!(ours[0], ("accept-encoding".to_owned(), "identity".to_owned()));
    assert_eq!(ours[2].0, "authorization");
    headers
}

#[test]
fn what_a_seat_says_to_the_api_passes_verbatim_and_in_order() {
    let seat = [
        ("user-agent", "claude-cli/2.1"),
        ("anthropic-version", "2023-06-01"),
        ("anthropic-beta", "oauth-2025-04-20,context-1m-2025-08-07"),
        ("x-unknown", "1"),
        ("anthropic-beta", "extra"),
        ("anthropic-future", ""),
        ("x-claude-code-session-id", "s"),
        ("session_id", "c"),
        ("x-stainless-retry-count", "0"),
        ("content-encoding", "gzip"),
        ("accept", "text/event-stream"),
        ("cf-aig-cache-ttl", "1"),
    ];
    let passed = passed(&seat);
    let passed: Vec<_> = passed.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(passed, seat);
}

#[test]
fn framing_credentials_and_the_way_here_stay_behind() {
    for name in [
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "proxy-authorization",
        "proxy-connection",
        "http2-settings",
        "host",
        "content-length",
        "expect",
        "accept-encoding",
        "authorization",
        "x-api-key",
        "x-goog-api-key",
        "api-key",
        "cookie",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-proto",
        "x-real-ip",
        "x-client-ip",
        "x-originating-ip",
        "x-remote-ip",
        "x-remote-addr",
        "forwarded",
        "via",
        "cf-connecting-ip",
        "cf-ipcountry",
        "cf-ray",
        "cf-visitor",
        "cf-access-jwt-assertion",
        "cdn-loop",
        "true-client-ip",
        "x-cluster-client-ip",
        "fastly-client-ip",
        "x-azure-ref",
        "akamai-origin-hop",
        "x-request-id",
        "x-correlation-id",
        "x-trace-id",
        "x-amzn-trace-id",
        "x-b3-traceid",
        "b3",
        "traceparent",
        "tracestate",
        "x-cch-responses-ws-forward",
    ] {
        assert_eq!(
            passed(&[(name, "v"), ("x-kept", "v")]),
            [("x-kept".to_owned(), "v".to_owned())],
            "{name}"
        );
    }
}

#[test]
fn what_connection_names_stays_behind() {
    let seat = [
        ("x-hop", "1"),
        ("connection", "close, X-Hop"),
        ("x-kept", "2"),
        ("connection", " x-other"),
        ("x-other", "3"),
    ];
    assert_eq!(passed(&seat), [("x-kept".to_owned(), "2".to_owned())]);
}

#[test]
fn a_decoded_body_has_no_content_encoding() {
    let provider = provider(ProviderType::Codex, "http://x", &[]);
    let seat = pairs(&[("content-encoding", "gzip"), ("content-type", "application/json; charset=utf-8")]);
    let headers = provider.request(seat.iter().map(|(n, v)| (n, v)), BodyForm::Decoded);
    let names: Vec<_> = headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["content-type", "accept-encoding", "authorization"]);
}

#[test]
fn a_missing_content_type_is_json() {
    let headers = sent(&provider(ProviderType::Codex, "http://x", &[]), &[]);
    assert_eq!(headers[0], ("content-type".to_owned(), "application/json".to_owned()));
}

#[test]
fn a_custom_header_replaces_the_seats() {
    let provider = provider(
        ProviderType::Codex,
        "http://x",
        &[("User-Agent", "hub"), ("x-team", "a"), ("x-team", "b"), ("content-type", "t")],
    );
    let headers = sent(&provider, &[("user-agent", "curl"), ("x-team", "seat"), ("x-kept", "1")]);
    let headers: Vec<_> = headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(
        headers,
        [
            ("x-kept", "1"),
            ("accept-encoding", "identity"),
            ("user-agent", "hub"),
            ("x-team", "a"),
            ("x-team", "b"),
            ("content-type", "t"),
            ("authorization", "Bearer sk-1"),
        ]
    );
}

#[test]
fn authentication_follows_type_and_host() {
    let both = &[("authorization", "Bearer sk-1"), ("x-api-key", "sk-1")][..];
    let (bearer, key) = (&both[..1], &both[1..]);
    for (provider_type, url, expected) in [
        (ProviderType::Claude, "https://api.anthropic.example", both),
        (ProviderType::Claude, "http://127.0.0.1:9", both),
        (ProviderType::Claude, "https://claude-Relay.example", bearer),
        (ProviderType::Claude, "https://openrouter.example/api", bearer),
        (ProviderType::Claude, "https://x.workers.example", bearer),
        (ProviderType::Claude, "https://api.example/proxy", both),
        (ProviderType::Claude, "https://aws-external-anthropic.us-east-1.api.aws", key),
        (ProviderType::ClaudeAuth, "https://api.example", bearer),
        (ProviderType::Codex, "https://api.example", bearer),
        (ProviderType::OpenaiCompatible, "https://gateway.example", bearer),
        (ProviderType::Gemini, "https://gateway.example", &[("x-goog-api-key", "sk-1")]),
    ] {
        let headers = sent(&provider(provider_type, url, &[]), &[("authorization", "Bearer cch-1")]);
        let headers: Vec<_> = headers[2..].iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(headers, expected, "{provider_type:?} {url}");
    }
}

#[test]
fn a_google_token_is_a_bearer_and_json_is_refused() {
    let base = BaseUrl::parse("https://x").unwrap();
    let gemini = |secret: &str| UpstreamHeaders::new(ProviderType::Gemini, &base, &Secret::new(secret), &[]);
    let token = gemini("ya29.t").unwrap();
    assert_eq!(listed(&token.credentials), [("authorization", "Bearer ya29.t")]);
    assert_eq!(gemini(" {\"refresh_token\":\"r\"}").err(), Some(HeaderError::SecretIsJson));
    assert_eq!(gemini("a\nb").err(), Some(HeaderError::BadSecret));
    assert!(gemini("").unwrap().credentials.is_empty());
}

#[test]
fn secrets_do_not_print() {
    let provider = provider(ProviderType::Claude, "http://x", &[("x-second", "sk-2")]);
    assert!(!format!("{provider:?}").contains("sk-"), "{provider:?}");
}

#[test]
fn a_custom_header_cannot_touch_framing_or_authentication() {
    for name in [
        "Authorization",
        "X-Api-Key",
        "x-goog-api-key",
        "api-key",
        "Host",
        "Content-Length",
        "Connection",
        "Transfer-Encoding",
        "expect",
        "proxy-authorization",
        "accept-encoding",
        "x-cch-internal",
        "bad name",
        "",
    ] {
        assert!(!is_allowed_custom_header(name), "{name}");
    }
    for name in ["User-Agent", "anthropic-beta", "x-team", "cookie", "x-forwarded-for"] {
        assert!(is_allowed_custom_header(name), "{name}");
    }
    let base = BaseUrl::parse("https://x").unwrap();
    let custom = |name: &str, value: &str| {
        let custom = [("x-good".to_owned(), "v".to_owned()), (name.to_owned(), value.to_owned())];
        UpstreamHeaders::new(ProviderType::Codex, &base, &Secret::new("s"), &custom).err()
    };
    assert_eq!(custom("host", "v"), Some(HeaderError::Reserved { index: 1 }));
    assert_eq!(custom("a b", "v"), Some(HeaderError::BadName { index: 1 }));
    assert_eq!(custom("x-a", "v\r\nhost: y"), Some(HeaderError::BadValue { index: 1 }));
    assert_eq!(custom("x-a", "v"), None);
}
