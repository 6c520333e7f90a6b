//! A provider's custom headers. People put tokens there, so their values are secrets: they go in, are sealed, and are
//! never shown; `***` stands for each, and sent back for a header that is there it keeps the value.

use super::super::check::Violations;
use super::super::vault::Vault;
use crate::error::Error;
use serde_json::json;
use shared::ids::ProviderId;
use shared::model::Provider as Published;
use shared::rules::upstream::is_allowed_custom_header;
use shared::secret::{Sealed, Secret};
use std::collections::BTreeMap;

/// Headers by name, as they were set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CustomHeaders(BTreeMap<String, HeaderValue>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum HeaderValue {
    /// As it is stored.
    Kept(Sealed),
    /// Just given.
    New(Secret),
}

impl CustomHeaders {
    /// The column of a provider that has none.
    pub(super) const NONE: &str = "{}";

    /// Puts these in the place of all that were there. A value of `***` keeps the one that is stored.
    pub fn replace(&mut self, wanted: BTreeMap<String, String>) {
        let before = std::mem::take(&mut self.0);
        let kept = |name: &str| {
            let found = before.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.clone())
        };
        let headers = wanted.into_iter().map(|(name, value)| {
            let kept = if value == MASK { kept(&name) } else { None };
            let value = kept.unwrap_or_else(|| HeaderValue::New(Secret::new(value)));
            (name, value)
        });
        self.0 = headers.collect();
    }

    /// As the API shows them.
    #[must_use]
    pub fn masked(&self) -> BTreeMap<String, String> {
        self.0.keys().map(|name| (name.clone(), MASK.to_owned())).collect()
    }

    /// As the audit log shows them: which were set by this change.
    pub(super) fn audited(&self) -> BTreeMap<&str, &str> {
        let shown = |value: &HeaderValue| match value {
            HeaderValue::Kept(_) => MASK,
            HeaderValue::New(_) => "*** (set)",
        };
        self.0.iter().map(|(name, value)| (name.as_str(), shown(value))).collect()
    }

    pub(super) fn check(&self, v: &mut Violations) {
        v.require(self.0.len() <= 32, "custom_headers", "must have at most 32 headers");
        let mut seen: Vec<String> = Vec::new();
        for (name, value) in &self.0 {
            let field = format!("custom_headers.{name}");
            let lower = name.to_ascii_lowercase();
            if (1..=64).contains(&name.len()) && name.bytes().all(is_token_byte) {
                let is_free = is_allowed_custom_header(name) && !OF_THE_MESSAGE.contains(&lower.as_str());
                v.require(is_free, &field, "is set by the gateway itself");
            } else {
                v.require(false, &field, "is no header name of 1 to 64 characters");
            }
            v.require(!seen.contains(&lower), &field, "is there twice");
            if let HeaderValue::New(value) = value {
                check_value(v, &field, value);
            }
            seen.push(lower);
        }
    }

    /// The column: new values are sealed for this provider, kept ones stay as they are.
    pub(super) fn sealed(&self, vault: &Vault, id: ProviderId) -> Result<String, Error> {
        let seal = |(name, value): (&String, &HeaderValue)| {
            let sealed = match value {
                HeaderValue::Kept(sealed) => sealed.clone(),
                HeaderValue::New(secret) => vault.seal(secret, &Published::header_place(id, name))?,
            };
            Ok((name.clone(), sealed))
        };
        let sealed: BTreeMap<String, Sealed> = self.0.iter().map(seal).collect::<Result<_, Error>>()?;
        Ok(json!(sealed).to_string())
    }

    /// Reads the column; `None` when it cannot be read.
    pub(super) fn stored(column: &str) -> Option<Self> {
        let sealed: BTreeMap<String, Sealed> = serde_json::from_str(column).ok()?;
        Some(Self(sealed.into_iter().map(|(name, value)| (name, HeaderValue::Kept(value))).collect()))
    }

    /// What is stored, as it is published.
    pub(super) fn published(self) -> Vec<(String, Sealed)> {
        let stored = self.0.into_iter().filter_map(|(name, value)| match value {
            HeaderValue::Kept(sealed) => Some((name, sealed)),
            HeaderValue::New(_) => None,
        });
        stored.collect()
    }
}

fn check_value(v: &mut Violations, field: &str, value: &Secret) {
    let text = value.expose();
    v.require(text != MASK, field, "must have a value: `***` keeps one that is stored, and there is none");
    let is_value = text.len() <= 1024 && text.bytes().all(|b| (b' '..=b'~').contains(&b));
    v.require(is_value, field, "must have a value of at most 1024 printable ASCII characters");
}

fn is_token_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

/// Stands for a value that is not shown.
const MASK: &str = "***";

/// What describes the one message or who sent it. The gateway would let them be replaced.
const OF_THE_MESSAGE: [&str; 4] = ["content-encoding", "content-type", "cookie", "x-request-id"];
