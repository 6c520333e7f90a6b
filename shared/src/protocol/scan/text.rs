//! JSON strings: where one ends, whether it is well formed, and what it says.

use memchr::memchr;
use std::ops::Range;
use wide::u8x32;

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
///
/// Escapes of prompts stand 20 to 100 bytes apart, unpredictably: what costs time is not the bytes but
/// the mispredicted branch at each escape. So a block is classified as a whole, without branches, and then
/// its special bytes are visited bit by bit.
pub(super) fn read(bytes: &[u8], open: usize) -> Result<Text, usize> {
    let mut at = open + 1;
    if let Some(end) = end_of_short(bytes, at) {
        return Ok(Text { range: open..end, has_escapes: false });
    }
    let mut has_escapes = false;
    'blocks: while let Some(block) = bytes.get(at..).and_then(<[u8]>::first_chunk::<BLOCK>) {
        let mut specials = specials(block);
        while specials != 0 {
            let index = specials.trailing_zeros() as usize;
            match block.get(index) {
                Some(b'"') => return Ok(Text { range: open..at + index + 1, has_escapes }),
                Some(b'\\') => {
                    has_escapes = true;
                    let end = end_of_escape(bytes, at + index)?;
                    if end - at >= BLOCK {
                        at = end;
                        continue 'blocks;
                    }
                    specials &= u32::MAX << (end - at);
                }
                _ => return Err(at + index),
            }
        }
        at += BLOCK;
    }
    // The last bytes of the body.
    loop {
        match bytes.get(at) {
            Some(b'"') => return Ok(Text { range: open..at + 1, has_escapes }),
            Some(b'\\') => {
                has_escapes = true;
                at = end_of_escape(bytes, at)?;
            }
            Some(b' '..) => at += 1,
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

/// The end of a string of a few plain characters, as most keys are.
///
/// Eight bytes a step: subtracting a small constant from each byte of a word borrows into its top bit iff the
/// byte is smaller. A borrow can leak into the next higher byte, so only the lowest mark is sure to be right.
#[inline]
fn end_of_short(bytes: &[u8], start: usize) -> Option<usize> {
    let (words, _) = bytes.get(start..)?.as_chunks::<8>();
    for (index, word) in words.iter().take(SHORT_WORDS).enumerate() {
        let word = u64::from_le_bytes(*word);
        let quote = word ^ (EACH * QUOTE);
        let backslash = word ^ (EACH * BACKSLASH);
        let marks = (quote.wrapping_sub(EACH) & !quote)
            | (backslash.wrapping_sub(EACH) & !backslash)
            | (word.wrapping_sub(EACH * FIRST_PLAIN) & !word);
        let marks = marks & (EACH * TOP_BIT);
        if marks != 0 {
            let first = start + index * 8 + marks.trailing_zeros() as usize / 8;
            return (bytes.get(first) == Some(&b'"')).then_some(first + 1);
        }
    }
    None
}

/// A bit for each quote, backslash and control character of a block, the first byte's lowest.
#[inline]
fn specials(block: &[u8; BLOCK]) -> u32 {
    let bytes = u8x32::new(*block);
    let is_control = bytes.min(u8x32::splat(b' ' - 1)).simd_eq(bytes);
    let is_special = is_control | bytes.simd_eq(u8x32::splat(b'"')) | bytes.simd_eq(u8x32::splat(b'\\'));
    is_special.to_bitmask()
}

/// The end of the escape whose backslash is at `at`. A surrogate must stand in a pair.
///
/// A table rather than a `match`: which letter follows is chance, and a jump table is mispredicted by it.
#[inline]
fn end_of_escape(bytes: &[u8], at: usize) -> Result<usize, usize> {
    let letter = bytes.get(at + 1).copied().unwrap_or_default();
    if IS_SHORT_ESCAPE[usize::from(letter)] {
        Ok(at + 2)
    } else if letter == b'u' {
        end_of_unicode_escape(bytes, at)
    } else {
        Err(at + 1)
    }
}

#[inline]
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
#[inline]
fn code_unit(bytes: &[u8], at: usize) -> Option<u32> {
    let [b'\\', b'u', digits @ ..] = bytes.get(at..)?.first_chunk::<6>()? else { return None };
    let [a, b, c, d] = digits.map(|digit| HEX_VALUE[usize::from(digit)]);
    let unit = a << 12 | b << 8 | c << 4 | d;
    // A digit that is none has set bits above the 16.
    (unit <= 0xFFFF).then_some(unit)
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

/// The letters that make an escape of two characters.
const IS_SHORT_ESCAPE: [bool; 256] = {
    let mut table = [false; 256];
    let letters = b"\"\\/bfnrt";
    let mut index = 0;
    while index < letters.len() {
        table[letters[index] as usize] = true;
        index += 1;
    }
    table
};

/// The value of a hexadecimal digit; of another byte a number above 16 bits wherever it is shifted.
const HEX_VALUE: [u32; 256] = {
    let mut table = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        let lower = b"0123456789abcdef"[value as usize];
        table[lower as usize] = value;
        table[lower.to_ascii_uppercase() as usize] = value;
        value += 1;
    }
    table
};
const NO_DIGIT: u32 = 0x1_0000;

/// Bytes that are classified together.
const BLOCK: usize = 32;

/// Words in which a short string may end.
const SHORT_WORDS: usize = 2;

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

    fn read_bytewise(bytes: &[u8]) -> Result<usize, usize> {
        let mut at = 1;
        loop {
            at = match bytes.get(at) {
                Some(b'"') => return Ok(at + 1),
                Some(b'\\') => end_of_escape(bytes, at)?,
                Some(b' '..) => at + 1,
                _ => return Err(at),
            }
        }
    }

    proptest! {
        #[test]
        fn blocks_and_words_find_what_single_bytes_do(
            pieces in prop::collection::vec(
                prop_oneof![
                    8 => prop::collection::vec(prop_oneof![Just(b'x'), Just(0x7f), Just(0x80), Just(0xff), Just(b'!'), Just(b'#')], 0..70),
                    4 => prop::sample::select(vec![&b"\\n"[..], b"\\\"", b"\\\\", b"\\u00e9", b"\\ud83d\\ude00"]).prop_map(<[u8]>::to_vec),
                    1 => prop::sample::select(vec![&b"\""[..], b"\\", b"\x1f", b"\0", b"\\ud83d"]).prop_map(<[u8]>::to_vec),
                ],
                0..8,
            ),
            rest in 0..80_usize,
        ) {
            let mut bytes = [&b"\""[..], &pieces.concat(), b"\""].concat();
            bytes.resize(bytes.len() + rest, b' ');
            prop_assert_eq!(read(&bytes, 0).map(|text| text.range.end), read_bytewise(&bytes), "{}", bytes.escape_ascii());
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
