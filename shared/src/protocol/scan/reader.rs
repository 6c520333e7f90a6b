//! The JSON grammar: walks a body value by value and refuses what `serde_json` would.
//!
//! Knows nothing of field names. A container is either walked by its caller ([`Reader::object`],
//! [`Reader::array`]: a stack frame each, used for three levels at most) or skipped as a whole with its
//! nesting in a bit set.

use super::text::{self, Text};
use super::{MAX_DEPTH, ScanError, number};
use std::ops::Range;

/// A place in a body.
pub(super) struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    /// Containers that are open.
    depth: u32,
}

/// A value that was read past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Number(Range<usize>),
    Text(Text),
    Array,
    Object,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, bytes: text.as_bytes(), at: 0, depth: 0 }
    }

    /// The offset of the next byte.
    pub(super) fn offset(&self) -> usize {
        self.at
    }

    /// Skips blanks and looks at the first byte after them. The end of the body is an error here.
    #[inline]
    pub(super) fn peek(&mut self) -> Result<u8, ScanError> {
        while let Some(byte) = self.bytes.get(self.at) {
            match byte {
                b' ' | b'\n' | b'\r' | b'\t' => self.at += 1,
                _ => return Ok(*byte),
            }
        }
        Err(self.malformed())
    }

    /// What a string says.
    pub(super) fn unescape(&self, text: &Text) -> String {
        let inner = self.text.get(text.range.start + 1..text.range.end - 1).unwrap_or_default();
        if text.has_escapes { text::unescape(inner) } else { inner.to_owned() }
    }

    /// A string's bytes between the quotes if they are what it says.
    pub(super) fn plain(&self, text: &Text) -> Option<&'a str> {
        let inner = self.text.get(text.range.start + 1..text.range.end - 1)?;
        (!text.has_escapes).then_some(inner)
    }

    /// A number as written.
    pub(super) fn slice(&self, range: Range<usize>) -> &'a str {
        self.text.get(range).unwrap_or_default()
    }

    /// Nothing but blanks may follow.
    pub(super) fn end(mut self) -> Result<(), ScanError> {
        match self.peek() {
            Ok(_) => Err(self.malformed()),
            Err(_) => Ok(()),
        }
    }

    /// Walks the object that starts at the next byte. `field` is called with each key when its value is next
    /// and must read past that value.
    pub(super) fn object(
        &mut self,
        mut field: impl FnMut(&mut Self, &Text) -> Result<(), ScanError>,
    ) -> Result<(), ScanError> {
        self.enter()?;
        if self.peek()? != b'}' {
            loop {
                let key = self.key()?;
                self.peek()?;
                field(self, &key)?;
                match self.peek()? {
                    b',' => self.at += 1,
                    b'}' => break,
                    _ => return Err(self.malformed()),
                }
            }
        }
        self.leave();
        Ok(())
    }

    /// Walks the array that starts at the next byte. `element` is called when an element is next and must read
    /// past it.
    pub(super) fn array(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<(), ScanError>,
    ) -> Result<(), ScanError> {
        self.enter()?;
        if self.peek()? != b']' {
            loop {
                self.peek()?;
                element(self)?;
                match self.peek()? {
                    b',' => self.at += 1,
                    b']' => break,
                    _ => return Err(self.malformed()),
                }
            }
        }
        self.leave();
        Ok(())
    }

    /// Reads past any value.
    pub(super) fn value(&mut self) -> Result<Value, ScanError> {
        match self.peek()? {
            b'[' => self.skip_container().map(|()| Value::Array),
            b'{' => self.skip_container().map(|()| Value::Object),
            first => self.scalar(first),
        }
    }

    fn skip_container(&mut self) -> Result<(), ScanError> {
        let outside = self.depth;
        // One bit an open container, the innermost lowest: 1 = object.
        let mut objects = 0_u128;
        loop {
            match self.peek()? {
                b'{' => {
                    self.enter()?;
                    objects = objects << 1 | 1;
                    if self.peek()? != b'}' {
                        self.key()?;
                        continue;
                    }
                }
                b'[' => {
                    self.enter()?;
                    objects <<= 1;
                    if self.peek()? != b']' {
                        continue;
                    }
                }
                first => {
                    self.scalar(first)?;
                }
            }
            // After a value, or right before the end of an empty container.
            loop {
                let is_object = objects & 1 == 1;
                match self.peek()? {
                    b',' => {
                        self.at += 1;
                        if is_object {
                            self.key()?;
                        }
                        break;
                    }
                    b'}' if is_object => self.leave(),
                    b']' if !is_object => self.leave(),
                    _ => return Err(self.malformed()),
                }
                objects >>= 1;
                if self.depth == outside {
                    return Ok(());
                }
            }
        }
    }

    /// Reads a key and its colon.
    fn key(&mut self) -> Result<Text, ScanError> {
        if self.peek()? != b'"' {
            return Err(self.malformed());
        }
        let key = self.string()?;
        if self.peek()? != b':' {
            return Err(self.malformed());
        }
        self.at += 1;
        Ok(key)
    }

    fn scalar(&mut self, first: u8) -> Result<Value, ScanError> {
        match first {
            b'"' => self.string().map(Value::Text),
            b'-' | b'0'..=b'9' => {
                let start = self.at;
                self.at = number::end_of_number(self.bytes, start)
                    .map_err(|offset| ScanError::NotJson { offset })?;
                Ok(Value::Number(start..self.at))
            }
            b't' => self.literal(b"true", Value::Bool(true)),
            b'f' => self.literal(b"false", Value::Bool(false)),
            b'n' => self.literal(b"null", Value::Null),
            _ => Err(self.malformed()),
        }
    }

    #[inline]
    fn string(&mut self) -> Result<Text, ScanError> {
        let text = text::read(self.bytes, self.at).map_err(|offset| ScanError::NotJson { offset })?;
        self.at = text.range.end;
        Ok(text)
    }

    fn literal(&mut self, word: &[u8], value: Value) -> Result<Value, ScanError> {
        let is_next = self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(word));
        if !is_next {
            return Err(self.malformed());
        }
        self.at += word.len();
        Ok(value)
    }

    /// Steps over an opening bracket.
    fn enter(&mut self) -> Result<(), ScanError> {
        if self.depth == MAX_DEPTH {
            return Err(ScanError::TooDeep);
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    /// Steps over a closing bracket.
    fn leave(&mut self) {
        self.depth -= 1;
        self.at += 1;
    }

    fn malformed(&self) -> ScanError {
        ScanError::NotJson { offset: self.at }
    }
}
