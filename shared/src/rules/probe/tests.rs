use super::*;
use crate::contract::breaker::{Mark, Pass, PermitAsk, Taken, Terms};
use crate::ids::ProviderId;
use crate::rules::breaker::{after_ask, after_report, probed};
use crate::testing::{provider, report, sample};
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use serde_json::json;

const OPENED: UnixMillis = UnixMillis(1_790_000_000_000);
const INTERVAL_MS: u64 = 10_000;
const OPEN_MS: u64 = 1_800_000;

fn at(ms: u64) -> UnixMillis {
    OPENED.plus_ms(ms)
}

/// Opened by one failure.
fn open() -> CircuitDoc {
    let terms =
        Terms { failure_threshold: 1, open_duration_ms: OPEN_MS, half_open_success_threshold: 1, account: 0 };
    let doc = CircuitDoc::fresh(ProviderId(1), terms, 0);
    let tripping = crate::contract::breaker::Report { terms, ..report(1, Pass::default(), Mark::Failure) };
    after_report(&doc, &tripping, OPENED, 10).unwrap()
}

fn ring(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("node-{n}")).collect()
}

fn planned(doc: &CircuitDoc, ring: &[String], node: &str, now: UnixMillis, seed: u64) -> Plan {
    let facts = Facts { doc, interval_ms: INTERVAL_MS, ring, node };
    plan(&facts, now, &mut SmallRng::seed_from_u64(seed))
}

/// When all of these nodes ask, in the order of time, until it is too late.
fn asked(doc: &CircuitDoc, ring: &[String]) -> Vec<(u64, String)> {
    let opened = doc.changed_at.unwrap();
    let mut all = Vec::new();
    for node in ring {
        let mut now = opened;
        while let Plan::Ask { at, .. } = planned(doc, ring, node, now, all.len() as u64) {
            assert!(at > now);
            all.push((at.since(opened), node.clone()));
            now = at;
        }
    }
    all.sort();
    all
}

/// A probe found it well, and the request that came then failed.
fn in_vain(doc: &CircuitDoc, now: UnixMillis) -> CircuitDoc {
    let Plan::Ask { at, count } = planned(doc, &ring(1), "node-0", now, 1) else { panic!("it is asked") };
    let found = Sample { request_id: None, attempt: count, ..sample(1, Some(200), at) };
    let half_open = probed(doc, doc.generation, &found, at, doc.version + 1).unwrap();
    let ask = PermitAsk {
        provider_id: doc.provider_id,
        terms: doc.terms,
        seen: half_open.version,
        node: "node-0".to_owned(),
        hold_ms: 1_000,
    };
    let (taken, granted) = after_ask(&half_open, &ask, at, half_open.version + 1, |_| true);
    let Taken::Granted(pass) = taken else { panic!("{taken:?}") };
    let failed = crate::contract::breaker::Report { terms: doc.terms, ..report(1, pass, Mark::Failure) };
    let granted = granted.unwrap();
    after_report(&granted, &failed, at, granted.version + 1).unwrap()
}

#[test]
fn one_gateway_asks_once_an_interval_until_the_time_is_over() {
    let asked = asked(&open(), &ring(1));
    let turns: Vec<u64> = asked.iter().map(|(ms, _)| ms / INTERVAL_MS).collect();
    assert_eq!(turns, (1..OPEN_MS / INTERVAL_MS).collect::<Vec<_>>());
    assert!(asked.iter().all(|(ms, _)| ms % INTERVAL_MS <= INTERVAL_MS / 4));
    assert!(asked.iter().any(|(ms, _)| ms % INTERVAL_MS > 0), "not all on the stroke");
}

#[test]
fn what_is_not_open_is_not_asked() {
    let nodes = ring(1);
    let at_end = planned(&open(), &nodes, "node-0", at(OPEN_MS), 1);
    assert_eq!(at_end, Plan::Wait(Why::NotOpen), "requests probe by now");
    let closed = CircuitDoc { circuit: Circuit::Closed { failures: 3 }, ..open() };
    let half_open = CircuitDoc { circuit: Circuit::HalfOpen { successes: 0, permit: None }, ..open() };
    for doc in [closed, half_open] {
        assert_eq!(planned(&doc, &nodes, "node-0", at(1), 1), Plan::Wait(Why::NotOpen));
    }
    assert_eq!(planned(&open(), &nodes, "node-7", at(1), 1), Plan::Wait(Why::NotThere));
    assert_eq!(planned(&open(), &[], "node-0", at(1), 1), Plan::Wait(Why::NotThere));
    let short = CircuitDoc { circuit: Circuit::Open { until: at(9_000) }, ..open() };
    assert_eq!(planned(&short, &nodes, "node-0", at(1), 1), Plan::Wait(Why::TooLate));
}

#[test]
fn each_probe_in_vain_doubles_the_wait_up_to_the_open_duration() {
    let mut doc = open();
    let mut waits = Vec::new();
    loop {
        let opened = doc.changed_at.unwrap();
        let Plan::Ask { at, count } = planned(&doc, &ring(1), "node-0", opened, 7) else { break };
        assert_eq!(count as usize, waits.len() + 1);
        waits.push(at.since(opened));
        doc = in_vain(&doc, opened);
    }
    // 10, 20, 40 … 1 280 s; then its time is over before it would be asked.
    assert_eq!(waits.len(), 8);
    for (n, wait) in waits.iter().enumerate() {
        let wanted = INTERVAL_MS << n;
        assert!((wanted..=wanted * 5 / 4).contains(wait), "{n}: {wait}");
    }
    let opened = doc.changed_at.unwrap();
    assert_eq!(planned(&doc, &ring(1), "node-0", opened, 7), Plan::Wait(Why::TooLate));
}

#[test]
fn a_breaker_that_trips_anew_is_probed_from_the_beginning() {
    let doc = in_vain(&in_vain(&open(), OPENED), OPENED);
    assert_eq!(probes_in_vain(&doc), 2);
    // It recovered meanwhile; its evidence is that of the new failures.
    let closed = CircuitDoc { circuit: Circuit::Closed { failures: 0 }, ..doc };
    let pass = Pass { seen: closed.version, fence: None };
    let failed = crate::contract::breaker::Report { terms: closed.terms, ..report(1, pass, Mark::Failure) };
    let tripped = after_report(&closed, &failed, at(50_000), closed.version + 1).unwrap();
    assert_eq!(probes_in_vain(&tripped), 0);
    assert!(matches!(planned(&tripped, &ring(1), "node-0", at(50_000), 1), Plan::Ask { count: 1, .. }));
}

#[test]
fn the_model_is_one_that_the_provider_serves() {
    let asked =
        [Sample { model: Some("asked".to_owned()), ..sample(1, Some(500), OPENED) }, sample(2, None, OPENED)];
    let with = |allowed: serde_json::Value, redirects: serde_json::Value| Provider {
        allowed_models: serde_json::from_value(allowed).unwrap(),
        model_redirects: serde_json::from_value(redirects).unwrap(),
        ..provider(1)
    };
    let rule = |kind: &str, name: &str| json!({ "match_type": kind, "pattern": name });
    let redirect = |kind: &str, name: &str| json!({ "match_type": kind, "source": name, "target": "t" });
    let patterns = json!([rule("prefix", "as")]);
    for (allowed, redirects, wanted) in [
        (json!([rule("prefix", "x"), rule("exact", "named")]), json!([redirect("exact", "other")]), "named"),
        (json!([]), json!([redirect("prefix", "p"), redirect("exact", "source")]), "source"),
        (patterns.clone(), json!([redirect("exact", "not-served")]), "asked"),
        (json!([]), json!([]), "asked"),
        (json!([rule("prefix", "x")]), json!([]), "usual"),
    ] {
        let provider = with(allowed.clone(), redirects);
        assert_eq!(model(&provider, &asked, "usual"), wanted, "{allowed}");
    }
    assert_eq!(model(&with(patterns, json!([])), &[], "usual"), "usual");
}

proptest! {
    /// However many gateways there are, the provider is asked once a turn.
    #[test]
    fn a_fleet_asks_as_often_as_one_gateway(nodes in 1_usize..12, vain in 0_u32..4, id in 1_i64..1_000) {
        let mut doc = CircuitDoc { provider_id: ProviderId(id), ..open() };
        for _ in 0..vain {
            doc = in_vain(&doc, doc.changed_at.unwrap());
        }
        let ring = ring(nodes);
        let wait_ms = INTERVAL_MS << vain;
        let asked = asked(&doc, &ring);
        let turns: Vec<u64> = asked.iter().map(|(ms, _)| ms / wait_ms).collect();
        // The last turn may be too short for what was drawn in it.
        let last = OPEN_MS.div_ceil(wait_ms) - 1;
        let all: Vec<u64> = (1..=last).collect();
        prop_assert!(turns == all || turns[..] == all[..all.len() - 1], "{turns:?}");
        let holders: std::collections::BTreeSet<&String> = asked.iter().map(|(_, node)| node).collect();
        prop_assert_eq!(holders.len(), nodes.min(asked.len()));
    }
}
