//! Sends an answer to the seat and reads along. From the first byte on there is no way back: what breaks now
//! is told in the stream.

mod stream;
mod whole;

use crate::ctx::{Arrival, Book};
use crate::dispatch::answer::{Answer, Body};
use crate::hub::Hub;
use crate::seat::{Ending, Seat};
use crate::settle::BillTerms;
use pingora::http::ResponseHeader;
use shared::rules::upstream;

/// Relays an answer up to its end, which is held back: the answer is to be booked first.
pub async fn relay(
    hub: &Hub,
    seat: &mut Seat<'_>,
    arrival: &Arrival,
    book: &mut Book,
    answer: Box<Answer>,
    terms: &BillTerms,
) -> Ending {
    let Answer { head, from, body, .. } = *answer;
    if seat.is_here() {
        book.answered(from.provider_id, head.status.as_u16());
    }
    let entry = book.entry_mut();
    entry.timing.first_byte_ms = Some(from.first_byte_ms);
    entry.upstream_request_id = upstream::upstream_request_id(&head.headers).map(str::to_owned);
    let Ok(head) = seat_head(&head, arrival) else {
        book.broke("head_unusable");
        return Ending::Cut;
    };
    match body {
        Body::Stream(stream) => {
            let run = stream::Run { hub, arrival, from, terms };
            run.relay(seat, book, head, stream).await
        }
        Body::Whole(body) => Box::pin(whole::relay(hub, seat, book, head, &from, terms, body)).await,
    }
}

/// The upstream's head as the seat gets it: hop-by-hop fields off, our request id on.
fn seat_head(head: &ResponseHeader, arrival: &Arrival) -> pingora::Result<ResponseHeader> {
    let mut out = ResponseHeader::build_no_case(head.status, Some(head.headers.len() + 2))?;
    let seat = upstream::response_headers(&head.headers);
    if let Some(length) = seat.content_length {
        out.insert_header("content-length", length.to_string())?;
    }
    for (name, value) in seat.headers {
        out.append_header(name, value)?;
    }
    out.insert_header("x-request-id", arrival.id.to_string())?;
    Ok(out)
}
