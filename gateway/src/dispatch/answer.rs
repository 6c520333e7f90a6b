//! What a provider answered, as far as it was read before anything was sent to the seat.

use super::sidecar::Sidecar;
use super::upstream::Upstream;
use crate::settle::Spent;
use bytes::Bytes;
use pingora::http::ResponseHeader;
use shared::ids::ProviderId;
use shared::model::{ClientAbort, Timers};
use shared::protocol::tap::StreamTap;
use shared::time::UnixMillis;

/// Something for the seat.
pub struct Answer {
    /// The upstream's head, as it came.
    pub head: ResponseHeader,
    /// Whose answer, and which try.
    pub from: From,
    /// What follows the head.
    pub body: Body,
    /// A fixed word for the decision chain: `served`, `relayed_error`.
    pub label: &'static str,
}

/// Whose answer, and which try.
#[derive(Debug, Clone)]
pub struct From {
    /// The provider.
    pub provider_id: ProviderId,
    /// The number of the try in the request.
    pub attempt: u32,
    /// When the provider's budget let it in; `None`: it has none.
    pub admitted_at: Option<UnixMillis>,
    /// What happens when the seat leaves.
    pub client_abort: ClientAbort,
    /// How long to wait.
    pub timers: Timers,
    /// Milliseconds from the request's head to this answer's first byte.
    pub first_byte_ms: u64,
}

/// What follows the head.
pub enum Body {
    /// A stream that has become real.
    Stream(Box<Stream>),
    /// A whole body.
    Whole(Whole),
}

/// A stream that has become real.
pub struct Stream {
    /// The rest of it.
    pub upstream: Box<Upstream>,
    /// Reads along.
    pub tap: StreamTap,
    /// Undoes a content encoding for the tap.
    pub sidecar: Option<Sidecar>,
    /// What the gate held, to be sent first.
    pub opened: Vec<Bytes>,
}

impl Stream {
    /// The seat was told that it gets plain bytes: what the gate held is decoded, and so is what follows.
    pub fn make_plain(&mut self, head: &ResponseHeader) {
        if self.tap.wants_plain() {
            return;
        }
        self.tap.promise_plain();
        let encoding = head.headers.get("content-encoding").and_then(|value| value.to_str().ok());
        // From the start again: the one that read along is past what was held.
        self.sidecar = Sidecar::new(encoding.unwrap_or_default());
        if let Some(sidecar) = &mut self.sidecar {
            for piece in &mut self.opened {
                *piece = sidecar.decode(piece).into();
            }
        }
    }

    /// True when the seat cannot be given what comes: it was promised plain bytes, and the encoding is not known here.
    #[must_use]
    pub fn is_unreadable(&self) -> bool {
        self.tap.wants_plain() && matches!(self.sidecar, Some(Sidecar::Blind))
    }
}

/// A body that was read whole, or so far that nobody can be asked instead.
pub struct Whole {
    /// The pieces read.
    pub pieces: Vec<Bytes>,
    /// What is left to read when it was too large to hold.
    pub rest: Option<Box<Upstream>>,
    /// What it cost; `None` for an upstream's refusal.
    pub spent: Option<Spent>,
    /// Why the model stopped.
    pub stop_reason: Option<String>,
    /// The id it gives itself; `None` for an upstream's refusal.
    pub response_id: Option<String>,
}
