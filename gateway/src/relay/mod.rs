//! Sends an answer to the seat and reads along. From the first byte on there is no way back: what breaks now
//! is told in the stream.

mod late;
mod stream;
mod whole;

use crate::circuits::Admission;
use crate::ctx::{Arrival, Book};
use crate::dispatch::answer::{Answer, Body};
use crate::hub::Hub;
use crate::keep_alive::KeepAlive;
use crate::seat::{Ending, Seat};
use crate::settle::{BillTerms, Spent};
use http::HeaderValue;
use http::header::CONTENT_LENGTH;
use pingora::http::ResponseHeader;
use shared::contract::breach::Breach;
use shared::contract::usage::Outcome;
use shared::ids::{KeyId, ProviderId};
use shared::protocol::headers::X_REQUEST_ID;
use shared::rules::upstream;

/// What an answer is relayed by.
#[derive(Clone, Copy)]
pub struct Relay<'a> {
    /// What all requests share.
    pub hub: &'a Hub,
    /// The request.
    pub arrival: &'a Arrival,
    /// What it is billed by.
    pub terms: &'a BillTerms,
    /// The signs of life, where there are any.
    pub keep_alive: Option<KeepAlive>,
    /// For whose key its provider keeps the answer, if it is a response and it does.
    pub keeps: Option<KeyId>,
}

impl Relay<'_> {
    /// The end of a response is about to leave: its next turn may name it.
    async fn note_response(&self, by: ProviderId, id: Option<&str>) {
        if let (Some(key_id), Some(id)) = (self.keeps, id) {
            self.hub.responses.made(key_id, id, by).await;
        }
    }
}

/// Relays an answer up to its end, which is held back: the answer is to be booked first.
pub async fn relay(
    run: Relay<'_>,
    seat: &mut Seat<'_>,
    book: &mut Book,
    answer: Box<Answer>,
    admission: Option<Admission>,
) -> Ending {
    let Answer { head, from, body, .. } = *answer;
    if seat.is_here() {
        let status = if seat.has_begun() { COMMITTED } else { head.status.as_u16() };
        book.answered(from.provider_id, status);
    }
    let entry = book.entry_mut();
    entry.timing.first_byte_ms = Some(from.first_byte_ms);
    entry.upstream_request_id = upstream::upstream_request_id(&head.headers).map(str::to_owned);
    let Ok(head) = seat_head(&head, run.arrival) else {
        book.broke(Breach::HeadUnusable);
        book.ended(from.attempt, Breach::HeadUnusable.as_str());
        let unknown = Spent::unknown();
        book.attempt(run.terms.row(from.attempt, Outcome::Failed, &unknown));
        return Ending::Cut;
    };
    match body {
        Body::Stream(mut stream) => {
            if seat.has_begun() {
                stream.make_plain(&head);
            }
            let stream_run = stream::Run { relay: run, from, admission };
            Box::pin(stream_run.relay(seat, book, head, stream)).await
        }
        Body::Whole(body) if seat.has_begun() => {
            Box::pin(late::tell(run, seat, book, &head, &from, body)).await
        }
        Body::Whole(body) => Box::pin(whole::relay((run, admission), seat, book, head, &from, body)).await,
    }
}

/// The upstream's head as the seat gets it: hop-by-hop fields off, our request id on.
fn seat_head(head: &ResponseHeader, arrival: &Arrival) -> http::Result<ResponseHeader> {
    // Made without Pingora's setters, which parse each name anew.
    let (mut out, ()) = http::Response::builder().status(head.status).body(())?.into_parts();
    let seat = upstream::response_headers(&head.headers);
    out.headers.try_reserve(seat.headers.len() + ADDED_HEADERS)?;
    if let Some(length) = seat.content_length {
        out.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    for (name, value) in seat.headers {
        out.headers.try_append(name, value)?;
    }
    out.headers.insert(&X_REQUEST_ID, HeaderValue::from_str(&arrival.id.to_string())?);
    Ok(out.into())
}

/// The status of an answer whose head left before any provider had answered.
const COMMITTED: u16 = 200;
/// Length, id and connection.
const ADDED_HEADERS: usize = 3;
