//! The case of many open streams: how much memory each process takes for them, above what it had after it had
//! served many requests. Fresh processes in every round.

use crate::Setup;
use crate::bodies::{CASES, SLOW};
use crate::hub::client_secret;
use crate::load::{Load, Span, answered};
use crate::subjects::{Stand, Subject, proxies};
use crate::upstream::OPENING_EVENTS;
use crate::wire::{Fault, Wire};
use anyhow::{Context, Result};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{Barrier, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How the case is run.
#[derive(Clone, Debug)]
pub struct StreamsSetup {
    /// Rounds; 0 leaves the case out.
    pub rounds: usize,
    /// Requests served before.
    pub served_before: usize,
    /// Streams open at a time.
    pub open: usize,
    /// The pause between two events of a stream.
    pub event_every: Duration,
}

/// Resident memory of one subject in one round, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// After the requests, their connections closed.
    pub before: u64,
    /// With all streams open.
    pub during: u64,
}

/// Runs the case: the memory of each proxy, one value a round.
pub async fn run(setup: &Setup, progress: &mut impl FnMut(&str)) -> Result<Vec<(Subject, Vec<Memory>)>> {
    let mut all: Vec<_> = proxies(setup).into_iter().map(|subject| (subject, Vec::new())).collect();
    for round in 0..setup.streams.rounds {
        progress(&format!("{} open streams, round {}", setup.streams.open, round + 1));
        for (subject, memory) in &mut all {
            let what = || format!("open streams through {}", subject.name());
            memory.push(measure(setup, *subject).await.with_context(what)?);
        }
    }
    Ok(all)
}

async fn measure(setup: &Setup, subject: Subject) -> Result<Memory> {
    let stand = Stand::start(setup, &[subject]).await?;
    let child = stand.child(subject)?;
    let [json, ..] = CASES;
    let mut load = Load::open(child.address, json, &client_secret(), CONNECTIONS).await?;
    load.run(Span::Requests(setup.streams.served_before)).await?;
    drop(load);
    let before = child.resident_bytes()?;

    let request: Arc<[u8]> = SLOW.request(&client_secret()).into();
    // Reached by every stream when it has read what is to be seen, and by us.
    let barrier = Arc::new(Barrier::new(setup.streams.open + 1));
    let openings = Arc::new(Semaphore::new(OPENING_AT_ONCE));
    let mut tasks = JoinSet::new();
    for _ in 0..setup.streams.open {
        tasks.spawn(watch(child.address, request.clone(), openings.clone(), barrier.clone()));
    }
    let all_open = async {
        tokio::select! {
            _ = barrier.wait() => Ok(()),
            // Nobody ends before the barrier but by a fault.
            Some(ended) = tasks.join_next() => ended?.context("a stream broke"),
        }
    };
    let patience = PATIENCE + setup.streams.event_every * 10;
    timeout(patience, all_open).await.context("not all streams opened in time")??;
    let during = child.resident_bytes()?;
    tasks.shutdown().await;
    stand.stop().await?;
    Ok(Memory { before, during })
}

/// Opens a stream, reads a few of its slow events, and holds it until it is aborted.
async fn watch(
    address: SocketAddr,
    request: Arc<[u8]>,
    openings: Arc<Semaphore>,
    barrier: Arc<Barrier>,
) -> Result<(), Fault> {
    let opening = openings.acquire().await;
    let mut wire = Wire::new(TcpStream::connect(address).await?, SMALL_BUFFER)?;
    wire.send(&request).await?;
    let (status, _) = wire.head(answered).await?.ok_or(Fault::Cut)?;
    if status != 200 {
        return Err(Fault::Status(status));
    }
    drop(opening);
    // Events, not chunks: a proxy may cut its chunks elsewhere.
    let (mut events, mut last) = (0, 0);
    let mut has_waited = false;
    loop {
        let length = wire
            .chunk(&mut |piece| {
                for &byte in piece {
                    events += usize::from(byte == b'\n' && last == b'\n');
                    last = byte;
                }
                Ok(())
            })
            .await?;
        if length == 0 {
            return Err(Fault::Cut);
        }
        if events >= OPENING_EVENTS + SLOW_EVENTS && !has_waited {
            has_waited = true;
            barrier.wait().await;
        }
    }
}

/// Slow events that each stream has had when memory is read: by then buffers have found their size.
const SLOW_EVENTS: usize = 3;
/// Streams are opened as seats come, not as a storm: what a storm leaves behind is not what is asked here.
const OPENING_AT_ONCE: usize = 32;
const CONNECTIONS: usize = 32;
const SMALL_BUFFER: usize = 8 << 10;
const PATIENCE: Duration = Duration::from_secs(60);
