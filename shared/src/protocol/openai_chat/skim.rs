//! Knows the next chunk of a chat stream by the last one, without reading it.
//!
//! The chunks of a generation are alike to the byte but for one string, the text (and `obfuscation`, which
//! OpenAI pads its chunks with). After a chunk was read whole, what stands around these strings is kept; a
//! chunk with the same bytes around another text says the same and nothing more. Unlike events with a name,
//! this is exact: only the well-formedness of the new text is taken on trust.
//!
//! Where chunks are never alike (a provider that stamps each one), learning is given up.

use crate::protocol::facts::{EventFacts, EventKind, Finish, Phase};
use crate::protocol::lenient::{Fold, Many, Raw, lenient, parse};
use memchr::memchr2;

/// What is known of the last chunk that carried nothing but text.
#[derive(Debug, Default)]
pub(crate) struct Skimmer {
    template: Option<Template>,
    misses: u8,
}

#[derive(Debug)]
struct Template {
    /// The bytes around the strings that vary: one more than there are strings. The first string is the text.
    fixed: Vec<Vec<u8>>,
    /// What the chunk said of silence.
    phase: Option<Phase>,
}

impl Skimmer {
    /// When the chunk is like the last one: what such a chunk says.
    pub(crate) fn skim(&self, data: &[u8]) -> Option<EventFacts<'static>> {
        let template = self.template.as_ref()?;
        let (first, others) = template.fixed.split_first()?;
        let mut rest = data.strip_prefix(first.as_slice())?;
        for (i, fixed) in others.iter().enumerate() {
            let len = string_len(rest)?;
            if i == 0 && len == 0 {
                return None;
            }
            rest = rest.get(len..)?.strip_prefix(fixed.as_slice())?;
        }
        rest.is_empty().then(|| EventFacts { phase: template.phase, ..EventFacts::of(EventKind::Content) })
    }

    /// A chunk was like the last one.
    pub(crate) fn hit(&mut self) {
        self.misses = 0;
    }

    /// Learns from a chunk that was read whole. One that says more than text is forgotten about at once: the
    /// next one may take back what it said.
    pub(crate) fn learn(&mut self, data: &[u8], facts: &EventFacts<'_>) {
        let is_text_alone = facts.kind == EventKind::Content
            && facts.finish == Finish::No
            && facts.usage.is_none()
            && facts.error.is_none()
            && data.len() <= MAX_TEMPLATE_BYTES;
        self.template = None;
        if is_text_alone && self.misses < MAX_MISSES {
            self.misses += 1;
            self.template = fixed_parts(data).map(|fixed| Template { fixed, phase: facts.phase });
        }
    }
}

/// The bytes around the text and the obfuscation; `None` when there is not exactly one text.
fn fixed_parts(data: &[u8]) -> Option<Vec<Vec<u8>>> {
    let chunk = parse::<Chunk<'_>>(data)?;
    let texts = chunk.choices.folded;
    let text = inside(data, texts.only.filter(|_| texts.count == 1)?)?;
    let mut fixed = vec![data.get(..text.0)?.to_vec()];
    match chunk.obfuscation.filled().filter(|json| json.starts_with('"')) {
        Some(json) => {
            let padding = inside(data, json)?;
            // It comes last where it comes at all; elsewhere the order of the strings would matter.
            fixed.push(data.get(text.1..padding.0)?.to_vec());
            fixed.push(data.get(padding.1..)?.to_vec());
        }
        None => fixed.push(data.get(text.1..)?.to_vec()),
    }
    Some(fixed)
}

/// Where the inside of a string, a part of `data` with its quotes, starts and ends.
fn inside(data: &[u8], string: &str) -> Option<(usize, usize)> {
    let start = string.as_ptr().addr().checked_sub(data.as_ptr().addr())?;
    let end = start.checked_add(string.len())?;
    (data.get(start..end)? == string.as_bytes()).then_some((start + 1, end - 1))
}

/// The length of the string that `rest` is in, up to its closing quote.
fn string_len(rest: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr2(b'"', b'\\', rest.get(at..)?)?;
        if rest.get(at) == Some(&b'"') {
            return Some(at);
        }
        at += 2;
    }
}

lenient! {
    struct Chunk<'a> {
        choices: Many<Texts<'a>> = "choices",
        obfuscation: Raw<'a> = "obfuscation",
    }
}

lenient! {
    struct Choice<'a> {
        delta: Delta<'a> = "delta",
        text: Raw<'a> = "text",
    }
}

lenient! {
    struct Delta<'a> {
        content: Raw<'a> = "content",
        reasoning_content: Raw<'a> = "reasoning_content",
        reasoning: Raw<'a> = "reasoning",
        tool_calls: Many<Arguments<'a>> = "tool_calls",
    }
}

lenient! {
    struct ToolCall<'a> {
        function: Function<'a> = "function",
    }
}

lenient! {
    struct Function<'a> {
        arguments: Raw<'a> = "arguments",
    }
}

/// The strings of a chunk that are text, as JSON.
#[derive(Clone, Copy, Debug, Default)]
struct Texts<'a> {
    count: usize,
    only: Option<&'a str>,
}

impl<'a> Texts<'a> {
    fn of(values: [Raw<'a>; 4]) -> Self {
        let mut strings = values.into_iter().filter_map(Raw::filled).filter(|json| json.starts_with('"'));
        let only = strings.next();
        Self { count: usize::from(only.is_some()) + strings.count(), only }
    }
}

impl Fold for Texts<'_> {
    fn fold(&mut self, next: Self) {
        self.count += next.count;
        self.only = self.only.or(next.only);
    }
}

impl<'de: 'a, 'a> serde::Deserialize<'de> for Texts<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Choice { delta, text } = Choice::deserialize(deserializer)?;
        let mut texts = Self::of([text, delta.content, delta.reasoning_content, delta.reasoning]);
        texts.fold(delta.tool_calls.folded.0);
        Ok(texts)
    }
}

/// The arguments of a tool call.
#[derive(Clone, Copy, Debug, Default)]
struct Arguments<'a>(Texts<'a>);

impl Fold for Arguments<'_> {
    fn fold(&mut self, next: Self) {
        self.0.fold(next.0);
    }
}

impl<'de: 'a, 'a> serde::Deserialize<'de> for Arguments<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let call = ToolCall::deserialize(deserializer)?;
        let none = Raw::default();
        Ok(Self(Texts::of([call.function.arguments, none, none, none])))
    }
}

/// Learning costs a second reading: given up after this many in a row that were of no use.
const MAX_MISSES: u8 = 8;

/// A larger chunk is no word of a stream.
const MAX_TEMPLATE_BYTES: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::openai_chat::response::classify;
    use proptest::prelude::*;

    fn learned(data: &str) -> Skimmer {
        let mut skimmer = Skimmer::default();
        skimmer.learn(data.as_bytes(), &classify(b"", data.as_bytes()));
        skimmer
    }

    fn knows(skimmer: &Skimmer, data: &str) -> bool {
        skimmer.skim(data.as_bytes()).is_some()
    }

    #[test]
    fn a_chunk_with_another_text_is_known() {
        let chunk = |text: &str, padding: &str| {
            format!(
                r#"{{"id":"c","model":"m","choices":[{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":null}}],"usage":null,"obfuscation":"{padding}"}}"#
            )
        };
        let skimmer = learned(&chunk("Hello", "abc"));
        for text in ["x", r#"a \"quoted\" word"#, r"ends with \\", "Hello", r#"\",\"finish_reason\":\"stop"#]
        {
            assert!(knows(&skimmer, &chunk(text, "")), "{text}");
        }
        assert!(!knows(&skimmer, &chunk("", "abc")), "an empty text is no content");
        assert!(!knows(&skimmer, &chunk(r#"x"},"finish_reason":"stop"#, "")));
        assert!(!knows(&skimmer, &chunk("x", "").replace("null", "\"stop\"")));
        assert!(!knows(&skimmer, &chunk("x", "")[..40]));
        assert!(!knows(&skimmer, &format!("{} ", chunk("x", ""))));
    }

    #[test]
    fn tool_arguments_and_reasoning_are_known_too() {
        let call = r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{"}}]}}]}"#;
        assert!(knows(&learned(call), &call.replace("\"{\"", r#""\"a\":""#)));
        let thought = r#"{"choices":[{"delta":{"content":null,"reasoning_content":"hm"}}]}"#;
        let skimmer = learned(thought);
        let facts = skimmer.skim(thought.replace("hm", "so").as_bytes()).unwrap();
        assert_eq!(facts.phase, Some(Phase::Thinking));
    }

    #[test]
    fn nothing_is_learned_from_a_chunk_that_says_more_than_text() {
        for data in [
            r#"{"choices":[{"delta":{"content":"x"},"finish_reason":"stop"}]}"#,
            r#"{"choices":[{"delta":{"content":"x"}}],"usage":{"prompt_tokens":1}}"#,
            r#"{"choices":[{"delta":{"content":"x"}},{"delta":{"content":"y"}}]}"#,
            r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#,
            r#"{"obfuscation":"x","choices":[{"delta":{"content":"x"}}]}"#,
            r#"{"error":"x","choices":[{"delta":{"content":"x"}}]}"#,
        ] {
            assert!(learned(data).template.is_none(), "{data}");
        }
    }

    #[test]
    fn learning_is_given_up_where_it_is_of_no_use() {
        let mut skimmer = Skimmer::default();
        let chunk = |n: u8| format!(r#"{{"created":{n},"choices":[{{"delta":{{"content":"x"}}}}]}}"#);
        for n in 0..=MAX_MISSES {
            let data = chunk(n);
            skimmer.learn(data.as_bytes(), &classify(b"", data.as_bytes()));
        }
        assert!(!knows(&skimmer, &chunk(MAX_MISSES)));
    }

    proptest! {
        /// Chunks that differ in one value each: what is known says what reading it says.
        #[test]
        fn what_is_known_is_what_would_be_read(
            first in any::<[u8; 6]>(),
            second in any::<[u8; 6]>(),
        ) {
            let (first, second) = (chunk(first), chunk(second));
            if let Some(known) = learned(&first).skim(second.as_bytes()) {
                let read = classify(b"", second.as_bytes());
                let read = EventFacts { model: None, response_id: None, service_tier: None, ..read };
                prop_assert_eq!(known, read, "{} after {}", second, first);
            }
        }
    }

    /// A chunk whose values are chosen by a byte each, mostly the plain one.
    fn chunk(choice: [u8; 6]) -> String {
        let pick = |values: &[&'static str], byte: u8| values[usize::from(byte) % 8 % values.len()];
        let [content, reasoning, calls, reason, usage, padding] = choice;
        format!(
            r#"{{"choices":[{{"delta":{{"content":{},"reasoning_content":{},"tool_calls":{}}},"finish_reason":{}}}],"usage":{},"obfuscation":{}}}"#,
            pick(&[r#""a""#, r#""b\n\"""#, "null", r#""""#, r#""\\""#, "[]", r#"["x"]"#], content),
            pick(&["null", "null", "null", r#""hm""#, r#""oh""#, r#""""#], reasoning),
            pick(
                &["null", "[]", r#"[{"function":{"arguments":"{"}}]"#, r#"[{"function":{"arguments":""}}]"#],
                calls
            ),
            pick(&["null", "null", "null", "null", r#""stop""#, r#""""#], reason),
            pick(&["null", "null", "null", "{}", r#"{"prompt_tokens":1}"#], usage),
            pick(&[r#""""#, r#""abc""#, r#""x""#, "null"], padding),
        )
    }
}
