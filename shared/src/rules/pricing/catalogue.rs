//! From a model's name, as seats and providers write it, to its entry in the catalogue.
//!
//! The exact name goes first, so the common case is one look-up without an allocation. Then, for the name as
//! written and in lower case, and each time with and without a date or version at its end:
//! without a call suffix (`:free`), without host and organisation (`openrouter/anthropic/…`), without region
//! and vendor (`us.anthropic.…`), and at last as the vendor's own service lists it (`glm-5` as `zai/glm-5`).
//! An entry that prices nothing this product counts is passed over.

use crate::model::price::ModelPrice;
use std::collections::BTreeMap;

/// The prices of a snapshot, to be looked up by model name. Borrows them: making one costs nothing.
#[derive(Clone, Copy, Debug)]
pub struct Catalogue<'a> {
    prices: &'a BTreeMap<String, ModelPrice>,
}

impl<'a> Catalogue<'a> {
    /// A view of these prices.
    #[must_use]
    pub fn new(prices: &'a BTreeMap<String, ModelPrice>) -> Self {
        Self { prices }
    }

    /// The entry for a model, with the name the catalogue has for it.
    #[must_use]
    pub fn find(self, name: &str) -> Option<(&'a str, &'a ModelPrice)> {
        self.exact(name).or_else(|| self.by_parts(name)).or_else(|| {
            let lower = name.to_lowercase();
            if lower == name { None } else { self.exact(&lower).or_else(|| self.by_parts(&lower)) }
        })
    }

    fn exact(self, name: &str) -> Option<(&'a str, &'a ModelPrice)> {
        let (known, price) = self.prices.get_key_value(name)?;
        price.has_price().then_some((known.as_str(), price))
    }

    fn by_parts(self, name: &str) -> Option<(&'a str, &'a ModelPrice)> {
        let name = without_call_suffix(name);
        self.by_tail(name).or_else(|| {
            let bare = without_version(name);
            if bare == name { None } else { self.by_tail(bare) }
        })
    }

    fn by_tail(self, name: &str) -> Option<(&'a str, &'a ModelPrice)> {
        let by_host = std::iter::successors(Some(name), |tail| tail.split_once('/').map(|(_, rest)| rest));
        let model = name.rsplit('/').next().unwrap_or(name);
        let by_region = std::iter::successors(without_region(model), |tail| without_region(tail));
        by_host.chain(by_region).find_map(|tail| self.exact(tail)).or_else(|| self.by_vendor(model))
    }

    fn by_vendor(self, model: &str) -> Option<(&'a str, &'a ModelPrice)> {
        VENDOR_HOSTS.iter().find_map(|host| self.exact(&format!("{host}/{model}")))
    }
}

fn without_call_suffix(name: &str) -> &str {
    match name.rsplit_once(':') {
        Some((model, suffix)) if CALL_SUFFIXES.contains(&suffix) => model,
        _ => name,
    }
}

/// Cuts off a first part such as `us.`, `us-gov.` or `anthropic.`; a part with a digit belongs to the model
/// (`gpt-5.5`).
fn without_region(name: &str) -> Option<&str> {
    let (part, rest) = name.split_once('.')?;
    let is_word = !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-');
    (is_word && !rest.is_empty()).then_some(rest)
}

/// Cuts off what dates or numbers an edition: `-20250929`, `-2026-03-05`, `@20241022`, `@default`, `-v1:0`.
fn without_version(name: &str) -> &str {
    let name = match name.rsplit_once("-v") {
        Some((model, version)) if is_made_of(version, |b| b.is_ascii_digit() || b == b':') => model,
        _ => name,
    };
    let name = name.split_once('@').map_or(name, |(model, _)| model);
    let date_of = |len: usize| name.split_at_checked(name.len().checked_sub(len)?);
    let short = date_of("-20250929".len()).filter(|(_, date)| {
        date.strip_prefix("-20").is_some_and(|rest| is_made_of(rest, |b| b.is_ascii_digit()))
    });
    let long = date_of("-2025-09-29".len()).filter(|(_, date)| {
        let mut parts = date.split('-').map(|p| (p.len(), is_made_of(p, |b| b.is_ascii_digit())));
        parts.next() == Some((0, false)) && parts.eq([(4, true), (2, true), (2, true)])
    });
    short.or(long).map_or(name, |(model, _)| model)
}

fn is_made_of(text: &str, is_one: impl Fn(u8) -> bool) -> bool {
    !text.is_empty() && text.bytes().all(is_one)
}

/// What resellers append to a name to say how it is called.
const CALL_SUFFIXES: [&str; 7] = ["free", "thinking", "extended", "online", "nitro", "floor", "exacto"];

/// The vendors' own services, under whose name the public table lists models that have no bare entry.
const VENDOR_HOSTS: [&str; 9] =
    ["gemini", "xai", "deepseek", "mistral", "moonshot", "zai", "minimax", "dashscope", "volcengine"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::PicoUsd;

    fn catalogue(names: &[&str]) -> BTreeMap<String, ModelPrice> {
        names
            .iter()
            .map(|name| {
                let mut price = ModelPrice::default();
                price.base.input = Some(PicoUsd(1));
                ((*name).to_owned(), price)
            })
            .collect()
    }

    fn found<'a>(prices: &'a BTreeMap<String, ModelPrice>, name: &str) -> Option<&'a str> {
        Catalogue::new(prices).find(name).map(|(known, _)| known)
    }

    #[test]
    fn every_way_to_write_a_name_leads_to_its_entry() {
        let prices = catalogue(&["claude-opus-4-5", "gpt-5.5", "zai/glm-5", "minimax/MiniMax-M3"]);
        for (name, entry) in [
            ("claude-opus-4-5", "claude-opus-4-5"),
            ("claude-opus-4-5:thinking", "claude-opus-4-5"),
            ("anthropic/claude-opus-4-5", "claude-opus-4-5"),
            ("openrouter/anthropic/claude-opus-4-5:free", "claude-opus-4-5"),
            ("anthropic.claude-opus-4-5", "claude-opus-4-5"),
            ("us.anthropic.claude-opus-4-5", "claude-opus-4-5"),
            ("us-gov.anthropic.claude-opus-4-5-20251101-v1:0", "claude-opus-4-5"),
            ("bedrock/eu.anthropic.claude-opus-4-5", "claude-opus-4-5"),
            ("vertex_ai/claude-opus-4-5@20251101", "claude-opus-4-5"),
            ("claude-opus-4-5@default", "claude-opus-4-5"),
            ("claude-opus-4-5-20991231", "claude-opus-4-5"),
            ("Claude-Opus-4-5", "claude-opus-4-5"),
            ("Anthropic/CLAUDE-OPUS-4-5-20251101", "claude-opus-4-5"),
            ("gpt-5.5-2026-04-23", "gpt-5.5"),
            ("GPT-5.5", "gpt-5.5"),
            ("glm-5", "zai/glm-5"),
            ("z-ai/glm-5:exacto", "zai/glm-5"),
            ("MiniMax-M3", "minimax/MiniMax-M3"),
        ] {
            assert_eq!(found(&prices, name), Some(entry), "{name}");
        }
    }

    #[test]
    fn other_models_are_not_mistaken_for_one_in_the_catalogue() {
        let prices = catalogue(&["5", "claude-opus-4", "gpt-5", "glm"]);
        for name in [
            "",
            "/",
            ".",
            ":",
            "@",
            "gpt-5.5",
            "x.5.5",
            "claude-opus-4-5",
            "gpt-5:batch",
            "gpt-5-2026",
            "glm-5",
        ] {
            assert_eq!(found(&prices, name), None, "{name}");
        }
    }

    #[test]
    fn the_exact_entry_goes_before_a_shorter_one() {
        let prices = catalogue(&["gpt-5", "azure/gpt-5", "gpt-5-20250807", "gpt-5:free"]);
        for name in ["gpt-5", "azure/gpt-5", "gpt-5-20250807", "gpt-5:free"] {
            assert_eq!(found(&prices, name), Some(name));
        }
        assert_eq!(found(&prices, "azure/gpt-5-20250807"), Some("gpt-5-20250807"));
    }

    #[test]
    fn an_entry_without_a_price_is_passed_over() {
        let mut prices = catalogue(&["medlm"]);
        prices.insert("google/medlm".to_owned(), ModelPrice::default());
        assert_eq!(found(&prices, "google/medlm"), Some("medlm"));
    }
}
