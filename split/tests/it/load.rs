//! Seats that stream without a pause, and one that only knocks.

use crate::harness::{message, open};
use simulator::Script;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use testbed::{Answer, Client, eventually};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::interval;

/// Short streams, as many as there is time for.
pub fn short() -> Script {
    Script { events: Some(20), spacing_ms: 10, ..Script::default() }
}

/// Each stream has a connection of its own. One that is refused or cut ends its seat, and fails the test at the end.
pub struct Load {
    is_over: Arc<AtomicBool>,
    running: Arc<AtomicUsize>,
    seats: Vec<JoinHandle<usize>>,
}

impl Load {
    pub fn start(gateway: &Client, secret: &str, count: usize, script: &Script) -> Self {
        let (is_over, running) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let script = script.to_header();
        let seats = (0..count).map(|_| {
            let (is_over, running) = (is_over.clone(), running.clone());
            let (gateway, secret, script) = (gateway.clone(), secret.to_owned(), script.clone());
            tokio::spawn(async move {
                let mut served = 0;
                while !is_over.load(Ordering::SeqCst) {
                    let more = [("x-sim-script", &*script)];
                    let answer = open(&gateway, &secret, &more, &message(true)).await;
                    running.fetch_add(1, Ordering::SeqCst);
                    let answer = Answer::whole(answer).await;
                    assert_eq!(answer.status, 200, "{answer:?}");
                    assert!(answer.text.contains("event: message_stop"), "a cut stream: {answer:?}");
                    running.fetch_sub(1, Ordering::SeqCst);
                    served += 1;
                }
                served
            })
        });
        let seats = seats.collect();
        Self { is_over, running, seats }
    }

    /// Streams that run now.
    pub fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }

    /// Waits until each seat has a stream that began to arrive.
    pub async fn is_running(&self) {
        eventually("all stream", || async { self.running() == self.seats.len() }).await;
    }

    /// Ends it with the streams that run; answers how many were served.
    pub async fn end(self) -> usize {
        self.is_over.store(true, Ordering::SeqCst);
        let (mut served, mut failed) = (0, 0);
        for seat in self.seats {
            match seat.await {
                Ok(count) => served += count,
                Err(_) => failed += 1,
            }
        }
        assert_eq!(failed, 0, "seats whose stream was refused or cut, after {served} others");
        served
    }
}

/// Connects to an address all the time.
pub struct Knocking {
    is_over: Arc<AtomicBool>,
    task: JoinHandle<(usize, usize)>,
}

impl Knocking {
    pub fn start(address: SocketAddr) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let until = is_over.clone();
        let task = tokio::spawn(async move {
            let (mut opened, mut refused) = (0, 0);
            // Not as fast as it goes: the machine's ports would be used up.
            let mut pace = interval(Duration::from_millis(5));
            while !until.load(Ordering::SeqCst) {
                pace.tick().await;
                match TcpStream::connect(address).await {
                    Ok(_) => opened += 1,
                    Err(_) => refused += 1,
                }
            }
            (opened, refused)
        });
        Self { is_over, task }
    }

    /// How many were opened; none was refused.
    pub async fn end(self) -> usize {
        self.is_over.store(true, Ordering::SeqCst);
        let (opened, refused) = self.task.await.unwrap();
        assert_eq!(refused, 0, "refused connections beside {opened} others");
        opened
    }
}
