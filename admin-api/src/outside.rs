//! One exchange with a provider, on a connection of its own: for tests and lists of models.
//!
//! The connection is made by the gateway's dialler, so the way is the gateway's. Everything has a deadline and a bound,
//! and few run at a time. Knows nothing of what is asked and of what an answer means.

use bytes::Bytes;
use egress::{Connection, DialError, Dialer, TrustError};
use flate2::read::GzDecoder;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use shared::rules::classify::TimerPhase;
use shared::rules::provider_test::{BodyEnd, TestRequest};
use shared::rules::upstream::{Detour, FirstTry, NextTry, Origin, ProxyFailure, Reach, Way};
use std::error::Error as _;
use std::future::pending;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

/// Speaks with providers.
pub struct Outside {
    dialer: Dialer,
    places: Semaphore,
}

/// How an exchange went.
#[derive(Debug)]
pub struct Exchange {
    /// The way that was taken.
    pub taken: Taken,
    /// What came.
    pub outcome: Result<Answer, Absence>,
    /// Milliseconds that all of it took.
    pub total_ms: u64,
}

/// The way that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Without a proxy, because none is set.
    Direct,
    /// Through the proxy.
    Proxy,
    /// Without the proxy, because it failed.
    DirectAfter(ProxyFailure),
}

/// An answer, read as far as it was read.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// `content-type`.
    pub content_type: String,
    /// The body, decoded.
    pub body: Bytes,
    /// How it ended.
    pub end: BodyEnd,
    /// Milliseconds until the head was there.
    pub first_byte_ms: u64,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Absence {
    /// No connection came about.
    Connect(DialError),
    /// The connection was closed before a head was there.
    Reset,
    /// What came is not HTTP.
    NotHttp,
    /// Nothing, or not all of it, came in time.
    TimedOut(TimerPhase),
}

impl Outside {
    /// Believes the authorities in `ca_file`; without one, the system's.
    pub fn new(ca_file: Option<&Path>) -> Result<Self, TrustError> {
        Ok(Self { dialer: Dialer::new(ca_file)?, places: Semaphore::new(AT_A_TIME) })
    }

    /// A place for one exchange, unless all are taken.
    pub fn place(&self) -> Option<SemaphorePermit<'_>> {
        self.places.try_acquire().ok()
    }

    /// Sends a request and reads the answer, all within `limit`.
    pub async fn exchange(
        &self,
        reach: &Reach,
        method: Method,
        request: TestRequest,
        limit: Duration,
    ) -> Exchange {
        let began = Instant::now();
        let (connected, taken) = self.connect(reach, began, limit).await;
        let outcome = match connected {
            Ok(connection) => Box::pin(speak(connection, method, request, (began, limit))).await,
            Err(error) => Err(Absence::Connect(error)),
        };
        Exchange { taken, outcome, total_ms: ms_since(began) }
    }

    async fn connect(
        &self,
        reach: &Reach,
        began: Instant,
        limit: Duration,
    ) -> (Result<Connection, DialError>, Taken) {
        let (origin, limit) = (reach.base.origin(), limit.min(CONNECT_LIMIT));
        let usual = if reach.way.proxy.is_some() { Taken::Proxy } else { Taken::Direct };
        // Nothing is remembered of a proxy: an admin asks what it does now.
        let detour = Detour { has_other_way: reach.fallback.is_some(), is_hung: false };
        let after = match detour.first(limit) {
            FirstTry::Direct(after) => after,
            FirstTry::Usual(share) => match self.dial(origin, &reach.way, began + share).await {
                Err(error) => match detour.after(error.proxy_failure()) {
                    NextTry::GiveUp => return (Err(error), usual),
                    NextTry::Direct { after, .. } => after,
                },
                connected => return (connected, usual),
            },
        };
        let way = reach.fallback.as_ref().unwrap_or(&reach.way);
        (self.dial(origin, way, began + limit).await, Taken::DirectAfter(after))
    }

    async fn dial(&self, origin: &Origin, way: &Way, deadline: Instant) -> Result<Connection, DialError> {
        let addresses = self.dialer.addresses(origin, way).await?;
        Box::pin(self.dialer.dial(origin, way, &addresses, deadline)).await
    }
}

async fn speak(
    connection: Connection,
    method: Method,
    asked: TestRequest,
    (began, limit): (Instant, Duration),
) -> Result<Answer, Absence> {
    let deadline = began + limit;
    let is_h2 = connection.is_h2;
    let request = request(method, asked, is_h2).map_err(|_| Absence::NotHttp)?;
    let io = TokioIo::new(connection.io);
    if is_h2 {
        let hello = hyper::client::conn::http2::Builder::new(TokioExecutor::new()).handshake(io);
        let hello = timeout_at(deadline, hello).await.map_err(|_| Absence::TimedOut(TimerPhase::Head))?;
        let (mut sender, driver) = hello.map_err(|error| absence(&error))?;
        tokio::select! {
            biased;
            answer = read(sender.send_request(request), began, deadline) => answer,
            () = driven(driver) => Err(Absence::Reset),
        }
    } else {
        let (mut sender, driver) =
            hyper::client::conn::http1::handshake(io).await.map_err(|error| absence(&error))?;
        tokio::select! {
            biased;
            answer = read(sender.send_request(request), began, deadline) => answer,
            () = driven(driver) => Err(Absence::Reset),
        }
    }
}

/// Keeps the connection going; what it ends with is told to the exchange.
async fn driven<E>(driver: impl Future<Output = Result<(), E>>) {
    let _ = driver.await;
    pending().await
}

fn request(method: Method, asked: TestRequest, is_h2: bool) -> http::Result<Request<Full<Bytes>>> {
    let TestRequest { target, headers, body, .. } = asked;
    let authority = &target.origin.authority;
    let uri = if is_h2 {
        format!("https://{authority}{}", target.path_and_query)
    } else {
        target.path_and_query.clone()
    };
    let has_body = method != Method::GET;
    let length = body.len();
    let mut request = Request::builder().method(method).uri(uri).body(Full::new(Bytes::from(body)))?;
    let sent = request.headers_mut();
    if !is_h2 {
        sent.insert(HOST, HeaderValue::from_str(authority)?);
    }
    for (name, value) in headers {
        if has_body || name != CONTENT_TYPE {
            sent.append(name, value);
        }
    }
    if has_body {
        sent.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(request)
}

async fn read(
    sent: impl Future<Output = hyper::Result<Response<Incoming>>>,
    began: Instant,
    deadline: Instant,
) -> Result<Answer, Absence> {
    let head = timeout_at(deadline, sent).await.map_err(|_| Absence::TimedOut(TimerPhase::Head))?;
    let (head, mut body) = head.map_err(|error| absence(&error))?.into_parts();
    let first_byte_ms = ms_since(began);
    let mut bytes = Vec::new();
    let end = loop {
        let frame = timeout_at(deadline, body.frame()).await;
        match frame.map_err(|_| Absence::TimedOut(TimerPhase::Whole))? {
            None => break BodyEnd::Complete,
            Some(Err(_)) => break BodyEnd::Cut,
            Some(Ok(frame)) => {
                bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
                if bytes.len() > BODY_BOUND {
                    bytes.truncate(BODY_BOUND);
                    break BodyEnd::TooLong;
                }
            }
        }
    };
    let text = |name| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if text(CONTENT_ENCODING).eq_ignore_ascii_case("gzip") {
        bytes = unpacked(&bytes);
    }
    let content_type = text(CONTENT_TYPE).to_owned();
    Ok(Answer { status: head.status.as_u16(), content_type, body: bytes.into(), end, first_byte_ms })
}

/// Some relays pack what was asked for plain. As far as it can be read.
fn unpacked(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    // What is broken is judged by what is missing.
    let _ = GzDecoder::new(bytes).take(BODY_BOUND as u64).read_to_end(&mut plain);
    plain
}

fn absence(error: &hyper::Error) -> Absence {
    if error.is_parse() {
        return Absence::NotHttp;
    }
    // A request that could not be handed over has the connection's own end for a cause.
    let connection = error.source().and_then(|cause| cause.downcast_ref::<hyper::Error>());
    let error = connection.unwrap_or(error);
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    match cause.map(io::Error::kind) {
        // It spoke before it was asked.
        None if connection.is_some() && !error.is_incomplete_message() && !error.is_closed() => {
            Absence::NotHttp
        }
        Some(io::ErrorKind::TimedOut) => Absence::TimedOut(TimerPhase::Head),
        // Closed, reset, cut in the middle of a head.
        _ => Absence::Reset,
    }
}

fn ms_since(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// As long as the gateway tries.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
const BODY_BOUND: usize = 1 << 20;
/// Exchanges at a time, of all admins.
const AT_A_TIME: usize = 4;
