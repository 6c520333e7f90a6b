//! Finds an answer: choose a provider, try it, judge the end, and again until an answer is real or nobody is
//! left. Nothing reaches the seat from here.

pub mod answer;
mod attempt;
mod pools;
mod prepare;
mod read;
pub use read::pass;
mod sidecar;
pub mod upstream;

use crate::ctx::{Arrival, Asked, Book};
use crate::hub::Hub;
use crate::live::{Principal, Route};
use crate::reject::Reject;
use crate::seat::Seat;
use crate::settle::{self, Spent};
use answer::Answer;
use attempt::{Failed, Tried};
use http::HeaderMap;
use shared::contract::usage::{ChainStep, Outcome};
use shared::ids::ProviderId;
use shared::model::{ClientAbort, Provider};
use shared::rules::access::effective_groups;
use shared::rules::retry::{FailedAttempt, FinalAnswer, Plan, Step, final_answer};
use shared::rules::select::{Draws, Out, OutReason, SelectFacts, Selection, select};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

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
    /// The client's headers.
    pub headers: &'a HeaderMap,
}

/// How the search ended.
pub enum Found {
    /// With something for the seat: an answer, or an upstream's refusal that concerns the request itself.
    Answer(Box<Answer>),
    /// The seat left and nothing is owed to it.
    ClientGone,
}

/// Tries providers until an answer is real.
pub async fn find_answer(job: &Job<'_>, seat: &mut Seat<'_>, book: &mut Book) -> Result<Found, Reject> {
    let mut draws = Draws::new(book.seed());
    let mut plan = Plan::new(None);
    let mut out: Vec<Out> = Vec::new();
    let mut failures: Vec<Failed> = Vec::new();
    let mut excluded = Vec::new();
    let mut current: Option<ProviderId> = None;
    let mut fallback: Option<ProviderId> = None;
    loop {
        let provider_id = match current.take() {
            Some(id) => id,
            None => match choose(job, &out, &mut draws, book) {
                Ok(id) => id,
                Err(reasons) => match fallback.take() {
                    Some(id) => {
                        plan.return_to_last();
                        id
                    }
                    None => {
                        excluded = reasons;
                        break;
                    }
                },
            },
        };
        let Some((provider, route)) = job.arrival.live.provider(provider_id) else { break };
        let number = plan.begin();
        let failed = match try_one(job, seat, provider, route, number, book).await {
            TryEnd::Answer(answer) => return Ok(Found::Answer(answer)),
            TryEnd::ClientGone => return Ok(Found::ClientGone),
            TryEnd::Failed(failed) => failed,
        };
        let verdict = failed.verdict;
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
            Step::End(_) => break,
        }
    }
    give_up(failures, excluded)
}

/// Draws the next provider; `Err` has the reason classes why nobody is left.
fn choose(
    job: &Job<'_>,
    out: &[Out],
    draws: &mut Draws,
    book: &mut Book,
) -> Result<ProviderId, Vec<&'static str>> {
    let facts = SelectFacts {
        providers: job.arrival.live.providers(),
        groups: effective_groups(&job.principal.user, &job.principal.key),
        dialect: job.asked.family.dialect(),
        model: Some(&job.asked.model),
        out,
    };
    match select(&facts, draws) {
        Selection::Chosen(chosen) => {
            let id = chosen.provider_id;
            book.chain(chosen.into());
            Ok(id)
        }
        Selection::Exhausted(excluded) => {
            let reasons = excluded.public_reasons().collect();
            book.chain(excluded.into());
            Err(reasons)
        }
    }
}

enum TryEnd {
    Answer(Box<Answer>),
    Failed(Failed),
    ClientGone,
}

/// One try, watched over for a seat that leaves meanwhile.
async fn try_one(
    job: &Job<'_>,
    seat: &mut Seat<'_>,
    provider: &Provider,
    route: &Arc<Route>,
    number: u32,
    book: &mut Book,
) -> TryEnd {
    let begun_ms = job.arrival.elapsed_ms();
    // Written down before the provider gets a byte.
    let interrupted = settle::row(job, provider, number, Outcome::Interrupted, &Spent::unknown());
    if let Some(draft) = interrupted.and_then(|attempt| book.draft(&attempt, begun_ms)) {
        job.hub.journal.begin(job.arrival.id, draft).await;
    }
    let mut end = None;
    {
        let mut attempt = pin!(attempt::attempt(job, provider, route, number));
        let mut patience = pin!(sleep(DRAIN_PATIENCE));
        let mut is_drained = false;
        while end.is_none() {
            tokio::select! {
                biased;
                tried = &mut attempt => end = Some(tried),
                () = seat.left() => {
                    if provider.client_abort == ClientAbort::Cancel {
                        break;
                    }
                    // Read on to learn the usage; what would follow is not sought any more.
                    is_drained = true;
                    patience.as_mut().reset(tokio::time::Instant::now() + DRAIN_PATIENCE);
                }
                () = &mut patience, if is_drained => break,
            }
        }
    }
    let duration_ms = job.arrival.elapsed_ms().saturating_sub(begun_ms);
    let step = |result: &str, status| ChainStep::Attempted {
        attempt: number,
        provider_id: provider.id,
        result: result.to_owned(),
        status,
        duration_ms,
    };
    match end {
        Some(Tried::Answer(answer)) => {
            book.chain(step(answer.label, Some(answer.head.status.as_u16())));
            TryEnd::Answer(answer)
        }
        Some(Tried::Failed(failed)) => {
            book.chain(step(failed.verdict.label, failed.status()));
            book.attempt(settle::row(job, provider, number, Outcome::Failed, &failed.spent));
            if seat.is_here() { TryEnd::Failed(failed) } else { TryEnd::ClientGone }
        }
        None => {
            book.chain(step("cancelled", None));
            book.attempt(settle::row(job, provider, number, Outcome::Cancelled, &Spent::unknown()));
            TryEnd::ClientGone
        }
    }
}

/// What the seat gets when nobody answered.
fn give_up(mut failures: Vec<Failed>, excluded: Vec<&'static str>) -> Result<Found, Reject> {
    let attempts: Vec<FailedAttempt> = failures
        .iter()
        .map(|f| FailedAttempt { verdict: f.verdict, retry_after_secs: f.retry_after_secs })
        .collect();
    match final_answer(&attempts) {
        FinalAnswer::Relay { attempt } if attempt < failures.len() => {
            match failures.swap_remove(attempt).into_answer() {
                Some(answer) => Ok(Found::Answer(Box::new(answer))),
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

fn none_left(reasons: Vec<&'static str>, retry_after_secs: Option<u64>) -> Reject {
    Reject::NoProvider { reasons, retry_after_secs }
}

/// How long a provider is read on after its seat left.
pub const DRAIN_PATIENCE: Duration = Duration::from_secs(60);
