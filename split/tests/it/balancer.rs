//! A balancer as operators have one: it passes TCP on, asks each gateway's `/ready`, and dials only those that say yes.
//! It never tries another gateway for a connection that was refused: a test wants to see that.

use crate::harness::Gateway;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use testbed::eventually;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{interval, timeout};

pub struct Balancer {
    pub address: SocketAddr,
    nodes: Arc<Vec<Node>>,
    refused: Arc<AtomicUsize>,
}

struct Node {
    seats: SocketAddr,
    ops: SocketAddr,
    is_ready: AtomicBool,
    passed: AtomicUsize,
}

impl Balancer {
    /// In front of these.
    pub async fn open(gateways: &[&Gateway]) -> Self {
        let node = |gateway: &&Gateway| {
            let (seats, ops) = gateway.addresses();
            Node { seats, ops, is_ready: AtomicBool::new(false), passed: AtomicUsize::new(0) }
        };
        let nodes: Arc<Vec<Node>> = Arc::new(gateways.iter().map(node).collect());
        for at in 0..nodes.len() {
            let nodes = nodes.clone();
            tokio::spawn(async move { nodes[at].look().await });
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let refused = Arc::new(AtomicUsize::new(0));
        tokio::spawn(serve(listener, nodes.clone(), refused.clone()));
        let made = Self { address, nodes, refused };
        made.dials(gateways.len()).await;
        made
    }

    /// Waits until it dials so many.
    pub async fn dials(&self, count: usize) {
        eventually("the balancer has seen it", || async {
            self.nodes.iter().filter(|node| node.is_ready.load(Ordering::SeqCst)).count() == count
        })
        .await;
    }

    /// Connections that no gateway took.
    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }

    /// Connections that each gateway took.
    pub fn passed(&self) -> Vec<usize> {
        self.nodes.iter().map(|node| node.passed.load(Ordering::SeqCst)).collect()
    }
}

impl Node {
    async fn look(&self) {
        let mut pace = interval(EVERY);
        loop {
            pace.tick().await;
            let is_ready = matches!(timeout(EVERY, ready(self.ops)).await, Ok(Some(true)));
            self.is_ready.store(is_ready, Ordering::SeqCst);
        }
    }
}

/// `None`: nobody answers.
async fn ready(ops: SocketAddr) -> Option<bool> {
    let mut stream = TcpStream::connect(ops).await.ok()?;
    stream.write_all(b"GET /ready HTTP/1.1\r\nhost: ops\r\nconnection: close\r\n\r\n").await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    Some(answer.starts_with(b"HTTP/1.1 200 "))
}

async fn serve(listener: TcpListener, nodes: Arc<Vec<Node>>, refused: Arc<AtomicUsize>) {
    let mut next = 0;
    while let Ok((mut seat, _)) = listener.accept().await {
        next += 1;
        let ready = |at: &usize| nodes[*at].is_ready.load(Ordering::SeqCst);
        let chosen = (0..nodes.len()).map(|n| (next + n) % nodes.len()).find(ready);
        let (nodes, refused) = (nodes.clone(), refused.clone());
        tokio::spawn(async move {
            let dialled = match chosen {
                Some(at) => TcpStream::connect(nodes[at].seats).await.map(|stream| (at, stream)).ok(),
                None => None,
            };
            let Some((at, mut gateway)) = dialled else {
                refused.fetch_add(1, Ordering::SeqCst);
                return;
            };
            nodes[at].passed.fetch_add(1, Ordering::SeqCst);
            // How it ends is between the two.
            let _ = copy_bidirectional(&mut seat, &mut gateway).await;
        });
    }
}

const EVERY: Duration = Duration::from_millis(250);
