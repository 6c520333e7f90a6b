//! Egress proxies: their URLs, and what goes wrong with them.
//!
//! The password is never part of a [`ProxyUrl`], so that it can be stored, shown, logged and compared.

use super::url::Origin;
use crate::secret::Secret;
use std::fmt;
use thiserror::Error;

/// Where a proxy listens and what it speaks, without its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyUrl {
    /// What it speaks.
    pub scheme: ProxyScheme,
    /// Name or address, IPv6 without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// User name, decoded.
    pub user: Option<String>,
}

/// What a proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyScheme {
    /// HTTP `CONNECT`.
    Http,
    /// HTTP `CONNECT` inside TLS.
    Https,
    /// SOCKS5; names are looked up here.
    Socks5,
    /// SOCKS5; names are looked up by the proxy.
    Socks5h,
}

/// A proxy with its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Where it listens.
    pub url: ProxyUrl,
    /// Goes with [`ProxyUrl::user`].
    pub password: Option<Secret>,
}

/// Why a text is no proxy URL. Never says a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProxyUrlError {
    /// Another scheme, or none.
    #[error("must start with http://, https://, socks5:// or socks5h://")]
    BadScheme,
    /// Blank, control or non-ASCII character.
    #[error("has a character that must be percent-encoded")]
    BadCharacter,
    /// A path, a query or a fragment.
    #[error("must end after host and port")]
    HasPath,
    /// No host, or none that can be resolved.
    #[error("has no valid host")]
    BadHost,
    /// A port that is no number from 1 to 65535.
    #[error("has no valid port")]
    BadPort,
    /// A user name or password that cannot be sent.
    #[error(
        "must have a user name and password of 1 to 255 visible characters each, or neither; \
         what is special in a URL must be percent-encoded, and the name has no colon"
    )]
    BadCredentials,
}

/// What went wrong with a proxy, before it had opened the way to the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyFailure {
    /// It has no address, or refuses connections.
    Unreachable,
    /// It did not open the way in time.
    TimedOut,
    /// Its TLS could not be agreed on.
    Tls,
    /// It does not take the user name and password, or wants some.
    Auth,
    /// It would not, or could not, open the way.
    Refused,
    /// What it said is no answer of a proxy.
    Protocol,
}

impl ProxyScheme {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Http, Self::Https, Self::Socks5, Self::Socks5h];

    /// As it is written in a URL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Socks5 => "socks5",
            Self::Socks5h => "socks5h",
        }
    }

    fn usual_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
            Self::Socks5 | Self::Socks5h => 1080,
        }
    }
}

impl ProxyFailure {
    /// A fixed word for the decision chain.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Unreachable => "proxy_unreachable",
            Self::TimedOut => "proxy_timeout",
            Self::Tls => "proxy_tls",
            Self::Auth => "proxy_auth",
            Self::Refused => "proxy_refused",
            Self::Protocol => "proxy_protocol",
        }
    }
}

impl ProxyUrl {
    /// Reads `scheme://[user:password@]host[:port]`; a slash at its end does not matter. The password comes apart.
    pub fn parse(text: &str) -> Result<(Self, Option<Secret>), ProxyUrlError> {
        let text = text.trim();
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ProxyUrlError::BadCharacter);
        }
        let (scheme, rest) = text.split_once("://").ok_or(ProxyUrlError::BadScheme)?;
        let scheme = ProxyScheme::ALL
            .into_iter()
            .find(|known| known.as_str().eq_ignore_ascii_case(scheme))
            .ok_or(ProxyUrlError::BadScheme)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (credentials, authority) = match rest.rsplit_once('@') {
            Some((credentials, authority)) => (Some(credentials), authority),
            None => (None, rest),
        };
        if authority.contains(['/', '?', '#']) {
            return Err(ProxyUrlError::HasPath);
        }
        let (host, port) = Origin::host_and_port(authority).map_err(|error| match error {
            super::BaseUrlError::BadPort => ProxyUrlError::BadPort,
            _ => ProxyUrlError::BadHost,
        })?;
        let port = port.unwrap_or_else(|| scheme.usual_port());
        let credentials = credentials.map(parse_credentials).transpose()?;
        let (user, password) = credentials.map_or((None, None), |(user, password)| (Some(user), password));
        Ok((Self { scheme, host, port, user }, password))
    }

    /// With `***` in the place of a password: as it is shown.
    #[must_use]
    pub fn masked(&self, has_password: bool) -> String {
        self.written(if has_password { ":***" } else { "" })
    }

    fn written(&self, password: &str) -> String {
        let user = self.user.as_deref().map(|user| format!("{}{password}@", encoded(user)));
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("{}://{}{host}:{}", self.scheme.as_str(), user.unwrap_or_default(), self.port)
    }
}

/// Without a password.
impl fmt::Display for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written(""))
    }
}

/// A user name alone is a user name whose password is kept elsewhere.
fn parse_credentials(text: &str) -> Result<(String, Option<Secret>), ProxyUrlError> {
    let (user, password) = match text.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (text, None),
    };
    let user = decoded(user).filter(|user| !user.contains(':')).ok_or(ProxyUrlError::BadCredentials)?;
    let password = match password {
        Some(password) => Some(Secret::new(decoded(password).ok_or(ProxyUrlError::BadCredentials)?)),
        None => None,
    };
    Ok((user, password))
}

/// Undoes percent-encoding. `None` for what is no name or password.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let (high, low) = (rest.next()?, rest.next()?);
            let digit = |byte: u8| char::from(byte).to_digit(16);
            bytes.push(u8::try_from(digit(high)? * 16 + digit(low)?).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    let text = String::from_utf8(bytes).ok()?;
    let is_sendable = (1..=255).contains(&text.len()) && !text.chars().any(char::is_control);
    is_sendable.then_some(text)
}

fn encoded(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte);
    text.bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_read_and_written_without_its_password() {
        for (text, shown, password) in [
            ("http://proxy.example", "http://proxy.example:80", None),
            (" HTTPS://Proxy.example/ ", "https://proxy.example:443", None),
            ("socks5://10.0.0.1", "socks5://10.0.0.1:1080", None),
            ("socks5h://[::1]:9", "socks5h://[::1]:9", None),
            ("http://u:p@h:1", "http://u:***@h:1", Some("p")),
            ("http://u%40x:p%3Aw%2F@h:1", "http://u%40x:***@h:1", Some("p:w/")),
            ("http://u:p@ss:x@h:1", "http://u:***@h:1", Some("p@ss:x")),
            ("socks5://u:%C3%A9@h", "socks5://u:***@h:1080", Some("é")),
            ("http://u@h:1", "http://u@h:1", None),
        ] {
            let (url, secret) = ProxyUrl::parse(text).unwrap();
            assert_eq!(secret.as_ref().map(Secret::expose), password, "{text}");
            assert_eq!(url.masked(secret.is_some()), shown);
            // What is stored is read back as the same.
            assert_eq!(ProxyUrl::parse(&url.to_string()), Ok((url.clone(), None)));
            let proxy = Proxy { url, password: secret };
            assert!(password.is_none_or(|p| p == "p" || !format!("{proxy:?}").contains(p)), "{proxy:?}");
        }
    }

    #[test]
    fn what_is_no_proxy_is_told_why() {
        for (text, why) in [
            ("proxy:8080", ProxyUrlError::BadScheme),
            ("ftp://h", ProxyUrlError::BadScheme),
            ("socks4://h", ProxyUrlError::BadScheme),
            ("http://", ProxyUrlError::BadHost),
            ("http://h/path", ProxyUrlError::HasPath),
            ("http://h?x=1", ProxyUrlError::HasPath),
            ("http://h:0", ProxyUrlError::BadPort),
            ("http://h:65536", ProxyUrlError::BadPort),
            ("http://h h", ProxyUrlError::BadCharacter),
            ("http://u:@h", ProxyUrlError::BadCredentials),
            ("http://:p@h", ProxyUrlError::BadCredentials),
            ("http://u:%0Ap@h", ProxyUrlError::BadCredentials),
            ("http://u:%4@h", ProxyUrlError::BadCredentials),
            ("http://a%3Ab:p@h", ProxyUrlError::BadCredentials),
        ] {
            assert_eq!(ProxyUrl::parse(text).map(|_| ()), Err(why), "{text}");
        }
    }
}
