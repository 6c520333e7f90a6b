//! Anthropic Messages: messages (whole and streamed), count_tokens, models.

use super::Telling;
use super::content::Content;
use super::tape::{ID, Kind, TapeWriter, Template, fill, quoted};
use crate::usage::Usage;

/// A whole message.
pub(crate) fn message(content: &Content, telling: &Telling) -> Template {
    let mut blocks = Vec::new();
    if !content.thinking.is_empty() {
        let thought = quoted(&content.whole_thought());
        blocks.push(fill(THINKING_BLOCK, &[("thinking", &thought), ("signature", SIGNATURE)]));
    }
    blocks.push(fill(TEXT_BLOCK, &[("text", &quoted(&content.whole_text()))]));
    if let Some(call) = &content.call {
        let (name, input) = (quoted(&call.name), call.arguments.as_str());
        blocks.push(fill(TOOL_BLOCK, &[("id", ID), ("name", &name), ("input", input)]));
    }
    let usage = telling.usage.map(|usage| field("usage", &usage_object(&usage, usage.output, telling)));
    let body = fill(
        MESSAGE,
        &[
            ("id", ID),
            ("model", &quoted(&telling.model)),
            ("content", &blocks.join(",")),
            ("stop", &quoted(stop_reason(content, telling))),
            ("usage", &usage.unwrap_or_default()),
        ],
    );
    let mut tape = TapeWriter::default();
    tape.tell(telling.usage);
    tape.event(Kind::Content, &body);
    tape.finish()
}

/// The stream of the same message.
pub(crate) fn stream(content: &Content, telling: &Telling) -> Template {
    let mut tape = TapeWriter::default();
    start(&mut tape, telling);
    let mut blocks = 0;
    if !content.thinking.is_empty() {
        let signature = vec![fill(SIGNATURE_DELTA, &[("signature", SIGNATURE)])];
        let thoughts = content.thinking.iter().map(|piece| delta("thinking_delta", "thinking", piece));
        block(&mut tape, &mut blocks, EMPTY_THINKING, thoughts.chain(signature));
    }
    let text = content.text.iter().map(|piece| delta("text_delta", "text", piece));
    block(&mut tape, &mut blocks, EMPTY_TEXT, text);
    if let Some(call) = &content.call {
        let opening = fill(TOOL_BLOCK, &[("id", ID), ("name", &quoted(&call.name)), ("input", "{}")]);
        let pieces = call.pieces().into_iter();
        let pieces = pieces.map(|piece| delta("input_json_delta", "partial_json", &piece));
        block(&mut tape, &mut blocks, &opening, pieces);
    }
    tape.tell(telling.usage);
    let usage = telling.usage.map(|usage| field("usage", &last_usage(&usage, telling)));
    let stop = quoted(stop_reason(content, telling));
    let last = fill(MESSAGE_DELTA, &[("stop", &stop), ("usage", &usage.unwrap_or_default())]);
    event(&mut tape, Kind::Structure, "message_delta", &last);
    event(&mut tape, Kind::Structure, "message_stop", r#"{"type":"message_stop"}"#);
    tape.finish()
}

/// The answer of count_tokens.
pub(crate) fn count_tokens(usage: &Usage) -> String {
    format!(r#"{{"input_tokens":{}}}"#, usage.total_input())
}

/// The list of models.
pub(crate) fn models() -> String {
    let models: Vec<String> = MODELS.iter().map(|id| model(id)).collect();
    let (first, last) = (quoted(MODELS[0]), quoted(MODELS[MODELS.len() - 1]));
    let values = [("models", models.join(",")), ("first", first), ("last", last)];
    fill(MODEL_LIST, &values.each_ref().map(|(name, value)| (*name, value.as_str())))
}

/// One model.
pub(crate) fn model(id: &str) -> String {
    fill(MODEL, &[("id", &quoted(id))])
}

/// A ping, as the API sends it.
pub(crate) const PING: &str = "event: ping\ndata: {\"type\": \"ping\"}\n\n";

fn start(tape: &mut TapeWriter, telling: &Telling) {
    let usage = telling.usage.map(|usage| {
        // The output is not known yet; the API says 1 or a few.
        let so_far = Usage { output: usage.output.min(1), reasoning: 0, web_search_requests: 0, ..usage };
        if telling.only_last { Usage::default() } else { so_far }
    });
    if !telling.only_last {
        tape.tell(usage);
    }
    let usage = usage.map(|usage| field("usage", &usage_object(&usage, usage.output, telling)));
    let values = [("id", ID), ("model", &quoted(&telling.model)), ("usage", &usage.unwrap_or_default())];
    event(tape, Kind::Opening, "message_start", &fill(MESSAGE_START, &values));
}

fn block(tape: &mut TapeWriter, blocks: &mut u32, opening: &str, deltas: impl Iterator<Item = String>) {
    let index = blocks.to_string();
    let start = fill(BLOCK_START, &[("index", &index), ("block", opening)]);
    event(tape, Kind::Structure, "content_block_start", &start);
    if *blocks == 0 {
        tape.event(Kind::Structure, PING);
    }
    for delta in deltas {
        let delta = fill(BLOCK_DELTA, &[("index", &index), ("delta", &delta)]);
        event(tape, Kind::Content, "content_block_delta", &delta);
    }
    event(tape, Kind::Structure, "content_block_stop", &fill(BLOCK_STOP, &[("index", &index)]));
    *blocks += 1;
}

fn delta(kind: &str, field: &str, piece: &str) -> String {
    format!(r#"{{"type":"{kind}","{field}":{}}}"#, quoted(piece))
}

fn event(tape: &mut TapeWriter, kind: Kind, name: &str, data: &str) {
    tape.event(kind, &format!("event: {name}\ndata: {data}\n\n"));
}

fn field(name: &str, value: &str) -> String {
    format!(r#","{name}":{value}"#)
}

fn stop_reason<'a>(content: &Content, telling: &'a Telling) -> &'a str {
    let usual = if content.call.is_some() { "tool_use" } else { "end_turn" };
    telling.stop_reason.as_deref().unwrap_or(usual)
}

fn usage_object(usage: &Usage, output: u64, telling: &Telling) -> String {
    let tier = quoted(telling.service_tier.as_deref().unwrap_or("standard"));
    let extras = extras(usage);
    fill(
        USAGE,
        &[
            ("input", &usage.input.to_string()),
            ("written", &(usage.cache_write_5m + usage.cache_write_1h).to_string()),
            ("read", &usage.cache_read.to_string()),
            ("five", &usage.cache_write_5m.to_string()),
            ("hour", &usage.cache_write_1h.to_string()),
            ("output", &output.to_string()),
            ("extras", &extras),
            ("tier", &tier),
        ],
    )
}

/// The cumulative usage of `message_delta`. It repeats the input but not its split by lifetime, unless nothing
/// else has told it.
fn last_usage(usage: &Usage, telling: &Telling) -> String {
    if telling.only_last {
        return usage_object(usage, usage.output, telling);
    }
    fill(
        LAST_USAGE,
        &[
            ("input", &usage.input.to_string()),
            ("written", &(usage.cache_write_5m + usage.cache_write_1h).to_string()),
            ("read", &usage.cache_read.to_string()),
            ("output", &usage.output.to_string()),
            ("extras", &extras(usage)),
        ],
    )
}

fn extras(usage: &Usage) -> String {
    let mut extras = String::new();
    if usage.reasoning > 0 {
        extras += &format!(r#","output_tokens_details":{{"thinking_tokens":{}}}"#, usage.reasoning);
    }
    if usage.web_search_requests > 0 {
        let searches = usage.web_search_requests;
        extras +=
            &format!(r#","server_tool_use":{{"web_search_requests":{searches},"web_fetch_requests":0}}"#);
    }
    extras
}

const MESSAGE: &str = r#"{"id":"msg_$id","type":"message","role":"assistant","model":$model,"content":[$content],"stop_reason":$stop,"stop_sequence":null$usage}"#;
const MESSAGE_START: &str = r#"{"type":"message_start","message":{"id":"msg_$id","type":"message","role":"assistant","model":$model,"content":[],"stop_reason":null,"stop_sequence":null$usage}}"#;
const MESSAGE_DELTA: &str =
    r#"{"type":"message_delta","delta":{"stop_reason":$stop,"stop_sequence":null}$usage}"#;
const BLOCK_START: &str = r#"{"type":"content_block_start","index":$index,"content_block":$block}"#;
const BLOCK_DELTA: &str = r#"{"type":"content_block_delta","index":$index,"delta":$delta}"#;
const BLOCK_STOP: &str = r#"{"type":"content_block_stop","index":$index}"#;
const TEXT_BLOCK: &str = r#"{"type":"text","text":$text}"#;
const THINKING_BLOCK: &str = r#"{"type":"thinking","thinking":$thinking,"signature":"$signature"}"#;
const TOOL_BLOCK: &str = r#"{"type":"tool_use","id":"toolu_$id","name":$name,"input":$input}"#;
const EMPTY_TEXT: &str = r#"{"type":"text","text":""}"#;
const EMPTY_THINKING: &str = r#"{"type":"thinking","thinking":"","signature":""}"#;
const SIGNATURE_DELTA: &str = r#"{"type":"signature_delta","signature":"$signature"}"#;
const SIGNATURE: &str = "RXJ1c3QtYnV0LXZlcmlmeS1zaW11bGF0ZWQtc2lnbmF0dXJl";
const USAGE: &str = r#"{"input_tokens":$input,"cache_creation_input_tokens":$written,"cache_read_input_tokens":$read,"cache_creation":{"ephemeral_5m_input_tokens":$five,"ephemeral_1h_input_tokens":$hour},"output_tokens":$output$extras,"service_tier":$tier}"#;
const LAST_USAGE: &str = r#"{"input_tokens":$input,"cache_creation_input_tokens":$written,"cache_read_input_tokens":$read,"output_tokens":$output$extras}"#;
const MODEL_LIST: &str = r#"{"data":[$models],"has_more":false,"first_id":$first,"last_id":$last}"#;
const MODEL: &str = r#"{"type":"model","id":$id,"display_name":$id,"created_at":"2026-01-01T00:00:00Z","lifecycle":"active","line":null,"max_input_tokens":200000,"max_tokens":64000}"#;
const MODELS: [&str; 3] = ["claude-opus-4-5", "claude-sonnet-4-5", "claude-haiku-4-5"];
