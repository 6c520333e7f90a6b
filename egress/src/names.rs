//! Names and their addresses, looked up by the system's resolver and believed for a while.

use crate::dial::DialError;
use moka::sync::Cache;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Where a name may be reached, in the order in which to try.
pub type Addresses = Arc<[SocketAddr]>;

/// Looked-up names.
pub(crate) struct Names(Cache<String, Addresses>);

impl Names {
    pub(crate) fn new() -> Self {
        Self(Cache::builder().max_capacity(4_096).time_to_live(BELIEVED).build())
    }

    /// The addresses of a name or of an address literal.
    pub(crate) async fn resolve(&self, host: &str, port: u16) -> Result<Addresses, DialError> {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok([SocketAddr::new(ip, port)].into());
        }
        let name = key(host, port);
        if let Some(addresses) = self.0.get(&name) {
            return Ok(addresses);
        }
        // The system's resolver, so that hosts files and search domains count; it runs on the blocking pool.
        let lookup = tokio::time::timeout(LOOKUP_LIMIT, tokio::net::lookup_host((host, port)));
        let addresses: Addresses = match lookup.await {
            Ok(Ok(addresses)) => addresses.take(TRIED_AT_MOST).collect(),
            Ok(Err(_)) | Err(_) => return Err(DialError::Dns),
        };
        if addresses.is_empty() {
            return Err(DialError::Dns);
        }
        self.0.insert(name, addresses.clone());
        Ok(addresses)
    }

    /// Puts the address that answered first, for as long as the name is believed.
    pub(crate) fn prefer(&self, host: &str, port: u16, addresses: &[SocketAddr], place: usize) {
        let mut addresses = addresses.to_vec();
        addresses.swap(0, place);
        self.0.insert(key(host, port), addresses.into());
    }

    /// Forgets a name whose addresses did not answer, so that the next try looks again.
    pub(crate) fn forget(&self, host: &str, port: u16) {
        self.0.invalidate(&key(host, port));
    }
}

fn key(host: &str, port: u16) -> String {
    format!("{host}:{port}")
}

/// How long a looked-up name is believed.
const BELIEVED: Duration = Duration::from_secs(30);
const LOOKUP_LIMIT: Duration = Duration::from_secs(5);
/// Addresses of a name that are tried.
const TRIED_AT_MOST: usize = 4;
