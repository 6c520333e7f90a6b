//! Finds an answer: choose a provider, try it, judge the end, and again until an answer is real or nobody is
//! left. Nothing reaches the seat from here.

pub mod answer;
mod attempt;
mod dialled;
mod end;
mod fault;
mod pools;
mod prepare;
pub mod question;
mod read;
mod sidecar;
mod spend;
pub mod upstream;

pub use read::{pass, plain};
pub use sidecar::Sidecar;

use crate::budgets::need::Need;
use crate::circuits::{Admission, Entrant};
use crate::ctx::{Arrival, Asked, Book};
use crate::hub::Hub;
use crate::keep_alive::{Came, KeepAlive, watch};
use crate::live::{Principal, Route};
use crate::reject::Reject;
use crate::seat::Seat;
use crate::sessions::Session;
use crate::settle::{BillTerms, Spent};
use answer::Answer;
use attempt::{Detours, Tried};
use end::Failed;
use pingora::prelude::timeout;
use prepare::prepare;
use shared::contract::usage::{AttemptEntry, ChainStep, Outcome};
use shared::ids::ProviderId;
use shared::model::{ClientAbort, Provider};
use shared::protocol::headers::{X_STAINLESS_READ_TIMEOUT, X_STAINLESS_TIMEOUT};
use shared::rules::access::effective_groups;
use shared::rules::affinity::BoundFailure;
use shared::rules::breaker::table::Table;
use shared::rules::cooldown::Preference;
use shared::rules::retry::{FailedAttempt, FinalAnswer, Plan, Step, caller_deadline, final_answer};
use shared::rules::select::{Draws, Out, OutReason, SelectFacts, Selection, reuse, select};
use spend::{Try, cover, put_aside};
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// A request that looks for an answer.
pub struct Job<'a> {
    /// What all requests share.
    pub hub: &'a Hub,
    /// The request.
    pub arrival: &'a Arrival,
    /// Who calls.
    pub principal: &'a Principal,
    /// What is asked.
    pub asked: &'a Asked,
    /// The only provider that may serve; `None`: all may.
    pub only: Option<ProviderId>,
    /// What it may cost.
    pub need: &'a Need<'a>,
    /// Its conversation, for those who count them.
    pub session_key: Option<u64>,
}

/// How the search ended.
pub enum Found {
    /// With something for the seat and what it is billed by: an answer, whose end its breaker waits for, or an upstream's
    /// refusal that concerns the request itself.
    Answer(Box<Answer>, Box<BillTerms>, Option<Admission>),
    /// The seat left and nothing is owed to it.
    ClientGone,
}

/// Tries providers until an answer is real. A seat that waits for a stream is kept alive meanwhile.
pub async fn find_answer(
    job: &Job<'_>,
    seat: &mut Seat<'_>,
    book: &mut Book,
    keep_alive: &mut Option<KeepAlive>,
    session: &mut Option<Session>,
) -> Result<Found, Reject> {
    let mut draws = Draws::new(book.seed());
    let headers = &seat.http().req_header().headers;
    let told = [&X_STAINLESS_TIMEOUT, &X_STAINLESS_READ_TIMEOUT].into_iter();
    let told = told.filter_map(|name| headers.get(name)?.to_str().ok());
    let mut plan = Plan::new(Some(caller_deadline(job.arrival.at, told)));
    let mut out: Vec<Out> = Vec::new();
    let mut failures: Vec<Failed> = Vec::new();
    let mut current = reused(job, session.as_ref(), book);
    let mut fallback: Option<ProviderId> = None;
    loop {
        let chosen = match current.take() {
            Some(id) => Ok(id),
            None => choose(job, &out, &mut draws, book).or_else(|nobody| {
                let id = fallback.take().ok_or(nobody)?;
                plan.return_to_last();
                Ok(id)
            }),
        };
        let provider_id = match chosen {
            Ok(id) => id,
            Err(nobody) => match next_round(job, seat, keep_alive, &mut plan, &failures).await {
                Round::Next => {
                    out.clear();
                    continue;
                }
                Round::Last => return give_up(job, failures, nobody),
                Round::ClientGone => return Ok(Found::ClientGone),
            },
        };
        let Some((provider, route)) = job.arrival.live.provider(provider_id) else { break };
        let Some(mut admission) = admit(job, provider).await else {
            out.push(Out { provider_id, why: OutReason::Probing });
            continue;
        };
        let Some(turn) = put_aside(job, provider, plan.next()).await else {
            out.push(Out { provider_id, why: OutReason::LimitReached });
            continue;
        };
        cover(job, book).await?;
        admission.begins(plan.begin());
        let failed = match try_one(job, seat, (provider, route), (turn, admission), book, keep_alive).await {
            TryEnd::Answer(answer, terms, admission) => {
                return Ok(Found::Answer(answer, terms, Some(admission)));
            }
            TryEnd::ClientGone => return Ok(Found::ClientGone),
            TryEnd::Failed(failed) => failed,
        };
        let verdict = failed.verdict;
        if let Some(session) = session {
            let failure = BoundFailure { class: verdict.class, retry_after_secs: failed.retry_after_secs };
            session.failed(provider_id, failure);
        }
        failures.push(failed);
        let now = job.arrival.now();
        let step = job.hub.load.with_budget(|b| plan.after(&verdict, provider.max_attempts, b, now));
        fallback = None;
        match step {
            Step::SameProvider => current = Some(provider_id),
            Step::OtherProvider => out.push(Out { provider_id, why: OutReason::AlreadyTried }),
            Step::OtherProviderElseSame => {
                out.push(Out { provider_id, why: OutReason::AlreadyTried });
                fallback = Some(provider_id);
            }
            Step::End(why) => {
                book.chain(ChainStep::Stopped { reason: why.label().to_owned() });
                break;
            }
        }
    }
    give_up(job, failures, Nobody::default())
}

/// Asks the breaker of a provider, as it stands by now. `None`: it opened meanwhile, or somebody else probes it.
async fn admit(job: &Job<'_>, provider: &Provider) -> Option<Admission> {
    let terms = provider.circuit_terms();
    let model = job.asked.model.as_str();
    let standing = job.hub.circuits.table().standing(provider.id, &terms, Some(model), job.arrival.now());
    if standing.preference() == Preference::Never {
        return None;
    }
    let timers = &provider.timers;
    let waits = if job.asked.is_stream {
        [timers.first_byte_timeout_streaming_ms, timers.streaming_idle_timeout_ms]
    } else {
        [timers.request_timeout_non_streaming_ms; 2]
    };
    // The store has a longest time of its own.
    let hold_ms = if waits.contains(&0) { u64::MAX } else { waits.iter().sum() };
    let entrant =
        Entrant { request_id: job.arrival.id, model: model.to_owned(), provider_id: provider.id, terms };
    job.hub.circuits.admit(entrant, standing, hold_ms).await
}

enum Round {
    /// All may be asked once more.
    Next,
    /// That was all.
    Last,
    ClientGone,
}

/// Waits, when everybody was asked in vain and the client would not ask again by itself: its stream has begun.
async fn next_round(
    job: &Job<'_>,
    seat: &mut Seat<'_>,
    keep_alive: &mut Option<KeepAlive>,
    plan: &mut Plan,
    failures: &[Failed],
) -> Round {
    let wait = if seat.has_begun() { plan.next_round(&attempts(failures), job.arrival.now()) } else { None };
    let Some(wait_ms) = wait else { return Round::Last };
    let until = Instant::now() + Duration::from_millis(wait_ms);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match timeout(left, watch(seat, keep_alive.as_ref())).await {
            Ok(Came::SeatLeft) => return Round::ClientGone,
            Ok(Came::Due) => {
                if let Some(keep_alive) = keep_alive {
                    keep_alive.send(seat, job.arrival).await;
                }
            }
            Err(_) => return Round::Next,
        }
    }
}

/// The provider that the session is bound to, if it can serve now. A request that may go to one alone is not reused but
/// chosen, so that its chain tells of the others.
fn reused(job: &Job<'_>, session: Option<&Session>, book: &mut Book) -> Option<ProviderId> {
    let provider_id = session.filter(|_| job.only.is_none())?.bound()?;
    let table = job.hub.circuits.table();
    reuse(&facts(job, &table, &[]), provider_id).ok()?;
    book.chain(ChainStep::Reused { provider_id });
    Some(provider_id)
}

fn facts<'a>(job: &'a Job<'_>, table: &'a Table, out: &'a [Out]) -> SelectFacts<'a> {
    SelectFacts {
        pool: job.arrival.live.pool(),
        groups: effective_groups(&job.principal.user, &job.principal.key),
        dialect: job.asked.family.dialect(),
        model: Some(&job.asked.model),
        client: job.arrival.origin.client(),
        at: job.arrival.at,
        table: Some((table, job.arrival.now())),
        out,
        only: job.only,
    }
}

/// Nobody is left to draw.
#[derive(Default)]
struct Nobody {
    /// The reason classes.
    reasons: Vec<&'static str>,
    /// All are at their rate: seconds until the first of them is not.
    rate_limited_secs: Option<u64>,
}

/// Draws the next provider.
fn choose(job: &Job<'_>, out: &[Out], draws: &mut Draws, book: &mut Book) -> Result<ProviderId, Nobody> {
    let table = job.hub.circuits.table();
    match select(&facts(job, &table, out), draws) {
        Selection::Chosen(chosen) => {
            let id = chosen.provider_id;
            book.chain(chosen.into());
            Ok(id)
        }
        Selection::Exhausted(excluded) => {
            let limited = excluded.all_at_their_rate();
            let rate_limited_secs = limited.iter().filter_map(|id| rest_secs(job, &table, *id)).min();
            let reasons = excluded.public_reasons().collect();
            book.chain(excluded.into());
            Err(Nobody { reasons, rate_limited_secs })
        }
    }
}

/// Seconds until a provider may be asked again, at least 1.
fn rest_secs(job: &Job<'_>, table: &Table, id: ProviderId) -> Option<u64> {
    let (provider, _) = job.arrival.live.provider(id)?;
    let now = job.arrival.now();
    let until = table.standing(id, &provider.circuit_terms(), Some(&job.asked.model), now).until()?;
    Some(until.since(now).div_ceil(1_000).max(1))
}

enum TryEnd {
    Answer(Box<Answer>, Box<BillTerms>, Admission),
    Failed(Failed),
    ClientGone,
}

/// One try, watched over for a seat that leaves meanwhile.
async fn try_one(
    job: &Job<'_>,
    seat: &mut Seat<'_>,
    (provider, route): (&Provider, &Arc<Route>),
    (turn, mut admission): (Try, Admission),
    book: &mut Book,
    keep_alive: &mut Option<KeepAlive>,
) -> TryEnd {
    let begun_ms = job.arrival.elapsed_ms();
    // Written down before the provider gets a byte.
    let (number, admitted_at) = (turn.number, turn.admitted_at);
    let terms = Box::new(BillTerms::new(job, Some(provider), admitted_at));
    let interrupted = terms.row(number, Outcome::Interrupted, &Spent::unknown());
    let interrupted = interrupted.map(|row| AttemptEntry { held: turn.need, ..row });
    if let Some(draft) = interrupted.and_then(|attempt| book.draft(&attempt, begun_ms)) {
        job.hub.journal.begin(job.arrival.id, draft).await;
    }
    let (mut end, mut detours) = (None, Detours::default());
    {
        let prepared = prepare(job, &seat.http().req_header().headers, provider, route);
        let mut attempt = pin!(attempt::attempt(job, provider, route, (number, admitted_at), prepared));
        // Set once the seat has left.
        let mut patience = None;
        while end.is_none() {
            tokio::select! {
                biased;
                (tried, met) = &mut attempt => {
                    end = Some(tried);
                    detours = met;
                }
                came = watch(seat, keep_alive.as_ref()) => {
                    if let (Came::Due, Some(keep_alive)) = (came, keep_alive.as_mut()) {
                        keep_alive.send(seat, job.arrival).await;
                        continue;
                    }
                    if provider.client_abort == ClientAbort::Cancel {
                        break;
                    }
                    // Read on to learn the usage; what would follow is not sought any more.
                    patience = Some(Instant::now() + DRAIN_PATIENCE);
                }
                () = passed(patience) => break,
            }
        }
    }
    let duration_ms = job.arrival.elapsed_ms().saturating_sub(begun_ms);
    let step = |result: &str, status, error_rule_id| ChainStep::Attempted {
        attempt: number,
        provider_id: provider.id,
        result: result.to_owned(),
        status,
        duration_ms,
        error_rule_id,
        direct_after: detours.direct_after.map(|why| why.label().to_owned()),
        resends: detours.resends,
    };
    match end {
        Some(Tried::Answer(answer)) => {
            let status = answer.head.status.as_u16();
            book.chain(step(answer.label, Some(status), None));
            admission.opened(status);
            book.hold(turn.hold);
            TryEnd::Answer(answer, terms, admission)
        }
        Some(Tried::Failed(failed)) => {
            book.chain(step(failed.verdict.label, failed.status(), failed.verdict.rule));
            admission.failed(&failed.verdict, failed.status(), failed.retry_after_secs);
            turn.settle(job, book, terms.row(number, Outcome::Failed, &failed.spent)).await;
            if seat.is_here() { TryEnd::Failed(failed) } else { TryEnd::ClientGone }
        }
        None => {
            book.chain(step("cancelled", None, None));
            turn.settle(job, book, terms.row(number, Outcome::Cancelled, &Spent::unknown())).await;
            TryEnd::ClientGone
        }
    }
}

/// Waits until then; without a moment, forever.
async fn passed(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => pending().await,
    }
}

/// What the seat gets when nobody answered.
fn give_up(job: &Job<'_>, mut failures: Vec<Failed>, nobody: Nobody) -> Result<Found, Reject> {
    if let (true, Some(secs)) = (failures.is_empty(), nobody.rate_limited_secs) {
        // What they said to another request holds for this one.
        return Err(Reject::AllRateLimited(secs));
    }
    let excluded = nobody.reasons;
    match final_answer(&attempts(&failures)) {
        FinalAnswer::Relay { attempt } if attempt < failures.len() => {
            match failures.swap_remove(attempt).into_answer() {
                Some(answer) => {
                    let terms = Box::new(BillTerms::of(job, &answer));
                    Ok(Found::Answer(Box::new(answer), terms, None))
                }
                None => Err(none_left(excluded, None)),
            }
        }
        FinalAnswer::RateLimited { retry_after_secs } => Err(Reject::AllRateLimited(retry_after_secs)),
        FinalAnswer::Relay { .. } => Err(none_left(excluded, None)),
        FinalAnswer::Unavailable { reasons, retry_after_secs } => {
            Err(none_left(if reasons.is_empty() { excluded } else { reasons }, retry_after_secs))
        }
    }
}

fn attempts(failures: &[Failed]) -> Vec<FailedAttempt> {
    let attempt = |f: &Failed| FailedAttempt { verdict: f.verdict, retry_after_secs: f.retry_after_secs };
    failures.iter().map(attempt).collect()
}

fn none_left(reasons: Vec<&'static str>, retry_after_secs: Option<u64>) -> Reject {
    Reject::NoProvider { reasons, retry_after_secs }
}

/// How long a provider is read on after its seat left.
pub const DRAIN_PATIENCE: Duration = Duration::from_secs(60);
