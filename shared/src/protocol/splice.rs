//! Replaces bytes of a body without copying the rest.
//!
//! A redirect swaps the model's bytes and a chat stream gets `include_usage`; all other bytes go upstream as
//! the seat sent them, so that prompt caches, which match prefixes, survive. Knows nothing of why.

use super::scan::BodyFacts;
use bytes::Bytes;
use std::ops::Range;

/// One replacement. An empty range inserts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// The bytes of the body that go.
    pub range: Range<usize>,
    /// What comes in their place.
    pub with: Bytes,
}

/// A body in pieces that share the original's memory. No piece is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segments {
    parts: Vec<Bytes>,
    len: usize,
}

/// Cuts `body` so that the patches stand in it. They may come in any order and must not overlap: they are made
/// from one scan of this body. One that overlaps an earlier one or leaves the body is our bug and is left out.
#[must_use]
pub fn segments(body: &Bytes, mut patches: Vec<Patch>) -> Segments {
    patches.sort_by_key(|patch| (patch.range.start, patch.range.end));
    let mut segments = Segments { parts: Vec::with_capacity(2 * patches.len() + 1), len: 0 };
    let mut done = 0;
    for Patch { range, with } in patches {
        let fits = done <= range.start && range.start <= range.end && range.end <= body.len();
        debug_assert!(fits, "patch {range:?} overlaps another or leaves the body");
        if fits {
            segments.push(body.slice(done..range.start));
            segments.push(with);
            done = range.end;
        }
    }
    segments.push(body.slice(done..));
    segments
}

/// Puts another model in; `None` if the body names none or already this one.
#[must_use]
pub fn replace_model(facts: &BodyFacts, new: &str) -> Option<Patch> {
    let model = facts.model.as_ref().filter(|model| model.value != new)?;
    let quoted = serde_json::Value::from(new).to_string();
    Some(Patch { range: model.range.clone(), with: Bytes::from(quoted) })
}

/// Turns `stream_options.include_usage` on; `None` if it is on or the body asks for no stream.
#[must_use]
pub fn include_usage(facts: &BodyFacts) -> Option<Patch> {
    if facts.stream != Some(true) {
        return None;
    }
    let Some(options) = &facts.layout.stream_options else {
        // `stream` is there, so the object is not empty. Last place: the bytes before it keep their offsets.
        let end = facts.layout.close_brace;
        let field = Bytes::from_static(br#","stream_options":{"include_usage":true}"#);
        return Some(Patch { range: end..end, with: field });
    };
    if options.is_empty {
        let object = Bytes::from_static(br#"{"include_usage":true}"#);
        return Some(Patch { range: options.range.clone(), with: object });
    }
    match &options.include_usage {
        Some(flag) if flag.value == Some(true) => None,
        Some(flag) => Some(Patch { range: flag.range.clone(), with: Bytes::from_static(b"true") }),
        None => {
            let first = options.range.start + 1;
            Some(Patch { range: first..first, with: Bytes::from_static(br#""include_usage":true,"#) })
        }
    }
}

impl Segments {
    /// Bytes in all: the `content-length`.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The pieces in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Bytes> {
        self.parts.iter()
    }

    fn push(&mut self, part: Bytes) {
        if !part.is_empty() {
            self.len += part.len();
            self.parts.push(part);
        }
    }
}

impl From<Bytes> for Segments {
    /// A body as it came.
    fn from(body: Bytes) -> Self {
        segments(&body, Vec::new())
    }
}

impl IntoIterator for Segments {
    type Item = Bytes;
    type IntoIter = std::vec::IntoIter<Bytes>;

    fn into_iter(self) -> Self::IntoIter {
        self.parts.into_iter()
    }
}

impl<'a> IntoIterator for &'a Segments {
    type Item = &'a Bytes;
    type IntoIter = std::slice::Iter<'a, Bytes>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::super::scan::scan;
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn joined(segments: &Segments) -> Vec<u8> {
        segments.iter().flatten().copied().collect()
    }

    fn with_usage(body: &str) -> Option<String> {
        let patch = include_usage(&scan(body.as_bytes()).unwrap())?;
        let spliced = segments(&Bytes::copy_from_slice(body.as_bytes()), vec![patch]);
        Some(String::from_utf8(joined(&spliced)).unwrap())
    }

    #[test]
    fn patches_may_come_in_any_order_and_share_a_place() {
        let body = Bytes::from_static(b"0123456789");
        let patch = |range, with: &'static str| Patch { range, with: Bytes::from_static(with.as_bytes()) };
        let spliced = segments(
            &body,
            vec![patch(8..10, "end"), patch(2..3, "X"), patch(2..2, "before"), patch(5..6, "")],
        );
        assert_eq!(joined(&spliced), b"01beforeX3467end");
        assert_eq!(spliced.len(), 16);
        assert!(spliced.iter().all(|part| !part.is_empty()));
    }

    #[test]
    fn pieces_share_the_bodys_memory() {
        let body = Bytes::from(vec![b'x'; 64]);
        let spliced = segments(&body, vec![Patch { range: 10..20, with: Bytes::from_static(b"y") }]);
        let pointers: Vec<_> = spliced.iter().map(|part| part.as_ptr()).collect();
        assert_eq!(pointers[0], body.as_ptr());
        assert_eq!(pointers[2], body[20..].as_ptr());
        let whole = Segments::from(body.clone());
        assert_eq!(whole.iter().map(|part| part.as_ptr()).collect::<Vec<_>>(), [body.as_ptr()]);
        assert!(Segments::from(Bytes::new()).is_empty());
    }

    #[test]
    fn usage_is_asked_for_once() {
        for (body, expected) in [
            (r#"{"stream":true}"#, Some(r#"{"stream":true,"stream_options":{"include_usage":true}}"#)),
            (
                r#"{"stream_options":null,"stream":true}"#,
                Some(r#"{"stream_options":{"include_usage":true},"stream":true}"#),
            ),
            (
                r#"{"stream_options":{ },"stream":true}"#,
                Some(r#"{"stream_options":{"include_usage":true},"stream":true}"#),
            ),
            (
                r#"{"stream_options":{"a":1},"stream":true}"#,
                Some(r#"{"stream_options":{"include_usage":true,"a":1},"stream":true}"#),
            ),
            (
                r#"{"stream_options":{"include_usage" : false },"stream":true}"#,
                Some(r#"{"stream_options":{"include_usage" : true },"stream":true}"#),
            ),
            (
                r#"{"stream_options":{"include_usage":null},"stream":true}"#,
                Some(r#"{"stream_options":{"include_usage":true},"stream":true}"#),
            ),
            (r#"{"stream_options":{"include_usage":true},"stream":true}"#, None),
            (r#"{"stream":false}"#, None),
            (r#"{"model":"m"}"#, None),
        ] {
            assert_eq!(with_usage(body).as_deref(), expected, "{body}");
        }
    }

    #[test]
    fn a_model_that_is_not_there_or_the_same_is_left_alone() {
        assert_eq!(replace_model(&scan(b"{}").unwrap(), "new"), None);
        assert_eq!(replace_model(&scan(br#"{"model":"\u006dine"}"#).unwrap(), "mine"), None);
    }

    proptest! {
        #[test]
        fn only_the_models_bytes_change(
            model in ".{0,12}", new in ".{0,12}", before in "[ \n\t]{0,3}", text in ".{0,20}", stream in any::<bool>()
        ) {
            prop_assume!(model != new);
            let quoted = Value::from(model.as_str()).to_string();
            let message = json!({"role": "user", "content": text}).to_string();
            let head = format!("{before}{{\"messages\":[{message}],{before}\"model\":{before}");
            let tail = format!("{before},\"stream\":{stream}{before}}}{before}");
            let body = Bytes::from(format!("{head}{quoted}{tail}"));
            let facts = scan(&body).unwrap();

            let spliced = segments(&body, replace_model(&facts, &new).into_iter().collect());
            let bytes = joined(&spliced);
            prop_assert_eq!(spliced.len(), bytes.len());
            prop_assert!(bytes.starts_with(head.as_bytes()) && bytes.ends_with(tail.as_bytes()));
            let mut expected: Value = serde_json::from_slice(&body).unwrap();
            expected["model"] = Value::from(new.as_str());
            prop_assert_eq!(&serde_json::from_slice::<Value>(&bytes).unwrap(), &expected);

            let both = replace_model(&facts, &new).into_iter().chain(include_usage(&facts)).collect();
            if stream {
                expected["stream_options"] = json!({"include_usage": true});
            }
            let bytes = joined(&segments(&body, both));
            prop_assert_eq!(&serde_json::from_slice::<Value>(&bytes).unwrap(), &expected);
        }
    }
}
