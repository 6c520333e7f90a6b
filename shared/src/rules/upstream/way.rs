//! How connections to a provider are made: through which proxy, and whose word on certificates is taken.

use super::proxy::{Proxy, ProxyUrl};
use super::url::Origin;
use crate::model::Provider;
use crate::rules::affinity::first_u64;
use crate::secret::HubKey;
use ring::digest::{Context, SHA256, digest};
use std::sync::Arc;

/// How connections to a provider are made.
#[derive(Clone, Debug, Default)]
pub struct Way {
    /// Through this proxy; `None`: directly.
    pub proxy: Option<Proxy>,
    /// Authorities that are believed besides the usual ones.
    pub authorities: Option<Authorities>,
    pool_key: u64,
}

/// Certificates of authorities, as PEM text.
#[derive(Clone, Debug)]
pub struct Authorities {
    /// The text.
    pub pem: Arc<str>,
    /// SHA-256 of the text.
    pub digest: [u8; 32],
}

impl Authorities {
    /// Of a text, which is not checked.
    #[must_use]
    pub fn new(pem: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, pem.as_bytes()).as_ref());
        Self { pem: pem.into(), digest: bytes }
    }
}

impl Way {
    /// A way to a server.
    #[must_use]
    pub fn new(proxy: Option<Proxy>, authorities: Option<Authorities>, origin: &Origin) -> Self {
        let pool_key = pool_key(proxy.as_ref(), authorities.as_ref(), origin);
        Self { proxy, authorities, pool_key }
    }

    /// The way of a provider, and the one that is taken when its proxy fails.
    pub fn of(
        provider: &Provider,
        origin: &Origin,
        hub_key: &HubKey,
    ) -> Result<(Self, Option<Self>), &'static str> {
        let egress = &provider.egress;
        let authorities = egress.ca_certificate.as_deref().map(Authorities::new);
        let Some(text) = &egress.proxy_url else {
            return Ok((Self::new(None, authorities, origin), None));
        };
        let (url, _) = ProxyUrl::parse(text).map_err(|_| "proxy_url is no proxy URL")?;
        let password = egress.proxy_password.as_ref().map(|sealed| {
            let opened = hub_key.open(sealed, &Provider::proxy_place(provider.id));
            opened.map_err(|_| "proxy_url does not open with this HUB_SECRET_KEY")
        });
        let proxy = Proxy { url, password: password.transpose()? };
        let fallback = egress.proxy_fallback_to_direct.then(|| Self::new(None, authorities.clone(), origin));
        Ok((Self::new(Some(proxy), authorities, origin), fallback))
    }

    /// Open connections of one address may serve each other's requests only if this is the same. It tells proxies
    /// apart, their accounts, and authorities; and of a proxy, at whose address all connections end, the servers behind.
    #[must_use]
    pub fn pool_key(&self) -> u64 {
        self.pool_key
    }
}

fn pool_key(proxy: Option<&Proxy>, authorities: Option<&Authorities>, origin: &Origin) -> u64 {
    if proxy.is_none() && authorities.is_none() {
        return 0;
    }
    let mut hash = Context::new(&SHA256);
    let mut part = |bytes: &[u8]| {
        hash.update(&bytes.len().to_be_bytes());
        hash.update(bytes);
    };
    part(authorities.map_or(&[][..], |authorities| &authorities.digest));
    if let Some(proxy) = proxy {
        part(proxy.url.to_string().as_bytes());
        part(proxy.password.as_ref().map_or("", |password| password.expose()).as_bytes());
        part(origin.host.as_bytes());
        part(&origin.port.to_be_bytes());
    }
    first_u64(hash.finish().as_ref())
}

#[cfg(test)]
mod tests {
    use super::super::BaseUrl;
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn connections_are_shared_only_on_the_same_way() {
        let server = |url: &str| BaseUrl::parse(url).unwrap().origin().clone();
        let proxy = |text: &str| {
            let (url, password) = ProxyUrl::parse(text).unwrap();
            Some(Proxy { url, password })
        };
        let ca = |text: &str| Some(Authorities::new(text));
        let (a, b) = (server("http://a.example"), server("http://a.example:81"));
        let ways = [
            Way::new(None, None, &a),
            Way::new(None, ca("1"), &a),
            Way::new(None, ca("2"), &a),
            Way::new(proxy("http://h:1"), None, &a),
            Way::new(proxy("socks5://h:1"), None, &a),
            Way::new(proxy("http://h:2"), None, &a),
            Way::new(proxy("http://u:p@h:1"), None, &a),
            Way::new(proxy("http://u:q@h:1"), None, &a),
            Way::new(proxy("http://v:p@h:1"), None, &a),
            Way::new(proxy("http://h:1"), ca("1"), &a),
            // Behind a proxy the server is not told apart by its address.
            Way::new(proxy("http://h:1"), None, &b),
        ];
        let keys: HashSet<u64> = ways.iter().map(Way::pool_key).collect();
        assert_eq!(keys.len(), ways.len());
        // Without a proxy the address tells servers apart.
        assert_eq!(Way::new(None, None, &a).pool_key(), Way::new(None, None, &b).pool_key());
        let again = Way::new(proxy("http://u:p@h:1"), None, &a);
        assert_eq!(again.pool_key(), ways[6].pool_key());
    }
}
