//! What a request says of its size, by the fields that its API knows.

use super::Size;
use crate::protocol::detect::Family;
use crate::protocol::reach::Reach;
use crate::protocol::scan::WorkHints;
use crate::rules::pricing::Premium;

impl Size {
    /// The size of a request to this endpoint.
    #[must_use]
    pub fn of(family: Family, work: &WorkHints, body_bytes: usize, reach: Reach) -> Self {
        Self {
            text_bytes: u64::try_from(body_bytes).unwrap_or(u64::MAX).saturating_add(reach.swelling),
            outgrows_body: reach.outgrows_body,
            inputs: reach.inputs,
            has_tools: reach.has_tools,
            max_output_tokens: output_limit(family, work),
            answers: work.n.unwrap_or(1).max(1),
            foretells: reach.foretells,
            server_uses: reach.server_uses,
            tool_calls: match (reach.searches, family) {
                (false, _) => Some(0),
                // The call that is ignored is still one that the model made.
                (true, Family::OpenaiResponses) => reach.max_tool_calls.map(|most| most.max(1)),
                (true, _) => None,
            },
            premium: Premium {
                is_fast: family == Family::AnthropicMessages && reach.is_fast,
                is_us_only: family == Family::AnthropicMessages && !reach.is_anywhere,
            },
        }
    }
}

/// The bound that holds. Where an API knows two, whoever serves may know one of them alone: the larger.
fn output_limit(family: Family, work: &WorkHints) -> Option<u64> {
    let limits = work.output_limits;
    match family {
        Family::AnthropicMessages | Family::OpenaiCompletions => limits.max_tokens,
        Family::OpenaiChat => limits.max_completion_tokens.max(limits.max_tokens),
        Family::OpenaiResponses => limits.max_output_tokens,
        // It has no such field.
        Family::OpenaiResponsesCompact => None,
        Family::GeminiGenerate | Family::GeminiStreamGenerate => limits.gemini,
        // They write nothing.
        Family::AnthropicCountTokens
        | Family::GeminiCountTokens
        | Family::OpenaiEmbeddings
        | Family::GeminiEmbed => Some(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::scan::OutputLimits;

    #[test]
    fn the_output_is_bound_by_what_the_endpoint_knows() {
        let output_limits = OutputLimits {
            max_tokens: Some(1),
            max_completion_tokens: Some(2),
            max_output_tokens: Some(3),
            gemini: Some(4),
        };
        let work = WorkHints { output_limits, ..WorkHints::default() };
        for (family, limit) in [
            (Family::AnthropicMessages, Some(1)),
            (Family::OpenaiChat, Some(2)),
            (Family::OpenaiCompletions, Some(1)),
            (Family::OpenaiResponses, Some(3)),
            (Family::OpenaiResponsesCompact, None),
            (Family::GeminiGenerate, Some(4)),
            (Family::GeminiStreamGenerate, Some(4)),
            (Family::OpenaiEmbeddings, Some(0)),
        ] {
            assert_eq!(output_limit(family, &work), limit, "{family:?}");
        }
        assert_eq!(output_limit(Family::OpenaiChat, &WorkHints::default()), None);
    }
}
