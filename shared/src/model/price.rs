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
    /// What its tokens cost in fast mode, as a multiple; `None`: see [`Self::in_fast_mode`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fast: Option<Multiplier>,
    /// What they cost in the US alone, as a multiple; `None`: see [`Self::in_us_only`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub us_only: Option<Multiplier>,
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

    /// The factor on its tokens in Anthropic's fast mode: of an entry that does not say, twice, as for each model that has the mode
    /// (platform.claude.com "Fast mode": Opus 4.8, 5 and 5.5; November 2026).
    #[must_use]
    pub fn in_fast_mode(&self) -> Multiplier {
        self.fast.unwrap_or(Multiplier(2_000_000))
    }

    /// The factor on its tokens where Anthropic ran it in the US alone: of an entry that does not say, 1.1 (platform.claude.com
    /// "Pricing", data residency).
    #[must_use]
    pub fn in_us_only(&self) -> Multiplier {
        self.us_only.unwrap_or(Multiplier(1_100_000))
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
