//! What is known of a stream: the fold of its events.

use crate::contract::usage::TokenUsage;
use crate::protocol::tally::{UsageState, UsageTally};

/// What is known of a stream so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamFacts {
    pub(super) tally: UsageTally,
    /// The model the provider says it used.
    pub model: Option<String>,
    /// The provider's id of the response.
    pub response_id: Option<String>,
    /// Why the model stopped, in the dialect's word.
    pub stop_reason: Option<String>,
    /// The service tier the provider says it gave.
    pub service_tier: Option<String>,
    /// True while the model thinks, or a Responses stream waits for its first item.
    pub allows_long_silence: bool,
    /// True once something real of an answer has passed.
    pub has_content: bool,
    /// True once the stream ended as its protocol wants.
    pub ended: bool,
    /// The first error the provider put into the stream.
    pub error: Option<StreamError>,
    /// Bytes of generated text (as written in JSON) that have passed.
    pub content_bytes: u64,
    /// Events that have passed, keep-alives not counted.
    pub events: u64,
    /// True when an event was too large to be read: the facts may lack what it said.
    pub overflowed: bool,
}

/// An error that a provider put into a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamError {
    /// The event's data, at most 64 KiB of it.
    pub payload: Vec<u8>,
    /// Its type: `overloaded_error`, `RESOURCE_EXHAUSTED`.
    pub error_type: Option<String>,
    /// Its code: `server_is_overloaded`, `429`.
    pub code: Option<String>,
}

impl StreamFacts {
    /// The tokens the provider counted so far; all 0 while [`Self::usage_state`] is `Unseen`.
    #[must_use]
    pub fn usage(&self) -> TokenUsage {
        self.tally.tokens()
    }

    /// How far [`Self::usage`] is the provider's last word.
    #[must_use]
    pub fn usage_state(&self) -> UsageState {
        self.tally.state()
    }

    /// The usage, with the output guessed from the relayed text (four bytes a token) where the provider
    /// counted less. For a flagged estimate when `usage_state` is not `Final`; input that was never
    /// counted stays 0, the caller knows the request.
    #[must_use]
    pub fn estimated_usage(&self) -> TokenUsage {
        let mut usage = self.usage();
        usage.output_tokens = usage.output_tokens.max(self.content_bytes.div_ceil(4));
        usage
    }
}
