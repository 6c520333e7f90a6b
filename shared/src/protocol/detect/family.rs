//! What differs between the calls of an API: is it paid for, does it count, can it stream.

use crate::protocol::Dialect;

/// A kind of API call. Everything that differs between calls of one dialect hangs on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// `POST /v1/messages`.
    AnthropicMessages,
    /// `POST /v1/messages/count_tokens`.
    AnthropicCountTokens,
    /// `POST /v1/responses`.
    OpenaiResponses,
    /// `POST /v1/responses/compact`.
    OpenaiResponsesCompact,
    /// `POST /v1/chat/completions`.
    OpenaiChat,
    /// `POST /v1/completions`.
    OpenaiCompletions,
    /// `POST /v1/embeddings`.
    OpenaiEmbeddings,
    /// `POST …/models/{m}:generateContent`.
    GeminiGenerate,
    /// `POST …/models/{m}:streamGenerateContent`.
    GeminiStreamGenerate,
    /// `POST …/models/{m}:countTokens`.
    GeminiCountTokens,
    /// `POST …/models/{m}:embedContent` and `:batchEmbedContents`.
    GeminiEmbed,
}

impl Family {
    /// All families.
    pub const ALL: [Self; 11] = [
        Self::AnthropicMessages,
        Self::AnthropicCountTokens,
        Self::OpenaiResponses,
        Self::OpenaiResponsesCompact,
        Self::OpenaiChat,
        Self::OpenaiCompletions,
        Self::OpenaiEmbeddings,
        Self::GeminiGenerate,
        Self::GeminiStreamGenerate,
        Self::GeminiCountTokens,
        Self::GeminiEmbed,
    ];

    /// The name used in logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AnthropicMessages => "anthropic_messages",
            Self::AnthropicCountTokens => "anthropic_count_tokens",
            Self::OpenaiResponses => "openai_responses",
            Self::OpenaiResponsesCompact => "openai_responses_compact",
            Self::OpenaiChat => "openai_chat",
            Self::OpenaiCompletions => "openai_completions",
            Self::OpenaiEmbeddings => "openai_embeddings",
            Self::GeminiGenerate => "gemini_generate",
            Self::GeminiStreamGenerate => "gemini_stream_generate",
            Self::GeminiCountTokens => "gemini_count_tokens",
            Self::GeminiEmbed => "gemini_embed",
        }
    }

    /// The dialect of its answers and of the providers that can serve it.
    #[must_use]
    pub fn dialect(self) -> Dialect {
        match self {
            Self::AnthropicMessages | Self::AnthropicCountTokens => Dialect::Anthropic,
            Self::OpenaiResponses | Self::OpenaiResponsesCompact => Dialect::OpenaiResponses,
            Self::OpenaiChat | Self::OpenaiCompletions | Self::OpenaiEmbeddings => Dialect::OpenaiChat,
            Self::GeminiGenerate
            | Self::GeminiStreamGenerate
            | Self::GeminiCountTokens
            | Self::GeminiEmbed => Dialect::Gemini,
        }
    }

    /// Its tokens cost money: they are held, settled and written to the ledger.
    ///
    /// Design §4's "execution only" is read as *what runs a model*: `responses/compact` runs one over the
    /// whole conversation, the upstream charges for it and says its usage, so it is billed; the stored
    /// resources beside it are not. Gemini's "generation" leaves out counting and embedding.
    #[must_use]
    pub fn is_billed(self) -> bool {
        match self {
            Self::AnthropicMessages
            | Self::OpenaiResponses
            | Self::OpenaiResponsesCompact
            | Self::OpenaiChat
            | Self::OpenaiCompletions
            | Self::OpenaiEmbeddings
            | Self::GeminiGenerate
            | Self::GeminiStreamGenerate => true,
            Self::AnthropicCountTokens | Self::GeminiCountTokens | Self::GeminiEmbed => false,
        }
    }

    /// It uses up requests per minute: all but counting, which clients do freely between turns.
    #[must_use]
    pub fn counts_towards_rpm(self) -> bool {
        match self {
            Self::AnthropicMessages
            | Self::OpenaiResponses
            | Self::OpenaiResponsesCompact
            | Self::OpenaiChat
            | Self::OpenaiCompletions
            | Self::OpenaiEmbeddings
            | Self::GeminiGenerate
            | Self::GeminiStreamGenerate
            | Self::GeminiEmbed => true,
            Self::AnthropicCountTokens | Self::GeminiCountTokens => false,
        }
    }

    /// Its streams say their usage only when asked by `stream_options.include_usage`.
    #[must_use]
    pub fn asks_for_usage(self) -> bool {
        matches!(self, Self::OpenaiChat | Self::OpenaiCompletions)
    }

    /// Its answer can be a stream.
    #[must_use]
    pub fn may_stream(self) -> bool {
        match self {
            Self::AnthropicMessages
            | Self::OpenaiResponses
            | Self::OpenaiChat
            | Self::OpenaiCompletions
            | Self::GeminiStreamGenerate => true,
            Self::AnthropicCountTokens
            | Self::OpenaiResponsesCompact
            | Self::OpenaiEmbeddings
            | Self::GeminiGenerate
            | Self::GeminiCountTokens
            | Self::GeminiEmbed => false,
        }
    }

    /// This request asks for a stream: by its path (Gemini) or by its body's `stream`.
    #[must_use]
    pub fn wants_stream(self, stream: Option<bool>) -> bool {
        self == Self::GeminiStreamGenerate || (self.may_stream() && stream == Some(true))
    }
}
