//! Answers a warm-up in the model's place, where the settings say so: at once, and nobody pays for it.

use crate::ctx::{Arrival, Asked, Book};
use crate::keep_alive::own_head;
use crate::live::Live;
use crate::seat::{Ending, Seat};
use bytes::Bytes;
use pingora::http::ResponseHeader;
use shared::protocol::anthropic::message::OwnMessage;
use shared::rules::warmup::is_warmup;

/// Is it one, and to be answered here?
#[must_use]
pub fn is_answered_here(live: &Live, asked: &Asked) -> bool {
    live.terms().settings.intercept_anthropic_warmup_requests
        && is_warmup(asked.family, &asked.facts, &asked.body.bytes)
}

/// Answers it as it was asked: a message, or a stream of one. All but the last byte leaves.
pub async fn answer(seat: &mut Seat<'_>, arrival: &Arrival, asked: &Asked, book: &mut Book) -> Ending {
    book.intercepted(LABEL);
    let id = format!("msg_cch_{:016x}", book.seed());
    let message = OwnMessage { id: &id, model: &asked.model, text: READY };
    let body = Bytes::from(if asked.is_stream { message.stream() } else { message.whole() });
    if let Ok(head) = head(arrival, asked.is_stream, body.len()) {
        seat.start(head).await;
        seat.add_last(body).await;
    }
    Ending::Whole
}

fn head(arrival: &Arrival, is_stream: bool, length: usize) -> pingora::Result<ResponseHeader> {
    if is_stream {
        return own_head(arrival);
    }
    let mut head = ResponseHeader::build_no_case(200, Some(4))?;
    head.insert_header("content-type", "application/json")?;
    head.insert_header("content-length", length.to_string())?;
    head.insert_header("x-request-id", arrival.id.to_string())?;
    Ok(head)
}

/// What the log says in `blocked_by`.
const LABEL: &str = "warmup";
const READY: &str = "I'm ready to help you.";
