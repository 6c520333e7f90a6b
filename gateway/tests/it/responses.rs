//! A request that goes on from a response goes to the account that made it, or to nobody.

use crate::harness::{Answer, Hub, PATIENCE, provider, upstream};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use shared::contract::snapshot::Snapshot;
use shared::contract::usage::{ChainStep, RequestEntry};
use shared::ids::Revision;
use shared::memory::{MemoryResponses, MemorySessions};
use shared::model::{GroupSet, Provider, ProviderType};
use shared::ports::Publisher;
use shared::testing;
use simulator::{Cut, ErrorWords, PingOnly, Script, Simulator};
use std::num::NonZeroUsize;
use std::sync::Arc;
use tokio::time::timeout;

const RESPONSES: &str = "/v1/responses";

fn codex(id: i64, upstream: &Simulator) -> Provider {
    let mut provider = provider(id, ProviderType::Codex, &upstream.base_url());
    // What fails here must not rest: it is to be asked by whoever would.
    provider.circuit_breaker.failure_threshold = 0;
    provider
}

/// Two accounts, alike.
async fn two() -> ([Simulator; 2], Vec<Provider>) {
    let upstreams = [upstream().await, upstream().await];
    let providers = vec![codex(1, &upstreams[0]), codex(2, &upstreams[1])];
    (upstreams, providers)
}

fn first(more: Value) -> Value {
    let mut body = json!({"model": "gpt-5", "input": "hi"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn on_from(id: &str) -> Value {
    first(json!({"previous_response_id": id}))
}

async fn ask(hub: &Hub, body: &Value) -> Answer {
    hub.post(RESPONSES, body.to_string()).await
}

async fn ask_as(hub: &Hub, key: i64, body: &Value) -> Answer {
    let request = Request::post(hub.url(RESPONSES))
        .header("authorization", format!("Bearer {}", testing::client_secret(key)))
        .header("content-type", "application/json");
    hub.send(request.body(Full::new(Bytes::from(body.to_string()))).unwrap()).await
}

/// The id of a response, streamed or whole.
fn id_of(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let text = answer.text();
    let event = text.lines().find_map(|line| line.strip_prefix("data: "));
    match event {
        Some(created) => {
            let created: Value = serde_json::from_str(created).unwrap();
            created["response"]["id"].as_str().unwrap().to_owned()
        }
        None => answer.json()["id"].as_str().unwrap().to_owned(),
    }
}

/// The log rows so far, in the order in which their requests ended.
async fn log(hub: &Hub, count: usize) -> Vec<RequestEntry> {
    hub.records(count).await.into_iter().map(|record| record.request).collect()
}

/// Makes responses until the other account has made one too; an id of each, by provider.
async fn one_of_each(hub: &Hub) -> [String; 2] {
    let mut ids = [None, None];
    let mut count = 0;
    while ids.iter().any(Option::is_none) {
        let id = id_of(&ask(hub, &first(json!({}))).await);
        count += 1;
        let by = log(hub, count).await[count - 1].provider_id.unwrap().0;
        ids[usize::try_from(by - 1).unwrap()] = Some(id);
    }
    ids.map(Option::unwrap)
}

fn assert_not_found(answer: &Answer) {
    assert_eq!(answer.status, 404, "{}", answer.text());
    assert_eq!(answer.headers["x-should-retry"], "false");
    let error = &answer.json()["error"];
    assert_eq!(error["code"], "previous_response_not_found");
    assert_eq!(error["type"], "invalid_request_error");
}

fn republished(snapshot: &Snapshot, change: impl FnOnce(&mut Snapshot)) -> Snapshot {
    let mut edited = snapshot.clone();
    edited.revision = Revision(snapshot.revision.0 + 1);
    change(&mut edited);
    edited
}

/// Publishes and waits until it is in force.
async fn publish(hub: &Hub, snapshot: Snapshot) {
    let revision = snapshot.revision;
    let mut in_force = hub.feed.in_force();
    hub.feed.publish(snapshot).await.unwrap();
    in_force.wait_for(|applied| *applied >= Some(revision)).await.unwrap();
}

#[tokio::test]
async fn a_follow_up_goes_to_the_maker_fifty_times_of_fifty_on_two_gateways() {
    let (_upstreams, providers) = two().await;
    let snapshot = testing::snapshot(providers);
    let (sessions, responses) =
        (MemorySessions::new(300_000, gateway::now), Arc::new(MemoryResponses::new(gateway::now)));
    let start = || {
        let sessions = Arc::new(sessions.another());
        Hub::start_sharing(snapshot.clone(), sessions, responses.clone(), |_| {})
    };
    let hubs = [start().await, start().await];
    let mut makers = Vec::new();
    for turn in 0..50 {
        let (maker, other) = (&hubs[turn % 2], &hubs[(turn + 1) % 2]);
        let is_stream = turn % 4 > 1;
        let id = id_of(&ask(maker, &first(json!({"stream": is_stream}))).await);
        // At the other gateway, and from there on at the first one.
        let next = id_of(&ask(other, &on_from(&id)).await);
        id_of(&ask(maker, &on_from(&next)).await);
        let number = turn / 2 + 1;
        // Each has ended 1 or 2 requests a turn: the first and third of its own, the second of the other's.
        let (at_maker, at_other) = match turn % 2 {
            0 => (number * 3 - 1, number * 3 - 2),
            _ => (number * 3, number * 3),
        };
        let (mine, others) = (log(maker, at_maker).await, log(other, at_other).await);
        let made_by = mine[at_maker - 2].provider_id;
        assert_eq!(others[at_other - 1].provider_id, made_by, "turn {turn}");
        assert_eq!(mine[at_maker - 1].provider_id, made_by, "turn {turn}");
        makers.push(made_by);
        let ChainStep::Selected { candidates, excluded, .. } = &others[at_other - 1].decision_chain.steps[0]
        else {
            panic!("it is chosen, not reused");
        };
        assert_eq!(candidates.len(), 1);
        assert_eq!((excluded[0].reason.as_str(), excluded[0].count), ("other_response", 1));
    }
    assert!(makers.iter().any(|maker| *maker != makers[0]), "both made some");
}

#[tokio::test]
async fn a_seat_that_goes_on_at_the_last_event_is_expected_everywhere() {
    let (upstreams, providers) = two().await;
    // The end of the bytes comes much later than the end of the answer.
    let pings = PingOnly { every_ms: 10, after_events: 99, ..PingOnly::default() };
    let snapshot = testing::snapshot(providers);
    let responses = Arc::new(MemoryResponses::new(gateway::now));
    let start = || {
        let sessions = Arc::new(MemorySessions::new(300_000, gateway::now));
        Hub::start_sharing(snapshot.clone(), sessions, responses.clone(), |_| {})
    };
    let [one, other] = [start().await, start().await];
    // In one piece, and bit by bit.
    for (bytes, drip_every_ms) in
        [(None, 0), (NonZeroUsize::new(700), 2), (None, 0), (NonZeroUsize::new(700), 2)]
    {
        let lingering = Script { ping_only: Some(pings), drip: bytes, drip_every_ms, ..Script::default() };
        upstreams.iter().for_each(|upstream| upstream.set_script(lingering.clone()));
        let body = first(json!({"stream": true})).to_string();
        let request = one.request(RESPONSES).body(Full::new(Bytes::from(body))).unwrap();
        let mut answer = one.client.request(request).await.unwrap();
        let mut told = String::new();
        let is_over = |told: &str| {
            told.split_once("event: response.completed").is_some_and(|(_, data)| data.contains("\n\n"))
        };
        while !is_over(&told) {
            let frame = timeout(PATIENCE, answer.body_mut().frame()).await.expect("an event in time");
            told.push_str(std::str::from_utf8(frame.unwrap().unwrap().data_ref().unwrap()).unwrap());
        }
        let created = told.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
        let created: Value = serde_json::from_str(created).unwrap();
        id_of(&ask(&other, &on_from(created["response"]["id"].as_str().unwrap())).await);
    }
}

#[tokio::test]
async fn a_maker_that_fails_is_tried_again_and_nobody_else_is() {
    let (upstreams, providers) = two().await;
    let hub = Hub::start(providers).await;
    let [id, _] = one_of_each(&hub).await;
    let (before, others) = (upstreams[0].served().len(), upstreams[1].served().len());
    upstreams[0].set_sequence([Script::failing(500), Script::default()]);
    assert_eq!(ask(&hub, &on_from(&id)).await.status, 200);
    assert_eq!(upstreams[0].served().len(), before + 2);
    upstreams[0].set_script(Script::failing(500));
    let answer = ask(&hub, &on_from(&id)).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json()["error"]["message"], "No available providers: server_error.");
    upstreams[0].set_script(Script { retry_after_secs: Some(7), ..Script::failing(429) });
    let answer = ask(&hub, &on_from(&id)).await;
    assert_eq!((answer.status.as_u16(), &answer.headers["retry-after"]), (429, &"7".parse().unwrap()));
    // It rests now: as if it were alone.
    let answer = ask(&hub, &on_from(&id)).await;
    assert_eq!(answer.status, 429);
    assert_eq!(answer.headers["x-should-retry"], "true");
    assert_eq!(upstreams[1].served().len(), others, "nobody else was asked");
}

#[tokio::test]
async fn a_maker_that_is_gone_is_a_404_and_never_another_account() {
    let (upstreams, providers) = two().await;
    let snapshot = testing::snapshot(providers);
    let hub = Hub::start_with(snapshot.clone(), None).await;
    let ids = one_of_each(&hub).await;
    let served = || upstreams.iter().map(|upstream| upstream.served().len()).sum::<usize>();
    let before = served();
    let gone: [fn(&mut Snapshot); 4] = [
        |snapshot| snapshot.core.providers[0].is_enabled = false,
        |snapshot| snapshot.core.providers[0].group_tag = GroupSet::parse("fast"),
        |snapshot| snapshot.core.providers[0].provider_type = ProviderType::OpenaiCompatible,
        |snapshot| drop(snapshot.core.providers.remove(0)),
    ];
    let mut published = snapshot.clone();
    for change in gone {
        published = Snapshot { revision: published.revision, ..snapshot.clone() };
        published = republished(&published, change);
        publish(&hub, published.clone()).await;
        assert_not_found(&ask(&hub, &on_from(&ids[0])).await);
        assert_not_found(&ask(&hub, &first(json!({"previous_response_id": ids[0], "stream": true}))).await);
    }
    assert_eq!(served(), before, "no provider was asked");
    let refused = log(&hub, before + 8).await.pop().unwrap();
    assert_eq!(refused.blocked_by.as_deref(), Some("previous_response_not_found"));
    assert_eq!((refused.status, refused.provider_id), (404, None));
    // The other one's goes on, and so does the first one's when that is back, weight or not.
    id_of(&ask(&hub, &on_from(&ids[1])).await);
    let back = Snapshot { revision: published.revision, ..snapshot.clone() };
    publish(&hub, republished(&back, |snapshot| snapshot.core.providers[0].weight = 0)).await;
    id_of(&ask(&hub, &on_from(&ids[0])).await);
    assert_eq!(log(&hub, before + 10).await[before + 9].provider_id.unwrap().0, 1);
}

#[tokio::test]
async fn an_id_nobody_knows_goes_to_an_account_that_is_alone_and_is_a_404_among_several() {
    let (upstreams, providers) = two().await;
    let alone = Hub::start(providers[..1].to_vec()).await;
    let answer = ask(&alone, &on_from("resp_of_before")).await;
    id_of(&answer);
    // What it forgot, it says itself, and that passes as it is.
    let words = ErrorWords {
        kind: Some("invalid_request_error".to_owned()),
        message: Some("Previous response with id 'resp_of_before' not found.".to_owned()),
        code: Some("previous_response_not_found".to_owned()),
    };
    for status in [400, 404] {
        let asked = upstreams[0].served().len();
        upstreams[0].set_script(Script { error: Some(words.clone()), ..Script::failing(status) });
        let answer = ask(&alone, &on_from("resp_of_before")).await;
        assert_eq!(answer.status.as_u16(), status);
        let error = &answer.json()["error"];
        assert_eq!(error["code"], "previous_response_not_found");
        assert_eq!(error["message"], *words.message.as_ref().unwrap());
        assert_eq!(upstreams[0].served().len(), asked + 1, "asked once");
    }
    upstreams[0].set_script(Script::default());

    let hub = Hub::start(providers).await;
    assert_not_found(&ask(&hub, &on_from("resp_of_before")).await);
    let compact = hub.post("/v1/responses/compact", on_from("resp_of_before").to_string()).await;
    assert_not_found(&compact);
    // None is named: null and nothing go anywhere, and other dialects do not know the field.
    id_of(&ask(&hub, &first(json!({"previous_response_id": null}))).await);
    id_of(&ask(&hub, &first(json!({"previous_response_id": ""}))).await);
}

#[tokio::test]
async fn another_keys_response_is_not_known() {
    let (_upstreams, providers) = two().await;
    let mut snapshot = testing::snapshot(providers);
    snapshot.principals.keys.push(testing::key_doc(2, 1));
    let hub = Hub::start_with(snapshot, None).await;
    let id = id_of(&ask(&hub, &first(json!({}))).await);
    assert_not_found(&ask_as(&hub, 2, &on_from(&id)).await);
    id_of(&ask_as(&hub, 1, &on_from(&id)).await);
}

#[tokio::test]
async fn what_is_not_stored_or_not_served_is_not_remembered() {
    let (upstreams, providers) = two().await;
    let hub = Hub::start(providers).await;
    for is_stream in [false, true] {
        let id = id_of(&ask(&hub, &first(json!({"store": false, "stream": is_stream}))).await);
        assert_not_found(&ask(&hub, &on_from(&id)).await);
        let id = id_of(&ask(&hub, &first(json!({"store": true, "stream": is_stream}))).await);
        id_of(&ask(&hub, &on_from(&id)).await);
    }
    // Cut before its end.
    let cut = Script { events: Some(4), ..Script::cutting(Cut::MidStream(6)) };
    upstreams.iter().for_each(|upstream| upstream.set_script(cut.clone()));
    let id = id_of(&ask(&hub, &first(json!({"stream": true}))).await);
    upstreams.iter().for_each(|upstream| upstream.set_script(Script::default()));
    assert_not_found(&ask(&hub, &on_from(&id)).await);
}

#[tokio::test]
async fn a_session_bound_elsewhere_goes_to_the_maker_for_the_turn_and_stays_bound() {
    let (_upstreams, providers) = two().await;
    let hub = Hub::start(providers).await;
    let ids = one_of_each(&hub).await;
    let begun = hub.usage.waiting();
    let say = |body: Value| {
        let request = hub.request(RESPONSES).header("session_id", "a-session-of-twenty-one-letters");
        hub.send(request.body(Full::new(Bytes::from(body.to_string()))).unwrap())
    };
    id_of(&say(first(json!({}))).await);
    let home = log(&hub, begun + 1).await[begun].provider_id.unwrap().0;
    let away = 3 - home;
    for _ in 0..3 {
        id_of(&say(on_from(&ids[usize::try_from(away - 1).unwrap()])).await);
        id_of(&say(first(json!({}))).await);
    }
    let served: Vec<i64> =
        log(&hub, begun + 7).await[begun..].iter().map(|row| row.provider_id.unwrap().0).collect();
    assert_eq!(served, [home, away, home, away, home, away, home]);
}

#[tokio::test]
async fn a_session_that_is_bound_to_nobody_is_bound_to_the_maker() {
    let (_upstreams, providers) = two().await;
    let hub = Hub::start(providers).await;
    let ids = one_of_each(&hub).await;
    let begun = hub.usage.waiting();
    for (maker, id) in (1..).zip(&ids) {
        let session = format!("a-session-of-twenty-one-letters-{maker}");
        for body in [on_from(id), first(json!({}))] {
            let request = hub.request(RESPONSES).header("session_id", &session);
            id_of(&hub.send(request.body(Full::new(Bytes::from(body.to_string()))).unwrap()).await);
        }
    }
    let served: Vec<i64> =
        log(&hub, begun + 4).await[begun..].iter().map(|row| row.provider_id.unwrap().0).collect();
    assert_eq!(served, [1, 1, 2, 2]);
}
