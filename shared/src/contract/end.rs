//! How a usage record travels and is kept: in the journal, in Redis and to the books.
//!
//! It is written twice for each request, and every byte of it costs there. So it is a map in MessagePack whose names are a
//! letter or two, without what says nothing (0, false, none): a third of the record's JSON. Names that a reader does not know
//! are passed over and what is missing has a default, so that releases run side by side; what they would misunderstand gets
//! a new [`USAGE_SCHEMA`](super::usage::USAGE_SCHEMA).

mod attempt;
mod steps;

use super::codec::check_schema;
use super::usage::{
    Caller, DecisionChain, RequestEntry, SessionFacts, Timing, USAGE_SCHEMA, UsageRecord, is_default,
};
use crate::ids::{KeyId, ProviderId, RequestId, Revision, UserId};
use crate::money::NanoUsd;
use crate::time::UnixMillis;
use attempt::AttemptDoc;
use bytes::Bytes;
use rmp_serde::Serializer;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
pub(super) use steps::StepDoc;

/// Why a record cannot be written.
pub type EncodeError = rmp_serde::encode::Error;

impl UsageRecord {
    /// Adds it to `bytes`, as it travels and is kept.
    pub fn write(&self, bytes: &mut Vec<u8>) -> Result<(), EncodeError> {
        Doc::from(self).serialize(&mut Serializer::new(bytes).with_struct_map())
    }

    /// As it travels and is kept.
    pub fn to_bytes(&self) -> Result<Bytes, EncodeError> {
        let mut bytes = Vec::new();
        self.write(&mut bytes)?;
        Ok(bytes.into())
    }

    /// What [`Self::write`] wrote, or the record's JSON, which it once was; `None` for what this release cannot read.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let record: Self = match bytes.first()? {
            b'{' => serde_json::from_slice(bytes).ok()?,
            _ if Self::is_in(bytes) => rmp_serde::from_slice::<Doc<'_>>(bytes).ok()?.into(),
            _ => return None,
        };
        check_schema(record.schema, USAGE_SCHEMA).is_ok().then_some(record)
    }

    /// Does this begin as a record does: a map of up to fifteen names, one of more, or JSON's?
    pub(super) fn is_in(bytes: &[u8]) -> bool {
        matches!(bytes.first(), Some(0x80..=0x8f | 0xde | b'{'))
    }

    /// Which request a record is of, without reading it: where this release writes it. `None`: somewhere else.
    #[must_use]
    pub fn id_in(bytes: &[u8]) -> Option<RequestId> {
        let fields = match bytes {
            [0x80..=0x8f, rest @ ..] | [0xde, _, _, rest @ ..] => rest,
            _ => return None,
        };
        // "i", and sixteen bytes.
        let (id, _) = fields.strip_prefix(b"\xa1i\xc4\x10")?.split_first_chunk()?;
        Some(RequestId::from_bytes(*id))
    }
}

/// A record. The id comes first: [`UsageRecord::id_in`] looks for it there.
#[derive(Serialize, Deserialize)]
struct Doc<'a> {
    #[serde(rename = "i")]
    id: RequestId,
    #[serde(rename = "v")]
    schema: u32,
    #[serde(rename = "t")]
    started_at: UnixMillis,
    #[serde(rename = "ta", default, skip_serializing_if = "is_default")]
    admitted_at: Option<UnixMillis>,
    #[serde(rename = "h", default, skip_serializing_if = "is_default")]
    held: NanoUsd,
    #[serde(rename = "u")]
    user_id: UserId,
    #[serde(rename = "k")]
    key_id: KeyId,
    #[serde(rename = "ip", default, skip_serializing_if = "is_default")]
    client_ip: Option<Cow<'a, str>>,
    #[serde(rename = "c", default, skip_serializing_if = "is_default")]
    client: Option<Cow<'a, str>>,
    #[serde(rename = "e")]
    endpoint: Cow<'a, str>,
    #[serde(rename = "m", default, skip_serializing_if = "is_default")]
    model: Option<Cow<'a, str>>,
    #[serde(rename = "s", default, skip_serializing_if = "is_default")]
    is_stream: bool,
    #[serde(rename = "p", default, skip_serializing_if = "is_default")]
    provider_id: Option<ProviderId>,
    #[serde(rename = "st")]
    status: u16,
    #[serde(rename = "b", default, skip_serializing_if = "is_default")]
    blocked_by: Option<Cow<'a, str>>,
    #[serde(rename = "er", default, skip_serializing_if = "is_default")]
    error: Option<Cow<'a, str>>,
    #[serde(rename = "sr", default, skip_serializing_if = "is_default")]
    stop_reason: Option<Cow<'a, str>>,
    #[serde(rename = "ui", default, skip_serializing_if = "is_default")]
    upstream_request_id: Option<Cow<'a, str>>,
    #[serde(rename = "fb", default, skip_serializing_if = "is_default")]
    first_byte_ms: Option<u64>,
    #[serde(rename = "fc", default, skip_serializing_if = "is_default")]
    first_content_ms: Option<u64>,
    #[serde(rename = "d", default, skip_serializing_if = "is_default")]
    duration_ms: u64,
    #[serde(rename = "si", default, skip_serializing_if = "is_default")]
    session_id: Option<Cow<'a, str>>,
    #[serde(rename = "mc", default, skip_serializing_if = "is_default")]
    message_count: Option<u32>,
    #[serde(rename = "r", default, skip_serializing_if = "is_default")]
    revision: Revision,
    #[serde(rename = "sd", default, skip_serializing_if = "is_default")]
    seed: u64,
    #[serde(rename = "dc", default, skip_serializing_if = "Vec::is_empty")]
    steps: Vec<StepDoc<'a>>,
    #[serde(rename = "a", default, skip_serializing_if = "Vec::is_empty")]
    attempts: Vec<AttemptDoc<'a>>,
}

impl<'a> From<&'a UsageRecord> for Doc<'a> {
    fn from(record: &'a UsageRecord) -> Self {
        // All fields by name: a new one is not forgotten here.
        let UsageRecord { schema, request, attempts } = record;
        let RequestEntry {
            id,
            started_at,
            admitted_at,
            held,
            caller: Caller { user_id, key_id, client_ip, client },
            endpoint,
            model,
            is_stream,
            provider_id,
            status,
            blocked_by,
            error,
            stop_reason,
            upstream_request_id,
            timing: Timing { first_byte_ms, first_content_ms, duration_ms },
            session: SessionFacts { session_id, message_count },
            decision_chain: DecisionChain { revision, seed, steps },
        } = request;
        Self {
            id: *id,
            schema: *schema,
            started_at: *started_at,
            admitted_at: *admitted_at,
            held: *held,
            user_id: *user_id,
            key_id: *key_id,
            client_ip: borrowed(client_ip),
            client: borrowed(client),
            endpoint: Cow::Borrowed(endpoint),
            model: borrowed(model),
            is_stream: *is_stream,
            provider_id: *provider_id,
            status: *status,
            blocked_by: borrowed(blocked_by),
            error: borrowed(error),
            stop_reason: borrowed(stop_reason),
            upstream_request_id: borrowed(upstream_request_id),
            first_byte_ms: *first_byte_ms,
            first_content_ms: *first_content_ms,
            duration_ms: *duration_ms,
            session_id: borrowed(session_id),
            message_count: *message_count,
            revision: *revision,
            seed: *seed,
            steps: steps.iter().map(StepDoc::from).collect(),
            attempts: attempts.iter().map(AttemptDoc::from).collect(),
        }
    }
}

impl From<Doc<'_>> for UsageRecord {
    fn from(doc: Doc<'_>) -> Self {
        let request = RequestEntry {
            id: doc.id,
            started_at: doc.started_at,
            admitted_at: doc.admitted_at,
            held: doc.held,
            caller: Caller {
                user_id: doc.user_id,
                key_id: doc.key_id,
                client_ip: owned(doc.client_ip),
                client: owned(doc.client),
            },
            endpoint: doc.endpoint.into_owned(),
            model: owned(doc.model),
            is_stream: doc.is_stream,
            provider_id: doc.provider_id,
            status: doc.status,
            blocked_by: owned(doc.blocked_by),
            error: owned(doc.error),
            stop_reason: owned(doc.stop_reason),
            upstream_request_id: owned(doc.upstream_request_id),
            timing: Timing {
                first_byte_ms: doc.first_byte_ms,
                first_content_ms: doc.first_content_ms,
                duration_ms: doc.duration_ms,
            },
            session: SessionFacts { session_id: owned(doc.session_id), message_count: doc.message_count },
            decision_chain: DecisionChain {
                revision: doc.revision,
                seed: doc.seed,
                steps: doc.steps.into_iter().map(Into::into).collect(),
            },
        };
        let attempts = doc.attempts.into_iter().map(Into::into).collect();
        Self { schema: doc.schema, request, attempts }
    }
}

fn borrowed(text: &Option<String>) -> Option<Cow<'_, str>> {
    text.as_deref().map(Cow::Borrowed)
}

fn owned(text: Option<Cow<'_, str>>) -> Option<String> {
    text.map(Cow::into_owned)
}

#[cfg(test)]
mod tests;
