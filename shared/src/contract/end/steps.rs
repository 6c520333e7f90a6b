//! A decision chain in a record.

use super::{borrowed, owned};
use crate::contract::usage::{Candidate, ChainStep, Exclusion, is_default};
use crate::ids::{ErrorRuleId, ProviderId};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// A step: a map of one name, which says what happened.
#[derive(Serialize, Deserialize)]
pub(in crate::contract) enum StepDoc<'a> {
    #[serde(rename = "s")]
    Selected {
        #[serde(rename = "p")]
        provider_id: ProviderId,
        #[serde(rename = "t", default, skip_serializing_if = "is_default")]
        priority: u32,
        #[serde(rename = "c", default, skip_serializing_if = "Vec::is_empty")]
        candidates: Vec<CandidateDoc>,
        #[serde(rename = "l", default, skip_serializing_if = "is_default")]
        candidates_left_out: u32,
        #[serde(rename = "x", default, skip_serializing_if = "Vec::is_empty")]
        excluded: Vec<ExclusionDoc<'a>>,
    },
    #[serde(rename = "r")]
    Reused {
        #[serde(rename = "p")]
        provider_id: ProviderId,
    },
    #[serde(rename = "x")]
    Exhausted {
        #[serde(rename = "x", default, skip_serializing_if = "Vec::is_empty")]
        excluded: Vec<ExclusionDoc<'a>>,
    },
    #[serde(rename = "a")]
    Attempted {
        #[serde(rename = "n")]
        attempt: u32,
        #[serde(rename = "p")]
        provider_id: ProviderId,
        #[serde(rename = "r")]
        result: Cow<'a, str>,
        #[serde(rename = "s", default, skip_serializing_if = "is_default")]
        status: Option<u16>,
        #[serde(rename = "d", default, skip_serializing_if = "is_default")]
        duration_ms: u64,
        #[serde(rename = "e", default, skip_serializing_if = "is_default")]
        error_rule_id: Option<ErrorRuleId>,
        #[serde(rename = "da", default, skip_serializing_if = "is_default")]
        direct_after: Option<Cow<'a, str>>,
        #[serde(rename = "rs", default, skip_serializing_if = "is_default")]
        resends: u32,
    },
    #[serde(rename = "z")]
    Stopped {
        #[serde(rename = "r")]
        reason: Cow<'a, str>,
    },
    #[serde(rename = "l")]
    LeftOut {
        #[serde(rename = "n")]
        steps: u32,
    },
}

#[derive(Serialize, Deserialize)]
pub(in crate::contract) struct CandidateDoc {
    #[serde(rename = "p")]
    provider_id: ProviderId,
    #[serde(rename = "w")]
    weight: u32,
}

#[derive(Serialize, Deserialize)]
pub(in crate::contract) struct ExclusionDoc<'a> {
    #[serde(rename = "r")]
    reason: Cow<'a, str>,
    #[serde(rename = "n")]
    count: u32,
    #[serde(rename = "p", default)]
    provider_ids: Cow<'a, [ProviderId]>,
}

impl<'a> From<&'a ChainStep> for StepDoc<'a> {
    fn from(step: &'a ChainStep) -> Self {
        match step {
            ChainStep::Selected { provider_id, priority, candidates, candidates_left_out, excluded } => {
                let candidate =
                    |&Candidate { provider_id, weight }: &Candidate| CandidateDoc { provider_id, weight };
                Self::Selected {
                    provider_id: *provider_id,
                    priority: *priority,
                    candidates: candidates.iter().map(candidate).collect(),
                    candidates_left_out: *candidates_left_out,
                    excluded: excluded.iter().map(ExclusionDoc::from).collect(),
                }
            }
            ChainStep::Reused { provider_id } => Self::Reused { provider_id: *provider_id },
            ChainStep::Exhausted { excluded } => {
                Self::Exhausted { excluded: excluded.iter().map(ExclusionDoc::from).collect() }
            }
            ChainStep::Attempted {
                attempt,
                provider_id,
                result,
                status,
                duration_ms,
                error_rule_id,
                direct_after,
                resends,
            } => Self::Attempted {
                attempt: *attempt,
                provider_id: *provider_id,
                result: Cow::Borrowed(result),
                status: *status,
                duration_ms: *duration_ms,
                error_rule_id: *error_rule_id,
                direct_after: borrowed(direct_after),
                resends: *resends,
            },
            ChainStep::Stopped { reason } => Self::Stopped { reason: Cow::Borrowed(reason) },
            ChainStep::LeftOut { steps } => Self::LeftOut { steps: *steps },
        }
    }
}

impl From<StepDoc<'_>> for ChainStep {
    fn from(doc: StepDoc<'_>) -> Self {
        match doc {
            StepDoc::Selected { provider_id, priority, candidates, candidates_left_out, excluded } => {
                let candidate =
                    |CandidateDoc { provider_id, weight }: CandidateDoc| Candidate { provider_id, weight };
                Self::Selected {
                    provider_id,
                    priority,
                    candidates: candidates.into_iter().map(candidate).collect(),
                    candidates_left_out,
                    excluded: excluded.into_iter().map(Into::into).collect(),
                }
            }
            StepDoc::Reused { provider_id } => Self::Reused { provider_id },
            StepDoc::Exhausted { excluded } => {
                Self::Exhausted { excluded: excluded.into_iter().map(Into::into).collect() }
            }
            StepDoc::Attempted {
                attempt,
                provider_id,
                result,
                status,
                duration_ms,
                error_rule_id,
                direct_after,
                resends,
            } => Self::Attempted {
                attempt,
                provider_id,
                result: result.into_owned(),
                status,
                duration_ms,
                error_rule_id,
                direct_after: owned(direct_after),
                resends,
            },
            StepDoc::Stopped { reason } => Self::Stopped { reason: reason.into_owned() },
            StepDoc::LeftOut { steps } => Self::LeftOut { steps },
        }
    }
}

impl<'a> From<&'a Exclusion> for ExclusionDoc<'a> {
    fn from(Exclusion { reason, count, provider_ids }: &'a Exclusion) -> Self {
        Self { reason: Cow::Borrowed(reason), count: *count, provider_ids: Cow::Borrowed(provider_ids) }
    }
}

impl From<ExclusionDoc<'_>> for Exclusion {
    fn from(doc: ExclusionDoc<'_>) -> Self {
        Self {
            reason: doc.reason.into_owned(),
            count: doc.count,
            provider_ids: doc.provider_ids.into_owned(),
        }
    }
}
