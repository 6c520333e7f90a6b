//! The usage record: what a gateway tells the books about one request, once.
//!
//! One record carries the log row and one ledger row per attempt. Quantities and money are both in it: the
//! gateway knew the prices of its snapshot, and money can be derived again from the quantities.

pub(super) use super::quantities::is_default;
use crate::ids::{ErrorRuleId, KeyId, ProviderId, RequestId, Revision, UserId};
use crate::money::NanoUsd;
use crate::time::UnixMillis;
use serde::{Deserialize, Serialize};

pub use super::quantities::{CostBreakdown, TokenUsage, UsageFlags};

/// Raised when a reader of the last number would misunderstand a record of this one.
pub const USAGE_SCHEMA: u32 = 1;

/// One finished request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRecord {
    /// [`USAGE_SCHEMA`] of the writer.
    pub schema: u32,
    /// The log row.
    pub request: RequestEntry,
    /// The ledger rows, in the order of the attempts. Empty when nothing was forwarded.
    pub attempts: Vec<AttemptEntry>,
}

impl UsageRecord {
    /// The process died during the last attempt: its chain says so as well.
    pub fn was_interrupted(&mut self) {
        let last = self.attempts.last().filter(|row| row.outcome == Outcome::Interrupted);
        let Some(row) = last else { return };
        let chain = &mut self.request.decision_chain;
        let is_it = |step: &ChainStep| matches!(step, ChainStep::Attempted { attempt, .. } if *attempt == row.attempt);
        if chain.steps.iter().any(is_it) {
            // It had ended, and none had begun after it.
            return;
        }
        chain.steps.push(ChainStep::Attempted {
            attempt: row.attempt,
            provider_id: row.provider_id,
            result: row.outcome.as_str().to_owned(),
            status: None,
            duration_ms: 0,
            error_rule_id: None,
            direct_after: None,
            resends: 0,
        });
        chain.fit();
    }
}

/// What is logged of a request. No bodies, no keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestEntry {
    /// `x-request-id` of the answer. Carries the millisecond of `started_at`: the log finds the row by it.
    pub id: RequestId,
    /// When the request's head was read.
    pub started_at: UnixMillis,
    /// When its user's budget let it in, by the clock of the store of budgets (by the node's own while that was away): that is
    /// when it counts there. `None`: nothing of the user was limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admitted_at: Option<UnixMillis>,
    /// Of one that was cut with its process: what was put aside for it. Nobody knows how far it came, so the budget takes it for
    /// spent; else 0.
    #[serde(default, skip_serializing_if = "is_default")]
    pub held: NanoUsd,
    /// Who called.
    pub caller: Caller,
    /// Endpoint family, e.g. `anthropic_messages`.
    pub endpoint: String,
    /// The model the seat asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// True when the seat asked for a stream.
    pub is_stream: bool,
    /// The provider whose answer the seat got.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<ProviderId>,
    /// HTTP status the seat saw; 499 when it left before the head, 0 when nobody knows because the gateway died meanwhile.
    pub status: u16,
    /// Why the request was refused here, e.g. `model_not_allowed`; `warmup`: it was answered here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked_by: Option<String>,
    /// What went wrong after the head was sent, or that the seat left before: [`super::breach::Breach`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Why the model stopped, in the dialect's own word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<String>,
    /// The upstream's own request id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_request_id: Option<String>,
    /// When things happened.
    pub timing: Timing,
    /// The conversation.
    pub session: SessionFacts,
    /// How the provider was chosen and what each attempt came to.
    pub decision_chain: DecisionChain,
}

/// Who called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// The key's user.
    pub user_id: UserId,
    /// The key.
    pub key_id: KeyId,
    /// Address of the seat (or of the last untrusted hop).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ip: Option<String>,
    /// `User-Agent`, cut at 256 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
}

/// Milliseconds since the request's head was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// Until the provider's first byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte_ms: Option<u64>,
    /// Until the first content of the stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_content_ms: Option<u64>,
    /// Until everything was over.
    pub duration_ms: u64,
}

/// What the request says of its conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionFacts {
    /// The conversation's id, when the client names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Number of messages in the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_count: Option<u32>,
}

/// One try at one provider: a ledger row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptEntry {
    /// 1 for the first try of the request.
    pub attempt: u32,
    /// Who was tried.
    pub provider_id: ProviderId,
    /// The model the provider was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_model: Option<String>,
    /// What it came to.
    pub outcome: Outcome,
    /// The tokens it took.
    pub usage: TokenUsage,
    /// The money it cost.
    pub cost: CostBreakdown,
    /// Flags that tell how far the numbers can be trusted.
    pub flags: UsageFlags,
    /// When the provider's budget let it in; see [`RequestEntry::admitted_at`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admitted_at: Option<UnixMillis>,
    /// What was put aside at the provider; see [`RequestEntry::held`].
    #[serde(default, skip_serializing_if = "is_default")]
    pub held: NanoUsd,
    /// It failed and cost something all the same, which is put aside for its user by itself: what was put aside for the request
    /// covers one attempt, and the next one needs all of that.
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_covered: bool,
}

/// What an attempt came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The seat got this answer.
    Served,
    /// The provider refused or broke; the seat may have got a part.
    Failed,
    /// The seat left; the stream was read on for its usage.
    Drained,
    /// The seat left and the upstream was closed.
    Cancelled,
    /// The gateway died meanwhile.
    Interrupted,
}

impl Outcome {
    /// The name used in JSON and SQL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Failed => "failed",
            Self::Drained => "drained",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
        }
    }
}

/// How a request found its provider: enough to replay the draws, at most 4 KiB as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DecisionChain {
    /// The configuration it was decided on.
    pub revision: Revision,
    /// The seed of the draws.
    pub seed: u64,
    /// What happened, in order.
    pub steps: Vec<ChainStep>,
}

/// One entry of a decision chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum ChainStep {
    /// A provider was drawn.
    Selected {
        /// Who was drawn.
        provider_id: ProviderId,
        /// The tier that served the draw.
        priority: u32,
        /// The tier in full: who could have been drawn, with what weight. Empty: those of the draw before
        /// but for the one it drew.
        candidates: Vec<Candidate>,
        /// How many more there were than the chain has room for.
        #[serde(default, skip_serializing_if = "is_default")]
        candidates_left_out: u32,
        /// Why the others could not.
        excluded: Vec<Exclusion>,
    },
    /// The provider that the session is bound to was taken, without a draw.
    Reused {
        /// Who.
        provider_id: ProviderId,
    },
    /// Nobody was left to draw.
    Exhausted {
        /// Why each provider was out.
        excluded: Vec<Exclusion>,
    },
    /// A try at the drawn provider ended.
    Attempted {
        /// Its number in the request, from 1.
        attempt: u32,
        /// Who was tried.
        provider_id: ProviderId,
        /// `served`, `drained`, `cancelled` or `interrupted`, as its ledger row has it; of one that failed, how, as a fixed
        /// label: `connect_refused`, `overloaded`, `cut_after_content`, …
        result: String,
        /// The provider's HTTP status, when it answered.
        status: Option<u16>,
        /// Milliseconds until its answer was real, or it failed; 0 when nobody knows.
        duration_ms: u64,
        /// The rule that made its error the request's own fault.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error_rule_id: Option<ErrorRuleId>,
        /// What its egress proxy failed with (`proxy_refused`, …) when the try went on without it.
        #[serde(default, skip_serializing_if = "is_default")]
        direct_after: Option<String>,
        /// How often it was sent again on another connection, because a kept one turned out closed: its other side had gone
        /// away before and took nothing up.
        #[serde(default, skip_serializing_if = "is_default")]
        resends: u32,
    },
    /// Nobody else was tried, though somebody may have been left.
    Stopped {
        /// Why, as a fixed label: `request_fault` (it would fail anywhere), `deadline`, `timed_out_twice`, `switches` (too many changes of provider) or
        /// `resend_budget` (the gateway re-sends too much already).
        reason: String,
    },
    /// Here the chain had no room.
    LeftOut {
        /// How many steps are missing.
        steps: u32,
    },
}

/// A provider that could be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "two fields with the glossary's names")]
pub struct Candidate {
    pub provider_id: ProviderId,
    pub weight: u32,
}

/// A reason why providers were out, with the first of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exclusion {
    /// A fixed label: `disabled`, `other_group`, `model_not_served`, `already_tried`, …
    pub reason: String,
    /// How many.
    pub count: u32,
    /// The first 20 of them.
    pub provider_ids: Vec<ProviderId>,
}
