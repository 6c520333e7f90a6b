//! The life of a simulated request, top to bottom: choose the script, read, record, answer, misbehave.
//!
//! What is said comes from `vendor`; when and how it leaves from `score`; this room connects them to HTTP.

mod asked;
mod endpoint;
mod line;
mod player;
mod repertoire;
mod reply;
mod score;

#[cfg(test)]
pub(crate) use asked::Tool;
pub(crate) use asked::{Asked, Wanted};
pub use endpoint::{Dialect, Endpoint};
pub(crate) use line::{Line, Wire};
pub(crate) use player::{Player, Severed};
pub(crate) use repertoire::Repertoire;

use crate::script::{Cut, Hang, Script, Scripts};
use crate::served::{AnswerFacts, BodyFacts, Book, ConnectionFacts, Ending, Entry, Head, hex};
use asked::AskedError;
use bytes::{Bytes, BytesMut};
use endpoint::Target;
use http::header::{CONNECTION, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, Version};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use player::{Performance, Ticket};
use repertoire::Staged;
use reply::{Question, Reply};
use ring::digest::{Context as Digest, SHA256};
use serde_json::json;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What the requests of a listener share.
pub(crate) struct Stage {
    pub(crate) book: Arc<Book>,
    /// Digests of bodies are taken.
    digests: bool,
    repertoire: Mutex<Arc<Repertoire>>,
    /// The listener's part of every id: two listeners never give the same one.
    port: u16,
    requests: AtomicU64,
}

impl Stage {
    pub(crate) fn new(port: u16, script: Script, served_cap: usize, digests: bool) -> Self {
        Self {
            book: Arc::new(Book::new(served_cap)),
            digests,
            repertoire: Mutex::new(Arc::new(Repertoire::new(Scripts(vec![script])))),
            port,
            requests: AtomicU64::new(0),
        }
    }

    pub(crate) fn set_scripts(&self, scripts: Scripts) {
        let repertoire = Arc::new(Repertoire::new(scripts));
        *self.repertoire.lock().unwrap_or_else(PoisonError::into_inner) = repertoire;
    }

    fn repertoire(&self) -> Arc<Repertoire> {
        Arc::clone(&self.repertoire.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn next_id(&self) -> String {
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        format!("sim{:05}{number:016}", self.port)
    }

    /// Answers one request, or breaks its connection.
    pub(crate) async fn perform(
        &self,
        wire: Arc<Wire>,
        request: Request<Incoming>,
    ) -> Result<Response<Player>, Severed> {
        let (parts, body) = request.into_parts();
        let target = Target::read(&parts.method, parts.uri.path(), parts.uri.query(), &parts.headers);
        let staged = self.script(&parts, target.endpoint);
        let (staged, broken_script) = match staged {
            Ok(staged) => (staged, None),
            Err(error) => (Arc::new(Staged::new(Script::default())), Some(error)),
        };
        let received = match staged.script.early_reply {
            true => Received::default(),
            false => receive(body, self.digests || staged.script.echo).await,
        };
        let endpoint = target.endpoint;
        let asked = match broken_script {
            Some(error) => Err(AskedError::Script(error)),
            None if staged.script.early_reply => {
                Ok(Asked::unread(endpoint, target.model.unwrap_or_default()))
            }
            None if endpoint == Endpoint::Unknown => Err(AskedError::NoSuchPath),
            None => Asked::read(target, &received.bytes),
        };
        let id = self.next_id();
        let ticket = self.open(&id, endpoint, Head::copy(&parts), &received, asked.as_ref().ok(), &wire);
        if !received.is_complete {
            return Err(Severed);
        }
        before_head(&staged.script, &ticket).await?;
        let entry = Arc::clone(&ticket.entry);
        let echo = || echo(&entry.head, &received);
        let question = Question { endpoint, asked: &asked, staged: &staged, id: &id, echo: &echo };
        Ok(self.start(question.reply(), &staged.script, ticket, wire))
    }

    /// The request's own script, or the listener's next.
    fn script(&self, head: &Parts, endpoint: Endpoint) -> Result<Arc<Staged>, crate::ScriptError> {
        match head.headers.get("x-sim-script") {
            Some(json) => {
                let json = String::from_utf8_lossy(json.as_bytes());
                json.parse().map(|script| Arc::new(Staged::new(script)))
            }
            None => {
                let is_counted = head.method == Method::POST && endpoint != Endpoint::Unknown;
                Ok(self.repertoire().take(is_counted))
            }
        }
    }

    fn open(
        &self,
        id: &str,
        endpoint: Endpoint,
        head: Head,
        received: &Received,
        asked: Option<&Asked>,
        wire: &Wire,
    ) -> Ticket {
        let entry = Arc::new(Entry {
            id: crate::vendor::id_header(endpoint, id).1,
            endpoint,
            head,
            connection: ConnectionFacts { id: wire.id, request: wire.count_request() },
            body: BodyFacts {
                sha256: received.digest,
                bytes: received.bytes.len() as u64,
                model: asked.map(|asked| asked.model.clone()).filter(|model| !model.is_empty()),
                is_stream: asked.is_some_and(|asked| asked.is_stream),
            },
            answer: Mutex::new(AnswerFacts {
                status: None,
                events: 0,
                body_bytes: 0,
                body_sha256: None,
                usage: None,
                told: None,
                ended: Ending::InProgress,
                client_left: false,
            }),
        });
        self.book.open(Arc::clone(&entry));
        Ticket { entry, book: Arc::clone(&self.book) }
    }

    fn start(&self, reply: Reply, script: &Script, ticket: Ticket, wire: Arc<Wire>) -> Response<Player> {
        let Reply { status, headers, tape, is_stream, usage, ending } = reply;
        ticket.note(|answer| {
            answer.status = Some(status.as_u16());
            answer.usage = usage;
        });
        let endpoint = ticket.entry.endpoint;
        let is_http2 = ticket.entry.head.version == Version::HTTP_2;
        let performance = Performance {
            steps: score::compose(&tape, script),
            events: Arc::clone(&tape.events),
            ping: Bytes::from_static(crate::vendor::ping(endpoint).as_bytes()),
            len: (!is_stream && !script.chunked).then_some(tape.bytes.len() as u64),
            ending,
            wire,
            is_http2,
        };
        let mut response = Response::new(Player::new(performance, ticket, self.digests));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        if script.early_reply && !is_http2 {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Waits, hangs or cuts as the script says, before the head.
async fn before_head(script: &Script, ticket: &Ticket) -> Result<(), Severed> {
    if script.first_byte_delay_ms > 0 {
        tokio::time::sleep(Duration::from_millis(script.first_byte_delay_ms)).await;
    }
    if script.cut == Some(Cut::BeforeHead) {
        ticket.end(Ending::Cut);
        return Err(Severed);
    }
    if script.hang == Some(Hang::BeforeHead) {
        ticket.end(Ending::Hung);
        std::future::pending::<()>().await;
    }
    Ok(())
}

/// A request's body.
struct Received {
    bytes: Bytes,
    digest: Option<ring::digest::Digest>,
    /// It came to its end.
    is_complete: bool,
}

impl Default for Received {
    fn default() -> Self {
        Self { bytes: Bytes::new(), digest: None, is_complete: true }
    }
}

async fn receive(mut body: Incoming, digests: bool) -> Received {
    let mut digest = digests.then(|| Digest::new(&SHA256));
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    let mut is_complete = true;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            is_complete = false;
            break;
        };
        let Ok(data) = frame.into_data() else { continue };
        if let Some(digest) = &mut digest {
            digest.update(&data);
        }
        // Most bodies are one frame, and need no copy.
        if first.is_empty() && rest.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                // The declared length is only a promise: little is reserved on its word.
                let promised = usize::try_from(body.size_hint().lower()).unwrap_or(0);
                rest.reserve(first.len() + data.len() + promised.min(MOST_RESERVED));
                rest.extend_from_slice(&first);
            }
            rest.extend_from_slice(&data);
        }
    }
    let bytes = if rest.is_empty() { first } else { rest.freeze() };
    Received { bytes, digest: digest.map(Digest::finish), is_complete }
}

/// What was received, for `echo`.
fn echo(head: &Head, received: &Received) -> String {
    let headers: Vec<_> = head.headers().map(|(name, value)| json!([name, value])).collect();
    json!({
        "method": head.method.as_str(),
        "path": head.path(),
        "http_version": format!("{:?}", head.version),
        "headers": headers,
        "body_sha256": received.digest.map(|digest| hex(digest.as_ref())),
        "body_bytes": received.bytes.len(),
    })
    .to_string()
}

const MOST_RESERVED: usize = 64 * 1024 * 1024;
