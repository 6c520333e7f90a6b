//! A conversation stays with the provider that has its prompt cache, moves once when that one fails, and not for less.

use crate::harness::{Answer, Hub, claude, upstream, upstream_with};
use bytes::Bytes;
use http_body_util::Full;
use serde_json::json;
use shared::contract::snapshot::Snapshot;
use shared::contract::usage::{ChainStep, UsageRecord};
use shared::ids::Revision;
use shared::memory::MemorySessions;
use shared::model::Provider;
use shared::model::rules::{MatchType, ModelRule, Pattern};
use shared::ports::Publisher;
use shared::testing;
use simulator::{Script, Simulator};
use std::sync::Arc;

const MODEL: &str = "claude-sonnet-4-5";

fn turn(model: &str, number: usize) -> String {
    let messages: Vec<_> = (0..=2 * number)
        .map(|n| json!({"role": if n % 2 == 0 { "user" } else { "assistant" }, "content": format!("{n}")}))
        .collect();
    json!({"model": model, "max_tokens": 16, "messages": messages}).to_string()
}

async fn say(hub: &Hub, session: &str, model: &str, number: usize) -> Answer {
    let request = hub.request("/v1/messages").header("x-claude-code-session-id", session);
    hub.send(request.body(Full::new(Bytes::from(turn(model, number)))).unwrap()).await
}

/// Simulators, and a provider at each, all alike.
async fn pool(count: i64) -> (Vec<Simulator>, Vec<Provider>) {
    let (mut upstreams, mut providers) = (Vec::new(), Vec::new());
    for id in 1..=count {
        let upstream = upstream().await;
        let mut provider = claude(id, &upstream.base_url());
        provider.max_attempts = 1;
        // What fails here must not rest: it is to be asked by whoever would.
        provider.circuit_breaker.failure_threshold = 0;
        providers.push(provider);
        upstreams.push(upstream);
    }
    (upstreams, providers)
}

fn served_by(record: &UsageRecord) -> i64 {
    record.request.provider_id.unwrap().0
}

/// Who served each request of a hub so far, in the order in which they ended.
async fn who(hub: &Hub, count: usize) -> Vec<i64> {
    hub.records(count).await.iter().map(served_by).collect()
}

#[tokio::test]
async fn a_session_keeps_its_provider_over_two_hundred_turns_on_two_gateways() {
    let (upstreams, providers) = pool(5).await;
    let sessions = Arc::new(MemorySessions::new(300_000, gateway::now));
    let snapshot = testing::snapshot(providers);
    let start = |sessions: MemorySessions| Hub::start_beside(snapshot.clone(), Arc::new(sessions), |_| {});
    let hubs = [start(sessions.another()).await, start(sessions.another()).await];
    assert_eq!(say(&hubs[0], "session-one", MODEL, 0).await.status, 200);
    let home = who(&hubs[0], 1).await[0];
    let mut edited: Snapshot = snapshot.clone();
    for number in 1..200 {
        // Others fail and recover, and are edited: that concerns nobody here.
        let other = &upstreams[number % 5];
        if i64::try_from(number % 5).unwrap() + 1 != home {
            other.set_script(if number % 2 == 0 { Script::default() } else { Script::failing(500) });
        }
        if number % 20 == 0 {
            edited.revision = Revision(edited.revision.0 + 1);
            for provider in &mut edited.core.providers {
                provider.weight = 1 + u32::try_from(number).unwrap() % 7;
                provider.name = format!("renamed {number}");
            }
            for hub in &hubs {
                hub.feed.publish(edited.clone()).await.unwrap();
            }
        }
        assert_eq!(say(&hubs[number % 2], "session-one", MODEL, number).await.status, 200);
    }
    for hub in &hubs {
        let records = hub.records(100).await;
        assert!(records.iter().all(|record| served_by(record) == home));
        let session = records[50].request.session.session_id.as_deref();
        assert_eq!(session, Some("session-one"));
        let first = &records[50].request.decision_chain.steps[0];
        assert!(matches!(first, ChainStep::Reused { provider_id } if provider_id.0 == home), "{first:?}");
    }
}

#[tokio::test]
async fn a_failover_moves_a_session_once_and_recovery_does_not_bring_it_back() {
    let (upstreams, providers) = pool(3).await;
    let hub = Hub::start(providers).await;
    assert_eq!(say(&hub, "session-one", MODEL, 0).await.status, 200);
    let first = who(&hub, 1).await[0];
    let broken = &upstreams[usize::try_from(first - 1).unwrap()];
    broken.set_script(Script::failing(500));
    assert_eq!(say(&hub, "session-one", MODEL, 1).await.status, 200);
    broken.set_script(Script::default());
    for number in 2..12 {
        assert_eq!(say(&hub, "session-one", MODEL, number).await.status, 200);
    }
    let who = who(&hub, 12).await;
    assert_ne!(who[1], first);
    assert!(who[1..].iter().all(|id| *id == who[1]), "{who:?}");
}

#[tokio::test]
async fn an_overload_spills_a_turn_and_moves_nothing() {
    let (upstreams, providers) = pool(4).await;
    let hub = Hub::start(providers).await;
    assert_eq!(say(&hub, "session-one", MODEL, 0).await.status, 200);
    let home = who(&hub, 1).await[0];
    let busy = &upstreams[usize::try_from(home - 1).unwrap()];
    busy.set_script(Script::failing(529));
    for number in 1..4 {
        assert_eq!(say(&hub, "session-one", MODEL, number).await.status, 200);
    }
    busy.set_script(Script::default());
    for number in 4..8 {
        assert_eq!(say(&hub, "session-one", MODEL, number).await.status, 200);
    }
    let who = who(&hub, 8).await;
    assert!(who[1] != home && who[1..4].iter().all(|id| *id == who[1]), "the same other one: {who:?}");
    assert!(who[4..].iter().all(|id| *id == home), "back at once: {who:?}");
}

#[tokio::test]
async fn a_model_that_its_provider_does_not_serve_does_not_take_the_session_along() {
    let good = upstream_with(Script::default()).await;
    let mut big = claude(1, &good.base_url());
    big.allowed_models = vec![ModelRule(Pattern::new(MatchType::Exact, MODEL).unwrap())];
    let mut small = claude(2, &good.base_url());
    small.priority = 1;
    let hub = Hub::start(vec![big, small]).await;
    for (number, model) in [MODEL, "claude-haiku-4-5", MODEL, "claude-haiku-4-5", MODEL].iter().enumerate() {
        assert_eq!(say(&hub, "session-one", model, number).await.status, 200);
    }
    assert_eq!(who(&hub, 5).await, [1, 2, 1, 2, 1]);
}

#[tokio::test]
async fn conversations_without_an_id_are_told_apart_by_what_they_begin_with() {
    let (_upstreams, providers) = pool(5).await;
    let hub = Hub::start(providers).await;
    for number in 0..10 {
        let body = turn(MODEL, number);
        assert_eq!(hub.post("/v1/messages", body).await.status, 200);
    }
    let records = hub.records(10).await;
    let home = served_by(&records[0]);
    assert!(records.iter().all(|record| served_by(record) == home));
    assert!(records[9].request.session.session_id.as_deref().unwrap().starts_with("content:"));
}
