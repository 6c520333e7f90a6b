//! A stream that has become real: each event leaves as it comes, what is already there leaves together.

use super::{COMMITTED, Relay};
use crate::circuits::Admission;
use crate::ctx::Book;
use crate::dispatch::DRAIN_PATIENCE;
use crate::dispatch::answer::{From, Stream};
use crate::dispatch::pass;
use crate::dispatch::upstream::Upstream;
use crate::hub::Hub;
use crate::seat::{Ending, Seat};
use crate::settle::Spent;
use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use pingora::http::ResponseHeader;
use shared::contract::breach::Breach;
use shared::contract::usage::Outcome;
use shared::model::ClientAbort;
use shared::protocol::error::{DialectError, ErrorKind, StreamFault};
use shared::protocol::tap::{StreamFacts, StreamTap};
use shared::rules::classify::{AttemptEnd, CutPhase, ErrorFacts, TimerPhase, Verdict, classify};
use shared::rules::gate::idle_limit_ms;
use std::pin::{Pin, pin};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// The relaying of one stream.
pub struct Run<'a> {
    /// What it is relayed by.
    pub relay: Relay<'a>,
    /// Whose stream.
    pub from: From,
    /// What its breaker waits for.
    pub admission: Option<Admission>,
}

/// When what happened last.
struct Pace {
    /// A sign of progress came.
    progress: Instant,
    /// Something was sent.
    sent: Instant,
    /// The seat left.
    gone: Option<Instant>,
}

/// How a relayed stream ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// The upstream's bytes ended well.
    Complete,
    /// The connection broke, or the bytes ended before the protocol did.
    Cut,
    /// No progress in time.
    TimedOut,
    /// The seat left, and there was no waiting or no more of it.
    Abandoned,
}

/// What leaves as one write.
struct Gathered {
    bytes: Bytes,
    /// True when the gathering itself met a sign of life.
    has_progress: bool,
    /// How the stream ended, when it did meanwhile.
    end: Option<End>,
}

impl Gathered {
    /// Sends it; the last bytes of a stream leave with what ends it.
    async fn leave(self, seat: &mut Seat<'_>) -> Option<End> {
        match self.end {
            Some(_) => seat.add(self.bytes).await,
            None => seat.send(self.bytes).await,
        }
        self.end
    }
}

impl Run<'_> {
    /// Relays up to the end and books what it took.
    pub async fn relay(
        mut self,
        seat: &mut Seat<'_>,
        book: &mut Book,
        head: ResponseHeader,
        mut stream: Box<Stream>,
    ) -> Ending {
        let mut head = head;
        head.remove_header("content-length");
        if stream.tap.wants_plain() {
            // What was encoded leaves decoded: see `pass`.
            head.remove_header("content-encoding");
        }
        book.entry_mut().timing.first_content_ms = Some(self.relay.arrival.elapsed_ms());
        seat.start(head).await;
        let end = self.pump(seat, &mut stream).await;
        let had_seat = seat.is_here();
        // Boxed: what the end needs, an open stream need not carry.
        let ending = Box::pin(self.close(seat, book, stream, end)).await;
        if !had_seat {
            book.broke(Breach::ClientClosed);
        }
        ending
    }

    /// Before the seat sees the end of a response that its provider keeps. Once.
    async fn note_end(&mut self, tap: &StreamTap) {
        let facts = tap.facts();
        if self.relay.keeps.is_none() || !facts.ended || facts.error.is_some() {
            return;
        }
        // Boxed: an open stream need not carry it.
        let id = facts.response_id.as_deref();
        Box::pin(self.relay.note_response(self.from.provider_id, id)).await;
        self.relay.keeps = None;
    }

    async fn pump(&mut self, seat: &mut Seat<'_>, stream: &mut Stream) -> End {
        if stream.is_unreadable() {
            return End::Cut;
        }
        let opened = std::mem::take(&mut stream.opened);
        let gathered = self.gather(stream, opened);
        self.note_end(&stream.tap).await;
        if let Some(end) = gathered.leave(seat).await {
            return end;
        }
        let now = Instant::now();
        let mut pace = Pace { progress: now, sent: now, gone: (!seat.is_here()).then_some(now) };
        let mut alarm = pin!(sleep_until(now + FAR));
        self.set_alarm(alarm.as_mut(), stream, &pace);
        loop {
            let event = tokio::select! {
                biased;
                piece = stream.upstream.read() => Some(piece),
                () = seat.left() => {
                    if self.from.client_abort == ClientAbort::Cancel {
                        return End::Abandoned;
                    }
                    None
                }
                () = &mut alarm => {
                    // Set once and checked late: no timer is touched per event.
                    if let Some(end) = self.overdue(stream, &pace) {
                        return end;
                    }
                    self.keep_alive(seat, stream, &mut pace).await;
                    None
                }
            };
            match event {
                Some(Ok(Some(piece))) => {
                    let passed = pass(&mut stream.tap, &mut stream.sidecar, piece);
                    let mut gathered = self.gather(stream, vec![passed.bytes]);
                    gathered.has_progress |= passed.seen.progress;
                    pace.sent = Instant::now();
                    if gathered.has_progress {
                        pace.progress = pace.sent;
                    }
                    self.note_end(&stream.tap).await;
                    if let Some(end) = gathered.leave(seat).await {
                        return end;
                    }
                }
                Some(Ok(None)) => return End::Complete,
                Some(Err(_)) => return End::Cut,
                None => self.set_alarm(alarm.as_mut(), stream, &pace),
            }
            if pace.gone.is_none() && !seat.is_here() {
                if self.from.client_abort == ClientAbort::Cancel {
                    return End::Abandoned;
                }
                pace.gone = Some(Instant::now());
                self.set_alarm(alarm.as_mut(), stream, &pace);
            }
        }
    }

    /// A sign of life, when nothing was sent for long and there is a place for one.
    async fn keep_alive(&self, seat: &mut Seat<'_>, stream: &Stream, pace: &mut Pace) {
        let Some(mut keep_alive) = self.relay.keep_alive else { return };
        keep_alive.note_sent(pace.sent);
        if Instant::now() < keep_alive.due() {
            return;
        }
        // Half an event, or bytes that came encoded: there it would be noise. It is looked at again as late.
        let has_place =
            stream.tap.is_between_events() && (stream.sidecar.is_none() || stream.tap.wants_plain());
        if has_place && seat.is_here() {
            keep_alive.send(seat, self.relay.arrival).await;
        }
        pace.sent = Instant::now();
    }

    /// What there is to send, and whatever else has arrived already.
    fn gather(&self, stream: &mut Stream, mut pieces: Vec<Bytes>) -> Gathered {
        let mut length: usize = pieces.iter().map(Bytes::len).sum();
        let (mut has_progress, mut end) = (false, None);
        while length < COALESCE {
            // Unconstrained: the runtime's fairness budget must not hide bytes that are there.
            match tokio::task::unconstrained(stream.upstream.read()).now_or_never() {
                None => break,
                Some(Ok(Some(piece))) => {
                    let passed = pass(&mut stream.tap, &mut stream.sidecar, piece);
                    has_progress |= passed.seen.progress;
                    length += passed.bytes.len();
                    pieces.push(passed.bytes);
                }
                Some(Ok(None)) => {
                    end = Some(End::Complete);
                    break;
                }
                Some(Err(_)) => {
                    end = Some(End::Cut);
                    break;
                }
            }
        }
        Gathered { bytes: joined(pieces), has_progress, end }
    }

    fn deadline(&self, stream: &Stream, pace: &Pace) -> Option<Instant> {
        let thinking_ms = self.relay.hub.door.waits.thinking_idle_ms;
        let idle = idle_limit_ms(&self.from.timers, thinking_ms, stream.tap.facts())
            .and_then(|ms| pace.progress.checked_add(Duration::from_millis(ms)));
        let lingering = stream.tap.is_over().then(|| pace.progress + LINGERING);
        let drained = pace.gone.map(|at| at + DRAIN_PATIENCE);
        [idle, lingering, drained].into_iter().flatten().min()
    }

    fn set_alarm(&self, alarm: Pin<&mut Sleep>, stream: &Stream, pace: &Pace) {
        let sign_of_life = self.relay.keep_alive.filter(|_| pace.gone.is_none()).map(|mut keep_alive| {
            keep_alive.note_sent(pace.sent);
            keep_alive.due()
        });
        let at = [self.deadline(stream, pace), sign_of_life].into_iter().flatten().min();
        alarm.reset(at.unwrap_or_else(|| Instant::now() + FAR));
    }

    fn overdue(&self, stream: &Stream, pace: &Pace) -> Option<End> {
        let now = Instant::now();
        if pace.gone.is_some_and(|at| now >= at + DRAIN_PATIENCE) {
            return Some(End::Abandoned);
        }
        self.deadline(stream, pace).is_some_and(|at| now >= at).then_some(End::TimedOut)
    }

    async fn close(
        &mut self,
        seat: &mut Seat<'_>,
        book: &mut Book,
        mut stream: Box<Stream>,
        end: End,
    ) -> Ending {
        let was_over = stream.tap.is_over();
        let rest = stream.tap.end();
        self.note_end(&stream.tap).await;
        seat.add(rest.bytes).await;
        let facts = stream.tap.facts().clone();
        let end = match end {
            End::Complete if !facts.ended && facts.error.is_none() => End::Cut,
            // What breaks or stalls behind the end of a stream is none of the seat's business.
            End::Cut | End::TimedOut if was_over => End::Complete,
            End::Cut | End::TimedOut => match stream.tap.missing_end() {
                Some(bytes) if stream.sidecar.is_none() || stream.tap.wants_plain() => {
                    seat.add(Bytes::from_static(bytes)).await;
                    End::Complete
                }
                Some(_) | None => end,
            },
            End::Complete | End::Abandoned => end,
        };
        let failure = self.failure(end, &facts);
        self.tell_breaker(end, failure);
        let ending = match end {
            End::Complete => {
                give_back(self.relay.hub, stream.upstream).await;
                Ending::Whole
            }
            End::Abandoned => {
                stream.upstream.close().await;
                Ending::Whole
            }
            End::Cut | End::TimedOut => {
                stream.upstream.close().await;
                book.broke(if end == End::Cut { Breach::UpstreamCut } else { Breach::UpstreamTimedOut });
                if stream.sidecar.is_some() && !stream.tap.wants_plain() {
                    // Plain words inside a compressed body would be noise: the client sees the cut itself.
                    Ending::Cut
                } else {
                    self.tell(seat, &stream.tap, end).await
                }
            }
        };
        if end == End::Complete && facts.error.is_some() {
            book.broke(Breach::UpstreamError);
        }
        let outcome = match (end, seat.is_here()) {
            (End::Complete, true) if facts.error.is_none() => Outcome::Served,
            (End::Complete, false) => Outcome::Drained,
            (End::Abandoned, _) | (_, false) => Outcome::Cancelled,
            (End::Complete | End::Cut | End::TimedOut, true) => Outcome::Failed,
        };
        match (outcome, failure) {
            (Outcome::Failed, Some((verdict, _))) => book.ended(self.from.attempt, verdict.label),
            (outcome, _) => book.ended(self.from.attempt, outcome.as_str()),
        }
        book.entry_mut().stop_reason.clone_from(&facts.stop_reason);
        book.attempt(self.relay.terms.row(self.from.attempt, outcome, &Spent::of_stream(&facts, None)));
        ending
    }

    /// What is wrong with how the stream ended, and how long its provider asked to wait. `None`: nothing, or it was given up
    /// for its seat.
    fn failure(&self, end: End, facts: &StreamFacts) -> Option<(Verdict, Option<u64>)> {
        let model = self.relay.terms.upstream_model.as_deref();
        // Its words have passed as they came; a rule still says whose fault they are.
        let rules = self.relay.arrival.live.error_rules();
        let error = facts.error.as_ref().map(|error| ErrorFacts::read_under(&error.payload, rules));
        let how = match (end, &error) {
            (End::Abandoned, _) | (End::Complete, None) => return None,
            (_, Some(facts)) => AttemptEnd::StreamError { facts },
            (End::Cut, None) => AttemptEnd::Cut(CutPhase::AfterContent),
            (End::TimedOut, None) => AttemptEnd::TimedOut(TimerPhase::Progress),
        };
        let told = error.as_ref().and_then(ErrorFacts::retry_after_secs);
        Some((classify(&how, model), told))
    }

    /// One that was given up for its seat means nothing for its provider.
    fn tell_breaker(&mut self, end: End, failure: Option<(Verdict, Option<u64>)>) {
        let Some(admission) = self.admission.take() else { return };
        match (end, failure) {
            (_, Some((verdict, told))) => admission.failed(&verdict, Some(COMMITTED), told),
            (End::Complete, None) => admission.served(COMMITTED),
            (End::Abandoned | End::Cut | End::TimedOut, None) => {}
        }
    }

    /// Ends a broken stream so that the client's SDK sees an error, never a short answer.
    async fn tell(&self, seat: &mut Seat<'_>, tap: &StreamTap, end: End) -> Ending {
        let id = self.relay.arrival.id.to_string();
        let (status, kind, message) = match end {
            End::TimedOut => (504, ErrorKind::Timeout, "The provider stopped sending; please try again."),
            End::Cut | End::Complete | End::Abandoned => {
                (502, ErrorKind::Internal, "The provider's stream broke; please try again.")
            }
        };
        let error = DialectError::new(status, message, &id).with_kind(kind);
        let fault = StreamFault { error, upstream_body: None, response_id: None, sequence_number: 0 };
        let bytes = tap.closing_error(&fault);
        if bytes.is_empty() {
            return Ending::Cut;
        }
        seat.add(bytes.into()).await;
        Ending::Whole
    }
}

async fn give_back(hub: &Hub, mut upstream: Box<Upstream>) {
    if upstream.is_done() {
        hub.upstreams.release(upstream).await;
    } else {
        upstream.close().await;
    }
}

fn joined(mut pieces: Vec<Bytes>) -> Bytes {
    if pieces.len() == 1 {
        return pieces.swap_remove(0);
    }
    let mut all = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
    for piece in pieces {
        all.extend_from_slice(&piece);
    }
    all.freeze()
}

/// How long a provider that has ended its stream may keep it open: its seat waits for that.
const LINGERING: Duration = Duration::from_secs(1);
/// Bytes that are gathered into one write at most.
const COALESCE: usize = 16 << 10;
/// Stands for "never" where a timer must have some time.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);
