//! Figures of the split shape on real processes, printed; asserted is only that nothing failed. By hand:
//! `cargo test --release -p split --test it measured -- --ignored --nocapture --test-threads 1`.

#![expect(clippy::print_stdout, reason = "figures are for the one who asked")]

use crate::balancer::Balancer;
use crate::harness::{Admin, Gateway, Shape, message, open};
use crate::load::{Knocking, Load, short};
use crate::process::{GATEWAY, Process};
use http::HeaderMap;
use redis_adapters::{Link, RedisConfig, RedisPublisher};
use rustix::process::Signal;
use serde_json::{Value, json};
use shared::contract::snapshot::Snapshot;
use shared::ids::Revision;
use shared::model::price::ModelPrice;
use shared::ports::Publisher;
use shared::testing::{key_doc, provider, snapshot, user_doc};
use simulator::Script;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use testbed::{Answer, Client, Times, eventually, lasting_address};
use tokio::task::JoinHandle;
use tokio::time::sleep;

fn revision_of(headers: &HeaderMap) -> u64 {
    headers["x-config-revision"].to_str().unwrap().parse().unwrap()
}

/// A figure of `/metrics`, or of what else is written so.
fn figure(page: &str, name: &str) -> u64 {
    let line =
        page.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {page}"));
    line.split_whitespace().next().unwrap().parse().unwrap()
}

async fn in_force(gateway: &Gateway) -> u64 {
    figure(&gateway.ops.get("/metrics").await.text, "cch_config_revision ")
}

/// What admins change in turn, and what is seen of it.
struct Changes {
    keys: Vec<(i64, String)>,
    group: Value,
    made: usize,
}

impl Changes {
    async fn new(admin: &Admin) -> Self {
        let mut keys = Vec::new();
        for n in 0..10 {
            keys.push(admin.make_seat(&format!("seat {n}")).await);
        }
        let group = admin.post("/api/v1/provider-groups", json!({ "name": "fast" })).await["id"].clone();
        Self { keys, group, made: 0 }
    }

    /// A provider is added, a key revoked or given back, a group changed.
    async fn next(&mut self, admin: &Admin) -> Answer {
        let n = self.made;
        self.made += 1;
        let changed = match n % 3 {
            0 => {
                let body = json!({
                    "name": format!("added {n}"), "provider_type": "claude", "url": "https://one.example",
                    "key": "sk-added", "priority": 9,
                });
                admin.api.post("/api/v1/providers", body).await
            }
            1 => admin.set_enabled(self.key(n).0, n / 3 / self.keys.len() % 2 == 1).await,
            _ => {
                let path = format!("/api/v1/provider-groups/{}", self.group);
                admin.api.patch(&path, json!({ "cost_multiplier": format!("1.{n:03}1") })).await
            }
        };
        assert!((200..300).contains(&changed.status), "{changed:?}");
        changed
    }

    /// After a key's change: it is refused or served, at once and by each.
    async fn check(&self, gateways: &[&Gateway]) {
        let n = self.made - 1;
        if n % 3 == 1 {
            let expected = if n / 3 / self.keys.len() % 2 == 1 { 200 } else { 401 };
            for gateway in gateways {
                assert_eq!(
                    gateway.ask(&self.key(n).1).await.status,
                    expected,
                    "what is in force is served by"
                );
            }
        }
    }

    fn key(&self, n: usize) -> &(i64, String) {
        &self.keys[n / 3 % self.keys.len()]
    }
}

/// Makes changes one after the other and prints when they were in force.
async fn time_changes(what: &str, count: usize, changes: &mut Changes, admin: &Admin, gateways: &[&Gateway]) {
    let (mut answered, mut after_answer, mut everywhere, mut told) = (vec![], vec![], vec![], vec![]);
    for _ in 0..count {
        let began = Instant::now();
        let changed = changes.next(admin).await;
        answered.push(began.elapsed());
        let wanted = revision_of(&changed.headers);
        for gateway in gateways {
            eventually("in force", || async { in_force(gateway).await >= wanted }).await;
        }
        everywhere.push(began.elapsed());
        after_answer.push(began.elapsed() - answered[answered.len() - 1]);
        admin.in_force_on(2).await;
        told.push(began.elapsed());
        changes.check(gateways).await;
    }
    println!("{what}: answered after: {}", Times::of(answered));
    println!("{what}: in force on both, from the answer on: {}", Times::of(after_answer));
    println!("{what}: in force on both, from the request on: {}", Times::of(everywhere));
    println!("{what}: /api/v1/nodes says 2/2, from the request on: {}", Times::of(told));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures; run it by hand"]
async fn how_soon_a_change_is_in_force() {
    let shape = Shape::new().await;
    let admin = shape.admin("admin").await;
    let gateways = [&shape.gateway("a").await, &shape.gateway("b").await];
    admin.make_provider(&shape).await;
    let mut changes = Changes::new(&admin).await;
    admin.in_force_on(2).await;
    time_changes("announced", 200, &mut changes, &admin, &gateways).await;
    // The worst kind of cut: the connections stay, the announcements get lost.
    shape.redis.door.set_deaf(true);
    time_changes("announcements lost", 21, &mut changes, &admin, &gateways).await;
    shape.redis.door.set_deaf(false);
    println!("/api/v1/nodes: {}", admin.get("/api/v1/nodes").await);
}

/// How long requests took, by what went on meanwhile.
type Noted = Vec<(String, Vec<Duration>)>;

/// One seat with short requests, one after the other; how long they took is noted under what goes on.
struct Probe {
    times: Arc<Mutex<Noted>>,
    is_over: Arc<AtomicBool>,
    task: JoinHandle<usize>,
}

impl Probe {
    fn start(gateway: &Client, secret: &str) -> Self {
        let times = Arc::new(Mutex::new(vec![("before".to_owned(), Vec::new())]));
        let is_over = Arc::new(AtomicBool::new(false));
        let (noted, until) = (times.clone(), is_over.clone());
        let (seats, secret) = (gateway.clone(), secret.to_owned());
        let task = tokio::spawn(async move {
            let mut failed = 0;
            while !until.load(Ordering::SeqCst) {
                let began = Instant::now();
                let answer = open(&seats, &secret, &[], &message(false)).await;
                let answer = Answer::whole(answer).await;
                let took = began.elapsed();
                if answer.status == 200 {
                    noted.lock().unwrap().last_mut().unwrap().1.push(took);
                } else {
                    failed += 1;
                }
            }
            failed
        });
        Self { times, is_over, task }
    }

    fn now(&self, what: &str) {
        self.times.lock().unwrap().push((what.to_owned(), Vec::new()));
    }

    async fn end(self) {
        self.is_over.store(true, Ordering::SeqCst);
        let failed = self.task.await.expect("no request fails");
        let mut before = None;
        for (what, times) in std::mem::take(&mut *self.times.lock().unwrap()) {
            let times = Times::of(times);
            let p99 = times.within(99).as_secs_f64() * 1_000.0;
            let added = p99 - *before.get_or_insert(p99);
            println!("a short request, {what}: {times}; at p99 {added:+.2} ms");
        }
        assert_eq!(failed, 0, "short requests that were not served");
    }
}

/// A change, and nobody does anything more for it.
async fn change_arrives(changes: &mut Changes, admin: &Admin, nodes: u64) {
    let began = Instant::now();
    changes.next(admin).await;
    admin.in_force_on(nodes).await;
    println!("  a change afterwards is in force on {nodes} after {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures; run it by hand"]
async fn what_seats_feel_while_something_is_away() {
    // An outage has its length: these pauses are what is tried, not waiting for something.
    let lasts = |secs| sleep(Duration::from_secs(secs));
    let mut shape = Shape::new().await;
    let mut admin = shape.admin("admin").await;
    let (one, other) = (shape.gateway("a").await, shape.gateway("b").await);
    admin.make_provider(&shape).await;
    let (_, secret) = admin.make_seat("Ada").await;
    let mut changes = Changes::new(&admin).await;
    admin.in_force_on(2).await;
    let long = Script { events: Some(250), spacing_ms: 100, ..Script::default() };
    let loads: Vec<Load> = [&one, &other]
        .into_iter()
        .flat_map(|gateway| {
            let start = |count, script: &Script| Load::start(&gateway.seats, &secret, count, script);
            [start(4, &short()), start(20, &long)]
        })
        .collect();
    let probe = Probe::start(&one.seats, &secret);
    lasts(15).await;

    probe.now("Postgres stopped for 60 s");
    shape.postgres.stop_server();
    lasts(60).await;
    shape.postgres.start_server();
    eventually("it works again", || async { admin.api.get("/api/v1/health/ready").await.status == 200 })
        .await;
    change_arrives(&mut changes, &admin, 2).await;

    probe.now("everything there again");
    lasts(15).await;
    probe.now("Redis paused for 15 s");
    shape.redis.pause();
    changes.next(&admin).await;
    lasts(15).await;
    shape.redis.resume();
    probe.now("Redis goes on");
    admin.in_force_on(2).await;
    change_arrives(&mut changes, &admin, 2).await;

    probe.now("Redis stopped for 15 s");
    shape.redis.kill();
    changes.next(&admin).await;
    lasts(15).await;
    shape.redis.start_server();
    probe.now("Redis there again, empty");
    admin.in_force_on(2).await;
    change_arrives(&mut changes, &admin, 2).await;

    probe.now("Redis flushed");
    shape.redis.cli(&["FLUSHALL"]);
    change_arrives(&mut changes, &admin, 2).await;
    lasts(5).await;

    probe.now("admin side killed for 5 s");
    // Committed, and killed before it could be published.
    shape.redis.pause();
    changes.next(&admin).await;
    admin.process.kill().await;
    shape.redis.resume();
    lasts(5).await;
    admin = shape.admin("admin").await;
    admin.in_force_on(2).await;
    change_arrives(&mut changes, &admin, 2).await;
    changes.check(&[&one, &other]).await;

    probe.end().await;
    let mut served = 0;
    for load in loads {
        served += load.end().await;
    }
    println!("{served} streams served, none failed");
}

/// Half a thousand at once, each a quarter of a minute long.
fn many(gateway: &Client, secret: &str) -> Load {
    let script = Script { events: Some(60), spacing_ms: 250, ..Script::default() };
    Load::start(gateway, secret, 500, &script)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures; run it by hand"]
async fn what_seats_feel_of_a_binary_swap() {
    let shape = Shape::new().await;
    let admin = shape.admin("admin").await;
    let mut old = shape.gateway("gateway").await;
    admin.make_provider(&shape).await;
    let (_, secret) = admin.make_seat("Ada").await;
    let mut changes = Changes::new(&admin).await;
    admin.in_force_on(1).await;
    let streams = many(&old.seats, &secret);
    streams.is_running().await;
    let (busy, knocking) = (old.load(&secret, 4), Knocking::start(old.seats.address()));

    let changing = tokio::spawn(async move {
        let mut newest = 0;
        for _ in 0..100 {
            newest = revision_of(&changes.next(&admin).await.headers);
        }
        (admin, newest)
    });
    let mut command = shape.command(GATEWAY, "gateway");
    command.arg("--upgrade");
    let mut new = Process::start(command);
    new.says("waiting for the listeners").await;
    old.process.signal(Signal::QUIT);
    let began = Instant::now();
    let new = Gateway::up(new).await;
    old.process.says("the successor serves").await;
    println!("the successor serves after {:?}, {} streams run", began.elapsed(), streams.running());
    let (admin, newest) = changing.await.unwrap();
    eventually("in force", || async { in_force(&new).await == newest }).await;
    println!(
        "100 changes are made and in force after {:?}, {} streams run",
        began.elapsed(),
        streams.running()
    );
    let (status, log) = old.process.ended().await;
    assert!(status.success(), "{log:#?}");
    println!("the predecessor ends after {:?}", began.elapsed());
    assert_eq!(new.ask(&secret).await.status, 200);
    admin.in_force_on(1).await;
    let (opened, short) = (knocking.end().await, busy.end().await);
    let long = streams.end().await;
    println!("{long} long and {short} short streams served, {opened} other connections, none cut or refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures; run it by hand"]
async fn what_seats_feel_of_a_rolling_restart() {
    let shape = Shape::new().await;
    let admin = shape.admin("admin").await;
    let start = async |name: &str, at: Option<&Gateway>| {
        let mut command = shape.command(GATEWAY, name);
        command.env("DRAIN_DELAY_SECS", "2");
        let (seats, ops) = at.map_or_else(|| (lasting_address(), lasting_address()), Gateway::addresses);
        command.env("GATEWAY_LISTEN", seats.to_string()).env("OPS_LISTEN", ops.to_string());
        Gateway::up(Process::start(command)).await
    };
    let mut gateways = [start("a", None).await, start("b", None).await];
    admin.make_provider(&shape).await;
    let (_, secret) = admin.make_seat("Ada").await;
    let mut changes = Changes::new(&admin).await;
    admin.in_force_on(2).await;
    let balancer = Balancer::open(&[&gateways[0], &gateways[1]]).await;
    let front = Client::new(balancer.address);
    let streams = many(&front, &secret);
    streams.is_running().await;
    let busy = Load::start(&front, &secret, 4, &short());
    let knocking = Knocking::start(balancer.address);

    for (at, name) in ["a", "b"].into_iter().enumerate() {
        let began = Instant::now();
        gateways[at].process.signal(Signal::TERM);
        balancer.dials(1).await;
        println!(
            "{name}: the balancer leaves it after {:?}, {} streams run",
            began.elapsed(),
            streams.running()
        );
        changes.next(&admin).await;
        let (status, log) = gateways[at].process.ended().await;
        assert!(status.success() && !log.concat().contains("grace"), "{log:#?}");
        println!("{name}: ended after {:?}", began.elapsed());
        gateways[at] = start(name, Some(&gateways[at])).await;
        balancer.dials(2).await;
        println!("{name}: served again after {:?}, {} streams run", began.elapsed(), streams.running());
        change_arrives(&mut changes, &admin, 2).await;
    }
    let (opened, short) = (knocking.end().await, busy.end().await);
    let long = streams.end().await;
    assert_eq!(balancer.refused(), 0, "connections that no gateway took");
    println!("{long} long and {short} short streams served, {opened} other connections, none cut or refused");
    println!("connections by gateway: {:?}", balancer.passed());
}

fn large() -> Snapshot {
    let mut made = snapshot((1..=200).map(provider).collect());
    made.core.prices = (0..2_000).map(|n| (format!("model-{n}"), ModelPrice::default())).collect();
    made.principals.users = (1..=2_000).map(user_doc).collect();
    made.principals.keys = (1..=20_000).map(|id| key_doc(id, 1 + id % 2_000)).collect();
    made
}

/// A start until `/ready` says yes; what the process then takes, in KiB.
async fn time_start(shape: &Shape, name: &str) -> (Gateway, Duration, u64) {
    let mut command = shape.command(GATEWAY, name);
    command.env("HUB_SECRET_KEY", "2a".repeat(32));
    let began = Instant::now();
    let gateway = Gateway::up(Process::start(command)).await;
    eventually("ready", || async { gateway.ops.get("/ready").await.status == 200 }).await;
    let took = began.elapsed();
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.process.id())).unwrap();
    (gateway, took, figure(&status, "VmRSS:"))
}

/// User and system time of a process, in ticks of 10 ms.
fn ticks(process: &Process) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures; run it by hand"]
async fn what_twenty_thousand_keys_cost() {
    let mut shape = Shape::new().await;
    let link = Link::open(&RedisConfig::new(shape.redis_url(), None)).unwrap();
    link.connected().await;
    let publisher = RedisPublisher::new(link);
    publisher.publish(snapshot(vec![provider(1)])).await.unwrap();
    let (mut starts, mut small) = (vec![], vec![]);
    for n in 0..10 {
        let (mut gateway, took, rss) = time_start(&shape, &format!("small {n}")).await;
        gateway.process.stop().await;
        starts.push(took);
        small.push(rss);
    }
    small.sort_unstable();
    println!("one key: ready after: {}; median {} KiB", Times::of(starts), small[5]);

    let mut newest = Snapshot { revision: Revision(2), ..large() };
    let began = Instant::now();
    publisher.publish(newest.clone()).await.unwrap();
    println!("20 000 keys, 200 providers, 2 000 prices are published after {:?}", began.elapsed());
    println!("  Redis: {}", shape.redis.cli(&["INFO", "memory"]).lines().nth(2).unwrap_or_default());
    let (mut starts, mut sizes) = (vec![], vec![]);
    for n in 0..10 {
        let name = format!("large {n}");
        let (mut gateway, took, rss) = time_start(&shape, &name).await;
        assert_eq!(in_force(&gateway).await, 2);
        gateway.process.stop().await;
        starts.push(took);
        sizes.push(rss);
    }
    sizes.sort_unstable();
    println!("20 000 keys: ready from Redis after: {}; median {} KiB", Times::of(starts), sizes[5]);
    println!("  that is {} KiB more", sizes[5] - small[5]);

    let (gateway, _, _) = time_start(&shape, "changed").await;
    let (mut published, mut arrived) = (vec![], vec![]);
    let before = ticks(&gateway.process);
    for n in 0..200 {
        newest.revision = Revision(newest.revision.0 + 1);
        newest.principals.keys[n * 99].name = format!("changed {n}");
        let began = Instant::now();
        publisher.publish(newest.clone()).await.unwrap();
        published.push(began.elapsed());
        eventually("in force", || async { in_force(&gateway).await == newest.revision.0 }).await;
        arrived.push(began.elapsed());
    }
    let cpu = (ticks(&gateway.process) - before) * 10;
    println!("one changed key of 20 000: published after: {}", Times::of(published));
    println!("one changed key of 20 000: in force after: {}", Times::of(arrived));
    println!("200 changed keys take {cpu} ms of the gateway's CPU, with what asks it for the revision");
    drop(gateway);

    shape.redis.kill();
    let mut starts = vec![];
    for n in 0..10 {
        let (mut gateway, took, _) = time_start(&shape, &format!("large {n}")).await;
        gateway.process.kill().await;
        starts.push(took);
    }
    println!("20 000 keys: ready from its disk, without Redis, after: {}", Times::of(starts));
}
