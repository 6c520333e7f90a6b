//! The bound against real requests: `corpus/*.json` holds requests with the usage that the vendor itself reported for them, each with
//! its source (recorded exchanges of public test suites, and vendors' documentation). `...` in a request stands for text or data that is
//! left out; `bytes` is then its length as it was sent.
//!
//! `texts.json` holds texts in many scripts, repeated, with the tokens that public tokenizers make of them: `o200k_base` and
//! `cl100k_base` of gpt-tokenizer 4.0.0, `claude_2` of @anthropic-ai/tokenizer 0.0.4 (both npm).

use super::{ADDED, Size, Unbounded, bound};
use crate::contract::usage::TokenUsage;
use crate::model::Settings;
use crate::model::price::{Factors, ModelPrice};
use crate::money::{Multiplier, NanoUsd};
use crate::protocol::detect::Family;
use crate::protocol::reach::reach;
use crate::protocol::scan::scan;
use crate::protocol::tally::{Extras, UsageState};
use crate::protocol::whole::{self, Expect};
use crate::rules::pricing::{Catalogue, PriceQuery, price, seed};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

static SEED: LazyLock<BTreeMap<String, ModelPrice>> = LazyLock::new(|| seed().unwrap());
const ONE: Factors = Factors { provider: Multiplier::ONE, group: Multiplier::ONE };

/// A request and what it took.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    source: String,
    family: String,
    model: String,
    bytes: Option<usize>,
    /// Why the request has no bound, whatever the model.
    unbounded: Option<String>,
    request: Value,
    usage: Value,
}

impl Entry {
    fn size(&self) -> Size {
        size(self.family(), &self.request, self.bytes)
    }

    fn family(&self) -> Family {
        Family::ALL.into_iter().find(|family| family.as_str() == self.family).unwrap()
    }

    /// As the gateway reads it in the answer.
    fn usage(&self) -> (TokenUsage, Extras) {
        let answer = match self.family() {
            Family::AnthropicCountTokens => {
                let input_tokens = self.usage["input_tokens"].as_u64().unwrap();
                return (TokenUsage { input_tokens, ..TokenUsage::default() }, Extras::default());
            }
            Family::GeminiGenerate | Family::GeminiEmbed => json!({"usageMetadata": self.usage}),
            Family::AnthropicMessages => json!({"type": "message", "usage": self.usage}),
            Family::OpenaiResponses | Family::OpenaiResponsesCompact => {
                json!({"object": "response", "status": "completed", "usage": self.usage})
            }
            _ => json!({"usage": self.usage}),
        };
        let read =
            whole::read(self.family().dialect(), Expect::AnyJson, &serde_json::to_vec(&answer).unwrap());
        assert_eq!(read.usage_state, UsageState::Final, "{}: no usage in {answer}", self.name);
        (read.usage, read.extras)
    }
}

fn size(family: Family, request: &Value, bytes: Option<usize>) -> Size {
    let body = serde_json::to_vec(request).unwrap();
    let facts = scan(&body).unwrap();
    Size::of(family, &facts.work, bytes.unwrap_or(body.len()), reach(&body))
}

fn entries() -> Vec<Entry> {
    let files = [
        include_str!("corpus/anthropic.json"),
        include_str!("corpus/openai.json"),
        include_str!("corpus/gemini.json"),
    ];
    files.into_iter().flat_map(|file| serde_json::from_str::<Vec<Entry>>(file).unwrap()).collect()
}

fn cost(model: &str, usage: &TokenUsage) -> NanoUsd {
    cost_with(model, usage, Extras::default())
}

fn cost_with(model: &str, usage: &TokenUsage, extras: Extras) -> NanoUsd {
    let tiers = [None, Some("priority"), Some("flex")].map(|tier| {
        let query = PriceQuery {
            catalogue: Catalogue::new(&SEED),
            settings: &Settings::default(),
            model: Some(model),
            upstream_model: None,
            requested_tier: tier,
            actual_tier: tier,
            usage,
            extras,
            advisor: None,
            factors: ONE,
        };
        price(&query).cost.total
    });
    tiers.into_iter().max().unwrap()
}

/// The bound at every model of the catalogue that could have served it.
fn assert_bound_anywhere(what: &str, size: &Size, usage: &TokenUsage) {
    assert_bound_with(what, size, usage, Extras::default());
}

fn assert_bound_with(what: &str, size: &Size, usage: &TokenUsage, extras: Extras) {
    let output = usage.output_tokens + usage.image_output_tokens;
    let takes = |most: Option<u64>, tokens: u64| most.is_none_or(|most| tokens <= most);
    let mut bounds = 0;
    for (name, model) in SEED.iter() {
        let inputs = size.inputs.max(1);
        let is_fit = takes(model.max_input_tokens.map(|most| most * inputs), usage.total_input())
            && takes(model.max_output_tokens.map(|most| most * size.answers * inputs), output);
        if let (true, Ok(bound)) = (is_fit, bound(size, Some(model), ONE)) {
            let cost = cost_with(name, usage, extras);
            assert!(cost <= bound, "{what} at {name}: {cost} costs more than {bound}");
            bounds += 1;
        }
    }
    assert!(bounds > 500, "{what}: only {bounds} models have a bound");
}

#[test]
fn what_a_vendor_reported_costs_no_more_than_the_bound() {
    let mut families = BTreeSet::new();
    let mut priced = 0;
    let mut broken = Vec::new();
    for entry in entries() {
        let what = format!("{} ({}, {})", entry.name, entry.family, entry.source);
        families.insert(entry.family.clone());
        let (size, (usage, extras)) = (entry.size(), entry.usage());
        assert!(usage.total_input() + usage.output_tokens > 0, "{what}: no usage");
        let model = Catalogue::new(&SEED).find(&entry.model);
        let own = bound(&size, model.map(|(_, model)| model), ONE);
        match entry.unbounded.as_deref() {
            Some("server_uses") => {
                if size.server_uses.is_some() || !matches!(own, Err(Unbounded::ServerUses | Unbounded::Model))
                {
                    broken.push(format!("{what}: {own:?}"));
                }
                continue;
            }
            Some("searches") => {
                if !matches!(own, Err(Unbounded::Searches)) {
                    broken.push(format!("{what}: {own:?}"));
                }
                continue;
            }
            Some("model") if own == Err(Unbounded::Model) => {}
            None if own.is_ok_and(|bound| cost_with(&entry.model, &usage, extras) <= bound) => priced += 1,
            reason => broken.push(format!("{what}: {own:?} but {reason:?}")),
        }
        assert_bound_with(&what, &size, &usage, extras);
    }
    assert!(broken.is_empty(), "{broken:#?}");
    assert_eq!(families.len(), 8, "{families:?}");
    assert!(priced > 20, "{priced}");
}

/// The recorded request sets no `max_uses`; with one it has a bound, and what the two searches read is within it.
#[test]
fn what_web_searches_read_is_within_the_bound_of_their_max_uses() {
    let entries = entries();
    let entry = entries.iter().find(|entry| entry.name == "web searches without max_uses").unwrap();
    let mut request = entry.request.clone();
    request["tools"][0]["max_uses"] = 2.into();
    let (usage, _) = entry.usage();
    assert_eq!(usage.web_search_requests, 2);
    assert_bound_anywhere(&entry.name, &size(entry.family(), &request, None), &usage);
}

/// The recorded request has no limit; with `max_tool_calls` it has a bound. The fee is by the call, what a call reads is input.
#[test]
fn what_openais_web_searches_read_is_within_the_bound_of_max_tool_calls() {
    let entries = entries();
    let entry = entries.iter().find(|entry| entry.name == "a web search").unwrap();
    let mut request = entry.request.clone();
    request["max_tool_calls"] = 2.into();
    let limited = size(Family::OpenaiResponses, &request, None);
    let (usage, _) = entry.usage();
    let usage = TokenUsage { web_search_requests: 2, ..usage };
    assert_bound_anywhere(&entry.name, &limited, &usage);
    // Codex's default: it sends no limit on the output either, which the catalogue knows.
    let model = SEED.get("gpt-5-codex").unwrap();
    let most = model.max_input_tokens.unwrap();
    let read = TokenUsage {
        input_tokens: 3 * most,
        output_tokens: model.max_output_tokens.unwrap(),
        web_search_requests: 2,
        ..TokenUsage::default()
    };
    assert!(cost("gpt-5-codex", &read) <= bound(&limited, Some(model), ONE).unwrap());
    // No other API has the field.
    for family in [Family::OpenaiChat, Family::OpenaiCompletions, Family::AnthropicMessages] {
        let size = size(family, &request, None);
        assert_eq!(
            bound(&Size { max_output_tokens: Some(1), ..size }, Some(model), ONE),
            Err(Unbounded::Searches)
        );
    }
}

/// A text and the tokens that public tokenizers make of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    name: String,
    text: String,
    times: usize,
    o200k_base: u64,
    cl100k_base: u64,
    claude_2: u64,
}

#[test]
fn no_script_has_more_tokens_than_its_request_has_bytes() {
    let texts: Vec<Text> = serde_json::from_str(include_str!("corpus/texts.json")).unwrap();
    let mut swell = Vec::new();
    for Text { name, text, times, o200k_base, cl100k_base, claude_2 } in texts {
        let written = text.repeat(times);
        let tokens = o200k_base.max(cl100k_base).max(claude_2);
        if tokens > u64::try_from(written.len()).unwrap() {
            swell.push(name.clone());
        }
        let body = json!({"max_tokens": 1, "messages": [{"role": "user", "content": written}]});
        let written = size(Family::AnthropicMessages, &body, None);
        assert!(tokens <= written.text_bytes, "{name}: {tokens} tokens of {} bytes", written.text_bytes);
        // All of it escaped: more bytes, the same tokens.
        let body = escaped(&body);
        let facts = scan(body.as_bytes()).unwrap();
        let escaped = Size::of(Family::AnthropicMessages, &facts.work, body.len(), reach(body.as_bytes()));
        assert!(tokens <= escaped.text_bytes, "{name}: {tokens} tokens, escaped");
        let usage = TokenUsage { input_tokens: tokens + 8, output_tokens: 1, ..TokenUsage::default() };
        assert_bound_anywhere(&name, &written, &usage);
    }
    assert_eq!(swell, ["arabic_ligature", "squared"], "what only normalization explains");
}

/// The same JSON in ASCII.
fn escaped(body: &Value) -> String {
    let mut ascii = String::new();
    for unit in body.to_string().encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii() => ascii.push(char::from(byte)),
            _ => ascii.push_str(&format!("\\u{unit:04x}")),
        }
    }
    ascii
}

/// A tokenizer that falls back to bytes makes a token of each; OpenAI adds three to each message and three for the answer, one for a
/// name ("How to count tokens with tiktoken", cookbook.openai.com). Nobody adds more than their JSON takes.
#[test]
fn a_token_for_each_byte_and_the_framing_of_each_message_is_within_the_request() {
    let messages = |count: usize| vec![json!({"role": "user", "content": "\u{FFFF}"}); count];
    for count in [1, 2, 100, 10_000] {
        let tokens = u64::try_from(count * (3 + 3 + 1) + 3).unwrap();
        let parts = vec![json!({"parts": [{"text": "\u{FFFF}"}]}); count];
        for (family, body) in [
            (Family::OpenaiChat, json!({"max_tokens": 1, "messages": messages(count)})),
            (Family::AnthropicMessages, json!({"max_tokens": 1, "messages": messages(count)})),
            (Family::OpenaiResponses, json!({"max_output_tokens": 1, "input": messages(count)})),
            (Family::GeminiGenerate, json!({"generationConfig": {"maxOutputTokens": 1}, "contents": parts})),
        ] {
            let size = size(family, &body, None);
            assert!(tokens <= size.text_bytes + ADDED, "{count} of {family:?}");
            let usage = TokenUsage { input_tokens: tokens, output_tokens: 1, ..TokenUsage::default() };
            assert_bound_anywhere("framing", &size, &usage);
        }
    }
}

/// Rates that vendors document, for media of few bytes: Gemini 258 tokens for the smallest picture, 263 for a second of film and 32 of
/// sound (ai.google.dev "Understand and count tokens"); Claude width × height / 750 for a picture (platform.claude.com "Vision"), up to
/// 3 000 for a page of a PDF ("PDF support").
#[test]
fn media_of_few_bytes_and_many_tokens_are_within_the_bound() {
    let smallest =
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABAQAAAAA3bvkkAAAACklEQVR4nGP4DwABAQEAsTjWAgAAAABJRU5ErkJggg==";
    let picture = json!({"inlineData": {"mimeType": "image/png", "data": smallest}});
    let film = json!({"inlineData": {"mimeType": "video/mp4", "data": "A".repeat(2_000)}});
    // White, a bit a pixel: 892 bytes of base64.
    let white = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A".repeat(892)}});
    let pages = json!({"type": "document", "source": {"type": "base64", "media_type": "application/pdf",
        "data": "A".repeat(20_000)}});
    let gemini = |part: &Value, count: usize| json!({"generationConfig": {"maxOutputTokens": 1}, "contents": [{"parts": vec![part; count]}]});
    let claude = |part: &Value| json!({"max_tokens": 1, "messages": [{"role": "user", "content": [part]}]});
    for (what, family, body, tokens) in [
        ("100 pictures", Family::GeminiGenerate, gemini(&picture, 100), 100 * 258),
        ("a minute of film", Family::GeminiGenerate, gemini(&film, 1), 60 * (263 + 32)),
        ("a white picture", Family::AnthropicMessages, claude(&white), 1_092 * 1_092 / 750),
        ("30 pages", Family::AnthropicMessages, claude(&pages), 30 * 3_000),
    ] {
        let size = size(family, &body, None);
        assert!(size.text_bytes < tokens || what == "a white picture", "{what}: its bytes say nothing");
        assert!(size.outgrows_body, "{what}");
        for usage in [
            TokenUsage { input_tokens: tokens, output_tokens: 1, ..TokenUsage::default() },
            TokenUsage { image_input_tokens: tokens, output_tokens: 1, ..TokenUsage::default() },
            TokenUsage { cache_write_1h_tokens: tokens, output_tokens: 1, ..TokenUsage::default() },
        ] {
            assert_bound_anywhere(what, &size, &usage);
        }
    }
}

#[test]
fn each_of_several_inputs_may_be_as_large_as_the_model_takes() {
    let embedder = SEED.get("gemini/gemini-embedding-001").unwrap();
    assert_eq!(embedder.max_input_tokens, Some(2_048));
    let text = "x".repeat(2_048);
    let requests = vec![json!({"content": {"parts": [{"text": text}]}}); 100];
    let usage = TokenUsage { input_tokens: 100 * 2_048, ..TokenUsage::default() };
    for (family, body) in [
        (Family::GeminiEmbed, json!({"requests": requests})),
        (Family::OpenaiEmbeddings, json!({"model": "m", "input": vec![text.as_str(); 100]})),
    ] {
        let size = size(family, &body, None);
        let cost = cost("gemini/gemini-embedding-001", &usage);
        assert!(bound(&size, Some(embedder), ONE).is_ok_and(|bound| cost <= bound), "{family:?}");
    }
    // Each prompt is answered `n` times.
    let body = json!({"prompt": ["a", "b", "c"], "n": 2, "max_tokens": 16});
    let usage = TokenUsage { input_tokens: 3, output_tokens: 3 * 2 * 16, ..TokenUsage::default() };
    assert_bound_anywhere("prompts", &size(Family::OpenaiCompletions, &body, None), &usage);
}

/// "These tokens are still counted in the total completion tokens for purposes of billing" (OpenAI API reference,
/// `rejected_prediction_tokens`).
#[test]
fn a_prediction_that_does_not_come_true_is_within_the_bound() {
    let foretold = "x".repeat(40_000);
    let body = json!({"max_tokens": 100, "messages": [{"role": "user", "content": "go on"}],
        "prediction": {"type": "content", "content": foretold}});
    let usage = TokenUsage { input_tokens: 10, output_tokens: 100 + 40_000, ..TokenUsage::default() };
    let size = size(Family::OpenaiChat, &body, None);
    for name in ["gpt-4o", "gpt-4o-mini", "gpt-4.1"] {
        assert!(cost(name, &usage) <= bound(&size, SEED.get(name), ONE).unwrap(), "{name}");
    }
}

/// Bedrock's Sonnet 4.5 takes a million tokens by header; its entry says 200 000, and has a price for more.
#[test]
fn a_model_priced_beyond_its_own_largest_input_is_bound_by_the_bytes() {
    let name = "anthropic.claude-sonnet-4-5-20250929-v1:0";
    let model = SEED.get(name);
    let text = Size {
        text_bytes: 3_000_000,
        max_output_tokens: Some(64_000),
        server_uses: Some(0),
        tool_calls: Some(0),
        ..Size::default()
    };
    let usage = TokenUsage { cache_write_1h_tokens: 900_000, output_tokens: 64_000, ..TokenUsage::default() };
    assert!(cost(name, &usage) <= bound(&text, model, ONE).unwrap());
    assert_eq!(bound(&Size { outgrows_body: true, ..text }, model, ONE), Err(Unbounded::Input));
}

/// `output-128k-2025-02-19` and the like lift the limit that the catalogue knows.
#[test]
fn an_answer_may_be_as_long_as_the_request_allows_whatever_the_catalogue_says() {
    let name = "claude-sonnet-4-5";
    let model = SEED.get(name).unwrap();
    assert_eq!(model.max_output_tokens, Some(64_000));
    let size = Size {
        text_bytes: 100,
        max_output_tokens: Some(128_000),
        server_uses: Some(0),
        tool_calls: Some(0),
        ..Size::default()
    };
    let usage = TokenUsage { input_tokens: 100, output_tokens: 128_000, ..TokenUsage::default() };
    assert!(cost(name, &usage) <= bound(&size, Some(model), ONE).unwrap());
}
