//! A question of our own to a provider: on the way that requests of seats go, judged as their answers are.
//!
//! Knows nothing of why it is asked; nothing of it is booked.

use super::prepare::head;
use super::sidecar::Sidecar;
use super::upstream::{Broken, Upstream, Upstreams};
use crate::live::Route;
use bytes::Bytes;
use pingora::http::ResponseHeader;
use shared::protocol::detect::Family;
use shared::rules::classify::{AttemptEnd, CutPhase, TimerPhase};
use shared::rules::provider_test::{Answered, Beginning, BodyEnd, Judged, TestRequest, judge, judge_end};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// What came of it.
pub struct Heard {
    /// The provider's status, if there was one.
    pub status: Option<u16>,
    /// What it means.
    pub judged: Judged,
}

/// Asks, all of it within `limit`. Of a stream no more is read than shows that it is real.
pub async fn ask(
    upstreams: &Upstreams,
    route: &Route,
    request: TestRequest,
    family: Family,
    limit: Duration,
) -> Heard {
    let model = request.upstream_model.clone();
    let exchange = Box::pin(exchange(upstreams, route, request, family));
    let end = match timeout(limit, exchange).await {
        Ok(Ok(answered)) => {
            let judged = judge(&answered, family, &model, u64::MAX);
            return Heard { status: Some(answered.status), judged };
        }
        Ok(Err(end)) => end,
        Err(_) => AttemptEnd::TimedOut(TimerPhase::Whole),
    };
    Heard { status: None, judged: judge_end(&end, &model) }
}

async fn exchange(
    upstreams: &Upstreams,
    route: &Route,
    request: TestRequest,
    family: Family,
) -> Result<Answered, AttemptEnd<'static>> {
    let began = Instant::now();
    let TestRequest { target, headers, body, .. } = request;
    let head = head(&target, &headers, body.len()).map_err(|_| AttemptEnd::Ours("head_unusable"))?;
    let body = Bytes::from(body);
    loop {
        let mut upstream = upstreams.connect(route).await.map_err(AttemptEnd::ConnectFailed)?;
        let was_pooled = upstream.is_reused;
        let sent = upstream.exchange(head.clone(), std::iter::once(body.clone()), None).await;
        if let (Ok(()), Some(answer)) = (sent, upstream.head().cloned()) {
            return Ok(hear(upstreams, upstream, &answer, family, began).await);
        }
        upstream.close().await;
        // A kept connection may have been closed meanwhile; each such one is used up, and a new one decides.
        if !(was_pooled && sent == Err(Broken::Cut)) {
            return Err(AttemptEnd::Cut(CutPhase::BeforeHead));
        }
    }
}

async fn hear(
    upstreams: &Upstreams,
    mut upstream: Box<Upstream>,
    head: &ResponseHeader,
    family: Family,
    began: Instant,
) -> Answered {
    let header = |name: &str| head.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let content_type = header("content-type").to_owned();
    let mut sidecar = Sidecar::new(header("content-encoding"));
    let mut beginning = head.status.is_success().then(|| Beginning::new(family, &content_type)).flatten();
    let mut body = Vec::new();
    let end = loop {
        let piece = match upstream.read().await {
            Ok(Some(piece)) => piece,
            Ok(None) => break BodyEnd::Complete,
            Err(_) => break BodyEnd::Cut,
        };
        let piece = match &mut sidecar {
            Some(sidecar) => sidecar.decode(&piece).into(),
            None => piece,
        };
        body.extend_from_slice(&piece);
        if beginning.as_mut().is_some_and(|beginning| beginning.is_real(piece)) {
            break BodyEnd::Enough;
        }
        if body.len() > BODY_BOUND {
            break BodyEnd::TooLong;
        }
    };
    if end == BodyEnd::Complete {
        upstreams.release(upstream).await;
    } else {
        upstream.close().await;
    }
    let total_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Answered { status: head.status.as_u16(), content_type, body: body.into(), end, total_ms }
}

/// An answer to a question of ours is a few kilobytes.
const BODY_BOUND: usize = 1 << 20;
