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
    /// Image input, not in `input`.
    pub image_input: Option<u64>,
    /// Image output, not in `output`.
    pub image_output: Option<u64>,
    /// Web searches run by the provider.
    pub web_search: Option<u64>,
    /// What other models took on the way, whom this one asked: Anthropic's advisors. In none of the fields above.
    pub advised: Option<TokenUsage>,
    /// Served in fast mode.
    pub is_fast: Option<bool>,
    /// Served in the US alone.
    pub is_us_only: Option<bool>,
}

/// Web searches that are told by what they leave in the answer, not by the usage object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Searches {
    /// So many more than events before told of.
    More(u64),
    /// So many in the whole answer, or up to here.
    InAll(u64),
}

/// What is billed beside the tokens of the model that answered, or makes them dearer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// See [`UsagePatch::advised`].
    pub advised: TokenUsage,
    /// See [`UsagePatch::is_fast`].
    pub is_fast: bool,
    /// See [`UsagePatch::is_us_only`].
    pub is_us_only: bool,
}

/// The fold of all patches of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsageTally {
    counted: UsagePatch,
    searches: u64,
}

impl UsageTally {
    /// Takes what an event counted.
    pub fn absorb(&mut self, patch: &UsagePatch) {
        let state = self.counted.state.max(patch.state);
        let before = if patch.is_whole { UsagePatch::default() } else { self.counted };
        let cache_write_5m = patch.cache_write_5m.or(before.cache_write_5m);
        let cache_write_1h = patch.cache_write_1h.or(before.cache_write_1h);
        let split = cache_write_5m.unwrap_or(0).saturating_add(cache_write_1h.unwrap_or(0));
        let names_split = patch.cache_write_5m.is_some() || patch.cache_write_1h.is_some();
        let cache_write = match (patch.cache_write, names_split) {
            // Two words of one breath: a relay that leaves one of them at 0 means the other.
            (Some(total), true) => Some(total.max(split)),
            (None, true) => Some(split),
            (Some(total), false) => Some(total),
            (None, false) => before.cache_write,
        };
        self.counted = UsagePatch {
            state,
            is_whole: false,
            input: patch.input.or(before.input),
            cache_write,
            cache_write_5m,
            cache_write_1h,
            cache_read: patch.cache_read.or(before.cache_read),
            output: patch.output.or(before.output),
            reasoning: patch.reasoning.or(before.reasoning),
            image_input: patch.image_input.or(before.image_input),
            image_output: patch.image_output.or(before.image_output),
            web_search: patch.web_search.or(before.web_search),
            advised: patch.advised.or(before.advised),
            is_fast: patch.is_fast.or(before.is_fast),
            is_us_only: patch.is_us_only.or(before.is_us_only),
        };
    }

    /// Takes the searches that an event told of.
    pub fn note_searches(&mut self, searches: Searches) {
        self.searches = match searches {
            Searches::More(more) => self.searches.saturating_add(more),
            Searches::InAll(all) => self.searches.max(all),
        };
    }

    /// What is billed beside the tokens, or makes them dearer.
    #[must_use]
    pub fn extras(&self) -> Extras {
        let UsagePatch { advised, is_fast, is_us_only, .. } = self.counted;
        Extras {
            advised: advised.unwrap_or_default(),
            is_fast: is_fast.unwrap_or(false),
            is_us_only: is_us_only.unwrap_or(false),
        }
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

    /// The tokens by class. Cache writes of no named lifetime are five-minute ones.
    #[must_use]
    pub fn tokens(&self) -> TokenUsage {
        let counted = &self.counted;
        let cache_write = counted.cache_write.unwrap_or(0);
        let cache_write_1h = counted.cache_write_1h.unwrap_or(0).min(cache_write);
        TokenUsage {
            input_tokens: counted.input.unwrap_or(0),
            cache_write_5m_tokens: cache_write - cache_write_1h,
            cache_write_1h_tokens: cache_write_1h,
            cache_read_tokens: counted.cache_read.unwrap_or(0),
            output_tokens: counted.output.unwrap_or(0),
            reasoning_tokens: counted.reasoning.unwrap_or(0),
            image_input_tokens: counted.image_input.unwrap_or(0),
            image_output_tokens: counted.image_output.unwrap_or(0),
            web_search_requests: counted.web_search.unwrap_or(0).max(self.searches),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fold(patches: &[UsagePatch]) -> UsageTally {
        let mut tally = UsageTally::default();
        for patch in patches {
            tally.absorb(patch);
        }
        tally
    }

    #[test]
    fn a_later_word_wins_per_field() {
        let start = UsagePatch { input: Some(10), output: Some(1), ..UsagePatch::default() };
        let delta = UsagePatch { output: Some(50), ..UsagePatch::default() };
        let tokens = fold(&[start, delta]).tokens();
        assert_eq!((tokens.input_tokens, tokens.output_tokens), (10, 50));
    }

    #[test]
    fn a_whole_count_replaces_everything() {
        let first = UsagePatch { input: Some(10), cache_read: Some(5), ..UsagePatch::default() };
        let last = UsagePatch { is_whole: true, input: Some(12), ..UsagePatch::default() };
        let tokens = fold(&[first, last]).tokens();
        assert_eq!((tokens.input_tokens, tokens.cache_read_tokens), (12, 0));
    }

    #[test]
    fn cache_writes_without_a_lifetime_are_of_five_minutes() {
        let writes = |total, m5, h1| UsagePatch {
            cache_write: total,
            cache_write_5m: m5,
            cache_write_1h: h1,
            ..UsagePatch::default()
        };
        let cases = [
            (vec![writes(Some(100), None, None)], (100, 0)),
            (vec![writes(Some(100), Some(0), Some(100))], (0, 100)),
            (vec![writes(Some(100), Some(30), Some(60))], (40, 60)),
            // A total repeated without its split keeps the split.
            (vec![writes(Some(100), Some(0), Some(100)), writes(Some(100), None, None)], (0, 100)),
            (vec![writes(Some(0), Some(0), Some(0)), writes(Some(70), None, None)], (70, 0)),
            (vec![writes(Some(0), Some(0), Some(0)), writes(None, Some(70), None)], (70, 0)),
            // The later total is smaller: the estimate at the start was too high.
            (vec![writes(Some(100), Some(90), Some(10)), writes(Some(0), None, None)], (0, 0)),
            (vec![writes(Some(0), Some(5), Some(6))], (5, 6)),
        ];
        for (patches, expected) in cases {
            let tokens = fold(&patches).tokens();
            assert_eq!((tokens.cache_write_5m_tokens, tokens.cache_write_1h_tokens), expected, "{patches:?}");
        }
    }

    #[test]
    fn only_a_running_count_becomes_final_at_the_end() {
        for (state, expected) in [
            (UsageState::Unseen, UsageState::Unseen),
            (UsageState::Started, UsageState::Started),
            (UsageState::Running, UsageState::Final),
            (UsageState::Final, UsageState::Final),
        ] {
            let mut tally = fold(&[UsagePatch { state, ..UsagePatch::default() }]);
            tally.finish();
            assert_eq!(tally.state(), expected);
        }
    }
}
