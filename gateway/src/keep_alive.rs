//! Keeps a seat's line alive while there is nothing real to send: proxies between it and us, and its own watchdog, cut
//! silent connections (reference/protocols.md: a sign of life at least every 15 s).
//!
//! The first one sends the head, and so commits to `200`: what fails afterwards is told in the stream.

use crate::ctx::{Arrival, Asked};
use crate::seat::Seat;
use bytes::Bytes;
use pingora::http::ResponseHeader;
use pingora::prelude::timeout;
use shared::protocol::detect::Family;
use std::time::Duration;
use tokio::time::Instant;

/// The signs of life of one exchange.
#[derive(Debug, Clone, Copy)]
pub struct KeepAlive {
    bytes: &'static [u8],
    every: Duration,
    due: Instant,
}

/// What came while an exchange waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    /// The seat left.
    SeatLeft,
    /// Time for a sign of life.
    Due,
}

impl KeepAlive {
    /// For a request that is answered by server-sent events; `None` where a sign of life would not be understood.
    #[must_use]
    pub fn of(asked: &Asked, every: Option<Duration>) -> Option<Self> {
        let is_sse = match asked.family {
            // Without it the answer is one JSON array.
            Family::GeminiStreamGenerate => asked.target.query.as_deref().is_some_and(asks_for_sse),
            _ => asked.is_stream,
        };
        let every = every.filter(|_| is_sse)?;
        Some(Self { bytes: asked.family.dialect().keep_alive(), every, due: Instant::now() + every })
    }

    /// When the next one is due, if nothing is sent until then.
    #[must_use]
    pub fn due(&self) -> Instant {
        self.due
    }

    /// Something was sent.
    pub fn note_sent(&mut self, at: Instant) {
        self.due = at + self.every;
    }

    /// Sends one, after the head if that has not left yet.
    pub async fn send(&mut self, seat: &mut Seat<'_>, arrival: &Arrival) {
        if !seat.has_begun()
            && let Ok(head) = own_head(arrival)
        {
            seat.start(head).await;
        }
        seat.send(Bytes::from_static(self.bytes)).await;
        self.note_sent(Instant::now());
    }
}

/// Waits until the seat leaves or a sign of life is due. A seat that has left already is not told of again.
pub async fn watch(seat: &mut Seat<'_>, keep_alive: Option<&KeepAlive>) -> Came {
    match keep_alive.filter(|_| seat.is_here()) {
        Some(keep_alive) => {
            let left = keep_alive.due().saturating_duration_since(Instant::now());
            timeout(left, seat.left()).await.map_or(Came::Due, |()| Came::SeatLeft)
        }
        None => {
            seat.left().await;
            Came::SeatLeft
        }
    }
}

fn asks_for_sse(query: &str) -> bool {
    query.split('&').any(|pair| pair == "alt=sse")
}

/// The head of a stream of our own: of one that no provider's head is there for yet, or that no provider is asked for.
pub fn own_head(arrival: &Arrival) -> pingora::Result<ResponseHeader> {
    let mut head = ResponseHeader::build_no_case(200, Some(4))?;
    head.insert_header("content-type", "text/event-stream; charset=utf-8")?;
    head.insert_header("cache-control", "no-cache")?;
    head.insert_header("x-request-id", arrival.id.to_string())?;
    Ok(head)
}
