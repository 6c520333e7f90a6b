//! A conversation stays with the provider that has its prompt cache, moves once when that one fails, and not for less.

use crate::harness::{Answer, Hub, PATIENCE, claude, upstream, upstream_with};
use bytes::Bytes;
use http_body_util::Full;
use serde_json::json;
use shared::contract::breaker::Circuit;
use shared::contract::snapshot::Snapshot;
use shared::contract::usage::{ChainStep, UsageRecord};
use shared::ids::Revision;
use shared::memory::MemorySessions;
use shared::model::rules::{MatchType, ModelRule, Pattern};
use shared::model::{BreakerSettings, Provider};
use shared::ports::{BreakerStore, Publisher, Since};
use shared::testing;
use simulator::{Ending, Script, Simulator};
use std::sync::Arc;
use tokio::time::Instant;

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

/// The same, and the simulators know whose turns they were.
async fn say_marked(hub: &Hub, session: &str, number: usize) -> Answer {
    let request = hub.request("/v1/messages").header("x-claude-code-session-id", session);
    let request = request.header("x-sim-id", session);
    hub.send(request.body(Full::new(Bytes::from(turn(MODEL, number)))).unwrap()).await
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

/// Two gateways that share their sessions, in front of five providers whose breakers open quickly and are soon over.
struct Pair {
    hubs: [Hub; 2],
    upstreams: Vec<Simulator>,
    snapshot: Snapshot,
    /// Conversations of others so far, of one turn each.
    others: usize,
}

impl Pair {
    async fn start() -> Self {
        let (upstreams, mut providers) = pool(5).await;
        for provider in &mut providers {
            provider.circuit_breaker = BreakerSettings {
                failure_threshold: 2,
                open_duration_ms: 50,
                half_open_success_threshold: 1,
            };
        }
        let snapshot = testing::snapshot(providers);
        let sessions = MemorySessions::new(300_000, gateway::now);
        let start = || Hub::start_beside(snapshot.clone(), Arc::new(sessions.another()), |_| {});
        let hubs = [start().await, start().await];
        Self { hubs, upstreams, snapshot, others: 0 }
    }

    fn upstream(&self, id: i64) -> &Simulator {
        &self.upstreams[usize::try_from(id - 1).unwrap()]
    }

    /// Requests that this one answered with an error.
    fn failed(&self, id: i64) -> u64 {
        self.upstream(id).totals().endings.get(&Ending::Errored).copied().unwrap_or_default()
    }

    /// Others ask each gateway, and are served. None of them was there before, so that any provider may be drawn.
    async fn others_ask(&mut self) {
        for hub in &self.hubs {
            self.others += 1;
            assert_eq!(say(hub, &format!("another-{}", self.others), MODEL, 1).await.status, 200);
        }
    }

    /// Others ask until a provider's breaker is closed at both gateways, or at neither.
    async fn others_ask_until(&mut self, id: i64, is_closed: bool) {
        let until = Instant::now() + PATIENCE;
        while self.is_closed(0, id).await != is_closed || self.is_closed(1, id).await != is_closed {
            assert!(Instant::now() < until, "the breaker of {id} changes in time");
            self.others_ask().await;
        }
    }

    async fn is_closed(&self, hub: usize, id: i64) -> bool {
        let news = self.hubs[hub].breakers.read(None, Since::default()).await.unwrap();
        let doc = news.docs.iter().find(|doc| doc.provider_id.0 == id);
        doc.is_none_or(|doc| matches!(doc.circuit, Circuit::Closed { .. }))
    }

    /// Another revision is in force at both gateways: names, weights and priorities are others, and one provider may be off.
    async fn edit(&mut self, home: i64, off: Option<i64>) {
        self.snapshot.revision = Revision(self.snapshot.revision.0 + 1);
        let number = self.snapshot.revision.0;
        for provider in &mut self.snapshot.core.providers {
            let id = provider.id.0;
            provider.name = format!("renamed {number}");
            provider.weight = 1 + u32::try_from((number + id.unsigned_abs()) % 3).unwrap();
            // Nobody who comes anew is sent to the home half of the time.
            provider.priority = u32::from(id == home && number.is_multiple_of(2));
            provider.is_enabled = Some(id) != off;
        }
        for hub in &self.hubs {
            hub.feed.publish(self.snapshot.clone()).await.unwrap();
        }
    }
}

/// The records of a session at a hub, once there are so many.
async fn turns_of(hub: &Hub, session: &str, count: usize) -> Vec<UsageRecord> {
    let until = Instant::now() + PATIENCE;
    loop {
        let mut records = hub.records(count).await;
        records.retain(|record| record.request.session.session_id.as_deref() == Some(session));
        if records.len() >= count {
            return records;
        }
        assert!(Instant::now() < until, "{count} turns of {session} in time, got {}", records.len());
        tokio::task::yield_now().await;
    }
}

/// In each of twenty phases another provider fails until its breaker is open at both gateways, goes on failing while
/// others find it so, and comes back; all the while somebody edits, and switches a third one off and on.
#[tokio::test]
async fn a_session_keeps_its_provider_over_two_hundred_turns_while_others_fail_and_all_are_edited() {
    let mut pair = Pair::start().await;
    assert_eq!(say_marked(&pair.hubs[0], "session-one", 0).await.status, 200);
    let home = who(&pair.hubs[0], 1).await[0];
    let strangers: Vec<i64> = (1..=5).filter(|id| *id != home).collect();
    let mut number = 1;
    for phase in 0..20 {
        let (broken, off) = (strangers[phase % 4], strangers[(phase + 1) % 4]);
        let before = pair.failed(broken);
        pair.upstream(broken).set_script(Script::failing(500));
        pair.others_ask_until(broken, false).await;
        assert!(pair.failed(broken) >= before + 4, "two failures at each gateway opened its breaker");
        pair.edit(home, Some(off)).await;
        while number < 10 * (phase + 1) {
            pair.others_ask().await;
            assert_eq!(say_marked(&pair.hubs[number % 2], "session-one", number).await.status, 200);
            number += 1;
        }
        pair.edit(home, None).await;
        pair.upstream(broken).set_script(Script::default());
        pair.others_ask_until(broken, true).await;
    }

    assert_eq!(pair.upstream(home).served_marked("session-one").len(), 200);
    for id in strangers {
        assert!(pair.upstream(id).served_marked("session-one").is_empty(), "it never asked {id}");
    }
    for (n, hub) in pair.hubs.iter().enumerate() {
        for (turn, record) in turns_of(hub, "session-one", 100).await.iter().enumerate() {
            assert_eq!(served_by(record), home);
            assert_eq!(record.attempts.len(), 1);
            let first = &record.request.decision_chain.steps[0];
            let is_reused = matches!(first, ChainStep::Reused { provider_id } if provider_id.0 == home);
            assert_eq!(is_reused, (n, turn) != (0, 0), "{first:?}");
        }
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
