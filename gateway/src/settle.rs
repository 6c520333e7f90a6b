//! The end of a request: what it took, what that costs, one record for the books, one line in the log.

use crate::ctx::{Arrival, Book};
use crate::dispatch::Job;
use crate::dispatch::answer::Answer;
use crate::events;
use crate::hub::Hub;
use crate::live::Live;
use shared::contract::usage::{AttemptEntry, Outcome, TokenUsage};
use shared::ids::ProviderId;
use shared::model::Provider;
use shared::model::price::Factors;
use shared::money::NanoUsd;
use shared::protocol::Dialect;
use shared::protocol::detect::Family;
use shared::protocol::tally::{Extras, UsageState};
use shared::protocol::tap::StreamFacts;
use shared::protocol::whole::WholeFacts;
use shared::rules::access::effective_groups;
use shared::rules::pricing::{Billed, Catalogue, Ended, PriceQuery, billed, factors};
use shared::time::UnixMillis;
use std::sync::Arc;

/// What an attempt took, as the provider counted it.
#[derive(Debug, Clone, Default)]
pub struct Spent {
    counted: Box<Counted>,
    is_estimate: bool,
    upstream_model: Option<String>,
}

#[derive(Debug, Clone, Default)]
struct Counted {
    usage: TokenUsage,
    service_tier: Option<String>,
    extras: Extras,
    advisor: Option<String>,
}

impl Spent {
    /// Nobody knows: the attempt broke before anything was counted.
    #[must_use]
    pub fn unknown() -> Self {
        Self { is_estimate: true, ..Self::default() }
    }

    /// Nothing: the provider refused.
    #[must_use]
    pub fn nothing(upstream_model: Option<String>) -> Self {
        Self { upstream_model, ..Self::default() }
    }

    /// A finished answer whose count was not read.
    #[must_use]
    pub fn unread(upstream_model: Option<String>) -> Self {
        Self { upstream_model, ..Self::unknown() }
    }

    /// What a whole body counts.
    #[must_use]
    pub fn of_whole(facts: &WholeFacts, upstream_model: Option<String>) -> Self {
        let counted = Counted {
            usage: facts.usage,
            service_tier: facts.service_tier.clone(),
            extras: facts.extras,
            advisor: facts.advisor.clone(),
        };
        let is_estimate = facts.usage_state != UsageState::Final;
        Self { counted: Box::new(counted), is_estimate, upstream_model }
    }

    /// What a stream has counted up to here; its output is estimated when the last word is missing.
    #[must_use]
    pub fn of_stream(facts: &StreamFacts, upstream_model: Option<String>) -> Self {
        let is_estimate = facts.usage_state() != UsageState::Final;
        let counted = Counted {
            usage: if is_estimate { facts.estimated_usage() } else { facts.usage() },
            service_tier: facts.service_tier.clone(),
            extras: facts.extras(),
            advisor: facts.advisor.clone(),
        };
        Self { counted: Box::new(counted), is_estimate, upstream_model }
    }
}

/// What a request is billed by; outlives the request's body.
pub struct BillTerms {
    live: Arc<Live>,
    family: Family,
    model: String,
    body_bytes: usize,
    requested_tier: Option<String>,
    provider: Option<(ProviderId, Factors)>,
    /// When the provider's budget let the attempt in.
    admitted_at: Option<UnixMillis>,
    /// The model the answering provider was asked for.
    pub upstream_model: Option<String>,
}

impl BillTerms {
    /// The terms for this answer.
    #[must_use]
    pub fn of(job: &Job<'_>, answer: &Answer) -> Self {
        let provider = job.arrival.live.provider(answer.from.provider_id).map(|(provider, _)| provider);
        Self::new(job, provider, answer.from.admitted_at)
    }

    /// The terms for a try at this provider; without one nothing is billed.
    #[must_use]
    pub fn new(job: &Job<'_>, provider: Option<&Provider>, admitted_at: Option<UnixMillis>) -> Self {
        let groups = effective_groups(&job.principal.user, &job.principal.key);
        let terms = job.arrival.live.terms();
        let redirected =
            provider.and_then(|p| shared::model::rules::redirected(&p.model_redirects, &job.asked.model));
        Self {
            live: job.arrival.live.clone(),
            family: job.asked.family,
            model: job.asked.model.clone(),
            body_bytes: job.asked.body.bytes.len(),
            requested_tier: job.asked.facts.work.service_tier.clone(),
            provider: provider.map(|p| (p.id, factors(p, groups, |name| terms.group_multiplier(name)))),
            admitted_at,
            upstream_model: Some(redirected.unwrap_or(&job.asked.model).to_owned()),
        }
    }

    /// What the seat speaks.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.family.dialect()
    }

    /// The ledger row of an attempt.
    #[must_use]
    pub fn row(&self, attempt: u32, outcome: Outcome, spent: &Spent) -> Option<AttemptEntry> {
        let (provider_id, factors) = self.provider?;
        let terms = self.live.terms();
        let Counted { usage, service_tier, extras, advisor } = &*spent.counted;
        let upstream_model = spent.upstream_model.clone().or_else(|| self.upstream_model.clone());
        let ended = Ended {
            outcome,
            is_estimate: spent.is_estimate,
            is_billed: self.family.is_billed(),
            body_bytes: self.body_bytes,
        };
        let Billed { usage, cost, flags } = billed(
            ended,
            &PriceQuery {
                catalogue: Catalogue::new(terms.prices),
                settings: terms.settings,
                model: Some(&self.model),
                upstream_model: upstream_model.as_deref(),
                requested_tier: self.requested_tier.as_deref(),
                actual_tier: service_tier.as_deref(),
                usage,
                extras: *extras,
                advisor: advisor.as_deref(),
                factors,
            },
        );
        Some(AttemptEntry {
            attempt,
            provider_id,
            upstream_model,
            outcome,
            usage,
            cost,
            flags,
            admitted_at: self.admitted_at,
            held: NanoUsd::ZERO,
            is_covered: false,
        })
    }
}

/// Books a finished request, once.
pub async fn settle(hub: &Hub, arrival: &Arrival, book: Book) {
    let body_bytes = book.body_bytes();
    let above = book.above_bounds();
    let record = book.close(arrival.elapsed_ms());
    hub.budgets.will_say(&record);
    hub.journal.end(&record).await;
    if record.request.admitted_at.is_some()
        && let Some(model) = &record.request.model
    {
        hub.budgets.histories.note(&record, model, body_bytes);
    }
    for (attempt, need, cost) in &above {
        events::cost_above_hold(&record.request, *attempt, *need, *cost);
    }
    events::request_finished(&record);
    hub.metrics.count_costs_above_hold(above.len());
    hub.metrics.count(&record);
}
