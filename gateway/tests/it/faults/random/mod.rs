//! Whatever befalls the attempts of a request, at whatever point: no content twice (text, thought, a tool's arguments), no
//! second opening, no byte of a losing attempt, none missing of one that is complete, an end in dialect, and books that agree.
//!
//! Cases are made from seeds. `FAULT_SEEDS=1000` plays that many in each dialect; a failure names its seed, and
//! `FAULT_SEED=17` plays that one alone.

mod cases;
mod sound;
mod spoken;
mod told;

use super::asks::provider_type;
use crate::harness::{Hub, PATIENCE, provider};
use cases::Case;
use http_body_util::{BodyExt, Full};
use shared::contract::usage::{ChainStep, UsageRecord};
use shared::ids::KeyId;
use shared::model::{GroupSet, Provider, Timers};
use shared::protocol::Dialect;
use shared::testing;
use simulator::{Served, Simulator, SimulatorConfig};
use sound::{Got, faults_of, provider_id};
use std::io::Read;
use std::time::Duration;
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anthropic_answers_are_sound_at_any_fault() {
    play(Dialect::Anthropic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chat_answers_are_sound_at_any_fault() {
    play(Dialect::OpenaiChat).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn responses_answers_are_sound_at_any_fault() {
    play(Dialect::OpenaiResponses).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gemini_answers_are_sound_at_any_fault() {
    play(Dialect::Gemini).await;
}

async fn play(dialect: Dialect) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds: Vec<u64> = match number("FAULT_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("FAULT_SEEDS").unwrap_or(SEEDS)).collect(),
    };
    let mut wrong = Vec::new();
    // A gateway re-sends only so much: not all on one.
    for some in seeds.chunks(AT_ONCE) {
        wrong.extend(play_some(dialect, some).await);
    }
    assert!(wrong.is_empty(), "{} cases are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

async fn play_some(dialect: Dialect, seeds: &[u64]) -> Vec<String> {
    let mut plays = Vec::new();
    for (seed, key) in seeds.iter().zip(1..) {
        plays.push(Play::start(Case::new(dialect, *seed), key).await);
    }
    let mut snapshot = testing::snapshot(plays.iter().flat_map(Play::providers).collect());
    snapshot.principals.users = plays.iter().map(|play| testing::user_doc(play.key)).collect();
    for (user, play) in snapshot.principals.users.iter_mut().zip(&plays) {
        user.provider_group = GroupSet::parse(&play.group());
    }
    snapshot.principals.keys = plays.iter().map(|play| testing::key_doc(play.key, play.key)).collect();
    let hub = Hub::start_as(snapshot, |config| {
        config.stream_keep_alive = Some(Duration::from_millis(40));
        config.thinking_idle = Duration::from_millis(250);
    });
    let hub = hub.await;
    let answers = futures::future::join_all(plays.iter().map(|play| play.ask(&hub))).await;
    let records = hub.records(plays.len()).await;
    let mut wrong = Vec::new();
    for (play, got) in plays.iter().zip(answers) {
        let record = records.iter().find(|record| record.request.caller.key_id == KeyId(play.key));
        let record = record.expect("each request has a record");
        let faults = faults_of(&play.case, &got, record, &play.asked());
        if !faults.is_empty() {
            let (case, all) = (&play.case, faults.join("\n  "));
            wrong.push(format!("FAULT_SEED={}:\n  {all}\n{case}\n{got:?}\n{}", case.seed, chain(record)));
        }
    }
    wrong
}

/// A case with its upstreams.
struct Play {
    case: Case,
    key: i64,
    upstreams: Vec<Simulator>,
}

impl Play {
    async fn start(case: Case, key: i64) -> Self {
        let mut upstreams = Vec::new();
        for scripts in &case.providers {
            let upstream = Simulator::start(SimulatorConfig::default()).await.expect("a simulator starts");
            upstream.set_sequence(scripts.clone());
            upstreams.push(upstream);
        }
        Self { case, key, upstreams }
    }

    fn group(&self) -> String {
        format!("case-{}", self.key)
    }

    fn providers(&self) -> Vec<Provider> {
        let timers = Timers {
            first_byte_timeout_streaming_ms: 250,
            streaming_idle_timeout_ms: 250,
            request_timeout_non_streaming_ms: 500,
        };
        let upstreams = self.upstreams.iter().zip(1..);
        let made = upstreams.map(|(upstream, number)| {
            let id = provider_id(self.key, number);
            let made = provider(id, provider_type(self.case.dialect), &upstream.base_url());
            Provider { group_tag: GroupSet::parse(&self.group()), timers, ..made }
        });
        made.collect()
    }

    async fn ask(&self, hub: &Hub) -> Got {
        let request = hub.request(&self.case.path);
        let mut request = request.header("x-stainless-timeout", self.case.client_waits);
        let headers = request.headers_mut().expect("headers");
        headers.insert("x-api-key", testing::client_secret(self.key).parse().expect("a header"));
        let request = request.body(Full::new(self.case.body.clone().into())).expect("a request");
        let got = timeout(PATIENCE, read(hub, request)).await;
        assert!(got.is_ok(), "FAULT_SEED={} comes to no end:\n{}", self.case.seed, self.case);
        got.expect("it has just been looked at")
    }

    fn asked(&self) -> Vec<Vec<Served>> {
        self.upstreams.iter().map(Simulator::served).collect()
    }
}

/// What the books say, in short.
fn chain(record: &UsageRecord) -> String {
    let rows = record.attempts.iter().map(|row| {
        let (usage, outcome) = (&row.usage, row.outcome.as_str());
        format!("{}: {outcome} {}/{}", row.provider_id, usage.input_tokens, usage.output_tokens)
    });
    let results = record.request.decision_chain.steps.iter().filter_map(|step| match step {
        ChainStep::Attempted { result, .. } => Some(result.as_str()),
        _ => None,
    });
    format!("{:?} {:?}", rows.collect::<Vec<_>>(), results.collect::<Vec<_>>())
}

async fn read(hub: &Hub, request: http::Request<Full<bytes::Bytes>>) -> Got {
    let answer = hub.client.request(request).await.expect("the gateway answers");
    let (head, mut body) = answer.into_parts();
    let header = |name: &str| head.headers.get(name).map(|value| value.to_str().expect("text").to_owned());
    let mut bytes = Vec::new();
    let is_whole = loop {
        match body.frame().await {
            None => break true,
            Some(Ok(frame)) => bytes.extend_from_slice(frame.data_ref().expect("data")),
            Some(Err(_)) => break false,
        }
    };
    let was_encoded = header("content-encoding").is_some();
    if was_encoded {
        let mut plain = Vec::new();
        // What was cut is read as far as it goes.
        let _ = flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut plain);
        bytes = plain;
    }
    Got {
        status: head.status.as_u16(),
        content_type: header("content-type").unwrap_or_default(),
        text: String::from_utf8_lossy(&bytes).into_owned(),
        is_whole,
        was_encoded,
    }
}

/// Cases of each dialect in the normal run.
const SEEDS: u64 = 60;
const AT_ONCE: usize = 20;
