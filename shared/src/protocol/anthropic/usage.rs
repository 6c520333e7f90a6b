//! Anthropic's `usage` object. Its `input_tokens` are uncached already; in a stream it is cumulative, and a
//! field of a later event replaces the same field of an earlier one.

use crate::protocol::lenient::{Count, Text, lenient};
use crate::protocol::tally::{UsagePatch, UsageState};

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

impl Usage<'_> {
    /// What it counts; `None` when it names no token at all.
    pub(crate) fn patch(&self, state: UsageState) -> Option<UsagePatch> {
        let first = |counts: [Count; 3]| counts.into_iter().find_map(|count| count.0);
        let patch = UsagePatch {
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
        };
        let says_nothing = patch == UsagePatch { state, ..UsagePatch::default() };
        (!says_nothing).then_some(patch)
    }
}
