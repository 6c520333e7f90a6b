//! The gate: of a stream nothing reaches the seat before it is real.
//!
//! Until the first event that is an answer, everything is held; a stream that fails, breaks or ends before
//! that is dropped whole and another provider is tried with zero bytes sent. Knows nothing of clocks: the
//! caller asks [`idle_limit_ms`] how long it may wait.

use crate::model::Timers;
use crate::protocol::tap::{Passed, StreamFacts};
use bytes::Bytes;

/// The gate of one attempt.
#[derive(Debug, Default)]
pub struct Gate {
    held: Vec<Bytes>,
    held_bytes: usize,
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

impl GateFailure {
    /// A label for logs and metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::ErrorEvent => "error_event",
            Self::Empty => "empty_stream",
            Self::Malformed => "malformed_stream",
            Self::Overflow => "prebuffer_overflow",
            Self::Cut => "cut_before_content",
        }
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
        self.held_bytes = self.held_bytes.saturating_add(passed.bytes.len());
        self.held.push(passed.bytes);
        GateVerdict::Open(std::mem::take(&mut self.held))
    }

    /// The provider's bytes ended well; `rest` is what [`crate::protocol::tap::StreamTap::end`] gave.
    pub fn end(&mut self, rest: Passed) -> GateVerdict {
        self.push(rest)
    }

    /// The connection broke.
    pub fn cut(&mut self, rest: Passed) -> GateVerdict {
        self.push(rest)
    }
}

/// How long the next sign of progress may take, in milliseconds; `None` = no limit.
#[must_use]
pub fn idle_limit_ms(timers: &Timers, facts: &StreamFacts) -> Option<u64> {
    let _ = facts;
    Some(timers.streaming_idle_timeout_ms)
}

/// The most a gate holds before it gives a stream up.
pub const MAX_HELD_BYTES: usize = 10 * 1024 * 1024;
