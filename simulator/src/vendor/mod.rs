//! What the vendors' APIs say, as bytes: pure functions of the request and the script.
//!
//! Every dialect has the same rooms: a whole answer, the stream of the same answer, the smaller endpoints, its
//! ping. Nothing here waits, sends or fails.

mod anthropic;
mod content;
mod error;
mod gemini;
mod openai_chat;
mod openai_responses;
mod tape;

pub(crate) use error::{Case, status_in_stream};
pub(crate) use tape::{Event, ID_LEN, Kind, Tape, Template};

use crate::script::Script;
use crate::stage::{Asked, Dialect, Endpoint};
use crate::usage::Usage;
use content::Content;
use gemini::Framing;
use tape::TapeWriter;

/// How an answer is told, apart from its content.
#[derive(Clone, Debug)]
struct Telling {
    model: String,
    /// Absent when the answer keeps silent about it.
    usage: Option<Usage>,
    /// Usage only in the last event that can carry it.
    only_last: bool,
    /// OpenAI chat: a usage chunk was asked for.
    include_usage: bool,
    service_tier: Option<String>,
    stop_reason: Option<String>,
    /// Filler bytes beside the text.
    padding: usize,
}

/// The ordinary answer.
pub(crate) fn template(asked: &Asked, script: &Script) -> Template {
    render(asked, script, 0)
}

/// The ordinary answer with as much text as makes it exactly so long; absent when it cannot be that short.
pub(crate) fn template_of_len(asked: &Asked, script: &Script, len: usize) -> Option<Template> {
    if !asked.endpoint.is_generation() {
        return None;
    }
    let sized = |bytes| Script { text: None, text_bytes: Some(bytes), ..script.clone() };
    let bare = render(asked, &sized(0), 0).len();
    // How often the text stands in the answer: once, but five times in a Responses stream.
    let times = (render(asked, &sized(PROBE), 0).len() - bare) / PROBE;
    let room = len.checked_sub(bare).filter(|_| times > 0)?;
    Some(render(asked, &sized(room / times), room % times)).filter(|template| template.len() == len)
}

/// The tokens of the ordinary answer, as this dialect can tell them. Absent where nothing is generated.
pub(crate) fn usage(endpoint: Endpoint, script: &Script) -> Option<Usage> {
    let tokens = script.tokens();
    let written = tokens.cache_write_5m + tokens.cache_write_1h;
    let told = match endpoint.dialect()? {
        Dialect::Anthropic => tokens,
        Dialect::OpenaiChat | Dialect::OpenaiResponses => {
            Usage { cache_write_5m: written, cache_write_1h: 0, web_search_requests: 0, ..tokens }
        }
        Dialect::Gemini => Usage { cache_write_5m: 0, cache_write_1h: 0, web_search_requests: 0, ..tokens },
    };
    let told = match endpoint {
        Endpoint::OpenaiEmbeddings => Usage { input: told.total_input(), ..Usage::default() },
        _ => told,
    };
    endpoint.is_generation().then_some(told)
}

/// What this dialect's streams keep a line alive with.
pub(crate) fn ping(endpoint: Endpoint) -> &'static str {
    match endpoint.dialect() {
        Some(Dialect::Anthropic) => anthropic::PING,
        Some(Dialect::OpenaiChat | Dialect::OpenaiResponses) | None => openai_chat::PING,
        Some(Dialect::Gemini) => gemini::PING,
    }
}

/// The name and value of the header that carries our id.
pub(crate) fn id_header(endpoint: Endpoint, id: &str) -> (&'static str, String) {
    match endpoint.dialect() {
        Some(Dialect::Anthropic) => ("request-id", format!("req_{id}")),
        Some(Dialect::OpenaiChat | Dialect::OpenaiResponses | Dialect::Gemini) | None => {
            ("x-request-id", format!("req_{id}"))
        }
    }
}

/// What a success's headers say besides.
pub(crate) fn headers(endpoint: Endpoint) -> Vec<(&'static str, String)> {
    match endpoint.dialect() {
        Some(Dialect::Anthropic) => error::anthropic_window_headers().into(),
        Some(Dialect::OpenaiChat | Dialect::OpenaiResponses) => vec![
            ("openai-version", "2020-10-01".to_owned()),
            ("openai-processing-ms", "7".to_owned()),
            ("x-ratelimit-remaining-tokens", "29000".to_owned()),
        ],
        Some(Dialect::Gemini) | None => Vec::new(),
    }
}

/// The media type of a stream.
pub(crate) fn stream_type(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::GeminiStreamArray => "application/json; charset=UTF-8",
        Endpoint::GeminiStream => "text/event-stream",
        _ => "text/event-stream; charset=utf-8",
    }
}

fn render(asked: &Asked, script: &Script, padding: usize) -> Template {
    let content = Content::compose(asked, script);
    let telling = Telling {
        model: script.model.clone().unwrap_or_else(|| asked.model.clone()),
        usage: usage(asked.endpoint, script).filter(|_| !script.no_usage),
        only_last: script.usage_only_in_last_event,
        include_usage: asked.include_usage,
        service_tier: script.service_tier.clone(),
        stop_reason: script.stop_reason.clone(),
        padding,
    };
    let tokens = script.tokens();
    match (asked.endpoint, asked.is_stream) {
        (Endpoint::AnthropicMessages, true) => anthropic::stream(&content, &telling),
        (Endpoint::AnthropicMessages, false) => anthropic::message(&content, &telling),
        (Endpoint::AnthropicCountTokens, _) => plain(&anthropic::count_tokens(&tokens)),
        (Endpoint::AnthropicModels, _) => plain(&listed(asked, anthropic::models, anthropic::model)),
        (Endpoint::OpenaiChat, true) => openai_chat::stream(&content, &telling),
        (Endpoint::OpenaiChat, false) => openai_chat::completion(&content, &telling),
        (Endpoint::OpenaiCompletions, true) => openai_chat::legacy_stream(&content, &telling),
        (Endpoint::OpenaiCompletions, false) => openai_chat::legacy(&content, &telling),
        (Endpoint::OpenaiEmbeddings, _) => openai_chat::embeddings(&telling, asked.inputs, asked.is_base64),
        (Endpoint::OpenaiModels, _) => plain(&listed(asked, openai_chat::models, openai_chat::model)),
        (Endpoint::OpenaiResponses, true) => openai_responses::stream(&content, &telling),
        (Endpoint::OpenaiResponses, false) => openai_responses::response(&content, &telling),
        (Endpoint::OpenaiCompact, _) => openai_responses::compact(&telling),
        (Endpoint::OpenaiInputTokens, _) => plain(&openai_responses::input_tokens(&tokens)),
        (Endpoint::GeminiGenerate, _) => gemini::generate(&content, &telling),
        (Endpoint::GeminiStream, _) => gemini::stream(&content, &telling, Framing::Sse),
        (Endpoint::GeminiStreamArray, _) => gemini::stream(&content, &telling, Framing::Array),
        (Endpoint::GeminiCountTokens, _) => plain(&gemini::count_tokens(&tokens)),
        (Endpoint::GeminiEmbed, _) => plain(&gemini::embedding()),
        (Endpoint::GeminiBatchEmbed, _) => plain(&gemini::embeddings(asked.inputs)),
        (Endpoint::GeminiModels, _) => plain(&listed(asked, gemini::models, gemini::model)),
        (Endpoint::Unknown, _) => plain("{}"),
    }
}

fn plain(body: &str) -> Template {
    let mut tape = TapeWriter::default();
    tape.event(Kind::Content, body);
    tape.finish()
}

fn listed(asked: &Asked, all: fn() -> String, one: fn(&str) -> String) -> String {
    if asked.model.is_empty() { all() } else { one(&asked.model) }
}

/// The year 2026 began; a fixed time, so that answers do not differ.
const CREATED: &str = "1767225600";
/// Long enough to count in, whatever the ids and numbers are.
const PROBE: usize = 1000;

#[cfg(test)]
mod tests;
