//! Breakers and cool-downs of real requests: who is not asked any more, for how long, and what the chain says of it.

use crate::harness::{Answer, Hub, PATIENCE, claude, message, provider, upstream, upstream_with};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use shared::contract::breaker::{Circuit, CircuitDoc, CoolKind};
use shared::contract::usage::{ChainStep, UsageRecord};
use shared::ids::ProviderId;
use shared::model::{BreakerSettings, Provider, ProviderType};
use shared::ports::{BreakerStore, Since};
use shared::testing;
use simulator::{Script, Simulator};
use tokio::time::Instant;

/// A provider that is asked once a request, and one that serves when that one does not.
async fn pair(first: &Simulator) -> (Provider, Provider, Simulator) {
    let good = upstream_with(Script::default()).await;
    let mut one = claude(1, &first.base_url());
    one.max_attempts = 1;
    let mut two = claude(2, &good.base_url());
    two.priority = 1;
    (one, two, good)
}

fn asked(upstream: &Simulator) -> u64 {
    upstream.totals().requests
}

/// Sends requests, all of which must be served, until one passes the first provider by; how often it was asked.
async fn until_passed_by(hub: &Hub, first: &Simulator) -> u64 {
    let until = Instant::now() + PATIENCE;
    loop {
        let before = asked(first);
        assert_eq!(hub.post("/v1/messages", message(false)).await.status, 200);
        if asked(first) == before {
            return before;
        }
        assert!(Instant::now() < until, "it is passed by in time");
    }
}

/// Why the first provider was not asked, by the newest record.
async fn reasons(hub: &Hub, count: usize) -> Vec<String> {
    let newest: UsageRecord = hub.records(count).await.pop().unwrap();
    let steps = newest.request.decision_chain.steps.into_iter();
    let excluded = steps.filter_map(|step| match step {
        ChainStep::Selected { excluded, .. } => Some(excluded),
        _ => None,
    });
    excluded.flatten().map(|exclusion| exclusion.reason).collect()
}

#[tokio::test]
async fn failures_in_a_row_open_the_breaker_and_the_chain_says_so() {
    let broken = upstream_with(Script::failing(500)).await;
    let (one, two, _good) = pair(&broken).await;
    let hub = Hub::start(vec![one, two]).await;
    let tries = until_passed_by(&hub, &broken).await;
    assert!(tries >= 5, "one failure is no reason: {tries}");
    let served = usize::try_from(tries).unwrap() + 1;
    assert!(reasons(&hub, served).await.contains(&"breaker_open".to_owned()));
}

#[tokio::test]
async fn a_threshold_of_0_never_opens() {
    let broken = upstream_with(Script::failing(500)).await;
    let (mut one, two, _good) = pair(&broken).await;
    one.circuit_breaker.failure_threshold = 0;
    let hub = Hub::start(vec![one, two]).await;
    for _ in 0..12 {
        assert_eq!(hub.post("/v1/messages", message(false)).await.status, 200);
    }
    assert_eq!(asked(&broken), 12);
}

#[tokio::test]
async fn an_account_that_is_refused_rests_at_once_and_nobody_sees_it() {
    let refused = upstream_with(Script::failing(401)).await;
    let (one, two, _good) = pair(&refused).await;
    let hub = Hub::start(vec![one, two]).await;
    let tries = until_passed_by(&hub, &refused).await;
    let served = usize::try_from(tries).unwrap() + 1;
    assert!(reasons(&hub, served).await.contains(&"cooling_credential".to_owned()));
}

#[tokio::test]
async fn a_rate_limit_rests_the_model_that_met_it_and_no_other() {
    let limited = upstream_with(Script { retry_after_secs: Some(600), ..Script::failing(429) }).await;
    let (one, two, _good) = pair(&limited).await;
    let hub = Hub::start(vec![one, two]).await;
    until_passed_by(&hub, &limited).await;
    let before = asked(&limited);
    let other = message(false).replace("claude-sonnet-4-5", "claude-opus-4-5");
    assert_eq!(hub.post("/v1/messages", other).await.status, 200);
    assert_eq!(asked(&limited), before + 1, "another model was not limited");
}

#[tokio::test]
async fn overloads_bench_nobody_when_all_have_them() {
    let upstreams = [upstream().await, upstream().await, upstream().await];
    let providers = upstreams.iter().zip(1..).map(|(upstream, id)| claude(id, &upstream.base_url()));
    let hub = Hub::start(providers.collect()).await;
    for upstream in &upstreams {
        upstream.set_script(Script::failing(529));
    }
    for _ in 0..10 {
        assert_eq!(hub.post("/v1/messages", message(false)).await.status, 503);
    }
    for upstream in &upstreams {
        assert_eq!(asked(upstream), 10, "each request asks everybody");
        upstream.set_script(Script::default());
    }
    assert_eq!(hub.post("/v1/messages", message(false)).await.status, 200, "at once, without a rest");
}

/// A storm's provider: three of ten answers are served, the others are overloads, half of which ask to wait ten minutes.
async fn stormy(rng: &mut StdRng) -> Simulator {
    let upstream = upstream().await;
    let answer = |rng: &mut StdRng| match rng.random_range(0..10) {
        0..3 => Script::default(),
        3..6 => Script { retry_after_secs: Some(600), ..Script::failing(529) },
        _ => Script::failing(529),
    };
    upstream.set_sequence((0..STORM).map(|_| answer(rng)).collect::<Vec<_>>());
    upstream
}

/// How all providers stand, once everything that the gateway told of them has been heard: this one's failure is the last.
async fn heard(hub: &Hub, sentinel: ProviderId) -> Vec<CircuitDoc> {
    hub.post("/v1/responses", r#"{"model":"gpt-5","input":"hi"}"#).await;
    let until = Instant::now() + PATIENCE;
    loop {
        let docs = hub.breakers.read(None, Since::default()).await.unwrap().docs;
        if docs.iter().any(|doc| doc.provider_id == sentinel) {
            return docs;
        }
        assert!(Instant::now() < until, "the last failure is heard in time");
        tokio::task::yield_now().await;
    }
}

/// The rule (`rules::cooldown`, `rules::retry`): an overload excludes nobody, whatever it asks to wait; who has one comes
/// last, and is asked once more by every request that nobody else serves. So a seat reads 503 only when each of the five
/// has answered this very request with 529.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_storm_of_529_a_seat_is_refused_only_when_each_of_five_refused_this_very_request() {
    let mut rng = StdRng::seed_from_u64(529);
    let mut upstreams = Vec::new();
    for _ in 0..5 {
        upstreams.push(stormy(&mut rng).await);
    }
    let refused = upstream_with(Script::failing(401)).await;
    let mut providers: Vec<_> =
        upstreams.iter().zip(1..).map(|(upstream, id)| claude(id, &upstream.base_url())).collect();
    providers.push(provider(6, ProviderType::Codex, &refused.base_url()));
    // A stream that has begun cannot be refused any more: none begins before somebody serves.
    let hub = Hub::start_as(testing::snapshot(providers), |config| config.stream_keep_alive = None).await;
    let ask = async |n: usize| -> Answer {
        let request = hub.request("/v1/messages").header("x-sim-id", format!("storm-{n}"));
        hub.send(request.body(message(n.is_multiple_of(2)).into()).unwrap()).await
    };
    // What each of the five answered to this request.
    let answers = |n: usize| -> Vec<Vec<Option<u16>>> {
        let of = |upstream: &Simulator| upstream.served_marked(&format!("storm-{n}"));
        let statuses =
            upstreams.iter().map(|upstream| of(upstream).iter().map(|one| one.answer.status).collect());
        statuses.collect()
    };
    let (mut at_once, mut late, mut unavoidable) = (0, 0, 0);
    for wave in (0..STORM).collect::<Vec<_>>().chunks(AT_ONCE) {
        let seats = futures::future::join_all(wave.iter().map(|n| ask(*n))).await;
        for (n, seat) in wave.iter().zip(seats) {
            let answers = answers(*n);
            let overloads = answers.iter().filter(|asked| **asked == [Some(529)]).count();
            let served = answers.iter().filter(|asked| **asked == [Some(200)]).count();
            let unasked = answers.iter().filter(|asked| asked.is_empty()).count();
            assert_eq!(overloads + served + unasked, 5, "each is asked once at most: {answers:?}");
            match seat.status.as_u16() {
                200 => assert_eq!(served, 1, "{answers:?}"),
                503 => assert_eq!((overloads, served), (5, 0), "could have been served: {answers:?}"),
                other => panic!("{other}: {} {answers:?}", seat.text()),
            }
            if served == 0 {
                assert!(seat.text().contains("No available providers: overload."), "{}", seat.text());
            }
            at_once += usize::from(served == 1 && overloads == 0);
            late += usize::from(served == 1 && overloads > 0);
            unavoidable += usize::from(served == 0);
        }
    }
    assert!(at_once > 0 && late > at_once && unavoidable > 0, "no storm: {at_once} {late} {unavoidable}");

    let docs = heard(&hub, ProviderId(6)).await;
    let of_storm: Vec<_> = docs.iter().filter(|doc| doc.provider_id != ProviderId(6)).collect();
    assert_eq!(of_storm.len(), 5, "overloads are told");
    for doc in of_storm {
        assert_eq!((&doc.circuit, doc.samples.len()), (&Circuit::Closed { failures: 0 }, 0), "{doc:?}");
        let is_overload = |kind: CoolKind| kind == CoolKind::Overload;
        assert!(doc.cooldowns.iter().all(|cool| is_overload(cool.kind) && !cool.excludes()), "{doc:?}");
    }
    // Nobody is benched: the next that nobody serves asks all of them.
    upstreams.iter().for_each(|upstream| upstream.set_script(Script::failing(529)));
    assert_eq!(ask(STORM).await.status, 503);
    assert_eq!(answers(STORM), vec![vec![Some(529)]; 5]);
    upstreams.iter().for_each(|upstream| upstream.set_script(Script::default()));
    assert_eq!(ask(STORM + 1).await.status, 200, "at once, without a rest");
}

/// Requests of a storm.
const STORM: usize = 400;
const AT_ONCE: usize = 16;

#[tokio::test]
async fn a_breaker_whose_time_is_over_lets_one_probe_through_and_closes_by_it() {
    let broken = upstream_with(Script::failing(500)).await;
    let (mut one, two, good) = pair(&broken).await;
    one.circuit_breaker =
        BreakerSettings { failure_threshold: 1, open_duration_ms: 300, half_open_success_threshold: 1 };
    let hub = Hub::start(vec![one, two]).await;
    until_passed_by(&hub, &broken).await;
    // The probe takes its time; who comes meanwhile is served by the other.
    broken.set_script(Script { first_byte_delay_ms: 500, ..Script::default() });
    let (at_first, before) = (asked(&broken), asked(&good));
    let until = Instant::now() + PATIENCE;
    while asked(&broken) == at_first {
        assert!(Instant::now() < until, "a probe is due in time");
        let burst = (0..8).map(|_| hub.post("/v1/messages", message(false)));
        for answer in futures::future::join_all(burst).await {
            assert_eq!(answer.status, 200);
        }
        let probes = asked(&broken) - at_first;
        assert!(probes <= 1, "one probe at a time: {probes}");
    }
    assert!(asked(&good) > before);
    broken.set_script(Script::default());
    let until = Instant::now() + PATIENCE;
    let (mut last, mut in_a_row) = (asked(&broken), 0);
    while in_a_row < 3 {
        assert!(Instant::now() < until, "it is closed in time");
        assert_eq!(hub.post("/v1/messages", message(false)).await.status, 200);
        in_a_row = if asked(&broken) > last { in_a_row + 1 } else { 0 };
        last = asked(&broken);
    }
}

#[tokio::test]
async fn while_all_accounts_are_at_their_rate_a_seat_hears_how_long_they_are() {
    let limited = upstream_with(Script { retry_after_secs: Some(600), ..Script::failing(429) }).await;
    let hub = Hub::start(vec![claude(1, &limited.base_url())]).await;
    let until = Instant::now() + PATIENCE;
    // The first is refused by the provider, those after it by what that said.
    loop {
        let before = asked(&limited);
        assert_eq!(hub.post("/v1/messages", message(false)).await.status, 429);
        if asked(&limited) == before {
            break;
        }
        assert!(Instant::now() < until, "it rests in time");
    }
    let answer = hub.post("/v1/messages", message(false)).await;
    assert_eq!(answer.status, 429, "{}", answer.text());
    assert_eq!(answer.headers["x-should-retry"], "true");
    let wait: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((500..=600).contains(&wait), "{wait}");
    let other = message(false).replace("claude-sonnet-4-5", "claude-opus-4-5");
    let before = asked(&limited);
    hub.post("/v1/messages", other).await;
    assert_eq!(asked(&limited), before + 1, "another model was not limited");
}
