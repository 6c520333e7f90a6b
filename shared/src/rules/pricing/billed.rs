//! What of an attempt is billed: the price itself is [`price`]'s.

use super::{PriceQuery, input_estimate, price};
use crate::contract::usage::{CostBreakdown, Outcome, TokenUsage, UsageFlags};

/// How an attempt ended, and what is known of its count.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// How.
    pub outcome: Outcome,
    /// The count is not the provider's last word.
    pub is_estimate: bool,
    /// Its endpoint costs anything: counting tokens does not.
    pub is_billed: bool,
    /// The bytes of the request's body.
    pub body_bytes: usize,
}

/// What the books say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Billed {
    /// What was taken in all, what another model took for advice included.
    pub usage: TokenUsage,
    /// What it costs.
    pub cost: CostBreakdown,
    /// What is to be known about that.
    pub flags: UsageFlags,
}

/// Bills an attempt that was counted as `query` says. An attempt that was finished costs its fees even where nothing was counted; one
/// that failed, or that its seat left, costs what it was counted. Where nobody counted the input that must have been read, it is
/// estimated from the body.
#[must_use]
pub fn billed(ended: Ended, query: &PriceQuery<'_, '_>) -> Billed {
    let Ended { outcome, is_estimate, is_billed, body_bytes } = ended;
    let mut usage = *query.usage;
    // Of an interrupted attempt nobody knows how far it came: its input is taken to have been read.
    let is_finished = matches!(outcome, Outcome::Served | Outcome::Drained | Outcome::Interrupted);
    // A generation that was finished, or has begun, has read its input: without a count that is never 0.
    let has_read = is_finished || usage.output_tokens > 0;
    if is_billed && has_read && is_estimate && usage.total_input() == 0 {
        let model = query.model.and_then(|model| query.catalogue.find(model)).map(|(_, model)| model);
        usage.input_tokens = input_estimate(body_bytes, model);
    }
    let priced = price(&PriceQuery { usage: &usage, ..*query });
    // What is stored is what was taken in all; of a request with advice the price is of two models.
    let usage = usage.plus(&query.extras.advised);
    if is_billed && (is_finished || usage != TokenUsage::default()) {
        let is_estimate = is_estimate || priced.flags.is_estimate;
        return Billed { usage, cost: priced.cost, flags: UsageFlags { is_estimate, ..priced.flags } };
    }
    let flags = UsageFlags { is_estimate: is_estimate && is_billed, ..UsageFlags::default() };
    Billed { usage, cost: CostBreakdown::default(), flags }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Settings;
    use crate::model::price::{Factors, ModelPrice, Rates};
    use crate::money::PicoUsd;
    use crate::protocol::tally::Extras;
    use crate::rules::pricing::Catalogue;
    use std::collections::BTreeMap;

    /// A nano-dollar a token of either kind, and seven for the request.
    fn bill(ended: Ended, input: u64, output: u64) -> (u64, i64, bool) {
        let base = Rates { input: Some(PicoUsd(1_000)), output: Some(PicoUsd(1_000)), ..Rates::default() };
        let model = ModelPrice { base, per_request: PicoUsd(7_000), ..ModelPrice::default() };
        let prices = BTreeMap::from([("m".to_owned(), model)]);
        let usage = TokenUsage { input_tokens: input, output_tokens: output, ..TokenUsage::default() };
        let said = billed(
            ended,
            &PriceQuery {
                catalogue: Catalogue::new(&prices),
                settings: &Settings::default(),
                model: Some("m"),
                upstream_model: None,
                requested_tier: None,
                actual_tier: None,
                usage: &usage,
                extras: Extras::default(),
                advisor: None,
                factors: Factors::default(),
            },
        );
        (said.usage.input_tokens, said.cost.total.0, said.flags.is_estimate)
    }

    #[test]
    fn what_is_billed_depends_on_how_it_ended_and_on_what_was_counted() {
        use Outcome::{Cancelled, Drained, Failed, Interrupted, Served};
        let ended = |outcome, is_estimate| Ended { outcome, is_estimate, is_billed: true, body_bytes: 400 };
        for (outcome, is_estimate, (input, output), expected) in [
            // The provider's own count.
            (Served, false, (10, 5), (10, 22, false)),
            (Served, false, (0, 0), (0, 7, false)),
            (Failed, false, (0, 0), (0, 0, false)),
            (Failed, false, (10, 0), (10, 17, false)),
            // Nobody counted: a fourth of the body, where it must have been read.
            (Served, true, (0, 0), (100, 107, true)),
            (Drained, true, (0, 3), (100, 110, true)),
            (Interrupted, true, (0, 0), (100, 107, true)),
            (Cancelled, true, (0, 3), (100, 110, true)),
            (Cancelled, true, (0, 0), (0, 0, true)),
            (Failed, true, (0, 0), (0, 0, true)),
            (Failed, true, (10, 3), (10, 20, true)),
        ] {
            let said = bill(ended(outcome, is_estimate), input, output);
            assert_eq!(said, expected, "{outcome:?} {is_estimate} {input} {output}");
        }
    }

    #[test]
    fn what_costs_nothing_is_counted_and_not_billed() {
        let counting =
            Ended { outcome: Outcome::Served, is_estimate: true, is_billed: false, body_bytes: 400 };
        assert_eq!(bill(counting, 0, 0), (0, 0, false));
        assert_eq!(bill(counting, 10, 5), (10, 0, false));
    }
}
