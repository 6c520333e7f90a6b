//! Anthropic's `usage` object. Its `input_tokens` are uncached already; in a stream it is cumulative, and a
//! field of a later event replaces the same field of an earlier one.
//!
//! An answer that took several turns of models lists them in `iterations`, and not all of them are in the sums beside it:
//! a compaction's tokens are not ("sum across all entries", platform.claude.com "Compaction"), an advisor's are not, which another
//! model bills, and of the turns between advice some releases sum the output alone ("Advisor tool", usage and billing). So the
//! turns of the model itself are summed here, and the larger number counts, class by class. A turn that produced nothing
//! is not billed ("Refusals and fallback"). Turns of other kinds (fallback models) are left to the sums.

use crate::contract::usage::TokenUsage;
use crate::protocol::lenient::{Count, Fold, Many, Text, lenient};
use crate::protocol::tally::{UsagePatch, UsageState};
use std::borrow::Cow;

lenient! {
    /// As it comes.
    pub(crate) struct Usage<'a> {
        input: Count = "input_tokens",
        output: Count = "output_tokens",
        cache_read: Count = "cache_read_input_tokens",
        cache_write: Count = "cache_creation_input_tokens",
        cache_split: CacheSplit = "cache_creation",
        // Two relays' spellings of the split.
        flat_5m: Count = "cache_creation_5m_input_tokens",
        flat_1h: Count = "cache_creation_1h_input_tokens",
        claude_5m: Count = "claude_cache_creation_5_m_tokens",
        claude_1h: Count = "claude_cache_creation_1_h_tokens",
        details: OutputDetails = "output_tokens_details",
        server_tools: ServerTools = "server_tool_use",
        pub(crate) service_tier: Text<'a> = "service_tier",
        speed: Text<'a> = "speed",
        inference_geo: Text<'a> = "inference_geo",
        iterations: Many<Turns<'a>> = "iterations",
    }
}

lenient! {
    struct Turn<'a> {
        kind: Text<'a> = "type",
        model: Text<'a> = "model",
        input: Count = "input_tokens",
        output: Count = "output_tokens",
        cache_read: Count = "cache_read_input_tokens",
        cache_write: Count = "cache_creation_input_tokens",
        cache_split: CacheSplit = "cache_creation",
    }
}

/// What the turns of an answer took.
#[derive(Clone, Debug, Default)]
struct Turns<'a> {
    own: TokenUsage,
    advised: TokenUsage,
    advisor: Option<Cow<'a, str>>,
}

impl Fold for Turns<'_> {
    fn fold(&mut self, next: Self) {
        self.own = self.own.plus(&next.own);
        self.advised = self.advised.plus(&next.advised);
        self.advisor = next.advisor.or(self.advisor.take());
    }
}

impl<'de: 'a, 'a> serde::Deserialize<'de> for Turns<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let turn = Turn::deserialize(deserializer)?;
        let usage = turn.usage();
        Ok(match turn.kind.as_str() {
            _ if usage.output_tokens == 0 => Self::default(),
            "message" | "compaction" => Self { own: usage, ..Self::default() },
            "advisor_message" => Self { advised: usage, advisor: turn.model.filled(), ..Self::default() },
            _ => Self::default(),
        })
    }
}

impl Turn<'_> {
    fn usage(&self) -> TokenUsage {
        let count = |count: Count| count.0.unwrap_or(0);
        let one_hour = count(self.cache_split.one_hour);
        let five_minutes = count(self.cache_split.five_minutes);
        let written = count(self.cache_write).max(five_minutes.saturating_add(one_hour));
        TokenUsage {
            input_tokens: count(self.input),
            cache_write_5m_tokens: written.saturating_sub(one_hour),
            cache_write_1h_tokens: one_hour,
            cache_read_tokens: count(self.cache_read),
            output_tokens: count(self.output),
            ..TokenUsage::default()
        }
    }
}

lenient! {
    struct CacheSplit {
        five_minutes: Count = "ephemeral_5m_input_tokens",
        one_hour: Count = "ephemeral_1h_input_tokens",
    }
}

lenient! {
    struct OutputDetails {
        thinking: Count = "thinking_tokens",
        reasoning: Count = "reasoning_tokens",
    }
}

lenient! {
    struct ServerTools {
        web_search: Count = "web_search_requests",
    }
}

impl<'a> Usage<'a> {
    /// What it counts; `None` when it names no token at all.
    pub(crate) fn patch(&self, state: UsageState) -> Option<UsagePatch> {
        let Turns { own, advised, .. } = &self.iterations.folded;
        // The larger number; where no turn is told, what the sums say.
        let more = |told: Option<u64>, own: u64| if own == 0 { told } else { told.max(Some(own)) };
        let plain = self.plain_patch(state);
        let patch = UsagePatch {
            input: more(plain.input, own.input_tokens),
            cache_write: more(
                plain.cache_write,
                own.cache_write_5m_tokens.saturating_add(own.cache_write_1h_tokens),
            ),
            cache_write_5m: more(plain.cache_write_5m, own.cache_write_5m_tokens),
            cache_write_1h: more(plain.cache_write_1h, own.cache_write_1h_tokens),
            cache_read: more(plain.cache_read, own.cache_read_tokens),
            output: more(plain.output, own.output_tokens),
            advised: (*advised != TokenUsage::default()).then_some(*advised),
            ..plain
        };
        let says_nothing = patch == UsagePatch { state, ..UsagePatch::default() };
        (!says_nothing).then_some(patch)
    }

    /// The model whose turns are the patch's `advised`.
    pub(crate) fn advisor(&self) -> Option<Cow<'a, str>> {
        self.iterations.folded.advisor.clone()
    }

    fn plain_patch(&self, state: UsageState) -> UsagePatch {
        let first = |counts: [Count; 3]| counts.into_iter().find_map(|count| count.0);
        let is = |text: &Text<'_>, word| text.0.as_deref().map(|text| text == word);
        UsagePatch {
            state,
            is_whole: false,
            input: self.input.0,
            cache_write: self.cache_write.0,
            cache_write_5m: first([self.cache_split.five_minutes, self.flat_5m, self.claude_5m]),
            cache_write_1h: first([self.cache_split.one_hour, self.flat_1h, self.claude_1h]),
            cache_read: self.cache_read.0,
            output: self.output.0,
            reasoning: self.details.thinking.0.or(self.details.reasoning.0),
            image_input: None,
            image_output: None,
            web_search: self.server_tools.web_search.0,
            advised: None,
            is_fast: is(&self.speed, "fast"),
            is_us_only: is(&self.inference_geo, "us"),
        }
    }
}
