//! Every room against a slow reading of the same rules over a parsed tree.

use super::*;
use crate::protocol::facts::Finish;
use proptest::prelude::*;
use serde_json::{Map, Value};

/// What the rules say, read from a tree.
#[derive(Debug, PartialEq, Eq)]
struct Expected {
    kind: EventKind,
    finish: Finish,
    stop_reason: Option<String>,
    model: Option<String>,
    counts: bool,
}

impl Expected {
    fn of(kind: EventKind) -> Self {
        Self { kind, finish: Finish::No, stop_reason: None, model: None, counts: false }
    }
}

fn filled(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Bool(true) | Value::Number(_) => true,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
    }
}

fn word(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

fn counts(usage: &Value, fields: &[&str]) -> bool {
    fields.iter().any(|field| usage[*field].as_u64().is_some())
}

fn elements(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn anthropic(name: &str, tree: &Value) -> Expected {
    const NAMES: [&str; 8] = [
        "ping",
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "error",
    ];
    const COUNTS: [&str; 3] = ["input_tokens", "output_tokens", "cache_read_input_tokens"];
    let known = |word: &str| NAMES.into_iter().find(|name| *name == word);
    let name = known(name).or_else(|| known(tree["type"].as_str().unwrap_or_default()));
    match name {
        Some("ping") => Expected::of(EventKind::Ping),
        Some("message_start") => Expected {
            model: word(&tree["message"]["model"]),
            counts: counts(&tree["message"]["usage"], &COUNTS),
            ..Expected::of(EventKind::Preamble)
        },
        Some("content_block_start" | "content_block_delta") => Expected::of(EventKind::Content),
        Some("message_delta") => {
            let stop_reason = word(&tree["delta"]["stop_reason"]);
            let (kind, finish) = match stop_reason {
                Some(_) => (EventKind::Content, Finish::Stopped),
                None => (EventKind::Other, Finish::No),
            };
            let counts = counts(&tree["usage"], &COUNTS);
            Expected { finish, stop_reason, counts, ..Expected::of(kind) }
        }
        Some("message_stop") => Expected { finish: Finish::End, ..Expected::of(EventKind::End) },
        Some("error") => Expected::of(EventKind::Error),
        None if filled(&tree["error"]) => Expected::of(EventKind::Error),
        _ => Expected::of(EventKind::Other),
    }
}

fn chat(name: &str, tree: &Value) -> Expected {
    if name == "error" || filled(&tree["error"]) || tree["object"] == "error" {
        return Expected::of(EventKind::Error);
    }
    let choices = elements(&tree["choices"]);
    let generates = |choice: &Value| {
        let delta = &choice["delta"];
        ["content", "tool_calls", "refusal", "reasoning_content", "reasoning"]
            .iter()
            .any(|field| filled(&delta[*field]))
            || filled(&choice["text"])
    };
    let stop_reason = choices.iter().rev().find_map(|choice| word(&choice["finish_reason"]));
    let kind = if choices.iter().any(generates) || stop_reason.is_some() {
        EventKind::Content
    } else if tree["choices"].is_array() {
        EventKind::Preamble
    } else {
        EventKind::Other
    };
    const COUNTS: [&str; 4] = ["prompt_tokens", "input_tokens", "completion_tokens", "output_tokens"];
    Expected {
        finish: if stop_reason.is_some() { Finish::Stopped } else { Finish::No },
        stop_reason,
        model: word(&tree["model"]),
        counts: counts(&tree["usage"], &COUNTS)
            || choices.iter().any(|choice| counts(&choice["usage"], &COUNTS)),
        ..Expected::of(kind)
    }
}

fn responses(name: &str, tree: &Value) -> Expected {
    let known = |name: &str| {
        name.starts_with("response.")
            || name.starts_with("codex.")
            || name.ends_with(".delta")
            || ["error", "ping", "keepalive"].contains(&name)
    };
    let name = if known(name) { name } else { tree["type"].as_str().unwrap_or_default() };
    let response = &tree["response"];
    let failed =
        filled(&response["error"]) || response["status"] == "failed" || response["status"] == "cancelled";
    let of_response = |kind, finish| Expected {
        finish,
        stop_reason: if finish == Finish::End {
            word(&response["incomplete_details"]["reason"]).or(word(&response["status"]))
        } else {
            None
        },
        model: word(&response["model"]),
        counts: counts(
            &response["usage"],
            &["input_tokens", "prompt_tokens", "output_tokens", "completion_tokens"],
        ),
        ..Expected::of(kind)
    };
    match name {
        "ping" | "keepalive" => Expected::of(EventKind::Ping),
        "response.created" | "response.in_progress" | "response.queued" => {
            of_response(EventKind::Preamble, Finish::No)
        }
        "response.output_item.added" | "response.output_item.done" => Expected::of(EventKind::Content),
        "response.failed" | "response.cancelled" => of_response(EventKind::Error, Finish::End),
        "response.completed" | "response.incomplete" | "response.done" if failed => {
            of_response(EventKind::Error, Finish::End)
        }
        "response.completed" | "response.incomplete" | "response.done" => {
            of_response(EventKind::Content, Finish::End)
        }
        "error" | "response.error" => Expected::of(EventKind::Error),
        name if name.starts_with("codex.") => of_response(EventKind::Preamble, Finish::No),
        name if name.ends_with(".delta") => Expected::of(EventKind::Content),
        _ if filled(&tree["error"]) => Expected::of(EventKind::Error),
        _ => Expected::of(EventKind::Other),
    }
}

fn gemini(name: &str, tree: &Value) -> Expected {
    let inner = if filled(&tree["response"]) { &tree["response"] } else { tree };
    if name == "error" || filled(&tree["error"]) || filled(&inner["error"]) {
        return Expected::of(EventKind::Error);
    }
    let candidates = elements(&inner["candidates"]);
    let has_parts =
        candidates.iter().any(|candidate| filled(&Value::from(elements(&candidate["content"]["parts"]))));
    let reason = candidates.iter().rev().find_map(|candidate| word(&candidate["finishReason"]));
    let reason = reason.filter(|reason| reason != "FINISH_REASON_UNSPECIFIED");
    let stop_reason = reason.or(word(&inner["promptFeedback"]["blockReason"]));
    let kind = if has_parts || stop_reason.is_some() || filled(&inner["promptFeedback"]) {
        EventKind::Content
    } else if inner["candidates"].is_array() || filled(&inner["usageMetadata"]) {
        EventKind::Preamble
    } else {
        EventKind::Other
    };
    Expected {
        finish: if stop_reason.is_some() { Finish::Stopped } else { Finish::No },
        stop_reason,
        model: word(&inner["modelVersion"]),
        counts: counts(
            &inner["usageMetadata"],
            &["promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount"],
        ),
        ..Expected::of(kind)
    }
}

fn expected(dialect: Dialect, name: &str, tree: &Value) -> Expected {
    match dialect {
        Dialect::Anthropic => anthropic(name, tree),
        Dialect::OpenaiChat => chat(name, tree),
        Dialect::OpenaiResponses => responses(name, tree),
        Dialect::Gemini => gemini(name, tree),
    }
}

/// The keys and words that decide anything in any dialect.
const KEYS: &[&str] = &[
    "type",
    "message",
    "model",
    "usage",
    "delta",
    "content_block",
    "error",
    "stop_reason",
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "choices",
    "finish_reason",
    "content",
    "tool_calls",
    "refusal",
    "reasoning",
    "reasoning_content",
    "text",
    "object",
    "prompt_tokens",
    "completion_tokens",
    "response",
    "status",
    "incomplete_details",
    "reason",
    "item",
    "candidates",
    "parts",
    "thought",
    "finishReason",
    "promptFeedback",
    "blockReason",
    "usageMetadata",
    "promptTokenCount",
    "thoughtsTokenCount",
    "modelVersion",
    "other",
    "",
];
const WORDS: &[&str] = &[
    "",
    "ping",
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
    "error",
    "response.created",
    "response.output_item.added",
    "response.output_text.delta",
    "response.completed",
    "response.incomplete",
    "response.failed",
    "response.x",
    "codex.rate_limits",
    "keepalive",
    "failed",
    "stop",
    "SAFETY",
    "FINISH_REASON_UNSPECIFIED",
    "m",
    "\"choices\":[]",
    "é\u{1F600}\n\\",
];

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        3 => prop::sample::select(WORDS).prop_map(Value::from),
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        1 => (0_u64..100).prop_map(Value::from),
        1 => Just(Value::from(-1)),
        1 => Just(Value::from(1.5)),
    ]
}

/// Any value made of the words of all dialects, at most four deep.
fn tree() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            4 => prop::collection::vec((prop::sample::select(KEYS), inner), 0..6).prop_map(|members| {
                Value::from(members.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<Map<_, _>>())
            }),
        ]
    })
}

/// An object with each of these members or without it.
fn object(members: Vec<(&'static str, BoxedStrategy<Value>)>) -> BoxedStrategy<Value> {
    members
        .into_iter()
        .map(|(key, value)| prop::option::weighted(0.6, value).prop_map(move |value| Some((key, value?))))
        .collect::<Vec<_>>()
        .prop_map(|members| {
            let members = members.into_iter().flatten().map(|(key, value)| (key.to_owned(), value));
            Value::from(members.collect::<Map<_, _>>())
        })
        .boxed()
}

fn array(element: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    prop::collection::vec(element, 0..4).prop_map(Value::from).boxed()
}

/// Mostly one of these words, else anything.
fn one_of(words: &'static [&'static str]) -> BoxedStrategy<Value> {
    prop_oneof![4 => prop::sample::select(words).prop_map(Value::from), 1 => tree()].boxed()
}

/// Often something, often nothing, in all shapes of each.
fn content() -> BoxedStrategy<Value> {
    prop_oneof![
        2 => prop::sample::select(vec![Value::Null, "".into(), Value::from(Vec::<Value>::new()), Map::new().into()]),
        1 => one_of(WORDS),
    ]
    .boxed()
}

/// An error where there mostly is none.
fn rarely() -> BoxedStrategy<Value> {
    prop_oneof![6 => Just(Value::Null), 1 => content()].boxed()
}

fn usage(fields: &[&'static str]) -> BoxedStrategy<Value> {
    let count = prop_oneof![3 => (0_u64..100).prop_map(Value::from), 1 => leaf()].boxed();
    let usage = object(fields.iter().map(|field| (*field, count.clone())).collect());
    prop_oneof![4 => usage, 1 => tree()].boxed()
}

/// Data as the dialects write it, with everything in it that may be odd.
fn shaped() -> BoxedStrategy<Value> {
    let anthropic_usage = usage(&["input_tokens", "output_tokens", "cache_read_input_tokens"]);
    let openai_usage = usage(&["prompt_tokens", "completion_tokens", "input_tokens", "output_tokens"]);
    let anthropic = object(vec![
        ("type", one_of(WORDS)),
        ("message", object(vec![("model", one_of(WORDS)), ("usage", anthropic_usage.clone())])),
        ("delta", object(vec![("stop_reason", content()), ("text", content())])),
        ("usage", anthropic_usage),
        ("error", rarely()),
    ]);
    let delta = object(vec![
        ("content", content()),
        ("tool_calls", content()),
        ("refusal", content()),
        ("reasoning", content()),
        ("reasoning_content", content()),
    ]);
    let choice = object(vec![
        ("delta", delta),
        ("text", content()),
        ("finish_reason", content()),
        ("usage", openai_usage.clone()),
    ]);
    let chat = object(vec![
        ("model", one_of(WORDS)),
        ("choices", array(choice)),
        ("usage", openai_usage.clone()),
        ("error", rarely()),
        ("object", rarely()),
    ]);
    let response = object(vec![
        ("model", one_of(WORDS)),
        ("status", one_of(&["completed", "failed", "cancelled", "in_progress", ""])),
        ("incomplete_details", object(vec![("reason", content())])),
        ("usage", openai_usage),
        ("error", rarely()),
    ]);
    let responses = object(vec![("type", one_of(WORDS)), ("response", response), ("error", rarely())]);
    let part = object(vec![("text", content()), ("thought", content())]);
    let candidate = object(vec![
        ("content", object(vec![("parts", array(part))])),
        ("finishReason", one_of(&["", "STOP", "FINISH_REASON_UNSPECIFIED"])),
    ]);
    let gemini = object(vec![
        ("candidates", array(candidate)),
        ("promptFeedback", object(vec![("blockReason", content())])),
        ("usageMetadata", usage(&["promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount"])),
        ("modelVersion", one_of(WORDS)),
        ("error", rarely()),
    ]);
    let wrapped = object(vec![("response", gemini.clone()), ("error", rarely())]);
    prop_oneof![3 => anthropic, 4 => chat, 3 => responses, 3 => gemini, 1 => wrapped, 1 => tree()].boxed()
}

/// Writes a tree with spaces and escapes where `odd` says so.
fn spell(value: &Value, odd: &mut impl Iterator<Item = u8>, out: &mut String) {
    let mut space = |out: &mut String| match odd.next() {
        Some(0) => out.push(' '),
        Some(1) => out.push_str("\r\n\t"),
        _ => {}
    };
    space(out);
    match value {
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                spell(item, odd, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            for (i, (key, member)) in members.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                spell(&Value::from(key.as_str()), odd, out);
                out.push(':');
                spell(member, odd, out);
            }
            out.push('}');
        }
        Value::String(text) => {
            out.push('"');
            for unit in text.encode_utf16() {
                let plain = char::from_u32(u32::from(unit))
                    .filter(|c| c.is_ascii_alphanumeric() || "._".contains(*c));
                match plain {
                    Some(c) if odd.next() != Some(2) => out.push(c),
                    _ => out.push_str(&format!("\\u{unit:04x}")),
                }
            }
            out.push('"');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => out.push_str(&value.to_string()),
    }
    if odd.next() == Some(0) {
        out.push(' ');
    }
}

fn names() -> impl Strategy<Value = &'static str> {
    prop_oneof![2 => Just(""), 3 => prop::sample::select(WORDS)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn every_room_reads_what_the_rules_say(
        name in names(),
        tree in shaped(),
        odd in prop::collection::vec(0_u8..12, 1..40),
    ) {
        let mut json = String::new();
        spell(&tree, &mut odd.iter().copied().cycle(), &mut json);
        prop_assert_eq!(&serde_json::from_str::<Value>(&json).unwrap(), &tree);
        for dialect in Dialect::ALL {
            let facts = dialect.classify(name.as_bytes(), json.as_bytes());
            let read = Expected {
                kind: facts.kind,
                finish: facts.finish,
                stop_reason: facts.stop_reason.as_deref().map(str::to_owned),
                model: facts.model.as_deref().map(str::to_owned),
                counts: facts.usage.is_some(),
            };
            prop_assert_eq!(read, expected(dialect, name, &tree), "{:?} {:?} {}", dialect, name, json);
            prop_assert_eq!(facts.error.is_some(), facts.kind == EventKind::Error);
        }
    }

    #[test]
    fn a_name_that_is_enough_says_what_the_data_would(name in names(), tree in shaped()) {
        let json = tree.to_string();
        for dialect in Dialect::ALL {
            if let Some(kind) = dialect.skim(name.as_bytes()) {
                let facts = dialect.classify(name.as_bytes(), json.as_bytes());
                prop_assert_eq!(facts, EventFacts::of(kind));
            }
        }
    }

    #[test]
    fn no_data_makes_a_room_panic(name in names(), data in prop::collection::vec(any::<u8>(), 0..40)) {
        for dialect in Dialect::ALL {
            let _ = dialect.classify(name.as_bytes(), &data);
            let _ = dialect.classify_whole(&data);
        }
    }
}

#[test]
fn keep_alives_mean_nothing_to_their_own_dialect() {
    for dialect in Dialect::ALL {
        let mut reader = crate::protocol::sse::SseReader::new();
        let mut events = Vec::new();
        let stream = [dialect.keep_alive(), dialect.keep_alive(), b"data: {}\n\n"].concat();
        reader.push(&stream, |frame| match frame {
            crate::protocol::sse::Frame::Event(event) => {
                events.push((dialect.classify(event.name, &event.data).kind, event.data.into_owned()))
            }
            frame => panic!("not a whole event: {frame:?}"),
        });
        let (_, last) = events.pop().unwrap();
        assert_eq!(last, b"{}", "{dialect:?}: what follows is what it was");
        assert!(events.iter().all(|(kind, _)| *kind == EventKind::Ping), "{dialect:?}: {events:?}");
    }
}

#[test]
fn an_error_of_ours_is_an_error_to_its_own_dialect() {
    let error = DialectError::new(503, "nobody", "r-1");
    let fault = StreamFault { error, upstream_body: None, response_id: None, sequence_number: 0 };
    for dialect in Dialect::ALL {
        assert_eq!(dialect.classify_whole(&dialect.error_body(&error)).kind, EventKind::Error, "{dialect:?}");
        let mut reader = crate::protocol::sse::SseReader::new();
        let mut kinds = Vec::new();
        reader.push(&dialect.stream_error(&fault), |frame| {
            if let crate::protocol::sse::Frame::Event(event) = frame {
                kinds.push(dialect.classify(event.name, &event.data).kind);
            }
        });
        assert_eq!(kinds, [EventKind::Error], "{dialect:?}");
    }
}
