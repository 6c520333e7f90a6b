//! What `serde_json` makes of a body, and the scanner's facts in the same words.

use crate::protocol::scan::BodyFacts;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use std::fmt;

/// A body's facts without places: values of ranges instead.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    model: Option<String>,
    stream: Option<bool>,
    limits: [Option<u64>; 4],
    n: Option<u64>,
    texts: [Option<String>; 4],
    message_count: Option<u32>,
    first_message: Option<Value>,
    is_background: bool,
    store: Option<bool>,
    is_empty: bool,
    stream_options: Option<(Value, bool, Option<Option<bool>>)>,
}

/// Why a body is refused, as far as the order of errors leaves it open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    NotJson,
    NotAnObject,
    Ambiguous,
}

impl Refusal {
    /// The labels that the scanner may answer with. It reads once, so of two faults it names the first.
    pub fn labels(self) -> &'static [&'static str] {
        match self {
            Self::NotJson => {
                &["not_json", "not_utf8", "too_deep", "not_an_object", "repeated_field", "wrong_type"]
            }
            Self::NotAnObject => &["not_an_object"],
            Self::Ambiguous => &["repeated_field", "wrong_type"],
        }
    }
}

/// The scanner's facts.
pub fn said_by_scan(body: &[u8], facts: &BodyFacts) -> Said {
    let parsed =
        |range: &std::ops::Range<usize>| -> Value { serde_json::from_slice(&body[range.clone()]).unwrap() };
    let BodyFacts { model, stream, work, session, layout } = facts.clone();
    assert_eq!((body[layout.open_brace], body[layout.close_brace]), (b'{', b'}'));
    let outside = [&body[..layout.open_brace], &body[layout.close_brace + 1..]].concat();
    assert!(outside.iter().all(u8::is_ascii_whitespace));
    let limits = work.output_limits;
    Said {
        model: model.map(|model| {
            assert_eq!(parsed(&model.range), Value::from(model.value.as_str()));
            model.value
        }),
        stream,
        limits: [limits.max_tokens, limits.max_completion_tokens, limits.max_output_tokens, limits.gemini],
        n: work.n,
        texts: [
            work.service_tier,
            session.previous_response_id,
            session.prompt_cache_key,
            session.metadata_user_id,
        ],
        message_count: work.message_count,
        first_message: session.first_message.as_ref().map(parsed),
        is_background: work.is_background,
        store: session.store,
        is_empty: layout.is_empty,
        stream_options: layout.stream_options.map(|options| {
            let usage = options.include_usage.map(|usage| {
                assert_eq!(parsed(&usage.range), usage.value.map_or(Value::Null, Value::from));
                usage.value
            });
            (parsed(&options.range), options.is_empty, usage)
        }),
    }
}

/// The same facts from trees.
pub fn said_by_serde(body: &[u8]) -> Result<Said, Refusal> {
    let tree: Value = serde_json::from_slice(body).map_err(|_| Refusal::NotJson)?;
    if !tree.is_object() {
        return Err(Refusal::NotAnObject);
    }
    let Pairs(pairs) = serde_json::from_slice(body).unwrap();
    let is_config = |name: &str| name == "generationConfig" || name == "generation_config";
    let mut said = Said { is_empty: pairs.is_empty(), ..Said::default() };
    for name in UNIQUE {
        once(&pairs, |key| key == name)?;
    }
    once(&pairs, is_config)?;

    said.model = typed(&tree["model"], |v| v.as_str().map(str::to_owned))?;
    said.stream = typed(&tree["stream"], Value::as_bool)?;
    said.is_background = typed(&tree["background"], Value::as_bool)? == Some(true);
    said.store = tree["store"].as_bool();
    said.texts = [
        typed(&tree["service_tier"], |v| v.as_str().map(str::to_owned))?,
        typed(&tree["previous_response_id"], |v| v.as_str().map(str::to_owned))?,
        tree["prompt_cache_key"].as_str().map(str::to_owned),
        tree["metadata"]["user_id"].as_str().map(str::to_owned),
    ];
    for (slot, name) in ["max_tokens", "max_completion_tokens", "max_output_tokens"].into_iter().enumerate() {
        said.limits[slot] = whole(&pairs, |key| key == name)?;
    }
    said.n = whole(&pairs, |key| key == "n")?.max(whole(&pairs, |key| key == "best_of")?);
    if let Some((_, config)) = pairs.iter().find(|(key, _)| is_config(key))
        && let Pair::Object(fields) = Pair::of(config)?
    {
        for (slot, names) in [["maxOutputTokens", "max_output_tokens"], ["candidateCount", "candidate_count"]]
            .into_iter()
            .enumerate()
        {
            let value = whole(&fields, |key| names.contains(&key))?;
            if slot == 0 {
                said.limits[3] = value;
            } else {
                said.n = said.n.max(value);
            }
        }
    }
    for name in ["messages", "input", "contents"] {
        let (count, first) = match &tree[name] {
            Value::Array(list) => (list.len(), list.first()),
            text @ Value::String(_) => (1, Some(text)),
            _ => continue,
        };
        said.message_count = Some(count.try_into().unwrap());
        said.first_message = first.cloned();
        break;
    }
    if let Some((_, options)) = pairs.iter().find(|(key, _)| key == "stream_options") {
        let (is_empty, usage) = match Pair::of(options)? {
            Pair::Null => (true, None),
            Pair::Object(fields) => {
                once(&fields, |key| key == "include_usage")?;
                let usage = tree["stream_options"].get("include_usage");
                (fields.is_empty(), usage.map(|usage| typed(usage, Value::as_bool)).transpose()?)
            }
        };
        said.stream_options = Some((tree["stream_options"].clone(), is_empty, usage));
    }
    Ok(said)
}

const UNIQUE: [&str; 14] = [
    "model",
    "stream",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "n",
    "best_of",
    "service_tier",
    "messages",
    "input",
    "contents",
    "previous_response_id",
    "background",
    "stream_options",
];

enum Pair {
    Null,
    Object(Vec<(String, Box<RawValue>)>),
}

impl Pair {
    fn of(raw: &RawValue) -> Result<Self, Refusal> {
        match raw.get().as_bytes()[0] {
            b'n' => Ok(Self::Null),
            b'{' => Ok(Self::Object(serde_json::from_str::<Pairs>(raw.get()).unwrap().0)),
            _ => Err(Refusal::Ambiguous),
        }
    }
}

/// An object with its repeated keys.
struct Pairs(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Pairs, M::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(All)
    }
}

fn once(
    pairs: &[(String, Box<RawValue>)],
    is_it: impl Fn(&str) -> bool,
) -> Result<Option<&RawValue>, Refusal> {
    let mut found = pairs.iter().filter(|(key, _)| is_it(key)).map(|(_, value)| &**value);
    match (found.next(), found.next()) {
        (_, Some(_)) => Err(Refusal::Ambiguous),
        (first, None) => Ok(first),
    }
}

fn typed<T>(value: &Value, read: impl Fn(&Value) -> Option<T>) -> Result<Option<T>, Refusal> {
    if value.is_null() { Ok(None) } else { read(value).map(Some).ok_or(Refusal::Ambiguous) }
}

/// A whole number by shifting the point of its text. A tree has rounded it already.
fn whole(pairs: &[(String, Box<RawValue>)], is_it: impl Fn(&str) -> bool) -> Result<Option<u64>, Refusal> {
    let Some(raw) = once(pairs, is_it)? else { return Ok(None) };
    let number = raw.get();
    if number == "null" {
        return Ok(None);
    }
    let lower = number.to_ascii_lowercase();
    let (mantissa, exponent) = lower.split_once('e').unwrap_or((&lower, "0"));
    let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if !integer.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
        return Err(Refusal::Ambiguous);
    }
    if mantissa.bytes().all(|byte| b"-0.".contains(&byte)) {
        return Ok(Some(0));
    }
    let shift = exponent.parse::<i32>().unwrap();
    let (mut before, mut after) = (integer.to_owned(), fraction.to_owned());
    for _ in 0..shift {
        before.push(if after.is_empty() { '0' } else { after.remove(0) });
    }
    for _ in shift..0 {
        after.insert(0, before.pop().unwrap_or('0'));
    }
    let is_whole = after.bytes().all(|byte| byte == b'0');
    before.parse().ok().filter(|_| is_whole).map(Some).ok_or(Refusal::Ambiguous)
}
