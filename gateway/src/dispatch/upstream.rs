//! Providers: a connection, sending one request, reading one answer.
//!
//! Wraps Pingora's sessions and pools (`reference/pingora.md` §3) and mends their pitfalls: connections come from our
//! own dialler, because Pingora's knows no proxy over TCP and looks names up blocking; no deadline is on by default, so
//! each call has one.

use super::pools::{IDLE_KEPT, Pools};
use crate::live::Route;
use crate::wire;
use bytes::Bytes;
use egress::{DialError, Dialer, TrustError};
use moka::sync::Cache;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::prelude::{HttpPeer, timeout};
use pingora::protocols::http::client::HttpSession;
use shared::rules::classify::ConnectFailure;
use shared::rules::upstream::{Detour, FirstTry, NextTry, Origin, ProxyFailure, Way};
use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;
use tokio::time::Instant;

/// Dials providers and keeps their idle connections.
pub struct Upstreams {
    dialer: Dialer,
    pools: Pools,
    /// Proxies that let a request wait in vain, by their ways. Only where there is another way: the next requests take it
    /// at once.
    hung: Cache<u64, ()>,
    limits: Limits,
}

/// How long may be waited.
#[derive(Clone, Copy)]
struct Limits {
    /// For a connection, with all that belongs to it.
    connect: Duration,
    /// For the provider to take what is written.
    write: Duration,
}

impl Upstreams {
    /// Without connections; the authorities in `ca_file` replace the system's.
    pub fn new(ca_file: Option<&Path>) -> Result<Self, TrustError> {
        let limits = Limits { connect: CONNECT_LIMIT, write: WRITE_LIMIT };
        let hung = Cache::builder().max_capacity(1_024).time_to_live(HUNG).build();
        Ok(Self { dialer: Dialer::new(ca_file)?, pools: Pools::new(), hung, limits })
    }

    /// A connection to the provider, kept or new. Where its proxy fails and that is wanted, it is made directly.
    pub async fn connect(&self, route: &Route) -> Result<Box<Upstream>, ConnectFailure> {
        let origin = route.base.origin();
        let deadline = Instant::now() + self.limits.connect;
        let key = route.way.pool_key();
        let detour = Detour {
            has_other_way: route.fallback.is_some(),
            is_hung: route.fallback.is_some() && self.hung.contains_key(&key),
        };
        let after = match detour.first(self.limits.connect) {
            FirstTry::Direct(after) => after,
            FirstTry::Usual(limit) => match self.connect_by(origin, &route.way, Instant::now() + limit).await
            {
                Ok(upstream) => return Ok(upstream),
                Err(error) => match detour.after(error.proxy_failure()) {
                    NextTry::GiveUp => return Err(error.failure()),
                    NextTry::Direct { after, is_hung } => {
                        if is_hung {
                            self.hung.insert(key, ());
                        }
                        after
                    }
                },
            },
        };
        // What is told is the proxy's failure: that is what somebody has to mend.
        let failed = ConnectFailure::Proxy(after);
        let fallback = route.fallback.as_ref().ok_or(failed)?;
        let mut upstream = self.connect_by(origin, fallback, deadline).await.map_err(|_| failed)?;
        upstream.direct_after = Some(after);
        Ok(upstream)
    }

    async fn connect_by(
        &self,
        origin: &Origin,
        way: &Way,
        deadline: Instant,
    ) -> Result<Box<Upstream>, DialError> {
        let addresses = self.dialer.addresses(origin, way).await?;
        for address in addresses.iter() {
            let peer = peer(*address, origin, way);
            // Boxed, as all that Pingora does here is: its futures are large, and each frame above would move them.
            if let Some(session) = Box::pin(self.pools.kept(&peer)).await {
                return Ok(self.ready(session, peer, true));
            }
        }
        let connection = Box::pin(self.dialer.dial(origin, way, &addresses, deadline)).await?;
        let peer = peer(connection.address, origin, way);
        let left = deadline.saturating_duration_since(Instant::now());
        let session = match timeout(left, Box::pin(self.pools.open(connection, &peer))).await {
            Ok(opened) => opened.map_err(|_| DialError::Reset)?,
            Err(_) => return Err(DialError::TimedOut),
        };
        Ok(self.ready(session, peer, false))
    }

    /// Boxed: it is more than a kilobyte, and handed on from step to step.
    fn ready(&self, mut session: HttpSession, peer: HttpPeer, is_reused: bool) -> Box<Upstream> {
        session.set_write_timeout(Some(self.limits.write));
        Box::new(Upstream { session, peer, is_reused, is_sent: false, direct_after: None })
    }

    /// Gives a connection back after a complete answer.
    pub async fn release(&self, upstream: Box<Upstream>) {
        if !upstream.is_sent {
            // It waits for the rest of a body: the next request on it would be taken for that.
            return upstream.close().await;
        }
        let Upstream { session, ref peer, .. } = *upstream;
        Box::pin(self.pools.keep(session, peer)).await;
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
    /// What its proxy failed with, when it was made without it.
    pub direct_after: Option<ProxyFailure>,
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
        // Pinned here: what is awaited below would move all of it, twice.
        let exchange = pin!(async {
            let sent = self.send(head, body).await;
            if sent.is_err() {
                // A provider may refuse early (413, 429) and stop reading: its answer is what counts.
                return timeout(EARLY_ANSWER, self.read_head()).await.unwrap_or(Err(Broken::Cut));
            }
            self.read_head().await
        });
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
    pub async fn close(mut self: Box<Self>) {
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

/// What connections are known by: `address` is the other end of the socket, and so the proxy's when there is one.
fn peer(address: SocketAddr, origin: &Origin, way: &Way) -> HttpPeer {
    let mut peer = HttpPeer::new(address, origin.is_https, origin.host.clone());
    peer.group_key = way.pool_key();
    peer.options.idle_timeout = Some(IDLE_KEPT);
    peer.options.max_h2_streams = MAX_H2_STREAMS;
    peer.options.h2_ping_interval = Some(H2_PING);
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

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How long a proxy that hung is left alone.
const HUNG: Duration = Duration::from_secs(30);
const WRITE_LIMIT: Duration = Duration::from_secs(60);
const WRITE_PIECE: usize = 256 * 1024;
const EARLY_ANSWER: Duration = Duration::from_millis(200);
const MAX_H2_STREAMS: usize = 100;
const H2_PING: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use shared::model::{EgressSettings, Provider};
    use shared::testing;
    use testbed::{Proxy, ProxyKind, ProxyManner};
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_proxy_that_hangs_is_left_alone_where_there_is_another_way() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::start(ProxyKind::Http, None).await;
        proxy.behaves(ProxyManner::Hangs);
        let mut upstreams = Upstreams::new(None).unwrap();
        upstreams.limits.connect = Duration::from_millis(100);
        let egress = EgressSettings {
            proxy_url: Some(proxy.url("")),
            proxy_fallback_to_direct: true,
            ..EgressSettings::default()
        };
        let url = format!("http://{}", listener.local_addr().unwrap());
        let provider = Provider { url, egress, ..testing::provider(1) };
        let route = Route::of(&provider, &testing::hub_key()).unwrap();
        for _ in 0..3 {
            let upstream = upstreams.connect(&route).await.unwrap();
            assert_eq!(upstream.direct_after, Some(ProxyFailure::TimedOut));
        }
        assert_eq!(proxy.asked().len(), 1);
        // Where there is none, it is asked each time.
        let route = Route { fallback: None, ..route };
        for _ in 0..2 {
            let told = upstreams.connect(&route).await.map(|_| ());
            assert_eq!(told, Err(ConnectFailure::Proxy(ProxyFailure::TimedOut)));
        }
        assert_eq!(proxy.asked().len(), 3);
    }

    #[tokio::test]
    async fn a_connection_whose_request_was_not_sent_whole_is_not_used_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut upstreams = Upstreams::new(None).unwrap();
        upstreams.limits.write = Duration::from_millis(50);
        let provider = Provider { url: format!("http://127.0.0.1:{port}"), ..testing::provider(1) };
        let route = Route::of(&provider, &testing::hub_key()).unwrap();
        // It answers at once, reads nothing and stays open.
        let answer = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            socket.write_all(b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
            socket
        };
        let refused = async {
            let mut upstream = upstreams.connect(&route).await.unwrap();
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
        assert!(!upstreams.connect(&route).await.unwrap().is_reused);
    }
}
