//! What is on disk when, and what a disk that is full, broken or gone changes: nothing for the seats.

use crate::harness::{Hub, PATIENCE, claude, message, upstream};
use bytes::Bytes;
use shared::contract::node::NodeKind;
use shared::contract::usage::UsageRecord;
use shared::ids::RequestId;
use shared::journal::{Found, Replay, ends};
use shared::ports::{NodeRegistry as _, UsageSource};
use shared::testing;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

/// What the only journal of this directory says: what is open, and the requests that ended.
pub fn look(root: &Path) -> (Found, BTreeSet<String>) {
    let mut segments = Vec::new();
    for journal in std::fs::read_dir(root).into_iter().flatten().flatten() {
        let files = std::fs::read_dir(journal.path()).into_iter().flatten().flatten();
        segments.extend(files.map(|file| file.path()).filter(|path| path.extension().is_some()));
    }
    segments.sort();
    let (mut replay, mut ended) = (Replay::default(), BTreeSet::new());
    for (number, path) in segments.iter().enumerate() {
        // One that is in the books may go meanwhile.
        let bytes = match std::fs::read(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            read => read.unwrap(),
        };
        replay.read(number as u64 + 1, &bytes);
        for (_, record) in ends(&bytes, 1) {
            ended.insert(UsageRecord::from_bytes(record).unwrap().request.id.to_string());
        }
    }
    (replay.finish(), ended)
}

/// A provider that looks into the journal when it has the first byte of a request.
struct Looking {
    base_url: String,
    root: Arc<OnceLock<PathBuf>>,
    seen: Arc<Mutex<Vec<BTreeSet<RequestId>>>>,
}

impl Looking {
    /// Answers everybody with this.
    async fn start(answer: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        let (root, seen) = (Arc::new(OnceLock::<PathBuf>::new()), Arc::new(Mutex::new(Vec::new())));
        let (its_root, its_seen, answer) = (root.clone(), seen.clone(), Bytes::from(answer));
        tokio::spawn(async move {
            while let Ok((mut gateway, _)) = listener.accept().await {
                let (root, seen, answer) = (its_root.clone(), its_seen.clone(), answer.clone());
                tokio::spawn(async move {
                    let mut request = vec![0; 1];
                    gateway.read_exact(&mut request).await.unwrap();
                    let open = look(root.get().unwrap()).0.open;
                    seen.lock().unwrap().push(open.into_keys().collect());
                    while !is_whole(&request) {
                        assert_ne!(gateway.read_buf(&mut request).await.unwrap(), 0, "a whole request");
                    }
                    gateway.write_all(&answer).await.unwrap();
                    let _ = gateway.shutdown().await;
                });
            }
        });
        Self { base_url, root, seen }
    }
}

fn is_whole(message: &[u8]) -> bool {
    let Some(end) = message.windows(4).position(|end| end == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&message[..end]).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    match length {
        Some(length) => message.len() >= end + 4 + length.parse::<usize>().unwrap(),
        None => message.ends_with(b"\r\n0\r\n\r\n"),
    }
}

/// A seat that reads up to the last byte and not beyond.
async fn ask(hub: &Hub, key: &str, body: &str) -> Vec<u8> {
    let mut seat = TcpStream::connect(hub.handle.address).await.unwrap();
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: hub\r\nx-api-key: {key}\r\nanthropic-version: 2023-06-01\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let talk = async {
        seat.write_all(head.as_bytes()).await.unwrap();
        seat.write_all(body.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !is_whole(&answer) {
            assert_ne!(seat.read_buf(&mut answer).await.unwrap(), 0, "a whole answer");
        }
        answer
    };
    timeout(PATIENCE, talk).await.unwrap()
}

fn id_of(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    let line = text.lines().find_map(|line| line.strip_prefix("x-request-id: "));
    line.unwrap().to_owned()
}

fn json_answer(text_bytes: usize, is_chunked: bool) -> Vec<u8> {
    let body = serde_json::json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5",
        "content": [{"type": "text", "text": "x".repeat(text_bytes)}], "stop_reason": "end_turn",
        "usage": {"input_tokens": 5, "output_tokens": 7},
    })
    .to_string();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    if is_chunked {
        format!("{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
            .into_bytes()
    } else {
        format!("{head}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }
}

fn stream_answer(deltas: usize) -> Vec<u8> {
    let mut body = String::new();
    let mut event = |kind: &str, fields: serde_json::Value| {
        let mut data = serde_json::json!({ "type": kind });
        data.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        body.push_str(&format!("event: {kind}\ndata: {data}\n\n"));
    };
    let begun = serde_json::json!({"message": {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "content": [],
        "stop_reason": null, "usage": {"input_tokens": 5, "output_tokens": 1},
    }});
    event("message_start", begun);
    event(
        "content_block_start",
        serde_json::json!({"index": 0, "content_block": {"type": "text", "text": ""}}),
    );
    for _ in 0..deltas {
        let text = "x".repeat(1_000);
        event(
            "content_block_delta",
            serde_json::json!({"index": 0, "delta": {"type": "text_delta", "text": text}}),
        );
    }
    event("content_block_stop", serde_json::json!({"index": 0}));
    let over = serde_json::json!({"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}});
    event("message_delta", over);
    event("message_stop", serde_json::json!({}));
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_begin_is_on_disk_before_the_provider_has_a_byte_and_an_end_before_the_seat_has_the_last_one() {
    let small = message(false);
    let large = small.replace("Say hello.", &"hello ".repeat(400_000));
    let refusal = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: 75\r\n\r\n\
        {\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"odd one\"}}";
    for (answer, body) in [
        (stream_answer(1), message(true)),
        (stream_answer(300), message(true)),
        (json_answer(10, false), small.clone()),
        (json_answer(10, true), small.clone()),
        (json_answer(300_000, false), large),
        // More than is held.
        (json_answer(34 << 20, false), small.clone()),
        (json_answer(34 << 20, true), small.clone()),
        (refusal.to_vec(), small.clone()),
    ] {
        let provider = Looking::start(answer).await;
        let hub = Hub::start(vec![claude(1, &provider.base_url)]).await;
        provider.root.set(hub.journal_root()).unwrap();
        for _ in 0..3 {
            let answer = ask(&hub, &testing::client_secret(1), &body).await;
            let (found, ended) = look(&hub.journal_root());
            assert!(ended.contains(&id_of(&answer)), "{}", String::from_utf8_lossy(&answer[..300]));
            assert!(found.open.is_empty());
            let seen = std::mem::take(&mut *provider.seen.lock().unwrap());
            assert_eq!(seen.len(), 1, "one call");
            assert!(seen[0].iter().map(ToString::to_string).eq([id_of(&answer)]), "{seen:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_on_disk_before_the_seat_has_its_last_byte() {
    // Nobody to serve it; and no JSON.
    let hub = Hub::start(vec![]).await;
    for body in [message(false), "{".to_owned()] {
        let answer = ask(&hub, &testing::client_secret(1), &body).await;
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
        assert!(look(&hub.journal_root()).1.contains(&id_of(&answer)));
    }
}

async fn serve(hub: &Hub, count: usize) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for n in 0..count {
        let answer = hub.post("/v1/messages", message(n % 2 == 0)).await;
        assert_eq!(answer.status, 200);
        ids.insert(answer.headers["x-request-id"].to_str().unwrap().to_owned());
    }
    ids
}

async fn becomes(hub: &Hub, name: &str, wanted: u64) {
    let until = Instant::now() + PATIENCE;
    while hub.figure(name).await != wanted {
        assert!(Instant::now() < until, "{name} {wanted} in time");
        tokio::task::yield_now().await;
    }
}

const IN_MEMORY: &str = "cch_journal_records_total{kept=\"in_memory\"}";
const WRITABLE: &str = "cch_journal_writable";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_disk_all_are_served_counted_and_booked_and_the_disk_is_used_when_it_is_there() {
    let upstream = upstream().await;
    let snapshot = testing::snapshot(vec![claude(1, &upstream.base_url())]);
    let hub = Hub::start_as(snapshot, |config| {
        // A file where the directory should be.
        std::fs::write(config.journal.root.as_ref().unwrap(), "in the way").unwrap();
    })
    .await;
    assert_eq!(hub.figure(WRITABLE).await, 0, "said before anybody asks");
    serve(&hub, 20).await;
    assert_eq!(hub.figure(IN_MEMORY).await, 20);
    assert_eq!(hub.figure(WRITABLE).await, 0);
    hub.records(20).await;
    std::fs::remove_file(hub.journal_root()).unwrap();
    becomes(&hub, WRITABLE, 1).await;
    let ids = serve(&hub, 3).await;
    assert!(look(&hub.journal_root()).1.is_superset(&ids));
    assert_eq!(hub.figure("cch_journal_records_total{kept=\"on_disk\"}").await, 3);
    hub.records(23).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_is_there_from_the_start_to_the_stop_and_then_its_node_says_that_nothing_of_it_is_left() {
    let hub = Hub::start(vec![]).await;
    let (root, nodes, usage) = (hub.journal_root(), hub.nodes.clone(), hub.usage.clone());
    let journals = || {
        let entries = std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap());
        entries.filter(|entry| entry.path().is_dir()).count()
    };
    assert_eq!(journals(), 1, "nobody has asked yet");
    assert_eq!(hub.post("/v1/messages", message(false)).await.status, 503);
    hub.records(1).await;
    usage.discard(1);
    timeout(PATIENCE, hub.handle.stop()).await.unwrap();
    assert_eq!(journals(), 0);
    let [last] = &nodes.nodes().await.unwrap()[..] else { panic!("one node") };
    assert_eq!(last.kind, NodeKind::Left);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_is_taken_away_is_made_again() {
    let upstream = upstream().await;
    let hub = Hub::start(vec![claude(1, &upstream.base_url())]).await;
    serve(&hub, 3).await;
    std::fs::remove_dir_all(hub.journal_root()).unwrap();
    let mut count = 3;
    let until = Instant::now() + PATIENCE;
    loop {
        count += 1;
        let ids = serve(&hub, 1).await;
        if look(&hub.journal_root()).1.is_superset(&ids) {
            break;
        }
        assert!(Instant::now() < until, "a journal in time");
    }
    becomes(&hub, WRITABLE, 1).await;
    hub.records(count).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_at_its_bound_stays_there_and_is_written_again_when_the_books_come_by() {
    let upstream = upstream().await;
    let snapshot = testing::snapshot(vec![claude(1, &upstream.base_url())]);
    let hub = Hub::start_as(snapshot, |config| config.journal.total_bytes = 20 << 10).await;
    let mut served = serve(&hub, 60).await;
    assert!(hub.figure(IN_MEMORY).await > 5);
    assert_eq!(hub.figure(WRITABLE).await, 0);
    assert!(hub.figure("cch_journal_bytes").await <= 20 << 10);
    // All of them are handed over, also those that never saw the disk.
    let booked = hub.records(60).await;
    assert_eq!(booked.iter().map(|record| record.request.id.to_string()).collect::<BTreeSet<_>>(), served);
    hub.usage.discard(60);
    becomes(&hub, WRITABLE, 1).await;
    becomes(&hub, "cch_journal_unbooked_records", 0).await;
    // What is in the books goes with the next sync.
    let until = Instant::now() + PATIENCE;
    while hub.figure("cch_journal_bytes").await > 10 << 10 {
        assert!(Instant::now() < until, "room in time");
        tokio::task::yield_now().await;
    }
    served = serve(&hub, 3).await;
    assert!(look(&hub.journal_root()).1.is_superset(&served));
    assert!(hub.usage.take(100).await.unwrap().len() <= 3);
    assert_eq!(hub.figure("cch_journal_records_total{kept=\"lost\"}").await, 0);
}

/// A file whose reader waits, as on a disk that does not answer: a pipe. It ends the waiting when it goes, because a
/// runtime ends with its threads.
struct Stuck(PathBuf);

impl Drop for Stuck {
    fn drop(&mut self) {
        // Open for both, it waits for nobody; once the name is gone, nobody comes to wait.
        let pipe = std::fs::OpenOptions::new().read(true).write(true).open(&self.0);
        let _ = std::fs::remove_file(&self.0);
        drop(pipe);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_does_not_answer_does_not_hold_up_what_memory_has() {
    let upstream = upstream().await;
    let snapshot = testing::snapshot(vec![claude(1, &upstream.base_url())]);
    let mut stuck = None;
    let hub = Hub::start_as(snapshot, |config| {
        let dead = config.journal.root.as_ref().unwrap().join("01a21532-9600-7cf6-b67e-d42f6b1d49b7");
        std::fs::create_dir_all(&dead).unwrap();
        std::fs::write(dead.join("lock"), "").unwrap();
        let pipe = dead.join("00000001.seg");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        stuck = Some(Stuck(pipe));
    })
    .await;
    let served = serve(&hub, 3).await;
    let booked = hub.records(3).await;
    drop(stuck);
    assert_eq!(booked.iter().map(|record| record.request.id.to_string()).collect::<BTreeSet<_>>(), served);
}
