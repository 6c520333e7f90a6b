//! Gemini: generateContent, streamGenerateContent (SSE and array), countTokens, embeddings, models.

use super::Telling;
use super::content::Content;
use super::tape::{ID, Kind, TapeWriter, Template, fill, quoted};
use crate::usage::Usage;

/// How the frames of a stream are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// `alt=sse`.
    Sse,
    /// One JSON array.
    Array,
}

/// A whole answer.
pub(crate) fn generate(content: &Content, telling: &Telling) -> Template {
    let mut parts = Vec::new();
    if !content.thinking.is_empty() {
        parts.push(thought(&content.whole_thought()));
    }
    parts.push(call(content).unwrap_or_else(|| text(&content.whole_text())));
    let mut tape = TapeWriter::default();
    tape.tell(telling.usage);
    tape.event(Kind::Content, &frame(&parts.join(","), Some(&finish(telling)), telling.usage, telling));
    tape.finish()
}

/// The stream of the same answer. The usage is repeated and grows with the output.
pub(crate) fn stream(content: &Content, telling: &Telling, framing: Framing) -> Template {
    let thoughts = content.thinking.iter().map(|piece| thought(piece));
    let parts: Vec<String> = match call(content) {
        Some(call) => thoughts.chain([call]).collect(),
        None => thoughts.chain(content.text.iter().map(|piece| text(piece))).collect(),
    };
    let mut tape = TapeWriter::default();
    let count = parts.len();
    for (index, part) in parts.iter().enumerate() {
        let told = telling.usage.filter(|_| !telling.only_last).map(|usage| so_far(&usage, index + 1, count));
        tape.tell(told);
        tape.event(Kind::Content, &framed(&frame(part, None, told, telling), framing, index == 0, false));
    }
    tape.tell(telling.usage);
    let last = frame(&text(""), Some(&finish(telling)), telling.usage, telling);
    tape.event(Kind::Structure, &framed(&last, framing, count == 0, true));
    tape.finish()
}

/// The answer of countTokens.
pub(crate) fn count_tokens(usage: &Usage) -> String {
    fill(COUNT, &[("tokens", &usage.total_input().to_string())])
}

/// The answer of embedContent.
pub(crate) fn embedding() -> String {
    format!(r#"{{"embedding":{VECTOR}}}"#)
}

/// The answer of batchEmbedContents.
pub(crate) fn embeddings(count: usize) -> String {
    format!(r#"{{"embeddings":[{}]}}"#, vec![VECTOR; count].join(","))
}

/// The list of models.
pub(crate) fn models() -> String {
    let models: Vec<String> = MODELS.iter().map(|id| model(id)).collect();
    format!(r#"{{"models":[{}]}}"#, models.join(","))
}

/// One model.
pub(crate) fn model(id: &str) -> String {
    fill(MODEL, &[("name", &quoted(&format!("models/{id}"))), ("id", &quoted(id))])
}

/// Bytes that readers skip: an empty line (a comment breaks Google's SDK).
pub(crate) const PING: &str = "\r\n";

fn framed(frame: &str, framing: Framing, is_first: bool, is_last: bool) -> String {
    match framing {
        Framing::Sse => format!("data: {frame}\r\n\r\n"),
        Framing::Array => {
            let before = if is_first { "[" } else { ",\r\n" };
            let after = if is_last { "\n]\n" } else { "\n" };
            format!("{before}{frame}{after}")
        }
    }
}

fn frame(parts: &str, finish: Option<&str>, usage: Option<Usage>, telling: &Telling) -> String {
    let finish = finish.map(|reason| format!(r#","finishReason":{}"#, quoted(reason)));
    let usage = usage.map(|usage| format!(r#","usageMetadata":{}"#, usage_object(&usage)));
    fill(
        FRAME,
        &[
            ("parts", parts),
            ("finish", &finish.unwrap_or_default()),
            ("usage", &usage.unwrap_or_default()),
            ("model", &quoted(&telling.model)),
            ("id", ID),
        ],
    )
}

fn text(piece: &str) -> String {
    format!(r#"{{"text":{}}}"#, quoted(piece))
}

fn thought(piece: &str) -> String {
    format!(r#"{{"text":{},"thought":true}}"#, quoted(piece))
}

fn call(content: &Content) -> Option<String> {
    let call = content.call.as_ref()?;
    Some(fill(CALL, &[("name", &quoted(&call.name)), ("args", &call.arguments)]))
}

fn finish(telling: &Telling) -> String {
    telling.stop_reason.clone().unwrap_or_else(|| "STOP".to_owned())
}

/// The usage after `sent` of `count` parts.
fn so_far(usage: &Usage, sent: usize, count: usize) -> Usage {
    let share = |tokens: u64| tokens * sent as u64 / (count as u64 + 1);
    Usage { output: share(usage.output), reasoning: share(usage.reasoning), ..*usage }
}

fn usage_object(usage: &Usage) -> String {
    let prompt = usage.total_input();
    let candidates = usage.output - usage.reasoning.min(usage.output);
    let optional = |name: &str, tokens: u64| match tokens {
        0 => String::new(),
        tokens => format!(r#","{name}":{tokens}"#),
    };
    fill(
        USAGE,
        &[
            ("prompt", &prompt.to_string()),
            ("candidates", &candidates.to_string()),
            ("total", &(prompt + usage.output).to_string()),
            ("cached", &optional("cachedContentTokenCount", usage.cache_read)),
            ("thoughts", &optional("thoughtsTokenCount", usage.reasoning)),
        ],
    )
}

const FRAME: &str = r#"{"candidates":[{"content":{"parts":[$parts],"role":"model"}$finish,"index":0}]$usage,"modelVersion":$model,"responseId":"$id"}"#;
const CALL: &str =
    r#"{"functionCall":{"name":$name,"args":$args},"thoughtSignature":"c2ltdWxhdGVkLXRob3VnaHQ="}"#;
const USAGE: &str = r#"{"promptTokenCount":$prompt,"candidatesTokenCount":$candidates,"totalTokenCount":$total$cached,"promptTokensDetails":[{"modality":"TEXT","tokenCount":$prompt}]$thoughts}"#;
const COUNT: &str =
    r#"{"totalTokens":$tokens,"promptTokensDetails":[{"modality":"TEXT","tokenCount":$tokens}]}"#;
const VECTOR: &str = r#"{"values":[1.0,1.0,1.0]}"#;
const MODEL: &str = r#"{"name":$name,"version":"001","displayName":$id,"inputTokenLimit":1048576,"outputTokenLimit":65536,"supportedGenerationMethods":["generateContent","countTokens"]}"#;
const MODELS: [&str; 2] = ["gemini-2.5-pro", "gemini-2.5-flash"];
