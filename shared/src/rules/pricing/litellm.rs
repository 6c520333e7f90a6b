//! Reads one entry of LiteLLM's public price table. Numbers are read from their decimal text, never through a
//! float. Fields this product does not bill by are skipped: the table grows new ones all the time.

use crate::model::price::{Band, ModelPrice, Rates};
use crate::money::{MoneyError, Multiplier, NanoUsd, PicoUsd};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use thiserror::Error;

/// Why an entry cannot be read.
#[derive(Debug, Error)]
pub enum PriceError {
    /// Not a JSON object.
    #[error("is not a JSON object")]
    NotAnObject(#[source] serde_json::Error),
    /// A price that is none.
    #[error("{field} {source}")]
    Price {
        /// The field's name.
        field: String,
        /// What is wrong with it.
        source: MoneyError,
    },
    /// A number of tokens that is none.
    #[error("{field} is not a whole number of tokens")]
    Tokens {
        /// The field's name.
        field: String,
    },
}

/// Reads the JSON object of one model. Prices may be numbers or decimal texts; null is the same as absent;
/// digits finer than a pico-USD are rounded half-up.
pub fn parse_litellm(entry: &str) -> Result<ModelPrice, PriceError> {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(entry).map_err(PriceError::NotAnObject)?;
    let mut price = ModelPrice::default();
    let mut bands: BTreeMap<u64, Band> = BTreeMap::new();
    for (name, raw) in &fields {
        if let Some(place) = Place::of(name) {
            if let Some(rate) = usd(name, raw)? {
                *place.slot(&mut price, &mut bands) = Some(rate);
            }
            continue;
        }
        match name.as_str() {
            "input_cost_per_request" => price.per_request = usd(name, raw)?.unwrap_or_default(),
            "search_context_cost_per_query" => price.per_web_search = search_fee(name, raw)?,
            "provider_specific_entry" => (price.fast, price.us_only) = premiums(raw)?,
            "max_input_tokens" => price.max_input_tokens = tokens(name, raw)?,
            "max_output_tokens" => price.max_output_tokens = tokens(name, raw)?,
            _ => {}
        }
    }
    // Older entries have these names instead of the ones above.
    if let (None, Some(raw)) = (price.max_output_tokens, fields.get("max_tokens")) {
        price.max_output_tokens = tokens("max_tokens", raw)?;
    }
    if let (None, Some(raw)) = (price.base.cache_read, fields.get("input_cost_per_token_cache_hit")) {
        price.base.cache_read = usd("input_cost_per_token_cache_hit", raw)?;
    }
    price.bands = bands.into_values().collect();
    Ok(price)
}

/// Where a rate belongs, as its field's name says: class, then band, then tier.
struct Place {
    class: usize,
    threshold_tokens: Option<u64>,
    tier: Tier,
}

#[derive(Clone, Copy)]
enum Tier {
    Default,
    Priority,
    Flex,
}

impl Place {
    /// `None` for a field that is no rate, or one of a band, tier or unit that is not billed here.
    fn of(name: &str) -> Option<Self> {
        let (class, rest) =
            CLASSES.iter().enumerate().find_map(|(i, class)| Some((i, name.strip_prefix(class)?)))?;
        let (threshold_tokens, tier) = match rest.strip_prefix("_above_") {
            Some(band) => {
                let (thousands, tier) = band.split_once("k_tokens")?;
                (Some(thousands.parse::<u64>().ok()?.checked_mul(1_000)?), tier)
            }
            None => (None, rest),
        };
        let tier = match tier {
            "" => Tier::Default,
            "_priority" => Tier::Priority,
            "_flex" => Tier::Flex,
            _ => return None,
        };
        Some(Self { class, threshold_tokens, tier })
    }

    fn slot<'a>(
        &self,
        price: &'a mut ModelPrice,
        bands: &'a mut BTreeMap<u64, Band>,
    ) -> &'a mut Option<PicoUsd> {
        let (base, priority, flex) = match self.threshold_tokens {
            None => (&mut price.base, &mut price.priority, &mut price.flex),
            Some(threshold_tokens) => {
                let band = bands
                    .entry(threshold_tokens)
                    .or_insert_with(|| Band { threshold_tokens, ..Band::default() });
                (&mut band.base, &mut band.priority, &mut band.flex)
            }
        };
        let rates: &mut Rates = match self.tier {
            Tier::Default => base,
            Tier::Priority => priority.get_or_insert_default(),
            Tier::Flex => flex.get_or_insert_default(),
        };
        match self.class {
            0 => &mut rates.input,
            1 => &mut rates.output,
            2 => &mut rates.cache_write_1h,
            3 => &mut rates.cache_write_5m,
            4 => &mut rates.cache_read,
            5 => &mut rates.image_input,
            _ => &mut rates.image_output,
        }
    }
}

fn usd(field: &str, raw: &RawValue) -> Result<Option<PicoUsd>, PriceError> {
    let text = raw.get();
    if text == "null" {
        return Ok(None);
    }
    let text = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text);
    let wrong = |source| PriceError::Price { field: field.to_owned(), source };
    PicoUsd::parse_usd(text).map(Some).map_err(wrong)
}

/// The fee per search: by how much of the web the model reads, of which a response does not tell. The middle
/// size is the vendors' default; in the bundled table all sizes cost the same.
fn search_fee(field: &str, raw: &RawValue) -> Result<PicoUsd, PriceError> {
    let Ok(sizes) = serde_json::from_str::<BTreeMap<String, &RawValue>>(raw.get()) else {
        return Ok(usd(field, raw)?.unwrap_or_default());
    };
    let by_preference = ["search_context_size_medium", "search_context_size_high", "search_context_size_low"];
    let size = by_preference.into_iter().find_map(|name| Some((name, sizes.get(name)?)));
    match size {
        Some((name, fee)) => Ok(usd(name, fee)?.unwrap_or_default()),
        None => Ok(PicoUsd::default()),
    }
}

/// Factors on the rates of a model: of fast mode, and of the US alone. What else stands there is not billed here.
fn premiums(raw: &RawValue) -> Result<(Option<Multiplier>, Option<Multiplier>), PriceError> {
    let Ok(entry) = serde_json::from_str::<BTreeMap<String, &RawValue>>(raw.get()) else {
        return Ok((None, None));
    };
    let factor = |name: &str| {
        let Some(raw) = entry.get(name).filter(|raw| raw.get() != "null") else { return Ok(None) };
        let field = || format!("provider_specific_entry.{name}");
        let wrong = |source| PriceError::Price { field: field(), source };
        Multiplier::parse(raw.get().trim_matches('"')).map(Some).map_err(wrong)
    };
    Ok((factor("fast")?, factor("us")?))
}

fn tokens(field: &str, raw: &RawValue) -> Result<Option<u64>, PriceError> {
    let text = raw.get();
    if text == "null" {
        return Ok(None);
    }
    let wrong = || PriceError::Tokens { field: field.to_owned() };
    // The table writes some of them as `1e6` or `128000.0`: read as an exact decimal, then it must be whole.
    let nano = NanoUsd::parse_usd(text).map_err(|_| wrong())?.0;
    match u64::try_from(nano) {
        Ok(nano) if nano % 1_000_000_000 == 0 => Ok(Some(nano / 1_000_000_000)),
        _ => Err(wrong()),
    }
}

/// The fields that are rates per token; a name that another begins with comes after it.
const CLASSES: [&str; 7] = [
    "input_cost_per_token",
    "output_cost_per_token",
    "cache_creation_input_token_cost_above_1hr",
    "cache_creation_input_token_cost",
    "cache_read_input_token_cost",
    "input_cost_per_image_token",
    "output_cost_per_image_token",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_finds_its_place() {
        let price = parse_litellm(
            r#"{"input_cost_per_token": 1e-06, "input_cost_per_token_priority": 2e-06,
                "input_cost_per_token_flex": 5e-7, "input_cost_per_token_batches": 9,
                "output_cost_per_token": "0.000004", "output_cost_per_token_above_200k_tokens": 6e-06,
                "output_cost_per_token_above_200k_tokens_priority": 7e-06,
                "output_cost_per_token_above_128k_tokens_flex": 8e-06,
                "cache_creation_input_token_cost": 1.25e-06,
                "cache_creation_input_token_cost_above_1hr": 2e-06,
                "cache_creation_input_token_cost_above_1hr_above_200k_tokens": 3e-06,
                "cache_creation_input_token_cost_above_200k_tokens": 2.5e-06,
                "cache_read_input_token_cost": 0, "input_cost_per_image_token": 5e-06,
                "output_cost_per_image_token": null, "output_cost_per_image": 1,
                "input_cost_per_request": 0.001, "max_tokens": 4096, "max_input_tokens": 1e6,
                "search_context_cost_per_query": {"search_context_size_low": 0.01,
                    "search_context_size_medium": 0.025, "search_context_size_high": 0.05},
                "provider_specific_entry": {"us": 1.1, "fast": 6.0},
                "mode": "chat", "supported_regions": ["x"], "output_cost_per_token_above_200k_tokens_odd": 1}"#,
        )
        .unwrap();
        let usd = |text: &str| Some(PicoUsd::parse_usd(text).unwrap());
        let base = Rates {
            input: usd("0.000001"),
            output: usd("0.000004"),
            cache_write_5m: usd("0.00000125"),
            cache_write_1h: usd("0.000002"),
            cache_read: usd("0"),
            image_input: usd("0.000005"),
            image_output: None,
        };
        let low = Band {
            threshold_tokens: 128_000,
            flex: Some(Rates { output: usd("0.000008"), ..Rates::default() }),
            ..Band::default()
        };
        let high = Band {
            threshold_tokens: 200_000,
            base: Rates {
                output: usd("0.000006"),
                cache_write_5m: usd("0.0000025"),
                cache_write_1h: usd("0.000003"),
                ..Rates::default()
            },
            priority: Some(Rates { output: usd("0.000007"), ..Rates::default() }),
            flex: None,
        };
        let expected = ModelPrice {
            base,
            priority: Some(Rates { input: usd("0.000002"), ..Rates::default() }),
            flex: Some(Rates { input: usd("0.0000005"), ..Rates::default() }),
            bands: vec![low, high],
            per_request: PicoUsd(1_000_000_000),
            per_web_search: PicoUsd(25_000_000_000),
            fast: Some(Multiplier(6_000_000)),
            us_only: Some(Multiplier(1_100_000)),
            max_input_tokens: Some(1_000_000),
            max_output_tokens: Some(4_096),
        };
        assert_eq!(price, expected);
    }

    #[test]
    fn a_number_that_a_float_cannot_hold_is_read_exactly() {
        let price = parse_litellm(r#"{"input_cost_per_token": 0.123456789012}"#).unwrap();
        assert_eq!(price.base.input, Some(PicoUsd(123_456_789_012)));
        let price = parse_litellm(r#"{"input_cost_per_token": 18446744.073709551615}"#).unwrap();
        assert_eq!(price.base.input, Some(PicoUsd(u64::MAX)));
    }

    #[test]
    fn a_wrong_value_is_refused_by_its_fields_name() {
        for (entry, message) in [
            (r#"{"input_cost_per_token": -1e-6}"#, "input_cost_per_token must not be negative"),
            (
                r#"{"output_cost_per_token_flex": "free"}"#,
                "output_cost_per_token_flex is not a decimal number",
            ),
            (r#"{"cache_read_input_token_cost": []}"#, "cache_read_input_token_cost is not a decimal number"),
            (r#"{"input_cost_per_request": 1e30}"#, "input_cost_per_request is too large"),
            (r#"{"max_input_tokens": 1.5}"#, "max_input_tokens is not a whole number of tokens"),
            (r#"{"max_tokens": "many"}"#, "max_tokens is not a whole number of tokens"),
            (r#"{"max_output_tokens": -1}"#, "max_output_tokens is not a whole number of tokens"),
            (
                r#"{"provider_specific_entry": {"fast": "very"}}"#,
                "provider_specific_entry.fast is not a decimal number",
            ),
            ("[]", "is not a JSON object"),
        ] {
            assert_eq!(parse_litellm(entry).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn the_search_fee_is_read_in_each_of_its_shapes() {
        let fee = |json: &str| {
            let entry = format!(r#"{{"search_context_cost_per_query": {json}}}"#);
            parse_litellm(&entry).unwrap().per_web_search
        };
        assert_eq!(fee(r#"{"search_context_size_low": 0.01}"#), PicoUsd(10_000_000_000));
        assert_eq!(fee("0.02"), PicoUsd(20_000_000_000));
        assert_eq!(fee("{}"), PicoUsd(0));
        assert_eq!(fee("null"), PicoUsd(0));
    }
}
