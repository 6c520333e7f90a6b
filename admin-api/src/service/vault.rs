//! Makes client keys, seals secrets and opens them again. Chance comes from the operating system.

use crate::error::Error;
use rand::TryRngCore;
use rand::rngs::OsRng;
use shared::model::Provider;
use shared::rules::upstream::Reach;
use shared::secret::{HubKey, Sealed, Secret};
use std::sync::Arc;

/// Holds `HUB_SECRET_KEY`.
#[derive(Debug)]
pub struct Vault {
    key: Arc<HubKey>,
}

impl Vault {
    /// A vault under this key.
    #[must_use]
    pub fn new(key: Arc<HubKey>) -> Self {
        Self { key }
    }

    /// Seals a secret for its place, e.g. `provider:7:key`.
    pub fn seal(&self, secret: &Secret, place: &str) -> Result<Sealed, Error> {
        let mut nonce = [0; 12];
        OsRng.try_fill_bytes(&mut nonce).map_err(|_| Error::NoEntropy)?;
        Ok(self.key.seal(secret, place, nonce)?)
    }

    /// True when a gateway with this key can ask the provider at all.
    #[must_use]
    pub fn can_reach(&self, provider: &Provider) -> bool {
        self.reach(provider).is_ok()
    }

    /// How to reach the provider. An error says what is wrong, without a secret.
    pub fn reach(&self, provider: &Provider) -> Result<Reach, &'static str> {
        Reach::of(provider, &self.key)
    }

    /// Opens what was sealed for that place.
    pub fn open(&self, sealed: &Sealed, place: &str) -> Result<Secret, Error> {
        Ok(self.key.open(sealed, place)?)
    }
}

/// A new client key: `cch-` and 32 characters of base 62, 190 bits of chance.
pub fn new_client_key() -> Result<Secret, Error> {
    let mut text = String::from("cch-");
    let mut bytes = [0; 64];
    while text.len() < CLIENT_KEY_LEN {
        OsRng.try_fill_bytes(&mut bytes).map_err(|_| Error::NoEntropy)?;
        // Bytes from 248 on are thrown away: 248 is the largest multiple of 62, so each character is equally likely.
        let fair = bytes.iter().filter(|b| **b < 248).map(|b| char::from(ALPHABET[usize::from(b % 62)]));
        text.extend(fair.take(CLIENT_KEY_LEN - text.len()));
    }
    Ok(Secret::new(text))
}

/// What is shown of a client key: enough to tell one's own keys apart, 28 characters short of using one.
#[must_use]
pub fn masked(key: &Secret) -> String {
    let tail = key.expose().char_indices().rev().nth(3).map_or("", |(at, _)| &key.expose()[at..]);
    format!("cch-••••••{tail}")
}

/// Where a client key's copy for reveal is sealed.
#[must_use]
pub fn key_place(id: i64) -> String {
    format!("key:{id}:secret")
}

const CLIENT_KEY_LEN: usize = 4 + 32;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn client_keys_have_the_promised_form_and_never_repeat() {
        let keys: HashSet<String> = (0..200).map(|_| new_client_key().unwrap().expose().to_owned()).collect();
        assert_eq!(keys.len(), 200);
        for key in &keys {
            let rest = key.strip_prefix("cch-").unwrap();
            assert!(rest.len() == 32 && rest.bytes().all(|b| b.is_ascii_alphanumeric()), "{key}");
        }
        // Every character of the alphabet turns up in 6 400 draws: no part of it is unreachable.
        let seen: HashSet<u8> = keys.iter().flat_map(|k| k.bytes().skip(4)).collect();
        assert_eq!(seen.len(), 62);
    }

    #[test]
    fn a_mask_shows_four_characters() {
        assert_eq!(masked(&Secret::new("cch-0123456789abcdefghijklmnopqrstuv")), "cch-••••••stuv");
        assert_eq!(masked(&Secret::new("abc")), "cch-••••••");
    }
}
