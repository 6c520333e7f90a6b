//! The breaker's scripts: one for each kind of word, all with the same head.

use super::ScriptCall;
use crate::contract::breaker::{CIRCUIT_KEEP_MS, CircuitDoc, MAX_HOLD_MS, Order, PermitAsk, Report};
use crate::contract::keys;
use crate::ports::Since;
use crate::rules::breaker::MAX_SAMPLES;
use crate::rules::cooldown::{MAX_COOLDOWNS, SAME_MOMENT_MS};
use bytes::Bytes;

macro_rules! script {
    ($own:literal) => {
        concat!(include_str!("../lua/breaker_common_v1.lua"), include_str!($own))
    };
}

/// Takes a report: [`report`].
pub const BREAKER_REPORT: &str = script!("../lua/breaker_report_v1.lua");

/// Gives the permit to probe: [`take_permit`].
pub const BREAKER_PERMIT: &str = script!("../lua/breaker_permit_v1.lua");

/// Says what changed: [`read`].
pub const BREAKER_READ: &str = script!("../lua/breaker_read_v1.lua");

/// A node starts or goes: [`join`], [`leave`].
pub const BREAKER_NODE: &str = script!("../lua/breaker_node_v1.lua");

/// Resets and early probes: [`order`].
pub const BREAKER_ORDER: &str = script!("../lua/breaker_order_v1.lua");

/// Takes what a node saw by itself: [`merge`].
pub const BREAKER_MERGE: &str = script!("../lua/breaker_merge_v1.lua");

/// How an attempt ended.
pub fn report(report: &Report) -> Result<ScriptCall, serde_json::Error> {
    let Report { provider_id, terms, pass, mark, cool, sample } = report;
    let mut args = vec![
        provider_id.to_string().into(),
        serde_json::to_vec(terms)?.into(),
        pass.seen.to_string().into(),
        pass.fence.map(|fence| fence.to_string()).unwrap_or_default().into(),
        Bytes::from_static(mark.label().as_bytes()),
        serde_json::to_vec(sample)?.into(),
    ];
    match cool {
        Some(ask) => {
            let times = [ask.first_ms, ask.longest_ms, ask.memory_ms, SAME_MOMENT_MS];
            args.push(Bytes::from_static(ask.kind.label().as_bytes()));
            args.push(ask.model.clone().unwrap_or_default().into());
            args.extend(times.map(|ms| Bytes::from(ms.to_string())));
        }
        None => args.push(Bytes::new()),
    }
    Ok(call(args))
}

/// Somebody wants to probe.
pub fn take_permit(ask: &PermitAsk) -> Result<ScriptCall, serde_json::Error> {
    Ok(call(vec![
        ask.provider_id.to_string().into(),
        serde_json::to_vec(&ask.terms)?.into(),
        ask.seen.to_string().into(),
        ask.node.clone().into(),
        ask.hold_ms.min(MAX_HOLD_MS).to_string().into(),
    ]))
}

/// What changed since then.
#[must_use]
pub fn read(node: Option<&str>, since: Since) -> ScriptCall {
    let node = node.unwrap_or_default().to_owned();
    let texts = [node, since.born.to_string(), since.upto.to_string(), CIRCUIT_KEEP_MS.to_string()];
    call(texts.map(Bytes::from).into())
}

/// A node starts.
#[must_use]
pub fn join(node: &str) -> ScriptCall {
    call(vec![Bytes::from_static(b"join"), node.to_owned().into()])
}

/// A node goes.
#[must_use]
pub fn leave(node: &str) -> ScriptCall {
    call(vec![Bytes::from_static(b"leave"), node.to_owned().into()])
}

/// What is done to breakers apart from attempts.
pub fn order(order: &Order) -> Result<ScriptCall, serde_json::Error> {
    Ok(call(match order {
        Order::ResetAll => vec![Bytes::from_static(b"reset_all")],
        Order::Reset { provider_id, terms, cause, only_if } => vec![
            Bytes::from_static(b"reset"),
            provider_id.to_string().into(),
            serde_json::to_vec(terms)?.into(),
            Bytes::from_static(cause.label().as_bytes()),
            only_if.map(|generation| generation.to_string()).unwrap_or_default().into(),
        ],
        Order::Probed { provider_id, generation, sample } => vec![
            Bytes::from_static(b"probed"),
            provider_id.to_string().into(),
            serde_json::to_vec(sample)?.into(),
            generation.to_string().into(),
        ],
    }))
}

/// What a node saw by itself.
pub fn merge(local: &[CircuitDoc]) -> Result<ScriptCall, serde_json::Error> {
    let docs: Result<Vec<Bytes>, _> = local.iter().map(|doc| doc.to_json().map(Bytes::from)).collect();
    Ok(call(docs?))
}

fn call(args: Vec<Bytes>) -> ScriptCall {
    let numbers = [keys::NODE_TTL_SECS * 1_000, MAX_SAMPLES as u64, MAX_COOLDOWNS as u64];
    let head = std::iter::once(keys::circuit_changed()).chain(numbers.map(|number| number.to_string()));
    ScriptCall {
        keys: vec![
            keys::circuit_docs(),
            keys::circuit_versions(),
            keys::circuit_head(),
            keys::circuit_nodes(),
            keys::circuit_permits(),
        ],
        args: head.map(Bytes::from).chain(args).collect(),
    }
}
