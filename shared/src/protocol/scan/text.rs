//! JSON strings: where one ends, whether it is well formed, and what it says.

use memchr::memchr;
use std::ops::Range;

/// A string in the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text {
    /// Its bytes, quotes included.
    pub(super) range: Range<usize>,
    /// A backslash is in it.
    pub(super) has_escapes: bool,
}

/// Finds the end of the string whose opening quote is at `open`, or the offset where it is malformed.
/// The bytes are known to be UTF-8.
pub(super) fn read(bytes: &[u8], open: usize) -> Result<Text, usize> {
    let mut at = open + 1;
    let mut has_escapes = false;
    loop {
        at = skip_plain(bytes, at);
        match bytes.get(at) {
            Some(b'"') => return Ok(Text { range: open..at + 1, has_escapes }),
            Some(b'\\') => {
                has_escapes = true;
                at = end_of_escape(bytes, at)?;
            }
            // A raw control character, or the end of the body.
            _ => return Err(at),
        }
    }
}

/// What a well-formed string says. `inner` is what stands between its quotes.
pub(super) fn unescape(inner: &str) -> String {
    let mut value = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some((plain, escape)) = memchr(b'\\', rest.as_bytes()).and_then(|at| rest.split_at_checked(at))
    {
        value.push_str(plain);
        let (meaning, length) = meaning_of(escape.as_bytes());
        value.push(meaning);
        rest = escape.get(length..).unwrap_or_default();
    }
    value.push_str(rest);
    value
}

/// The first offset from `at` on that is a quote, a backslash or a control character, else the end.
///
/// Eight bytes a step: subtracting a small constant from each byte borrows into its top bit iff the byte is
/// smaller. A borrow can leak into the next higher byte, so the lowest mark is right and those above it may
/// be false; only the lowest is used.
#[inline]
fn skip_plain(bytes: &[u8], mut at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    let (blocks, tail) = rest.as_chunks::<8>();
    for block in blocks {
        let word = u64::from_le_bytes(*block);
        let quote = word ^ (EACH * QUOTE);
        let backslash = word ^ (EACH * BACKSLASH);
        let marks = (quote.wrapping_sub(EACH) & !quote)
            | (backslash.wrapping_sub(EACH) & !backslash)
            | (word.wrapping_sub(EACH * FIRST_PLAIN) & !word);
        let marks = marks & (EACH * TOP_BIT);
        if marks != 0 {
            return at + marks.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let is_special = |byte: &u8| *byte < b' ' || *byte == b'"' || *byte == b'\\';
    at + tail.iter().position(is_special).unwrap_or(tail.len())
}

/// The end of the escape whose backslash is at `at`. A surrogate must stand in a pair.
#[inline]
fn end_of_escape(bytes: &[u8], at: usize) -> Result<usize, usize> {
    match bytes.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => end_of_unicode_escape(bytes, at),
        _ => Err(at + 1),
    }
}

fn end_of_unicode_escape(bytes: &[u8], at: usize) -> Result<usize, usize> {
    match code_unit(bytes, at) {
        Some(0xDC00..=0xDFFF) | None => Err(at + 2),
        Some(0xD800..=0xDBFF) => match code_unit(bytes, at + 6) {
            Some(0xDC00..=0xDFFF) => Ok(at + 12),
            _ => Err(at + 6),
        },
        Some(_) => Ok(at + 6),
    }
}

/// The UTF-16 code unit of the `\uXXXX` at `at`.
fn code_unit(bytes: &[u8], at: usize) -> Option<u32> {
    let escape = bytes.get(at..at.checked_add(6)?)?;
    let digits = escape.strip_prefix(b"\\u")?;
    digits.iter().try_fold(0, |unit, digit| Some(unit * 16 + char::from(*digit).to_digit(16)?))
}

/// The character a well-formed escape stands for, and the escape's length.
fn meaning_of(escape: &[u8]) -> (char, usize) {
    match escape.get(1) {
        Some(b'b') => ('\u{8}', 2),
        Some(b'f') => ('\u{c}', 2),
        Some(b'n') => ('\n', 2),
        Some(b'r') => ('\r', 2),
        Some(b't') => ('\t', 2),
        Some(b'u') => match (code_unit(escape, 0), code_unit(escape, 6)) {
            (Some(high @ 0xD800..=0xDBFF), Some(low @ 0xDC00..=0xDFFF)) => {
                let scalar = 0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00);
                (char::from_u32(scalar).unwrap_or(char::REPLACEMENT_CHARACTER), 12)
            }
            (unit, _) => (unit.and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER), 6),
        },
        // A quote, a backslash or a slash stands for itself.
        other => (other.copied().map_or(char::REPLACEMENT_CHARACTER, char::from), 2),
    }
}

/// 1 in each byte of a word.
const EACH: u64 = 0x0101_0101_0101_0101;
const TOP_BIT: u64 = 0x80;
const QUOTE: u64 = b'"' as u64;
const BACKSLASH: u64 = b'\\' as u64;
const FIRST_PLAIN: u64 = 0x20;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_first_special_byte_is_found(bytes in prop::collection::vec(any::<u8>(), 0..40), at in 0..40_usize) {
            let at = at.min(bytes.len());
            let is_special = |byte: &u8| *byte < 0x20 || matches!(byte, b'"' | b'\\');
            let expected = bytes[at..].iter().position(is_special).map_or(bytes.len(), |found| at + found);
            prop_assert_eq!(skip_plain(&bytes, at), expected);
        }

        #[test]
        fn strings_are_read_as_serde_json_reads_them(
            inner in prop_oneof![
                "([a-zé😀 ]|\\\\[\"\\\\/bfnrtux]|\\\\u[dD][89abcdefCD][0-9a-f]{2}|\\\\u[0-9a-fA-F]{4}|\\\\u[0-9g]{0,4}){0,8}",
                "(\\\\u[dD][89aAbB][0-9a-f]{2}\\\\u[dD][c-fC-F][0-9a-f]{2}|\\\\u0[0-9a-f]{3}){0,4}",
            ]
        ) {
            let quoted = format!("\"{inner}\"");
            let text = read(quoted.as_bytes(), 0).ok().filter(|text| text.range.end == quoted.len());
            let read = text.map(|text| {
                assert_eq!(text.has_escapes, inner.contains('\\'));
                unescape(&inner)
            });
            prop_assert_eq!(read, serde_json::from_str::<String>(&quoted).ok());
        }
    }
}
