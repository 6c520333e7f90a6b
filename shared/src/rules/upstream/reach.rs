//! Can a provider be asked at all? Its address and its sealed secrets must be usable.

use super::{BaseUrl, UpstreamHeaders, Way};
use crate::model::Provider;
use crate::secret::{HubKey, SealError};

/// How to reach a provider: its parsed address, headers that carry its opened secret, and the way there.
#[derive(Debug)]
pub struct Reach {
    /// Where requests go.
    pub base: BaseUrl,
    /// What requests carry besides the seat's headers.
    pub headers: UpstreamHeaders,
    /// How connections are made.
    pub way: Way,
    /// How they are made when the proxy fails; `None`: not at all.
    pub fallback: Option<Way>,
}

impl Reach {
    /// Opens what a provider has sealed. An error says what is wrong, without a secret.
    pub fn of(provider: &Provider, hub_key: &HubKey) -> Result<Self, &'static str> {
        let base = BaseUrl::parse(&provider.url).map_err(|error| error.label())?;
        let secret = hub_key
            .open(&provider.secret, &Provider::secret_place(provider.id))
            .map_err(|_| "key does not open with this HUB_SECRET_KEY")?;
        let opened = provider.custom_headers.iter().map(|(name, sealed)| {
            let value = hub_key.open(sealed, &Provider::header_place(provider.id, name))?;
            Ok((name.clone(), value.expose().to_owned()))
        });
        let custom = opened
            .collect::<Result<Vec<_>, SealError>>()
            .map_err(|_| "a custom header does not open with this HUB_SECRET_KEY")?;
        let headers = UpstreamHeaders::new(provider.provider_type, &base, &secret, &custom)
            .map_err(|error| error.label())?;
        let (way, fallback) = Way::of(provider, base.origin(), hub_key)?;
        Ok(Self { base, headers, way, fallback })
    }

    /// A text of the provider's or its proxy's, without the secrets that they were sent.
    #[must_use]
    pub fn scrubbed(&self, text: &str) -> String {
        let text = self.headers.scrubbed(text);
        match self.way.proxy.as_ref().and_then(|proxy| proxy.password.as_ref()) {
            Some(password) => text.replace(password.expose(), "***"),
            None => text,
        }
    }
}
