//! Is a request only there to warm something up? Claude Code sends such requests by itself, for the prompt cache or the
//! connection, and reads nothing of the answer.
//!
//! It is one when it is a call of Anthropic's Messages API with a single message, of the user, with a single block: the text
//! `Warmup` (however it is written, with blanks around it), with a `cache_control` of type `ephemeral`. What else the body has (a
//! system prompt, tools) does not matter, as with the predecessor, and is not looked at: a large body costs nothing here.

use crate::protocol::detect::Family;
use crate::protocol::lenient::{Fold, Many, Text, lenient, parse};
use crate::protocol::scan::BodyFacts;

/// True for a warm-up; `facts` are what [`crate::protocol::scan::scan`] found in `body`.
#[must_use]
pub fn is_warmup(family: Family, facts: &BodyFacts, body: &[u8]) -> bool {
    if family != Family::AnthropicMessages || facts.work.message_count != Some(1) {
        return false;
    }
    let message = facts.session.first_message.clone().and_then(|at| body.get(at));
    message.filter(|json| json.len() <= MESSAGE_BYTES).and_then(parse).is_some_and(is_message)
}

fn is_message(message: Message<'_>) -> bool {
    let Many { is_array, count, folded: block } = message.content;
    message.role.as_str() == "user"
        && (is_array && count == 1)
        && block.kind.as_str() == "text"
        && block.text.as_str().trim().eq_ignore_ascii_case(TEXT)
        && block.cache_control.kind.as_str() == "ephemeral"
}

lenient! {
    struct Message<'a> {
        role: Text<'a> = "role",
        content: Many<Block<'a>> = "content",
    }
}

lenient! {
    struct Block<'a> {
        kind: Text<'a> = "type",
        text: Text<'a> = "text",
        cache_control: CacheControl<'a> = "cache_control",
    }
}

lenient! {
    struct CacheControl<'a> {
        kind: Text<'a> = "type",
    }
}

impl Fold for Block<'_> {
    /// Only one is looked at.
    fn fold(&mut self, next: Self) {
        *self = next;
    }
}

const TEXT: &str = "warmup";
/// A longer message is none, however it is written: it is not read.
const MESSAGE_BYTES: usize = 1 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::scan::scan;
    use serde_json::{Value, json};

    fn is_one(family: Family, body: &Value) -> bool {
        let body = body.to_string();
        is_warmup(family, &scan(body.as_bytes()).unwrap(), body.as_bytes())
    }

    fn block() -> Value {
        json!({ "type": "text", "text": "Warmup", "cache_control": { "type": "ephemeral" } })
    }

    fn body(messages: Value) -> Value {
        json!({ "model": "claude-haiku-4-5", "max_tokens": 32, "messages": messages })
    }

    fn saying(block: Value) -> Value {
        body(json!([{ "role": "user", "content": [block] }]))
    }

    fn with(change: impl FnOnce(&mut Value)) -> Value {
        let mut made = block();
        change(&mut made);
        saying(made)
    }

    #[test]
    fn a_single_ephemeral_block_that_says_warmup_is_one_whatever_is_around_it() {
        let mut large = saying(block());
        large["system"] = json!("You are Claude Code. ".repeat(10_000));
        large["tools"] = json!([{ "name": "Bash", "input_schema": {} }]);
        large["stream"] = json!(true);
        for body in [
            saying(block()),
            with(|block| block["text"] = json!(" \n WARMUP\t")),
            with(|block| block["text"] = json!("\u{a0}warmup ")),
            with(|block| block["cache_control"]["ttl"] = json!("1h")),
            large,
        ] {
            assert!(is_one(Family::AnthropicMessages, &body), "{body}");
        }
    }

    #[test]
    fn anything_else_is_none() {
        for body in [
            with(|block| block["text"] = json!("Warmup!")),
            with(|block| block["text"] = json!(format!("{}warmup", " ".repeat(2_000)))),
            with(|block| block["type"] = json!("image")),
            with(|block| drop(block.as_object_mut().unwrap().remove("cache_control"))),
            with(|block| block["cache_control"]["type"] = json!("persistent")),
            with(|block| block["cache_control"] = json!("ephemeral")),
            body(json!([])),
            body(json!([{ "role": "user", "content": "Warmup" }])),
            body(json!([{ "role": "assistant", "content": [block()] }])),
            body(json!([{ "role": "user", "content": [block(), block()] }])),
            body(json!([{ "role": "user", "content": [block()] }, { "role": "assistant", "content": "{" }])),
        ] {
            assert!(!is_one(Family::AnthropicMessages, &body), "{body}");
        }
    }

    #[test]
    fn other_calls_have_none() {
        for family in Family::ALL.into_iter().filter(|family| *family != Family::AnthropicMessages) {
            assert!(!is_one(family, &saying(block())), "{family:?}");
        }
    }
}
