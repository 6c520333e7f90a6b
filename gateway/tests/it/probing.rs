//! Smart probing: who is asked while its breaker is open, on which way, and what comes of it.

use crate::egress::behind;
use crate::harness::{Hub, PATIENCE, claude, message, provider, upstream, upstream_with};
use gateway::config::Probing;
use shared::contract::breaker::{Cause, Circuit, CircuitDoc};
use shared::ids::{ProviderId, Revision};
use shared::model::{BreakerSettings, Provider, ProviderType};
use shared::ports::{BreakerStore, Publisher, Since};
use shared::secret::Secret;
use shared::testing;
use simulator::{Ending, FakeSuccess, Hang, RequestFacts, Script, Simulator};
use std::time::Duration;
use testbed::{Proxy, ProxyKind};
use tokio::time::{Instant, timeout};

const INTERVAL_MS: u64 = 200;

async fn probing(providers: Vec<Provider>) -> Hub {
    probing_for(providers, Duration::from_secs(5)).await
}

async fn probing_for(providers: Vec<Provider>, timeout: Duration) -> Hub {
    let probing = Probing { interval: Duration::from_millis(INTERVAL_MS), timeout };
    Hub::start_as(testing::snapshot(providers), |config| config.probing = Some(probing)).await
}

/// Opens at the first failure, for an hour, and closes by one success; asked once a request.
fn touchy(provider: Provider) -> Provider {
    let circuit_breaker =
        BreakerSettings { failure_threshold: 1, open_duration_ms: 3_600_000, half_open_success_threshold: 1 };
    Provider { max_attempts: 1, circuit_breaker, ..provider }
}

/// A touchy one that fails, and one that serves when that one does not.
async fn pair(flaky: &Simulator) -> (Vec<Provider>, Simulator) {
    let good = upstream().await;
    let second = Provider { priority: 1, ..claude(2, &good.base_url()) };
    (vec![touchy(claude(1, &flaky.base_url())), second], good)
}

async fn doc(hub: &Hub, id: i64) -> Option<CircuitDoc> {
    let news = hub.breakers.read(None, Since::default()).await.unwrap();
    news.docs.into_iter().find(|doc| doc.provider_id == ProviderId(id))
}

/// Waits until a provider's breaker is like this.
async fn until(hub: &Hub, id: i64, what: &str, is_so: impl Fn(&CircuitDoc) -> bool) -> CircuitDoc {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(doc) = doc(hub, id).await
            && is_so(&doc)
        {
            return doc;
        }
        assert!(Instant::now() < until, "{what} in time");
        tokio::task::yield_now().await;
    }
}

fn is_open(doc: &CircuitDoc) -> bool {
    matches!(doc.circuit, Circuit::Open { .. })
}

fn is_half_open(doc: &CircuitDoc) -> bool {
    matches!(doc.circuit, Circuit::HalfOpen { .. })
}

/// A request opens the breaker of provider 1; who asked is served by the other.
async fn open(hub: &Hub) -> CircuitDoc {
    assert_eq!(hub.post("/v1/messages", message(false)).await.status, 200);
    until(hub, 1, "it is open", is_open).await
}

/// Posts until the breaker of provider 1 is another one than this; how often.
async fn post_until_moved(hub: &Hub, from: &CircuitDoc) -> (CircuitDoc, usize) {
    let until = Instant::now() + PATIENCE;
    let mut posts = 0;
    loop {
        assert_eq!(hub.post("/v1/messages", message(false)).await.status, 200);
        posts += 1;
        if let Some(doc) = doc(hub, 1).await
            && doc.generation != from.generation
        {
            return (doc, posts);
        }
        assert!(Instant::now() < until, "it moves in time");
    }
}

/// What our own questions were, as they arrived.
fn probes(upstream: &Simulator) -> Vec<RequestFacts> {
    let all = upstream.served().into_iter().map(|served| served.request);
    all.filter(|request| request.body_bytes != message(false).len() as u64).collect()
}

async fn until_probed(upstream: &Simulator, times: usize) {
    let until = Instant::now() + PATIENCE;
    while probes(upstream).len() < times {
        assert!(Instant::now() < until, "{times} probes in time");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_provider_that_mends_comes_back_by_a_probe_and_one_request_and_nothing_is_booked_of_the_probe() {
    let flaky = upstream_with(Script::failing(500)).await;
    let (providers, _good) = pair(&flaky).await;
    let hub = probing(providers).await;
    let opened = open(&hub).await;
    until_probed(&flaky, 2).await;
    assert_eq!(doc(&hub, 1).await.unwrap().generation, opened.generation, "a failed probe changes nothing");
    flaky.set_script(Script::default());
    let probed = until(&hub, 1, "it is half open", is_half_open).await;
    assert_eq!(probed.cause, Some(Cause::Probed));
    let asked = probes(&flaky).len();
    let (closed, posts) = post_until_moved(&hub, &probed).await;
    assert_eq!((closed.cause, closed.circuit), (Some(Cause::Recovered), Circuit::Closed { failures: 0 }));
    assert_eq!(probes(&flaky).len(), asked, "who is not open is not probed");
    let probe = probes(&flaky).pop().unwrap();
    assert!(probe.is_stream && probe.header("x-api-key").is_some(), "{probe:?}");
    assert_eq!(probe.model.as_deref(), Some("claude-sonnet-4-5"), "what seats asked it for");
    // Probes would be in the books before the last request.
    assert_eq!(hub.post("/v1/messages", message(false)).await.status, 200);
    let records = hub.records(posts + 2).await;
    assert_eq!(records.len(), posts + 2);
    let booked: usize = records.iter().map(|record| record.attempts.len()).sum();
    assert!(booked <= posts + 3, "one each, and perhaps the failed one: {booked}");
    assert_eq!(hub.figure("cch_breaker_probes_total{result=\"ok\"}").await, 1);
    assert!(hub.figure("cch_breaker_probes_total{result=\"server_error\"}").await >= 1);
}

#[tokio::test]
async fn without_being_told_to_nobody_is_probed() {
    let (told, untold) =
        (upstream_with(Script::failing(500)).await, upstream_with(Script::failing(500)).await);
    let ((one, _good), (other, _other_good)) = (pair(&told).await, pair(&untold).await);
    let (hub, plain) = (probing(one).await, Hub::start(other).await);
    let opened = open(&plain).await;
    untold.set_script(Script::default());
    open(&hub).await;
    until_probed(&told, 3).await;
    assert_eq!(probes(&untold).len(), 0);
    assert_eq!(doc(&plain, 1).await, Some(opened));
}

#[tokio::test]
async fn a_provider_that_answers_nothing_but_probes_is_left_alone_for_longer_each_time() {
    // Requests and probes take turns from the first request on.
    let (fails, answers) = (Script::failing(500), Script::default());
    let flaky = upstream().await;
    flaky.set_sequence((0..8).flat_map(|_| [fails.clone(), answers.clone()]));
    let (providers, _good) = pair(&flaky).await;
    let hub = probing(providers).await;
    let mut opened = open(&hub).await;
    for n in 0..3_u32 {
        let probed = until(&hub, 1, "it is half open", is_half_open).await;
        let found = probed.samples.last().unwrap();
        assert_eq!((found.request_id, found.attempt, found.status), (None, n + 1, Some(200)));
        let waited = found.at.since(opened.changed_at.unwrap());
        assert!(waited >= INTERVAL_MS << n, "{n}: {waited} ms");
        (opened, _) = post_until_moved(&hub, &probed).await;
        assert_eq!((is_open(&opened), opened.cause), (true, Some(Cause::ProbeFailed)));
    }
}

#[tokio::test]
async fn a_success_that_is_none_wakes_nobody() {
    for fake in [FakeSuccess::ErrorJson, FakeSuccess::Html, FakeSuccess::Empty, FakeSuccess::EmptyStream] {
        let flaky = upstream_with(Script::failing(500)).await;
        let (providers, _good) = pair(&flaky).await;
        let hub = probing(providers).await;
        let opened = open(&hub).await;
        flaky.set_script(Script { fake_success: Some(fake), ..Script::default() });
        // The first may have met the failure still.
        until_probed(&flaky, 3).await;
        assert_eq!(doc(&hub, 1).await, Some(opened), "{fake:?}");
        assert!(hub.figure("cch_breaker_probes_total{result=\"fake_success\"}").await >= 1, "{fake:?}");
        assert_eq!(hub.figure("cch_breaker_probes_total{result=\"ok\"}").await, 0);
    }
}

#[tokio::test]
async fn a_refused_account_is_probed_and_at_once_asked_again_when_it_is_accepted() {
    let flaky = upstream_with(Script::failing(401)).await;
    let (providers, _good) = pair(&flaky).await;
    let hub = probing(providers).await;
    let opened = open(&hub).await;
    assert_eq!(opened.cooldowns.len(), 1, "it rests for minutes besides");
    flaky.set_script(Script::default());
    let probed = until(&hub, 1, "it is half open", is_half_open).await;
    assert!(probed.cooldowns.is_empty());
    let (closed, _) = post_until_moved(&hub, &probed).await;
    assert_eq!(closed.cause, Some(Cause::Recovered));
}

#[tokio::test]
async fn a_probe_goes_the_way_of_requests_with_their_headers_for_the_model_that_is_configured() {
    let flaky = upstream_with(Script::failing(500)).await;
    let proxy = Proxy::start(ProxyKind::Http, Some("user:right")).await;
    proxy.knows("upstream.test:81", flaky.addr());
    let place = Provider::header_place(ProviderId(1), "x-relay");
    let sealed = testing::hub_key().seal(&Secret::new("token".to_owned()), &place, [9; 12]).unwrap();
    let redirect = r#"[{"match_type": "exact", "source": "claude-sonnet-4-5", "target": "relayed"}]"#;
    let through = Provider {
        custom_headers: vec![("x-relay".to_owned(), sealed)],
        model_redirects: serde_json::from_str(redirect).unwrap(),
        ..touchy(claude(1, "http://upstream.test:81"))
    };
    let good = upstream().await;
    let second = Provider { priority: 1, ..claude(2, &good.base_url()) };
    let hub = probing(vec![behind(through, &proxy.url("user:right")), second]).await;
    open(&hub).await;
    flaky.set_script(Script::default());
    until(&hub, 1, "it is half open", is_half_open).await;
    let probe = probes(&flaky).pop().unwrap();
    assert_eq!((probe.model.as_deref(), probe.header("x-relay")), (Some("relayed"), Some("token")));
    assert!(proxy.asked().iter().all(|asked| asked.target == "upstream.test:81"));
}

#[tokio::test]
async fn each_type_is_asked_in_its_own_way() {
    let good = r#""messages":[{"role":"user","content":"hi"}]}"#;
    for (of, path, body) in [
        (ProviderType::ClaudeAuth, "/v1/messages", format!(r#"{{"model":"m","max_tokens":9,{good}"#)),
        (ProviderType::Codex, "/v1/responses", r#"{"model":"m","input":"hi"}"#.to_owned()),
        (ProviderType::OpenaiCompatible, "/v1/chat/completions", format!(r#"{{"model":"m",{good}"#)),
        (
            ProviderType::Gemini,
            "/v1beta/models/m:generateContent",
            r#"{"contents":[{"parts":[{"text":"hi"}]}]}"#.to_owned(),
        ),
    ] {
        let flaky = upstream_with(Script::failing(500)).await;
        let hub = probing(vec![touchy(provider(1, of, &flaky.base_url()))]).await;
        assert_eq!(hub.post(path, body).await.status, 503, "{path}");
        until(&hub, 1, "it is open", is_open).await;
        flaky.set_script(Script::default());
        until(&hub, 1, path, is_half_open).await;
        let probe = flaky.served().pop().unwrap().request;
        assert_eq!((probe.is_stream, probe.model.as_deref()), (true, Some("m")), "{path}");
    }
}

#[tokio::test]
async fn who_is_switched_off_is_not_probed_any_more() {
    let (one, other) = (upstream_with(Script::failing(500)).await, upstream_with(Script::failing(500)).await);
    let mut providers = vec![touchy(claude(1, &one.base_url())), touchy(claude(2, &other.base_url()))];
    let hub = probing(providers.clone()).await;
    assert_eq!(hub.post("/v1/messages", message(false)).await.status, 503);
    for id in [1, 2] {
        until(&hub, id, "it is open", is_open).await;
    }
    until_probed(&one, 1).await;
    providers[0].is_enabled = false;
    let mut snapshot = testing::snapshot(providers);
    snapshot.revision = Revision(snapshot.revision.0 + 1);
    hub.feed.publish(snapshot).await.unwrap();
    until(&hub, 1, "it is void", |doc| doc.cause == Some(Cause::TermsChanged)).await;
    // What was out then has arrived when the other was asked once more.
    until_probed(&other, probes(&other).len() + 1).await;
    let asked = probes(&one).len();
    until_probed(&other, probes(&other).len() + 3).await;
    assert_eq!(probes(&one).len(), asked);
}

#[tokio::test]
async fn eight_are_asked_at_a_time_and_a_stop_waits_for_none() {
    let (silent, clock) =
        (upstream_with(Script::failing(500)).await, upstream_with(Script::failing(500)).await);
    let providers = (1..=10).map(|id| touchy(claude(id, &silent.base_url()))).collect();
    let hub = probing_for(providers, Duration::from_secs(600)).await;
    // One after the other fails the request.
    assert_eq!(hub.post("/v1/messages", message(false)).await.status, 503);
    silent.set_script(Script::hanging(Hang::BeforeHead));
    for id in 1..=10 {
        until(&hub, id, "it is open", is_open).await;
    }
    let ticking = probing(vec![touchy(claude(1, &clock.base_url()))]).await;
    assert_eq!(ticking.post("/v1/messages", message(false)).await.status, 503);
    let waiting = || silent.served().into_iter().filter(|served| served.answer.ended == Ending::Hung).count();
    let until = Instant::now() + PATIENCE;
    while waiting() < 8 {
        assert!(Instant::now() < until, "eight are asked in time");
        tokio::task::yield_now().await;
    }
    until_probed(&clock, probes(&clock).len() + 5).await;
    assert_eq!(waiting(), 8);
    timeout(PATIENCE, hub.handle.stop()).await.expect("a stop in time");
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_none() {
    let slow = upstream_with(Script::failing(500)).await;
    let (providers, _good) = pair(&slow).await;
    let hub = probing_for(providers, Duration::from_millis(500)).await;
    let opened = open(&hub).await;
    slow.set_script(Script { first_byte_delay_ms: 60_000, ..Script::default() });
    let until = Instant::now() + PATIENCE;
    while hub.figure("cch_breaker_probes_total{result=\"timeout\"}").await < 2 {
        assert!(Instant::now() < until, "two time out in time");
    }
    assert_eq!(doc(&hub, 1).await, Some(opened));
}
