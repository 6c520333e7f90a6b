//! Golden prices are in `golden`; here are the properties, and the rules the bundled table has no example of.

mod golden;

use super::*;
use crate::model::price::{Band, Rates};
use crate::money::PicoUsd;
use crate::testing::provider;
use proptest::prelude::*;
use std::collections::BTreeMap;

const MODEL: &str = "m";

fn table(price: ModelPrice) -> BTreeMap<String, ModelPrice> {
    BTreeMap::from([(MODEL.to_owned(), price)])
}

/// The price of `usage` at a table's only model, at factor 1 and the default tier.
fn cost(price: &ModelPrice, usage: &TokenUsage) -> CostBreakdown {
    priced(price, usage, None, Factors::default()).0
}

fn priced(
    price: &ModelPrice,
    usage: &TokenUsage,
    requested_tier: Option<&str>,
    factors: Factors,
) -> (CostBreakdown, UsageFlags) {
    let prices = table(price.clone());
    let priced = super::price(&PriceQuery {
        catalogue: Catalogue::new(&prices),
        settings: &Settings::default(),
        model: Some(MODEL),
        upstream_model: None,
        requested_tier,
        actual_tier: None,
        usage,
        extras: Extras::default(),
        advisor: None,
        factors,
    });
    (priced.cost, priced.flags)
}

fn of_base(base: Rates) -> ModelPrice {
    ModelPrice { base, ..ModelPrice::default() }
}

/// A thousand tokens of each cache class: their cost in nano-USD is their rate in pico-USD.
const CACHES: TokenUsage = TokenUsage {
    input_tokens: 0,
    cache_write_5m_tokens: 1_000,
    cache_write_1h_tokens: 1_000,
    cache_read_tokens: 1_000,
    output_tokens: 0,
    reasoning_tokens: 0,
    image_input_tokens: 0,
    image_output_tokens: 0,
    web_search_requests: 0,
};

fn cache_rates(price: &ModelPrice) -> [i64; 3] {
    let cost = cost(price, &CACHES);
    [cost.cache_write_5m.0, cost.cache_write_1h.0, cost.cache_read.0]
}

#[test]
fn cache_prices_nobody_names_are_derived() {
    let (input, output, named) = (Some(PicoUsd(1_000)), Some(PicoUsd(4_000)), Some(PicoUsd(7)));
    for (rates, derived) in [
        (Rates { input, output, ..Rates::default() }, [1_250, 2_000, 100]),
        (Rates { output, ..Rates::default() }, [0, 0, 400]),
        (Rates { output, cache_write_5m: named, ..Rates::default() }, [7, 7, 400]),
        (Rates { input, cache_write_5m: named, ..Rates::default() }, [7, 2_000, 100]),
        (Rates { input, cache_write_1h: named, cache_read: named, ..Rates::default() }, [1_250, 7, 7]),
        (Rates { input, cache_read: Some(PicoUsd(0)), ..Rates::default() }, [1_250, 2_000, 0]),
        // 1.25 × 3 = 3.75 pico and 0.1 × 3 = 0.3 pico: rounded half-up to 4 and 0.
        (Rates { input: Some(PicoUsd(3)), ..Rates::default() }, [4, 6, 0]),
    ] {
        assert_eq!(cache_rates(&of_base(rates)), derived, "{rates:?}");
    }
}

#[test]
fn a_derived_cache_price_is_never_of_a_tier() {
    let price = ModelPrice {
        priority: Some(Rates { input: Some(PicoUsd(9_000)), ..Rates::default() }),
        ..of_base(Rates { input: Some(PicoUsd(1_000)), ..Rates::default() })
    };
    let (cost, flags) = priced(&price, &CACHES, Some("Priority"), Factors::default());
    assert_eq!((cost.cache_write_5m.0, cost.cache_read.0), (1_250, 100));
    assert!(flags.is_priority_tier);
}

#[test]
fn the_highest_band_that_names_a_class_prices_it() {
    let band = |threshold_tokens, input, output: Option<u64>| Band {
        threshold_tokens,
        base: Rates { input: Some(PicoUsd(input)), output: output.map(PicoUsd), ..Rates::default() },
        ..Band::default()
    };
    let low_to_high = vec![band(1_000, 2_000, Some(20_000)), band(5_000, 3_000, None)];
    let high_to_low = low_to_high.iter().rev().cloned().collect();
    let base = Rates { input: Some(PicoUsd(1_000)), output: Some(PicoUsd(10_000)), ..Rates::default() };
    for bands in [low_to_high, high_to_low] {
        let price = ModelPrice { bands, ..of_base(base) };
        for (input_tokens, input, output) in
            [(1_000, 1_000, 10), (1_001, 2_002, 20), (5_000, 10_000, 20), (5_001, 15_003, 20)]
        {
            let usage = TokenUsage { input_tokens, output_tokens: 1, ..TokenUsage::default() };
            let cost = cost(&price, &usage);
            assert_eq!((cost.input.0, cost.output.0), (input, output), "{input_tokens}");
        }
    }
}

#[test]
fn every_kind_of_input_counts_towards_a_band_and_output_does_not() {
    let band = Band {
        threshold_tokens: 10,
        base: Rates { output: Some(PicoUsd(2_000)), ..Rates::default() },
        ..Band::default()
    };
    let price = ModelPrice {
        bands: vec![band],
        ..of_base(Rates { output: Some(PicoUsd(1_000)), ..Rates::default() })
    };
    let none = TokenUsage { output_tokens: 100, ..TokenUsage::default() };
    let (_, flags) = priced(&price, &none, None, Factors::default());
    assert!(!flags.is_long_context);
    for usage in [
        TokenUsage { input_tokens: 11, ..none },
        TokenUsage { cache_write_5m_tokens: 11, ..none },
        TokenUsage { cache_write_1h_tokens: 11, ..none },
        TokenUsage { cache_read_tokens: 11, ..none },
        TokenUsage { image_input_tokens: 11, ..none },
    ] {
        let (cost, flags) = priced(&price, &usage, None, Factors::default());
        assert!(flags.is_long_context && cost.output == NanoUsd(200), "{usage:?}");
    }
}

#[test]
fn the_setting_says_whose_tier_is_believed_and_flex_only_the_responses() {
    let rates = |pico| Some(Rates { output: Some(PicoUsd(pico)), ..Rates::default() });
    let prices = table(ModelPrice {
        priority: rates(2_000),
        flex: rates(500),
        ..of_base(Rates { output: Some(PicoUsd(1_000)), ..Rates::default() })
    });
    let usage = TokenUsage { output_tokens: 1, ..TokenUsage::default() };
    let (by_request, by_response) = (TierSource::Requested, TierSource::Actual);
    for (tier_billing_source, requested_tier, actual_tier, nano) in [
        (by_request, None, None, 1_000),
        (by_request, Some("priority"), None, 2_000),
        (by_request, Some("priority"), Some("default"), 2_000),
        (by_request, Some("auto"), Some("priority"), 1_000),
        (by_request, Some("flex"), None, 1_000),
        (by_request, Some("flex"), Some("flex"), 500),
        (by_response, Some("priority"), Some("default"), 1_000),
        (by_response, Some("auto"), Some("priority"), 2_000),
        (by_response, Some("priority"), None, 2_000),
        (by_response, Some("flex"), None, 1_000),
    ] {
        let settings = Settings { tier_billing_source, ..Settings::default() };
        let priced = super::price(&PriceQuery {
            catalogue: Catalogue::new(&prices),
            settings: &settings,
            model: Some(MODEL),
            upstream_model: None,
            requested_tier,
            actual_tier,
            usage: &TokenUsage { output_tokens: 1_000, ..usage },
            extras: Extras::default(),
            advisor: None,
            factors: Factors::default(),
        });
        assert_eq!(priced.cost.output.0, nano, "{tier_billing_source:?} {requested_tier:?} {actual_tier:?}");
        assert_eq!(priced.flags.is_priority_tier, nano == 2_000);
    }
}

#[test]
fn the_setting_says_which_name_is_billed_and_the_other_stands_in() {
    let of_output = |pico| of_base(Rates { output: Some(PicoUsd(pico)), ..Rates::default() });
    let prices =
        BTreeMap::from([("asked".to_owned(), of_output(1_000)), ("sent".to_owned(), of_output(2_000))]);
    let (original, redirected) = (BillingModelSource::Original, BillingModelSource::Redirected);
    for (billing_model_source, model, upstream_model, priced_as) in [
        (original, Some("asked"), Some("sent"), Some("asked")),
        (redirected, Some("asked"), Some("sent"), Some("sent")),
        (original, Some("unknown"), Some("sent"), Some("sent")),
        (redirected, Some("asked"), Some("unknown"), Some("asked")),
        (original, None, Some("sent"), Some("sent")),
        (original, Some("unknown"), None, None),
        (original, None, None, None),
    ] {
        let settings = Settings { billing_model_source, ..Settings::default() };
        let usage = TokenUsage { output_tokens: 1_000, ..TokenUsage::default() };
        let priced = super::price(&PriceQuery {
            catalogue: Catalogue::new(&prices),
            settings: &settings,
            model,
            upstream_model,
            requested_tier: None,
            actual_tier: None,
            usage: &usage,
            extras: Extras::default(),
            advisor: None,
            factors: Factors::default(),
        });
        assert_eq!(priced.priced_as, priced_as, "{billing_model_source:?} {model:?} {upstream_model:?}");
        assert_eq!(priced.flags.is_unpriced, priced_as.is_none());
        let total = match priced_as {
            Some("asked") => 1_000,
            Some("sent") => 2_000,
            _ => 0,
        };
        assert_eq!(priced.cost.total, NanoUsd(total));
    }
}

#[test]
fn a_free_model_is_priced_at_nothing_and_not_flagged() {
    let free = of_base(Rates { input: Some(PicoUsd(0)), output: Some(PicoUsd(0)), ..Rates::default() });
    let (cost, flags) = priced(&free, &CACHES, None, Factors::default());
    assert_eq!((cost.total, flags.is_unpriced), (NanoUsd::ZERO, false));
}

#[test]
fn input_that_nobody_counted_is_a_quarter_of_the_body_but_no_more_than_the_model_takes() {
    let model = ModelPrice { max_input_tokens: Some(200_000), ..ModelPrice::default() };
    assert_eq!(input_estimate(0, Some(&model)), 0);
    assert_eq!(input_estimate(9, Some(&model)), 3);
    assert_eq!(input_estimate(8 << 20, Some(&model)), 200_000);
    assert_eq!(input_estimate(8 << 20, Some(&ModelPrice::default())), 2 << 20);
    assert_eq!(input_estimate(8 << 20, None), 2 << 20);
}

#[test]
fn fees_are_charged_once_a_request_and_once_a_search() {
    let price =
        ModelPrice { per_request: PicoUsd(5_000), per_web_search: PicoUsd(700), ..Default::default() };
    let usage = TokenUsage { web_search_requests: 10, ..TokenUsage::default() };
    assert_eq!(cost(&price, &usage).fees, NanoUsd(12));
    assert_eq!(cost(&price, &usage).total, NanoUsd(12));
}

#[test]
fn gemini_up_to_2_5_bills_searches_by_the_request_and_others_each() {
    let price = ModelPrice { per_web_search: PicoUsd(1_000), ..of_base(Rates::default()) };
    let price = ModelPrice { per_request: PicoUsd(1), ..price };
    let usage = TokenUsage { web_search_requests: 4, ..TokenUsage::default() };
    for (name, searches) in [
        ("gemini-3-pro-preview", 4),
        ("gemini/gemini-2.5-pro", 1),
        ("vertex_ai/gemini-2.0-flash", 1),
        ("gpt-5", 4),
    ] {
        assert_eq!(
            by_name(name, &price, &usage, Extras::default(), None).cost.fees,
            NanoUsd(searches),
            "{name}"
        );
    }
}

/// Anthropic's documented prices: Opus 4.8 at 5 and 25 dollars a million is 10 and 50 in fast mode, and 1.1 times that in the US.
#[test]
fn fast_mode_and_the_us_alone_multiply_each_class_of_tokens_and_no_fee() {
    let seed = seed().unwrap();
    let opus = &seed["claude-opus-4-8"];
    let usage = TokenUsage {
        input_tokens: 1_000_000,
        cache_write_5m_tokens: 1_000_000,
        cache_write_1h_tokens: 1_000_000,
        cache_read_tokens: 1_000_000,
        output_tokens: 1_000_000,
        web_search_requests: 1,
        ..TokenUsage::default()
    };
    let dollars = |hundredths: i64| NanoUsd(hundredths * 10_000_000);
    let plain = [500, 625, 1_000, 50, 2_500];
    for (is_fast, is_us_only, percent) in
        [(false, false, 100), (true, false, 200), (false, true, 110), (true, true, 220)]
    {
        let extras = Extras { is_fast, is_us_only, ..Extras::default() };
        let priced = by_name("claude-opus-4-8", opus, &usage, extras, None);
        let cost = priced.cost;
        let items = [cost.input, cost.cache_write_5m, cost.cache_write_1h, cost.cache_read, cost.output];
        assert_eq!(items, plain.map(|item| NanoUsd(item * percent * 100_000)), "{percent} %");
        assert_eq!(cost.fees, dollars(1));
        assert_eq!((priced.flags.is_fast, priced.flags.is_us_only), (is_fast, is_us_only));
    }
    let own = ModelPrice { fast: Some(Multiplier(6_000_000)), ..opus.clone() };
    let extras = Extras { is_fast: true, ..Extras::default() };
    assert_eq!(by_name("m", &own, &usage, extras, None).cost.output, dollars(15_000), "what the entry says");
}

#[test]
fn advice_is_billed_at_the_advisors_rates() {
    let rates = |input, output| Rates {
        input: Some(PicoUsd(input)),
        output: Some(PicoUsd(output)),
        ..Rates::default()
    };
    let prices = BTreeMap::from([
        ("executor".to_owned(), ModelPrice { per_request: PicoUsd(9_000), ..of_base(rates(1_000, 5_000)) }),
        ("advisor".to_owned(), ModelPrice { per_request: PicoUsd(9_000), ..of_base(rates(10_000, 50_000)) }),
    ]);
    let usage = TokenUsage { input_tokens: 10, output_tokens: 10, ..TokenUsage::default() };
    let advised = TokenUsage { input_tokens: 1, output_tokens: 1, ..TokenUsage::default() };
    let extras = Extras { advised, is_fast: true, ..Extras::default() };
    let settings = Settings::default();
    let query = |advisor| PriceQuery {
        catalogue: Catalogue::new(&prices),
        settings: &settings,
        model: Some("executor"),
        upstream_model: None,
        requested_tier: None,
        actual_tier: None,
        usage: &usage,
        extras,
        advisor,
        factors: Factors { provider: Multiplier::ONE, group: Multiplier::ONE },
    };
    let known = super::price(&query(Some("advisor")));
    assert_eq!([known.cost.input, known.cost.output, known.cost.fees], [20 + 10, 100 + 50, 9].map(NanoUsd));
    assert_eq!(known.cost.total, NanoUsd(30 + 150 + 9));
    assert!(!known.flags.is_estimate);
    for advisor in [Some("nobody knows"), None] {
        let guessed = super::price(&query(advisor));
        assert_eq!([guessed.cost.input, guessed.cost.output], [21, 105].map(NanoUsd));
        assert!(guessed.flags.is_estimate, "the price of the one who asked is a guess");
    }
}

/// The price of `usage` at a model of this name.
fn by_name(
    name: &str,
    price: &ModelPrice,
    usage: &TokenUsage,
    extras: Extras,
    advisor: Option<&str>,
) -> Priced<'static> {
    let prices = BTreeMap::from([(name.to_owned(), price.clone())]);
    let priced = super::price(&PriceQuery {
        catalogue: Catalogue::new(&prices),
        settings: &Settings::default(),
        model: Some(name),
        upstream_model: None,
        requested_tier: None,
        actual_tier: None,
        usage,
        extras,
        advisor,
        factors: Factors { provider: Multiplier::ONE, group: Multiplier::ONE },
    });
    Priced { priced_as: None, ..priced }
}

#[test]
fn the_group_that_both_share_gives_its_factor_in_the_callers_order() {
    let millionths = |n| Some(Multiplier(n));
    let known = |name: &str| match name {
        "a" => millionths(1),
        "b" => millionths(2),
        "default" => millionths(3),
        _ => None,
    };
    for (tags, caller, group) in [
        ("a,b", "b,a", 2),
        ("a,b", "a", 1),
        ("a,b", "x,b", 2),
        ("x,b", "x,b", 2),
        ("x", "x", 1_000_000),
        ("", "", 3),
        ("x,a,b", "*", 1),
        ("a,b", "*,b", 2),
        ("a", "b", 1_000_000),
    ] {
        let provider =
            Provider { group_tag: GroupSet::parse(tags), cost_multiplier: Multiplier(9), ..provider(1) };
        let factors = factors(&provider, &GroupSet::parse(caller), known);
        let expected = Factors { provider: Multiplier(9), group: Multiplier(group) };
        assert_eq!(factors, expected, "{tags:?} {caller:?}");
    }
}

fn any_usage() -> impl Strategy<Value = TokenUsage> {
    prop::array::uniform8(0_u64..400_000).prop_map(|n| TokenUsage {
        input_tokens: n[0],
        cache_write_5m_tokens: n[1],
        cache_write_1h_tokens: n[2],
        cache_read_tokens: n[3],
        output_tokens: n[4],
        reasoning_tokens: 0,
        image_input_tokens: n[5],
        image_output_tokens: n[6],
        web_search_requests: n[7] % 10,
    })
}

/// Rates at or above `least`, class by class; what `least` does not name may be named.
fn rates_from(least: Rates) -> impl Strategy<Value = Rates> {
    let class = |least: Option<PicoUsd>| {
        let least = least.unwrap_or_default().0;
        prop::option::of((least..least + 100_000_000).prop_map(PicoUsd))
    };
    (
        class(least.input),
        class(least.output),
        class(least.cache_write_5m),
        class(least.cache_write_1h),
        class(least.cache_read),
        class(least.image_input),
        class(least.image_output),
    )
        .prop_map(
            |(input, output, cache_write_5m, cache_write_1h, cache_read, image_input, image_output)| Rates {
                input,
                output,
                cache_write_5m,
                cache_write_1h,
                cache_read,
                image_input,
                image_output,
            },
        )
}

/// A model whose band and tier cost no less than what they replace, as vendors price.
fn any_price() -> impl Strategy<Value = ModelPrice> {
    let layers = rates_from(Rates::default()).prop_flat_map(|base| {
        (Just(base), prop::option::of(rates_from(base)), rates_from(base), any::<u64>())
    });
    layers.prop_map(|(base, priority, in_band, fee)| {
        // Bands above all tiers, so that a switch from a tier's rate to a band's never lowers a price.
        let lift = |rate: Option<PicoUsd>| rate.map(|r| PicoUsd(r.0 + 200_000_000));
        let in_band = Rates {
            input: lift(in_band.input),
            output: lift(in_band.output),
            cache_write_5m: lift(in_band.cache_write_5m),
            cache_write_1h: lift(in_band.cache_write_1h),
            cache_read: lift(in_band.cache_read),
            image_input: lift(in_band.image_input),
            image_output: lift(in_band.image_output),
        };
        ModelPrice {
            base: Rates { input: base.input.or(Some(PicoUsd(1))), ..base },
            priority,
            bands: vec![Band { threshold_tokens: 200_000, base: in_band, ..Band::default() }],
            per_request: PicoUsd(fee % 1_000_000),
            per_web_search: PicoUsd(10_000_000_000),
            ..ModelPrice::default()
        }
    })
}

fn any_factors() -> impl Strategy<Value = Factors> {
    (0_u64..5_000_000, 0_u64..5_000_000)
        .prop_map(|(p, g)| Factors { provider: Multiplier(p), group: Multiplier(g) })
}

fn sum_of_items(cost: &CostBreakdown) -> NanoUsd {
    let items =
        [cost.input, cost.cache_write_5m, cost.cache_write_1h, cost.cache_read, cost.output, cost.fees];
    items.into_iter().sum()
}

proptest! {
    #[test]
    fn the_total_is_the_sum_of_the_items(
        price in any_price(), usage in any_usage(), factors in any_factors(), is_priority: bool,
    ) {
        let (cost, _) = priced(&price, &usage, is_priority.then_some("priority"), factors);
        prop_assert_eq!(cost.total, sum_of_items(&cost));
        prop_assert_eq!(cost.factors, factors);
    }

    #[test]
    fn more_tokens_of_any_class_never_cost_less(
        price in any_price(), usage in any_usage(), more in any_usage(), is_priority: bool, class in 0_usize..8,
    ) {
        let mut larger = usage;
        let added = [
            (&mut larger.input_tokens, more.input_tokens),
            (&mut larger.cache_write_5m_tokens, more.cache_write_5m_tokens),
            (&mut larger.cache_write_1h_tokens, more.cache_write_1h_tokens),
            (&mut larger.cache_read_tokens, more.cache_read_tokens),
            (&mut larger.output_tokens, more.output_tokens),
            (&mut larger.image_input_tokens, more.image_input_tokens),
            (&mut larger.image_output_tokens, more.image_output_tokens),
            (&mut larger.web_search_requests, more.web_search_requests),
        ];
        for (_, (tokens, more)) in added.into_iter().enumerate().filter(|(i, _)| *i == class) {
            *tokens += more;
        }
        let tier = is_priority.then_some("priority");
        let (before, _) = priced(&price, &usage, tier, Factors::default());
        let (after, _) = priced(&price, &larger, tier, Factors::default());
        prop_assert!(after.total >= before.total, "{:?} then {:?}", before, after);
    }

    #[test]
    fn a_factor_of_zero_makes_everything_free(
        price in any_price(), usage in any_usage(), factor in 0_u64..5_000_000, is_group: bool,
    ) {
        let (zero, other) = (Multiplier(0), Multiplier(factor));
        let factors = if is_group {
            Factors { provider: other, group: zero }
        } else {
            Factors { provider: zero, group: other }
        };
        prop_assert_eq!(priced(&price, &usage, None, factors).0.total, NanoUsd::ZERO);
    }

    #[test]
    fn the_two_factors_are_interchangeable(
        price in any_price(), usage in any_usage(), factors in any_factors(),
    ) {
        let swapped = Factors { provider: factors.group, group: factors.provider };
        let (cost, _) = priced(&price, &usage, None, factors);
        let (other, _) = priced(&price, &usage, None, swapped);
        prop_assert_eq!(cost.total, other.total);
    }

    #[test]
    fn a_price_survives_being_published(price in any_price()) {
        let text = serde_json::to_string(&price).unwrap();
        prop_assert_eq!(serde_json::from_str::<ModelPrice>(&text).unwrap(), price);
    }
}
