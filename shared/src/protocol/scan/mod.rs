//! The few fields of a request body that decisions need, read without building a tree.
//!
//! [`scan`] is a full validator: it accepts a body iff `serde_json::from_slice::<Value>` accepts it and it
//! is an object, so that no upstream is sent what the gateway read differently. On top of that it refuses
//! what would be ambiguous or unusable:
//! - a field that decides routing, price or bound and is given twice ([`ScanError::Repeated`], keys compared
//!   after unescaping): an upstream might read the other one. Elsewhere the last of equal keys counts, as
//!   in `Value`;
//! - such a field of the wrong JSON type ([`ScanError::WrongType`]). `null` is as good as absent. An integer
//!   may be written `1.0` or `1e3`, as upstreams that validate by JSON Schema accept it, and must not be
//!   negative. Fields that only hint (`metadata.user_id`, `prompt_cache_key`, `store`, the shape of `messages`)
//!   count as absent when of another type; the upstream has its say on them.
//!
//! Knows nothing of dialects: it reads the fields of all of them, [`OutputLimits`] tells which apply.
//! Bodies are mostly long strings, so one pass validates UTF-8 (`simdutf8`) and a second walks the JSON,
//! 32 string bytes a step. Nesting is bounded (127 levels, serde_json's limit) and kept in a bit set.
//!
//! `fields` says what is collected, `reader` is the grammar, `number` the numbers, `text` the strings.

mod fields;
mod number;
mod reader;
mod text;

use super::detect::Family;
use std::ops::Range;
use thiserror::Error;

/// What a body says. All ranges are bytes of the scanned body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BodyFacts {
    /// `model`.
    pub model: Option<JsonText>,
    /// `stream`.
    pub stream: Option<bool>,
    /// What the work may cost.
    pub work: WorkHints,
    /// Which conversation it belongs to.
    pub session: SessionHints,
    /// Where fields can be added or changed.
    pub layout: Layout,
}

/// A string and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonText {
    /// Unescaped.
    pub value: String,
    /// The bytes, quotes included.
    pub range: Range<usize>,
}

/// What bounds and prices the work asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkHints {
    /// Bounds on the output, by field.
    pub output_limits: OutputLimits,
    /// Answers to generate: the largest of `n`, `best_of` and Gemini's `candidateCount`. APIs without
    /// such a field ignore it, so a bound multiplies by at least 1.
    pub n: Option<u64>,
    /// `service_tier`.
    pub service_tier: Option<String>,
    /// Elements of `messages`, else of `input` (a string is 1), else of `contents`.
    pub message_count: Option<u32>,
    /// `background: true`.
    pub is_background: bool,
}

/// The bounds a body sets on its output, in tokens. Which of them binds depends on the API: one that does
/// not know a field ignores it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputLimits {
    /// `max_tokens`: Anthropic messages, OpenAI completions and (deprecated) chat.
    pub max_tokens: Option<u64>,
    /// `max_completion_tokens`: OpenAI chat.
    pub max_completion_tokens: Option<u64>,
    /// `max_output_tokens`: OpenAI responses.
    pub max_output_tokens: Option<u64>,
    /// `generationConfig.maxOutputTokens`: Gemini.
    pub gemini: Option<u64>,
}

/// What tells a conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionHints {
    /// `metadata.user_id`.
    pub metadata_user_id: Option<String>,
    /// `prompt_cache_key`.
    pub prompt_cache_key: Option<String>,
    /// `previous_response_id`.
    pub previous_response_id: Option<String>,
    /// `store`: whether the answer is to be kept at the provider, for a later `previous_response_id`. A hint.
    pub store: Option<bool>,
    /// The bytes of the first element of the list that `message_count` counts, or of `input` itself where it
    /// is a string: stable through a conversation.
    pub first_message: Option<Range<usize>>,
}

/// Where fields can be added or changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Offset of the object's `{`: a first field goes right after it.
    pub open_brace: usize,
    /// Offset of the object's `}`: a last field goes right before it.
    pub close_brace: usize,
    /// The object has no field: one put into it needs no comma.
    pub is_empty: bool,
    /// `stream_options`, if the key is there.
    pub stream_options: Option<StreamOptions>,
}

/// The value of `stream_options`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamOptions {
    /// The value's bytes: an object, or `null`.
    pub range: Range<usize>,
    /// `null` or `{}`.
    pub is_empty: bool,
    /// `include_usage`, if the key is there.
    pub include_usage: Option<IncludeUsage>,
}

/// The value of `stream_options.include_usage`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncludeUsage {
    /// `None` = `null`.
    pub value: Option<bool>,
    /// The value's bytes.
    pub range: Range<usize>,
}

/// Why a body is refused with 400. The texts are fit for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ScanError {
    /// Not UTF-8.
    #[error("request body is not valid UTF-8")]
    NotUtf8,
    /// Not JSON.
    #[error("request body is not valid JSON (at byte {offset})")]
    NotJson {
        /// Where the reading stopped.
        offset: usize,
    },
    /// Another JSON value than an object.
    #[error("request body must be a JSON object")]
    NotAnObject,
    /// Nested too deep.
    #[error("request body is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// A field that decides something is given twice.
    #[error("`{field}` is given more than once")]
    Repeated {
        /// Its name.
        field: &'static str,
    },
    /// A field that decides something has another JSON type.
    #[error("`{field}` must be {expected}")]
    WrongType {
        /// Its name.
        field: &'static str,
        /// What it must be, with its article.
        expected: &'static str,
    },
}

/// Reads and validates a body.
pub fn scan(body: &[u8]) -> Result<BodyFacts, ScanError> {
    let text = simdutf8::basic::from_utf8(body).map_err(|_| ScanError::NotUtf8)?;
    fields::read(reader::Reader::new(text))
}

impl OutputLimits {
    /// The bound this API honours: the larger one where it knows two fields. `None` = unbounded by the body.
    #[must_use]
    pub fn honoured_by(&self, family: Family) -> Option<u64> {
        match family {
            Family::AnthropicMessages | Family::OpenaiCompletions => self.max_tokens,
            Family::OpenaiChat => self.max_tokens.max(self.max_completion_tokens),
            Family::OpenaiResponses | Family::OpenaiResponsesCompact => self.max_output_tokens,
            Family::GeminiGenerate | Family::GeminiStreamGenerate => self.gemini,
            Family::AnthropicCountTokens
            | Family::OpenaiEmbeddings
            | Family::GeminiCountTokens
            | Family::GeminiEmbed => None,
        }
    }
}

impl ScanError {
    /// The name used in logs and metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::NotUtf8 => "not_utf8",
            Self::NotJson { .. } => "not_json",
            Self::NotAnObject => "not_an_object",
            Self::TooDeep => "too_deep",
            Self::Repeated { .. } => "repeated_field",
            Self::WrongType { .. } => "wrong_type",
        }
    }
}

/// Containers that may be open at once; `serde_json` refuses the 128th.
const MAX_DEPTH: u32 = 127;

#[cfg(test)]
mod tests;
