//! How values look on the wire: money as decimal text, moments in RFC 3339, pages, and fields of a PATCH.

use crate::error::{Error, Violation};
use crate::repo::Rows;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{DeserializeOwned, Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use shared::model::{ClientAbort, GroupSet, MatchType, ProviderType};
use shared::money::{Multiplier, NanoUsd};
use shared::time::UnixMillis;
use std::fmt;
use utoipa::ToSchema;

/// A moment, RFC 3339 with an offset, e.g. `2026-11-23T09:30:00.000Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(value_type = String, format = DateTime, example = "2026-11-23T09:30:00.000Z")]
pub struct Moment(pub UnixMillis);

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let moment = UnixMillis::parse_rfc3339(&text).map(Self);
        moment.ok_or_else(|| {
            D::Error::custom("is no RFC 3339 time with an offset, such as 2026-11-23T09:30:00Z")
        })
    }
}

/// A factor on a price, as decimal text, e.g. `"1.25"`. A number is accepted too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(value_type = String, example = "1.25")]
pub struct Factor(pub Multiplier);

impl Serialize for Factor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.to_decimal())
    }
}

impl<'de> Deserialize<'de> for Factor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = deserializer.deserialize_any(DecimalText)?;
        Multiplier::parse(&text)
            .map(Self)
            .map_err(|error| D::Error::custom(format!("{error}; allowed: 0 to 1000")))
    }
}

/// An amount of US dollars, as decimal text, e.g. `"12.50"`. Where one is set, a number is accepted too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(value_type = String, example = "12.50")]
pub struct Usd(pub NanoUsd);

impl Serialize for Usd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.to_usd())
    }
}

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = deserializer.deserialize_any(DecimalText)?;
        NanoUsd::parse_usd(&text).map(Self).map_err(D::Error::custom)
    }
}

/// Takes a decimal as text or as a number. A float prints as the shortest text that reads back the same, which is
/// what was typed.
struct DecimalText;

impl Visitor<'_> for DecimalText {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a decimal text or a number")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_u64<E: serde::de::Error>(self, n: u64) -> Result<String, E> {
        Ok(n.to_string())
    }

    fn visit_i64<E: serde::de::Error>(self, n: i64) -> Result<String, E> {
        Ok(n.to_string())
    }

    fn visit_f64<E: serde::de::Error>(self, n: f64) -> Result<String, E> {
        Ok(n.to_string())
    }
}

/// A field of a PATCH that may be absent (stays), null (goes back to its default) or a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Patch<T> {
    /// Not mentioned.
    #[default]
    Absent,
    /// `null`.
    Null,
    /// Something.
    Value(T),
}

impl<T> Patch<T> {
    /// What the field becomes: `None` = it stays.
    pub fn or_default(self, default: T) -> Option<T> {
        match self {
            Self::Absent => None,
            Self::Null => Some(default),
            Self::Value(value) => Some(value),
        }
    }

    /// What an optional field becomes: `None` = it stays.
    pub fn optional(self) -> Option<Option<T>> {
        match self {
            Self::Absent => None,
            Self::Null => Some(None),
            Self::Value(value) => Some(Some(value)),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::<T>::deserialize(deserializer)?.map_or(Self::Null, Self::Value))
    }
}

/// For a field of a PATCH that has no null: absent stays, null is refused like any other wrong type.
pub fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Puts a value where there is one.
pub fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// What `cursor` gets for the next page; null on the last one.
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// A page of rows; `place` says where the next one begins.
    pub fn of<R, P: Serialize>(rows: Rows<R>, place: impl FnOnce(&R) -> P, item: impl Fn(R) -> T) -> Self {
        let last = rows.items.last().filter(|_| rows.has_more);
        let next_cursor = last.map(|row| encode_cursor(&place(row)));
        Self { items: rows.items.into_iter().map(item).collect(), next_cursor }
    }
}

/// How many items a page has: 1 to 200, 50 when not said.
pub fn page_limit(limit: Option<u64>) -> Result<u64, Error> {
    match limit.unwrap_or(50) {
        limit @ 1..=200 => Ok(limit),
        _ => Err(Error::Invalid(vec![Violation::new("limit", "must be 1 to 200")])),
    }
}

/// Where a page begins; `None` for the first one.
pub fn decode_cursor<P: DeserializeOwned>(cursor: Option<&str>) -> Result<Option<P>, Error> {
    let Some(cursor) = cursor else { return Ok(None) };
    let json = URL_SAFE_NO_PAD.decode(cursor).ok().filter(|json| !json.windows(6).any(|w| w == b"\\u0000"));
    let decoded = json.and_then(|json| serde_json::from_slice(&json).ok());
    let invalid = || Error::Invalid(vec![Violation::new("cursor", "is none that a page of this list gave")]);
    decoded.map(Some).ok_or_else(invalid)
}

/// The text of a place, which [`decode_cursor`] reads.
pub fn encode_cursor<P: Serialize>(place: &P) -> String {
    // Numbers and texts: they always serialise.
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(place).unwrap_or_default())
}

/// A list of groups as text: the names, or `default` where none is named.
#[must_use]
pub fn effective_groups(set: &GroupSet) -> String {
    set.names().collect::<Vec<_>>().join(",")
}

/// Which API a provider speaks and how it authenticates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProviderTypeName {
    /// Anthropic's API: `x-api-key` and `Authorization: Bearer`.
    Claude,
    /// A relay of Anthropic's API that wants `Authorization: Bearer` alone.
    ClaudeAuth,
    /// OpenAI's Responses API.
    Codex,
    /// OpenAI's chat completions API and whoever copies it.
    OpenaiCompatible,
    /// Google's Gemini API.
    Gemini,
}

impl From<ProviderTypeName> for ProviderType {
    fn from(name: ProviderTypeName) -> Self {
        match name {
            ProviderTypeName::Claude => Self::Claude,
            ProviderTypeName::ClaudeAuth => Self::ClaudeAuth,
            ProviderTypeName::Codex => Self::Codex,
            ProviderTypeName::OpenaiCompatible => Self::OpenaiCompatible,
            ProviderTypeName::Gemini => Self::Gemini,
        }
    }
}

impl From<ProviderType> for ProviderTypeName {
    fn from(provider_type: ProviderType) -> Self {
        match provider_type {
            ProviderType::Claude => Self::Claude,
            ProviderType::ClaudeAuth => Self::ClaudeAuth,
            ProviderType::Codex => Self::Codex,
            ProviderType::OpenaiCompatible => Self::OpenaiCompatible,
            ProviderType::Gemini => Self::Gemini,
        }
    }
}

/// How a rule's text is compared with a model name. Case matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "they are shared::model::MatchType's")]
pub enum MatchTypeName {
    Exact,
    Prefix,
    Suffix,
    Contains,
    Regex,
}

impl From<MatchTypeName> for MatchType {
    fn from(name: MatchTypeName) -> Self {
        match name {
            MatchTypeName::Exact => Self::Exact,
            MatchTypeName::Prefix => Self::Prefix,
            MatchTypeName::Suffix => Self::Suffix,
            MatchTypeName::Contains => Self::Contains,
            MatchTypeName::Regex => Self::Regex,
        }
    }
}

impl From<MatchType> for MatchTypeName {
    fn from(match_type: MatchType) -> Self {
        match match_type {
            MatchType::Exact => Self::Exact,
            MatchType::Prefix => Self::Prefix,
            MatchType::Suffix => Self::Suffix,
            MatchType::Contains => Self::Contains,
            MatchType::Regex => Self::Regex,
        }
    }
}

/// What happens to a stream whose client left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAbortName {
    /// Read on for up to 60 s to learn the usage.
    Drain,
    /// Close the upstream at once and book an estimate.
    Cancel,
}

impl From<ClientAbortName> for ClientAbort {
    fn from(name: ClientAbortName) -> Self {
        match name {
            ClientAbortName::Drain => Self::Drain,
            ClientAbortName::Cancel => Self::Cancel,
        }
    }
}

impl From<ClientAbort> for ClientAbortName {
    fn from(client_abort: ClientAbort) -> Self {
        match client_abort {
            ClientAbort::Drain => Self::Drain,
            ClientAbort::Cancel => Self::Cancel,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_factor_is_read_from_text_or_number_without_loss() {
        for json in ["\"1.1\"", "1.1"] {
            assert_eq!(serde_json::from_str::<Factor>(json).unwrap().0, Multiplier(1_100_000));
        }
        assert_eq!(serde_json::from_str::<Factor>("2").unwrap().0, Multiplier(2_000_000));
        for bad in ["-1", "\"-1\"", "1001", "\"x\"", "0.0000001", "null", "[]"] {
            assert!(serde_json::from_str::<Factor>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_cursor_leads_back_to_its_place_and_nothing_else_does() {
        let cursor = encode_cursor(&(7_i64, "x".to_owned()));
        assert_eq!(decode_cursor::<(i64, String)>(Some(&cursor)).unwrap(), Some((7, "x".to_owned())));
        for bad in ["", "x", "####", &encode_cursor(&"text")] {
            assert!(decode_cursor::<(i64, String)>(Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn types_have_the_models_names() {
        for t in ProviderType::ALL {
            let name = serde_json::to_value(ProviderTypeName::from(t)).unwrap();
            assert_eq!(name, t.as_str());
            assert_eq!(ProviderType::from(ProviderTypeName::from(t)), t);
        }
    }
}
