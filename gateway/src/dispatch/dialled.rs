//! A connection to a provider, as Pingora's sessions and pools want it.

use async_trait::async_trait;
use egress::Connection;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest,
    UniqueID, UniqueIDType,
};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

/// They know it by its socket, and ask where that leads before they use it again.
#[derive(Debug)]
pub struct Dialled(Connection);

impl Dialled {
    /// Takes over a connection.
    #[must_use]
    pub fn new(connection: Connection) -> Self {
        Self(connection)
    }
}

impl AsyncRead for Dialled {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Dialled {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0.io).poll_write(cx, data)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0.io).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for Dialled {
    async fn shutdown(&mut self) {
        // The provider may be gone: then there is nothing to shut down.
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl Peek for Dialled {}

impl UniqueID for Dialled {
    fn id(&self) -> UniqueIDType {
        self.0.socket
    }
}

/// Asked only for what was agreed on, which the connection says itself.
impl Ssl for Dialled {}

impl GetTimingDigest for Dialled {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Dialled {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Dialled {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}
