//! May the caller's budgets take this request? What it may cost is put aside until the books know what it did.

use crate::budgets::need::Need;
use crate::budgets::{Answer, Held, Wish};
use crate::ctx::{Arrival, Asked, Book};
use crate::hub::Hub;
use crate::live::Principal;
use crate::reject::Reject;
use crate::seat::Seat;
use crate::sessions::Session;
use shared::ids::ProviderId;
use shared::money::NanoUsd;
use shared::rules::quota::{AccountId, HoldId, Standing, headers};
use shared::time::UnixMillis;

/// A request that may be let in.
pub struct Applicant<'a> {
    /// The request.
    pub arrival: &'a Arrival,
    /// Who calls.
    pub principal: &'a Principal,
    /// What is asked.
    pub asked: &'a Asked,
    /// Its conversation, if anything tells.
    pub session: Option<&'a Session>,
    /// The only provider that may serve it; `None`: all may.
    pub only: Option<ProviderId>,
}

/// Lets a request in, or says which limit stands against it. The seat is told how its budgets stand. What runs no model asks
/// nothing and counts nowhere.
pub async fn admit(
    hub: &Hub,
    seat: &mut Seat<'_>,
    applicant: Applicant<'_>,
    need: &Need<'_>,
    book: &mut Book,
) -> Result<(), Reject> {
    let Applicant { arrival, principal, asked, session, only } = applicant;
    let generation = principal.user.budget_generation;
    if generation == 0 || !asked.family.is_billed() {
        return Ok(());
    }
    let zone = &arrival.live.terms().settings.timezone;
    let (user, key) = (&principal.user, &principal.key);
    let scopes = hub.budgets.calendar().scopes_of_caller(user, key, zone, arrival.now());
    let has_money = scopes.iter().any(|(_, terms)| terms.limit_money());
    let need_of_it =
        if has_money { need.of_whoever_serves(only).map_err(Reject::Unbounded)? } else { NanoUsd::ZERO };
    let is_strict = has_money && need.is_strict();
    let wish = Wish {
        account: AccountId::User(principal.user.id),
        generation,
        hold: HoldId(arrival.id, 0),
        need: need_of_it,
        is_strict,
        scopes: &scopes,
        is_counted: true,
        session: session.map(|session| (session.short_key(), hub.sessions.ttl_ms())),
    };
    let answer = hub.budgets.ask(wish).await;
    let now = arrival.now();
    let (hold, standing) = admitted(answer, need_of_it, now)?;
    seat.tell(headers::of_standing(asked.family.dialect(), &standing, now));
    let hold = if is_strict { hold.bounded(need_of_it) } else { hold };
    book.admitted(hold, need_of_it, now);
    Ok(())
}

/// What a caller's budgets have let in, or what the caller is told.
pub fn admitted(answer: Answer, need: NanoUsd, now: UnixMillis) -> Result<(Held, Standing), Reject> {
    match answer {
        Answer::Admitted { hold, standing } => Ok((hold, standing)),
        Answer::Refused(refusal) => Err(Reject::Limit(Box::new((refusal, now)))),
        // This node's share of it is used up, while nobody can say how the whole stands.
        Answer::UsedUp(window) => Err(Reject::Limit(Box::new((window.refusal(need), now)))),
        Answer::Unreachable => Err(Reject::QuotaUnreachable),
    }
}
