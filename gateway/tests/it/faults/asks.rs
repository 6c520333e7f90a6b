//! The same question in each dialect, and what can be read of the answers.

use super::seen::{Mode, Words};
use crate::harness::message;
use serde_json::{Value, json};
use shared::model::ProviderType;
use shared::protocol::Dialect;

pub fn provider_type(dialect: Dialect) -> ProviderType {
    match dialect {
        Dialect::Anthropic => ProviderType::Claude,
        Dialect::OpenaiChat => ProviderType::OpenaiCompatible,
        Dialect::OpenaiResponses => ProviderType::Codex,
        Dialect::Gemini => ProviderType::Gemini,
    }
}

pub fn model(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Anthropic => "claude-sonnet-4-5",
        Dialect::OpenaiChat | Dialect::OpenaiResponses => "gpt-5",
        Dialect::Gemini => "gemini-3",
    }
}

/// Path and body. The chat stream asks for its usage, so that nothing is put in and withheld on its behalf.
pub fn ask(dialect: Dialect, mode: Mode) -> (String, String) {
    let (model, is_stream) = (model(dialect), mode == Mode::Stream);
    let chat = [json!({"role": "user", "content": "Say hello."})];
    match dialect {
        Dialect::Anthropic => ("/v1/messages".into(), message(is_stream)),
        Dialect::OpenaiChat => {
            let mut body = json!({"model": model, "stream": is_stream, "messages": chat});
            if is_stream {
                body["stream_options"] = json!({"include_usage": true});
            }
            ("/v1/chat/completions".into(), body.to_string())
        }
        Dialect::OpenaiResponses => {
            let body = json!({"model": model, "stream": is_stream, "input": "Say hello."});
            ("/v1/responses".into(), body.to_string())
        }
        Dialect::Gemini => {
            let verb = if is_stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
            let body = json!({"contents": [{"role": "user", "parts": [{"text": "Say hello."}]}]});
            (format!("/v1beta/models/{model}:{verb}"), body.to_string())
        }
    }
}

/// The error that a document holds, in this dialect's shape; `None` when it holds none.
pub fn words(dialect: Dialect, document: &Value) -> Option<Words> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let error = match dialect {
        Dialect::OpenaiResponses if document["type"] == "response.failed" => &document["response"]["error"],
        _ => &document["error"],
    };
    let message = text(&error["message"])?;
    let (kind, code) = match dialect {
        Dialect::Anthropic if document["type"] == "error" => (text(&error["type"])?, None),
        Dialect::Anthropic => return None,
        Dialect::OpenaiResponses if document["type"] == "response.failed" => {
            ("response.failed".to_owned(), text(&error["code"]))
        }
        Dialect::OpenaiChat | Dialect::OpenaiResponses => (text(&error["type"])?, text(&error["code"])),
        Dialect::Gemini => (text(&error["status"])?, text(&error["details"][0]["reason"])),
    };
    Some(Words { kind, code, message })
}

/// The last event of a stream, when it is an error in this dialect and the stream ends with it.
pub fn last_error(dialect: Dialect, tail: &str) -> Option<Words> {
    let event = tail.strip_suffix("\n\n")?;
    let (before, data) = event.rsplit_once("data: ")?;
    let name = match dialect {
        Dialect::Anthropic => "event: error\n",
        Dialect::OpenaiResponses => "event: response.failed\n",
        Dialect::OpenaiChat | Dialect::Gemini => "",
    };
    let document = serde_json::from_str(data).ok()?;
    before.ends_with(name).then(|| words(dialect, &document)).flatten()
}
