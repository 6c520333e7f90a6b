//! What a token of a model costs: one entry of the catalogue, read from LiteLLM's field names.

use crate::money::{Multiplier, PicoUsd};
use serde::{Deserialize, Serialize};

/// The prices of one model. A missing price is derived or 0; [`crate::rules::pricing`] has the rules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelPrice {
    /// The rates of the default service tier.
    pub base: Rates,
    /// The rates of the priority service tier, where the vendor has one.
    pub priority: Option<Rates>,
    /// The rates of the flex service tier, where the vendor has one.
    pub flex: Option<Rates>,
    /// Long-context bands: above `threshold_tokens` of input the whole request costs the band's rates.
    pub bands: Vec<Band>,
    /// A fixed fee per request, in pico-USD.
    pub per_request: PicoUsd,
    /// A fee per web search the model ran at the provider, in pico-USD.
    pub per_web_search: PicoUsd,
    /// The largest input the model takes, in tokens.
    pub max_input_tokens: Option<u64>,
    /// The largest output the model gives, in tokens.
    pub max_output_tokens: Option<u64>,
}

impl ModelPrice {
    /// True when the entry says what a token or a request costs, be it 0. Some entries of the public table
    /// price seconds or characters only: nothing can be billed by them here.
    #[must_use]
    pub fn has_price(&self) -> bool {
        self.base.input.is_some() || self.base.output.is_some() || self.per_request > PicoUsd(0)
    }
}

/// Prices per token of one service tier and band, in pico-USD. `None` = the vendor names no such price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rates {
    /// Input that no cache served.
    pub input: Option<PicoUsd>,
    /// Output, reasoning included.
    pub output: Option<PicoUsd>,
    /// Input written to the five-minute cache.
    pub cache_write_5m: Option<PicoUsd>,
    /// Input written to the one-hour cache.
    pub cache_write_1h: Option<PicoUsd>,
    /// Input read from a cache.
    pub cache_read: Option<PicoUsd>,
    /// Image input.
    pub image_input: Option<PicoUsd>,
    /// Image output.
    pub image_output: Option<PicoUsd>,
}

/// A long-context band.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Band {
    /// Applies when the input (cached or not) is larger than this many tokens.
    pub threshold_tokens: u64,
    /// The rates of the default tier in this band.
    pub base: Rates,
    /// The rates of the priority tier in this band.
    pub priority: Option<Rates>,
    /// The rates of the flex tier in this band.
    pub flex: Option<Rates>,
}

/// The factor by which a cost was multiplied, provider's and group's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Factors {
    /// The provider's `cost_multiplier`.
    pub provider: Multiplier,
    /// The `cost_multiplier` of the group of the provider that served.
    pub group: Multiplier,
}
