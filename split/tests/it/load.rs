//! Seats that stream without a pause.

use crate::harness::{message, open};
use simulator::Script;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use testbed::{Answer, Client};
use tokio::task::JoinHandle;

/// Short streams, as many as there is time for.
pub fn short() -> Script {
    Script { events: Some(20), spacing_ms: 10, ..Script::default() }
}

/// Each stream has a connection of its own. One that is refused or cut ends its seat, and fails the test at the end.
pub struct Load {
    is_over: Arc<AtomicBool>,
    seats: Vec<JoinHandle<usize>>,
}

impl Load {
    pub fn start(gateway: &Client, secret: &str, count: usize, script: &Script) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let script = script.to_header();
        let seats = (0..count).map(|_| {
            let is_over = is_over.clone();
            let (gateway, secret, script) = (gateway.clone(), secret.to_owned(), script.clone());
            tokio::spawn(async move {
                let mut served = 0;
                while !is_over.load(Ordering::SeqCst) {
                    let more = [("x-sim-script", &*script)];
                    let answer = open(&gateway, &secret, &more, &message(true)).await;
                    let answer = Answer::whole(answer).await;
                    assert_eq!(answer.status, 200, "{answer:?}");
                    assert!(answer.text.contains("event: message_stop"), "a cut stream: {answer:?}");
                    served += 1;
                }
                served
            })
        });
        let seats = seats.collect();
        Self { is_over, seats }
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
