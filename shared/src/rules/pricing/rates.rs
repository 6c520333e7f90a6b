//! One model's prices read for one request: which band and tier apply, and what is derived. The rules are in
//! the module above.

use crate::model::price::{ModelPrice, Rates};
use crate::money::PicoUsd;

/// One model's prices, and what decides which of them apply.
pub(super) struct RateCard<'a> {
    pub(super) model: &'a ModelPrice,
    pub(super) tier: Tier,
    /// All input, cached or not, images too.
    pub(super) total_input: u64,
}

/// A service tier with rates of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tier {
    Default,
    Priority,
    Flex,
}

/// The rate of every class, derived ones included.
pub(super) struct FinalRates {
    pub(super) input: PicoUsd,
    pub(super) output: PicoUsd,
    pub(super) cache_write_5m: PicoUsd,
    pub(super) cache_write_1h: PicoUsd,
    pub(super) cache_read: PicoUsd,
    pub(super) image_input: PicoUsd,
    pub(super) image_output: PicoUsd,
}

impl RateCard<'_> {
    /// The rates that apply.
    pub(super) fn rates(&self) -> FinalRates {
        let named = |class| self.named(class, self.tier).map(|found| found.rate);
        let default = |class| self.named(class, Tier::Default).map(|found| found.rate);
        let input = named(Class::Input).unwrap_or_default();
        let output = named(Class::Output).unwrap_or_default();
        let plain_input = default(Class::Input);
        let of_input = |percent| plain_input.map(|rate| percent_of(rate, percent));
        let cache_write_5m = named(Class::CacheWrite5m).or_else(|| of_input(125)).unwrap_or_default();
        FinalRates {
            input,
            output,
            cache_write_5m,
            cache_write_1h: named(Class::CacheWrite1h).or_else(|| of_input(200)).unwrap_or(cache_write_5m),
            cache_read: named(Class::CacheRead)
                .or_else(|| of_input(10))
                .or_else(|| default(Class::Output).map(|rate| percent_of(rate, 10)))
                .unwrap_or_default(),
            image_input: named(Class::ImageInput).unwrap_or(input),
            image_output: named(Class::ImageOutput).unwrap_or(output),
        }
    }

    /// True when the input is above the threshold of a band.
    pub(super) fn is_long_context(&self) -> bool {
        self.model.bands.iter().any(|band| self.total_input > band.threshold_tokens)
    }

    /// True when a rate of the priority tier applies to any class.
    pub(super) fn uses_priority_rates(&self) -> bool {
        let is_tiered = |class| self.named(class, self.tier).is_some_and(|found| found.is_of_tier);
        self.tier == Tier::Priority && Class::ALL.into_iter().any(is_tiered)
    }

    /// The rate the model names for a class: from the highest band that applies and names it, else the base.
    fn named(&self, class: Class, tier: Tier) -> Option<Found> {
        let model = self.model;
        let outside =
            Level { base: &model.base, priority: model.priority.as_ref(), flex: model.flex.as_ref() };
        // A cache rate in a band alone is a stray: see the rules.
        let counts_in_bands = !class.is_cache() || class.of(&model.base).is_some();
        let inside = model
            .bands
            .iter()
            .filter(|band| counts_in_bands && self.total_input > band.threshold_tokens)
            .filter_map(|band| {
                let level =
                    Level { base: &band.base, priority: band.priority.as_ref(), flex: band.flex.as_ref() };
                level.rate(class, tier).map(|found| (band.threshold_tokens, found))
            })
            .max_by_key(|(threshold, _)| *threshold);
        inside.map(|(_, found)| found).or_else(|| outside.rate(class, tier))
    }
}

/// The rates of all tiers, inside a band or outside of all.
struct Level<'a> {
    base: &'a Rates,
    priority: Option<&'a Rates>,
    flex: Option<&'a Rates>,
}

/// A rate, and whether it is one of the tier that was asked for (else the default tier's stands in).
#[derive(Clone, Copy)]
struct Found {
    rate: PicoUsd,
    is_of_tier: bool,
}

impl Level<'_> {
    fn rate(&self, class: Class, tier: Tier) -> Option<Found> {
        let tiered = match tier {
            Tier::Default => None,
            Tier::Priority => self.priority,
            Tier::Flex => self.flex,
        };
        let of_tier = tiered.and_then(|rates| class.of(rates)).map(|rate| Found { rate, is_of_tier: true });
        of_tier.or_else(|| class.of(self.base).map(|rate| Found { rate, is_of_tier: false }))
    }
}

#[derive(Clone, Copy)]
enum Class {
    Input,
    Output,
    CacheWrite5m,
    CacheWrite1h,
    CacheRead,
    ImageInput,
    ImageOutput,
}

impl Class {
    const ALL: [Self; 7] = [
        Self::Input,
        Self::Output,
        Self::CacheWrite5m,
        Self::CacheWrite1h,
        Self::CacheRead,
        Self::ImageInput,
        Self::ImageOutput,
    ];

    fn of(self, rates: &Rates) -> Option<PicoUsd> {
        match self {
            Self::Input => rates.input,
            Self::Output => rates.output,
            Self::CacheWrite5m => rates.cache_write_5m,
            Self::CacheWrite1h => rates.cache_write_1h,
            Self::CacheRead => rates.cache_read,
            Self::ImageInput => rates.image_input,
            Self::ImageOutput => rates.image_output,
        }
    }

    fn is_cache(self) -> bool {
        match self {
            Self::CacheWrite5m | Self::CacheWrite1h | Self::CacheRead => true,
            Self::Input | Self::Output | Self::ImageInput | Self::ImageOutput => false,
        }
    }
}

/// So many hundredths of a rate, rounded half-up to a pico-USD.
fn percent_of(rate: PicoUsd, percent: u64) -> PicoUsd {
    let scaled = (u128::from(rate.0) * u128::from(percent) + 50) / 100;
    PicoUsd(u64::try_from(scaled).unwrap_or(u64::MAX))
}
