//! Gemini's `usageMetadata`: repeated and cumulative, the last one counts.
//!
//! The prompt count includes what a cache served; tool-use prompts come on top. Thoughts are billed as
//! output and are not among the candidates. Image tokens are taken out of both sides by modality.

use crate::protocol::lenient::{Count, Fold, Many, Text, lenient};
use crate::protocol::tally::{UsagePatch, UsageState};

lenient! {
    /// As it comes.
    pub(crate) struct Usage {
        prompt: Count = "promptTokenCount",
        cached: Count = "cachedContentTokenCount",
        candidates: Count = "candidatesTokenCount",
        thoughts: Count = "thoughtsTokenCount",
        tool_use: Count = "toolUsePromptTokenCount",
        prompt_details: Many<Images> = "promptTokensDetails",
        cache_details: Many<Images> = "cacheTokensDetails",
        candidates_details: Many<Images> = "candidatesTokensDetails",
    }
}

lenient! {
    struct Modality<'a> {
        modality: Text<'a> = "modality",
        tokens: Count = "tokenCount",
    }
}

/// The image tokens among the details.
#[derive(Clone, Copy, Debug, Default)]
struct Images(u64);

impl Fold for Images {
    fn fold(&mut self, next: Self) {
        self.0 = self.0.saturating_add(next.0);
    }
}

impl<'de> serde::Deserialize<'de> for Images {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let detail = Modality::deserialize(deserializer)?;
        let is_image = detail.modality.as_str() == "IMAGE";
        Ok(Self(detail.tokens.0.filter(|_| is_image).unwrap_or(0)))
    }
}

impl Usage {
    /// What it counts; `None` when it names no token at all.
    pub(crate) fn patch(&self, state: UsageState) -> Option<UsagePatch> {
        let named = [self.prompt, self.candidates, self.thoughts, self.tool_use, self.cached];
        if named.into_iter().all(|count| count.0.is_none()) {
            return None;
        }
        let count = |count: Count| count.0.unwrap_or(0);
        let uncached = count(self.prompt).saturating_sub(count(self.cached));
        let images = |many: &Many<Images>| many.folded.0;
        let image_input =
            images(&self.prompt_details).saturating_sub(images(&self.cache_details)).min(uncached);
        let image_output = images(&self.candidates_details).min(count(self.candidates));
        Some(UsagePatch {
            state,
            is_whole: true,
            input: Some((uncached - image_input).saturating_add(count(self.tool_use))),
            cache_read: self.cached.0,
            output: Some((count(self.candidates) - image_output).saturating_add(count(self.thoughts))),
            reasoning: self.thoughts.0,
            image_input: Some(image_input),
            image_output: Some(image_output),
            ..UsagePatch::default()
        })
    }
}
