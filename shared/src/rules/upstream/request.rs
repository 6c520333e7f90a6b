//! The header list of a request to an upstream.

use super::names::{drop_named_by_connection, is_credential, is_framing, is_of_the_way_here, is_reserved};
use super::url::{BaseUrl, Origin};
use crate::model::ProviderType;
use crate::secret::Secret;
use http::header::{self, HeaderName, HeaderValue};
use thiserror::Error;

/// What one provider's requests carry besides the seat's headers. Made once when the configuration is read.
/// Its values never print.
#[derive(Clone, Debug)]
pub struct UpstreamHeaders {
    custom: Vec<(HeaderName, HeaderValue)>,
    credentials: Vec<(HeaderName, HeaderValue)>,
}

/// How the body goes out, compared with how the seat sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyForm {
    /// Its `content-encoding` still describes it.
    AsSent,
    /// The gateway has undone the `content-encoding`.
    Decoded,
}

/// Why a provider's headers cannot be made. Indices count custom headers from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// Not a header name.
    #[error("custom header {index} has an invalid name")]
    BadName {
        /// Which.
        index: usize,
    },
    /// Not a header value.
    #[error("custom header {index} has an invalid value")]
    BadValue {
        /// Which.
        index: usize,
    },
    /// Framing or authentication, see [`is_allowed_custom_header`](super::is_allowed_custom_header).
    #[error("custom header {index} has a name that the gateway sets itself")]
    Reserved {
        /// Which.
        index: usize,
    },
    /// The provider's key has a character that no header can carry, often a line break.
    #[error("the provider's key has a character that a header cannot carry")]
    BadSecret,
    /// The provider's key is a JSON document.
    #[error("the provider's key is a JSON document; paste an API key or an access token")]
    SecretIsJson,
}

impl UpstreamHeaders {
    /// Checks and keeps what a provider's requests carry.
    pub fn new(
        provider_type: ProviderType,
        base: &BaseUrl,
        secret: &Secret,
        custom: &[(String, String)],
    ) -> Result<Self, HeaderError> {
        let custom = custom.iter().enumerate().map(custom_header).collect::<Result<_, _>>()?;
        Ok(Self { custom, credentials: credentials(provider_type, base.origin(), secret)? })
    }

    /// The headers of one request, in the order they are to be sent. The seat's pass verbatim but for framing,
    /// credentials and what [tells of the way here](super), and but for those a custom header replaces.
    ///
    /// `host` and `content-length` are left to whoever writes the request: they follow from
    /// [`UpstreamTarget`](super::UpstreamTarget) and the body.
    #[must_use]
    pub fn request<'a>(
        &self,
        seat: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
        body: BodyForm,
    ) -> Vec<(HeaderName, HeaderValue)> {
        let mut headers = Vec::with_capacity(24);
        let mut connection = Vec::new();
        for (name, value) in seat {
            if name == header::CONNECTION {
                connection.push(value);
            } else if self.passes(name, body) {
                headers.push((name.clone(), value.clone()));
            }
        }
        drop_named_by_connection(&mut headers, &connection);

        let has_content_type =
            headers.iter().chain(&self.custom).any(|(name, _)| name == header::CONTENT_TYPE);
        if !has_content_type {
            headers.push((header::CONTENT_TYPE, HeaderValue::from_static("application/json")));
        }
        // The tap reads the answer as it passes, so it must not be compressed.
        headers.push((header::ACCEPT_ENCODING, HeaderValue::from_static("identity")));
        headers.extend_from_slice(&self.custom);
        headers.extend_from_slice(&self.credentials);
        headers
    }

    /// A text of the provider's without the secrets that these headers carry.
    #[must_use]
    pub(super) fn scrubbed(&self, text: &str) -> String {
        let values = self.credentials.iter().chain(&self.custom).filter_map(|(_, value)| value.to_str().ok());
        values.fold(text.to_owned(), |text, value| {
            let secret = value.strip_prefix("Bearer ").unwrap_or(value);
            if secret.len() < SCRUBBED_FROM { text } else { text.replace(secret, "***") }
        })
    }

    fn passes(&self, name: &HeaderName, body: BodyForm) -> bool {
        let is_gone = match body {
            BodyForm::AsSent => false,
            BodyForm::Decoded => name == header::CONTENT_ENCODING,
        };
        !(is_gone
            || is_framing(name)
            || is_credential(name)
            || is_of_the_way_here(name)
            || name == header::ACCEPT_ENCODING
            || self.custom.iter().any(|(custom, _)| custom == name))
    }
}

impl HeaderError {
    /// The name used in logs and problem documents.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::BadName { .. } => "bad_header_name",
            Self::BadValue { .. } => "bad_header_value",
            Self::Reserved { .. } => "reserved_header",
            Self::BadSecret => "bad_secret",
            Self::SecretIsJson => "secret_is_json",
        }
    }
}

fn custom_header(
    (index, (name, value)): (usize, &(String, String)),
) -> Result<(HeaderName, HeaderValue), HeaderError> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| HeaderError::BadName { index })?;
    if is_reserved(&name) {
        return Err(HeaderError::Reserved { index });
    }
    let mut value = HeaderValue::from_str(value).map_err(|_| HeaderError::BadValue { index })?;
    // It may be a relay's second secret: keep it out of logs and HTTP/2 header tables.
    value.set_sensitive(true);
    Ok((name, value))
}

/// How a provider of this type at this host wants to be authenticated. An empty secret sends nothing: a
/// local server without accounts.
fn credentials(
    provider_type: ProviderType,
    origin: &Origin,
    secret: &Secret,
) -> Result<Vec<(HeaderName, HeaderValue)>, HeaderError> {
    let secret = secret.expose();
    if secret.is_empty() {
        return Ok(Vec::new());
    }
    let bearer = || Ok((header::AUTHORIZATION, sensitive(&format!("Bearer {secret}"))?));
    let key = |name| Ok((HeaderName::from_static(name), sensitive(secret)?));
    match provider_type {
        ProviderType::Claude if origin.host.starts_with(AWS_ANTHROPIC) => Ok(vec![key("x-api-key")?]),
        ProviderType::Claude if RELAY_WORDS.iter().any(|word| origin.host.contains(word)) => {
            Ok(vec![bearer()?])
        }
        ProviderType::Claude => Ok(vec![bearer()?, key("x-api-key")?]),
        ProviderType::ClaudeAuth | ProviderType::Codex | ProviderType::OpenaiCompatible => {
            Ok(vec![bearer()?])
        }
        // A service account or a login of gemini-cli: to be exchanged for a token first, and never to be sent.
        ProviderType::Gemini if secret.trim_start().starts_with('{') => Err(HeaderError::SecretIsJson),
        ProviderType::Gemini if secret.starts_with(GOOGLE_ACCESS_TOKEN) => Ok(vec![bearer()?]),
        ProviderType::Gemini => Ok(vec![key("x-goog-api-key")?]),
    }
}

fn sensitive(text: &str) -> Result<HeaderValue, HeaderError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| HeaderError::BadSecret)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Anthropic's API on AWS, `aws-external-anthropic.<region>.api.aws`: takes `x-api-key` alone.
const AWS_ANTHROPIC: &str = "aws-external-anthropic.";

/// Words in the host of a relay that takes `Authorization` alone (the predecessor's list).
const RELAY_WORDS: [&str; 8] =
    ["proxy", "relay", "gateway", "router", "worker", "openrouter", "api2d", "oaipro"];

/// Shorter values are words that a text may have by itself.
const SCRUBBED_FROM: usize = 4;

/// How a Google OAuth access token begins.
const GOOGLE_ACCESS_TOKEN: &str = "ya29.";

#[cfg(test)]
mod tests {
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
        let seat =
            pairs(&[("content-encoding", "gzip"), ("content-type", "application/json; charset=utf-8")]);
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
        let gemini =
            |secret: &str| UpstreamHeaders::new(ProviderType::Gemini, &base, &Secret::new(secret), &[]);
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
}
