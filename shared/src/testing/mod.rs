//! Builders and fakes for tests of every crate (feature `testing`).
//!
//! A builder gives the plainest thing that works; a test changes what it is about:
//! `Provider { weight: 3, ..provider(1) }`.

pub mod conformance;

use crate::contract::breaker::{Mark, Pass, Report, Sample, Terms};
use crate::contract::in_flight::{IN_FLIGHT_SCHEMA, InFlight};
use crate::contract::node::{NODE_SCHEMA, NodeBeat, NodeKind};
use crate::contract::session::{ActiveSession, SESSION_SCHEMA, SessionDoc};
use crate::contract::snapshot::{
    Core, ErrorRuleDoc, GroupDoc, KeyDoc, Principals, SNAPSHOT_SCHEMA, Snapshot, UserDoc,
};
use crate::contract::usage::{
    Caller, DecisionChain, RequestEntry, SessionFacts, Timing, USAGE_SCHEMA, UsageRecord,
};
use crate::ids::{ErrorRuleId, GroupId, KeyId, ProviderId, RequestId, Revision, UserId};
use crate::model::{
    BreakerSettings, ClientAbort, EgressSettings, GroupSet, Key, Limits, Provider, ProviderType, Timers, User,
};
use crate::money::{Multiplier, NanoUsd};
use crate::ports::{PortError, QuotaStore};
use crate::rules::error_rules::default_rules;
use crate::rules::quota::{AccountId, Opening};
use crate::rules::response::ResponseKey;
use crate::rules::select::Draws;
use crate::rules::session::SessionKey;
use crate::secret::{HubKey, KeyDigest, Secret};
use crate::time::UnixMillis;
use std::collections::BTreeMap;

/// A rule that takes errors with this text for the request's fault.
#[must_use]
pub fn error_rule(id: i64, pattern: &str) -> ErrorRuleDoc {
    ErrorRuleDoc {
        id: ErrorRuleId(id),
        match_type: "contains".to_owned(),
        pattern: pattern.to_owned(),
        category: "invalid_request".to_owned(),
        priority: 100,
        override_response: None,
        override_status_code: None,
    }
}

/// The rules of this release, with ids from 1 in their order.
///
/// # Panics
/// Never: a test reads them.
#[must_use]
#[expect(clippy::expect_used, reason = "a fixture that does not build must stop the test")]
pub fn default_error_rules() -> Vec<ErrorRuleDoc> {
    let rules = default_rules().expect("the rules of this release can be read");
    (1..)
        .zip(rules)
        .map(|(id, rule)| ErrorRuleDoc {
            match_type: rule.match_type.as_str().to_owned(),
            category: rule.category.as_str().to_owned(),
            priority: rule.priority,
            ..error_rule(id, &rule.pattern)
        })
        .collect()
}

/// An enabled `claude` provider of weight 1 in tier 0 and the default group, serving every model. Its URL
/// is a loopback address nobody listens on; its secret is `upstream-secret-<id>`, sealed by [`hub_key`].
///
/// # Panics
/// Never: the fixed key seals every short text.
#[must_use]
#[expect(clippy::expect_used, reason = "a fixture that does not build must stop the test")]
pub fn provider(id: i64) -> Provider {
    let id = ProviderId(id);
    let secret = Secret::new(format!("upstream-secret-{id}"));
    let sealed = hub_key().seal(&secret, &Provider::secret_place(id), [7; 12]);
    Provider {
        id,
        name: format!("provider-{id}"),
        provider_type: ProviderType::Claude,
        url: "http://127.0.0.1:9".to_owned(),
        secret: sealed.expect("the fixed key seals"),
        is_enabled: true,
        weight: 1,
        priority: 0,
        group_priorities: BTreeMap::new(),
        active_time: None,
        group_tag: GroupSet::default(),
        cost_multiplier: Multiplier::ONE,
        allowed_models: Vec::new(),
        allowed_clients: Vec::new(),
        blocked_clients: Vec::new(),
        model_redirects: Vec::new(),
        max_attempts: 2,
        custom_headers: Vec::new(),
        client_abort: ClientAbort::Drain,
        timers: Timers::default(),
        circuit_breaker: BreakerSettings::default(),
        egress: EgressSettings::default(),
        limits: Limits::default(),
        budget_generation: 0,
    }
}

/// An enabled user without limits, in the default group.
#[must_use]
pub fn user(id: i64) -> User {
    user_doc(id).into()
}

/// An enabled key of a user, whose secret is [`client_secret`] of its id.
#[must_use]
pub fn key(id: i64, user_id: i64) -> Key {
    key_doc(id, user_id).into()
}

/// What a seat sends to use the key [`key`] of this id: `cch-` and 32 characters.
#[must_use]
pub fn client_secret(key_id: i64) -> String {
    format!("cch-{key_id:032}")
}

/// [`user`] as published.
#[must_use]
pub fn user_doc(id: i64) -> UserDoc {
    UserDoc {
        id: UserId(id),
        name: format!("user-{id}"),
        is_enabled: true,
        expires_at_ms: None,
        provider_group: GroupSet::default(),
        allowed_models: Vec::new(),
        allowed_clients: Vec::new(),
        blocked_clients: Vec::new(),
        limits: Limits::default(),
        quota_reservation: None,
        budget_generation: 0,
    }
}

/// [`key`] as published.
#[must_use]
pub fn key_doc(id: i64, user_id: i64) -> KeyDoc {
    KeyDoc {
        id: KeyId(id),
        user_id: UserId(user_id),
        name: format!("key-{id}"),
        digest: KeyDigest::of(&client_secret(id)),
        is_enabled: true,
        expires_at_ms: None,
        provider_group: GroupSet::default(),
        allowed_models: Vec::new(),
        limits: Limits::default(),
    }
}

/// A group with factor 1.
#[must_use]
pub fn group_doc(id: i64, name: &str) -> GroupDoc {
    GroupDoc { id: GroupId(id), name: name.to_owned(), cost_multiplier: Multiplier::ONE }
}

/// A snapshot of revision 1 with these providers, the default group, and one user (1) with one key (1).
#[must_use]
pub fn snapshot(providers: Vec<Provider>) -> Snapshot {
    Snapshot {
        schema: SNAPSHOT_SCHEMA,
        revision: Revision(1),
        core: Core { providers, groups: vec![group_doc(1, GroupSet::DEFAULT)], ..Core::default() },
        principals: Principals { users: vec![user_doc(1)], keys: vec![key_doc(1, 1)] },
    }
}

/// The record of a request that was forwarded to nobody, its id made of `n`.
#[must_use]
pub fn usage_record(n: u64) -> UsageRecord {
    let started_at = UnixMillis(1_790_000_000_000);
    let mut chance = [0; 10];
    chance[2..].copy_from_slice(&n.to_be_bytes());
    UsageRecord {
        schema: USAGE_SCHEMA,
        request: RequestEntry {
            id: RequestId::from_parts(started_at.0.unsigned_abs(), &chance),
            started_at,
            admitted_at: None,
            held: NanoUsd::ZERO,
            caller: Caller { user_id: UserId(1), key_id: KeyId(1), client_ip: None, client: None },
            endpoint: "anthropic_messages".to_owned(),
            model: Some("claude-sonnet-4-5".to_owned()),
            is_stream: true,
            provider_id: None,
            status: 503,
            blocked_by: Some("no_available_providers".to_owned()),
            error: None,
            stop_reason: None,
            upstream_request_id: None,
            timing: Timing::default(),
            session: SessionFacts::default(),
            decision_chain: DecisionChain::default(),
        },
        attempts: Vec::new(),
    }
}

/// A ready gateway's sign of life.
#[must_use]
pub fn node_beat(id: &str) -> NodeBeat {
    NodeBeat {
        schema: NODE_SCHEMA,
        id: id.to_owned(),
        kind: NodeKind::Gateway,
        host: "test".to_owned(),
        version: "0.0.0".to_owned(),
        started_at: UnixMillis(1_790_000_000_000),
        at: UnixMillis(1_790_000_000_000),
        revision: Some(Revision(1)),
        is_ready: true,
        running_requests: 0,
        quota_epoch: None,
        budget_holds: None,
        budget_held: None,
        budget_escrowed: None,
        journal_root: None,
        journals: None,
        journals_there: None,
        journals_adopted: None,
        scanned_at: None,
    }
}

/// The evidence of attempt `n` of a request made of `n`, which ended with this status at this moment.
#[must_use]
pub fn sample(n: u32, status: Option<u16>, at: UnixMillis) -> Sample {
    let mut chance = [0; 10];
    chance[6..].copy_from_slice(&n.to_be_bytes());
    let request_id = RequestId::from_parts(1_790_000_000_000, &chance);
    let label = if status == Some(200) { "served" } else { "server_error" };
    Sample { at, request_id: Some(request_id), attempt: n, model: None, status, label: label.to_owned() }
}

/// A report of provider `id` under [`Terms::default`], without a cool-down.
#[must_use]
pub fn report(id: i64, pass: Pass, mark: Mark) -> Report {
    let status = match mark {
        Mark::Success => Some(200),
        Mark::Failure => Some(502),
        Mark::Neutral => None,
    };
    let sample = sample(1, status, UnixMillis(1_790_000_000_000));
    Report { provider_id: ProviderId(id), terms: Terms::default(), pass, mark, cool: None, sample }
}

/// What a node tells at `at_ms` when the requests of these [`usage_record`]s run there.
#[must_use]
pub fn in_flight(at_ms: i64, records: impl IntoIterator<Item = u64>) -> InFlight {
    InFlight {
        schema: IN_FLIGHT_SCHEMA,
        at: UnixMillis(at_ms),
        requests: records.into_iter().map(|n| usage_record(n).into()).collect(),
        left_out: 0,
    }
}

/// The key of session `n`. A greater number is a lesser key, so that of sessions seen at once the first comes first.
#[must_use]
pub fn session_key(n: usize) -> SessionKey {
    SessionKey::from_bytes(u128::MAX.wrapping_sub(n as u128).to_be_bytes())
}

/// The key of response `n`; so many after each other have each first byte.
#[must_use]
pub fn response_key(n: u16) -> ResponseKey {
    let [high, low] = n.to_be_bytes();
    let mut bytes = [0; 16];
    bytes[0] = low;
    bytes[15] = high;
    ResponseKey::from_bytes(bytes)
}

/// Session `n`, with one request.
#[must_use]
pub fn active_session(n: usize) -> ActiveSession {
    let doc = SessionDoc {
        schema: SESSION_SCHEMA,
        session_id: format!("session-{n}"),
        user_id: UserId(1),
        key_id: KeyId(1),
        provider_id: Some(ProviderId(1)),
        model: Some("claude-sonnet-4-5".to_owned()),
        client: Some("claude-cli/2.1.0".to_owned()),
    };
    let at = UnixMillis(1_790_000_000_000);
    ActiveSession { key: session_key(n), doc, requests: 1, first_seen_at: at, last_seen_at: at }
}

/// Opens an account as the admin side does; true when it is open then.
///
/// # Errors
/// Those of the store.
pub async fn open_account(
    store: &dyn QuotaStore,
    account: AccountId,
    epoch: u64,
    opening: &Opening,
) -> Result<bool, PortError> {
    match store.life(account, epoch).await?.said {
        Some(life) => Ok(store.open(account, epoch, &life, opening).await?.said),
        None => Ok(true),
    }
}

/// The key that seals the secrets of [`provider`].
///
/// # Panics
/// Never: 32 bytes are a key.
#[must_use]
#[expect(clippy::expect_used, reason = "a fixture that does not build must stop the test")]
pub fn hub_key() -> HubKey {
    HubKey::from_bytes(&[42; 32]).expect("32 bytes are a key")
}

/// A rng that gives the same numbers in every run.
#[must_use]
pub fn rng(seed: u64) -> Draws {
    Draws::new(seed)
}
