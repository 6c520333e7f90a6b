//! OpenAI chat completions (whole and streamed), legacy completions, embeddings, models.

use super::content::Content;
use super::tape::{ID, Kind, TapeWriter, Template, fill, quoted};
use super::{CREATED, Telling};
use crate::usage::Usage;

/// A whole chat completion.
pub(crate) fn completion(content: &Content, telling: &Telling) -> Template {
    let text = if content.call.is_some() { "null".to_owned() } else { quoted(&content.whole_text()) };
    let mut more = String::new();
    if !content.thinking.is_empty() {
        more += &format!(r#","reasoning_content":{}"#, quoted(&content.whole_thought()));
    }
    if let Some(call) = &content.call {
        let (name, arguments) = (quoted(&call.name), quoted(&call.arguments));
        let call = fill(CALL, &[("index", ""), ("id", ID), ("name", &name), ("arguments", &arguments)]);
        more += &format!(r#","tool_calls":[{call}]"#);
    }
    let choice = fill(CHOICE, &[("content", &text), ("more", &more), ("finish", &finish(content, telling))]);
    let usage = telling.usage.map(|usage| format!(r#","usage":{}"#, usage_object(&usage)));
    let body = envelope("chat.completion", &choice, &usage.unwrap_or_default(), telling);
    single(&body, telling.usage)
}

/// The stream of the same completion.
pub(crate) fn stream(content: &Content, telling: &Telling) -> Template {
    let mut tape = TapeWriter::default();
    // With `include_usage` every chunk has the field, and only the extra last one has the numbers.
    let no_usage_yet = if telling.include_usage { r#","usage":null"# } else { "" };
    let chunk = |delta: &str, finish: &str| {
        let choice = fill(CHUNK_CHOICE, &[("delta", delta), ("finish", finish)]);
        data(&envelope("chat.completion.chunk", &choice, no_usage_yet, telling))
    };
    tape.event(Kind::Opening, &chunk(ROLE, "null"));
    for piece in &content.thinking {
        tape.event(Kind::Content, &chunk(&format!(r#"{{"reasoning_content":{}}}"#, quoted(piece)), "null"));
    }
    if let Some(call) = &content.call {
        let name = quoted(&call.name);
        let values = [("index", r#""index":0,"#), ("id", ID), ("name", &name), ("arguments", r#""""#)];
        let opening = fill(CALL, &values);
        tape.event(Kind::Structure, &chunk(&format!(r#"{{"tool_calls":[{opening}]}}"#), "null"));
        for piece in call.pieces() {
            let delta = fill(ARGUMENTS, &[("arguments", &quoted(&piece))]);
            tape.event(Kind::Content, &chunk(&delta, "null"));
        }
    } else {
        for piece in &content.text {
            tape.event(Kind::Content, &chunk(&format!(r#"{{"content":{}}}"#, quoted(piece)), "null"));
        }
    }
    tape.event(Kind::Structure, &chunk("{}", &finish(content, telling)));
    if let Some(usage) = telling.usage.filter(|_| telling.include_usage) {
        tape.tell(telling.usage);
        let usage = format!(r#","usage":{}"#, usage_object(&usage));
        tape.event(Kind::Structure, &data(&envelope("chat.completion.chunk", "", &usage, telling)));
    }
    tape.event(Kind::Structure, "data: [DONE]\n\n");
    tape.finish()
}

/// A whole legacy completion.
pub(crate) fn legacy(content: &Content, telling: &Telling) -> Template {
    let choice = legacy_choice(&content.whole_text(), &finish(content, telling));
    let usage = telling.usage.map(|usage| format!(r#","usage":{}"#, usage_object(&usage)));
    single(&envelope("text_completion", &choice, &usage.unwrap_or_default(), telling), telling.usage)
}

/// The stream of the same.
pub(crate) fn legacy_stream(content: &Content, telling: &Telling) -> Template {
    let mut tape = TapeWriter::default();
    let chunk = |text: &str, finish: &str| {
        data(&envelope("text_completion", &legacy_choice(text, finish), "", telling))
    };
    for piece in &content.text {
        tape.event(Kind::Content, &chunk(piece, "null"));
    }
    tape.event(Kind::Structure, &chunk("", &finish(content, telling)));
    if let Some(usage) = telling.usage.filter(|_| telling.include_usage) {
        tape.tell(telling.usage);
        let usage = format!(r#","usage":{}"#, usage_object(&usage));
        tape.event(Kind::Structure, &data(&envelope("text_completion", "", &usage, telling)));
    }
    tape.event(Kind::Structure, "data: [DONE]\n\n");
    tape.finish()
}

/// Embeddings, as many as inputs.
pub(crate) fn embeddings(telling: &Telling, inputs: usize, is_base64: bool) -> Template {
    let vector = if is_base64 { VECTOR_BASE64 } else { VECTOR };
    let entry = |index: usize| fill(EMBEDDING, &[("index", &index.to_string()), ("vector", vector)]);
    let entries: Vec<String> = (0..inputs).map(entry).collect();
    let usage = telling.usage.map(|usage| {
        let tokens = usage.total_input();
        format!(r#","usage":{{"prompt_tokens":{tokens},"total_tokens":{tokens}}}"#)
    });
    let values = [
        ("data", entries.join(",")),
        ("model", quoted(&telling.model)),
        ("usage", usage.unwrap_or_default()),
    ];
    let body = fill(EMBEDDINGS, &values.each_ref().map(|(name, value)| (*name, value.as_str())));
    single(&body, telling.usage)
}

/// The list of models.
pub(crate) fn models() -> String {
    let models: Vec<String> = MODELS.iter().map(|id| model(id)).collect();
    format!(r#"{{"object":"list","data":[{}]}}"#, models.join(","))
}

/// One model.
pub(crate) fn model(id: &str) -> String {
    fill(MODEL, &[("id", &quoted(id)), ("created", CREATED)])
}

/// A line that readers of a stream skip.
pub(crate) const PING: &str = ": ping\n\n";

fn single(body: &str, usage: Option<Usage>) -> Template {
    let mut tape = TapeWriter::default();
    tape.tell(usage);
    tape.event(Kind::Content, body);
    tape.finish()
}

fn data(chunk: &str) -> String {
    format!("data: {chunk}\n\n")
}

fn envelope(object: &str, choice: &str, usage: &str, telling: &Telling) -> String {
    let prefix = if object == "text_completion" { "cmpl" } else { "chatcmpl" };
    fill(
        ENVELOPE,
        &[
            ("prefix", prefix),
            ("id", ID),
            ("object", object),
            ("created", CREATED),
            ("model", &quoted(&telling.model)),
            ("tier", &quoted(telling.service_tier.as_deref().unwrap_or("default"))),
            ("choice", choice),
            ("usage", usage),
        ],
    )
}

fn legacy_choice(text: &str, finish: &str) -> String {
    fill(LEGACY_CHOICE, &[("text", &quoted(text)), ("finish", finish)])
}

fn finish(content: &Content, telling: &Telling) -> String {
    let usual = if content.call.is_some() { "tool_calls" } else { "stop" };
    quoted(telling.stop_reason.as_deref().unwrap_or(usual))
}

fn usage_object(usage: &Usage) -> String {
    let input = usage.total_input();
    let written = match usage.cache_write_5m {
        0 => String::new(),
        tokens => format!(r#","cache_write_tokens":{tokens}"#),
    };
    fill(
        USAGE,
        &[
            ("input", &input.to_string()),
            ("output", &usage.output.to_string()),
            ("total", &(input + usage.output).to_string()),
            ("cached", &usage.cache_read.to_string()),
            ("written", &written),
            ("reasoning", &usage.reasoning.to_string()),
        ],
    )
}

const ENVELOPE: &str = r#"{"id":"$prefix-$id","object":"$object","created":$created,"model":$model,"choices":[$choice]$usage,"service_tier":$tier,"system_fingerprint":"fp_simulated"}"#;
const CHOICE: &str = r#"{"index":0,"message":{"role":"assistant","content":$content$more,"refusal":null,"annotations":[]},"logprobs":null,"finish_reason":$finish}"#;
const CHUNK_CHOICE: &str = r#"{"index":0,"delta":$delta,"logprobs":null,"finish_reason":$finish}"#;
const LEGACY_CHOICE: &str = r#"{"text":$text,"index":0,"logprobs":null,"finish_reason":$finish}"#;
const ROLE: &str = r#"{"role":"assistant","content":"","refusal":null}"#;
const CALL: &str =
    r#"{$index"id":"call_$id","type":"function","function":{"name":$name,"arguments":$arguments}}"#;
const ARGUMENTS: &str = r#"{"tool_calls":[{"index":0,"function":{"arguments":$arguments}}]}"#;
const USAGE: &str = r#"{"prompt_tokens":$input,"completion_tokens":$output,"total_tokens":$total,"prompt_tokens_details":{"cached_tokens":$cached$written,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":$reasoning,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}"#;
const EMBEDDINGS: &str = r#"{"object":"list","data":[$data],"model":$model$usage}"#;
const EMBEDDING: &str = r#"{"object":"embedding","index":$index,"embedding":$vector}"#;
const VECTOR: &str = "[1.0,1.0,1.0]";
/// The same three numbers as little-endian `f32`.
const VECTOR_BASE64: &str = r#""AACAPwAAgD8AAIA/""#;
const MODEL: &str = r#"{"id":$id,"object":"model","created":$created,"owned_by":"openai"}"#;
const MODELS: [&str; 3] = ["gpt-5.1", "gpt-5.1-codex", "text-embedding-3-small"];
