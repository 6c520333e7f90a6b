//! What an attempt took and cost, and how far its numbers can be trusted.

use crate::model::price::Factors;
use crate::money::NanoUsd;
use serde::{Deserialize, Serialize};

/// Tokens by class. `input_tokens` is what no cache served; reasoning is part of `output_tokens`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TokenUsage {
    /// Uncached input, images not included.
    #[serde(skip_serializing_if = "is_default")]
    pub input_tokens: u64,
    /// Input written to the five-minute cache.
    #[serde(skip_serializing_if = "is_default")]
    pub cache_write_5m_tokens: u64,
    /// Input written to the one-hour cache.
    #[serde(skip_serializing_if = "is_default")]
    pub cache_write_1h_tokens: u64,
    /// Input read from a cache.
    #[serde(skip_serializing_if = "is_default")]
    pub cache_read_tokens: u64,
    /// Output, reasoning included, images not included.
    #[serde(skip_serializing_if = "is_default")]
    pub output_tokens: u64,
    /// The part of the output that was reasoning. Not priced apart.
    #[serde(skip_serializing_if = "is_default")]
    pub reasoning_tokens: u64,
    /// Image input.
    #[serde(skip_serializing_if = "is_default")]
    pub image_input_tokens: u64,
    /// Image output.
    #[serde(skip_serializing_if = "is_default")]
    pub image_output_tokens: u64,
    /// Web searches run by the provider.
    #[serde(skip_serializing_if = "is_default")]
    pub web_search_requests: u64,
}

impl TokenUsage {
    /// All input, cached or not: what long-context prices go by.
    #[must_use]
    pub fn total_input(&self) -> u64 {
        self.input_tokens
            .saturating_add(self.cache_write_5m_tokens)
            .saturating_add(self.cache_write_1h_tokens)
            .saturating_add(self.cache_read_tokens)
            .saturating_add(self.image_input_tokens)
    }

    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            cache_write_5m_tokens: self.cache_write_5m_tokens.saturating_add(other.cache_write_5m_tokens),
            cache_write_1h_tokens: self.cache_write_1h_tokens.saturating_add(other.cache_write_1h_tokens),
            cache_read_tokens: self.cache_read_tokens.saturating_add(other.cache_read_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
            reasoning_tokens: self.reasoning_tokens.saturating_add(other.reasoning_tokens),
            image_input_tokens: self.image_input_tokens.saturating_add(other.image_input_tokens),
            image_output_tokens: self.image_output_tokens.saturating_add(other.image_output_tokens),
            web_search_requests: self.web_search_requests.saturating_add(other.web_search_requests),
        }
    }
}

/// A cost and its rounded items; `total` is always their sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CostBreakdown {
    /// Uncached input, image input included.
    #[serde(skip_serializing_if = "is_default")]
    pub input: NanoUsd,
    /// Five-minute cache writes.
    #[serde(skip_serializing_if = "is_default")]
    pub cache_write_5m: NanoUsd,
    /// One-hour cache writes.
    #[serde(skip_serializing_if = "is_default")]
    pub cache_write_1h: NanoUsd,
    /// Cache reads.
    #[serde(skip_serializing_if = "is_default")]
    pub cache_read: NanoUsd,
    /// Output, image output included.
    #[serde(skip_serializing_if = "is_default")]
    pub output: NanoUsd,
    /// Fees per request and per server tool.
    #[serde(skip_serializing_if = "is_default")]
    pub fees: NanoUsd,
    /// The sum of the items above.
    #[serde(skip_serializing_if = "is_default")]
    pub total: NanoUsd,
    /// The factors that are already in the items.
    pub factors: Factors,
}

/// How far an attempt's numbers can be trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UsageFlags {
    /// The provider gave no (or not the last) usage; the tokens are an estimate.
    #[serde(skip_serializing_if = "is_default")]
    pub is_estimate: bool,
    /// The catalogue has no price for the model; the cost is 0.
    #[serde(skip_serializing_if = "is_default")]
    pub is_unpriced: bool,
    /// A long-context band applied.
    #[serde(skip_serializing_if = "is_default")]
    pub is_long_context: bool,
    /// The priority tier's rates applied.
    #[serde(skip_serializing_if = "is_default")]
    pub is_priority_tier: bool,
    /// The provider says that it served in fast mode (Anthropic's `usage.speed`), which costs a multiple.
    #[serde(skip_serializing_if = "is_default")]
    pub is_fast: bool,
    /// The provider says that it served in the US alone (Anthropic's `usage.inference_geo`), which costs more.
    #[serde(skip_serializing_if = "is_default")]
    pub is_us_only: bool,
}

/// What says nothing is not written: a record is written twice, and every byte of it costs. Readers know that what is
/// missing is 0, false or none, since the first release.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
