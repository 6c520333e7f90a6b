//! Plays the steps of a performance as an HTTP body and keeps its record.
//!
//! The record of an answer is closed exactly once: when its last byte was handed to the connection, when the
//! script cut it or let it hang, or when the body is dropped before that because the client left.

use super::line::Wire;
use super::score::Step;
use crate::served::{AnswerFacts, Book, Ending, Entry, hex};
use crate::vendor::Event;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use ring::digest::{Context as Digest, SHA256};
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// A body that a script cut off.
#[derive(Debug, thiserror::Error)]
#[error("the script cuts the answer here")]
pub(crate) struct Severed;

/// The record of an answer in progress; dropping it closes it.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) entry: Arc<Entry>,
    pub(crate) book: Arc<Book>,
}

impl Ticket {
    pub(crate) fn note(&self, change: impl FnOnce(&mut AnswerFacts)) {
        change(&mut self.entry.answer());
    }

    /// Closes the record, unless it is closed.
    pub(crate) fn end(&self, ending: Ending) {
        let mut answer = self.entry.answer();
        if !answer.ended.is_over() {
            answer.ended = ending;
            self.book.close(&answer);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.note(|answer| answer.client_left |= matches!(answer.ended, Ending::InProgress | Ending::Hung));
        self.end(Ending::ClientGone);
    }
}

/// What a performance is made of.
pub(crate) struct Performance {
    pub(crate) steps: Vec<Step>,
    pub(crate) events: Arc<[Event]>,
    pub(crate) ping: Bytes,
    /// The body's length, where the head tells it.
    pub(crate) len: Option<u64>,
    /// How it ends when all steps have been played.
    pub(crate) ending: Ending,
    pub(crate) wire: Arc<Wire>,
    pub(crate) is_http2: bool,
}

/// The body.
pub(crate) struct Player {
    steps: VecDeque<Step>,
    events: Arc<[Event]>,
    ping: Bytes,
    remaining: Option<u64>,
    ending: Ending,
    wire: Arc<Wire>,
    is_http2: bool,
    timer: Option<Pin<Box<Sleep>>>,
    /// When the pings stop.
    pings_until: Option<Instant>,
    /// The step at the front has already yielded once.
    has_yielded: bool,
    digest: Option<Digest>,
    ticket: Option<Ticket>,
}

impl Player {
    pub(crate) fn new(performance: Performance, ticket: Ticket, digests: bool) -> Self {
        let mut player = Self {
            steps: performance.steps.into(),
            events: performance.events,
            ping: performance.ping,
            remaining: performance.len,
            ending: performance.ending,
            wire: performance.wire,
            is_http2: performance.is_http2,
            timer: None,
            pings_until: None,
            has_yielded: false,
            digest: digests.then(|| Digest::new(&SHA256)),
            ticket: Some(ticket),
        };
        if player.remaining == Some(0) {
            // Nobody asks a body of no bytes for them.
            player.steps.clear();
            player.end(player.ending);
        }
        player
    }

    /// A whole body that nobody keeps a record of.
    pub(crate) fn unrecorded(bytes: Bytes) -> Self {
        Self {
            remaining: Some(bytes.len() as u64),
            steps: VecDeque::from([Step::Send { bytes, events: 0 }]),
            events: Arc::new([]),
            ping: Bytes::new(),
            ending: Ending::Completed,
            wire: Arc::new(Wire::new(0)),
            is_http2: false,
            timer: None,
            pings_until: None,
            has_yielded: false,
            digest: None,
            ticket: None,
        }
    }

    fn hand_out(&mut self, bytes: Bytes, events: Option<usize>) -> Bytes {
        self.remaining = self.remaining.map(|rest| rest.saturating_sub(bytes.len() as u64));
        if let Some(digest) = &mut self.digest {
            digest.update(&bytes);
        }
        if let Some(ticket) = &self.ticket {
            let told = events.and_then(|count| self.events.get(count.checked_sub(1)?)?.told);
            ticket.note(|answer| {
                answer.body_bytes += bytes.len() as u64;
                answer.events = events.map_or(answer.events, |count| count as u32);
                answer.told = told.or(answer.told);
            });
        }
        bytes
    }

    fn end(&mut self, ending: Ending) {
        let Some(ticket) = &self.ticket else { return };
        if let Some(digest) = self.digest.take() {
            ticket.note(|answer| answer.body_sha256 = Some(hex(digest.finish().as_ref())));
        }
        ticket.end(ending);
    }

    fn wait(&mut self, time: Duration) {
        self.timer = Some(Box::pin(sleep_until(Instant::now() + time)));
    }

    /// True until it has been asked once more since the step came to the front.
    fn must_yield(&mut self, cx: &Context<'_>) -> bool {
        self.has_yielded = !self.has_yielded;
        if self.has_yielded {
            cx.waker().wake_by_ref();
        }
        self.has_yielded
    }

    /// Sends a ping and arms the next, until the time is over.
    fn next_ping(&mut self, every: Duration, for_time: Option<Duration>) -> Option<Bytes> {
        let now = Instant::now();
        if let (None, Some(time)) = (self.pings_until, for_time) {
            self.pings_until = Some(now + time);
        }
        if self.pings_until.is_some_and(|until| now >= until) {
            return None;
        }
        self.wait(every);
        let ping = self.ping.clone();
        Some(self.hand_out(ping, None))
    }

    fn send(&mut self, bytes: Bytes, events: usize) -> Bytes {
        let bytes = self.hand_out(bytes, Some(events));
        if self.steps.is_empty() {
            self.end(self.ending);
        }
        bytes
    }
}

impl Body for Player {
    type Data = Bytes;
    type Error = Severed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Severed>>> {
        loop {
            if let Some(timer) = &mut self.timer {
                ready!(timer.as_mut().poll(cx));
                self.timer = None;
            }
            let Some(step) = self.steps.pop_front() else {
                let ending = self.ending;
                self.end(ending);
                return Poll::Ready(None);
            };
            match step {
                Step::Send { bytes, events } => {
                    let bytes = self.send(bytes, events);
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Step::Pause(time) => self.wait(time),
                Step::Settle if self.is_http2 => self.wait(HTTP2_SETTLES),
                Step::Yield | Step::Settle => {
                    if self.must_yield(cx) {
                        self.steps.push_front(step);
                        return Poll::Pending;
                    }
                }
                Step::Pings { every, for_time } => {
                    if let Some(ping) = self.next_ping(every, for_time) {
                        self.steps.push_front(step);
                        return Poll::Ready(Some(Ok(Frame::data(ping))));
                    }
                }
                Step::Hang => {
                    self.end(Ending::Hung);
                    self.steps.push_front(step);
                    return Poll::Pending;
                }
                Step::Cut => {
                    self.end(Ending::Cut);
                    return Poll::Ready(Some(Err(Severed)));
                }
                Step::CutInside(bytes) => {
                    self.end(Ending::Cut);
                    // The connection breaks when this is written; until then there is nothing more to say.
                    self.steps = VecDeque::from([Step::Hang]);
                    self.wire.cut_after(FRAME_HEAD + bytes.len() / 2);
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.remaining.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

/// About the length of a chunk's or DATA frame's own head.
const FRAME_HEAD: usize = 8;
/// An HTTP/2 connection has its own task, and a reset throws away what that has not yet sent.
const HTTP2_SETTLES: Duration = Duration::from_millis(5);
