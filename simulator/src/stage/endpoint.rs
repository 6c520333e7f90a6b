//! Which vendor's endpoint a request is for, by its method and path alone (and, for the `GET /v1/models` that
//! three vendors have, by Anthropic's version header or Google's credential).
//!
//! Gemini is served under `/v1beta/` and `/v1/`: Google's SDK uses the second since its version 3.
//!
//! A path may have anything before `/v1/` or `/v1beta/`, so that joined base URLs can be tried.

use http::{HeaderMap, Method};
use serde::Serialize;

/// Whose API is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// Anthropic Messages.
    Anthropic,
    /// OpenAI chat completions and the other stateless endpoints.
    OpenaiChat,
    /// OpenAI Responses.
    OpenaiResponses,
    /// Gemini.
    Gemini,
}

/// Which endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// `POST /v1/messages`
    AnthropicMessages,
    /// `POST /v1/messages/count_tokens`
    AnthropicCountTokens,
    /// `GET /v1/models`, `/v1/models/{id}` with `anthropic-version`
    AnthropicModels,
    /// `POST /v1/chat/completions`
    OpenaiChat,
    /// `POST /v1/completions`
    OpenaiCompletions,
    /// `POST /v1/embeddings`
    OpenaiEmbeddings,
    /// `GET /v1/models`, `/v1/models/{id}`
    OpenaiModels,
    /// `POST /v1/responses`
    OpenaiResponses,
    /// `POST /v1/responses/compact`
    OpenaiCompact,
    /// `POST /v1/responses/input_tokens`
    OpenaiInputTokens,
    /// `POST /v1beta/models/{m}:generateContent` (here and below also under `/v1/`)
    GeminiGenerate,
    /// `POST /v1beta/models/{m}:streamGenerateContent?alt=sse`
    GeminiStream,
    /// `POST /v1beta/models/{m}:streamGenerateContent`
    GeminiStreamArray,
    /// `POST /v1beta/models/{m}:countTokens`
    GeminiCountTokens,
    /// `POST /v1beta/models/{m}:embedContent`
    GeminiEmbed,
    /// `POST /v1beta/models/{m}:batchEmbedContents`
    GeminiBatchEmbed,
    /// `GET /v1beta/models`, `/v1beta/models/{m}`
    GeminiModels,
    /// Anything else.
    Unknown,
}

impl Endpoint {
    /// Whose endpoint it is.
    #[must_use]
    pub fn dialect(self) -> Option<Dialect> {
        match self {
            Self::AnthropicMessages | Self::AnthropicCountTokens | Self::AnthropicModels => {
                Some(Dialect::Anthropic)
            }
            Self::OpenaiChat | Self::OpenaiCompletions | Self::OpenaiEmbeddings | Self::OpenaiModels => {
                Some(Dialect::OpenaiChat)
            }
            Self::OpenaiResponses | Self::OpenaiCompact | Self::OpenaiInputTokens => {
                Some(Dialect::OpenaiResponses)
            }
            Self::GeminiGenerate
            | Self::GeminiStream
            | Self::GeminiStreamArray
            | Self::GeminiCountTokens
            | Self::GeminiEmbed
            | Self::GeminiBatchEmbed
            | Self::GeminiModels => Some(Dialect::Gemini),
            Self::Unknown => None,
        }
    }

    /// True where the vendor bills a generation.
    #[must_use]
    pub fn is_generation(self) -> bool {
        match self {
            Self::AnthropicMessages
            | Self::OpenaiChat
            | Self::OpenaiCompletions
            | Self::OpenaiEmbeddings
            | Self::OpenaiResponses
            | Self::OpenaiCompact
            | Self::GeminiGenerate
            | Self::GeminiStream
            | Self::GeminiStreamArray => true,
            Self::AnthropicCountTokens
            | Self::AnthropicModels
            | Self::OpenaiModels
            | Self::OpenaiInputTokens
            | Self::GeminiCountTokens
            | Self::GeminiEmbed
            | Self::GeminiBatchEmbed
            | Self::GeminiModels
            | Self::Unknown => false,
        }
    }

    /// True where the request is a JSON body.
    pub(crate) fn has_body(self) -> bool {
        !matches!(self, Self::AnthropicModels | Self::OpenaiModels | Self::GeminiModels | Self::Unknown)
    }
}

/// What the request line names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) endpoint: Endpoint,
    /// The model, where the path has it.
    pub(crate) model: Option<String>,
}

impl Target {
    pub(crate) fn read(method: &Method, path: &str, query: Option<&str>, headers: &HeaderMap) -> Self {
        let query = query.unwrap_or_default();
        let found = match (tail(path, "/v1beta/"), tail(path, "/v1/")) {
            (Some(rest), _) => gemini(method, rest, query),
            (None, Some(rest)) if is_gemini(rest, query, headers) => gemini(method, rest, query),
            (None, Some(rest)) => v1(method, rest, headers),
            (None, None) => None,
        };
        found.unwrap_or(Self { endpoint: Endpoint::Unknown, model: None })
    }
}

fn tail<'a>(path: &'a str, marker: &str) -> Option<&'a str> {
    path.find(marker).map(|at| &path[at + marker.len()..])
}

/// Under `/v1/`: a model with a verb, or anything about models with Google's credential.
fn is_gemini(rest: &str, query: &str, headers: &HeaderMap) -> bool {
    let has_credential =
        || headers.contains_key("x-goog-api-key") || query.split('&').any(|pair| pair.starts_with("key="));
    rest.starts_with("models") && (rest.contains(':') || has_credential())
}

fn v1(method: &Method, rest: &str, headers: &HeaderMap) -> Option<Target> {
    let get_model = rest.strip_prefix("models").filter(|_| method == Method::GET);
    if let Some(model) = get_model.filter(|model| model.is_empty() || model.starts_with('/')) {
        let is_anthropic = headers.contains_key("anthropic-version");
        let endpoint = if is_anthropic { Endpoint::AnthropicModels } else { Endpoint::OpenaiModels };
        return Some(Target { endpoint, model: model.strip_prefix('/').map(str::to_owned) });
    }
    let endpoint = match rest {
        "messages" => Endpoint::AnthropicMessages,
        "messages/count_tokens" => Endpoint::AnthropicCountTokens,
        "chat/completions" => Endpoint::OpenaiChat,
        "completions" => Endpoint::OpenaiCompletions,
        "embeddings" => Endpoint::OpenaiEmbeddings,
        "responses" => Endpoint::OpenaiResponses,
        "responses/compact" => Endpoint::OpenaiCompact,
        "responses/input_tokens" => Endpoint::OpenaiInputTokens,
        _ => return None,
    };
    (method == Method::POST).then_some(Target { endpoint, model: None })
}

fn gemini(method: &Method, rest: &str, query: &str) -> Option<Target> {
    let models = rest.strip_prefix("models")?;
    if method == Method::GET {
        let model = models.strip_prefix('/').map(str::to_owned);
        return Some(Target { endpoint: Endpoint::GeminiModels, model });
    }
    let (model, verb) = models.strip_prefix('/')?.split_once(':')?;
    let endpoint = match verb {
        "generateContent" => Endpoint::GeminiGenerate,
        "streamGenerateContent" if query.split('&').any(|pair| pair == "alt=sse") => Endpoint::GeminiStream,
        "streamGenerateContent" => Endpoint::GeminiStreamArray,
        "countTokens" => Endpoint::GeminiCountTokens,
        "embedContent" => Endpoint::GeminiEmbed,
        "batchEmbedContents" => Endpoint::GeminiBatchEmbed,
        _ => return None,
    };
    (method == Method::POST).then(|| Target { endpoint, model: Some(model.to_owned()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: Method, target: &str) -> Target {
        let (path, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
        Target::read(&method, path, query, &HeaderMap::new())
    }

    #[test]
    fn the_path_names_the_endpoint_and_gemini_s_the_model() {
        assert_eq!(read(Method::POST, "/v1/messages?beta=true").endpoint, Endpoint::AnthropicMessages);
        assert_eq!(read(Method::POST, "/any/where/v1/responses").endpoint, Endpoint::OpenaiResponses);
        let stream = read(Method::POST, "/v1beta/models/gemini-x:streamGenerateContent?key=k&alt=sse");
        assert_eq!(stream, Target { endpoint: Endpoint::GeminiStream, model: Some("gemini-x".into()) });
        let array = read(Method::POST, "/v1beta/models/gemini-x:streamGenerateContent");
        assert_eq!(array.endpoint, Endpoint::GeminiStreamArray);
        let v1 = read(Method::POST, "/v1/models/gemini-x:generateContent");
        assert_eq!(v1.endpoint, Endpoint::GeminiGenerate);
        assert_eq!(read(Method::GET, "/v1/models/gpt-x").model.as_deref(), Some("gpt-x"));
        assert_eq!(read(Method::GET, "/v1/messages").endpoint, Endpoint::Unknown);
        assert_eq!(read(Method::POST, "/v1/messages/batches").endpoint, Endpoint::Unknown);
    }

    #[test]
    fn the_models_list_is_of_the_vendor_whose_header_or_key_comes_with_it() {
        let headers = HeaderMap::from_iter([(
            http::HeaderName::from_static("anthropic-version"),
            http::HeaderValue::from_static("2023-06-01"),
        )]);
        let target = Target::read(&Method::GET, "/v1/models", None, &headers);
        assert_eq!(target.endpoint, Endpoint::AnthropicModels);
        assert_eq!(read(Method::GET, "/v1/models?key=k").endpoint, Endpoint::GeminiModels);
        assert_eq!(read(Method::GET, "/v1/models").endpoint, Endpoint::OpenaiModels);
    }
}
