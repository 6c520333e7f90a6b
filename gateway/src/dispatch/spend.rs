//! The budget of a provider: what an attempt may cost there is put aside first.

use super::Job;
use crate::budgets::{Answer, Held, Wish};
use shared::contract::usage::AttemptEntry;
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
    pub fn settle(self, row: Option<AttemptEntry>) -> (Option<AttemptEntry>, Option<Held>) {
        match row {
            Some(row) if row.cost.total == NanoUsd::ZERO => {
                (Some(AttemptEntry { admitted_at: None, ..row }), None)
            }
            row => (row, self.hold),
        }
    }
}
