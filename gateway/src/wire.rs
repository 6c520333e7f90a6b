//! A socket of a seat or a provider, with writes gathered until they are flushed.
//!
//! Pingora flushes after each head, each piece and each end of a chunked body: four system calls for a short
//! stream. Here what is written between [`hold`] and [`release`] leaves in one. What is gathered is allocated
//! when it is written and freed when it has left, so that an open stream which waits for its provider holds
//! none of it. Knows nothing of HTTP.

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream,
    TimingDigest, UniqueID, UniqueIDType,
};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

/// A socket whose writes are gathered.
#[derive(Debug)]
pub struct Wire {
    socket: Stream,
    gathered: BytesMut,
    /// While true, a flush is put off. An atomic only because Pingora lends the stream out shared.
    holds: AtomicBool,
}

impl Wire {
    /// Takes over a socket.
    #[must_use]
    pub fn new(socket: Stream) -> Self {
        Self { socket, gathered: BytesMut::new(), holds: AtomicBool::new(false) }
    }

    fn poll_leave(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.gathered.is_empty() {
            let written = ready!(Pin::new(&mut self.socket).poll_write(cx, &self.gathered))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.gathered.advance(written);
        }
        self.gathered = BytesMut::new();
        Poll::Ready(Ok(()))
    }
}

/// From here on what is written to a session's socket waits for [`release`], up to a bound. HTTP/2 has no socket of its
/// own for a session, and gathers its frames itself: nothing happens.
pub fn hold(socket: Option<&Stream>) {
    set(socket, true);
}

/// The next flush sends what was gathered.
pub fn release(socket: Option<&Stream>) {
    set(socket, false);
}

fn set(socket: Option<&Stream>, holds: bool) {
    if let Some(wire) = socket.and_then(|stream| (**stream).as_any().downcast_ref::<Wire>()) {
        wire.holds.store(holds, Ordering::Relaxed);
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let wire = self.get_mut();
        if wire.gathered.len() + data.len() > GATHERED_AT_MOST {
            ready!(wire.poll_leave(cx))?;
            if data.len() >= GATHERED_AT_MOST {
                // Large enough to be worth a call of its own, and a copy saved.
                return Pin::new(&mut wire.socket).poll_write(cx, data);
            }
        }
        wire.gathered.extend_from_slice(data);
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        if wire.holds.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        ready!(wire.poll_leave(cx))?;
        Pin::new(&mut wire.socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        // What can leave, leaves. The rest must not hold up the end: the other side may have stopped reading. What has to
        // arrive is flushed before.
        let _ = wire.poll_leave(cx);
        wire.gathered = BytesMut::new();
        Pin::new(&mut wire.socket).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for Wire {
    async fn shutdown(&mut self) {
        // The client may be gone: then there is nothing to shut down. Pingora's session ends its socket the same way.
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

#[async_trait]
impl Peek for Wire {
    async fn try_peek(&mut self, buf: &mut [u8]) -> io::Result<bool> {
        self.socket.try_peek(buf).await
    }
}

impl UniqueID for Wire {
    fn id(&self) -> UniqueIDType {
        self.socket.id()
    }
}

/// Nobody asks for what was agreed on: seats are plain TCP, and connections to providers say it themselves.
impl Ssl for Wire {}

impl GetTimingDigest for Wire {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.socket.get_timing_digest()
    }
}

impl GetProxyDigest for Wire {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.socket.get_proxy_digest()
    }
}

impl GetSocketDigest for Wire {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.socket.get_socket_digest()
    }
}

/// What is gathered before it leaves unasked.
const GATHERED_AT_MOST: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, DuplexStream, duplex};
    use tokio::time::timeout;

    /// A wire over memory, and its far end.
    fn wire(room: usize) -> (Wire, DuplexStream) {
        let (near, far) = duplex(room);
        (Wire::new(Box::new(Near(near))), far)
    }

    #[tokio::test]
    async fn what_is_written_while_held_leaves_together_in_order() {
        let (mut wire, mut far) = wire(1 << 20);
        wire.holds.store(true, Ordering::Relaxed);
        for piece in [&b"head "[..], b"first ", b"last"] {
            wire.write_all(piece).await.unwrap();
            wire.flush().await.unwrap();
        }
        assert_eq!(wire.gathered.len(), 15);
        wire.holds.store(false, Ordering::Relaxed);
        wire.flush().await.unwrap();
        assert_eq!(wire.gathered.capacity(), 0, "nothing is kept");
        let mut told = [0; 15];
        far.read_exact(&mut told).await.unwrap();
        assert_eq!(&told, b"head first last");
    }

    #[tokio::test]
    async fn any_sizes_arrive_whole_through_a_narrow_socket_held_or_not() {
        let (mut wire, mut far) = wire(7);
        let pieces: Vec<Vec<u8>> =
            [1, 9_000, 9_000, 3, 40_000, 0, 16_384, 5].into_iter().map(|n| vec![n as u8; n]).collect();
        let sent = pieces.concat();
        let write = async move {
            for (n, piece) in pieces.iter().enumerate() {
                wire.holds.store(n % 3 != 2, Ordering::Relaxed);
                wire.write_all(piece).await.unwrap();
                wire.flush().await.unwrap();
            }
            wire.holds.store(false, Ordering::Relaxed);
            wire.flush().await.unwrap();
            AsyncWriteExt::shutdown(&mut wire).await.unwrap();
        };
        let read = async move {
            let mut told = Vec::new();
            far.read_to_end(&mut told).await.unwrap();
            told
        };
        let ((), told) = tokio::join!(write, read);
        assert!(told == sent);
    }

    #[tokio::test]
    async fn an_end_does_not_wait_for_a_side_that_reads_no_more() {
        let (mut wire, _far) = wire(7);
        wire.holds.store(true, Ordering::Relaxed);
        wire.write_all(&[1; 100]).await.unwrap();
        // Pingora's session ends its socket as tokio's streams are ended.
        let ended = timeout(Duration::from_secs(20), AsyncWriteExt::shutdown(&mut wire)).await;
        ended.expect("an end").unwrap();
    }

    #[derive(Debug)]
    struct Near(DuplexStream);

    impl AsyncRead for Near {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(cx, buf)
        }
    }

    impl AsyncWrite for Near {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, b: &[u8]) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.0).poll_write(cx, b)
        }
        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }
        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    #[async_trait]
    impl Shutdown for Near {
        async fn shutdown(&mut self) {}
    }
    impl Peek for Near {}
    impl UniqueID for Near {
        fn id(&self) -> UniqueIDType {
            0
        }
    }
    impl Ssl for Near {}
    impl GetTimingDigest for Near {
        fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
            Vec::new()
        }
    }
    impl GetProxyDigest for Near {
        fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
            None
        }
    }
    impl GetSocketDigest for Near {
        fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
            None
        }
    }
}
