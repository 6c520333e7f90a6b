//! An address where nobody listens.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use tokio::net::TcpSocket;

/// A port that refuses connections for as long as this lives. It is bound without a listener, so that no other
/// process can be given it meanwhile.
#[derive(Debug)]
pub struct Refuser {
    addr: SocketAddr,
    _bound: TcpSocket,
}

impl Refuser {
    /// Takes a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When the system has no port to give.
    pub fn start() -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        Ok(Self { addr: socket.local_addr()?, _bound: socket })
    }

    /// The address that refuses.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// As a provider's URL.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}", self.addr)
    }
}
