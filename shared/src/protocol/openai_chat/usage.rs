//! OpenAI's `usage` object, of chat and of Responses: the same counts under two names each.
//!
//! The prompt count includes what caches served or took; here it is subtracted, as everywhere input means
//! uncached input. Reasoning is part of the completion count.

use crate::protocol::lenient::{Count, lenient};
use crate::protocol::tally::{UsagePatch, UsageState};

lenient! {
    /// As it comes.
    pub(crate) struct Usage {
        prompt: Count = "prompt_tokens",
        input: Count = "input_tokens",
        completion: Count = "completion_tokens",
        output: Count = "output_tokens",
        prompt_details: InputDetails = "prompt_tokens_details",
        input_details: InputDetails = "input_tokens_details",
        completion_details: OutputDetails = "completion_tokens_details",
        output_details: OutputDetails = "output_tokens_details",
        // Relays of Anthropic's API.
        cache_read: Count = "cache_read_input_tokens",
        cache_write: Count = "cache_creation_input_tokens",
        // DeepSeek and Moonshot.
        cache_hit: Count = "prompt_cache_hit_tokens",
        cached: Count = "cached_tokens",
    }
}

lenient! {
    struct InputDetails {
        cached: Count = "cached_tokens",
        cache_write: Count = "cache_write_tokens",
    }
}

lenient! {
    struct OutputDetails {
        reasoning: Count = "reasoning_tokens",
    }
}

impl Usage {
    /// What it counts; `None` when it names no token at all.
    pub(crate) fn patch(&self, state: UsageState) -> Option<UsagePatch> {
        let first = |counts: &[Count]| counts.iter().find_map(|count| count.0);
        let input = first(&[self.input, self.prompt]);
        let output = first(&[self.output, self.completion]);
        if input.is_none() && output.is_none() {
            return None;
        }
        let details = [self.input_details.cached, self.prompt_details.cached];
        let cache_read = first(&[self.cache_read, details[0], details[1], self.cache_hit, self.cached]);
        let details = [self.input_details.cache_write, self.prompt_details.cache_write];
        let cache_write = first(&[self.cache_write, details[0], details[1]]);
        let cached = cache_read.unwrap_or(0).saturating_add(cache_write.unwrap_or(0));
        Some(UsagePatch {
            state,
            is_whole: true,
            input: input.map(|tokens| tokens.saturating_sub(cached)),
            cache_write,
            cache_read,
            output,
            reasoning: first(&[self.output_details.reasoning, self.completion_details.reasoning]),
            ..UsagePatch::default()
        })
    }
}
