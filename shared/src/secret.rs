//! Secrets: text that never prints, the digest a client key is looked up by, and sealed envelopes.
//!
//! An envelope is `v1.<key id>.<base64url(nonce ‖ ciphertext ‖ tag)>`: AES-256-GCM under `HUB_SECRET_KEY`,
//! bound to its place (`aad`, e.g. `provider:7:key`), so that one row's secret cannot be moved to another.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use std::fmt;
use thiserror::Error;

/// Text that prints as `***`. Only [`Secret::expose`] gives it away.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself: for the wire and for sealing, never for a log.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// SHA-256 of a client key: what the gateway looks a seat up by. Keys carry 160 bits of chance or more, so a
/// plain hash is not searchable.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    /// The digest of a key as the client sends it.
    #[must_use]
    pub fn of(key: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, key.as_bytes()).as_ref());
        Self(bytes)
    }

    /// Its first byte: what keys are spread by.
    #[must_use]
    pub fn first_byte(self) -> u8 {
        self.0[0]
    }

    /// Lower-case hex, 64 characters.
    #[must_use]
    pub fn to_hex(self) -> String {
        self.0.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Reads 64 hex characters.
    #[must_use]
    pub fn parse_hex(text: &str) -> Option<Self> {
        hex_32(text).map(Self)
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{:02x}{:02x}…", self.0[0], self.0[1])
    }
}

impl Serialize for KeyDigest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_hex())
    }
}

impl<'de> Deserialize<'de> for KeyDigest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse_hex(&text).ok_or_else(|| serde::de::Error::custom("a digest has 64 hex characters"))
    }
}

/// A sealed secret as it is stored and published. Safe to log, useless without `HUB_SECRET_KEY`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(pub String);

/// Why an envelope does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SealError {
    /// The text is no envelope.
    #[error("not a sealed envelope")]
    Malformed,
    /// Sealed under another `HUB_SECRET_KEY`.
    #[error("sealed under another HUB_SECRET_KEY")]
    OtherKey,
    /// Right key, but the bytes or the place they belong to are not what was sealed.
    #[error("envelope does not belong here or was changed")]
    Forged,
    /// The plain text is too long to seal.
    #[error("secret is too long to seal")]
    TooLong,
}

/// `HUB_SECRET_KEY`: 32 bytes that seal every stored secret.
pub struct HubKey {
    id: String,
    key: LessSafeKey,
}

impl HubKey {
    /// Reads 64 hex characters.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::from_bytes(&hex_32(text.trim())?)
    }

    /// From 32 raw bytes. `None` never happens for this length; the signature keeps callers panic-free.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes).ok()?);
        let hash = digest(&SHA256, bytes);
        let id = hash.as_ref().iter().take(4).map(|b| format!("{b:02x}")).collect();
        Some(Self { id, key })
    }

    /// Seals `plain` for the place `aad`. The nonce must be fresh chance, never used twice with one key.
    pub fn seal(&self, plain: &Secret, aad: &str, nonce: [u8; 12]) -> Result<Sealed, SealError> {
        let mut bytes = plain.expose().as_bytes().to_vec();
        self.key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(aad.as_bytes()),
                &mut bytes,
            )
            .map_err(|_| SealError::TooLong)?;
        let mut envelope = nonce.to_vec();
        envelope.append(&mut bytes);
        Ok(Sealed(format!("v1.{}.{}", self.id, URL_SAFE_NO_PAD.encode(envelope))))
    }

    /// Opens an envelope sealed for the place `aad`.
    pub fn open(&self, sealed: &Sealed, aad: &str) -> Result<Secret, SealError> {
        let mut parts = sealed.0.splitn(3, '.');
        let (Some("v1"), Some(id), Some(body)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(SealError::Malformed);
        };
        if id != self.id {
            return Err(SealError::OtherKey);
        }
        let bytes = URL_SAFE_NO_PAD.decode(body).map_err(|_| SealError::Malformed)?;
        let (nonce, cipher) = bytes.split_at_checked(12).ok_or(SealError::Malformed)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Malformed)?;
        let mut cipher = cipher.to_vec();
        let plain = self
            .key
            .open_in_place(nonce, Aad::from(aad.as_bytes()), &mut cipher)
            .map_err(|_| SealError::Forged)?;
        String::from_utf8(plain.to_vec()).map(Secret).map_err(|_| SealError::Forged)
    }
}

impl fmt::Debug for HubKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HubKey({})", self.id)
    }
}

fn hex_32(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> HubKey {
        HubKey::from_bytes(&[byte; 32]).unwrap()
    }

    #[test]
    fn a_secret_never_prints() {
        let secret = Secret::new("sk-live");
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "*** *** Some(***)");
    }

    #[test]
    fn an_envelope_opens_only_with_its_key_and_at_its_place() {
        let sealed = key(1).seal(&Secret::new("sk-live"), "provider:7:key", [9; 12]).unwrap();
        assert!(!sealed.0.contains("sk-live"));
        assert_eq!(key(1).open(&sealed, "provider:7:key").unwrap().expose(), "sk-live");
        assert_eq!(key(1).open(&sealed, "provider:8:key"), Err(SealError::Forged));
        assert_eq!(key(2).open(&sealed, "provider:7:key"), Err(SealError::OtherKey));
        assert_eq!(key(1).open(&Sealed("v1.x".into()), ""), Err(SealError::Malformed));
        let mut changed = sealed.0.clone();
        changed.pop();
        assert_ne!(key(1).open(&Sealed(changed), "provider:7:key").map(|_| ()), Ok(()));
    }

    #[test]
    fn a_digest_is_sha_256_in_hex() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(KeyDigest::of("abc").to_hex(), abc);
        assert_eq!(KeyDigest::parse_hex(abc), Some(KeyDigest::of("abc")));
        assert_eq!(KeyDigest::parse_hex("ba78"), None);
    }
}
