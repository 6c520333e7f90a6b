//! Each request is in the books once, whatever dies meanwhile.

use crate::harness::{Admin, Gateway, Shape, message, open};
use crate::load::Load;
use crate::process::{ADMIN, GATEWAY, Process};
use http::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};
use shared::contract::codec;
use shared::contract::snapshot::Snapshot;
use simulator::Script;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use testbed::{Client, eventually};
use tokio::task::JoinSet;
use tokio::time::sleep;

impl Shape {
    pub fn journal_root(&self, name: &str) -> PathBuf {
        self.directory.path().join(name).join("journal")
    }

    fn count(&self, sql: &str) -> usize {
        self.postgres.sql("hub", sql).trim().parse().unwrap()
    }

    /// Attempts in the ledger that ended so.
    fn attempts(&self, outcome: &str) -> usize {
        self.count(&format!("SELECT count(*) FROM ledger WHERE outcome = '{outcome}'"))
    }

    /// Waits until so many were served and so many interrupted, and no more; then looks whether the books agree.
    pub async fn books_have(&self, served: usize, interrupted: usize) {
        let says = || (self.attempts("served"), self.attempts("interrupted"));
        eventually("all are booked", || async { says() >= (served, interrupted) && says().1 >= interrupted })
            .await;
        assert_eq!(says(), (served, interrupted));
        assert_eq!(self.count("SELECT count(*) FROM request_log"), served + interrupted);
        assert_eq!(self.count("SELECT sum(requests) FROM usage_hourly"), served + interrupted);
        assert_eq!(self.count("SELECT count(*) FROM usage_dead_letters"), 0);
        let estimated =
            "SELECT count(*) FROM ledger WHERE outcome = 'interrupted' AND is_estimate AND input_tokens > 0";
        assert_eq!(self.count(estimated), interrupted);
        self.books_agree(&[]).await;
    }

    /// `cch-admin ledger check` finds nothing.
    pub async fn books_agree(&self, journals: &[PathBuf]) {
        let mut command = self.command(ADMIN, "admin");
        command.args(["ledger", "check"]);
        for journal in journals {
            command.arg("--journal").arg(journal);
        }
        let output = command.output().await.unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// Waits until a gateway would start by a configuration with so many keys, with nobody there to ask.
    pub async fn is_kept(&self, name: &str, keys: usize) {
        let path = self.directory.path().join(name).join("config.snapshot");
        eventually("the configuration is on disk", || async {
            // Behind a line that says when it was confirmed.
            let bytes = std::fs::read(&path).unwrap_or_default();
            let document = bytes.splitn(2, |byte| *byte == b'\n').nth(1);
            let kept = document.and_then(|document| codec::unpack::<Snapshot>(document).ok());
            kept.is_some_and(|snapshot| snapshot.principals.keys.len() == keys)
        })
        .await;
    }

    /// The directories of the journals that are there.
    fn journals(&self, name: &str) -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(self.journal_root(name)).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
    }

    /// Bytes of the newest segment of the one journal that is there.
    fn newest_segment(&self, name: &str) -> u64 {
        let journals = self.journals(name);
        assert_eq!(journals.len(), 1, "{journals:?}");
        let entries = std::fs::read_dir(&journals[0]).unwrap().map(Result::unwrap);
        let segments = entries.filter(|entry| entry.path().extension().is_some_and(|kind| kind == "seg"));
        segments.max_by_key(std::fs::DirEntry::file_name).unwrap().metadata().unwrap().len()
    }

    /// Waits until nothing is left of the dead, and nothing waits.
    pub async fn is_drained(&self, gateway: &Gateway, name: &str) {
        eventually("the directory is drained", || async {
            let page = gateway.ops.get("/metrics").await.text;
            page.contains("cch_journal_unbooked_records 0\n") && self.journals(name).len() <= 1
        })
        .await;
    }
}

/// Asks so many times, one after the other.
async fn serve(gateway: &Gateway, secret: &str, count: usize) {
    for _ in 0..count {
        assert_eq!(gateway.ask(secret).await.status, 200);
    }
}

/// So many streams that have begun and do not end by themselves.
async fn streams(seats: &Client, secret: &str, count: usize) -> Vec<Response<Incoming>> {
    let script = Script { events: Some(1_000), spacing_ms: 100, ..Script::default() }.to_header();
    let mut opening = JoinSet::new();
    for _ in 0..count {
        let (seats, secret, script) = (seats.clone(), secret.to_owned(), script.clone());
        opening.spawn(async move {
            let mut answer = open(&seats, &secret, &[("x-sim-script", &*script)], &message(true)).await;
            assert_eq!(answer.status(), 200);
            answer.body_mut().frame().await.unwrap().unwrap();
            answer
        });
    }
    opening.join_all().await
}

async fn ready() -> (Shape, Admin, Gateway, String) {
    ready_with(async |shape| shape.gateway("gateway").await).await
}

async fn ready_with(start: impl AsyncFnOnce(&Shape) -> Gateway) -> (Shape, Admin, Gateway, String) {
    let shape = Shape::new().await;
    let admin = shape.admin("admin").await;
    let gateway = start(&shape).await;
    admin.make_provider(&shape).await;
    let (_, secret) = admin.make_seat("Ada").await;
    admin.in_force_on(1).await;
    gateway.answers(&secret, 200).await;
    (shape, admin, gateway, secret)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_is_killed_under_two_hundred_streams_has_all_of_them_booked_by_the_next_one() {
    let (shape, admin, mut gateway, secret) = ready().await;
    shape.is_kept("gateway", 1).await;
    // Nobody books meanwhile, and Redis loses what it has: only the disk knows.
    admin.process.signal(Signal::STOP);
    let cut = streams(&gateway.seats, &secret, 200).await;
    serve(&gateway, &secret, 40).await;
    gateway.process.kill().await;
    drop(cut);
    shape.redis.cli(&["FLUSHALL"]);
    let next = shape.gateway("gateway").await;
    serve(&next, &secret, 5).await;
    admin.process.signal(Signal::CONT);
    shape.books_have(1 + 40 + 5, 200).await;
    shape.is_drained(&next, "gateway").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_beside_it_on_the_same_directory_books_what_a_killed_one_left() {
    let (shape, _admin, mut first, secret) = ready().await;
    let second = shape.gateway("gateway").await;
    second.answers(&secret, 200).await;
    let cut = streams(&first.seats, &secret, 50).await;
    let going_on = streams(&second.seats, &secret, 5).await;
    serve(&first, &secret, 20).await;
    first.process.kill().await;
    drop(cut);
    shape.books_have(2 + 20, 50).await;
    drop(going_on);
    shape.is_drained(&second, "gateway").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_binary_swap_the_successor_books_what_the_killed_predecessor_left() {
    let (shape, _admin, mut old, secret) = ready().await;
    let cut = streams(&old.seats, &secret, 30).await;
    let mut command = shape.command(GATEWAY, "gateway");
    command.arg("--upgrade");
    let mut new = Process::start(command);
    new.says("waiting for the listeners").await;
    old.process.signal(Signal::QUIT);
    let new = Gateway::up(new).await;
    old.process.says("the successor serves").await;
    serve(&new, &secret, 10).await;
    old.process.kill().await;
    drop(cut);
    shape.books_have(1 + 10, 30).await;
    shape.is_drained(&new, "gateway").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_redis_loses_before_it_is_booked_is_sent_again() {
    let (shape, mut admin, gateway, secret) = ready().await;
    shape.books_have(1, 0).await;
    admin.process.kill().await;
    serve(&gateway, &secret, 60).await;
    eventually("all are handed over", || async {
        shape.redis.cli(&["XLEN", "cch:{usage}:stream"]).parse::<usize>().unwrap() >= 60
    })
    .await;
    shape.redis.cli(&["FLUSHALL"]);
    serve(&gateway, &secret, 10).await;
    let _admin = shape.admin("admin").await;
    shape.books_have(71, 0).await;
    shape.is_drained(&gateway, "gateway").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_side_that_is_killed_while_it_books_leaves_all_to_the_others() {
    let (shape, mut first, gateway, secret) = ready().await;
    let mut others = vec![shape.admin("admin 2").await, shape.admin("admin 3").await];
    for _ in 0..3 {
        serve(&gateway, &secret, 40).await;
        first.process.kill().await;
        // What it held is lent anew after a minute: this is that minute.
        let age = "local p = redis.call('XPENDING', KEYS[1], 'books', '-', '+', 10000) \
                   for _, e in ipairs(p) do \
                   redis.call('XCLAIM', KEYS[1], 'books', e[2], 0, e[1], 'IDLE', 61000, 'JUSTID') end return #p";
        shape.redis.cli(&["EVAL", age, "1", "cch:{usage}:stream"]);
        others.push(shape.admin("admin").await);
        first = others.remove(0);
    }
    shape.books_have(1 + 120, 0).await;
    shape.is_drained(&gateway, "gateway").await;
}

/// Eight seats ask so often each, and are served.
async fn eight_ask(gateway: &Gateway, secret: &str, each: usize) {
    let mut asking = JoinSet::new();
    for _ in 0..8 {
        let (seats, secret) = (gateway.seats.clone(), secret.to_owned());
        asking.spawn(async move {
            for _ in 0..each {
                let answer = open(&seats, &secret, &[], &message(false)).await;
                assert_eq!(answer.status(), 200);
                answer.into_body().collect().await.unwrap();
            }
        });
    }
    asking.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_postgres_is_away_the_journal_grows_and_afterwards_it_is_empty() {
    let (mut shape, _admin, gateway, secret) = ready().await;
    shape.books_have(1, 0).await;
    shape.postgres.stop_server();
    eight_ask(&gateway, &secret, 50).await;
    let page = gateway.ops.get("/metrics").await.text;
    assert!(page.contains("cch_journal_unbooked_records 400\n"), "{page}");
    assert!(page.contains("cch_journal_records_total{kept=\"on_disk\"} 401\n"), "{page}");
    let journals = [shape.journal_root("gateway")];
    shape.postgres.start_server();
    shape.books_have(401, 0).await;
    shape.books_agree(&journals).await;
    shape.is_drained(&gateway, "gateway").await;
}

/// How far each file of the process may grow; `None`: as far as those of this one. What it writes beyond that is answered by
/// an error, in the middle of a record, as a full disk does it.
fn give_room(gateway: &Gateway, bytes: Option<u64>) {
    let pid = Pid::from_raw(i32::try_from(gateway.process.id()).unwrap());
    let maximum = getrlimit(Resource::Fsize).maximum;
    prlimit(pid, Resource::Fsize, Rlimit { current: bytes.or(maximum), maximum }).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_disk_is_full_all_are_served_and_alarmed_of_and_afterwards_the_disk_has_all_of_them() {
    let (shape, admin, mut gateway, secret) = ready_with(async |shape| {
        let mut command = shape.command("/bin/sh", "gateway");
        // A limit of the file size is an error only for whoever ignores the signal.
        command.args(["-c", "trap '' XFSZ; exec \"$0\"", GATEWAY]);
        Gateway::up(Process::start(command)).await
    })
    .await;
    shape.is_kept("gateway", 1).await;
    let page = async |gateway: &Gateway| gateway.ops.get("/metrics").await.text;
    let says = async |gateway: &Gateway, line: &str| {
        eventually(line, || async { page(gateway).await.contains(&format!("\n{line}\n")) }).await;
    };
    says(&gateway, "cch_journal_writable 1").await;
    shape.books_have(1, 0).await;
    // Nobody books meanwhile: what the gateway has, it has to keep.
    admin.process.signal(Signal::STOP);
    let mut cut = streams(&gateway.seats, &secret, 5).await;
    serve(&gateway, &secret, 10).await;

    // The open segment takes a part of the next record, and no other file takes anything.
    give_room(&gateway, Some(shape.newest_segment("gateway") + 100));
    serve(&gateway, &secret, 1).await;
    give_room(&gateway, Some(1));
    serve(&gateway, &secret, 39).await;
    cut.extend(streams(&gateway.seats, &secret, 5).await);
    says(&gateway, "cch_journal_writable 0").await;
    let alarm = gateway.process.says("the usage journal cannot be written").await;
    assert_eq!(alarm["level"], "ERROR", "{alarm}");
    let before = kept(&page(&gateway).await, "in_memory");
    serve(&gateway, &secret, 20).await;
    let full = page(&gateway).await;
    assert_eq!(kept(&full, "in_memory"), before + 20, "{full}");
    assert_eq!(kept(&full, "on_disk") + kept(&full, "in_memory"), 1 + 10 + 40 + 20, "{full}");
    assert!(before >= 39, "{full}");
    assert_eq!(kept(&full, "lost"), 0, "{full}");
    assert!(full.contains("\ncch_journal_writable 0\n"), "{full}");

    give_room(&gateway, None);
    says(&gateway, "cch_journal_writable 1").await;
    gateway.process.says("the usage journal is written again").await;
    serve(&gateway, &secret, 10).await;
    assert_eq!(kept(&page(&gateway).await, "in_memory"), before + 20, "the disk takes them again");
    // Now only the disk knows.
    gateway.process.kill().await;
    drop(cut);
    shape.redis.cli(&["FLUSHALL"]);
    admin.process.signal(Signal::CONT);
    let next = shape.gateway("gateway").await;
    serve(&next, &secret, 5).await;
    shape.books_have(1 + 10 + 40 + 20 + 10 + 5, 10).await;
    shape.is_drained(&next, "gateway").await;
}

/// Records that a page of metrics says were kept so.
fn kept(page: &str, how: &str) -> u64 {
    let name = format!("cch_journal_records_total{{kept=\"{how}\"}} ");
    let count = page.lines().find_map(|line| line.strip_prefix(&name));
    count.expect("it is on the page").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_tells_what_is_missing_and_what_is_wrong_and_a_rebuild_mends_the_roll_ups() {
    let (shape, mut admin, gateway, secret) = ready().await;
    serve(&gateway, &secret, 5).await;
    shape.books_have(6, 0).await;
    admin.process.kill().await;
    serve(&gateway, &secret, 2).await;
    let run = async |arguments: &[&str]| {
        let output = shape.command(ADMIN, "admin").args(arguments).output().await.unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(run(&["ledger", "check"]).await, (0, "the books agree\n".to_owned()));
    let root = shape.journal_root("gateway");
    let (status, said) = run(&["ledger", "check", "--journal", root.to_str().unwrap()]).await;
    assert_eq!((status, said.matches("in the journal, not in the ledger").count()), (1, 2), "{said}");
    let _ = shape.postgres.sql("hub", "UPDATE usage_hourly SET output_tokens = output_tokens + 1");
    let (status, said) = run(&["ledger", "check"]).await;
    assert_eq!((status, said.matches("output_tokens").count()), (1, 1), "{said}");
    let rebuilt = "1 hours looked at, 1 made again\n0 days looked at, 0 made again\n".to_owned();
    assert_eq!(run(&["rollups", "rebuild"]).await, (0, rebuilt));
    assert_eq!(run(&["ledger", "check"]).await.0, 0);
    let wrong = shape.command(ADMIN, "admin").env("DSN", "nowhere").args(["ledger", "check"]).status();
    assert_eq!(wrong.await.unwrap().code(), Some(2));
    assert_eq!(run(&["ledger", "check", "--journal", "/nowhere"]).await.0, 1);
}

/// `OUTAGE_MINUTES=10 cargo test --release -p split --test it long_outage -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes and prints figures; run it by hand"]
async fn a_long_outage_of_postgres_at_full_load_loses_nothing() {
    let minutes = std::env::var("OUTAGE_MINUTES").map_or(10, |text| text.parse().unwrap());
    let (mut shape, _admin, gateway, secret) = ready().await;
    shape.postgres.stop_server();
    let began = Instant::now();
    let load = Load::start(&gateway.seats, &secret, 32, &Script { events: Some(3), ..Script::default() });
    let figures = async || {
        let page = gateway.ops.get("/metrics").await.text;
        let wanted = ["cch_journal_bytes ", "cch_journal_unbooked_records ", "cch_journal_records_total"];
        let lines = page.lines().filter(|line| wanted.iter().any(|name| line.starts_with(name)));
        let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.process.id())).unwrap();
        let rss = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
        println!("{:>4} s {} {rss}", began.elapsed().as_secs(), lines.collect::<Vec<_>>().join(" "));
    };
    while began.elapsed() < Duration::from_secs(60 * minutes) {
        // The outage has its length: this is what is tried.
        sleep(Duration::from_secs(15)).await;
        figures().await;
        let page = gateway.ops.get("/metrics").await.text;
        let bytes = page.lines().find_map(|line| line.strip_prefix("cch_journal_bytes ")).unwrap();
        assert!(bytes.parse::<u64>().unwrap() <= 4_096 << 20, "JOURNAL_MAX_MB");
    }
    let served = load.end().await + 1;
    figures().await;
    shape.postgres.start_server();
    let back = Instant::now();
    loop {
        // Asked seldom: counting costs the database more the more there is.
        sleep(Duration::from_secs(1)).await;
        let booked = shape.count("SELECT count(*) FROM request_log");
        if booked >= served {
            break;
        }
        assert!(back.elapsed() < Duration::from_secs(300 * minutes), "{booked} of {served} are booked");
    }
    println!("{served} served in {minutes} min; booked {:?} after Postgres was back", back.elapsed());
    shape.books_have(served, 0).await;
    shape.is_drained(&gateway, "gateway").await;
    figures().await;
}
