//! A whole body: length known, sent at once.

use super::Relay;
use crate::circuits::Admission;
use crate::ctx::Book;
use crate::dispatch::answer::{From, Whole};
use crate::seat::{Ending, Seat};
use pingora::http::ResponseHeader;
use pingora::prelude::timeout;
use shared::contract::breach::Breach;
use shared::contract::usage::Outcome;
use shared::rules::classify::{AttemptEnd, CutPhase, classify};
use std::time::Duration;

/// Sends the body but for its end and books what it took.
pub async fn relay(
    (run, mut admission): (Relay<'_>, Option<Admission>),
    seat: &mut Seat<'_>,
    book: &mut Book,
    mut head: ResponseHeader,
    from: &From,
    whole: Whole,
) -> Ending {
    let mut outcome = if seat.is_here() { Outcome::Served } else { Outcome::Drained };
    book.entry_mut().stop_reason = whole.stop_reason;
    if whole.rest.is_none() {
        let length: usize = whole.pieces.iter().map(bytes::Bytes::len).sum();
        let _ = head.insert_header("content-length", length.to_string());
    }
    let status = head.status.as_u16();
    if whole.rest.is_none() {
        run.note_response(from.provider_id, whole.response_id.as_deref()).await;
    }
    seat.start(head).await;
    // One piece behind: it might be the last.
    let mut pieces = whole.pieces.into_iter();
    let mut last = pieces.next().unwrap_or_default();
    for piece in pieces {
        seat.send(std::mem::replace(&mut last, piece)).await;
    }
    if let Some(mut upstream) = whole.rest {
        loop {
            match timeout(REST_PATIENCE, upstream.read()).await {
                Ok(Ok(Some(piece))) => seat.send(std::mem::replace(&mut last, piece)).await,
                Ok(Ok(None)) => {
                    run.hub.upstreams.release(upstream).await;
                    break;
                }
                Ok(Err(_)) | Err(_) => {
                    book.broke(Breach::UpstreamCut);
                    let cut = classify(&AttemptEnd::Cut(CutPhase::AfterContent), None);
                    if let Some(spent) = &whole.spent {
                        book.ended(from.attempt, cut.label);
                        book.attempt(run.terms.row(from.attempt, Outcome::Failed, spent));
                    }
                    if let Some(admission) = admission {
                        admission.failed(&cut, Some(status), None);
                    }
                    upstream.close().await;
                    return Ending::Cut;
                }
            }
            if !seat.is_here() {
                // Given up for its seat: that says nothing of the provider.
                admission = None;
                outcome = Outcome::Cancelled;
                upstream.close().await;
                break;
            }
        }
    }
    if let Some(spent) = &whole.spent {
        book.ended(from.attempt, outcome.as_str());
        book.attempt(run.terms.row(from.attempt, outcome, spent));
    }
    if let Some(admission) = admission {
        admission.served(status);
    }
    seat.add_last(last).await;
    if !seat.is_here() {
        book.broke(Breach::ClientClosed);
    }
    Ending::Whole
}

/// The longest pause in a body that is too large to hold.
const REST_PATIENCE: Duration = Duration::from_secs(60);
