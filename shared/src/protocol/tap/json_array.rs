//! Cuts one JSON array into its elements while it arrives: Gemini's stream without `alt=sse`.
//!
//! Only brackets and strings are followed; whether an element is JSON is for its reader to find out. A
//! document that is one object is its only element: that is how an error comes instead of a stream.
//!
//! Invariants: any split into chunks gives the same elements; whole elements in a chunk are not copied; at
//! most the limit is kept of one.

use memchr::memchr2;

/// One element of the array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element<'a> {
    /// A whole one.
    Whole(&'a [u8]),
    /// One that is too large to be read; said once, when that shows.
    Oversized,
    /// The document is neither an array nor an object; said once.
    NotJson,
}

/// The incremental reader.
#[derive(Debug)]
pub(super) struct ArrayReader {
    place: Place,
    /// Brackets open inside the element.
    depth: u32,
    string: InString,
    /// The bytes of an element whose end has not come yet.
    tail: Vec<u8>,
    is_skipping: bool,
    limit: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before the array.
    Before,
    /// In the array, between elements.
    Between,
    /// The same, after the comma.
    AfterComma,
    /// In an element of the array.
    Element,
    /// In the document's only object.
    Alone,
    /// After the end of the document, or in one that is not JSON.
    After,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InString {
    No,
    Yes,
    /// After a backslash.
    Escaped,
}

impl ArrayReader {
    pub(super) fn with_limit(limit: usize) -> Self {
        Self {
            place: Place::Before,
            depth: 0,
            string: InString::No,
            tail: Vec::new(),
            is_skipping: false,
            limit,
        }
    }

    /// Takes a chunk and hands out each element that ends in it.
    pub(super) fn push(&mut self, chunk: &[u8], mut on_element: impl FnMut(Element<'_>)) {
        let mut rest = chunk;
        while let Some(&byte) = rest.first() {
            match self.place {
                Place::Element | Place::Alone => {
                    let (len, is_whole) = self.follow(rest);
                    let (head, after) = rest.split_at(len);
                    self.take(head, is_whole, &mut on_element);
                    rest = after;
                }
                Place::Before | Place::Between | Place::AfterComma | Place::After => {
                    if self.open(byte, &mut on_element) {
                        rest = &rest[1..];
                    }
                }
            }
        }
    }

    /// True when the bytes so far end inside an element.
    pub(super) fn is_mid_element(&self) -> bool {
        matches!(self.place, Place::Element | Place::Alone)
    }

    /// True when the array stands open between elements, where one more can be added.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.place, Place::Between | Place::AfterComma)
    }

    /// True when the next element's comma is there already.
    pub(super) fn is_after_comma(&self) -> bool {
        self.place == Place::AfterComma
    }

    /// True when the document has come to its end.
    pub(super) fn is_closed(&self) -> bool {
        self.place == Place::After
    }

    /// Takes a byte outside an element; false when it starts one and is to be read again.
    fn open(&mut self, byte: u8, on_element: &mut impl FnMut(Element<'_>)) -> bool {
        match (self.place, byte) {
            // The bytes of a BOM are space here.
            (_, b' ' | b'\n' | b'\r' | b'\t' | 0xef | 0xbb | 0xbf) => return true,
            (Place::Between | Place::AfterComma, b',') => self.place = Place::AfterComma,
            (Place::Before, b'[') => self.place = Place::Between,
            (Place::Between | Place::AfterComma, b']') => self.place = Place::After,
            (Place::Before, b'{') => {
                self.place = Place::Alone;
                return false;
            }
            (Place::Before, _) => {
                self.place = Place::After;
                on_element(Element::NotJson);
            }
            (Place::Between | Place::AfterComma, _) => {
                self.place = Place::Element;
                return false;
            }
            (Place::After | Place::Element | Place::Alone, _) => {}
        }
        true
    }

    /// How many bytes belong to the element, and whether it ends with them.
    fn follow(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            match self.string {
                InString::Escaped => self.string = InString::Yes,
                InString::Yes => {
                    let Some(skip) = memchr2(b'"', b'\\', &bytes[at..]) else { return (bytes.len(), false) };
                    at += skip;
                    let is_escape = bytes.get(at) == Some(&b'\\');
                    self.string = if is_escape { InString::Escaped } else { InString::No };
                }
                InString::No => match byte {
                    b'"' => self.string = InString::Yes,
                    b'{' | b'[' => self.depth = self.depth.saturating_add(1),
                    b'}' | b']' if self.depth > 1 => self.depth -= 1,
                    b'}' | b']' if self.depth == 1 => {
                        self.depth = 0;
                        return (at + 1, true);
                    }
                    // A number or a word ends where something else begins, which is not its own.
                    b',' | b']' if self.depth == 0 => return (at, true),
                    _ => {}
                },
            }
            at += 1;
        }
        (bytes.len(), false)
    }

    fn take(&mut self, head: &[u8], is_whole: bool, on_element: &mut impl FnMut(Element<'_>)) {
        if !self.is_skipping && self.tail.len() + head.len() > self.limit {
            self.is_skipping = true;
            self.tail = Vec::new();
            on_element(Element::Oversized);
        }
        if !is_whole {
            if !self.is_skipping {
                self.tail.extend_from_slice(head);
            }
            return;
        }
        if self.is_skipping {
            self.is_skipping = false;
        } else if self.tail.is_empty() {
            on_element(Element::Whole(head));
        } else {
            self.tail.extend_from_slice(head);
            on_element(Element::Whole(&self.tail));
            self.tail.clear();
        }
        self.place = if self.place == Place::Alone { Place::After } else { Place::Between };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read<'a>(limit: usize, chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<String>, bool) {
        let mut reader = ArrayReader::with_limit(limit);
        let mut elements = Vec::new();
        for chunk in chunks {
            reader.push(chunk, |element| {
                elements.push(match element {
                    Element::Whole(json) => String::from_utf8_lossy(json).into_owned(),
                    Element::Oversized => "oversized".to_owned(),
                    Element::NotJson => "not json".to_owned(),
                });
            });
            assert!(reader.tail.len() <= limit);
        }
        (elements, reader.place == Place::After)
    }

    #[test]
    fn an_array_is_cut_into_its_elements() {
        let (elements, is_over) = read(100, [&br#" [{"a":"]}\"","b":[{}]} , {"c":"\\"},7,"x,y",null] "#[..]]);
        assert_eq!(elements, [r#"{"a":"]}\"","b":[{}]}"#, r#"{"c":"\\"}"#, "7", r#""x,y""#, "null"]);
        assert!(is_over);
        assert_eq!(read(100, [&b"[]"[..]]), (vec![], true));
        assert_eq!(read(100, [&b"[{}"[..]]), (vec!["{}".to_owned()], false));
    }

    #[test]
    fn an_object_is_its_own_only_element() {
        assert_eq!(
            read(100, [&b"\xef\xbb\xbf{\"error\":{}}"[..]]),
            (vec![r#"{"error":{}}"#.to_owned()], true)
        );
        assert_eq!(read(100, [&b"<html>"[..]]), (vec!["not json".to_owned()], true));
    }

    #[test]
    fn an_element_over_the_limit_is_said_once_and_the_next_is_read() {
        let (elements, _) = read(10, [&b"[{\"a\":\"0123"[..], b"456789\"", b"},{}"]);
        assert_eq!(elements, ["oversized", "{}"]);
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_elements(
            pieces in prop::collection::vec(
                prop::sample::select(vec!["[", "]", "{", "}", ",", "\"", "\\", " ", "\n", "a", "1", "{}", "\"x\""]),
                0..30,
            ),
            cut in any::<usize>(),
            limit in 1_usize..12,
        ) {
            let document = format!("[{}", pieces.concat());
            let bytes = document.as_bytes();
            let whole = read(limit, [bytes]);
            let (head, tail) = bytes.split_at(cut % (bytes.len() + 1));
            prop_assert_eq!(&whole, &read(limit, [head, tail]));
            prop_assert_eq!(&whole, &read(limit, bytes.chunks(1)));
        }

        #[test]
        fn what_is_cut_is_what_a_json_parser_reads(numbers in prop::collection::vec(".{0,6}", 0..5)) {
            let elements: Vec<String> =
                numbers.iter().map(|text| serde_json::json!({"t": text, "l": [1, {}]}).to_string()).collect();
            let document = format!("[{}]", elements.join(" ,\n"));
            prop_assert_eq!(read(1_000, [document.as_bytes()]), (elements, true));
        }
    }
}
