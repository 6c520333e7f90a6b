//! Whether a request was served to its end, and by whom: what a binding may rest on.

use crate::contract::breach::{Breach, CLIENT_CLOSED};
use crate::contract::usage::{AttemptEntry, ChainStep, Outcome, RequestEntry};
use crate::ids::ProviderId;

/// A request that was served to its end, be it that its seat had left meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// By whom.
    pub provider_id: ProviderId,
    /// [`super::TurnEnd::first_event_ms`].
    pub first_event_ms: Option<u64>,
}

/// Reads it off the page of the request; `None` when nobody served it to its end.
#[must_use]
pub fn served(request: &RequestEntry, attempts: &[AttemptEntry]) -> Option<Served> {
    let last = attempts.last()?;
    let is_whole = match last.outcome {
        Outcome::Served | Outcome::Drained => {
            request.error.as_deref().is_none_or(|error| error == Breach::ClientClosed.as_str())
        }
        Outcome::Failed | Outcome::Cancelled | Outcome::Interrupted => false,
    };
    let is_answer = request.blocked_by.is_none() && matches!(request.status, 200..=299 | CLIENT_CLOSED);
    if !is_whole || !is_answer {
        return None;
    }
    // An attempt's step says how long it took until its answer was real: neither the seat's upload nor other attempts
    // and pauses are in it.
    let took = request.decision_chain.steps.iter().rev().find_map(|step| match step {
        ChainStep::Attempted { attempt, duration_ms, .. } if *attempt == last.attempt => Some(*duration_ms),
        _ => None,
    });
    let has_events = request.timing.first_content_ms.is_some();
    Some(Served { provider_id: last.provider_id, first_event_ms: took.filter(|_| has_events) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::usage_record;

    fn attempted(attempt: u32, duration_ms: u64) -> ChainStep {
        let result = "served".to_owned();
        ChainStep::Attempted {
            attempt,
            provider_id: ProviderId(9),
            result,
            status: Some(200),
            duration_ms,
            direct_after: None,
            error_rule_id: None,
            resends: 0,
        }
    }

    fn row(attempt: u32, outcome: Outcome) -> AttemptEntry {
        AttemptEntry {
            attempt,
            provider_id: ProviderId(i64::from(attempt)),
            upstream_model: None,
            outcome,
            usage: Default::default(),
            cost: Default::default(),
            flags: Default::default(),
            admitted_at: None,
            held: Default::default(),
            is_covered: false,
        }
    }

    fn page() -> RequestEntry {
        let mut page = usage_record(1).request;
        (page.status, page.blocked_by) = (200, None);
        page.timing.first_content_ms = Some(60_000);
        page.decision_chain.steps = vec![attempted(1, 30_000), attempted(2, 700)];
        page
    }

    #[test]
    fn the_first_event_is_counted_from_the_start_of_the_attempt_that_served() {
        let rows = [row(1, Outcome::Failed), row(2, Outcome::Served)];
        let wanted = Served { provider_id: ProviderId(2), first_event_ms: Some(700) };
        assert_eq!(served(&page(), &rows), Some(wanted), "what came before it does not make it slow");
        let mut whole = page();
        whole.timing.first_content_ms = None;
        assert_eq!(served(&whole, &rows), Some(Served { first_event_ms: None, ..wanted }), "no events");
    }

    #[test]
    fn only_what_was_served_to_its_end_counts() {
        for (outcome, error, status, counts) in [
            (Outcome::Served, None, 200, true),
            (Outcome::Drained, Some("client_closed"), 200, true),
            (Outcome::Drained, Some("client_closed"), 499, true),
            (Outcome::Served, Some("upstream_cut"), 200, false),
            (Outcome::Served, None, 400, false),
            (Outcome::Failed, None, 200, false),
            (Outcome::Cancelled, Some("client_closed"), 200, false),
            (Outcome::Interrupted, None, 200, false),
        ] {
            let mut page = page();
            (page.error, page.status) = (error.map(str::to_owned), status);
            assert_eq!(served(&page, &[row(2, outcome)]).is_some(), counts, "{outcome:?} {error:?} {status}");
        }
        let refused = RequestEntry { blocked_by: Some("no_available_providers".to_owned()), ..page() };
        assert_eq!(served(&refused, &[row(2, Outcome::Served)]), None);
        assert_eq!(served(&page(), &[]), None);
    }
}
