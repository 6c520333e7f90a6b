//! What attempts may cost, put aside first: each at its provider, and at its user what failed ones have cost.

use super::Job;
use crate::budgets::{Answer, Held, Wish};
use crate::ctx::Book;
use crate::guards::admit::admitted;
use crate::reject::Reject;
use shared::contract::usage::{AttemptEntry, Outcome};
use shared::model::Provider;
use shared::money::NanoUsd;
use shared::rules::quota::{AccountId, HoldId};
use shared::time::UnixMillis;

/// An attempt that a provider has room for.
pub struct Try {
    /// Its number in the request.
    pub number: u32,
    /// When the provider's budget let it in; `None`: it has none.
    pub admitted_at: Option<UnixMillis>,
    /// What it may cost there.
    pub need: NanoUsd,
    /// What is put aside. Dropped it is given up.
    pub hold: Option<Held>,
}

/// Asks the provider's budget; `None`: it has no room. Conversations are those of all callers, counted at the provider.
pub async fn put_aside(job: &Job<'_>, provider: &Provider, number: u32) -> Option<Try> {
    if provider.budget_generation == 0 || !job.asked.family.is_billed() {
        return Some(Try { number, admitted_at: None, need: NanoUsd::ZERO, hold: None });
    }
    let zone = &job.arrival.live.terms().settings.timezone;
    let scopes = job.hub.budgets.calendar().scopes_of_provider(provider, zone, job.arrival.now());
    let has_money = scopes.iter().any(|(_, terms)| terms.limit_money());
    let (need, is_bound) = if has_money { job.need.at(provider) } else { (NanoUsd::ZERO, false) };
    let wish = Wish {
        account: AccountId::Provider(provider.id),
        generation: provider.budget_generation,
        hold: HoldId(job.arrival.id, number),
        need,
        is_strict: has_money && job.need.is_strict(),
        scopes: &scopes,
        is_counted: false,
        session: job.session_key.map(|key| (key, job.hub.sessions.ttl_ms())),
    };
    match job.hub.budgets.ask(wish).await {
        Answer::Admitted { hold, .. } => {
            let admitted_at = Some(hold.at().unwrap_or_else(|| job.arrival.now()));
            let hold = if is_bound { hold.bounded(need) } else { hold };
            Some(Try { number, admitted_at, need, hold: Some(hold) })
        }
        Answer::Refused(_) | Answer::UsedUp(_) | Answer::Unreachable => None,
    }
}

impl Try {
    /// What of its money is kept until the page is closed: nothing when the attempt cost nothing. Then the provider has it back
    /// at once, and the page says nothing of its admission.
    pub async fn settle(self, job: &Job<'_>, book: &mut Book, row: Option<AttemptEntry>) {
        match row {
            Some(row) if row.cost.total == NanoUsd::ZERO => {
                let row = AttemptEntry { admitted_at: None, ..row };
                // Written down first: else the books would say of a process that dies now that it may all be spent.
                let cut = AttemptEntry { outcome: Outcome::Interrupted, ..row.clone() };
                if self.hold.is_some()
                    && let Some(draft) = book.draft(&cut, job.arrival.elapsed_ms())
                {
                    job.hub.journal.begin(job.arrival.id, draft).await;
                }
                book.attempt(Some(row));
            }
            row => {
                book.attempt(row);
                book.hold(self.hold);
            }
        }
    }
}

/// Before another attempt: what failed ones have cost is put aside for the user by itself where the request's own hold is the most that
/// it may cost, because that is for one attempt. An error: the user's budget has no room for it.
pub async fn cover(job: &Job<'_>, book: &mut Book) -> Result<(), Reject> {
    for (attempt, cost) in book.uncovered() {
        let zone = &job.arrival.live.terms().settings.timezone;
        let (user, key) = (&job.principal.user, &job.principal.key);
        let scopes = job.hub.budgets.calendar().scopes_of_caller(user, key, zone, job.arrival.now());
        let wish = Wish {
            account: AccountId::User(user.id),
            generation: user.budget_generation,
            hold: HoldId(job.arrival.id, attempt),
            need: cost,
            is_strict: true,
            scopes: &scopes,
            is_counted: false,
            session: None,
        };
        let (hold, _) = admitted(job.hub.budgets.ask(wish).await, cost, job.arrival.now())?;
        book.cover(attempt, hold);
    }
    Ok(())
}
