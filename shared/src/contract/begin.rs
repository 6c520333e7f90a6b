//! What a journal keeps of a request under way: the record to be booked should nothing more be heard of it.
//!
//! It is written for each attempt and hardly ever read, so it is an array in MessagePack, and behind it one of the chain's
//! steps. A new field is added at the end, with a default; a new [`BEGIN_SCHEMA`] is for what readers would misunderstand.

use super::end::StepDoc;
use super::usage::{
    AttemptEntry, Caller, ChainStep, CostBreakdown, DecisionChain, Outcome, RequestEntry, SessionFacts,
    TokenUsage, USAGE_SCHEMA, UsageFlags, UsageRecord,
};
use crate::ids::{KeyId, ProviderId, RequestId, Revision, UserId};
use crate::model::price::Factors;
use crate::money::NanoUsd;
use crate::time::UnixMillis;
use rmp_serde::Serializer;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use thiserror::Error;

/// Raised when a reader of the last number would misunderstand a begin of this one.
pub const BEGIN_SCHEMA: u8 = 2;
/// The schema whose steps are a text within it.
const STEPS_IN_JSON: u8 = 1;

/// A request under way, as its page stands when an attempt begins.
#[derive(Clone, Copy, Debug)]
pub struct Begin<'a> {
    /// The log row so far.
    pub request: &'a RequestEntry,
    /// Its chain, cut to what is stored.
    pub chain: &'a DecisionChain,
    /// Milliseconds since the request's head was read.
    pub elapsed_ms: u64,
    /// The attempts before.
    pub earlier: &'a [AttemptEntry],
    /// What is to be booked of the attempt that begins: its input, estimated.
    pub attempt: &'a AttemptEntry,
}

/// Why a begin cannot be written or read.
#[derive(Debug, Error)]
pub enum BeginError {
    /// It cannot be written.
    #[error("cannot be encoded")]
    Encode(#[from] rmp_serde::encode::Error),
    /// It is no begin.
    #[error("not a begin")]
    Decode(#[from] rmp_serde::decode::Error),
    /// It is a record that this release cannot read.
    #[error("not a record that can be read")]
    Record,
    /// A part of it is not what it should be.
    #[error("not the expected document")]
    Json(#[from] serde_json::Error),
    /// A later release wrote it, and this one would misunderstand it.
    #[error("schema {0} is newer than {BEGIN_SCHEMA}")]
    TooNew(u8),
}

impl Begin<'_> {
    /// Adds its bytes to `bytes`.
    pub fn write(&self, bytes: &mut Vec<u8>) -> Result<(), BeginError> {
        let Self { request, chain, elapsed_ms, earlier, attempt } = *self;
        let doc = Doc {
            schema: BEGIN_SCHEMA,
            started_at: request.started_at,
            user_id: request.caller.user_id,
            key_id: request.caller.key_id,
            client_ip: request.caller.client_ip.as_deref().map(Cow::Borrowed),
            client: request.caller.client.as_deref().map(Cow::Borrowed),
            endpoint: Cow::Borrowed(&request.endpoint),
            model: request.model.as_deref().map(Cow::Borrowed),
            is_stream: request.is_stream,
            session_id: request.session.session_id.as_deref().map(Cow::Borrowed),
            message_count: request.session.message_count,
            elapsed_ms,
            revision: chain.revision,
            seed: chain.seed,
            steps: Cow::Borrowed(""),
            earlier: match earlier {
                [] => None,
                // Rare.
                some => Some(Cow::Owned(serde_json::to_string(some)?)),
            },
            attempt: attempt.attempt,
            provider_id: attempt.provider_id,
            upstream_model: attempt.upstream_model.as_deref().map(Cow::Borrowed),
            input_tokens: attempt.usage.input_tokens,
            cost_input: attempt.cost.input,
            cost_fees: attempt.cost.fees,
            factors: (attempt.cost.factors.provider.0, attempt.cost.factors.group.0),
            is_estimate: attempt.flags.is_estimate,
            is_unpriced: attempt.flags.is_unpriced,
            is_long_context: attempt.flags.is_long_context,
            is_priority_tier: attempt.flags.is_priority_tier,
            admitted_at: request.admitted_at,
            attempt_admitted_at: attempt.admitted_at,
            held: request.held,
            attempt_held: attempt.held,
        };
        rmp_serde::encode::write(bytes, &doc)?;
        let steps: Vec<StepDoc<'_>> = chain.steps.iter().map(StepDoc::from).collect();
        steps.serialize(&mut Serializer::new(bytes).with_struct_map())?;
        Ok(())
    }

    /// The record that is booked of a begin, when no more is heard of its request.
    pub fn read(id: RequestId, bytes: &[u8]) -> Result<UsageRecord, BeginError> {
        // As it was written before there was a form of its own: the record itself, which is a map.
        if UsageRecord::is_in(bytes) {
            return UsageRecord::from_bytes(bytes).ok_or(BeginError::Record);
        }
        let mut reader = rmp_serde::Deserializer::from_read_ref(bytes);
        let doc = Doc::deserialize(&mut reader)?;
        if doc.schema > BEGIN_SCHEMA {
            return Err(BeginError::TooNew(doc.schema));
        }
        let steps = match doc.schema {
            STEPS_IN_JSON => serde_json::from_str(&doc.steps)?,
            _ => Vec::<StepDoc<'_>>::deserialize(&mut reader)?.into_iter().map(Into::into).collect(),
        };
        doc.into_record(id, steps)
    }
}

/// An array: the order of its fields is their name.
#[derive(Serialize, Deserialize)]
struct Doc<'a> {
    schema: u8,
    started_at: UnixMillis,
    user_id: UserId,
    key_id: KeyId,
    #[serde(borrow)]
    client_ip: Option<Cow<'a, str>>,
    #[serde(borrow)]
    client: Option<Cow<'a, str>>,
    #[serde(borrow)]
    endpoint: Cow<'a, str>,
    #[serde(borrow)]
    model: Option<Cow<'a, str>>,
    is_stream: bool,
    #[serde(borrow)]
    session_id: Option<Cow<'a, str>>,
    message_count: Option<u32>,
    elapsed_ms: u64,
    revision: Revision,
    seed: u64,
    /// Of [`STEPS_IN_JSON`].
    #[serde(borrow)]
    steps: Cow<'a, str>,
    #[serde(borrow)]
    earlier: Option<Cow<'a, str>>,
    attempt: u32,
    provider_id: ProviderId,
    #[serde(borrow)]
    upstream_model: Option<Cow<'a, str>>,
    input_tokens: u64,
    cost_input: NanoUsd,
    cost_fees: NanoUsd,
    factors: (u64, u64),
    is_estimate: bool,
    is_unpriced: bool,
    is_long_context: bool,
    is_priority_tier: bool,
    #[serde(default)]
    admitted_at: Option<UnixMillis>,
    #[serde(default)]
    attempt_admitted_at: Option<UnixMillis>,
    #[serde(default)]
    held: NanoUsd,
    #[serde(default)]
    attempt_held: NanoUsd,
}

impl Doc<'_> {
    fn into_record(self, id: RequestId, steps: Vec<ChainStep>) -> Result<UsageRecord, BeginError> {
        let mut attempts: Vec<AttemptEntry> = match &self.earlier {
            Some(earlier) => serde_json::from_str(earlier)?,
            None => Vec::new(),
        };
        attempts.push(self.interrupted());
        let text = |text: Option<Cow<'_, str>>| text.map(Cow::into_owned);
        let request = RequestEntry {
            id,
            started_at: self.started_at,
            admitted_at: self.admitted_at,
            held: self.held,
            caller: Caller {
                user_id: self.user_id,
                key_id: self.key_id,
                client_ip: text(self.client_ip),
                client: text(self.client),
            },
            endpoint: self.endpoint.into_owned(),
            model: text(self.model),
            is_stream: self.is_stream,
            provider_id: Some(self.provider_id),
            status: NOBODY_KNOWS,
            blocked_by: None,
            error: Some(Outcome::Interrupted.as_str().to_owned()),
            stop_reason: None,
            upstream_request_id: None,
            timing: super::usage::Timing { duration_ms: self.elapsed_ms, ..Default::default() },
            session: SessionFacts { session_id: text(self.session_id), message_count: self.message_count },
            decision_chain: DecisionChain { revision: self.revision, seed: self.seed, steps },
        };
        Ok(UsageRecord { schema: USAGE_SCHEMA, request, attempts })
    }

    fn interrupted(&self) -> AttemptEntry {
        let (provider, group) = self.factors;
        let mut total = self.cost_input;
        total.0 = total.0.saturating_add(self.cost_fees.0);
        AttemptEntry {
            attempt: self.attempt,
            provider_id: self.provider_id,
            upstream_model: self.upstream_model.as_deref().map(str::to_owned),
            outcome: Outcome::Interrupted,
            usage: TokenUsage { input_tokens: self.input_tokens, ..TokenUsage::default() },
            cost: CostBreakdown {
                input: self.cost_input,
                fees: self.cost_fees,
                total,
                factors: Factors {
                    provider: crate::money::Multiplier(provider),
                    group: crate::money::Multiplier(group),
                },
                ..CostBreakdown::default()
            },
            flags: UsageFlags {
                is_estimate: self.is_estimate,
                is_unpriced: self.is_unpriced,
                is_long_context: self.is_long_context,
                is_priority_tier: self.is_priority_tier,
                // Only an answer's count says so.
                is_fast: false,
                is_us_only: false,
            },
            admitted_at: self.attempt_admitted_at,
            held: self.attempt_held,
            is_covered: false,
        }
    }
}

/// The status of a request during which the process died.
const NOBODY_KNOWS: u16 = 0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::recorded::bytes_of;
    use crate::money::Multiplier;
    use crate::testing::usage_record;

    fn id() -> RequestId {
        RequestId::from_bytes([7; 16])
    }

    fn record() -> UsageRecord {
        let mut record = usage_record(7);
        record.request.id = id();
        record.request.caller.client = Some("claude-cli/2.0.14 (external, cli)".to_owned());
        record.request.session = SessionFacts { session_id: Some("s-1".to_owned()), message_count: Some(3) };
        record.request.decision_chain.steps = vec![ChainStep::LeftOut { steps: 4 }];
        record
    }

    fn interrupted(attempt: u32) -> AttemptEntry {
        AttemptEntry {
            attempt,
            provider_id: ProviderId(9),
            upstream_model: Some("claude-sonnet-4-5".to_owned()),
            outcome: Outcome::Interrupted,
            usage: TokenUsage { input_tokens: 512, ..TokenUsage::default() },
            cost: CostBreakdown {
                input: NanoUsd(1_536_000),
                fees: NanoUsd(7),
                total: NanoUsd(1_536_007),
                factors: Factors { provider: Multiplier(1_500_000), group: Multiplier(1_000_000) },
                ..CostBreakdown::default()
            },
            flags: UsageFlags { is_estimate: true, is_long_context: true, ..UsageFlags::default() },
            admitted_at: None,
            held: NanoUsd(0),
            is_covered: false,
        }
    }

    fn written(record: &UsageRecord, earlier: &[AttemptEntry], attempt: &AttemptEntry) -> Vec<u8> {
        let mut bytes = Vec::new();
        let begin = Begin {
            request: &record.request,
            chain: &record.request.decision_chain,
            elapsed_ms: 12,
            earlier,
            attempt,
        };
        begin.write(&mut bytes).unwrap();
        bytes
    }

    /// What is booked of a page whose last attempt was interrupted 12 ms after its head.
    fn booked(mut page: UsageRecord, attempts: Vec<AttemptEntry>) -> UsageRecord {
        page.request.status = 0;
        page.request.blocked_by = None;
        page.request.provider_id = Some(ProviderId(9));
        page.request.error = Some("interrupted".to_owned());
        page.request.timing.duration_ms = 12;
        page.attempts = attempts;
        page
    }

    #[test]
    fn what_is_read_is_the_page_as_it_stood_with_the_attempt_interrupted() {
        let page = record();
        let earlier = [AttemptEntry { outcome: Outcome::Failed, ..interrupted(1) }];
        let wanted = booked(page.clone(), vec![earlier[0].clone(), interrupted(2)]);
        assert_eq!(Begin::read(id(), &written(&page, &earlier, &interrupted(2))).unwrap(), wanted);
        let wanted = booked(page.clone(), vec![interrupted(1)]);
        assert_eq!(Begin::read(id(), &written(&page, &[], &interrupted(1))).unwrap(), wanted);
    }

    #[test]
    fn when_budgets_let_it_in_outlives_its_process() {
        let mut page = record();
        (page.request.admitted_at, page.request.held) = (Some(UnixMillis(5)), NanoUsd(50));
        let attempt = AttemptEntry { admitted_at: Some(UnixMillis(6)), held: NanoUsd(60), ..interrupted(1) };
        let wanted = booked(page.clone(), vec![attempt.clone()]);
        assert_eq!(Begin::read(id(), &written(&page, &[], &attempt)).unwrap(), wanted);
    }

    #[test]
    fn an_attempt_that_had_ended_before_the_process_died_is_not_in_the_chain_twice() {
        let mut cut = booked(record(), vec![interrupted(1)]);
        let steps = cut.request.decision_chain.steps.len();
        cut.was_interrupted();
        assert_eq!(cut.request.decision_chain.steps.len(), steps + 1, "it was under way");
        cut.was_interrupted();
        assert_eq!(cut.request.decision_chain.steps.len(), steps + 1, "what it came to is there");
    }

    #[test]
    fn begins_as_earlier_releases_left_them_on_disk_are_read() {
        let earlier = AttemptEntry { outcome: Outcome::Failed, ..interrupted(1) };
        for recorded in [RECORDED_1, RECORDED_2] {
            let wanted = booked(record(), vec![earlier.clone(), interrupted(2)]);
            assert_eq!(Begin::read(id(), &bytes_of(recorded)).unwrap(), wanted);
        }
    }

    #[test]
    fn earlier_begins_are_read_and_what_is_none_is_not_guessed_at() {
        let mut bytes = written(&record(), &[], &interrupted(1));
        assert_eq!(Begin::read(id(), &serde_json::to_vec(&record()).unwrap()).unwrap(), record());
        assert!(matches!(Begin::read(id(), &bytes[..bytes.len() - 1]), Err(BeginError::Decode(_))));
        assert!(matches!(Begin::read(id(), b"{}"), Err(BeginError::Record)));
        // The first entry of the array.
        bytes[3] = BEGIN_SCHEMA + 1;
        assert!(matches!(Begin::read(id(), &bytes), Err(BeginError::TooNew(3))));
    }

    /// Never changed: what a process left is read by those of later releases. A new form is another file beside it.
    const RECORDED_1: &str = include_str!("recorded/begin_schema_1.hex");
    const RECORDED_2: &str = include_str!("recorded/begin_schema_2.hex");
}
