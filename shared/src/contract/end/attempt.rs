//! A ledger row in a record.

use super::{borrowed, owned};
use crate::contract::usage::{AttemptEntry, CostBreakdown, Outcome, TokenUsage, UsageFlags, is_default};
use crate::ids::ProviderId;
use crate::model::price::Factors;
use crate::money::{Multiplier, NanoUsd};
use crate::time::UnixMillis;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Tokens have small letters, money has capitals.
#[derive(Serialize, Deserialize)]
pub(in crate::contract) struct AttemptDoc<'a> {
    #[serde(rename = "n")]
    attempt: u32,
    #[serde(rename = "p")]
    provider_id: ProviderId,
    #[serde(rename = "m", default, skip_serializing_if = "is_default")]
    upstream_model: Option<Cow<'a, str>>,
    #[serde(rename = "oc")]
    outcome: Outcome,
    #[serde(rename = "i", default, skip_serializing_if = "is_default")]
    input_tokens: u64,
    #[serde(rename = "w", default, skip_serializing_if = "is_default")]
    cache_write_5m_tokens: u64,
    #[serde(rename = "w1", default, skip_serializing_if = "is_default")]
    cache_write_1h_tokens: u64,
    #[serde(rename = "c", default, skip_serializing_if = "is_default")]
    cache_read_tokens: u64,
    #[serde(rename = "o", default, skip_serializing_if = "is_default")]
    output_tokens: u64,
    #[serde(rename = "r", default, skip_serializing_if = "is_default")]
    reasoning_tokens: u64,
    #[serde(rename = "ii", default, skip_serializing_if = "is_default")]
    image_input_tokens: u64,
    #[serde(rename = "io", default, skip_serializing_if = "is_default")]
    image_output_tokens: u64,
    #[serde(rename = "ws", default, skip_serializing_if = "is_default")]
    web_search_requests: u64,
    #[serde(rename = "I", default, skip_serializing_if = "is_default")]
    input: NanoUsd,
    #[serde(rename = "W", default, skip_serializing_if = "is_default")]
    cache_write_5m: NanoUsd,
    #[serde(rename = "W1", default, skip_serializing_if = "is_default")]
    cache_write_1h: NanoUsd,
    #[serde(rename = "C", default, skip_serializing_if = "is_default")]
    cache_read: NanoUsd,
    #[serde(rename = "O", default, skip_serializing_if = "is_default")]
    output: NanoUsd,
    #[serde(rename = "F", default, skip_serializing_if = "is_default")]
    fees: NanoUsd,
    #[serde(rename = "T", default, skip_serializing_if = "is_default")]
    total: NanoUsd,
    #[serde(rename = "fp", default, skip_serializing_if = "is_default")]
    provider_factor: Multiplier,
    #[serde(rename = "fg", default, skip_serializing_if = "is_default")]
    group_factor: Multiplier,
    #[serde(rename = "es", default, skip_serializing_if = "is_default")]
    is_estimate: bool,
    #[serde(rename = "up", default, skip_serializing_if = "is_default")]
    is_unpriced: bool,
    #[serde(rename = "lc", default, skip_serializing_if = "is_default")]
    is_long_context: bool,
    #[serde(rename = "pt", default, skip_serializing_if = "is_default")]
    is_priority_tier: bool,
    #[serde(rename = "fa", default, skip_serializing_if = "is_default")]
    is_fast: bool,
    #[serde(rename = "us", default, skip_serializing_if = "is_default")]
    is_us_only: bool,
    #[serde(rename = "ta", default, skip_serializing_if = "is_default")]
    admitted_at: Option<UnixMillis>,
    #[serde(rename = "h", default, skip_serializing_if = "is_default")]
    held: NanoUsd,
    #[serde(rename = "cv", default, skip_serializing_if = "is_default")]
    is_covered: bool,
}

impl<'a> From<&'a AttemptEntry> for AttemptDoc<'a> {
    fn from(row: &'a AttemptEntry) -> Self {
        let AttemptEntry {
            attempt,
            provider_id,
            upstream_model,
            outcome,
            usage,
            cost,
            flags,
            admitted_at,
            held,
            is_covered,
        } = row;
        let TokenUsage {
            input_tokens,
            cache_write_5m_tokens,
            cache_write_1h_tokens,
            cache_read_tokens,
            output_tokens,
            reasoning_tokens,
            image_input_tokens,
            image_output_tokens,
            web_search_requests,
        } = *usage;
        let CostBreakdown { input, cache_write_5m, cache_write_1h, cache_read, output, fees, total, factors } =
            *cost;
        let UsageFlags { is_estimate, is_unpriced, is_long_context, is_priority_tier, is_fast, is_us_only } =
            *flags;
        Self {
            attempt: *attempt,
            provider_id: *provider_id,
            upstream_model: borrowed(upstream_model),
            outcome: *outcome,
            input_tokens,
            cache_write_5m_tokens,
            cache_write_1h_tokens,
            cache_read_tokens,
            output_tokens,
            reasoning_tokens,
            image_input_tokens,
            image_output_tokens,
            web_search_requests,
            input,
            cache_write_5m,
            cache_write_1h,
            cache_read,
            output,
            fees,
            total,
            provider_factor: factors.provider,
            group_factor: factors.group,
            is_estimate,
            is_unpriced,
            is_long_context,
            is_priority_tier,
            is_fast,
            is_us_only,
            admitted_at: *admitted_at,
            held: *held,
            is_covered: *is_covered,
        }
    }
}

impl From<AttemptDoc<'_>> for AttemptEntry {
    fn from(doc: AttemptDoc<'_>) -> Self {
        Self {
            attempt: doc.attempt,
            provider_id: doc.provider_id,
            upstream_model: owned(doc.upstream_model),
            outcome: doc.outcome,
            usage: TokenUsage {
                input_tokens: doc.input_tokens,
                cache_write_5m_tokens: doc.cache_write_5m_tokens,
                cache_write_1h_tokens: doc.cache_write_1h_tokens,
                cache_read_tokens: doc.cache_read_tokens,
                output_tokens: doc.output_tokens,
                reasoning_tokens: doc.reasoning_tokens,
                image_input_tokens: doc.image_input_tokens,
                image_output_tokens: doc.image_output_tokens,
                web_search_requests: doc.web_search_requests,
            },
            cost: CostBreakdown {
                input: doc.input,
                cache_write_5m: doc.cache_write_5m,
                cache_write_1h: doc.cache_write_1h,
                cache_read: doc.cache_read,
                output: doc.output,
                fees: doc.fees,
                total: doc.total,
                factors: Factors { provider: doc.provider_factor, group: doc.group_factor },
            },
            flags: UsageFlags {
                is_estimate: doc.is_estimate,
                is_unpriced: doc.is_unpriced,
                is_long_context: doc.is_long_context,
                is_priority_tier: doc.is_priority_tier,
                is_fast: doc.is_fast,
                is_us_only: doc.is_us_only,
            },
            admitted_at: doc.admitted_at,
            held: doc.held,
            is_covered: doc.is_covered,
        }
    }
}
