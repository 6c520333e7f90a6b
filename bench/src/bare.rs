//! Bare Pingora: a pass-through on its native path with its own defaults. What the gateway is held against.

use crate::child;
use anyhow::Result;
use async_trait::async_trait;
use parking_lot::Mutex;
use pingora::prelude::HttpPeer;
use pingora::proxy::{ProxyHttp, Session, http_proxy_service};
use pingora::server::Fds;
use pingora::server::configuration::ServerConf;
use pingora::services::Service as _;
use std::net::SocketAddr;
use std::os::fd::IntoRawFd as _;
use std::sync::Arc;
use tokio::sync::watch;

struct PassThrough {
    upstream: SocketAddr,
}

#[async_trait]
impl ProxyHttp for PassThrough {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        _ctx: &mut Self::CTX,
    ) -> pingora::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.upstream, false, String::new())))
    }
}

/// Serves until the process ends. Like the gateway it runs Pingora's service on our runtime, with a listener
/// that was bound before; Pingora's `Server` adds nothing to the path of a request.
pub async fn serve(upstream: SocketAddr) -> Result<()> {
    let listener = child::listen()?;
    let address = listener.local_addr()?;
    let mut fds = Fds::new();
    fds.add(LISTENER.to_owned(), listener.into_raw_fd());

    let mut service = http_proxy_service(&Arc::new(ServerConf::default()), PassThrough { upstream });
    service.add_tcp(LISTENER);
    child::say(&[address])?;
    let (_never, shutdown) = watch::channel(false);
    service.start_service(Some(Arc::new(Mutex::new(fds))), shutdown, 1).await;
    Ok(())
}

const LISTENER: &str = "bare";
