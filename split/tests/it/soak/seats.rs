//! Seats that ask without a pause, leave now and then, and note what they saw. Nothing that happens to them is an
//! error here: a gateway may be gone.

use super::asks::{Api, script};
use super::dice::Dice;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use simulator::Script;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// What a seat saw of one request.
#[derive(Debug)]
pub struct Seen {
    /// Its `user-agent`, which the log keeps, and its `x-sim-id`, which the simulator keeps.
    pub marker: String,
    pub path: &'static str,
    pub script: Script,
    /// Which gateway was asked.
    pub node: usize,
    pub asked_at: Instant,
    pub over_at: Instant,
    pub status: Option<u16>,
    /// `x-request-id`.
    pub id: Option<String>,
    pub end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// No connection.
    Refused,
    /// The connection broke.
    Broken,
    /// The seat left.
    Left,
    /// All of the answer was there.
    Whole,
    /// Nothing came for half a minute.
    Stuck,
}

/// Whom seats ask, and as whom.
#[derive(Clone)]
pub struct Way {
    pub nodes: [SocketAddr; 2],
    pub secrets: Vec<String>,
    pub may_hang: bool,
}

/// All seats of a round.
pub struct Seats {
    is_over: Arc<AtomicBool>,
    seats: Vec<JoinHandle<Vec<Seen>>>,
}

impl Seats {
    pub fn start(way: &Way, round: u64, seed: u64, count: u64) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let seats = (0..count).map(|seat| {
            let (way, is_over) = (way.clone(), is_over.clone());
            tokio::spawn(async move {
                let mut dice = Dice::other(seed, seat + 1);
                let mut seen = Vec::new();
                while !is_over.load(Ordering::SeqCst) {
                    let marker = format!("soak/{round}/{seat}/{}", seen.len());
                    let one = ask(&way, &mut dice, marker).await;
                    if one.end == End::Refused {
                        sleep(Duration::from_millis(50)).await;
                    }
                    seen.push(one);
                }
                seen
            })
        });
        Self { seats: seats.collect(), is_over }
    }

    /// Ends them with the request that each is in.
    pub async fn end(self) -> Vec<Seen> {
        self.is_over.store(true, Ordering::SeqCst);
        let mut seen = Vec::new();
        for seat in self.seats {
            seen.extend(seat.await.unwrap());
        }
        seen
    }
}

async fn ask(way: &Way, dice: &mut Dice, marker: String) -> Seen {
    let api = dice.one_of(&Api::ALL);
    let is_stream = !dice.is_one_in(3);
    let script = script(dice, api, is_stream, way.may_hang);
    let node = dice.between(0, 2) as usize;
    let leaves_after = dice.is_one_in(8).then(|| dice.millis(0, 600));
    let secret = &way.secrets[dice.between(0, way.secrets.len() as u64) as usize];
    let (name, credential) = api.credential(secret);
    let request = Request::post(api.path(is_stream))
        .header("host", "hub")
        .header("content-type", "application/json")
        .header("user-agent", &marker)
        .header("x-sim-id", &marker)
        .header("x-sim-script", script.to_header())
        .header(name, credential)
        .body(Full::new(Bytes::from(api.body(is_stream).to_string())))
        .unwrap();
    let now = Instant::now();
    let mut seen = Seen {
        marker,
        path: api.path(is_stream),
        script,
        node,
        asked_at: now,
        over_at: now,
        status: None,
        id: None,
        end: End::Stuck,
    };
    let exchange = timeout(leaves_after.unwrap_or(PATIENCE), exchange(way.nodes[node], request, &mut seen));
    let end = exchange.await.unwrap_or(if leaves_after.is_some() { End::Left } else { End::Stuck });
    seen.end = end;
    seen.over_at = Instant::now();
    seen
}

/// Dropped before its end, it closes the connection.
async fn exchange(node: SocketAddr, request: Request<Full<Bytes>>, seen: &mut Seen) -> End {
    let Ok(socket) = TcpStream::connect(node).await else { return End::Refused };
    let Ok((mut sender, connection)) = http1::handshake(TokioIo::new(socket)).await else {
        return End::Broken;
    };
    let answer = async {
        let Ok(answer) = sender.send_request(request).await else { return End::Broken };
        let text = |headers: &HeaderMap| Some(headers.get("x-request-id")?.to_str().ok()?.to_owned());
        seen.status = Some(answer.status().as_u16());
        seen.id = text(answer.headers());
        let mut body = answer.into_body();
        while let Some(piece) = body.frame().await {
            if piece.is_err() {
                return End::Broken;
            }
        }
        End::Whole
    };
    // The connection runs beside the answer, in the same task: both end together.
    tokio::pin!(answer, connection);
    tokio::select! {
        biased;
        end = &mut answer => end,
        _ = &mut connection => answer.await,
    }
}

/// Longer than all that a provider may take here.
const PATIENCE: Duration = Duration::from_secs(30);
