//! Who calls? Decided on head and query before any byte of a body is read.
//!
//! A valid key is never refused for its address: failures are counted, and only further failures of the same
//! address and credential prefix are throttled.

use crate::live::{Live, Principal};
use crate::reject::{FAILURE_WINDOW_SECS, Reject};
use http::HeaderMap;
use moka::sync::Cache;
use shared::protocol::headers::{X_API_KEY, X_GOOG_API_KEY};
use shared::rules::access;
use shared::secret::KeyDigest;
use shared::time::UnixMillis;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Counts wrong credentials per address and prefix.
pub struct Failures(Cache<(IpAddr, [u8; PREFIX]), Arc<AtomicU32>>);

impl Failures {
    /// Nobody has failed yet.
    #[must_use]
    pub fn new() -> Self {
        let window = Duration::from_secs(FAILURE_WINDOW_SECS);
        Self(Cache::builder().max_capacity(10_000).time_to_live(window).build())
    }

    /// Notes a failure; true when there were too many.
    fn add(&self, ip: IpAddr, credential: &str) -> bool {
        let mut prefix = [0; PREFIX];
        for (place, byte) in prefix.iter_mut().zip(credential.bytes()) {
            *place = byte;
        }
        let count = self.0.get_with((ip, prefix), Arc::default);
        count.fetch_add(1, Ordering::Relaxed) >= MAX_FAILURES
    }
}

impl Default for Failures {
    fn default() -> Self {
        Self::new()
    }
}

/// Finds the caller by the credentials of its request and asks whether the key may be used now.
pub fn authenticate(
    headers: &HeaderMap,
    query: Option<&str>,
    live: &Live,
    ip: IpAddr,
    now: UnixMillis,
    failures: &Failures,
) -> Result<Principal, Reject> {
    let credential = match credential(headers, query) {
        Ok(credential) => credential,
        Err(reject) => return Err(if failures.add(ip, "") { Reject::TooManyFailures } else { reject }),
    };
    let Some(principal) = live.principal(&KeyDigest::of(&credential)) else {
        let is_flood = failures.add(ip, &credential);
        return Err(if is_flood { Reject::TooManyFailures } else { Reject::UnknownKey });
    };
    access::check(&principal.user, &principal.key, now).map_err(Reject::Denied)?;
    Ok(principal)
}

/// Whose key it is, whether or not it may be used now: for the log of a request that is refused anyway, so
/// nothing is counted.
pub fn recognise(headers: &HeaderMap, query: Option<&str>, live: &Live) -> Option<Principal> {
    let credential = credential(headers, query).ok()?;
    live.principal(&KeyDigest::of(&credential))
}

/// The one credential of a request; several must be equal.
fn credential(headers: &HeaderMap, query: Option<&str>) -> Result<String, Reject> {
    let mut found: Option<String> = None;
    let bearers = headers.get_all(http::header::AUTHORIZATION).iter().map(bearer);
    let keys = [&X_API_KEY, &X_GOOG_API_KEY].into_iter().flat_map(|name| {
        headers.get_all(name).iter().map(|value| value.to_str().ok().map(str::trim).map(str::to_owned))
    });
    let in_query = query.into_iter().flat_map(query_keys).map(Some);
    for credential in bearers.chain(keys).chain(in_query) {
        // Not readable as text: cannot be a key of ours, and must not hide behind one that is.
        let credential = credential.ok_or(Reject::UnknownKey)?;
        if credential.is_empty() {
            continue;
        }
        match &found {
            Some(first) if *first != credential => return Err(Reject::ConflictingCredentials),
            Some(_) => {}
            None => found = Some(credential),
        }
    }
    found.ok_or(Reject::NoCredential)
}

fn bearer(value: &http::HeaderValue) -> Option<String> {
    let text = value.to_str().ok()?.trim();
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

fn query_keys(query: &str) -> impl Iterator<Item = String> {
    url::form_urlencoded::parse(query.as_bytes())
        .filter(|(name, _)| name == "key")
        .map(|(_, value)| value.trim().to_owned())
}

/// Wrong credentials of one address and prefix before the answer is 429.
const MAX_FAILURES: u32 = 20;
/// Enough to tell `cch-…` keys apart without keeping one.
const PREFIX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use shared::testing::{hub_key, snapshot};

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_key_is_found_wherever_a_client_puts_it() {
        for (pairs, query) in [
            (&[("authorization", "Bearer k")][..], None),
            (&[("authorization", "bearer  k ")], None),
            (&[("x-api-key", "k")], None),
            (&[("x-goog-api-key", "k")], None),
            (&[], Some("alt=sse&key=k")),
            (&[("authorization", "Bearer k"), ("x-api-key", "k")], Some("key=k")),
            (&[("authorization", "Bearer "), ("x-api-key", "k")], None),
        ] {
            assert_eq!(credential(&headers(pairs), query), Ok("k".to_owned()), "{pairs:?} {query:?}");
        }
    }

    #[test]
    fn several_credentials_must_be_equal() {
        let two = headers(&[("authorization", "Bearer a"), ("x-api-key", "b")]);
        assert_eq!(credential(&two, None), Err(Reject::ConflictingCredentials));
        let one = headers(&[("x-api-key", "a")]);
        assert_eq!(credential(&one, Some("key=b")), Err(Reject::ConflictingCredentials));
        assert_eq!(credential(&headers(&[]), Some("keys=b")), Err(Reject::NoCredential));
    }

    #[test]
    fn a_flood_of_wrong_keys_is_throttled_and_the_right_one_is_not() {
        let failures = Failures::new();
        let ip: IpAddr = "1.2.3.4".parse().unwrap();
        let mut snapshot = snapshot(vec![]);
        let right = "cch-right";
        snapshot.principals.keys[0].digest = KeyDigest::of(right);
        let live = Live::compile(&snapshot, &hub_key());
        let try_it = |key: &str| {
            authenticate(&headers(&[("x-api-key", key)]), None, &live, ip, UnixMillis(0), &failures)
        };
        let refusals: Vec<_> = (0..=MAX_FAILURES).map(|_| try_it("cch-righ!").unwrap_err()).collect();
        assert_eq!(refusals[0], Reject::UnknownKey);
        assert_eq!(refusals[MAX_FAILURES as usize], Reject::TooManyFailures);
        assert!(try_it(right).is_ok(), "of the same address, and with the same beginning");
        assert_eq!(try_it("cch-other").unwrap_err(), Reject::UnknownKey, "of another beginning");
    }
}
