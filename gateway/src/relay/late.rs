//! A whole answer for a seat whose stream has begun: an upstream's refusal, or a body where events were asked for. It is
//! told as an error in the stream.

use super::Relay;
use crate::ctx::Book;
use crate::dispatch::answer::{From, Whole};
use crate::dispatch::{Sidecar, plain};
use crate::seat::{Ending, Seat};
use pingora::http::ResponseHeader;
use shared::contract::breach::Breach;
use shared::contract::usage::Outcome;
use shared::protocol::error::{DialectError, StreamFault};

/// Tells it and books what it took.
pub async fn tell(
    run: Relay<'_>,
    seat: &mut Seat<'_>,
    book: &mut Book,
    head: &ResponseHeader,
    from: &From,
    whole: Whole,
) -> Ending {
    let is_refusal = whole.spent.is_none();
    book.broke(if is_refusal { Breach::UpstreamError } else { Breach::AnswerWithoutStream });
    if let Some(spent) = &whole.spent {
        book.ended(from.attempt, Breach::AnswerWithoutStream.as_str());
        book.attempt(run.terms.row(from.attempt, Outcome::Failed, spent));
    }
    book.entry_mut().stop_reason = whole.stop_reason;
    if let Some(upstream) = whole.rest {
        upstream.close().await;
    }
    let encoding = head.headers.get("content-encoding").and_then(|value| value.to_str().ok());
    let body = plain(&mut Sidecar::new(encoding.unwrap_or_default()), &whole.pieces);
    let id = run.arrival.id.to_string();
    let status = if is_refusal { head.status.as_u16() } else { 502 };
    let message =
        if is_refusal { "The provider refused the request." } else { "The provider did not stream." };
    let fault = StreamFault {
        error: DialectError::new(status, message, &id),
        upstream_body: is_refusal.then_some(&body),
        response_id: None,
        sequence_number: 0,
    };
    seat.add(run.terms.dialect().stream_error(&fault).into()).await;
    Ending::Whole
}
