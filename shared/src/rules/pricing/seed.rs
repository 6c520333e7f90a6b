//! The bundled price table, from LiteLLM: what a fresh installation prices by.

use super::litellm::{PriceError, parse_litellm};
use crate::model::price::ModelPrice;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use thiserror::Error;

/// The table: a JSON object from model name to entry, in LiteLLM's field names.
pub const SEED: &str = include_str!("../../../seed/model-prices.json");

/// Why the bundled table cannot be read. A test keeps this from being shipped.
#[derive(Debug, Error)]
pub enum SeedError {
    /// Not a JSON object of entries.
    #[error("bundled price table is not a JSON object")]
    NotATable(#[source] serde_json::Error),
    /// One entry cannot be read.
    #[error("bundled price of {model} cannot be read")]
    Entry {
        /// Its name.
        model: String,
        /// Why.
        source: PriceError,
    },
}

/// Every entry of the table as it is written there, by model name.
pub fn seed_entries() -> Result<BTreeMap<String, &'static str>, SeedError> {
    let entries: BTreeMap<String, &'static RawValue> =
        serde_json::from_str(SEED).map_err(SeedError::NotATable)?;
    Ok(entries.into_iter().map(|(model, entry)| (model, entry.get())).collect())
}

/// The prices of the table, by model name.
pub fn seed() -> Result<BTreeMap<String, ModelPrice>, SeedError> {
    let read = |(model, entry): (String, &str)| match parse_litellm(entry) {
        Ok(price) => Ok((model, price)),
        Err(source) => Err(SeedError::Entry { model, source }),
    };
    seed_entries()?.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::PicoUsd;

    #[test]
    fn every_bundled_entry_can_be_read() {
        assert_eq!(seed().unwrap().len(), 1_728);
        assert_eq!(seed_entries().unwrap().len(), 1_728);
    }

    /// A price text times 10¹² must be whole: its finest digit is at most the twelfth behind the point.
    #[test]
    fn no_bundled_price_has_a_digit_finer_than_is_stored() {
        let mut count = 0;
        for (model, entry) in seed_entries().unwrap() {
            let fields: BTreeMap<String, &RawValue> = serde_json::from_str(entry).unwrap();
            for (field, raw) in fields.iter().filter(|(f, r)| f.contains("cost") && !r.get().starts_with('{'))
            {
                let text = raw.get();
                let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
                let fraction = mantissa.split_once('.').map_or("", |(_, f)| f.trim_end_matches('0'));
                let finest = i32::try_from(fraction.len()).unwrap() - exponent.parse::<i32>().unwrap();
                assert!(finest <= 12, "{model} {field} {text}");
                // The same text through a float, which holds 15 digits, must name the same integer.
                let nearest = format!("{:.0}", text.parse::<f64>().unwrap() * 1e12);
                assert_eq!(PicoUsd::parse_usd(text).unwrap().0.to_string(), nearest, "{model} {field}");
                count += 1;
            }
        }
        assert!(count > 5_000, "{count} prices were looked at");
    }

    #[test]
    fn the_models_people_use_are_priced() {
        let prices = seed().unwrap();
        for model in
            ["claude-opus-4-5", "claude-sonnet-4-5-20250929", "gpt-5", "gpt-5-codex", "gemini-2.5-pro"]
        {
            assert!(prices.get(model).is_some_and(ModelPrice::has_price), "{model}");
        }
    }
}
