//! What an upstream refused with, as the seat gets it: its own words, byte for byte, or those that the rule which matched
//! them has in their place.

use super::Job;
use super::answer::{Answer, Body, From, Whole};
use bytes::Bytes;
use pingora::http::ResponseHeader;
use shared::protocol::upstream_error::event_as_body;
use shared::rules::classify::{ErrorFacts, FailureClass, Verdict};
use shared::rules::error_rules::{self, Shown};

/// A refusal as it came.
pub fn reply(head: ResponseHeader, from: From, pieces: Vec<Bytes>) -> Answer {
    let body = Body::Whole(Whole { pieces, rest: None, spent: None, stop_reason: None, response_id: None });
    Answer { head, from, body, label: "relayed_error" }
}

/// The refusal that an error event is before anything was sent: an HTTP error can still be one. `None` when no head can be made.
pub fn reply_of_event(
    job: &Job<'_>,
    mut head: ResponseHeader,
    from: From,
    payload: &[u8],
    facts: &ErrorFacts,
) -> Option<Answer> {
    let (dialect, id) = (job.asked.family.dialect(), job.arrival.id.to_string());
    let status = error_rules::shown(None, FailureClass::RequestFault, (None, facts), dialect, &id).status;
    let body = event_as_body(payload, dialect, status, &id).into_owned();
    as_json(&mut head).ok()?;
    Some(reply(head, from, vec![body.into()]))
}

/// The refusal as the seat would get it. What no seat will read stays as it came; `None` when no head can be made.
pub fn shown(
    job: &Job<'_>,
    verdict: &Verdict,
    facts: &ErrorFacts,
    status: Option<u16>,
    reply: Box<Answer>,
) -> Option<Box<Answer>> {
    let rule = verdict.rule.and_then(|id| job.arrival.live.error_rules().get(id));
    let (dialect, id) = (job.asked.family.dialect(), job.arrival.id.to_string());
    let shown = error_rules::shown(rule, verdict.class, (status, facts), dialect, &id);
    told_so(reply, shown, rule.is_some()).ok()
}

fn told_so(mut reply: Box<Answer>, shown: Shown, is_ruled: bool) -> pingora::Result<Box<Answer>> {
    reply.head.set_status(shown.status)?;
    if is_ruled {
        // A 500 that is the request's fault is not worth another try by the SDK either.
        reply.head.insert_header("x-should-retry", "false")?;
    }
    if let (Some(body), Body::Whole(whole)) = (shown.body, &mut reply.body) {
        as_json(&mut reply.head)?;
        whole.pieces = vec![body.into()];
    }
    Ok(reply)
}

/// What follows is JSON as it stands, of another length than the head says.
fn as_json(head: &mut ResponseHeader) -> pingora::Result<()> {
    head.remove_header("content-encoding");
    head.remove_header("content-length");
    head.insert_header("content-type", "application/json")
}
