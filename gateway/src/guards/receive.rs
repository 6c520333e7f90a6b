//! Takes in a request body, once: bounded in size, in the process's memory and in time.

use super::decode::{DecodeError, Encoding, decode, encoding};
use crate::reject::Reject;
use crate::seat::Seat;
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, EXPECT};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// A body and its share of the process's memory. Dropped when the stream is committed.
pub struct Held {
    /// The body, decoded.
    pub bytes: Bytes,
    /// True when an encoding came off, so that its header must not be forwarded.
    pub was_encoded: bool,
    _share: Option<OwnedSemaphorePermit>,
}

/// How much memory request bodies may take, over all requests; in KiB because a semaphore counts to 2^32.
#[derive(Clone)]
pub struct BodyMemory(Arc<Semaphore>);

impl BodyMemory {
    /// `bytes` in all.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new((bytes / 1024).min(Semaphore::MAX_PERMITS))))
    }

    fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Reject> {
        let kib = u32::try_from(bytes.div_ceil(1024)).map_err(|_| Reject::BodyTooLarge)?;
        self.0.clone().try_acquire_many_owned(kib).map_err(|_| Reject::BodyMemory)
    }
}

/// Reads the whole body of the seat's request.
pub async fn receive(seat: &mut Seat<'_>, memory: &BodyMemory) -> Result<Held, Reject> {
    let head = seat.http().req_header();
    let layer = match head.headers.get(CONTENT_ENCODING) {
        Some(value) => encoding(value.to_str().unwrap_or("?")).map_err(|()| Reject::EncodingUnknown)?,
        None => None,
    };
    if head.headers.get_all(CONTENT_ENCODING).iter().count() > 1 {
        return Err(Reject::EncodingUnknown);
    }
    let announced = head.headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > MAX_BODY) {
        return Err(Reject::BodyTooLarge);
    }
    let expects_continue =
        head.headers.get(EXPECT).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let share = announced.map(|length| memory.take(length)).transpose()?;
    if expects_continue {
        let _ = seat.http().write_continue_response().await;
    }
    let (raw, share) = read(seat, memory, announced.unwrap_or(0), share).await?;
    let Some(layer) = layer else {
        return Ok(Held { bytes: raw, was_encoded: false, _share: share });
    };
    let memory = memory.clone();
    let (bytes, grown) = if raw.len() <= DECODE_INLINE {
        decode_within(&memory, layer, &raw)
    } else {
        tokio::task::spawn_blocking(move || decode_within(&memory, layer, &raw))
            .await
            .map_err(|_| Reject::EncodingBroken)?
    };
    drop(share);
    let bytes = bytes.map_err(|error| match error {
        DecodeError::Broken => Reject::EncodingBroken,
        DecodeError::TooLarge => Reject::BodyTooLarge,
        DecodeError::NoRoom => Reject::BodyMemory,
    })?;
    Ok(Held { bytes, was_encoded: true, _share: grown })
}

/// Decodes, taking memory as the result grows: how large it gets, only its end tells.
fn decode_within(
    memory: &BodyMemory,
    layer: Encoding,
    raw: &[u8],
) -> (Result<Bytes, DecodeError>, Option<OwnedSemaphorePermit>) {
    let mut grown: Option<OwnedSemaphorePermit> = None;
    let mut taken = 0;
    let bytes = decode(layer, raw, MAX_BODY, |wanted| {
        let Ok(more) = memory.take(wanted.saturating_sub(taken)) else { return false };
        taken = taken.max(wanted);
        match &mut grown {
            Some(grown) => grown.merge(more),
            None => grown = Some(more),
        }
        true
    });
    if let (Ok(bytes), Some(grown)) = (&bytes, &mut grown) {
        drop(grown.split(taken.saturating_sub(bytes.len()) / 1024));
    }
    (bytes, grown)
}

async fn read(
    seat: &mut Seat<'_>,
    memory: &BodyMemory,
    announced: usize,
    mut share: Option<OwnedSemaphorePermit>,
) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Reject> {
    let http = seat.http();
    let mut taken = announced;
    let mut first: Option<Bytes> = None;
    let mut whole = BytesMut::new();
    loop {
        // Under the seat's deadline for each piece.
        let Ok(piece) = http.read_request_body().await else {
            // Where a broken body ends nobody can tell: what follows must not be taken for a request.
            http.set_keepalive(None);
            return Err(Reject::BodyIncomplete);
        };
        let Some(piece) = piece else { break };
        let length = whole.len() + first.as_ref().map_or(0, Bytes::len) + piece.len();
        if length > MAX_BODY {
            return Err(Reject::BodyTooLarge);
        }
        if length > taken {
            // Chunked: room is taken in steps, so that many small bodies do not each reserve the bound.
            let step = length.div_ceil(ROOM_STEP) * ROOM_STEP - taken;
            let more = memory.take(step)?;
            match &mut share {
                Some(share) => share.merge(more),
                None => share = Some(more),
            }
            taken += step;
        }
        // Small bodies come in one piece, which then needs no copy.
        match first.take() {
            None if whole.is_empty() => first = Some(piece),
            held => {
                if let Some(held) = held {
                    whole.reserve(announced.max(held.len() + piece.len()));
                    whole.extend_from_slice(&held);
                }
                whole.extend_from_slice(&piece);
            }
        }
    }
    Ok((first.unwrap_or_else(|| whole.freeze()), share))
}

/// Reads and drops what is left of a refused body, so that the client sees the refusal instead of a reset.
pub async fn discard(seat: &mut Seat<'_>) {
    let http = seat.http();
    let deadline = Instant::now() + DISCARD_DEADLINE;
    let mut left = DISCARD_BOUND;
    while let Ok(Ok(Some(piece))) = timeout_at(deadline, http.read_request_body()).await {
        match left.checked_sub(piece.len()) {
            Some(rest) => left = rest,
            None => break,
        }
    }
}

/// The largest body, before and after decoding.
pub const MAX_BODY: usize = 100 << 20;
const DECODE_INLINE: usize = 64 << 10;
const ROOM_STEP: usize = 256 << 10;
const DISCARD_DEADLINE: Duration = Duration::from_secs(10);
const DISCARD_BOUND: usize = 256 << 20;
