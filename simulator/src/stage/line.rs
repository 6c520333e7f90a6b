//! One connection's bytes, which a script may cut anywhere, also inside a chunk that HTTP thinks whole.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What its requests know of a connection.
#[derive(Debug)]
pub(crate) struct Wire {
    /// Counted from 1 in the order of acceptance.
    pub(crate) id: u64,
    requests: AtomicU32,
    /// Bytes that may still be written; `UNLIMITED` until a script cuts.
    budget: AtomicUsize,
}

impl Wire {
    pub(crate) fn new(id: u64) -> Self {
        Self { id, requests: AtomicU32::new(0), budget: AtomicUsize::new(UNLIMITED) }
    }

    /// Counts a request in; the first gets 1.
    pub(crate) fn count_request(&self) -> u32 {
        self.requests.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Lets so many more bytes out, then breaks the connection.
    pub(crate) fn cut_after(&self, bytes: usize) {
        self.budget.store(bytes, Ordering::Release);
    }

    fn allowance(&self) -> usize {
        self.budget.load(Ordering::Acquire)
    }

    fn spend(&self, bytes: usize) {
        if self.allowance() != UNLIMITED {
            self.budget.fetch_sub(bytes, Ordering::AcqRel);
        }
    }
}

/// A connection that obeys its [`Wire`].
pub(crate) struct Line<S> {
    inner: S,
    wire: std::sync::Arc<Wire>,
}

impl<S> Line<S> {
    pub(crate) fn new(inner: S, wire: std::sync::Arc<Wire>) -> Self {
        Self { inner, wire }
    }
}

impl<S: AsyncWrite + Unpin> Line<S> {
    /// Writes as much as is left of the budget; an error when nothing is.
    fn poll_write_rest(&mut self, cx: &mut Context<'_>, buf: &[u8], rest: usize) -> Poll<io::Result<usize>> {
        if rest == 0 {
            ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let part = &buf[..buf.len().min(rest)];
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, part))?;
        self.wire.spend(written);
        Poll::Ready(Ok(written))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Line<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Line<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.wire.allowance() {
            UNLIMITED => Pin::new(&mut self.inner).poll_write(cx, buf),
            rest => self.poll_write_rest(cx, buf, rest),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.wire.allowance() {
            UNLIMITED => Pin::new(&mut self.inner).poll_write_vectored(cx, bufs),
            rest => {
                let first = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| buf);
                self.poll_write_rest(cx, first, rest)
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

const UNLIMITED: usize = usize::MAX;
