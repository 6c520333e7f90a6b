//! Open connections to providers, kept while they idle: new ones are dialled by Pingora's connectors.
//!
//! Plain HTTP goes over the transport's connector, so that head and body of a request leave in one system call
//! ([`Wire`]); TLS over the connector that also speaks HTTP/2. Knows nothing of names and requests.

use crate::wire::Wire;
use pingora::connectors::http::Connector;
use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::prelude::HttpPeer;
use pingora::protocols::http::client::HttpSession;
use pingora::protocols::http::v1::client::HttpSession as PlainSession;
use pingora::upstreams::peer::Peer as _;
use std::path::Path;
use std::time::Duration;

/// The two kinds of connections.
pub struct Pools {
    plain: TransportConnector,
    tls: Connector,
}

impl Pools {
    /// Empty ones. `ca_file` replaces the system's authorities.
    #[must_use]
    pub fn new(ca_file: Option<&Path>) -> Self {
        let options = || {
            let mut options = ConnectorOptions::new(POOL_SIZE);
            options.ca_file = ca_file.map(|path| path.to_string_lossy().into_owned());
            Some(options)
        };
        Self { plain: TransportConnector::new(options()), tls: Connector::new(options()) }
    }

    /// A connection, and whether it was kept from before.
    pub async fn open(&self, peer: &HttpPeer) -> pingora::Result<(HttpSession, bool)> {
        if peer.is_tls() {
            return self.tls.get_http_session(peer).await;
        }
        let (stream, is_kept) = self.plain.get_stream(peer).await?;
        // A kept one has its wire already.
        let stream = if is_kept { stream } else { Box::new(Wire::new(stream)) };
        Ok((HttpSession::H1(PlainSession::new_with_options(stream, peer)), is_kept))
    }

    /// Keeps a connection whose exchange is complete, unless either side wants it closed.
    pub async fn keep(&self, session: HttpSession, peer: &HttpPeer) {
        match session {
            HttpSession::H1(mut session) => {
                // Without this an HTTP/1 connection is never kept.
                session.respect_keepalive();
                if peer.is_tls() {
                    let session = HttpSession::H1(session);
                    self.tls.release_http_session(session, peer, Some(IDLE_KEPT)).await;
                } else if let Some(stream) = session.reuse().await {
                    self.plain.release_stream(stream, peer.reuse_hash(), Some(IDLE_KEPT));
                }
            }
            session => self.tls.release_http_session(session, peer, Some(IDLE_KEPT)).await,
        }
    }
}

/// Idle connections kept over all providers, of each kind.
const POOL_SIZE: usize = 1_024;
/// Below the 60 s after which common servers and middleboxes drop an idle connection.
pub const IDLE_KEPT: Duration = Duration::from_secs(55);
