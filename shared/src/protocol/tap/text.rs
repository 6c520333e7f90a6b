//! How much text an event generates, for the estimate that stands in for a usage that never came.
//!
//! Counts the bytes of one JSON string of the event as written, escapes and all; what stands elsewhere (a
//! second choice, an image) counts nothing. A guess, but the same guess for the same event.

use crate::protocol::Dialect;
use memchr::memchr2;
use memchr::memmem::Finder;
use std::sync::LazyLock;

/// Bytes of generated text in the data of a content event.
pub(super) fn generated_bytes(dialect: Dialect, data: &[u8]) -> u64 {
    let keys = match dialect {
        Dialect::Anthropic => &*ANTHROPIC,
        Dialect::OpenaiChat => &*CHAT,
        Dialect::OpenaiResponses => &*RESPONSES,
        Dialect::Gemini => &*GEMINI,
    };
    let len = keys.iter().find_map(|key| string_after(data, key)).unwrap_or(0);
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// The length of the string that is the value of the first `key`; `None` when there is none or it is empty.
fn string_after(data: &[u8], key: &Finder<'_>) -> Option<usize> {
    let after = data.get(key.find(data)? + key.needle().len()..)?;
    let value = after.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start().strip_prefix(b"\"")?;
    let mut len = 0;
    while let Some(at) = memchr2(b'"', b'\\', &value[len..]) {
        len += at;
        if value.get(len) == Some(&b'"') {
            return Some(len).filter(|&len| len > 0);
        }
        len = (len + 2).min(value.len());
    }
    None
}

/// The keys under which a dialect's text stands, the most frequent first.
fn finders<const N: usize>(keys: [&'static str; N]) -> Vec<Finder<'static>> {
    keys.into_iter().map(Finder::new).collect()
}

static ANTHROPIC: LazyLock<Vec<Finder<'static>>> =
    LazyLock::new(|| finders(["\"text\"", "\"partial_json\"", "\"thinking\""]));
static CHAT: LazyLock<Vec<Finder<'static>>> = LazyLock::new(|| {
    finders(["\"content\"", "\"arguments\"", "\"reasoning_content\"", "\"reasoning\"", "\"text\""])
});
static RESPONSES: LazyLock<Vec<Finder<'static>>> = LazyLock::new(|| finders(["\"delta\""]));
static GEMINI: LazyLock<Vec<Finder<'static>>> = LazyLock::new(|| finders(["\"text\""]));

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(dialect: Dialect, data: &str) -> u64 {
        generated_bytes(dialect, data.as_bytes())
    }

    #[test]
    fn the_text_of_a_delta_is_counted_as_written() {
        let delta = r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"a \"b\"\n"}}"#;
        assert_eq!(bytes(Dialect::Anthropic, delta), 9);
        let delta = r#"{"delta":{"type":"thinking_delta","thinking" : "hmm"}}"#;
        assert_eq!(bytes(Dialect::Anthropic, delta), 3);
        let chunk =
            r#"{"choices":[{"delta":{"content":null,"tool_calls":[{"function":{"arguments":"{}"}}]}}]}"#;
        assert_eq!(bytes(Dialect::OpenaiChat, chunk), 2);
        let delta = r#"{"type":"response.output_text.delta","item_id":"i","delta":"word"}"#;
        assert_eq!(bytes(Dialect::OpenaiResponses, delta), 4);
        assert_eq!(bytes(Dialect::Gemini, r#"{"candidates":[{"content":{"parts":[{"text": "hi"}]}}]}"#), 2);
    }

    #[test]
    fn data_without_text_or_cut_in_it_counts_nothing() {
        for data in ["", "{}", r#"{"text":7}"#, r#"{"text":""}"#, r#"{"text":"abc"#, r#"{"text":"abc\"#] {
            assert_eq!(bytes(Dialect::Anthropic, data), 0, "{data}");
        }
    }
}
