//! The gate: of a stream nothing reaches the seat before it is real.
//!
//! Until the first event that is an answer, everything is held; a stream that fails, breaks or ends before
//! that is dropped whole, and another provider is tried with zero bytes sent. The first decisive event
//! decides: content opens the gate for good, whatever follows in the same chunk; an error, an end, data that
//! is not JSON or an event too large to be read fail it. Preambles are held in any number, the request's echo
//! in `response.created` among them; they count towards [`MAX_HELD_BYTES`] like all other bytes. Once
//! decided, a gate stays so.
//!
//! Knows nothing of clocks: the caller asks [`idle_limit_ms`] how long it may wait.

use crate::model::Timers;
use crate::protocol::facts::EventKind;
use crate::protocol::tap::{Passed, Seen, StreamFacts};
use bytes::Bytes;

/// The gate of one attempt.
#[derive(Debug, Default)]
pub struct Gate {
    state: State,
}

/// What the gate makes of a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GateVerdict {
    /// Not decided: nothing may be sent yet.
    Hold,
    /// It is an answer: send these, in order, and relay from here on.
    Open(Vec<Bytes>),
    /// It is none: drop it.
    Fail(GateFailure),
}

/// Why a stream never became an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GateFailure {
    /// The provider put an error into the stream; the tap's facts have it.
    ErrorEvent,
    /// It ended without content.
    Empty,
    /// Data that is not JSON.
    Malformed,
    /// More was held than [`MAX_HELD_BYTES`], or one event was too large to be read.
    Overflow,
    /// The connection broke.
    Cut,
}

#[derive(Debug)]
enum State {
    Holding { held: Vec<Bytes>, held_bytes: usize },
    Open,
    Failed(GateFailure),
}

impl Default for State {
    fn default() -> Self {
        Self::Holding { held: Vec::new(), held_bytes: 0 }
    }
}

impl Gate {
    /// A gate that holds.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what the tap passed on. Once open, everything passes.
    pub fn push(&mut self, passed: Passed) -> GateVerdict {
        let Passed { bytes, seen } = passed;
        let (held, held_bytes) = match &mut self.state {
            State::Open => return GateVerdict::Open(vec![bytes]),
            State::Failed(failure) => return GateVerdict::Fail(*failure),
            State::Holding { held, held_bytes } => (held, held_bytes),
        };
        *held_bytes = held_bytes.saturating_add(bytes.len());
        if !bytes.is_empty() {
            held.push(bytes);
        }
        match decide(&seen) {
            Some(Ok(())) => {
                let held = std::mem::take(held);
                self.state = State::Open;
                GateVerdict::Open(held)
            }
            Some(Err(failure)) => self.fail(failure),
            None if *held_bytes > MAX_HELD_BYTES => self.fail(GateFailure::Overflow),
            None => GateVerdict::Hold,
        }
    }

    /// The provider's bytes ended as HTTP wants; `rest` is what [`crate::protocol::tap::StreamTap::end`] gave.
    pub fn end(&mut self, rest: Passed) -> GateVerdict {
        match self.push(rest) {
            GateVerdict::Hold => self.fail(GateFailure::Empty),
            verdict => verdict,
        }
    }

    /// The connection broke; `rest` as in [`Self::end`]. Before content nothing of it is worth sending.
    pub fn cut(&mut self, rest: Passed) -> GateVerdict {
        match self.state {
            State::Holding { .. } => self.fail(GateFailure::Cut),
            State::Open | State::Failed(_) => self.push(rest),
        }
    }

    /// True while nothing may be sent.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        matches!(self.state, State::Holding { .. })
    }

    fn fail(&mut self, failure: GateFailure) -> GateVerdict {
        self.state = State::Failed(failure);
        GateVerdict::Fail(failure)
    }
}

/// What the first decisive event of a chunk means; `None` when there is none.
fn decide(seen: &Seen) -> Option<Result<(), GateFailure>> {
    match seen.decisive? {
        EventKind::Content => Some(Ok(())),
        EventKind::Error => Some(Err(GateFailure::ErrorEvent)),
        EventKind::End => Some(Err(GateFailure::Empty)),
        EventKind::Malformed => Some(Err(GateFailure::Malformed)),
        EventKind::Oversized => Some(Err(GateFailure::Overflow)),
        EventKind::Ping | EventKind::Preamble | EventKind::Other => None,
    }
}

/// How long the next sign of progress may take, in milliseconds; `None` = no limit.
///
/// The provider's idle limit; while the model thinks, or before a Responses stream's first item, at least
/// `thinking_ms` ([`THINKING_IDLE_MS`] unless an operator says otherwise).
#[must_use]
pub fn idle_limit_ms(timers: &Timers, thinking_ms: u64, facts: &StreamFacts) -> Option<u64> {
    match timers.streaming_idle_timeout_ms {
        0 => None,
        idle_ms if facts.allows_long_silence => Some(idle_ms.max(thinking_ms)),
        idle_ms => Some(idle_ms),
    }
}

/// The most a gate holds before it gives a stream up. Two echoes of a large request (`response.created`,
/// `response.in_progress`) fit in; a stream of preambles that never becomes an answer does not stay.
pub const MAX_HELD_BYTES: usize = 10 * 1024 * 1024;

/// How long a thinking model may be silent (design §5, "Timers").
pub const THINKING_IDLE_MS: u64 = 900_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Dialect;
    use crate::protocol::tap::{Framing, StreamTap, TapOptions};

    fn passed(bytes: &'static str, decisive: Option<EventKind>) -> Passed {
        let seen = Seen { decisive, ..Seen::default() };
        Passed { bytes: Bytes::from_static(bytes.as_bytes()), seen }
    }

    #[test]
    fn the_first_content_lets_out_what_was_held_in_order() {
        let mut gate = Gate::new();
        assert_eq!(gate.push(passed("a", None)), GateVerdict::Hold);
        assert_eq!(gate.push(passed("", None)), GateVerdict::Hold);
        assert!(gate.is_holding());
        let open = gate.push(passed("b", Some(EventKind::Content)));
        assert_eq!(open, GateVerdict::Open(vec![Bytes::from_static(b"a"), Bytes::from_static(b"b")]));
        // An error after that is the relay's affair.
        let later = gate.push(passed("c", Some(EventKind::Error)));
        assert_eq!(later, GateVerdict::Open(vec![Bytes::from_static(b"c")]));
        assert!(!gate.is_holding());
    }

    #[test]
    fn what_is_no_answer_fails_and_stays_failed() {
        for (kind, failure) in [
            (EventKind::Error, GateFailure::ErrorEvent),
            (EventKind::End, GateFailure::Empty),
            (EventKind::Malformed, GateFailure::Malformed),
            (EventKind::Oversized, GateFailure::Overflow),
        ] {
            let mut gate = Gate::new();
            gate.push(passed("a", None));
            assert_eq!(gate.push(passed("b", Some(kind))), GateVerdict::Fail(failure));
            assert_eq!(gate.push(passed("c", Some(EventKind::Content))), GateVerdict::Fail(failure));
        }
    }

    #[test]
    fn an_end_before_content_is_empty_and_a_broken_connection_is_cut() {
        assert_eq!(Gate::new().end(Passed::default()), GateVerdict::Fail(GateFailure::Empty));
        let content = passed("x", Some(EventKind::Content));
        assert!(matches!(Gate::new().end(content.clone()), GateVerdict::Open(_)));
        assert_eq!(Gate::new().cut(content), GateVerdict::Fail(GateFailure::Cut));
    }

    #[test]
    fn no_more_is_held_than_the_bound() {
        let mut gate = Gate::new();
        let chunk = Passed { bytes: Bytes::from(vec![b' '; MAX_HELD_BYTES]), seen: Seen::default() };
        assert_eq!(gate.push(chunk), GateVerdict::Hold);
        assert_eq!(gate.push(passed("x", None)), GateVerdict::Fail(GateFailure::Overflow));
    }

    #[test]
    fn a_thinking_model_may_be_silent_for_longer() {
        let timers = Timers::default();
        let answering = StreamFacts::default();
        // Before its first item a Responses stream thinks.
        let tap = StreamTap::new(Dialect::OpenaiResponses, Framing::Sse, TapOptions::default());
        let thinking = tap.facts();
        let limit = |timers: &Timers, facts| idle_limit_ms(timers, THINKING_IDLE_MS, facts);
        assert_eq!(limit(&timers, &answering), Some(300_000));
        assert_eq!(limit(&timers, thinking), Some(900_000));
        let patient = Timers { streaming_idle_timeout_ms: 1_000_000, ..timers };
        assert_eq!(limit(&patient, thinking), Some(1_000_000));
        let off = Timers { streaming_idle_timeout_ms: 0, ..timers };
        assert_eq!(limit(&off, thinking), None);
    }

    /// A stream whose last event of progress came at 0, and whose pings go on: true when it is still waited for then.
    fn lives(dialect: Dialect, stream: &str, silent_ms: u64) -> bool {
        let mut tap = StreamTap::new(dialect, Framing::Sse, TapOptions::default());
        tap.push(Bytes::copy_from_slice(stream.as_bytes()));
        let ping = Bytes::from_static(dialect.keep_alive());
        assert!(!tap.push(ping).seen.progress, "a ping is no progress");
        idle_limit_ms(&Timers::default(), THINKING_IDLE_MS, tap.facts()).is_none_or(|limit| silent_ms < limit)
    }

    #[test]
    fn eight_minutes_of_pings_are_survived_by_a_stream_that_thinks_and_by_no_other() {
        const EIGHT_MINUTES: u64 = 480_000;
        let block = |kind: &str| {
            format!("event: content_block_start\ndata: {{\"content_block\":{{\"type\":\"{kind}\"}}}}\n\n")
        };
        let stop = "event: content_block_stop\ndata: {}\n\n";
        let (thinking, text) = (block("thinking"), block("text"));
        assert!(lives(Dialect::Anthropic, &thinking, EIGHT_MINUTES));
        assert!(lives(Dialect::Anthropic, &thinking, 899_999));
        assert!(!lives(Dialect::Anthropic, &thinking, 900_000));
        assert!(lives(Dialect::Anthropic, &text, 299_999));
        assert!(!lives(Dialect::Anthropic, &text, 300_000));
        assert!(!lives(Dialect::Anthropic, &format!("{thinking}{stop}"), EIGHT_MINUTES), "it has thought");
        let created = "event: response.created\ndata: {\"response\":{}}\n\n";
        let item = |kind: &str| {
            format!("event: response.output_item.added\ndata: {{\"item\":{{\"type\":\"{kind}\"}}}}\n\n")
        };
        assert!(lives(Dialect::OpenaiResponses, created, EIGHT_MINUTES), "before its first item");
        assert!(lives(Dialect::OpenaiResponses, &format!("{created}{}", item("reasoning")), EIGHT_MINUTES));
        assert!(!lives(Dialect::OpenaiResponses, &format!("{created}{}", item("message")), EIGHT_MINUTES));
        let chunk = "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n";
        assert!(!lives(Dialect::OpenaiChat, chunk, EIGHT_MINUTES));
        assert!(lives(Dialect::Gemini, "", 299_999));
        assert!(!lives(Dialect::Gemini, "", EIGHT_MINUTES));
    }
}
