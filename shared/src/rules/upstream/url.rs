//! Base URLs and how a request's path is joined to one.
//!
//! Admins paste base URLs as they find them: an origin, a version root, a relay's prefix or a whole
//! endpoint. [`join_url`] serves all of them without ever doubling a version or an endpoint.

use std::borrow::Cow;
use std::net::Ipv6Addr;
use std::sync::Arc;
use thiserror::Error;

/// Where a provider's API begins. Parsed once when the configuration is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    origin: Arc<Origin>,
    /// Starts with a slash and does not end in one, or is empty.
    path: String,
}

/// A server to connect to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// TLS.
    pub is_https: bool,
    /// Name or address in lower case, IPv6 without brackets: to resolve, and for SNI.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The `Host` header: with brackets, without the scheme's own port.
    pub authority: String,
}

/// Where one request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTarget {
    /// The server.
    pub origin: Arc<Origin>,
    /// The request target.
    pub path_and_query: String,
}

/// Why a text is no base URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BaseUrlError {
    /// Blank, control or non-ASCII character.
    #[error("base URL has a character that must be percent-encoded (or, in a host, punycode)")]
    BadCharacter,
    /// Another scheme, or none.
    #[error("base URL must start with http:// or https://")]
    NotHttp,
    /// A user name or password.
    #[error("base URL must not contain a user name or password; use the provider's key")]
    HasUserinfo,
    /// A query: it would be lost, as requests bring their own.
    #[error("base URL must not contain a query")]
    HasQuery,
    /// A fragment.
    #[error("base URL must not contain a fragment")]
    HasFragment,
    /// No host, or none that can be resolved.
    #[error("base URL has no valid host")]
    BadHost,
    /// A port that is no number from 1 to 65535.
    #[error("base URL has no valid port")]
    BadPort,
    /// `.` or `..` as a segment of the path.
    #[error("base URL must not contain the path segments . or ..")]
    HasDotSegment,
    /// A path that HTTP cannot carry.
    #[error("base URL has a character in its path that must be percent-encoded")]
    BadPath,
}

/// Joins a provider's base URL with the path and query of a request.
///
/// `path` starts with a slash. The first rule that fits:
/// 1. the path is the base's path or goes on from it: the path on the base's origin;
/// 2. the path is `/{version}{tail}{suffix}` with a known tail: a base that ends in the tail gets the suffix
///    only, a base that ends in a version root gets tail and suffix (the client's version is dropped);
/// 3. else base path + path.
///
/// The query is the client's, byte for byte, [`without_credentials`].
#[must_use]
pub fn join_url(base: &BaseUrl, path: &str, query: Option<&str>) -> UpstreamTarget {
    let query = query.map(without_credentials).filter(|query| !query.is_empty());
    let (prefix, rest) = joined_path(&base.path, path);
    let mut path_and_query =
        String::with_capacity(prefix.len() + rest.len() + query.as_ref().map_or(0, |query| query.len() + 1));
    path_and_query.push_str(prefix);
    path_and_query.push_str(rest);
    if let Some(query) = query {
        path_and_query.push('?');
        path_and_query.push_str(&query);
    }
    UpstreamTarget { origin: Arc::clone(&base.origin), path_and_query }
}

/// A query without the parameters that carry a credential, `key` first of all. Names are compared
/// percent-decoded and without case; the other parameters keep their bytes and their order.
#[must_use]
pub fn without_credentials(query: &str) -> Cow<'_, str> {
    let is_clean = !query.split('&').any(is_credential);
    if is_clean {
        return Cow::Borrowed(query);
    }
    let kept: Vec<&str> = query.split('&').filter(|parameter| !is_credential(parameter)).collect();
    Cow::Owned(kept.join("&"))
}

impl BaseUrl {
    /// Reads `http(s)://host[:port][/path]`. Blanks around it and slashes at its end do not matter.
    pub fn parse(text: &str) -> Result<Self, BaseUrlError> {
        let text = text.trim();
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(BaseUrlError::BadCharacter);
        }
        let (scheme, rest) = text.split_once("://").ok_or(BaseUrlError::NotHttp)?;
        let is_https = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(BaseUrlError::NotHttp),
        };
        if rest.contains('#') {
            return Err(BaseUrlError::HasFragment);
        }
        if rest.contains('?') {
            return Err(BaseUrlError::HasQuery);
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(BaseUrlError::HasUserinfo);
        }
        let path = path.trim_end_matches('/');
        check_path(path)?;
        Ok(Self { origin: Arc::new(Origin::parse(is_https, authority)?), path: path.to_owned() })
    }

    /// The server.
    #[must_use]
    pub fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }
}

impl BaseUrlError {
    /// The name used in logs and problem documents.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::BadCharacter => "bad_character",
            Self::NotHttp => "not_http",
            Self::HasUserinfo => "has_userinfo",
            Self::HasQuery => "has_query",
            Self::HasFragment => "has_fragment",
            Self::BadHost => "bad_host",
            Self::BadPort => "bad_port",
            Self::HasDotSegment => "has_dot_segment",
            Self::BadPath => "bad_path",
        }
    }
}

impl Origin {
    fn parse(is_https: bool, authority: &str) -> Result<Self, BaseUrlError> {
        let (host, port) = Self::host_and_port(authority)?;
        let usual = if is_https { 443 } else { 80 };
        let port = port.unwrap_or(usual);
        let shown = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let authority = if port == usual { shown } else { format!("{shown}:{port}") };
        Ok(Self { is_https, host, port, authority })
    }

    /// Reads `host[:port]`: the host in lower case, IPv6 without its brackets.
    pub(super) fn host_and_port(authority: &str) -> Result<(String, Option<u16>), BaseUrlError> {
        let authority = authority.to_ascii_lowercase();
        let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
            let (address, port) = rest.split_once(']').ok_or(BaseUrlError::BadHost)?;
            let address: Ipv6Addr = address.parse().map_err(|_| BaseUrlError::BadHost)?;
            (address.to_string(), port)
        } else {
            let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
            let is_label = |label: &str| {
                let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
                !label.is_empty() && label.len() <= 63 && label.bytes().all(is_word)
            };
            // One dot at the end is the root of the name system.
            let name = host.strip_suffix('.').unwrap_or(host);
            if !name.split('.').all(is_label) {
                return Err(BaseUrlError::BadHost);
            }
            (host.to_owned(), port)
        };
        let port = match port.strip_prefix(':') {
            Some(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
                Some(digits.parse().ok().filter(|port| *port != 0).ok_or(BaseUrlError::BadPort)?)
            }
            Some(_) => return Err(BaseUrlError::BadPort),
            None if port.is_empty() => None,
            None => return Err(BaseUrlError::BadHost),
        };
        Ok((host, port))
    }
}

fn check_path(path: &str) -> Result<(), BaseUrlError> {
    let is_dots = |segment: &str| {
        let decoded = segment.replace("%2e", ".").replace("%2E", ".");
        decoded == "." || decoded == ".."
    };
    if path.split('/').any(is_dots) {
        return Err(BaseUrlError::HasDotSegment);
    }
    let is_carried = path.is_empty() || http::uri::PathAndQuery::try_from(path).is_ok();
    if is_carried && !path.contains('\\') { Ok(()) } else { Err(BaseUrlError::BadPath) }
}

/// The joined path in two parts.
fn joined_path<'a>(base: &'a str, path: &'a str) -> (&'a str, &'a str) {
    let goes_on = path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if goes_on {
        return ("", path);
    }
    if let Some(call) = without_version(path)
        && let Some((tail, suffix)) = split_tail(call)
    {
        if base.ends_with(tail) {
            return (base, suffix);
        }
        if base.rsplit('/').next().is_some_and(is_version) {
            return (base, call);
        }
    }
    (base, path)
}

/// `/v1/messages` → `/messages`.
fn without_version(path: &str) -> Option<&str> {
    let path = path.strip_prefix('/')?;
    let (version, call) = path.split_at(path.find('/')?);
    is_version(version).then_some(call)
}

fn split_tail(call: &str) -> Option<(&'static str, &str)> {
    TAILS.into_iter().find_map(|tail| {
        let suffix = call.strip_prefix(tail)?;
        (suffix.is_empty() || suffix.starts_with('/')).then_some((tail, suffix))
    })
}

/// `v1`, `v4`, `v1beta`, `v2alpha1`, `v1internal`; not `v1api`.
fn is_version(segment: &str) -> bool {
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let Some(rest) = segment.strip_prefix('v') else { return false };
    let stage = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    stage.len() < rest.len()
        && (stage.is_empty() || STAGES.iter().any(|known| stage.strip_prefix(known).is_some_and(is_number)))
}

/// Some servers take `;` for `&`: a parameter that holds a credential behind one goes as a whole.
fn is_credential(parameter: &str) -> bool {
    parameter.split(';').any(|part| {
        let name = part.split_once('=').map_or(part, |(name, _)| name);
        let name = percent_decoded(name);
        CREDENTIALS.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
    })
}

fn percent_decoded(name: &str) -> Cow<'_, [u8]> {
    if !name.contains('%') {
        return Cow::Borrowed(name.as_bytes());
    }
    let bytes = name.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let escaped = bytes.get(at + 1..at + 3).filter(|_| *byte == b'%').and_then(hex_pair);
        decoded.push(escaped.unwrap_or(*byte));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    Cow::Owned(decoded)
}

fn hex_pair(digits: &[u8]) -> Option<u8> {
    digits.iter().try_fold(0_u8, |value, digit| {
        let digit = u8::try_from(char::from(*digit).to_digit(16)?).ok()?;
        Some(value << 4 | digit)
    })
}

/// Ends of calls that a base URL may already contain.
const TAILS: [&str; 11] = [
    "/audio/transcriptions",
    "/audio/translations",
    "/chat/completions",
    "/completions",
    "/embeddings",
    "/files",
    "/images",
    "/messages",
    "/models",
    "/publishers/google/models",
    "/responses",
];

/// What may follow a version's number.
const STAGES: [&str; 3] = ["alpha", "beta", "internal"];

/// Query parameters that carry a credential.
const CREDENTIALS: [&str; 9] = [
    "key",
    "api_key",
    "api-key",
    "apikey",
    "access_token",
    "auth_token",
    "oauth_token",
    "x-api-key",
    "x-goog-api-key",
];

#[cfg(test)]
mod tests;
