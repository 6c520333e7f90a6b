//! Can a provider be asked at all? Its address and its sealed secrets must be usable.

use super::{BaseUrl, UpstreamHeaders};
use crate::model::Provider;
use crate::secret::{HubKey, SealError};

/// How to reach a provider: its parsed address, and headers that carry its opened secret.
#[derive(Debug)]
pub struct Reach {
    /// Where requests go.
    pub base: BaseUrl,
    /// What requests carry besides the seat's headers.
    pub headers: UpstreamHeaders,
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
        Ok(Self { base, headers })
    }
}
