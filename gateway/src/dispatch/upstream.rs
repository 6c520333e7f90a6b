//! Providers by name: look-up, sending one request, reading one answer.
//!
//! Wraps Pingora's own connector (`reference/pingora.md` §3) and mends its pitfalls: names are resolved here
//! because its peer resolves blocking and panics; no deadline is on by default, so each call has one.

use super::pools::{IDLE_KEPT, Pools};
use crate::wire;
use bytes::Bytes;
use moka::sync::Cache;
use pingora::ErrorType;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::prelude::{HttpPeer, timeout};
use pingora::protocols::ALPN;
use pingora::protocols::http::client::HttpSession;
use shared::rules::classify::ConnectFailure;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Dials providers and keeps their idle connections.
pub struct Upstreams {
    pools: Pools,
    names: Cache<Arc<str>, Arc<[SocketAddr]>>,
    write_deadline: Duration,
}

/// Where a provider listens.
#[derive(Debug, Clone, Copy)]
pub struct Address<'a> {
    /// Name or address literal, without brackets.
    pub host: &'a str,
    /// Port.
    pub port: u16,
    /// `https`.
    pub is_tls: bool,
}

impl Upstreams {
    /// A dialler with `threads` workers' worth of pool; `ca_file` replaces the system's authorities.
    #[must_use]
    pub fn new(ca_file: Option<&Path>) -> Self {
        let names = Cache::builder().max_capacity(4_096).time_to_live(NAME_TTL).build();
        Self { pools: Pools::new(ca_file), names, write_deadline: WRITE_DEADLINE }
    }

    /// A connection to the provider, pooled or new. A name may have several addresses, of which not all need to
    /// answer (`localhost` as `::1`, an IPv6 address without a route): they are tried in the resolver's order.
    pub async fn connect(&self, address: Address<'_>) -> Result<Upstream, ConnectFailure> {
        let sockets = self.resolve(address).await?;
        let share = CONNECT_DEADLINE / u32::try_from(sockets.len()).unwrap_or(u32::MAX).max(1);
        let mut failure = ConnectFailure::Dns;
        for (place, socket) in sockets.iter().enumerate() {
            let peer = peer(*socket, address);
            // Boxed, as all that Pingora does here is: its futures are large, and each frame above would move them.
            let dial = Box::pin(self.pools.open(&peer));
            failure = match timeout(share, dial).await {
                Ok(Ok((mut session, is_reused))) => {
                    if place > 0 {
                        self.prefer(address, &sockets, place);
                    }
                    session.set_write_timeout(Some(self.write_deadline));
                    return Ok(Upstream { session, peer, is_reused, is_sent: false });
                }
                Ok(Err(error)) => connect_failure(&error),
                Err(_) => ConnectFailure::TimedOut,
            };
            if failure == ConnectFailure::Tls {
                break;
            }
        }
        Err(failure)
    }

    /// Gives a connection back after a complete answer.
    pub async fn release(&self, upstream: Upstream) {
        if !upstream.is_sent {
            // It waits for the rest of a body: the next request on it would be taken for that.
            return upstream.close().await;
        }
        let Upstream { session, peer, .. } = upstream;
        Box::pin(self.pools.keep(session, &peer)).await;
    }

    async fn resolve(&self, address: Address<'_>) -> Result<Arc<[SocketAddr]>, ConnectFailure> {
        if let Ok(ip) = address.host.parse::<IpAddr>() {
            return Ok([SocketAddr::new(ip, address.port)].into());
        }
        let name = format!("{}:{}", address.host, address.port);
        if let Some(sockets) = self.names.get(name.as_str()) {
            return Ok(sockets);
        }
        // The system's resolver, so that hosts files and search domains count; it runs on the blocking pool.
        let sockets: Arc<[SocketAddr]> =
            match timeout(NAME_DEADLINE, tokio::net::lookup_host(name.as_str())).await {
                Ok(Ok(sockets)) => sockets.take(MAX_ADDRESSES).collect(),
                Ok(Err(_)) | Err(_) => return Err(ConnectFailure::Dns),
            };
        if sockets.is_empty() {
            return Err(ConnectFailure::Dns);
        }
        self.names.insert(name.into(), sockets.clone());
        Ok(sockets)
    }

    /// Puts the address that answered first, for as long as the name is believed.
    fn prefer(&self, address: Address<'_>, sockets: &[SocketAddr], place: usize) {
        let mut sockets = sockets.to_vec();
        sockets.swap(0, place);
        self.names.insert(format!("{}:{}", address.host, address.port).into(), sockets.into());
    }

    /// Forgets a name after its address did not answer, so that the next try looks again.
    pub fn forget(&self, address: Address<'_>) {
        let name = format!("{}:{}", address.host, address.port);
        self.names.invalidate(name.as_str());
    }
}

/// One request on one connection.
pub struct Upstream {
    session: HttpSession,
    peer: HttpPeer,
    /// True when the connection came from the pool: it may have been closed by the other side meanwhile.
    pub is_reused: bool,
    /// True when the request has left to its end; a provider may answer before and stop reading.
    is_sent: bool,
}

/// Why a request on an open connection got no complete answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// A deadline passed.
    TimedOut,
    /// The connection ended or the protocol was violated.
    Cut,
}

impl Upstream {
    /// Sends a request and waits for the head of its answer, until `deadline`.
    pub async fn exchange(
        &mut self,
        head: RequestHeader,
        body: impl Iterator<Item = Bytes> + Send,
        deadline: Option<Instant>,
    ) -> Result<(), Broken> {
        let exchange = async {
            let sent = self.send(head, body).await;
            if sent.is_err() {
                // A provider may refuse early (413, 429) and stop reading: its answer is what counts.
                return timeout(EARLY_ANSWER, self.read_head()).await.unwrap_or(Err(Broken::Cut));
            }
            self.read_head().await
        };
        within(deadline, exchange).await
    }

    async fn send(
        &mut self,
        mut head: RequestHeader,
        body: impl Iterator<Item = Bytes> + Send,
    ) -> Result<(), Broken> {
        if self.is_h2() {
            address_as_h2(&mut head, self.peer.is_tls())?;
        }
        // The head leaves with the body's first piece.
        wire::hold(self.session.stream());
        self.session.write_request_header(Box::new(head)).await.map_err(|_| Broken::Cut)?;
        wire::release(self.session.stream());
        for segment in body {
            let mut rest = segment;
            while !rest.is_empty() {
                let piece = rest.split_to(rest.len().min(WRITE_PIECE));
                self.session.write_request_body(piece, false).await.map_err(|_| Broken::Cut)?;
            }
        }
        self.session.finish_request_body().await.map_err(|_| Broken::Cut)?;
        self.is_sent = true;
        Ok(())
    }

    async fn read_head(&mut self) -> Result<(), Broken> {
        loop {
            self.session.read_response_header().await.map_err(|_| Broken::Cut)?;
            match self.session.response_header() {
                // HTTP/2 hides interim answers and panics when read twice.
                Some(head) if head.status.is_informational() && !self.is_h2() => {}
                Some(_) => return Ok(()),
                None => return Err(Broken::Cut),
            }
        }
    }

    /// The head of the answer, after [`Upstream::exchange`] succeeded.
    #[must_use]
    pub fn head(&self) -> Option<&ResponseHeader> {
        self.session.response_header()
    }

    /// The next piece of the body; `None` at its end.
    pub async fn read(&mut self) -> Result<Option<Bytes>, Broken> {
        loop {
            match self.session.read_response_body().await {
                Ok(Some(piece)) if piece.is_empty() => {}
                Ok(piece) => return Ok(piece),
                Err(_) => return Err(Broken::Cut),
            }
        }
    }

    /// True when the body has ended and the connection could serve again.
    pub fn is_done(&mut self) -> bool {
        self.session.response_done()
    }

    /// Closes the connection (HTTP/1) or resets the stream (HTTP/2).
    pub async fn close(mut self) {
        Box::pin(self.session.shutdown()).await;
    }

    fn is_h2(&self) -> bool {
        matches!(self.session, HttpSession::H2(_))
    }
}

/// Does the work until `deadline`, if any. By Pingora's timer, here and wherever a request waits: it sets one for all
/// that wait for the same 10 ms, where tokio's takes a lock and may wake its driver for each.
pub async fn within<T>(
    deadline: Option<Instant>,
    work: impl Future<Output = Result<T, Broken>> + Send,
) -> Result<T, Broken> {
    match deadline {
        Some(at) => {
            let left = at.saturating_duration_since(Instant::now());
            timeout(left, work).await.unwrap_or(Err(Broken::TimedOut))
        }
        None => work.await,
    }
}

fn peer(socket: SocketAddr, address: Address<'_>) -> HttpPeer {
    // The name is never empty: Pingora skips verification without one.
    let mut peer = HttpPeer::new(socket, address.is_tls, address.host.to_owned());
    peer.options.connection_timeout = Some(CONNECT_DEADLINE);
    peer.options.total_connection_timeout = Some(CONNECT_DEADLINE);
    peer.options.idle_timeout = Some(IDLE_KEPT);
    peer.options.max_h2_streams = MAX_H2_STREAMS;
    peer.options.h2_ping_interval = Some(H2_PING);
    peer.options.alpn = if address.is_tls { ALPN::H2H1 } else { ALPN::H1 };
    peer
}

/// HTTP/2 wants scheme and authority in the request line and no `Host`.
fn address_as_h2(head: &mut RequestHeader, is_tls: bool) -> Result<(), Broken> {
    let authority = head.remove_header("host").ok_or(Broken::Cut)?;
    let scheme = if is_tls { "https" } else { "http" };
    let path = head.uri.path_and_query().map_or("/", |p| p.as_str());
    let uri =
        http::Uri::builder().scheme(scheme).authority(authority.as_bytes()).path_and_query(path).build();
    head.set_uri(uri.map_err(|_| Broken::Cut)?);
    Ok(())
}

fn connect_failure(error: &pingora::Error) -> ConnectFailure {
    match error.etype() {
        ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => ConnectFailure::TimedOut,
        ErrorType::TLSHandshakeFailure | ErrorType::InvalidCert | ErrorType::HandshakeError => {
            ConnectFailure::Tls
        }
        // Refused, no route, reset while connecting.
        _ => ConnectFailure::Refused,
    }
}

/// Addresses of a name that are tried.
const MAX_ADDRESSES: usize = 4;
/// How long a looked-up name is believed.
const NAME_TTL: Duration = Duration::from_secs(30);
const NAME_DEADLINE: Duration = Duration::from_secs(5);
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
const WRITE_DEADLINE: Duration = Duration::from_secs(60);
const WRITE_PIECE: usize = 256 * 1024;
const EARLY_ANSWER: Duration = Duration::from_millis(200);
const MAX_H2_STREAMS: usize = 100;
const H2_PING: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn an_address_that_does_not_answer_leaves_the_names_next_one() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listening = listener.local_addr().unwrap();
        // Bound and never listening: refuses.
        let refusing = tokio::net::TcpSocket::new_v4().unwrap();
        refusing.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let upstreams = Upstreams::new(None);
        let address = Address { host: "provider.example", port: 1, is_tls: false };
        let names = [refusing.local_addr().unwrap(), listening];
        upstreams.names.insert("provider.example:1".into(), names.into());
        assert!(upstreams.connect(address).await.is_ok());
        assert_eq!(upstreams.names.get("provider.example:1").unwrap()[0], listening);
    }

    #[tokio::test]
    async fn a_connection_whose_request_was_not_sent_whole_is_not_used_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let upstreams = Upstreams { write_deadline: Duration::from_millis(50), ..Upstreams::new(None) };
        let address = Address { host: "127.0.0.1", port, is_tls: false };
        // It answers at once, reads nothing and stays open.
        let answer = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            socket.write_all(b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
            socket
        };
        let refused = async {
            let mut upstream = upstreams.connect(address).await.unwrap();
            let body = Bytes::from(vec![b' '; 64 << 20]);
            let mut head = RequestHeader::build("POST", b"/v1/messages", None).unwrap();
            head.insert_header("host", "x").unwrap();
            head.insert_header("content-length", body.len().to_string()).unwrap();
            upstream.exchange(head, std::iter::once(body), None).await.unwrap();
            assert_eq!(upstream.head().unwrap().status, 429);
            while upstream.read().await.unwrap().is_some() {}
            upstreams.release(upstream).await;
        };
        let (_socket, ()) = tokio::join!(answer, refused);
        assert!(!upstreams.connect(address).await.unwrap().is_reused);
    }
}
