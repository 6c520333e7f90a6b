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
mod tests;
