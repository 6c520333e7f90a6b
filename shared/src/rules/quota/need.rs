//! What a request may cost, before it has: at most ([`bound`]), or probably ([`History`]).
//!
//! # What the bound rests on
//!
//! It is above what [`price`](crate::rules::pricing::price) says of any usage that a vendor can report, because:
//! - **A token is at least one byte of what was sent**, be it written in whatever script: tokenizers that fall back to bytes never make
//!   more tokens than bytes, and JSON's escapes only add bytes. Only normalization can make text longer first; that is counted
//!   ([`Reach::swelling`](crate::protocol::reach::Reach)). What vendors add themselves has an allowance, with tools a larger one.
//! - **What outgrows its bytes** (media, content elsewhere, cited documents) is bound by the largest input that the catalogue knows,
//!   for each of several inputs. An entry with a price for more than its own largest input does not know it.
//! - **Output** is what the request allows, else the catalogue's largest, for each answer to each input; a foretold answer adds its bytes.
//! - **Turns of the provider's own** are `max_uses` and at least as many as Anthropic takes before it pauses, each with the largest input.
//!   The same goes for OpenAI's web search in the Responses API by `max_tool_calls`.
//! - Each token costs the dearest rate that any class (a one-hour cache write at twice the input), service tier or band has; where
//!   the request asks for Anthropic's fast mode, with its factor; and, unless it says `"inference_geo": "global"`, with that of the
//!   US alone at Anthropic's API, because a workspace may have it for its default.
//!
//! `corpus` holds it against real requests.
//!
//! # What has no bound, and is refused
//!
//! A model without a price ([`Unbounded::Model`]); media or content elsewhere at a model of unknown largest input
//! ([`Unbounded::Input`]); no limit on the output here or in the catalogue ([`Unbounded::Output`]); OpenAI's web search without
//! `max_tool_calls` ([`Unbounded::Searches`]: nothing else is documented that limits it, the limit on output least of all, since
//! what a search reads is input); tools of the provider's that heed no `max_uses`: OpenAI's others and Google's all, Anthropic's but
//! for `web_search_20250305` and `web_fetch_20250910` (the later ones run code between searches), MCP servers, compaction by the
//! provider, advisors, fallback models, stored prompts, which may bring tools ([`Unbounded::ServerUses`]).
//!
//! # What is assumed
//!
//! - The catalogue's `max_input_tokens`, and its `max_output_tokens` where a request names no limit, are no less than the vendor's. A beta
//!   header that widens a window (`context-1m-2025-08-07`) needs a row that says so.
//! - The vendor counts reasoning within the limit on output. So do Anthropic, OpenAI and Google; some that speak OpenAI's dialect do
//!   not (Alibaba's `max_tokens`, early DeepSeek R1's).
//! - Reasoning and compactions that come back encrypted are no fewer bytes than tokens: recorded are 1 024 tokens of GPT-5's in 7 kB.
//! - How a vendor writes a message, a tool or its call for the model takes no more tokens than their JSON has bytes.
//! - A model that always searches (`gpt-4o-search-preview`) is asked with `web_search_options`, or reports no search to bill.
//! - Who speaks OpenAI's dialect heeds `max_tool_calls`.
//! - It bounds what is *booked*. What the books do not see is not in it: tokens of sound and film at rates of their own, fees of
//!   containers and of file search. All that a request can turn on by a tool or by compaction is refused above; the rest belongs in
//!   the provider's multiplier.

#[cfg(test)]
mod corpus;
mod history;
mod size;
mod tariff;

pub use history::{Guess, History};
pub use tariff::{Tariff, Tariffs};

use crate::model::price::{Factors, ModelPrice};
use crate::money::{NanoUsd, item_cost};
use crate::rules::pricing::{Premium, dearest};
use thiserror::Error;

/// What a request says about its size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Bytes of its body, with what its text grows by before it becomes tokens.
    pub text_bytes: u64,
    /// Its input may be more tokens than that: content elsewhere, or media in the body.
    pub outgrows_body: bool,
    /// How many inputs it brings that are each read, and answered, by themselves.
    pub inputs: u64,
    /// It brings tools, whose instructions vendors add to the input.
    pub has_tools: bool,
    /// The output tokens that it allows, reasoning among them.
    pub max_output_tokens: Option<u64>,
    /// How many answers it asks for: `n`.
    pub answers: u64,
    /// It foretells its answer: what of that does not come is output too.
    pub foretells: bool,
    /// How often it lets the provider use tools of its own (search, fetch, code): each use is another turn of the model, with
    /// all that came before as its input. `None`: it sets no bound.
    pub server_uses: Option<u64>,
    /// The same of searches that only a limit over all tools bounds: `max_tool_calls`. 0: there are none.
    pub tool_calls: Option<u64>,
    /// What may make each token dearer.
    pub premium: Premium,
}

/// Why there is no bound to what a request may cost. The texts are fit for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unbounded {
    /// Nobody knows what a token costs.
    #[error("the model has no price")]
    Model,
    /// It brings media or refers to content elsewhere, and the catalogue does not know how much the model takes.
    #[error(
        "the request brings media or refers to content elsewhere, and the model's largest input is not known"
    )]
    Input,
    /// It does not limit its output, and neither does the catalogue.
    #[error("the request does not limit its output tokens, and the model's largest output is not known")]
    Output,
    /// It lets the model search the web as often as it likes.
    #[error(
        "the request lets the model search the web without a limit (set max_tool_calls, or leave web_search out; whoever runs \
         this hub can also set your quota_reservation to expected)"
    )]
    Searches,
    /// It lets the provider go on by itself as long as it likes.
    #[error(
        "the request lets the provider go on by itself without a limit (its own tools without max_uses, compaction, \
         fallback models, a stored prompt; leave them out, or whoever runs this hub can set your quota_reservation to expected)"
    )]
    ServerUses,
}

/// The most that a request can cost at these factors, the dearest of any provider that may serve it (design §7, `strict`).
///
/// See the module for what it rests on. Rounding adds half a nano-dollar for each of the up to nine items of a price.
pub fn bound(size: &Size, model: Option<&ModelPrice>, factors: Factors) -> Result<NanoUsd, Unbounded> {
    let model = model.filter(|model| model.has_price()).ok_or(Unbounded::Model)?;
    let rates = dearest(model);
    let uses = size.server_uses.ok_or(Unbounded::ServerUses)?;
    let uses = uses.saturating_add(size.tool_calls.ok_or(Unbounded::Searches)?);
    let turns = if uses == 0 { 1 } else { uses.max(SERVER_LOOP).saturating_add(1) };
    let inputs = size.inputs.max(1);
    let added = if size.has_tools { ADDED_WITH_TOOLS } else { ADDED };
    let sent = size.text_bytes.saturating_add(added);
    let most = largest_input(model).map(|most| most.saturating_mul(inputs));
    let input = match (size.outgrows_body || uses > 0, most) {
        (false, Some(most)) => sent.min(most),
        (false, None) => sent,
        (true, most) => most.ok_or(Unbounded::Input)?,
    };
    let foretold = if size.foretells { sent } else { 0 };
    let of_each = largest_output(size, model).ok_or(Unbounded::Output)?.saturating_add(foretold);
    let answers = size.answers.max(1).saturating_mul(inputs);
    let output = of_each.saturating_mul(answers).saturating_mul(turns);
    let input = input.saturating_mul(turns);
    let item = |count, rate| item_cost(count, rate, factors.provider, factors.group);
    let token = |rate| size.premium.on(model, rate);
    let items = item(input, token(rates.input)) + item(output, token(rates.output));
    let fees = item(1, model.per_request) + item(uses, model.per_web_search);
    Ok(items + fees + ROUNDING)
}

/// The largest input of a model, in tokens. An entry that has a price for more than its own `max_input_tokens` does not say.
fn largest_input(model: &ModelPrice) -> Option<u64> {
    let is_priced_beyond = |most| model.bands.iter().any(|band| band.threshold_tokens >= most);
    model.max_input_tokens.filter(|most| !is_priced_beyond(*most))
}

/// The largest answer. What the request allows is not cut to the catalogue's `max_output_tokens`: vendors lift that by header
/// (`output-128k-2025-02-19`), and refuse what they do not allow. A model that draws may draw beyond the limit.
fn largest_output(size: &Size, model: &ModelPrice) -> Option<u64> {
    let (asked, most) = (size.max_output_tokens, model.max_output_tokens);
    match model.base.image_output {
        Some(_) => most.map(|most| most.max(asked.unwrap_or(0))),
        None => asked.or(most),
    }
}

/// What vendors may add to any request.
const ADDED: u64 = 512;
/// What they may add to one with tools: Anthropic's system prompt for tools has up to 804 tokens, its own tools up to 735
/// and 700 and 466 and 245 more (platform.claude.com, "Tool use", pricing).
const ADDED_WITH_TOOLS: u64 = 4_096;
/// Turns that Anthropic takes in one request before it hands back with `pause_turn` (platform.claude.com, "Stop reasons"). A search
/// beyond `max_uses` is answered with an error, to which the model may answer with another.
const SERVER_LOOP: u64 = 10;
const ROUNDING: NanoUsd = NanoUsd(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::usage::TokenUsage;
    use crate::model::Settings;
    use crate::money::Multiplier;
    use crate::protocol::tally::Extras;
    use crate::rules::pricing::{Catalogue, PriceQuery, price, seed};
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::sync::LazyLock;

    static SEED: LazyLock<BTreeMap<String, ModelPrice>> = LazyLock::new(|| seed().unwrap());

    fn factors(provider: u64, group: u64) -> Factors {
        Factors { provider: Multiplier(provider), group: Multiplier(group) }
    }

    proptest! {
        #[test]
        fn no_request_costs_more_than_its_bound(
            index in any::<prop::sample::Index>(),
            (body, outgrows, has_tools, foretells) in (0_u64..3_000_000, any::<bool>(), any::<bool>(), any::<bool>()),
            inputs in 1_u64..4,
            (limit, answers, uses) in (prop::option::of(1_u64..200_000), 1_u64..4, prop_oneof![Just(0_u64), 0_u64..20]),
            shares in prop::array::uniform6(0_u64..1_000),
            tiers in (0_usize..3, 0_usize..3),
            (tool_calls, is_fast, is_us_only) in (prop_oneof![Just(0_u64), 0_u64..20], any::<bool>(), any::<bool>()),
            (provider, group) in (0_u64..5_000_000, 0_u64..5_000_000),
        ) {
            let (name, model) = SEED.iter().nth(index.index(SEED.len())).unwrap();
            let size = Size {
                text_bytes: body,
                outgrows_body: outgrows,
                inputs,
                has_tools,
                max_output_tokens: limit,
                answers,
                foretells,
                server_uses: Some(uses),
                tool_calls: Some(tool_calls),
                premium: Premium { is_fast, is_us_only },
            };
            let uses = uses + tool_calls;
            let factors = factors(provider, group);
            let Ok(bound) = bound(&size, Some(model), factors) else { return Ok(()) };
            // Whatever the bounds of the request leave, in whatever classes.
            let sent = body + if has_tools { ADDED_WITH_TOOLS } else { ADDED };
            let most = model.max_input_tokens.unwrap_or(sent);
            let turns = if uses == 0 { 1 } else { uses.max(10) + 1 };
            let input = if outgrows || uses > 0 { most * inputs * turns } else { sent.min(most * inputs) };
            let of_each = limit.or(model.max_output_tokens).unwrap() + if foretells { sent } else { 0 };
            let output = of_each * answers * inputs * turns;
            let all: u64 = shares[..5].iter().sum::<u64>().max(1);
            let [a, b, c, d, e] = [0, 1, 2, 3, 4].map(|i| input / all * shares[i]);
            // To the last token.
            let b = b + (input - (a + b + c + d + e));
            let pictures = output / 1_000 * shares[5];
            let usage = TokenUsage {
                input_tokens: a,
                cache_write_5m_tokens: b,
                cache_write_1h_tokens: c,
                cache_read_tokens: d,
                image_input_tokens: e,
                output_tokens: output - pictures,
                image_output_tokens: pictures,
                web_search_requests: uses,
                ..TokenUsage::default()
            };
            let tier = |i: usize| [None, Some("priority"), Some("flex")][i];
            let query = PriceQuery {
                catalogue: Catalogue::new(&SEED),
                settings: &Settings::default(),
                model: Some(name),
                upstream_model: None,
                requested_tier: tier(tiers.0),
                actual_tier: tier(tiers.1),
                usage: &usage,
                extras: Extras { is_fast, is_us_only, ..Extras::default() },
                advisor: None,
                factors,
            };
            let cost = price(&query).cost.total;
            prop_assert!(cost <= bound, "{}: {} costs more than {}", name, cost, bound);
        }
    }

    #[test]
    fn what_has_no_bound_says_why() {
        let priced = |most_input, most_output| ModelPrice {
            base: crate::model::price::Rates {
                input: Some(crate::money::PicoUsd(3_000_000)),
                ..Default::default()
            },
            max_input_tokens: most_input,
            max_output_tokens: most_output,
            per_web_search: crate::money::PicoUsd(10_000_000_000),
            ..ModelPrice::default()
        };
        let size = Size { text_bytes: 100, server_uses: Some(0), tool_calls: Some(0), ..Size::default() };
        let one = factors(1_000_000, 1_000_000);
        let say = |size: &Size, model: Option<&ModelPrice>| bound(size, model, one).unwrap_err();
        assert_eq!(say(&size, None), Unbounded::Model);
        assert_eq!(say(&size, Some(&ModelPrice::default())), Unbounded::Model);
        assert_eq!(say(&size, Some(&priced(Some(9), None))), Unbounded::Output);
        let elsewhere = Size { outgrows_body: true, ..size };
        assert_eq!(say(&elsewhere, Some(&priced(None, Some(9)))), Unbounded::Input);
        let searching = Size { server_uses: None, ..size };
        assert_eq!(say(&searching, Some(&priced(Some(9), Some(9)))), Unbounded::ServerUses);
        let searching = Size { tool_calls: None, ..size };
        assert_eq!(say(&searching, Some(&priced(Some(9), Some(9)))), Unbounded::Searches);
        assert!(bound(&size, Some(&priced(None, Some(9))), one).is_ok());
    }
}
