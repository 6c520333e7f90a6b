//! One try at one provider: connect, send, read until the answer is real, and judge what came.

use super::answer::{Answer, Body, From, Stream, Whole};
use super::end::{End, Failed, How};
use super::prepare::Prepared;
use super::read::{ReadEnd, pass, plain, read_up_to};
use super::sidecar::Sidecar;
use super::upstream::{Broken, Upstream, within};
use super::{Job, fault};
use crate::live::Route;
use crate::settle::Spent;
use http::HeaderName;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use pingora::http::ResponseHeader;
use shared::model::Provider;
use shared::protocol::detect::Family;
use shared::protocol::tap::{Framing, StreamTap, TapOptions};
use shared::protocol::whole::{self, Expect, WholeFacts, WholeVerdict};
use shared::rules::classify::{CutPhase, ErrorFacts, FakeKind, TimerPhase};
use shared::rules::gate::{Gate, GateFailure, GateVerdict, idle_limit_ms};
use shared::rules::upstream::ProxyFailure;
use shared::rules::wait::told_wait_secs;
use shared::time::UnixMillis;
use std::time::Duration;
use tokio::time::Instant;

/// How a try ended.
pub enum Tried {
    /// With something for the seat.
    Answer(Box<Answer>),
    /// Without.
    Failed(Failed),
}

/// What a try met on its way, for its chain: none of it is a failure of the provider.
#[derive(Debug, Clone, Copy, Default)]
pub struct Detours {
    /// What its proxy failed with, when it went on without it.
    pub direct_after: Option<ProxyFailure>,
    /// How often it was sent again, because a kept connection turned out closed.
    pub resends: u32,
}

/// Tries a provider once.
pub async fn attempt(
    job: &Job<'_>,
    provider: &Provider,
    route: &Route,
    number: (u32, Option<UnixMillis>),
    prepared: Result<Prepared, &'static str>,
) -> (Tried, Detours) {
    let mut detours = Detours::default();
    let tried = match run(job, provider, route, number, prepared, &mut detours).await {
        Ok(answer) => Tried::Answer(Box::new(answer)),
        Err(end) => Tried::Failed(end.judge(job)),
    };
    (tried, detours)
}

async fn run(
    job: &Job<'_>,
    provider: &Provider,
    route: &Route,
    (number, admitted_at): (u32, Option<UnixMillis>),
    prepared: Result<Prepared, &'static str>,
    detours: &mut Detours,
) -> Result<Answer, End> {
    let prepared = prepared.map_err(|label| End::of(How::Ours(label)))?;
    let timers = provider.timers;
    let began = Instant::now();
    let (head_limit, phase) = if job.asked.is_stream {
        (timers.first_byte_timeout_streaming_ms, TimerPhase::Head)
    } else {
        (timers.request_timeout_non_streaming_ms, TimerPhase::Whole)
    };
    let deadline = limit(began, head_limit);
    let (upstream, head) = exchange(job, route, &prepared, (deadline, phase), detours).await?;
    let from = From {
        provider_id: provider.id,
        attempt: number,
        admitted_at,
        client_abort: provider.client_abort,
        timers,
        first_byte_ms: job.arrival.elapsed_ms(),
    };
    let reply = Reply { job, upstream, head, from, prepared };
    if !reply.head.status.is_success() {
        return Err(Box::pin(reply.refusal()).await);
    }
    match reply.framing() {
        Some(framing) => reply.stream(framing).await,
        None => reply.whole(deadline).await,
    }
}

/// Sends the request and reads the head of the answer. A pooled connection that turns out closed is replaced
/// once: its other side went away while it was idle, so the request was not taken up.
async fn exchange(
    job: &Job<'_>,
    route: &Route,
    prepared: &Prepared,
    (deadline, phase): (Option<Instant>, TimerPhase),
    detours: &mut Detours,
) -> Result<(Box<Upstream>, ResponseHeader), End> {
    for resends in 0..=STALE_CONNECTIONS {
        detours.resends = resends;
        let head = prepared.head().map_err(|_| End::of(How::Ours("head_unusable")))?;
        let connected = job.hub.upstreams.connect(route).await;
        let mut upstream = connected.map_err(|why| {
            // Nothing was sent, so nothing can have been spent.
            let spent = Spent::nothing(prepared.upstream_model.clone());
            End { spent, ..End::of(How::Connect(why)) }
        })?;
        detours.direct_after = upstream.direct_after;
        let was_pooled = upstream.is_reused;
        match upstream.exchange(head, prepared.body.iter().cloned(), deadline).await {
            Ok(()) => match upstream.head().cloned() {
                Some(head) => return Ok((upstream, head)),
                None => return Err(End::of(How::Cut(CutPhase::BeforeHead))),
            },
            Err(Broken::TimedOut) => {
                upstream.close().await;
                return Err(End::of(How::TimedOut(phase)));
            }
            Err(Broken::Cut) => {
                upstream.close().await;
                if !was_pooled {
                    break;
                }
            }
        }
    }
    Err(End::of(How::Cut(CutPhase::BeforeHead)))
}

/// An answer whose head has come.
struct Reply<'a> {
    job: &'a Job<'a>,
    upstream: Box<Upstream>,
    head: ResponseHeader,
    from: From,
    prepared: Prepared,
}

impl Reply<'_> {
    fn header(&self, name: HeaderName) -> &str {
        header(&self.head, name)
    }

    /// How the body is cut into events, when it is a stream.
    fn framing(&self) -> Option<Framing> {
        let content_type = self.header(CONTENT_TYPE).to_ascii_lowercase();
        if content_type.starts_with("text/event-stream") {
            Some(Framing::Sse)
        } else if self.job.asked.family == Family::GeminiStreamGenerate && content_type.contains("json") {
            Some(Framing::JsonArray)
        } else {
            None
        }
    }

    /// A head that is no success: its body tells why.
    async fn refusal(mut self) -> End {
        let mut pieces = Vec::new();
        let deadline = Some(Instant::now() + REFUSAL_DEADLINE);
        let is_complete = matches!(
            read_up_to(&mut self.upstream, &mut pieces, REFUSAL_BOUND, deadline).await,
            Ok(ReadEnd::Complete)
        );
        let mut sidecar = Sidecar::new(self.header(CONTENT_ENCODING));
        let plain = plain(&mut sidecar, &pieces);
        let code = self.head.status.as_u16();
        let job = self.job;
        let facts = ErrorFacts::read_under(&plain, job.arrival.live.error_rules());
        let told = told_wait_secs(&facts, &self.head.headers, job.arrival.now());
        if is_complete {
            job.hub.upstreams.release(self.upstream).await;
        } else {
            self.upstream.close().await;
        }
        End {
            how: How::Status(code, facts),
            retry_after_secs: told,
            spent: Spent::nothing(self.prepared.upstream_model),
            reply: Some(Box::new(fault::reply(self.head, self.from, pieces))),
        }
    }

    /// A stream: held back until it is real.
    async fn stream(mut self, framing: Framing) -> Result<Answer, End> {
        let mut sidecar = Sidecar::new(self.header(CONTENT_ENCODING));
        let is_readable = !matches!(sidecar, Some(Sidecar::Blind));
        let options = TapOptions { withhold_usage_chunk: self.prepared.asked_for_usage && is_readable };
        let mut tap = StreamTap::new(self.job.asked.family.dialect(), framing, options);
        let mut gate = Gate::new();
        let mut last_progress = Instant::now();
        loop {
            let idle =
                idle_limit_ms(&self.from.timers, self.job.hub.door.waits.thinking_idle_ms, tap.facts());
            let deadline = idle.and_then(|ms| limit(last_progress, ms));
            let (passed, is_over) = match within(deadline, self.upstream.read()).await {
                Ok(Some(piece)) => (pass(&mut tap, &mut sidecar, piece), None),
                Ok(None) => (tap.end(), Some(false)),
                Err(Broken::Cut) => (tap.end(), Some(true)),
                Err(Broken::TimedOut) => {
                    self.upstream.close().await;
                    let spent = Spent::of_stream(tap.facts(), self.prepared.upstream_model);
                    return Err(End { spent, ..End::of(How::TimedOut(TimerPhase::Progress)) });
                }
            };
            if passed.seen.progress {
                last_progress = Instant::now();
            }
            let verdict = match is_over {
                None => gate.push(passed),
                Some(false) => gate.end(passed),
                Some(true) => gate.cut(passed),
            };
            match verdict {
                GateVerdict::Hold if is_over.is_none() => {}
                GateVerdict::Hold => return Err(Box::pin(self.no_stream(&tap, GateFailure::Empty)).await),
                GateVerdict::Fail(failure) => return Err(Box::pin(self.no_stream(&tap, failure)).await),
                GateVerdict::Open(opened) => {
                    let stream = Stream { upstream: self.upstream, tap, sidecar, opened };
                    let body = Body::Stream(Box::new(stream));
                    return Ok(Answer { head: self.head, from: self.from, body, label: "served" });
                }
            }
        }
    }

    async fn no_stream(self, tap: &StreamTap, failure: GateFailure) -> End {
        let none = ErrorFacts::default();
        let payload = tap.facts().error.as_ref().map(|e| e.payload.as_slice()).unwrap_or_default();
        let how = match failure {
            GateFailure::ErrorEvent => {
                How::StreamError(ErrorFacts::read_under(payload, self.job.arrival.live.error_rules()))
            }
            GateFailure::Empty => How::Fake(FakeKind::Empty, none),
            GateFailure::Malformed | GateFailure::Overflow => How::Fake(FakeKind::Malformed, none),
            GateFailure::Cut => How::Cut(CutPhase::BeforeContent),
        };
        let spent = Spent::of_stream(tap.facts(), self.prepared.upstream_model);
        self.upstream.close().await;
        let reply = match &how {
            How::StreamError(facts) => fault::reply_of_event(self.job, self.head, self.from, payload, facts),
            _ => None,
        };
        End { spent, reply: reply.map(Box::new), ..End::of(how) }
    }

    /// A whole body: read before anything is sent, unless it is larger than what is held.
    async fn whole(mut self, deadline: Option<Instant>) -> Result<Answer, End> {
        let mut pieces = Vec::new();
        let read = read_up_to(&mut self.upstream, &mut pieces, WHOLE_BOUND, deadline).await;
        let model = self.prepared.upstream_model;
        match read {
            Ok(ReadEnd::Complete) => {}
            Ok(ReadEnd::Bound) => {
                let rest = Some(self.upstream);
                let spent = Some(Spent::unread(model));
                let whole = Whole { pieces, rest, spent, stop_reason: None, response_id: None };
                let body = Body::Whole(whole);
                return Ok(Answer { head: self.head, from: self.from, body, label: "served" });
            }
            Err(broken) => {
                self.upstream.close().await;
                return Err(End::of(match broken {
                    Broken::TimedOut => How::TimedOut(TimerPhase::Whole),
                    Broken::Cut => How::Cut(CutPhase::BeforeContent),
                }));
            }
        }
        let plain = plain(&mut Sidecar::new(header(&self.head, CONTENT_ENCODING)), &pieces);
        let family = self.job.asked.family;
        let expect = if is_generation(family) { Expect::Generation } else { Expect::AnyJson };
        let facts = whole::read(family.dialect(), expect, &plain);
        self.job.hub.upstreams.release(self.upstream).await;
        let kind = match facts.verdict {
            WholeVerdict::Fine => None,
            WholeVerdict::ErrorInside => Some(FakeKind::Error),
            WholeVerdict::Html => Some(FakeKind::Html),
            WholeVerdict::Empty => Some(FakeKind::Empty),
            WholeVerdict::NotJson => Some(FakeKind::Malformed),
        };
        let spent = Spent::of_whole(&facts, model);
        if let Some(kind) = kind {
            let how = How::Fake(kind, ErrorFacts::read_under(&plain, self.job.arrival.live.error_rules()));
            let reply = (kind == FakeKind::Error).then(|| fault::reply(self.head, self.from, pieces));
            return Err(End { spent, reply: reply.map(Box::new), ..End::of(how) });
        }
        let WholeFacts { stop_reason, response_id, .. } = facts;
        let whole = Whole { pieces, rest: None, spent: Some(spent), stop_reason, response_id };
        Ok(Answer { head: self.head, from: self.from, body: Body::Whole(whole), label: "served" })
    }
}

/// The text of a header; empty where there is none.
fn header(head: &ResponseHeader, name: HeaderName) -> &str {
    head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn is_generation(family: Family) -> bool {
    match family {
        Family::AnthropicMessages
        | Family::OpenaiResponses
        | Family::OpenaiChat
        | Family::GeminiGenerate
        | Family::GeminiStreamGenerate => true,
        Family::AnthropicCountTokens
        | Family::OpenaiResponsesCompact
        | Family::OpenaiCompletions
        | Family::OpenaiEmbeddings
        | Family::GeminiCountTokens
        | Family::GeminiEmbed => false,
    }
}

/// `ms` after `from`; 0 = never.
fn limit(from: Instant, ms: u64) -> Option<Instant> {
    if ms == 0 { None } else { from.checked_add(Duration::from_millis(ms)) }
}

/// How many pooled connections may turn out closed before a try counts as failed.
const STALE_CONNECTIONS: u32 = 1;
const REFUSAL_BOUND: usize = 256 << 10;
const REFUSAL_DEADLINE: Duration = Duration::from_secs(10);
/// A larger body is sent on before it is complete, and its usage stays unread.
const WHOLE_BOUND: usize = 32 << 20;
