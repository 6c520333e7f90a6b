//! Golden transcripts by dialect, and what holds for every stream whatever its chunks.

mod anthropic;
mod chat;
mod gemini;
mod responses;

use super::*;
use crate::protocol::error::DialectError;
use crate::rules::gate::{Gate, GateFailure, GateVerdict};
use proptest::prelude::*;

/// What became of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Outcome {
    facts: StreamFacts,
    relayed: Vec<u8>,
    /// `Ok` when the gate opened.
    gate: Result<(), GateFailure>,
}

const WITHHOLD: TapOptions = TapOptions { withhold_usage_chunk: true };

fn run<'a>(mut tap: StreamTap, chunks: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut gate = Gate::new();
    let mut relayed = Vec::new();
    let mut verdict = GateVerdict::Hold;
    let mut take = |passed: Passed, is_end: bool| {
        relayed.extend_from_slice(&passed.bytes);
        verdict = if is_end { gate.end(passed) } else { gate.push(passed) };
    };
    for chunk in chunks {
        let passed = tap.push(Bytes::copy_from_slice(chunk));
        take(passed, false);
    }
    let rest = tap.end();
    take(rest, true);
    let gate = match verdict {
        GateVerdict::Open(_) => Ok(()),
        GateVerdict::Fail(failure) => Err(failure),
        GateVerdict::Hold => panic!("a gate decides at the end"),
    };
    Outcome { facts: tap.facts().clone(), relayed, gate }
}

fn sse(dialect: Dialect, stream: &str) -> Outcome {
    let outcome = run(StreamTap::new(dialect, Framing::Sse, TapOptions::default()), [stream.as_bytes()]);
    assert!(outcome.relayed == stream.as_bytes(), "relayed as it came");
    outcome
}

fn array(stream: &str) -> Outcome {
    let tap = StreamTap::new(Dialect::Gemini, Framing::JsonArray, TapOptions::default());
    let outcome = run(tap, [stream.as_bytes()]);
    assert!(outcome.relayed == stream.as_bytes(), "relayed as it came");
    outcome
}

/// Chunks of a stream, cut at these places.
fn cut<'a>(stream: &'a [u8], places: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = places.iter().map(|place| place.index(stream.len() + 1)).collect();
    places.sort_unstable();
    let ends = places.iter().copied().chain([stream.len()]);
    let starts = [0].into_iter().chain(places.iter().copied());
    starts.zip(ends).map(|(start, end)| &stream[start..end]).collect()
}

const TRANSCRIPTS: [(Dialect, Framing, &str); 9] = [
    (Dialect::Anthropic, Framing::Sse, anthropic::TOOLS),
    (Dialect::Anthropic, Framing::Sse, anthropic::THINKING),
    (Dialect::Anthropic, Framing::Sse, anthropic::OVERLOADED),
    (Dialect::OpenaiChat, Framing::Sse, chat::TEXT_WITH_USAGE),
    (Dialect::OpenaiChat, Framing::Sse, chat::REASONING_AND_TOOLS),
    (Dialect::OpenaiResponses, Framing::Sse, responses::REASONING_AND_CALL),
    (Dialect::OpenaiResponses, Framing::Sse, responses::INCOMPLETE),
    (Dialect::Gemini, Framing::Sse, gemini::THOUGHTS),
    (Dialect::Gemini, Framing::JsonArray, gemini::ARRAY),
];

/// A transcript as sent over other line ends, cut off or doubled, or noise.
fn stream() -> impl Strategy<Value = (Dialect, Framing, Vec<u8>)> {
    let ends = prop::sample::select(vec!["\n", "\r\n", "\r"]);
    let share = 0..=150_usize;
    (prop::sample::select(TRANSCRIPTS.to_vec()), ends, share).prop_map(
        |((dialect, framing, text), end, share)| {
            let mut bytes = text.replace('\n', end).into_bytes();
            bytes.truncate(bytes.len() * share / 100);
            (dialect, framing, bytes)
        },
    )
}

proptest! {
    #[test]
    fn any_split_gives_the_same_facts_and_the_same_relayed_bytes(
        (dialect, framing, stream) in stream(),
        places in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        withhold_usage_chunk in any::<bool>(),
        limit in prop_oneof![Just(MAX_EVENT_BYTES), 40..400_usize],
    ) {
        let tap = || StreamTap::with_limit(dialect, framing, TapOptions { withhold_usage_chunk }, limit);
        let whole = run(tap(), [&stream[..]]);
        prop_assert_eq!(&whole, &run(tap(), cut(&stream, &places)));
        prop_assert_eq!(&whole, &run(tap(), stream.chunks(1)));
        if !withhold_usage_chunk {
            prop_assert_eq!(&whole.relayed, &stream);
        }
    }

    #[test]
    fn what_is_only_observed_gives_the_same_facts(
        (dialect, framing, stream) in stream(),
        places in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let relayed = run(StreamTap::new(dialect, framing, TapOptions::default()), [&stream[..]]);
        let mut tap = StreamTap::new(dialect, framing, TapOptions::default());
        for chunk in cut(&stream, &places) {
            tap.observe(chunk);
        }
        tap.end();
        prop_assert_eq!(tap.facts(), &relayed.facts);
    }

    #[test]
    fn no_bytes_make_a_tap_panic(
        dialect in prop::sample::select(Dialect::ALL.to_vec()),
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..30), 0..10),
    ) {
        for framing in [Framing::Sse, Framing::JsonArray] {
            let tap = StreamTap::with_limit(dialect, framing, WITHHOLD, 20);
            run(tap, chunks.iter().map(Vec::as_slice));
        }
    }
}

#[test]
fn a_chunk_passes_without_a_copy() {
    let chunk = Bytes::from_static(chat::TEXT_WITH_USAGE.as_bytes());
    for options in [TapOptions::default(), WITHHOLD] {
        let mut tap = StreamTap::new(Dialect::OpenaiChat, Framing::Sse, options);
        let head = chunk.slice(..chunk.len() / 3);
        let passed = tap.push(head.clone());
        assert_eq!(passed.bytes.as_ptr(), chunk.as_ptr(), "{options:?}");
        assert!(!passed.bytes.is_empty() && head.starts_with(&passed.bytes));
    }
}

#[test]
fn an_event_too_large_passes_unread() {
    let huge = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n", "x".repeat(400));
    let stream = format!("{huge}data: [DONE]\n\n");
    let tap = StreamTap::with_limit(Dialect::OpenaiChat, Framing::Sse, WITHHOLD, 100);
    let outcome = run(tap, stream.as_bytes().chunks(64));
    assert!(outcome.relayed == stream.as_bytes());
    assert!(outcome.facts.overflowed && outcome.facts.ended);
    assert_eq!(outcome.gate, Err(GateFailure::Overflow));
}

#[test]
fn an_error_after_half_an_event_is_still_read_by_the_client() {
    let error = DialectError::new(504, "late", "r-1");
    let fault = StreamFault { error, upstream_body: None, response_id: None, sequence_number: 0 };
    let closing = |dialect: Dialect, options: TapOptions, half: &'static str| {
        let mut tap = StreamTap::new(dialect, Framing::Sse, options);
        let mut relayed = tap.push(Bytes::from_static(half.as_bytes())).bytes.to_vec();
        relayed.extend(tap.closing_error(&fault));
        let mut kinds = Vec::new();
        SseReader::new().push(&relayed, |frame| {
            if let Frame::Event(event) = frame {
                kinds.push((
                    String::from_utf8_lossy(event.name).into_owned(),
                    dialect.classify(event.name, &event.data).kind,
                ));
            }
        });
        kinds
    };
    let error = |name: &str| (name.to_owned(), EventKind::Error);
    for half in ["", "event: content_block_delta\ndata: {\"type\":\"cont", "event: ping\ndata: {}\n\n"] {
        let kinds = closing(Dialect::Anthropic, TapOptions::default(), half);
        assert_eq!(kinds.last(), Some(&error("error")), "{half:?}");
        assert!(kinds.iter().all(|(_, kind)| *kind != EventKind::Malformed), "{half:?}");
    }
    let kinds = closing(Dialect::OpenaiResponses, TapOptions::default(), "event: x\ndata: {\"ty");
    assert_eq!(kinds, [("x".to_owned(), EventKind::Malformed), error("response.failed")]);
    // Whole events only: nothing to end.
    assert_eq!(closing(Dialect::OpenaiChat, WITHHOLD, "data: {\"cho"), [error("")]);
}

#[test]
fn half_an_event_handed_out_at_the_end_is_ended_before_an_error() {
    let error = DialectError::new(502, "cut", "r-1");
    let fault = StreamFault { error, upstream_body: None, response_id: None, sequence_number: 0 };
    let mut tap = StreamTap::new(Dialect::OpenaiChat, Framing::Sse, WITHHOLD);
    assert!(tap.push(Bytes::from_static(b"data: {\"cho")).bytes.is_empty());
    assert_eq!(&tap.end().bytes[..], b"data: {\"cho");
    assert!(tap.closing_error(&fault).starts_with(b"\n\ndata: {\"error\""));
}
