use super::*;
use crate::contract::recorded::bytes_of;
use crate::contract::usage::{
    AttemptEntry, Candidate, ChainStep, CostBreakdown, Exclusion, Outcome, TokenUsage, UsageFlags,
};
use crate::ids::ErrorRuleId;
use crate::model::price::Factors;
use crate::money::Multiplier;
use crate::testing::usage_record;
use serde_json::Value;

/// Every field says something.
fn full() -> UsageRecord {
    let text = |text: &str| Some(text.to_owned());
    let mut record = usage_record(7);
    let request = &mut record.request;
    request.admitted_at = Some(UnixMillis(5));
    request.held = NanoUsd(6);
    request.caller.client_ip = text("203.0.113.7");
    request.caller.client = text("claude-cli/2.0.14 (external, cli)");
    request.provider_id = Some(ProviderId(2));
    request.error = text("upstream_cut");
    request.stop_reason = text("end_turn");
    request.upstream_request_id = text("req_1");
    request.timing = Timing { first_byte_ms: Some(1), first_content_ms: Some(2), duration_ms: 300 };
    request.session = SessionFacts { session_id: text("s-1"), message_count: Some(3) };
    request.decision_chain = DecisionChain { revision: Revision(812), seed: u64::MAX, steps: steps() };
    record.attempts = vec![attempt(), AttemptEntry { attempt: 2, outcome: Outcome::Served, ..attempt() }];
    record
}

fn steps() -> Vec<ChainStep> {
    let excluded =
        vec![Exclusion { reason: "disabled".to_owned(), count: 2, provider_ids: vec![ProviderId(9)] }];
    vec![
        ChainStep::Selected {
            provider_id: ProviderId(1),
            priority: 3,
            candidates: vec![Candidate { provider_id: ProviderId(1), weight: 4 }],
            candidates_left_out: 5,
            excluded: excluded.clone(),
        },
        ChainStep::Reused { provider_id: ProviderId(2) },
        ChainStep::Exhausted { excluded },
        ChainStep::Attempted {
            attempt: 1,
            provider_id: ProviderId(1),
            result: "server_error".to_owned(),
            status: Some(500),
            duration_ms: 70_000,
            error_rule_id: Some(ErrorRuleId(8)),
            direct_after: Some("proxy_refused".to_owned()),
            resends: 1,
        },
        ChainStep::Stopped { reason: "deadline".to_owned() },
        ChainStep::LeftOut { steps: 4 },
    ]
}

fn attempt() -> AttemptEntry {
    AttemptEntry {
        attempt: 1,
        provider_id: ProviderId(1),
        upstream_model: Some("claude-sonnet-4-5".to_owned()),
        outcome: Outcome::Failed,
        usage: TokenUsage {
            input_tokens: 1,
            cache_write_5m_tokens: 2,
            cache_write_1h_tokens: 3,
            cache_read_tokens: 4,
            output_tokens: 5,
            reasoning_tokens: 6,
            image_input_tokens: 7,
            image_output_tokens: 8,
            web_search_requests: 9,
        },
        cost: CostBreakdown {
            input: NanoUsd(10),
            cache_write_5m: NanoUsd(11),
            cache_write_1h: NanoUsd(12),
            cache_read: NanoUsd(13),
            output: NanoUsd(14),
            fees: NanoUsd(15),
            total: NanoUsd(i64::MAX),
            factors: Factors { provider: Multiplier(16), group: Multiplier(0) },
        },
        flags: UsageFlags {
            is_estimate: true,
            is_unpriced: true,
            is_long_context: true,
            is_priority_tier: true,
            is_fast: true,
            is_us_only: true,
        },
        admitted_at: Some(UnixMillis(17)),
        held: NanoUsd(18),
        is_covered: true,
    }
}

/// As a later release would write it: every map has a name that nobody knows.
fn with_unknown_names(bytes: &[u8]) -> Vec<u8> {
    fn add(value: &mut rmpv::Value) {
        match value {
            rmpv::Value::Map(names) => {
                // A step is a map of one name, the step's.
                let is_step = matches!(names.as_slice(), [(_, rmpv::Value::Map(_))]);
                names.iter_mut().for_each(|(_, value)| add(value));
                if !is_step {
                    names.push(("new".into(), rmpv::Value::Array(vec!["x".into()])));
                }
            }
            rmpv::Value::Array(items) => items.iter_mut().for_each(add),
            _ => {}
        }
    }
    let mut value = rmpv::decode::read_value(&mut &bytes[..]).unwrap();
    add(&mut value);
    let mut later = Vec::new();
    rmpv::encode::write_value(&mut later, &value).unwrap();
    later
}

#[test]
fn every_field_comes_back_also_beside_what_a_later_release_adds() {
    for record in [full(), usage_record(1)] {
        let bytes = record.to_bytes().unwrap();
        assert_eq!(UsageRecord::from_bytes(&bytes).as_ref(), Some(&record));
        assert_eq!(UsageRecord::from_bytes(&with_unknown_names(&bytes)).as_ref(), Some(&record));
        assert_eq!(UsageRecord::id_in(&bytes), Some(record.request.id));
        assert!(bytes.len() * 2 < serde_json::to_vec(&record).unwrap().len());
    }
}

/// Never changed: what a process left is read by those of later releases. A new form is another file beside it.
#[test]
fn a_record_as_the_first_release_wrote_it_is_read() {
    let mut wanted = full();
    // It knew nothing of that.
    wanted.attempts.iter_mut().for_each(|row| row.is_covered = false);
    wanted.request.decision_chain.steps.retain(|step| !matches!(step, ChainStep::Stopped { .. }));
    assert_eq!(UsageRecord::from_bytes(&bytes_of(RECORDED)), Some(wanted));
}

#[test]
fn a_record_that_is_json_is_read_and_what_is_none_is_not_guessed_at() {
    let record = full();
    let mut json = serde_json::to_value(&record).unwrap();
    let read = |json: &Value| UsageRecord::from_bytes(json.to_string().as_bytes());
    assert_eq!(read(&json), Some(record.clone()));
    json["schema"] = (USAGE_SCHEMA + 1).into();
    assert_eq!(read(&json), None);
    let later = UsageRecord { schema: USAGE_SCHEMA + 1, ..record.clone() };
    assert_eq!(UsageRecord::from_bytes(&later.to_bytes().unwrap()), None);
    let bytes = record.to_bytes().unwrap();
    for none in [&bytes[..bytes.len() - 1], &[], b"{}", &[0x80], &[0x91, 1], &[0xde]] {
        assert_eq!(UsageRecord::from_bytes(none), None);
    }
    for nameless in [&bytes[..20], b"{}", &[0xde, 0, 9]] {
        assert_eq!(UsageRecord::id_in(nameless), None);
    }
}

const RECORDED: &str = include_str!("../recorded/end_schema_1.hex");
