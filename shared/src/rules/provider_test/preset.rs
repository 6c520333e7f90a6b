//! What is asked: a short question for each type of provider, as its own client would send it.

use super::EXPECTED;
use crate::model::ProviderType;
use crate::model::rules::{Redirect, redirected};
use crate::protocol::Dialect;
use crate::protocol::detect::Family;
use crate::rules::upstream::{BodyForm, Reach, UpstreamTarget, join_url};
use http::header::{HeaderName, HeaderValue};
use serde_json::{Value, json};

/// A way to ask.
#[derive(Debug)]
pub struct Preset {
    /// Its name in the API.
    pub id: &'static str,
    /// What it is, for people.
    pub title: &'static str,
    /// The types of providers that it suits.
    pub types: &'static [ProviderType],
    /// Asked for unless told otherwise.
    pub model: &'static str,
    /// The call.
    pub family: Family,
    query: Option<&'static str>,
    headers: &'static [(&'static str, &'static str)],
    body: fn(&str) -> Value,
}

/// A request to a provider.
#[derive(Debug)]
pub struct TestRequest {
    /// Where it goes.
    pub target: UpstreamTarget,
    /// All headers but `host` and `content-length`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: Vec<u8>,
    /// The model that the provider is asked for, after redirects.
    pub upstream_model: String,
}

impl Preset {
    /// All presets; of each type the usual one first.
    pub const ALL: &'static [Self] = &[
        Self {
            id: "claude_code",
            title: "Claude Code, streaming",
            types: CLAUDE,
            model: "claude-haiku-4-5-20251001",
            family: Family::AnthropicMessages,
            query: Some("beta=true"),
            headers: &[
                ("user-agent", "claude-cli/2.1.0 (external, cli)"),
                ("x-app", "cli"),
                ("anthropic-version", "2023-06-01"),
                ("anthropic-beta", "claude-code-20250219,interleaved-thinking-2025-05-14"),
                ("anthropic-dangerous-direct-browser-access", "true"),
                ("x-stainless-lang", "js"),
                ("x-stainless-runtime", "node"),
            ],
            body: claude_code,
        },
        Self {
            id: "claude_plain",
            title: "Messages API, not streaming",
            types: CLAUDE,
            model: "claude-haiku-4-5-20251001",
            family: Family::AnthropicMessages,
            query: None,
            headers: &[("anthropic-version", "2023-06-01")],
            body: |model| json!({ "model": model, "max_tokens": MAX_TOKENS, "messages": messages() }),
        },
        Self {
            id: "codex_cli",
            title: "Codex CLI, streaming",
            types: &[ProviderType::Codex],
            model: "gpt-5",
            family: Family::OpenaiResponses,
            query: None,
            headers: &[
                ("user-agent", "codex_cli_rs/0.50.0 (Linux; x86_64)"),
                ("originator", "codex_cli_rs"),
                ("openai-beta", "responses=experimental"),
                ("accept", "text/event-stream"),
            ],
            body: |model| {
                let content = json!([{ "type": "input_text", "text": question() }]);
                json!({
                    "model": model,
                    "instructions": "You answer in one word.",
                    "input": [{ "type": "message", "role": "user", "content": content }],
                    "stream": true,
                    "store": false,
                })
            },
        },
        Self {
            id: "responses_plain",
            title: "Responses API, not streaming",
            types: &[ProviderType::Codex],
            model: "gpt-5",
            family: Family::OpenaiResponses,
            query: None,
            headers: &[],
            body: |model| json!({ "model": model, "input": question(), "store": false }),
        },
        Self {
            id: "chat_plain",
            title: "Chat completions, not streaming",
            types: &[ProviderType::OpenaiCompatible],
            model: "gpt-4.1-mini",
            family: Family::OpenaiChat,
            query: None,
            headers: &[],
            // No `max_tokens`: newer models refuse it, and older servers do not know its successor.
            body: |model| json!({ "model": model, "messages": messages() }),
        },
        Self {
            id: "chat_stream",
            title: "Chat completions, streaming",
            types: &[ProviderType::OpenaiCompatible],
            model: "gpt-4.1-mini",
            family: Family::OpenaiChat,
            query: None,
            headers: &[],
            body: |model| {
                let options = json!({ "include_usage": true });
                json!({ "model": model, "messages": messages(), "stream": true, "stream_options": options })
            },
        },
        Self {
            id: "gemini_plain",
            title: "generateContent",
            types: &[ProviderType::Gemini],
            model: "gemini-2.5-flash",
            family: Family::GeminiGenerate,
            query: None,
            headers: GEMINI_CLI,
            body: |_| gemini(),
        },
        Self {
            id: "gemini_stream",
            title: "streamGenerateContent",
            types: &[ProviderType::Gemini],
            model: "gemini-2.5-flash",
            family: Family::GeminiStreamGenerate,
            query: Some("alt=sse"),
            headers: GEMINI_CLI,
            body: |_| gemini(),
        },
    ];

    /// The usual one of a type.
    #[must_use]
    pub fn usual(provider_type: ProviderType) -> Option<&'static Self> {
        Self::ALL.iter().find(|preset| preset.types.contains(&provider_type))
    }

    /// The one of this name.
    #[must_use]
    pub fn named(id: &str) -> Option<&'static Self> {
        Self::ALL.iter().find(|preset| preset.id == id)
    }

    /// The streaming one of a type: of a stream one can have enough.
    #[must_use]
    pub fn streaming(provider_type: ProviderType) -> Option<&'static Self> {
        let mut all = Self::ALL.iter().filter(|preset| preset.types.contains(&provider_type));
        all.find(|preset| preset.is_stream())
    }

    fn is_stream(&self) -> bool {
        self.family == Family::GeminiStreamGenerate || (self.body)("")["stream"] == true
    }

    /// The request to a provider, for `model` before its redirects.
    #[must_use]
    pub fn request(&self, reach: &Reach, redirects: &[Redirect], model: &str) -> TestRequest {
        self.with_body(reach, redirects, model, self.body)
    }

    /// The same with the shortest answer that the API can be asked for.
    #[must_use]
    pub fn smallest(&self, reach: &Reach, redirects: &[Redirect], model: &str) -> TestRequest {
        self.with_body(reach, redirects, model, |model| {
            let mut body = (self.body)(model);
            match self.family.dialect() {
                Dialect::Anthropic => body["max_tokens"] = json!(1),
                Dialect::Gemini => body["generationConfig"] = json!({ "maxOutputTokens": 1 }),
                // Newer models refuse `max_tokens`, older servers its successor, and Codex' own server
                // `max_output_tokens`. Who has enough of the stream hangs up.
                Dialect::OpenaiChat | Dialect::OpenaiResponses => {}
            }
            body
        })
    }

    fn with_body(
        &self,
        reach: &Reach,
        redirects: &[Redirect],
        model: &str,
        body: impl Fn(&str) -> Value,
    ) -> TestRequest {
        let upstream_model = redirected(redirects, model).unwrap_or(model).to_owned();
        let target = join_url(&reach.base, &self.path(&upstream_model), self.query);
        let body = body(&upstream_model).to_string().into_bytes();
        TestRequest { target, headers: headers(reach, self.headers), body, upstream_model }
    }

    fn path(&self, model: &str) -> String {
        match self.family {
            Family::AnthropicMessages => "/v1/messages".to_owned(),
            Family::OpenaiResponses => "/v1/responses".to_owned(),
            Family::OpenaiChat => "/v1/chat/completions".to_owned(),
            Family::GeminiStreamGenerate => {
                format!("/v1beta/models/{}:streamGenerateContent", segment(model))
            }
            // No preset asks for anything else.
            _ => format!("/v1beta/models/{}:generateContent", segment(model)),
        }
    }
}

/// What a request carries: what its client would say, and what the provider's own headers make of it.
fn headers(reach: &Reach, said: &[(&'static str, &'static str)]) -> Vec<(HeaderName, HeaderValue)> {
    let said: Vec<_> = said
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect();
    reach.headers.request(said.iter().map(|(name, value)| (name, value)), BodyForm::AsSent)
}

/// A request for the list of models that a provider has.
#[must_use]
pub fn list_models(reach: &Reach, provider_type: ProviderType) -> TestRequest {
    let (path, query, said): (_, _, &[_]) = match provider_type {
        ProviderType::Claude | ProviderType::ClaudeAuth => {
            ("/v1/models", Some("limit=1000"), &[("anthropic-version", "2023-06-01")])
        }
        ProviderType::Codex | ProviderType::OpenaiCompatible => ("/v1/models", None, &[]),
        ProviderType::Gemini => ("/v1beta/models", Some("pageSize=1000"), &[]),
    };
    TestRequest {
        target: join_url(&reach.base, path, query),
        headers: headers(reach, said),
        body: Vec::new(),
        upstream_model: String::new(),
    }
}

/// One segment of a path; the ways in which vendors write models (`models/x`, `tuned:x`) stay readable.
fn segment(model: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~@".contains(&byte);
    model
        .bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn question() -> String {
    format!("Reply with exactly one word and nothing else: {EXPECTED}")
}

fn messages() -> Value {
    json!([{ "role": "user", "content": question() }])
}

fn claude_code(model: &str) -> Value {
    let zeros = "0".repeat(64);
    json!({
        "model": model,
        "max_tokens": MAX_TOKENS,
        "stream": true,
        "system": [{ "type": "text", "text": "You are Claude Code, Anthropic's official CLI for Claude." }],
        "messages": [{ "role": "user", "content": [{ "type": "text", "text": question() }] }],
        "metadata": {
            "user_id": format!("user_{zeros}_account__session_00000000-0000-4000-8000-000000000000"),
        },
    })
}

fn gemini() -> Value {
    json!({ "contents": [{ "role": "user", "parts": [{ "text": question() }] }] })
}

const CLAUDE: &[ProviderType] = &[ProviderType::Claude, ProviderType::ClaudeAuth];
const GEMINI_CLI: &[(&str, &str)] = &[("user-agent", "GeminiCLI/0.8.0 (linux; x64)")];
const MAX_TOKENS: u32 = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Provider;
    use crate::testing::{hub_key, provider};

    fn reach(provider_type: ProviderType, url: &str) -> Reach {
        let provider = Provider { provider_type, url: url.to_owned(), ..provider(1) };
        Reach::of(&provider, &hub_key()).unwrap()
    }

    #[test]
    fn each_type_has_a_usual_preset_and_each_preset_its_own_name() {
        for provider_type in ProviderType::ALL {
            let usual = Preset::usual(provider_type).unwrap();
            assert_eq!(usual.family.dialect(), provider_type.dialect());
        }
        for preset in Preset::ALL {
            assert_eq!(Preset::named(preset.id).unwrap().title, preset.title);
            assert!(preset.types.iter().all(|t| t.dialect() == preset.family.dialect()), "{}", preset.id);
        }
        assert!(Preset::named("other").is_none());
    }

    #[test]
    fn a_request_goes_where_those_of_seats_go_and_asks_for_the_redirected_model() {
        let rule = serde_json::json!({ "match_type": "exact", "source": "m", "target": "a/b c" });
        let redirects = [serde_json::from_value(rule).unwrap()];
        for (id, url, wanted) in [
            ("claude_code", "https://x/relay", "/relay/v1/messages?beta=true"),
            ("codex_cli", "https://x/v2", "/v2/responses"),
            ("chat_plain", "https://x/v1/chat/completions", "/v1/chat/completions"),
            ("gemini_stream", "https://x/v1beta", "/v1beta/models/a%2Fb%20c:streamGenerateContent?alt=sse"),
        ] {
            let preset = Preset::named(id).unwrap();
            let request = preset.request(&reach(preset.types[0], url), &redirects, "m");
            assert_eq!(request.target.path_and_query, wanted);
            assert_eq!(request.upstream_model, "a/b c");
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            assert!(id == "gemini_stream" || body["model"] == "a/b c", "{body}");
            assert!(String::from_utf8(request.body).unwrap().contains(EXPECTED));
            let has = |name: &str| request.headers.iter().any(|(known, _)| known == name);
            assert!(has("authorization") || has("x-goog-api-key"));
            assert!(has("content-type"));
        }
    }

    #[test]
    fn the_smallest_call_of_each_type_is_a_stream_and_asks_for_one_token_where_that_can_be_said() {
        for (provider_type, pointer) in [
            (ProviderType::Claude, Some("/max_tokens")),
            (ProviderType::ClaudeAuth, Some("/max_tokens")),
            (ProviderType::Codex, None),
            (ProviderType::OpenaiCompatible, None),
            (ProviderType::Gemini, Some("/generationConfig/maxOutputTokens")),
        ] {
            let preset = Preset::streaming(provider_type).unwrap();
            let request = preset.smallest(&reach(provider_type, "https://x"), &[], "m");
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            assert!(body["stream"] == true || request.target.path_and_query.contains("alt=sse"), "{body}");
            if let Some(pointer) = pointer {
                assert_eq!(body.pointer(pointer), Some(&json!(1)), "{body}");
            }
        }
        assert_eq!(ProviderType::ALL.len(), 5);
    }

    #[test]
    fn models_are_listed_where_the_base_says() {
        for (provider_type, url, wanted) in [
            (ProviderType::Claude, "https://x", "/v1/models?limit=1000"),
            (ProviderType::OpenaiCompatible, "https://x/api/v3", "/api/v3/models"),
            (ProviderType::Gemini, "https://x/v1beta", "/v1beta/models?pageSize=1000"),
        ] {
            assert_eq!(list_models(&reach(provider_type, url), provider_type).target.path_and_query, wanted);
        }
    }
}
