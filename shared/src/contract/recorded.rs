//! Documents as earlier releases wrote them: this release reads them, and writes what those releases need.
//!
//! A file is never changed. A new schema, or a field that readers come to need, is another file beside it.

use super::breaker::{Cause, Circuit, CircuitDoc, CoolKind, Cooldown, Permit, Terms};
use super::delta::{Delta, between};
use super::in_flight::InFlight;
use super::node::NodeBeat;
use super::session::NewsDoc;
use super::snapshot::{ErrorRuleDoc, Snapshot};
use super::usage::{
    AttemptEntry, Candidate, ChainStep, CostBreakdown, DecisionChain, Exclusion, Outcome, SessionFacts,
    TokenUsage, UsageFlags, UsageRecord,
};
use crate::ids::{ErrorRuleId, ProviderId, Revision};
use crate::model::price::{ModelPrice, Rates};
use crate::model::{
    ActiveTime, ClientPattern, DailyMode, EgressSettings, FiveHoursMode, Limits, QuotaReservation, WallTime,
};
use crate::money::{NanoUsd, PicoUsd};
use crate::rules::affinity::Identity;
use crate::rules::session::SessionKey;
use crate::secret::Sealed;
use crate::testing::conformance::journal;
use crate::testing::{
    active_session, error_rule, in_flight, key_doc, node_beat, provider, sample, snapshot, usage_record,
    user_doc,
};
use crate::time::{UnixMillis, Zone};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::fmt::Debug;

const SNAPSHOT: &str = include_str!("recorded/snapshot_schema_2.json");
/// With what decides who serves whom: tiers by group, schedules, client rules.
const SNAPSHOT_ROUTING: &str = include_str!("recorded/snapshot_schema_2_routing.json");
/// With rules on the errors of upstreams.
const SNAPSHOT_ERROR_RULES: &str = include_str!("recorded/snapshot_schema_2_error_rules.json");
const DELTA_ERROR_RULES: &str = include_str!("recorded/delta_schema_2_error_rules.json");
/// With a provider behind a proxy and with an authority of its own.
const SNAPSHOT_EGRESS: &str = include_str!("recorded/snapshot_schema_2_egress.json");
/// With limits of users, keys and providers.
const SNAPSHOT_BUDGETS: &str = include_str!("recorded/snapshot_schema_2_budgets.json");
const DELTA: &str = include_str!("recorded/delta_schema_2.json");
const USAGE: &str = include_str!("recorded/usage_schema_1.json");
/// With the step of a session that goes on with its provider.
const USAGE_REUSED: &str = include_str!("recorded/usage_schema_1_reused.json");
/// With a rule that decided.
const USAGE_ERROR_RULE: &str = include_str!("recorded/usage_schema_1_error_rule.json");
/// With a try that went on without its proxy.
const USAGE_DIRECT: &str = include_str!("recorded/usage_schema_1_direct.json");
/// Let in by the budgets of its user and its provider.
const USAGE_ADMITTED: &str = include_str!("recorded/usage_schema_1_admitted.json");
const CIRCUIT: &str = include_str!("recorded/circuit_schema_1.json");
const NODE: &str = include_str!("recorded/node_schema_1.json");
/// That goes by an epoch of the store of budgets.
const NODE_QUOTA: &str = include_str!("recorded/node_schema_1_quota.json");
/// That says what it has put aside.
const NODE_HOLDS: &str = include_str!("recorded/node_schema_1_holds.json");
/// That puts money aside ahead of requests.
const NODE_ESCROW: &str = include_str!("recorded/node_schema_1_escrow.json");
/// That says in whose hands journals are.
const NODE_CUSTODY: &str = include_str!("recorded/node_schema_1_custody.json");
const IN_FLIGHT: &str = include_str!("recorded/in_flight_schema_1.json");
const SESSION: &str = include_str!("recorded/session_schema_1.json");
const SESSION_MOVED: &str = include_str!("recorded/session_moved_1.json");
const SESSION_ENDED: &str = include_str!("recorded/session_ended_1.json");

#[test]
fn recorded_documents_are_read_and_their_readers_are_served() {
    holds(SNAPSHOT, &whole(), |_| false);
    holds(SNAPSHOT_ROUTING, &whole_routing(), |_| false);
    holds(SNAPSHOT_ERROR_RULES, &whole_ruled(), |_| false);
    holds(SNAPSHOT_EGRESS, &whole_egress(), |_| false);
    holds(SNAPSHOT_BUDGETS, &whole_budgets(), |_| false);
    holds(DELTA, &delta(), |_| false);
    holds(DELTA_ERROR_RULES, &delta_ruled(), |_| false);
    holds(USAGE, &usage(), says_nothing);
    holds(USAGE_REUSED, &reused(), says_nothing);
    holds(USAGE_ERROR_RULE, &ruled(), says_nothing);
    holds(USAGE_DIRECT, &direct(), says_nothing);
    holds(USAGE_ADMITTED, &admitted(), says_nothing);
    holds(NODE_QUOTA, &NodeBeat { quota_epoch: Some(3), ..node_beat("node-1") }, |_| false);
    holds(NODE, &node_beat("node-1"), |_| false);
    let holding = NodeBeat {
        quota_epoch: Some(3),
        budget_holds: Some(2),
        budget_held: Some(NanoUsd(1_500_000_000)),
        ..node_beat("node-1")
    };
    holds(NODE_HOLDS, &holding, |_| false);
    let ahead = NodeBeat { budget_escrowed: Some(NanoUsd(500_000_000)), ..holding };
    holds(NODE_ESCROW, &ahead, |_| false);
    let keeper = NodeBeat {
        quota_epoch: Some(3),
        journal_root: Some("01a0c8a5-2c00-7000-8000-000000000001".to_owned()),
        journals: Some(vec![journal(1)]),
        journals_there: Some(vec![journal(1), journal(2)]),
        journals_adopted: Some(vec![journal(2)]),
        scanned_at: Some(UnixMillis(1_790_000_000_001)),
        ..node_beat("node-1")
    };
    holds(NODE_CUSTODY, &keeper, |_| false);
    let [half_open, open, closed] = circuits();
    let [was_half_open, was_open, was_closed]: [&RawValue; 3] = serde_json::from_str(CIRCUIT).unwrap();
    holds(was_half_open.get(), &half_open, |_| false);
    holds(was_open.get(), &open, |_| false);
    holds(was_closed.get(), &closed, |_| false);
    holds(IN_FLIGHT, &told(), |_| false);
    holds(SESSION, &active_session(1).doc, |_| false);
    let key = SessionKey::from_bytes(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef_u128.to_be_bytes());
    let (provider_id, identity) = (ProviderId(7), Identity(0xc65e_5d89_ee33_e4d8));
    let generation = 1_790_000_000_000_000;
    holds(SESSION_MOVED, &NewsDoc::Moved { key, provider_id, identity, generation }, |_| false);
    holds(SESSION_ENDED, &NewsDoc::Ended { key, generation }, |_| false);
}

/// The document says today what it said then, whatever a later release adds to it; and what this release writes has
/// every field of it, so that its own readers find what they know, but for what `may_miss`.
fn holds<T: Serialize + DeserializeOwned + PartialEq + Debug>(
    recorded: &str,
    today: &T,
    may_miss: fn(&Value) -> bool,
) {
    assert_eq!(&serde_json::from_str::<T>(recorded).unwrap(), today);
    let mut later: Value = serde_json::from_str(recorded).unwrap();
    add_unknown(&mut later);
    assert_eq!(&serde_json::from_value::<T>(later).unwrap(), today);
    let (then, now) = (serde_json::from_str(recorded).unwrap(), serde_json::to_value(today).unwrap());
    assert_has_all(&then, &now, "", may_miss);
}

/// What a file of hexadecimal digits says.
pub(super) fn bytes_of(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// As a later release would write it. Not where keys are data: what is there is all that is meant.
fn add_unknown(value: &mut Value) {
    match value {
        Value::Object(map) => {
            let is_data = map.keys().any(|key| key.starts_with("model-") || key.starts_with("group-"));
            map.values_mut().for_each(add_unknown);
            if !is_data {
                map.insert("of_a_later_release".to_owned(), Value::Object(Map::new()));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(add_unknown),
        _ => {}
    }
}

fn assert_has_all(then: &Value, now: &Value, path: &str, may_miss: fn(&Value) -> bool) {
    match (then, now) {
        (Value::Object(then), Value::Object(now)) => {
            for (key, value) in then {
                match now.get(key) {
                    Some(found) => assert_has_all(value, found, &format!("{path}/{key}"), may_miss),
                    None => assert!(may_miss(value), "{path}/{key} is not written any more"),
                }
            }
        }
        (Value::Array(then), Value::Array(now)) => {
            assert_eq!(then.len(), now.len(), "{path}");
            then.iter().zip(now).for_each(|(then, now)| assert_has_all(then, now, path, may_miss));
        }
        (then, now) => assert_eq!(then, now, "{path}"),
    }
}

/// Is this what readers of usage take a missing field for?
fn says_nothing(value: &Value) -> bool {
    matches!(value, Value::Null | Value::Bool(false)) || value.as_u64() == Some(0)
}

fn whole() -> Snapshot {
    let mut made = snapshot(vec![provider(1), provider(2)]);
    made.revision = Revision(812);
    let rates =
        Rates { input: Some(PicoUsd(3_000_000)), output: Some(PicoUsd(15_000_000)), ..Rates::default() };
    made.core.prices.insert("model-1".to_owned(), ModelPrice { base: rates, ..ModelPrice::default() });
    made.principals.users[0].expires_at_ms = Some(UnixMillis(1_900_000_000_000));
    made.principals.users[0].allowed_models = vec!["claude-sonnet-4-5".to_owned()];
    made.principals.keys.push(key_doc(2, 1));
    made
}

fn whole_routing() -> Snapshot {
    let mut made = whole();
    let provider = &mut made.core.providers[0];
    provider.group_priorities.insert("group-1".to_owned(), 3);
    provider.active_time = ActiveTime::parse("22:00", "06:00").ok();
    provider.allowed_clients = vec![ClientPattern::new("claude-code")];
    provider.blocked_clients = vec![ClientPattern::new("curl*")];
    made.core.settings.timezone = Zone::parse("Europe/Berlin").unwrap();
    made.principals.users[0].allowed_clients = vec![ClientPattern::new("codex-cli")];
    made.principals.users[0].blocked_clients = vec![ClientPattern::new("curl")];
    made
}

fn whole_ruled() -> Snapshot {
    let mut made = whole();
    let replaced = ErrorRuleDoc {
        match_type: "regex".to_owned(),
        category: "prompt_limit".to_owned(),
        priority: -3,
        override_response: Some(
            r#"{"error":{"message":"Start anew.","type":"invalid_request_error"}}"#.to_owned(),
        ),
        override_status_code: Some(413),
        ..error_rule(7, "prompt is too long")
    };
    made.core.error_rules = vec![replaced, error_rule(8, "Input is too long")];
    made
}

fn delta_ruled() -> Delta {
    let old = whole_ruled();
    let mut new = old.clone();
    new.revision = Revision(813);
    new.core.error_rules.remove(0);
    between(&old, &new)
}

fn whole_egress() -> Snapshot {
    let mut made = whole();
    made.core.providers[0].egress = EgressSettings {
        proxy_url: Some("http://user@proxy.example:8080".to_owned()),
        proxy_password: Some(Sealed("v1.544e62ce.x".to_owned())),
        proxy_fallback_to_direct: true,
        ca_certificate: Some("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n".to_owned()),
    };
    made
}

fn whole_budgets() -> Snapshot {
    let mut made = whole();
    let limits = Limits {
        five_hours: Some(NanoUsd(1_500_000_000)),
        five_hours_mode: FiveHoursMode::Fixed,
        daily: Some(NanoUsd(2_000_000_000)),
        daily_mode: DailyMode::Rolling,
        daily_reset_time: WallTime::parse("08:30").unwrap(),
        weekly: Some(NanoUsd(3_000_000_000)),
        monthly: Some(NanoUsd(4_000_000_000)),
        total: Some(NanoUsd(5_000_000_000)),
        requests_per_minute: Some(60),
        concurrent_sessions: Some(4),
        reset_at: Some(UnixMillis(1_790_000_000_000)),
        five_hours_reset_at: Some(UnixMillis(1_790_000_000_001)),
    };
    let user = &mut made.principals.users[0];
    (user.limits, user.budget_generation) = (limits.clone(), 2);
    user.quota_reservation = Some(QuotaReservation::Strict);
    made.principals.keys[0].limits = Limits { total: Some(NanoUsd(7)), ..Limits::default() };
    (made.core.providers[0].limits, made.core.providers[0].budget_generation) = (limits, 1);
    made.core.settings.quota_reservation = QuotaReservation::Strict;
    made
}

fn admitted() -> UsageRecord {
    let mut made = usage();
    made.request.admitted_at = Some(UnixMillis(1_790_000_000_007));
    made.attempts[0].admitted_at = Some(UnixMillis(1_790_000_000_008));
    made
}

fn delta() -> Delta {
    let old = whole();
    let mut new = old.clone();
    new.revision = Revision(813);
    new.core.providers[0].is_enabled = false;
    new.core.groups[0].name = "renamed".to_owned();
    new.core.prices.insert("model-2".to_owned(), ModelPrice::default());
    new.core.settings.billing_model_source = crate::model::BillingModelSource::Redirected;
    new.principals.users = vec![user_doc(2)];
    new.principals.keys.remove(0);
    new.principals.keys[0].is_enabled = false;
    between(&old, &new)
}

fn told() -> InFlight {
    let mut made = in_flight(1_790_000_002_500, [7]);
    (made.requests[0].provider_id, made.requests[0].attempt) = (Some(ProviderId(3)), 2);
    made.left_out = 4;
    made
}

fn usage() -> UsageRecord {
    let mut made = usage_record(7);
    made.attempts = vec![AttemptEntry {
        attempt: 1,
        provider_id: ProviderId(1),
        upstream_model: Some("claude-sonnet-4-5".to_owned()),
        outcome: Outcome::Served,
        usage: TokenUsage { input_tokens: 10, output_tokens: 20, ..TokenUsage::default() },
        cost: CostBreakdown { input: NanoUsd(30), total: NanoUsd(30), ..CostBreakdown::default() },
        flags: UsageFlags { is_estimate: true, ..UsageFlags::default() },
        admitted_at: None,
        held: NanoUsd(0),
        is_covered: false,
    }];
    let excluded =
        vec![Exclusion { reason: "disabled".to_owned(), count: 1, provider_ids: vec![ProviderId(9)] }];
    made.request.decision_chain = DecisionChain {
        revision: Revision(812),
        seed: u64::MAX,
        steps: vec![
            ChainStep::Selected {
                provider_id: ProviderId(1),
                priority: 0,
                candidates: vec![Candidate { provider_id: ProviderId(1), weight: 3 }],
                candidates_left_out: 2,
                excluded: excluded.clone(),
            },
            ChainStep::Attempted {
                attempt: 1,
                provider_id: ProviderId(1),
                result: "served".to_owned(),
                status: Some(200),
                duration_ms: 12,
                error_rule_id: None,
                direct_after: None,
                resends: 0,
            },
            ChainStep::Exhausted { excluded },
            ChainStep::LeftOut { steps: 4 },
        ],
    };
    made
}

fn reused() -> UsageRecord {
    let mut made = usage_record(7);
    let steps = vec![ChainStep::Reused { provider_id: ProviderId(1) }];
    made.request.decision_chain = DecisionChain { revision: Revision(812), seed: 7, steps };
    made.request.session = SessionFacts { session_id: Some("session-1".to_owned()), message_count: Some(3) };
    made
}

fn ruled() -> UsageRecord {
    let mut made = usage_record(7);
    let step = ChainStep::Attempted {
        attempt: 1,
        provider_id: ProviderId(1),
        result: "error_rule".to_owned(),
        status: Some(500),
        duration_ms: 12,
        direct_after: None,
        error_rule_id: Some(ErrorRuleId(7)),
        resends: 0,
    };
    made.request.decision_chain = DecisionChain { revision: Revision(812), seed: 7, steps: vec![step] };
    made
}

fn direct() -> UsageRecord {
    let mut made = usage_record(7);
    let steps = vec![ChainStep::Attempted {
        attempt: 1,
        provider_id: ProviderId(1),
        result: "served".to_owned(),
        status: Some(200),
        duration_ms: 12,
        error_rule_id: None,
        direct_after: Some("proxy_refused".to_owned()),
        resends: 0,
    }];
    made.request.decision_chain = DecisionChain { revision: Revision(812), seed: 7, steps };
    made
}

/// One with everything in it, and the other two states.
fn circuits() -> [CircuitDoc; 3] {
    let at = UnixMillis(1_790_000_000_000);
    let half_open = CircuitDoc {
        version: 1_790_000_000_003,
        generation: 1_790_000_000_002,
        circuit: Circuit::HalfOpen {
            successes: 1,
            permit: Some(Permit {
                owner: "node-1".to_owned(),
                fence: 1_790_000_000_003,
                until: at.plus_ms(60_000),
            }),
        },
        cause: Some(Cause::Due),
        changed_at: Some(at),
        samples: vec![sample(1, Some(502), at), sample(2, None, at)],
        cooldowns: vec![Cooldown {
            kind: CoolKind::RateLimit,
            model: Some("claude-sonnet-4-5".to_owned()),
            until: at.plus_ms(30_000),
            memory_ms: 300_000,
            strikes: 1,
            number: 1_790_000_000_001,
            sample: sample(3, Some(429), at),
        }],
        ..CircuitDoc::fresh(ProviderId(7), Terms { account: 7, ..Terms::default() }, 0)
    };
    let open = CircuitDoc {
        circuit: Circuit::Open { until: at },
        cause: Some(Cause::Failures),
        cooldowns: vec![],
        ..half_open.clone()
    };
    [half_open, open, CircuitDoc::fresh(ProviderId(8), Terms::default(), 0)]
}
