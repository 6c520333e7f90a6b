//! The binary swap: a running gateway hands its listeners to its successor.
//!
//! The successor (`--upgrade`) waits at a Unix socket in `DATA_DIR`. On SIGQUIT the running gateway connects, sends both
//! descriptors, and goes on serving until the successor says that it serves too: then both take connections from one
//! queue, and the old one leaves it. Nothing is refused in between, and a successor that does not come up changes
//! nothing. The directory's rights say who may take the listeners.

use anyhow::{Context, Result, bail};
use gateway::{GatewayHandle, Listeners};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

/// Where the two meet.
pub fn door(data_dir: &Path) -> PathBuf {
    data_dir.join("upgrade.sock")
}

/// Sends the listeners to whoever waits at the door; returns when he serves.
pub async fn hand_over(listeners: &Listeners, door: &Path) -> Result<()> {
    let mut stream = UnixStream::connect(door)
        .await
        .with_context(|| format!("no successor (cch-gateway --upgrade) waits at {}", door.display()))?;
    let handing = async {
        send(&stream, listeners).await.context("the listeners cannot be sent")?;
        let mut word = [0; SERVES.len()];
        stream.read_exact(&mut word).await.context("the successor ended before it served")?;
        if word != *SERVES {
            bail!("the successor speaks another language");
        }
        Ok(())
    };
    timeout(START_DEADLINE, handing).await.context("the successor does not serve in time")?
}

/// What a successor was given.
pub struct Predecessor {
    listeners: Listeners,
    stream: UnixStream,
}

impl Predecessor {
    /// Waits at the door for the listeners.
    pub async fn wait(door: &Path) -> Result<Self> {
        // What a successor left that came to nothing.
        match std::fs::remove_file(door) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot clear {}", door.display()));
            }
            Ok(()) | Err(_) => {}
        }
        let listener =
            UnixListener::bind(door).with_context(|| format!("cannot listen at {}", door.display()))?;
        std::fs::set_permissions(door, std::fs::Permissions::from_mode(0o600))?;
        tracing::info!(door = %door.display(), "waiting for the listeners: send SIGQUIT to the running gateway");
        let accepted = timeout(WAIT_DEADLINE, listener.accept()).await;
        let _ = std::fs::remove_file(door);
        let (stream, _) = accepted.context("nobody came within ten minutes")??;
        let received = timeout(SEND_DEADLINE, receive(&stream)).await;
        let listeners = received.context("the listeners did not come in time")??;
        Ok(Self { listeners, stream })
    }

    /// The listeners, and how to tell that they are served.
    pub fn into_parts(self) -> (Listeners, Confirm) {
        (self.listeners, Confirm(self.stream))
    }
}

/// Tells the predecessor that he may go.
pub struct Confirm(UnixStream);

impl Confirm {
    /// The gateway serves.
    pub async fn confirm(mut self, _serving: &GatewayHandle) -> Result<()> {
        timeout(SEND_DEADLINE, self.0.write_all(SERVES)).await??;
        Ok(())
    }
}

async fn send(stream: &UnixStream, listeners: &Listeners) -> io::Result<()> {
    let descriptors = [listeners.seats.as_fd(), listeners.ops.as_fd()];
    let send = || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut message = SendAncillaryBuffer::new(&mut space);
        if !message.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        rustix::net::sendmsg(stream, &[IoSlice::new(HELLO)], &mut message, SendFlags::NOSIGNAL)?;
        Ok(())
    };
    stream.async_io(Interest::WRITABLE, send).await
}

async fn receive(stream: &UnixStream) -> Result<Listeners> {
    let receive = || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut message = RecvAncillaryBuffer::new(&mut space);
        let mut word = [0; HELLO.len()];
        let got = rustix::net::recvmsg(
            stream,
            &mut [IoSliceMut::new(&mut word)],
            &mut message,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        let is_ours = got.bytes == HELLO.len() && word == *HELLO;
        let descriptors: Vec<OwnedFd> = message
            .drain()
            .filter_map(|part| match part {
                RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
                _ => None,
            })
            .flatten()
            .collect();
        Ok((is_ours, descriptors))
    };
    let (is_ours, descriptors) = stream.async_io(Interest::READABLE, receive).await?;
    let Ok([seats, ops]) = <[OwnedFd; 2]>::try_from(descriptors) else {
        bail!("what came are not two listeners");
    };
    if !is_ours {
        bail!("the predecessor speaks another language");
    }
    let (seats, ops) = (TcpListener::from(seats), TcpListener::from(ops));
    seats.set_nonblocking(true)?;
    ops.set_nonblocking(true)?;
    Ok(Listeners { seats, ops })
}

/// Says what comes with it, and in which order.
const HELLO: &[u8; 14] = b"seats,ops v1\r\n";
const SERVES: &[u8; 8] = b"serves\r\n";
/// How long a successor waits for its predecessor's SIGQUIT.
const WAIT_DEADLINE: Duration = Duration::from_secs(600);
const SEND_DEADLINE: Duration = Duration::from_secs(5);
/// How long a successor may take to serve.
const START_DEADLINE: Duration = Duration::from_secs(30);
