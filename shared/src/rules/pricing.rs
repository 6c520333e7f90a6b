//! What a request costs: quantities × the catalogue's rates × the provider's and the group's factor.
//!
//! Pure and integer: rates in pico-USD, each token class multiplied out and rounded half-up to nano-USD once
//! ([`item_cost`]); the total is the sum of the items. [`price`] knows nothing of when something is billed: who asks
//! gets a price, the fee per request included. Whether an attempt is billed at all, and by which count, is in [`billed`].
//!
//! The rate of a class is found so:
//! 1. **Band.** The bands whose threshold the whole input (cached or not, images too) is *strictly* above; the
//!    highest that names the class applies, to every token of the request. A band's cache rate counts only if
//!    the model names that cache rate outside of bands: some entries of the table carry only stray ones.
//! 2. **Tier.** Within band or base, the priority (or flex) rate if there is one, else the default tier's. A
//!    band goes before a tier: the vendors serve long context at the default tier where the table has no
//!    priority rate for it.
//! 3. **Derived**, for what the model names nowhere: 5-minute cache write = 1.25 × input; 1-hour write = 2 ×
//!    input, else the 5-minute rate; cache read = 0.1 × input, else 0.1 × output; image tokens as text. Input
//!    and output are here those of the default tier, in the band that applies.
//! 4. **Premium.** What the provider says it served in fast mode, or in the US alone, costs the model's factor for it, each class of
//!    tokens; both multiply. Fees stay as they are.
//!
//! What another model took that was asked for advice is billed at that model's rates, and added item by item.
//!
//! Searches are billed each, but Gemini's up to 2.5, which Google bills by the request (ai.google.dev "Grounding with Google
//! Search", pricing). Nothing is known here of what a vendor gives away each day: the price is that beyond it.

mod billed;
mod catalogue;
mod litellm;
mod rates;
mod seed;

pub use billed::{Billed, Ended, billed};
pub use catalogue::Catalogue;
pub use litellm::{PriceError, parse_litellm};
pub use seed::{SEED, SeedError, seed, seed_entries};

use crate::contract::usage::{CostBreakdown, TokenUsage, UsageFlags};
use crate::model::price::{Factors, ModelPrice};
use crate::model::{BillingModelSource, GroupSet, Provider, Settings, TierSource};
use crate::money::{Multiplier, NanoUsd, PicoUsd, item_cost};
use crate::protocol::tally::Extras;
use rates::{RateCard, Tier};

/// What a price depends on.
#[derive(Clone, Copy, Debug)]
pub struct PriceQuery<'a, 'c> {
    /// The prices of the snapshot.
    pub catalogue: Catalogue<'c>,
    /// The settings of the snapshot.
    pub settings: &'a Settings,
    /// The model the seat asked for.
    pub model: Option<&'a str>,
    /// The model the provider was asked for.
    pub upstream_model: Option<&'a str>,
    /// The `service_tier` of the request as it was sent.
    pub requested_tier: Option<&'a str>,
    /// The `service_tier` of the response.
    pub actual_tier: Option<&'a str>,
    /// What was used.
    pub usage: &'a TokenUsage,
    /// What is billed beside it, or makes it dearer.
    pub extras: Extras,
    /// The model that the extras' `advised` is of.
    pub advisor: Option<&'a str>,
    /// See [`factors`].
    pub factors: Factors,
}

/// A price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priced<'c> {
    /// The rounded items and their sum.
    pub cost: CostBreakdown,
    /// All but `is_estimate`, which the caller knows; but true where nobody knows the price of the model that gave advice: that was
    /// then billed at the rates of the one that asked.
    pub flags: UsageFlags,
    /// The catalogue's name for the model it was priced by; `None` when it has none.
    pub priced_as: Option<&'c str>,
}

/// Prices what was used. A model the catalogue does not know costs 0 and is flagged.
#[must_use]
pub fn price<'c>(query: &PriceQuery<'_, 'c>) -> Priced<'c> {
    let PriceQuery { catalogue, settings, model, upstream_model, .. } = *query;
    let Some((name, model)) = billing_model(catalogue, settings, model, upstream_model) else {
        let cost = CostBreakdown { factors: query.factors, ..CostBreakdown::default() };
        let flags = UsageFlags { is_unpriced: true, ..UsageFlags::default() };
        return Priced { cost, flags, priced_as: None };
    };
    let usage = query.usage;
    let Extras { advised, is_fast, is_us_only } = query.extras;
    let card = RateCard { model, tier: tier(query), total_input: usage.total_input() };
    let premium = Premium { is_fast, is_us_only };
    let mut cost = of_tokens(&card, premium, usage, query.factors);
    let item = |count, rate| item_cost(count, rate, query.factors.provider, query.factors.group);
    let searches = billed_searches(name, usage.web_search_requests);
    cost.fees = item(1, model.per_request) + item(searches, model.per_web_search);
    let mut is_estimate = false;
    if advised != TokenUsage::default() {
        let advisor = query.advisor.and_then(|advisor| catalogue.find(advisor));
        is_estimate = advisor.is_none();
        let model = advisor.map_or(model, |(_, model)| model);
        let card = RateCard { model, tier: Tier::Default, total_input: advised.total_input() };
        // Fast mode is the answering model's own.
        let premium = Premium { is_fast: false, is_us_only };
        let part = of_tokens(&card, premium, &advised, query.factors);
        cost.input += part.input;
        cost.cache_write_5m += part.cache_write_5m;
        cost.cache_write_1h += part.cache_write_1h;
        cost.cache_read += part.cache_read;
        cost.output += part.output;
    }
    cost.total =
        cost.input + cost.cache_write_5m + cost.cache_write_1h + cost.cache_read + cost.output + cost.fees;
    let flags = UsageFlags {
        is_estimate,
        is_unpriced: false,
        is_long_context: card.is_long_context(),
        is_priority_tier: card.uses_priority_rates(),
        is_fast,
        is_us_only,
    };
    Priced { cost, flags, priced_as: Some(name) }
}

/// The items of tokens; no fees, no total.
fn of_tokens(card: &RateCard<'_>, premium: Premium, usage: &TokenUsage, factors: Factors) -> CostBreakdown {
    let rates = card.rates();
    let item = |count, rate| item_cost(count, premium.on(card.model, rate), factors.provider, factors.group);
    CostBreakdown {
        input: item(usage.input_tokens, rates.input) + item(usage.image_input_tokens, rates.image_input),
        cache_write_5m: item(usage.cache_write_5m_tokens, rates.cache_write_5m),
        cache_write_1h: item(usage.cache_write_1h_tokens, rates.cache_write_1h),
        cache_read: item(usage.cache_read_tokens, rates.cache_read),
        output: item(usage.output_tokens, rates.output) + item(usage.image_output_tokens, rates.image_output),
        fees: NanoUsd::ZERO,
        total: NanoUsd::ZERO,
        factors,
    }
}

/// What makes each token dearer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Premium {
    /// Fast mode.
    pub is_fast: bool,
    /// Served in the US alone.
    pub is_us_only: bool,
}

impl Premium {
    /// A rate of the model with it.
    #[must_use]
    pub fn on(self, model: &ModelPrice, rate: PicoUsd) -> PicoUsd {
        let rate = if self.is_fast { rate.times(model.in_fast_mode()) } else { rate };
        if self.is_us_only { rate.times(model.in_us_only()) } else { rate }
    }
}

/// How many searches of a request are billed by this entry of the catalogue.
fn billed_searches(name: &str, searches: u64) -> u64 {
    if searches <= 1 {
        return searches;
    }
    let is_by_request = ["gemini-1", "gemini-2"].iter().any(|family| name.contains(family));
    if is_by_request { searches.min(1) } else { searches }
}

/// The most that a token of a model can cost here, of whatever class, service tier and band.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dearest {
    /// Of input, cache writes and pictures among it.
    pub input: PicoUsd,
    /// Of output.
    pub output: PicoUsd,
}

/// The dearest rates of a model.
#[must_use]
pub fn dearest(model: &ModelPrice) -> Dearest {
    let inputs = model.bands.iter().map(|band| band.threshold_tokens.saturating_add(1)).chain([0]);
    let cards = inputs.flat_map(|total_input| {
        [Tier::Default, Tier::Priority, Tier::Flex].map(|tier| RateCard { model, tier, total_input })
    });
    cards.map(|card| card.rates()).fold(Dearest::default(), |most, rates| {
        let inputs =
            [rates.input, rates.cache_write_5m, rates.cache_write_1h, rates.cache_read, rates.image_input];
        Dearest {
            input: inputs.into_iter().fold(most.input, Ord::max),
            output: most.output.max(rates.output).max(rates.image_output),
        }
    })
}

/// The input of a request that nobody counted: four bytes a token, the field's rule of thumb, but no more than the model
/// takes. Pictures in a body are many more bytes than tokens.
#[must_use]
pub fn input_estimate(body_bytes: usize, model: Option<&ModelPrice>) -> u64 {
    let by_size = u64::try_from(body_bytes.div_ceil(4)).unwrap_or(u64::MAX);
    model.and_then(|model| model.max_input_tokens).map_or(by_size, |most| by_size.min(most))
}

/// The factors on the price of what `provider` serves to a caller with these groups: the provider's own, and
/// that of the first group they share which `group_multiplier` knows, in the caller's order. A caller with
/// `*` shares every group of the provider, in the provider's order, after those it names. No such group = 1.
#[must_use]
pub fn factors(
    provider: &Provider,
    caller: &GroupSet,
    group_multiplier: impl Fn(&str) -> Option<Multiplier>,
) -> Factors {
    let tags = &provider.group_tag;
    let named = caller.names().filter(|name| tags.names().any(|tag| tag == *name));
    let has_all = caller.names().any(|name| name == GroupSet::ALL);
    let by_star = tags.names().filter(|_| has_all);
    let group = named.chain(by_star).find_map(group_multiplier).unwrap_or(Multiplier::ONE);
    Factors { provider: provider.cost_multiplier, group }
}

/// The catalogue's entry for the name the settings prefer, else for the other one.
#[must_use]
pub fn billing_model<'c>(
    catalogue: Catalogue<'c>,
    settings: &Settings,
    model: Option<&str>,
    upstream_model: Option<&str>,
) -> Option<(&'c str, &'c ModelPrice)> {
    let (preferred, other) = match settings.billing_model_source {
        BillingModelSource::Original => (model, upstream_model),
        BillingModelSource::Redirected => (upstream_model, model),
    };
    let find = |name: Option<&str>| name.and_then(|name| catalogue.find(name));
    find(preferred).or_else(|| find(other))
}

/// Priority costs more: the side the settings believe decides, the request's when the response is silent.
/// Flex costs less: only the response is believed, or a seat could halve its bill by asking for it.
fn tier(query: &PriceQuery<'_, '_>) -> Tier {
    let believed = match query.settings.tier_billing_source {
        TierSource::Requested => query.requested_tier,
        TierSource::Actual => query.actual_tier.or(query.requested_tier),
    };
    let is = |tier: Option<&str>, name: &str| tier.is_some_and(|t| t.eq_ignore_ascii_case(name));
    if is(believed, "priority") {
        Tier::Priority
    } else if is(query.actual_tier, "flex") {
        Tier::Flex
    } else {
        Tier::Default
    }
}

#[cfg(test)]
mod tests;
