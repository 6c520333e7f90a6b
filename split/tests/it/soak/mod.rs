//! The soak: seats that ask, providers that misbehave, and every part killed, stopped, emptied and brought back; then
//! the books beside what the providers told, request by request, and the budgets beside the books. A round is drawn from its
//! seed.
//!
//! `make soak SOAK="--rounds 100 --seed 7"`

#![expect(clippy::print_stdout, reason = "it tells how far it is")]

mod asks;
mod books;
mod budgets;
mod compare;
mod dice;
mod parts;
mod plan;
mod seats;

use crate::harness::{Shape, Site};
use crate::process::ADMIN;
use asks::Api;
use books::Books;
use compare::{Provider, Round, Tally, compare};
use parts::{Diary, Done, Killed, LOOK_EVERY, Node, Office, postgres_suffers, redis_suffers};
use plan::Plan;
use seats::{Seats, Seen, Way};
use serde_json::{Value, json};
use simulator::{Script, Simulator, Usage};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use testbed::{Postgres, Redis};
use tokio::time::sleep;

/// The split shape between two rounds: all of it runs.
struct Soak {
    site: Site,
    postgres: Postgres,
    redis: Redis,
    upstream: Simulator,
    directory: TempDir,
    nodes: [Node; 2],
    office: Office,
    way: Way,
    providers: HashMap<i64, Provider>,
    /// The user whose budget is used up in each round.
    tight: i64,
}

/// What rounds have in common.
#[derive(Clone, Copy)]
struct Manner {
    seats: u64,
    may_hang: bool,
    /// How long a provider may be silent.
    patience_ms: u64,
}

impl Soak {
    async fn start(manner: Manner) -> Self {
        let Shape { postgres, redis, upstream, directory } = Shape::new().await;
        let shape = Shape { postgres, redis, upstream, directory };
        // A crash may cost nothing that was committed; the testbed's server is faster than that.
        let _ = shape.postgres.sql("postgres", "ALTER ROLE postgres SET synchronous_commit = on");
        let site: Site = shape.site();
        let office = Office::start(&site).await;
        let (a, b) = tokio::join!(Node::start(&site, "a"), Node::start(&site, "b"));
        let Shape { postgres, redis, upstream, directory } = shape;
        let mut providers = HashMap::new();
        for api in Api::ALL {
            let path = format!("/api/v1/model-prices/{}", api.model());
            let priced = office.admin.api.put(&path, api.price_document()).await;
            assert!(priced.status < 300, "{priced:?}");
            for (provider, document) in ["a", "b"].map(|name| provider(api, name, &upstream, manner)) {
                let made = office.admin.post("/api/v1/providers", document).await;
                providers.insert(made["id"].as_i64().unwrap(), provider);
            }
        }
        let much = json!({ "limit_total_usd": MUCH });
        let (_, ada) = user(&office, "Ada", much.clone()).await;
        let (_, bea) = user(&office, "Bea", much).await;
        let tight = json!({ "limit_total_usd": TIGHT, "quota_reservation": "strict" });
        let (tight, cid) = user(&office, "Cid", tight).await;
        let secrets = [ada, bea, cid];
        office.admin.in_force_on(2).await;
        let way =
            Way { nodes: [a.address(), b.address()], secrets: secrets.to_vec(), may_hang: manner.may_hang };
        Self { site, postgres, redis, upstream, directory, nodes: [a, b], office, way, providers, tight }
    }

    /// Lets a round happen and heal; answers it all as it was before, who saw what, and what was done.
    async fn round(self, number: u64, plan: Plan, seats: u64) -> (Self, Witness, Done) {
        self.upstream.clear();
        let anew = format!("/api/v1/users/{}/limits/reset", self.tight);
        let anew = self.office.admin.api.post(&anew, json!({})).await;
        assert_eq!(anew.status, 204, "{anew:?}");
        let Self { site, postgres, redis, upstream, directory, nodes: [a, b], office, way, providers, tight } =
            self;
        let began = Instant::now();
        let seats = Seats::start(&way, number, plan.seed, seats);
        let [faults_of_a, faults_of_b] = plan.gateways;
        let (a, b, office, redis, postgres) = tokio::join!(
            tokio::spawn(a.suffer(faults_of_a, Diary::new(began))),
            tokio::spawn(b.suffer(faults_of_b, Diary::new(began))),
            tokio::spawn(office.suffer(plan.admin, Diary::new(began))),
            tokio::spawn(redis_suffers(redis, plan.redis, Diary::new(began))),
            tokio::spawn(postgres_suffers(postgres, plan.postgres, Diary::new(began))),
        );
        let ((mut a, of_a), (mut b, of_b)) = (a.unwrap(), b.unwrap());
        let ((office, of_admin), (redis, of_redis)) = (office.unwrap(), redis.unwrap());
        let (postgres, of_postgres) = postgres.unwrap();
        let mut done = [of_a, of_b, of_admin, of_redis, of_postgres].concat();
        done.sort_unstable();
        // The load goes on until the round's time is over.
        sleep(plan.lasts.saturating_sub(began.elapsed())).await;
        let seen = seats.end().await;
        let healed = [&a, &b].map(|node| directory.path().join(node.name).join("journal"));
        let mut wrong = Vec::new();
        for (node, root) in [&a, &b].into_iter().zip(healed) {
            wrong.extend(settled(node, &root).await);
        }
        wrong.extend(budgets::agree(&office.admin, &postgres, &redis).await);
        wrong.extend(disagreement(&site).await);
        let kills = [std::mem::take(&mut a.kills), std::mem::take(&mut b.kills)];
        let witness = Witness { number, seen, kills, wrong };
        let nodes = [a, b];
        let healed =
            Self { site, postgres, redis, upstream, directory, nodes, office, way, providers, tight };
        (healed, witness, done)
    }

    /// The books of a round beside what its witnesses say.
    fn compare(&self, witness: &Witness) -> Tally {
        let mut tally = compare(&Round {
            providers: &self.providers,
            upstream: &self.upstream,
            seen: &witness.seen,
            kills: [&witness.kills[0], &witness.kills[1]],
            books: &Books::read(&self.postgres, witness.number),
        });
        tally.differences.extend(witness.wrong.iter().cloned());
        tally
    }

    /// What the processes that run said.
    fn logs(&self) -> Done {
        let [a, b] = &self.nodes;
        let processes = [&a.gateway.process, &b.gateway.process, &self.office.admin.process];
        let logs = ["a", "b", "admin"].into_iter().zip(processes);
        logs.flat_map(|(name, process)| process.log().into_iter().map(move |line| format!("{name}: {line}")))
            .collect()
    }
}

/// What is known of a round beside its books.
struct Witness {
    number: u64,
    seen: Vec<Seen>,
    kills: [Vec<Killed>; 2],
    /// What did not heal.
    wrong: Vec<String>,
}

/// Waits until all of a gateway's usage is in the books, also what its predecessors left; tells what is not.
async fn settled(node: &Node, root: &Path) -> Option<String> {
    let until = Instant::now() + Duration::from_secs(120);
    loop {
        let journals = journals(root);
        let page = node.gateway.ops.get("/metrics").await.text;
        let figure =
            |name: &str| Some(page.lines().find_map(|line| line.strip_prefix(name))?.trim().to_owned());
        let unbooked = figure("cch_journal_unbooked_records ");
        let lost = figure("cch_journal_records_total{kept=\"lost\"} ");
        if lost.as_deref().is_some_and(|lost| lost != "0") {
            return Some(format!("gateway {} lost records: {lost:?}", node.name));
        }
        // What a seat left is read on for a while.
        let running = figure("cch_requests_in_flight ");
        if [&running, &unbooked].iter().all(|count| count.as_deref() == Some("0")) && journals.len() <= 1 {
            return None;
        }
        if Instant::now() > until {
            return Some(format!(
                "gateway {}: {unbooked:?} records unbooked, journals {journals:?}",
                node.name
            ));
        }
        // Processes of their own are asked: there is nothing here to wait for.
        sleep(LOOK_EVERY).await;
    }
}

/// What `cch-admin ledger check` finds.
async fn disagreement(site: &Site) -> Option<String> {
    let checked = site.command(ADMIN, "admin").args(["ledger", "check"]).output().await.unwrap();
    let said =
        || String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
    (!checked.status.success()).then(|| format!("the books do not agree: {}", said()))
}

fn journals(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| path.is_dir()).collect()
}

/// A user and the secret of its key.
async fn user(office: &Office, name: &str, limits: Value) -> (i64, String) {
    let mut document = limits;
    document["name"] = json!(name);
    let made = office.admin.post("/api/v1/users", document).await;
    (made["user"]["id"].as_i64().unwrap(), made["key"]["secret"].as_str().unwrap().to_owned())
}

/// A provider and its document. The first one does as the request's script says; the second one, dearer, serves whoever
/// comes.
fn provider(api: Api, name: &str, upstream: &Simulator, manner: Manner) -> (Provider, Value) {
    let is_first = name == "a";
    let secret = format!("sk-{}-{name}", api.provider_type());
    let usage = Usage { input: 211, output: 97, ..Usage::default() };
    let steady = Script { usage: Some(usage), spacing_ms: 5, ..Script::default() };
    let headers = if is_first { json!({}) } else { json!({ "x-sim-script": steady.to_header() }) };
    let document = json!({
        "name": format!("{} {name}", api.provider_type()),
        "provider_type": api.provider_type(),
        "url": upstream.base_url(),
        "key": secret,
        "priority": if is_first { 0 } else { 1 },
        "cost_multiplier": if is_first { "1" } else { "1.5" },
        "max_attempts": 1,
        "custom_headers": headers,
        "client_abort": if matches!(api, Api::Messages | Api::Chat) { "drain" } else { "cancel" },
        "first_byte_timeout_streaming_ms": manner.patience_ms,
        "streaming_idle_timeout_ms": manner.patience_ms,
        "request_timeout_non_streaming_ms": manner.patience_ms,
        // Half of its scripts fail: it is to be asked all the same.
        "circuit_breaker_failure_threshold": 0,
        "limit_total_usd": MUCH,
    });
    (Provider { api, secret, halves: if is_first { 2 } else { 3 } }, document)
}

/// Says what differs, and what happened.
fn complain(again: &str, tally: &Tally, done: &Done) {
    for line in done {
        println!("  {line}");
    }
    for difference in tally.differences.iter().take(10) {
        println!("- {difference}");
    }
    println!("{} differences; again: {again}", tally.differences.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_providers_served_is_booked_once_whatever_is_killed() {
    // Patient: under all the tests of the workspace a machine can be slow.
    let manner = Manner { seats: 8, may_hang: false, patience_ms: 60_000 };
    let soak = Soak::start(manner).await;
    let (soak, witness, mut done) = soak.round(0, Plan::short(), manner.seats).await;
    let tally = soak.compare(&witness);
    if !tally.differences.is_empty() {
        done.extend(soak.logs());
        complain("this test", &tally, &done);
    }
    assert!(tally.differences.is_empty() && tally.served > 0 && tally.booked > 0, "{}", tally.figures());

    // And it would be seen.
    let ids = soak.postgres.sql("hub", "SELECT request_id FROM ledger WHERE outcome = 'served' LIMIT 3");
    let wrongs = [
        "UPDATE ledger SET output_tokens = output_tokens + 1",
        "UPDATE ledger SET cost_nano_usd = cost_nano_usd + 1",
        "DELETE FROM ledger",
    ];
    for (id, wrong) in ids.lines().zip(wrongs) {
        let _ = soak.postgres.sql("hub", &format!("{wrong} WHERE request_id = '{id}'"));
        let found = soak.compare(&witness).differences;
        assert!(found.iter().any(|told| told.contains(id)), "not seen: {wrong} of {id}: {found:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "as long as one wants: make soak"]
async fn soak() {
    let wanted = Wanted::read(&std::env::var("SOAK").unwrap_or_default());
    let manner = Manner { seats: 40, may_hang: true, patience_ms: 3_000 };
    let began = Instant::now();
    let mut soak = Soak::start(manner).await;
    let (mut all, mut faults, mut failed) = (Tally::default(), BTreeMap::<String, u64>::new(), Vec::new());
    let mut rounds = 0;
    while rounds < wanted.rounds && began.elapsed() < wanted.time && failed.len() < MOST_FAILURES {
        let seed = wanted.seed + rounds;
        let round_began = Instant::now();
        let plan = Plan::draw(seed, ROUND);
        let (healed, witness, mut done) = soak.round(rounds, plan, manner.seats).await;
        soak = healed;
        let tally = soak.compare(&witness);
        rounds += 1;
        println!("seed {seed}: {}; {:.1} s", tally.figures(), round_began.elapsed().as_secs_f64());
        if !tally.differences.is_empty() {
            done.extend(soak.logs());
            complain(&format!("make soak SOAK=\"--rounds 1 --seed {seed}\""), &tally, &done);
            failed.push(seed);
        }
        for what in done.iter().filter_map(|line| line.split_once(" ms ")?.1.split_once(" for ")) {
            *faults.entry(what.0.to_owned()).or_default() += 1;
        }
        all.add(tally);
    }
    println!(
        "{rounds} rounds, seeds {} to {}, {:.0?}",
        wanted.seed,
        wanted.seed + rounds - 1,
        began.elapsed()
    );
    println!("{}", all.figures());
    println!("faults: {faults:?}");
    println!("counts: {:?}", all.counts);
    assert!(failed.is_empty(), "rounds that differ: seeds {failed:?}; each is told above");
}

/// How long, and from which seed on.
struct Wanted {
    rounds: u64,
    seed: u64,
    time: Duration,
}

impl Wanted {
    /// `--rounds`, `--minutes`, `--seed`, each with a number; ten rounds from seed 1 on when it says nothing.
    fn read(text: &str) -> Self {
        let (mut rounds, mut minutes, mut seed) = (None, None, 1);
        let mut words = text.split_whitespace();
        while let Some(word) = words.next() {
            let value = words.next().and_then(|value| value.parse::<u64>().ok());
            let value = value.unwrap_or_else(|| panic!("SOAK: {word} wants a number"));
            match word {
                "--rounds" => rounds = Some(value),
                "--minutes" => minutes = Some(value),
                "--seed" => seed = value,
                _ => panic!("SOAK: --rounds, --minutes or --seed, not {word}"),
            }
        }
        let usual = if minutes.is_some() { u64::MAX } else { 10 };
        let time = minutes.map_or(Duration::MAX, |minutes| Duration::from_secs(60 * minutes));
        Self { rounds: rounds.unwrap_or(usual), seed, time }
    }
}

/// More than all rounds cost.
const MUCH: &str = "1000000";
/// Less than what a user asks for in a round.
const TIGHT: &str = "0.5";
/// How long faults come in a round.
const ROUND: Duration = Duration::from_secs(9);
/// After so many rounds that differ nothing new is learnt.
const MOST_FAILURES: usize = 5;
