//! The socket of the API: a taken port must not cost a migration, and nobody is let in before there is a database.

use crate::start::StartError;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use tokio::net::TcpSocket;

/// The address of the API: taken at once, open later.
pub enum Door {
    /// Somebody else bound it.
    Bound(TcpListener),
    /// Bound here; it does not listen yet.
    Reserved(TcpSocket, SocketAddr),
}

impl Door {
    /// Takes the address, so that a taken one is known before anything else is done.
    pub fn reserve(wanted: SocketAddr, listener: Option<TcpListener>) -> Result<Self, StartError> {
        let reserve = || -> io::Result<TcpSocket> {
            let socket = if wanted.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            socket.set_reuseaddr(true)?;
            socket.bind(wanted)?;
            Ok(socket)
        };
        match listener {
            Some(listener) => Ok(Self::Bound(listener)),
            None => match reserve() {
                Ok(socket) => Ok(Self::Reserved(socket, wanted)),
                Err(source) => Err(StartError::Bind { address: wanted, source }),
            },
        }
    }

    /// Listens.
    pub fn open(self) -> Result<(TcpListener, SocketAddr), StartError> {
        let (listener, wanted) = match self {
            Self::Bound(listener) => (Ok(listener), None),
            Self::Reserved(socket, wanted) => {
                (socket.listen(BACKLOG).and_then(tokio::net::TcpListener::into_std), Some(wanted))
            }
        };
        let open = || {
            let listener = listener?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        open().map_err(|source| StartError::Bind { address: wanted.unwrap_or(NOWHERE), source })
    }
}

/// Named when a socket that was handed in does not say where it is.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
const BACKLOG: u32 = 1024;
