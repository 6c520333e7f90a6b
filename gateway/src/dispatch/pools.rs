//! Open connections to providers, kept while they idle, and new ones from the dialler.
//!
//! Pingora's connectors keep them; they are told apart by where they lead and by the way they were made
//! ([`Way::pool_key`](shared::rules::upstream::Way::pool_key)), so that no provider meets another one's proxy or
//! authorities. Writes of HTTP/1 are gathered ([`Wire`]), so that head and body of a request leave in one system call.
//! Knows nothing of names and requests.

use super::dialled::Dialled;
use crate::wire::Wire;
use egress::Connection;
use pingora::connectors::http::v2::{Connector as H2Pool, H2HandshakeSettings, handshake};
use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::prelude::HttpPeer;
use pingora::protocols::http::client::HttpSession;
use pingora::protocols::http::v1::client::HttpSession as H1Session;
use pingora::upstreams::peer::Peer as _;
use std::time::Duration;

/// Kept connections of both versions.
pub struct Pools {
    h1: TransportConnector,
    h2: H2Pool,
}

impl Pools {
    /// Empty ones.
    #[must_use]
    pub fn new() -> Self {
        let options = || Some(ConnectorOptions::new(POOL_SIZE));
        Self { h1: TransportConnector::new(options()), h2: H2Pool::new(options()) }
    }

    /// A connection that was kept, or one in use that has room for another request.
    pub async fn kept(&self, peer: &HttpPeer) -> Option<HttpSession> {
        if peer.is_tls() {
            // One that ends just now is no error: there are others, and new ones.
            if let Ok(Some(session)) = self.h2.reused_http_session(peer).await {
                return Some(HttpSession::H2(session));
            }
        }
        let stream = self.h1.reused_stream(peer).await?;
        Some(HttpSession::H1(H1Session::new_with_options(stream, peer)))
    }

    /// A new connection, ready for a request.
    pub async fn open(&self, connection: Connection, peer: &HttpPeer) -> pingora::Result<HttpSession> {
        let is_h2 = connection.is_h2;
        let stream = Box::new(Dialled::new(connection));
        if !is_h2 {
            let wire = Box::new(Wire::new(stream));
            return Ok(HttpSession::H1(H1Session::new_with_options(wire, peer)));
        }
        let mut settings = H2HandshakeSettings::new();
        settings.max_streams = peer.options.max_h2_streams;
        settings.ping_interval = peer.options.h2_ping_interval;
        let shared = handshake(stream, settings).await?;
        let session = shared.spawn_stream().await?;
        if shared.more_streams_allowed() {
            self.h2.in_use_pool().insert(peer.reuse_hash(), shared);
        }
        session.map(HttpSession::H2).ok_or_else(|| pingora::Error::new(pingora::ErrorType::H2Error))
    }

    /// Keeps a connection whose exchange is complete, unless either side wants it closed.
    pub async fn keep(&self, session: HttpSession, peer: &HttpPeer) {
        match session {
            HttpSession::H1(mut session) => {
                // Without this an HTTP/1 connection is never kept.
                session.respect_keepalive();
                if let Some(stream) = session.reuse().await {
                    self.h1.release_stream(stream, peer.reuse_hash(), Some(IDLE_KEPT));
                }
            }
            HttpSession::H2(session) => self.h2.release_http_session(session, peer, Some(IDLE_KEPT)),
            HttpSession::Custom(()) => {}
        }
    }
}

/// Idle connections kept over all providers, of each version.
const POOL_SIZE: usize = 1_024;
/// Below the 60 s after which common servers and middleboxes drop an idle connection.
pub const IDLE_KEPT: Duration = Duration::from_secs(55);
