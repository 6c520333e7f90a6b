//! What providers would bill for the same request.

use super::{Guess, Size, Unbounded, bound};
use crate::model::price::{Factors, ModelPrice};
use crate::money::NanoUsd;

/// How a provider would bill: by which model's price, and with which factors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tariff<'a> {
    /// The catalogue's entry; `None`: it has none, and nothing is billed.
    pub model: Option<&'a ModelPrice>,
    /// The factors on it.
    pub factors: Factors,
}

/// The tariffs of all providers that may serve a request. Of those that bill by the same model's price the dearest stands for all.
#[derive(Clone, Debug, Default)]
pub struct Tariffs<'a>(Vec<Tariff<'a>>);

impl<'a> Tariffs<'a> {
    /// The most that the request can cost, whoever of them serves. Nothing where nobody may.
    pub fn bound(&self, size: &Size) -> Result<NanoUsd, Unbounded> {
        let each = self.0.iter().map(|tariff| bound(size, tariff.model, tariff.factors));
        each.reduce(|a, b| Ok(a?.max(b?))).unwrap_or(Ok(NanoUsd::ZERO))
    }

    /// What it probably costs at the dearest of them.
    #[must_use]
    pub fn expected(&self, guess: Guess, body_bytes: u64) -> NanoUsd {
        let each = self.0.iter().map(|tariff| guess.expected(body_bytes, tariff.model, tariff.factors));
        each.max().unwrap_or(NanoUsd::ZERO)
    }
}

impl<'a> FromIterator<Tariff<'a>> for Tariffs<'a> {
    fn from_iter<T: IntoIterator<Item = Tariff<'a>>>(tariffs: T) -> Self {
        let mut all: Vec<Tariff<'a>> = Vec::new();
        for tariff in tariffs {
            let is_same = |known: &&mut Tariff<'a>| match (known.model, tariff.model) {
                (Some(known), Some(model)) => std::ptr::eq(known, model),
                (known, model) => known.is_none() && model.is_none(),
            };
            match all.iter_mut().find(is_same) {
                Some(known) if weight(&known.factors) < weight(&tariff.factors) => *known = tariff,
                Some(_) => {}
                None => all.push(tariff),
            }
        }
        Self(all)
    }
}

fn weight(factors: &Factors) -> u128 {
    u128::from(factors.provider.0) * u128::from(factors.group.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::price::Rates;
    use crate::money::{Multiplier, PicoUsd};
    use proptest::prelude::*;

    fn model(input: u64, max_output_tokens: Option<u64>) -> ModelPrice {
        let base =
            Rates { input: Some(PicoUsd(input)), output: Some(PicoUsd(5 * input)), ..Rates::default() };
        ModelPrice { base, max_output_tokens, ..ModelPrice::default() }
    }

    proptest! {
        #[test]
        fn the_dearest_of_all_stands_for_all(
            rows in prop::collection::vec((0_usize..3, 0_u64..3_000_000, 0_u64..3_000_000), 0..12),
            body_bytes in 0_u64..1_000_000,
        ) {
            let models = [model(3_000_000, Some(64)), model(1_000_000, Some(900)), model(7_000_000, Some(3))];
            let tariffs: Vec<Tariff<'_>> = rows
                .iter()
                .map(|(of, provider, group)| Tariff {
                    model: models.get(*of),
                    factors: Factors { provider: Multiplier(*provider), group: Multiplier(*group) },
                })
                .collect();
            let size = Size { text_bytes: body_bytes, server_uses: Some(0), tool_calls: Some(0), ..Size::default() };
            let each = tariffs.iter().map(|tariff| bound(&size, tariff.model, tariff.factors).unwrap());
            let all: Tariffs<'_> = tariffs.iter().copied().collect();
            prop_assert_eq!(all.bound(&size), Ok(each.max().unwrap_or(NanoUsd::ZERO)));
            let guess = Guess::default();
            let each = tariffs.iter().map(|tariff| guess.expected(body_bytes, tariff.model, tariff.factors));
            prop_assert_eq!(all.expected(guess, body_bytes), each.max().unwrap_or(NanoUsd::ZERO));
        }
    }

    #[test]
    fn one_without_a_bound_leaves_all_without() {
        let (known, endless) = (model(1, Some(1)), model(1, None));
        let one = Factors { provider: Multiplier::ONE, group: Multiplier::ONE };
        let size = Size { text_bytes: 1, server_uses: Some(0), tool_calls: Some(0), ..Size::default() };
        let all: Tariffs<'_> =
            [&known, &endless].map(|model| Tariff { model: Some(model), factors: one }).into_iter().collect();
        assert_eq!(all.bound(&size), Err(Unbounded::Output));
        let all: Tariffs<'_> = [Tariff { model: None, factors: one }].into_iter().collect();
        assert_eq!(all.bound(&size), Err(Unbounded::Model));
        assert_eq!(all.expected(Guess::default(), 1_000), NanoUsd::ZERO, "nothing is billed");
    }
}
