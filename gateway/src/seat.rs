//! The seat's side of an exchange: reading its request, writing its answer, noticing that it left.

use crate::wire;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::response::Parts;
use http::{StatusCode, Version};
use pingora::http::ResponseHeader;
use pingora::prelude::timeout;
use pingora::protocols::http::ServerSession;
use shared::rules::quota::headers::Header;
use std::future::pending;
use std::time::Duration;

/// The connected client. Once it is gone, writes are swallowed and watching it never ends.
pub struct Seat<'a> {
    session: &'a mut ServerSession,
    is_here: bool,
    has_begun: bool,
    write_deadline: Duration,
    /// What it is told beside an answer.
    told: Vec<Header>,
}

impl<'a> Seat<'a> {
    /// Takes over a session whose request head has been read. A client that takes nothing for `write_deadline` is gone.
    pub fn new(session: &'a mut ServerSession, write_deadline: Duration) -> Self {
        session.set_read_timeout(Some(READ_DEADLINE));
        session.set_write_timeout(Some(write_deadline));
        Self { session, is_here: true, has_begun: false, write_deadline, told: Vec::new() }
    }

    /// Pingora's session, for what only concerns the request.
    pub fn http(&mut self) -> &mut ServerSession {
        self.session
    }

    /// True while the client is connected, as far as is known.
    #[must_use]
    pub fn is_here(&self) -> bool {
        self.is_here
    }

    /// True once the head was written: there is no other answer any more.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// These go with the head of its answer, whoever answers.
    pub fn tell(&mut self, headers: Vec<Header>) {
        self.told = headers;
    }

    /// Waits until the client leaves; once it is gone, waits forever. Call only after its body was read. A client
    /// that sends its next request early is taken to stay: that request is kept, and nobody reads on behind it.
    pub async fn left(&mut self) {
        while self.is_here {
            if self.session.read_body_or_idle(true).await.is_err() {
                self.is_here = false;
                return;
            }
        }
        pending::<()>().await;
    }

    /// Writes the head, to leave with what follows; once one was written, nothing. A body of unknown length is chunked
    /// where the client can read that.
    pub async fn start(&mut self, head: ResponseHeader) {
        if !self.is_here || std::mem::replace(&mut self.has_begun, true) {
            return;
        }
        // Changed without Pingora's setters, which parse each name twice.
        let mut head = Parts::from(head);
        let told = std::mem::take(&mut self.told);
        head.headers.reserve(told.len() + 1);
        for (name, value) in told {
            // Names and values of ours: numbers and fixed words.
            if let Ok(value) = HeaderValue::try_from(value) {
                head.headers.insert(HeaderName::from_static(name), value);
            }
        }
        let has_length = head.headers.contains_key(CONTENT_LENGTH);
        let is_bodyless = head.status == StatusCode::NO_CONTENT;
        let is_http11 = self.session.req_header().version == Version::HTTP_11;
        if !has_length && !is_bodyless && is_http11 {
            // Written out, else Pingora ends the body by closing the connection.
            head.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        wire::hold(self.session.stream());
        let written = self.session.write_response_header(Box::new(head.into())).await;
        self.note(written.is_ok());
    }

    /// Writes a piece of the body at once.
    pub async fn send(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            wire::release(self.session.stream());
            self.write(piece).await;
        }
    }

    /// Writes a piece of the body, to leave with what follows.
    pub async fn add(&mut self, piece: Bytes) {
        wire::hold(self.session.stream());
        self.write(piece).await;
    }

    async fn write(&mut self, piece: Bytes) {
        if self.is_here && !piece.is_empty() {
            let written = self.session.write_response_body(piece, false).await;
            self.note(written.is_ok());
        }
    }

    /// Writes what may be the end of a body whose length the client knows: its last bytes leave with [`Seat::finish`].
    pub async fn add_last(&mut self, mut piece: Bytes) {
        let kept = piece.split_off(piece.len().saturating_sub(KEPT_BACK));
        self.send(piece).await;
        self.add(kept).await;
    }

    /// Ends the body in good order.
    pub async fn finish(&mut self) {
        if self.is_here {
            wire::release(self.session.stream());
            // Pingora's own deadline is for pieces alone, and the last of them may leave only now.
            let end = self.session.write_response_body(Bytes::new(), true);
            let written = timeout(self.write_deadline, end).await;
            self.note(matches!(written, Ok(Ok(()))));
        }
    }

    /// Ends the connection without ending the body, so that the client sees the cut.
    pub async fn abort(&mut self) {
        self.session.set_keepalive(None);
        self.session.shutdown().await;
        self.is_here = false;
    }

    fn note(&mut self, is_written: bool) {
        if !is_written {
            self.is_here = false;
        }
    }
}

/// How an answer ends, once the books know of it: nobody has a whole answer that is not written down.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// In good order: what was held back leaves.
    Whole,
    /// The client sees a cut.
    Cut,
}

impl Ending {
    /// Lets it leave.
    pub async fn leave(self, seat: &mut Seat<'_>) {
        match self {
            Self::Whole => seat.finish().await,
            Self::Cut => seat.abort().await,
        }
    }
}

/// Less than a socket gathers, so that it stays there.
const KEPT_BACK: usize = 1 << 10;
/// The longest pause between two pieces of a request's body.
const READ_DEADLINE: Duration = Duration::from_secs(60);
