//! HTTP/1.1 as the load generator and the upstream need it: a buffer over a socket, heads by `httparse`,
//! bodies of a length or in chunks. Allocates nothing per message.

use httparse::Header;
use std::io;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What can be wrong with a message.
#[derive(Debug, Error)]
pub enum Fault {
    /// The socket broke.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// The other side closed in the middle.
    #[error("the connection was closed in the middle of a message")]
    Cut,
    /// The head or a chunk is not HTTP.
    #[error("not HTTP: {0}")]
    Syntax(#[from] httparse::Error),
    /// A chunk does not end where it should.
    #[error("a chunk has no end")]
    Chunk,
    /// A head is larger than the buffer.
    #[error("a head is larger than {0} bytes")]
    LongHead(usize),
    /// A status other than 200.
    #[error("status {0} instead of 200")]
    Status(u16),
    /// A body other than the one that was asked for.
    #[error("the body differs from the expected one at byte {at} of {expected}")]
    Body {
        /// The first byte of the piece that differs.
        at: usize,
        /// The length that was expected.
        expected: usize,
    },
    /// A reply of a kind nobody knows was asked for.
    #[error("a request without a known x-bench-reply")]
    UnknownReply,
}

/// A head read from the front of some bytes, with its length; `None` while it is not whole.
pub type Parsed<T> = Result<Option<(usize, T)>, Fault>;

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// After this many bytes.
    Length(usize),
    /// With the chunk of length 0.
    Chunked,
}

impl Framing {
    /// What the fields of a head say; no body where they say nothing.
    #[must_use]
    pub fn of(fields: &[Header<'_>]) -> Self {
        let mut framing = Self::Length(0);
        for field in fields {
            if field.name.eq_ignore_ascii_case("content-length") {
                let text = std::str::from_utf8(field.value).unwrap_or_default();
                framing = Self::Length(text.trim().parse().unwrap_or(0));
            } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
                return Self::Chunked;
            }
        }
        framing
    }
}

/// A connection with what was read from it and not used yet.
pub struct Wire {
    stream: TcpStream,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Wire {
    /// Over a connected socket, with a buffer of this many bytes; a head must fit.
    pub fn new(stream: TcpStream, buffer_bytes: usize) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; buffer_bytes].into_boxed_slice(), start: 0, end: 0 })
    }

    /// Writes all of it.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        Ok(self.stream.write_all(bytes).await?)
    }

    /// Waits for a whole head and returns what `read` makes of it. `None` when the connection
    /// was closed between two messages.
    pub async fn head<T>(&mut self, read: impl Fn(&[u8]) -> Parsed<T>) -> Result<Option<T>, Fault> {
        loop {
            if self.start < self.end
                && let Some((length, head)) = read(&self.buffer[self.start..self.end])?
            {
                self.start += length;
                return Ok(Some(head));
            }
            if self.end - self.start == self.buffer.len() {
                return Err(Fault::LongHead(self.buffer.len()));
            }
            let was_empty = self.start == self.end;
            if !self.fill().await? {
                return if was_empty { Ok(None) } else { Err(Fault::Cut) };
            }
        }
    }

    /// Reads a body to its end, piece by piece.
    pub async fn body(
        &mut self,
        framing: Framing,
        mut each: impl FnMut(&[u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        match framing {
            Framing::Length(length) => self.exactly(length, &mut each).await?,
            Framing::Chunked => while self.chunk(&mut each).await? > 0 {},
        }
        Ok(())
    }

    /// Reads one chunk and returns its length; 0 is the last. Trailers are not expected.
    pub async fn chunk(&mut self, each: &mut impl FnMut(&[u8]) -> Result<(), Fault>) -> Result<usize, Fault> {
        let length = loop {
            match httparse::parse_chunk_size(&self.buffer[self.start..self.end]) {
                Ok(httparse::Status::Complete((head, length))) => {
                    self.start += head;
                    break usize::try_from(length).map_err(|_| Fault::Chunk)?;
                }
                Ok(httparse::Status::Partial) => self.more().await?,
                Err(_) => return Err(Fault::Chunk),
            }
        };
        self.exactly(length, each).await?;
        while self.end - self.start < 2 {
            self.more().await?;
        }
        if self.buffer[self.start..self.start + 2] != *b"\r\n" {
            return Err(Fault::Chunk);
        }
        self.start += 2;
        Ok(length)
    }

    async fn exactly(
        &mut self,
        mut left: usize,
        each: &mut impl FnMut(&[u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        while left > 0 {
            if self.start == self.end {
                self.more().await?;
            }
            let length = left.min(self.end - self.start);
            each(&self.buffer[self.start..self.start + length])?;
            self.start += length;
            left -= length;
        }
        Ok(())
    }

    async fn more(&mut self) -> Result<(), Fault> {
        if self.fill().await? { Ok(()) } else { Err(Fault::Cut) }
    }

    /// Reads what is there; false at the end of the connection.
    async fn fill(&mut self) -> Result<bool, Fault> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let length = self.stream.read(&mut self.buffer[self.end..]).await?;
        self.end += length;
        Ok(length > 0)
    }
}

/// Fields a head may have.
pub const MAX_FIELDS: usize = 64;
/// A buffer for measured connections.
pub const BUFFER_BYTES: usize = 64 << 10;
