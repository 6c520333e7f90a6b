//! Real models at the bundled prices, worked out by hand. In the comments $/M is USD per million tokens, so
//! that tokens × $/M = micro-USD, and 1 micro-USD = 1 000 nano-USD.

use super::super::*;

/// What is asked, and what it must cost in nano-USD.
struct Golden {
    model: &'static str,
    /// The request's `service_tier` and the response's.
    tiers: [Option<&'static str>; 2],
    usage: TokenUsage,
    /// Provider and group, as decimals.
    factors: [&'static str; 2],
    /// Input, 5-minute write, 1-hour write, cache read, output, fees.
    items: [i64; 6],
    is_long_context: bool,
    is_priority_tier: bool,
}

impl Golden {
    fn new(model: &'static str, usage: TokenUsage, items: [i64; 6]) -> Self {
        Self {
            model,
            tiers: [None, None],
            usage,
            factors: ["1", "1"],
            items,
            is_long_context: false,
            is_priority_tier: false,
        }
    }

    fn long(self) -> Self {
        Self { is_long_context: true, ..self }
    }

    fn priority(self) -> Self {
        Self { tiers: [Some("priority"), None], is_priority_tier: true, ..self }
    }
}

/// Uncached input, 5-minute write, 1-hour write, cache read, output.
fn tokens(counts: [u64; 5]) -> TokenUsage {
    let [input_tokens, cache_write_5m_tokens, cache_write_1h_tokens, cache_read_tokens, output_tokens] =
        counts;
    TokenUsage {
        input_tokens,
        cache_write_5m_tokens,
        cache_write_1h_tokens,
        cache_read_tokens,
        output_tokens,
        ..TokenUsage::default()
    }
}

fn check(table: Vec<Golden>) {
    let prices = seed().unwrap();
    let settings = Settings::default();
    for golden in table {
        let [provider, group] = golden.factors.map(|f| Multiplier::parse(f).unwrap());
        let factors = Factors { provider, group };
        let [input, cache_write_5m, cache_write_1h, cache_read, output, fees] = golden.items.map(NanoUsd);
        let priced = price(&PriceQuery {
            catalogue: Catalogue::new(&prices),
            settings: &settings,
            model: Some(golden.model),
            upstream_model: None,
            requested_tier: golden.tiers[0],
            actual_tier: golden.tiers[1],
            usage: &golden.usage,
            extras: Extras::default(),
            advisor: None,
            factors,
        });
        let total = NanoUsd(golden.items.iter().sum());
        let cost =
            CostBreakdown { input, cache_write_5m, cache_write_1h, cache_read, output, fees, total, factors };
        assert_eq!(priced.cost, cost, "{}", golden.model);
        let flags = UsageFlags {
            is_long_context: golden.is_long_context,
            is_priority_tier: golden.is_priority_tier,
            ..UsageFlags::default()
        };
        assert_eq!(priced.flags, flags, "{}", golden.model);
    }
}

#[test]
fn anthropic_models_cost_what_the_price_sheet_says() {
    check(vec![
        // $/M: 5, write 6.25 and 10, read 0.50, output 25. In micro-USD: 1 000×5 = 5 000, 2 000×6.25 = 12 500,
        // 3 000×10 = 30 000, 40 000×0.5 = 20 000, 500×25 = 12 500: eight cents.
        Golden::new(
            "claude-opus-4-5",
            tokens([1_000, 2_000, 3_000, 40_000, 500]),
            [5_000_000, 12_500_000, 30_000_000, 20_000_000, 12_500_000, 0],
        ),
        // $/M: 3 and 15, a cent a search; factors 1.2 × 0.5 = 0.6. 10 000×3×0.6 = 18 000 micro,
        // 2 000×15×0.6 = 18 000, 2×$0.01×0.6 = 12 000.
        Golden {
            factors: ["1.2", "0.5"],
            ..Golden::new(
                "claude-sonnet-4-5",
                TokenUsage { web_search_requests: 2, ..tokens([10_000, 0, 0, 0, 2_000]) },
                [18_000_000, 0, 0, 0, 18_000_000, 12_000_000],
            )
        },
        // $/M: 1 and 5. 7×1 = 7 micro, 11×5 = 55.
        Golden::new("claude-haiku-4-5", tokens([7, 0, 0, 0, 11]), [7_000, 0, 0, 0, 55_000, 0]),
        // A million of context at the plain price: the table has no band. 900 000×5 = 4.5 USD.
        Golden::new("claude-opus-4-6", tokens([900_000, 0, 0, 0, 0]), [4_500_000_000, 0, 0, 0, 0, 0]),
        // Reads at 0.05 of input, not at a tenth: the table's own price. $/M 0.10: 1 000 000×0.1 = 0.1 USD.
        Golden::new("claude-sonnet-5-5", tokens([0, 0, 0, 1_000_000, 0]), [0, 0, 0, 100_000_000, 0, 0]),
        // Exactly at the threshold of 100 000: still the base, 0.10 and 0.50 $/M. 10 000 and 5 micro.
        Golden::new("claude-haiku-5-5", tokens([100_000, 0, 0, 0, 10]), [10_000_000, 0, 0, 0, 5_000, 0]),
        // 90 000 + 5 000 + 5 000 + 1 = 100 001, above: all of it at 0.50, 0.625, 1, 0.05 and 2.50 $/M.
        // 45 000, 3 125, 5 000, 0.05 and 25 micro.
        Golden::new(
            "claude-haiku-5-5",
            tokens([90_000, 5_000, 5_000, 1, 10]),
            [45_000_000, 3_125_000, 5_000_000, 50, 25_000, 0],
        )
        .long(),
        // One token of input on 200 000 of cache is above 200 000: 6, read 0.60, output 22.50 $/M.
        // 6, 120 000 and 22 500 micro.
        Golden::new(
            "claude-sonnet-4-5-20250929-v1:0",
            tokens([1, 0, 0, 200_000, 1_000]),
            [6_000, 0, 0, 120_000_000, 22_500_000, 0],
        )
        .long(),
        // By way of a reseller's name: 3×5 and 2×25 micro.
        Golden::new(
            "openrouter/anthropic/claude-opus-4-5:thinking",
            tokens([3, 0, 0, 0, 2]),
            [15_000, 0, 0, 0, 50_000, 0],
        ),
    ]);
}

#[test]
fn openai_models_cost_what_the_price_sheet_says() {
    check(vec![
        // Default tier, $/M 1.25, read 0.125, output 10. 1 000×1.25 = 1 250 micro, 3 000×0.125 = 375, 4 000.
        Golden::new("gpt-5", tokens([1_000, 0, 0, 3_000, 400]), [1_250_000, 0, 0, 375_000, 4_000_000, 0]),
        // Priority: twice. 2 500, 750 and 8 000 micro.
        Golden::new("gpt-5", tokens([1_000, 0, 0, 3_000, 400]), [2_500_000, 0, 0, 750_000, 8_000_000, 0])
            .priority(),
        // No write price is named: 1.25 and 2 times the *default* input price also at priority.
        // 800×1.5625 = 1 250 micro, 100×2.5 = 250.
        Golden::new("gpt-5", tokens([0, 800, 100, 0, 0]), [0, 1_250_000, 250_000, 0, 0, 0]).priority(),
        // Flex, as the response confirms: 2.50, read 0.25, output 15 $/M. 25 000, 5 000 and 15 000 micro.
        Golden {
            tiers: [Some("flex"), Some("flex")],
            ..Golden::new(
                "gpt-5.5",
                tokens([10_000, 0, 0, 20_000, 1_000]),
                [25_000_000, 0, 0, 5_000_000, 15_000_000, 0],
            )
        },
        // Exactly 272 000: the base, 2.50 and 15 $/M. 680 000 and 1 500 micro.
        Golden::new("gpt-5.4", tokens([272_000, 0, 0, 0, 100]), [680_000_000, 0, 0, 0, 1_500_000, 0]),
        // One more, at priority: the band has no priority rates, so its own apply, 5 and 22.50 $/M.
        // 272 001×5 = 1 360 005 micro, 100×22.5 = 2 250.
        Golden {
            tiers: [Some("priority"), None],
            ..Golden::new("gpt-5.4", tokens([272_001, 0, 0, 0, 100]), [1_360_005_000, 0, 0, 0, 2_250_000, 0])
                .long()
        },
        // Long and priority with rates for both: 16, write 20, read 1.60, output 60 $/M.
        // 4 800 000, 20 000, 16 000 and 120 000 micro.
        Golden::new(
            "gpt-5.6",
            tokens([300_000, 1_000, 0, 10_000, 2_000]),
            [4_800_000_000, 20_000_000, 0, 16_000_000, 120_000_000, 0],
        )
        .long()
        .priority(),
        // A dated name the table does not have. o3: 2 and 8 $/M. 50 000×2 = 100 000 micro, 1 000×8 = 8 000.
        Golden::new("o3-2031-01-01", tokens([50_000, 0, 0, 0, 1_000]), [100_000_000, 0, 0, 0, 8_000_000, 0]),
        // 12 345×0.02 = 246.9 micro.
        Golden::new("text-embedding-3-small", tokens([12_345, 0, 0, 0, 0]), [246_900, 0, 0, 0, 0, 0]),
        // 1×0.05 $/M = 0.05 micro = 50 nano; read 1×0.005 = 5 nano; output 1×0.4 = 400; a search a cent.
        Golden::new(
            "gpt-5-nano",
            TokenUsage { web_search_requests: 1, ..tokens([1, 0, 0, 1, 1]) },
            [50, 0, 0, 5, 400, 10_000_000],
        ),
    ]);
}

#[test]
fn gemini_and_other_models_cost_what_the_price_sheet_says() {
    check(vec![
        // 150 001 + 50 000 = 200 001, above 200 000: 2.50, read 0.25, output 15 $/M.
        // 375 002.5, 12 500 and 15 000 micro.
        Golden::new(
            "gemini-2.5-pro",
            tokens([150_001, 0, 0, 50_000, 1_000]),
            [375_002_500, 0, 0, 12_500_000, 15_000_000, 0],
        )
        .long(),
        // The table has a write price of 0.25 $/M in the band alone: a stray. 1.25 × 2.50 = 3.125 applies.
        // 200 000×2.5 = 500 000 micro, 1 000×3.125 = 3 125.
        Golden::new(
            "gemini-2.5-pro",
            tokens([200_000, 1_000, 0, 0, 0]),
            [500_000_000, 3_125_000, 0, 0, 0, 0],
        )
        .long(),
        // Images in: 1 000×0.20 = 200 micro of text, 500×0.45 = 225 of images.
        Golden::new(
            "gemini/gemini-embedding-2",
            TokenUsage { image_input_tokens: 500, ..tokens([1_000, 0, 0, 0, 0]) },
            [425_000, 0, 0, 0, 0, 0],
        ),
        // Images out: 10×12 = 120 micro of text, 1 290×120 = 154 800 of images; images in cost as text, 10×2.
        Golden::new(
            "deep-research-pro-preview-12-2025",
            TokenUsage { image_input_tokens: 10, image_output_tokens: 1_290, ..tokens([0, 0, 0, 0, 10]) },
            [20_000, 0, 0, 0, 154_920_000, 0],
        ),
        // Two reads at 0.13125 $/M are 262.5 nano: half up. One input at 0.525 is 525, one output 4 375.
        Golden::new("amazon.nova-2-lite-v1:0", tokens([1, 0, 0, 2, 1]), [525, 0, 0, 263, 4_375, 0])
            .priority(),
        // Listed as moonshot/kimi-k2.5 only: 0.60, read 0.10, output 3 $/M. 600, 100 and 300 micro.
        Golden::new("kimi-k2.5", tokens([1_000, 0, 0, 1_000, 100]), [600_000, 0, 0, 100_000, 300_000, 0]),
        // Above 512 000: 0.60 and 2.40 $/M. 512 001×0.6 = 307 200.6 micro, 10×2.4 = 24.
        Golden::new("MiniMax-M3", tokens([512_001, 0, 0, 0, 10]), [307_200_600, 0, 0, 0, 24_000, 0]).long(),
        // Named and free: cache writes at 0. A price of 0 is not a missing one. 10×0.6 = 6 micro.
        Golden::new("zai/glm-4.6", tokens([10, 5_000, 0, 0, 0]), [6_000, 0, 0, 0, 0, 0]),
        // A factor before rounding, not after: one read at 0.028 $/M is 28 nano, × 0.1 = 2.8 → 3; one input
        // at 0.28 is 280 × 0.1 = 28; one output at 0.42 is 420 × 0.1 = 42.
        Golden {
            factors: ["0.1", "1"],
            ..Golden::new("deepseek-chat", tokens([1, 0, 0, 1, 1]), [28, 0, 0, 3, 42, 0])
        },
    ]);
}

#[test]
fn an_unknown_model_costs_nothing_and_says_so() {
    let prices = seed().unwrap();
    for model in [None, Some("nobody-sells-this"), Some("medlm-large")] {
        let priced = price(&PriceQuery {
            catalogue: Catalogue::new(&prices),
            settings: &Settings::default(),
            model,
            upstream_model: None,
            requested_tier: Some("priority"),
            actual_tier: None,
            usage: &tokens([1_000_000, 0, 0, 0, 1_000]),
            extras: Extras::default(),
            advisor: None,
            factors: Factors::default(),
        });
        assert_eq!(priced.cost, CostBreakdown::default());
        assert_eq!(priced.flags, UsageFlags { is_unpriced: true, ..UsageFlags::default() });
    }
}
