//! The text of an answer, for people to look at.

use crate::protocol::Dialect;
use crate::protocol::sse::{Frame, SseReader};
use crate::protocol::tap::Framing;
use serde_json::Value;

/// What a body says: of a stream all its deltas. Empty when it says nothing.
pub(super) fn text_of(dialect: Dialect, framing: Option<Framing>, body: &[u8]) -> String {
    let mut text = String::new();
    match framing {
        Some(Framing::Sse) => {
            let mut read = |frame: Frame<'_>| {
                if let Frame::Event(event) | Frame::Unfinished(event) = frame
                    && let Ok(value) = serde_json::from_slice(&event.data)
                {
                    add_delta(&mut text, dialect, &value);
                }
            };
            let mut reader = SseReader::new();
            reader.push(body, &mut read);
            reader.end(&mut read);
        }
        Some(Framing::JsonArray) => {
            let elements: Vec<Value> = serde_json::from_slice(body).unwrap_or_default();
            elements.iter().for_each(|element| add_delta(&mut text, dialect, element));
        }
        None => {
            if let Ok(value) = serde_json::from_slice(body) {
                add_whole(&mut text, dialect, &value);
            }
        }
    }
    text
}

fn add_delta(text: &mut String, dialect: Dialect, event: &Value) {
    match dialect {
        Dialect::Anthropic => add(text, event.pointer("/delta/text")),
        Dialect::OpenaiChat => {
            items(event.get("choices")).for_each(|choice| add(text, choice.pointer("/delta/content")));
        }
        Dialect::OpenaiResponses => {
            if event.get("type").is_some_and(|kind| kind == "response.output_text.delta") {
                add(text, event.get("delta"));
            }
        }
        Dialect::Gemini => add_whole(text, dialect, event),
    }
}

fn add_whole(text: &mut String, dialect: Dialect, answer: &Value) {
    match dialect {
        Dialect::Anthropic => {
            items(answer.get("content")).for_each(|block| add(text, block.get("text")));
        }
        Dialect::OpenaiChat => items(answer.get("choices")).for_each(|choice| {
            let content = choice.pointer("/message/content");
            add(text, content);
            items(content).for_each(|part| add(text, part.get("text")));
        }),
        Dialect::OpenaiResponses => items(answer.get("output")).for_each(|item| {
            items(item.get("content")).for_each(|part| add(text, part.get("text")));
        }),
        Dialect::Gemini => items(answer.get("candidates")).for_each(|candidate| {
            let is_said = |part: &&Value| part.get("thought") != Some(&Value::Bool(true));
            let parts = items(candidate.pointer("/content/parts")).filter(is_said);
            parts.for_each(|part| add(text, part.get("text")));
        }),
    }
}

fn items(value: Option<&Value>) -> std::slice::Iter<'_, Value> {
    value.and_then(Value::as_array).map_or(&[][..], Vec::as_slice).iter()
}

fn add(text: &mut String, value: Option<&Value>) {
    text.push_str(value.and_then(Value::as_str).unwrap_or_default());
}
