//! The load generator: a closed loop over keep-alive connections, in one thread, which compares every reply
//! with what the upstream sent, byte for byte. The first fault ends the measurement.

use crate::bodies::Case;
use crate::wire::{BUFFER_BYTES, Fault, Framing, MAX_FIELDS, Parsed, Wire};
use anyhow::{Context, Result, bail};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long a measurement lasts.
#[derive(Clone, Copy, Debug)]
pub enum Span {
    /// This much time; a request that has begun is finished.
    Time(Duration),
    /// This many requests, over all connections.
    Requests(usize),
}

impl Span {
    /// A tenth of it, for warming up.
    #[must_use]
    pub fn tenth(self) -> Self {
        match self {
            Self::Time(time) => Self::Time(time / 10),
            Self::Requests(count) => Self::Requests(count.div_ceil(10)),
        }
    }
}

/// Open connections and what is sent over them.
pub struct Load {
    connections: Vec<Wire>,
    exchange: Arc<Exchange>,
}

/// What a run took.
pub struct Run {
    /// From the first request to the end of the last.
    pub elapsed: Duration,
    /// Of each request, from the first byte written to the last byte read; sorted.
    pub latencies: Vec<Duration>,
}

struct Exchange {
    request: Vec<u8>,
    expected: Vec<u8>,
}

impl Load {
    /// Opens the connections.
    pub async fn open(address: SocketAddr, case: Case, secret: &str, connections: usize) -> Result<Self> {
        let exchange = Exchange { request: case.request(secret), expected: case.reply.body() };
        let mut wires = Vec::with_capacity(connections);
        for _ in 0..connections {
            let stream = TcpStream::connect(address).await.context("cannot connect")?;
            wires.push(Wire::new(stream, BUFFER_BYTES)?);
        }
        Ok(Self { connections: wires, exchange: Arc::new(exchange) })
    }

    /// Sends as fast as replies come, on all connections, for as long as `span` says.
    pub async fn run(&mut self, span: Span) -> Result<Run> {
        let (until, count) = match span {
            Span::Time(time) => (Some(Instant::now() + time), usize::MAX),
            Span::Requests(count) => (None, count),
        };
        let tickets = Arc::new(AtomicUsize::new(count));
        let mut tasks = JoinSet::new();
        let began = Instant::now();
        for mut wire in self.connections.drain(..) {
            let (exchange, tickets) = (self.exchange.clone(), tickets.clone());
            tasks.spawn(async move {
                let mut latencies = Vec::new();
                while until.is_none_or(|until| Instant::now() < until) && take(&tickets) {
                    let began = Instant::now();
                    exchange.once(&mut wire).await?;
                    latencies.push(began.elapsed());
                }
                Ok::<_, Fault>((wire, latencies))
            });
        }
        let patience = until.map_or(Duration::ZERO, |until| until - began) + PATIENCE;
        let mut latencies = Vec::new();
        let all = async {
            while let Some(task) = tasks.join_next().await {
                let (wire, mut own) = task.context("a connection's task ended")??;
                latencies.append(&mut own);
                self.connections.push(wire);
            }
            anyhow::Ok(())
        };
        timeout(patience, all).await.context("a reply did not come in time")??;
        let elapsed = began.elapsed();
        if latencies.is_empty() {
            bail!("no request was finished");
        }
        latencies.sort_unstable();
        Ok(Run { elapsed, latencies })
    }
}

impl Run {
    /// Requests per second.
    #[must_use]
    pub fn requests_per_s(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency that this share of all requests (0 to 1) stays at or below.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        self.latencies.get((share * last as f64).round() as usize).copied().unwrap_or_default()
    }
}

impl Exchange {
    async fn once(&self, wire: &mut Wire) -> Result<(), Fault> {
        wire.send(&self.request).await?;
        let (status, framing) = wire.head(answered).await?.ok_or(Fault::Cut)?;
        if status != 200 {
            return Err(Fault::Status(status));
        }
        let mut at = 0;
        let expected = self.expected.len();
        wire.body(framing, |piece| {
            if self.expected.get(at..at + piece.len()) != Some(piece) {
                return Err(Fault::Body { at, expected });
            }
            at += piece.len();
            Ok(())
        })
        .await?;
        if at == expected { Ok(()) } else { Err(Fault::Body { at, expected }) }
    }
}

/// Status and framing of an answer's head.
pub fn answered(bytes: &[u8]) -> Parsed<(u16, Framing)> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut head = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(length) = head.parse(bytes)? else { return Ok(None) };
    Ok(Some((length, (head.code.unwrap_or_default(), Framing::of(head.headers)))))
}

fn take(tickets: &AtomicUsize) -> bool {
    tickets.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

/// How much longer than planned a run may take before it has failed.
const PATIENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bodies::CASES;
    use tokio::net::TcpListener;

    /// Runs the first case against a server that always answers this.
    async fn against(answer: Vec<u8>) -> Result<Run> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = async {
            let mut wire = Wire::new(listener.accept().await.unwrap().0, BUFFER_BYTES).unwrap();
            while let Ok(Some(framing)) = wire.head(request_framing).await {
                wire.body(framing, |_| Ok(())).await.unwrap();
                wire.send(&answer).await.unwrap();
            }
            std::future::pending().await
        };
        let client = async {
            let mut load = Load::open(address, CASES[0], "secret", 1).await.unwrap();
            load.run(Span::Requests(3)).await
        };
        tokio::select! {
            run = client => run,
            run = server => run,
        }
    }

    fn request_framing(bytes: &[u8]) -> Parsed<Framing> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut head = httparse::Request::new(&mut fields);
        let httparse::Status::Complete(length) = head.parse(bytes)? else { return Ok(None) };
        Ok(Some((length, Framing::of(head.headers))))
    }

    fn answer(status: &str, body: &[u8]) -> Vec<u8> {
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
        [head.as_bytes(), body].concat()
    }

    #[tokio::test]
    async fn right_answers_are_counted_and_wrong_ones_end_the_run() {
        let right = CASES[0].reply.body();
        let run = against(answer("200 OK", &right)).await.unwrap();
        assert_eq!(run.latencies.len(), 3);

        let fault = |run: Result<Run>| match run {
            Ok(_) => panic!("a wrong answer is a fault"),
            Err(error) => error.downcast::<Fault>().unwrap(),
        };
        assert!(matches!(fault(against(answer("500 Oops", &right)).await), Fault::Status(500)));
        let short = answer("200 OK", &right[1..]);
        assert!(matches!(fault(against(short).await), Fault::Body { .. }));
        let mut other = right.clone();
        other[100] ^= 1;
        assert!(matches!(fault(against(answer("200 OK", &other)).await), Fault::Body { .. }));
    }

    #[tokio::test]
    async fn chunks_are_read_however_they_are_cut() {
        let right = CASES[0].reply.body();
        let mut chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        for piece in right.chunks(7) {
            chunked.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            chunked.extend_from_slice(piece);
            chunked.extend_from_slice(b"\r\n");
        }
        chunked.extend_from_slice(b"0\r\n\r\n");
        assert_eq!(against(chunked).await.unwrap().latencies.len(), 3);
    }
}
