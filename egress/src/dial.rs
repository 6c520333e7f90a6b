//! One connection to one server.

use crate::names::{Addresses, Names};
use crate::trust::{Trust, TrustError};
use crate::{connect, socks};
use shared::rules::classify::ConnectFailure;
use shared::rules::upstream::{Authorities, Origin, Proxy, ProxyFailure, ProxyScheme, Way};
use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use std::sync::Arc;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

/// What bytes go to and come from.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send + Sync + Debug {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync + Debug> Io for T {}

/// A connection to a server, ready for requests.
#[derive(Debug)]
pub struct Connection {
    /// What bytes go to and come from.
    pub io: Box<dyn Io>,
    /// The TCP socket below it all, for as long as `io` lives.
    pub socket: RawFd,
    /// Where that leads: to the server, or to its proxy.
    pub address: SocketAddr,
    /// True when HTTP/2 was agreed on.
    pub is_h2: bool,
}

/// Why no connection came about.
#[derive(Debug, Error)]
pub enum DialError {
    /// The name has no address.
    #[error("the name has no address")]
    Dns,
    /// Nobody listens there.
    #[error("connection refused")]
    Refused,
    /// The connection was closed while it was made.
    #[error("connection reset")]
    Reset,
    /// There is no way to the address.
    #[error("the address cannot be reached")]
    Unreachable(#[source] io::Error),
    /// Not established in time.
    #[error("no connection in time")]
    TimedOut,
    /// TLS could not be agreed on.
    #[error("TLS could not be agreed on")]
    Tls(#[source] io::Error),
    /// The proxy did not open the way.
    #[error("{}", proxy_text(*why, *status))]
    Proxy {
        /// Why.
        why: ProxyFailure,
        /// What an HTTP proxy answered.
        status: Option<u16>,
    },
}

/// What a proxy is asked for.
pub(crate) enum Target<'a> {
    Name(&'a str, u16),
    Address(SocketAddr),
}

/// Makes connections.
pub struct Dialer {
    names: Names,
    trust: Trust,
}

impl Dialer {
    /// Believes the authorities in `ca_file`; without one, the system's.
    pub fn new(ca_file: Option<&Path>) -> Result<Self, TrustError> {
        Ok(Self { names: Names::new(), trust: Trust::new(ca_file)? })
    }

    /// Where connections on this way begin: at the server's addresses or its proxy's. A name may have several, of which
    /// not all need to answer (`localhost` as `::1`, an IPv6 address without a route).
    pub async fn addresses(&self, origin: &Origin, way: &Way) -> Result<Addresses, DialError> {
        let (host, port) = first_hop(origin, way);
        let found = self.names.resolve(host, port).await;
        if way.proxy.is_some() { found.map_err(|error| at_proxy(&error)) } else { found }
    }

    /// Makes a connection. Addresses are tried in their order, each with its share of the time that is left.
    pub async fn dial(
        &self,
        origin: &Origin,
        way: &Way,
        addresses: &[SocketAddr],
        deadline: Instant,
    ) -> Result<Connection, DialError> {
        let (host, port) = first_hop(origin, way);
        let mut failure = DialError::Dns;
        for (place, address) in addresses.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(addresses.len() - place).unwrap_or(u32::MAX);
            // Boxed: a handshake within a handshake is large, and each frame above would move it.
            let dialled = Box::pin(self.dial_one(origin, way, *address, Instant::now() + share));
            match dialled.await {
                Ok(connection) => {
                    if place > 0 {
                        self.names.prefer(host, port, addresses, place);
                    }
                    return Ok(connection);
                }
                Err(error) => failure = error,
            }
            if failure.is_last() {
                break;
            }
        }
        self.names.forget(host, port);
        Err(failure)
    }

    async fn dial_one(
        &self,
        origin: &Origin,
        way: &Way,
        address: SocketAddr,
        deadline: Instant,
    ) -> Result<Connection, DialError> {
        let own = way.authorities.as_ref();
        let Some(proxy) = &way.proxy else {
            let work = async {
                let socket = tcp(address).await?;
                let fd = socket.as_raw_fd();
                self.finish(origin, own, socket, (fd, address)).await
            };
            return timeout_at(deadline, work).await.unwrap_or(Err(DialError::TimedOut));
        };
        let opened = timeout_at(deadline, Box::pin(self.open(origin, proxy, own, address))).await;
        let (tunnel, fd) = match opened {
            Ok(opened) => opened?,
            Err(_) => return Err(DialError::Proxy { why: ProxyFailure::TimedOut, status: None }),
        };
        let work = Box::pin(self.finish(origin, own, tunnel, (fd, address)));
        timeout_at(deadline, work).await.unwrap_or(Err(DialError::TimedOut))
    }

    /// Opens the way through a proxy.
    async fn open(
        &self,
        origin: &Origin,
        by: &Proxy,
        own: Option<&Authorities>,
        address: SocketAddr,
    ) -> Result<(Box<dyn Io>, RawFd), DialError> {
        let name = Target::Name(&origin.host, origin.port);
        let mut targets = vec![name];
        if by.url.scheme == ProxyScheme::Socks5 {
            let found = self.names.resolve(&origin.host, origin.port).await?;
            targets = found.iter().map(|address| Target::Address(*address)).collect();
        }
        let mut failure = DialError::Dns;
        for target in targets {
            let mut socket = tcp(address).await.map_err(|error| at_proxy(&error))?;
            let fd = socket.as_raw_fd();
            let asked = match by.url.scheme {
                ProxyScheme::Http => connect::connect(&mut socket, &authority(origin), by).await,
                ProxyScheme::Https => {
                    let client = self.client(own)?;
                    let tls = tls(client, &by.url.host, socket, &[]).await;
                    let mut socket = tls.map_err(|error| at_proxy(&error))?;
                    connect::connect(&mut socket, &authority(origin), by).await?;
                    return Ok((Box::new(socket), fd));
                }
                ProxyScheme::Socks5 | ProxyScheme::Socks5h => socks::connect(&mut socket, &target, by).await,
            };
            match asked {
                Ok(()) => return Ok((Box::new(socket), fd)),
                Err(error) => failure = error,
            }
            // Another address of the server may be reached where this one was not.
            if !matches!(failure, DialError::Proxy { why: ProxyFailure::Refused, .. }) {
                break;
            }
        }
        Err(failure)
    }

    /// Speaks TLS on an open way, when the server does.
    async fn finish<S: Io + 'static>(
        &self,
        origin: &Origin,
        own: Option<&Authorities>,
        socket: S,
        (fd, address): (RawFd, SocketAddr),
    ) -> Result<Connection, DialError> {
        if !origin.is_https {
            return Ok(Connection { io: Box::new(socket), socket: fd, address, is_h2: false });
        }
        let tls = Box::pin(tls(self.client(own)?, &origin.host, socket, &[H2, HTTP_1])).await?;
        let is_h2 = tls.get_ref().1.alpn_protocol() == Some(H2);
        Ok(Connection { io: Box::new(tls), socket: fd, address, is_h2 })
    }

    fn client(&self, own: Option<&Authorities>) -> Result<Arc<ClientConfig>, DialError> {
        self.trust.client(own).map_err(|error| DialError::Tls(error.into()))
    }
}

impl DialError {
    /// What it is to a request.
    #[must_use]
    pub fn failure(&self) -> ConnectFailure {
        match self {
            Self::Dns => ConnectFailure::Dns,
            Self::Refused | Self::Reset | Self::Unreachable(_) => ConnectFailure::Refused,
            Self::TimedOut => ConnectFailure::TimedOut,
            Self::Tls(_) => ConnectFailure::Tls,
            Self::Proxy { why, .. } => ConnectFailure::Proxy(*why),
        }
    }

    /// What the proxy failed with, when it was the proxy.
    #[must_use]
    pub fn proxy_failure(&self) -> Option<ProxyFailure> {
        match self {
            Self::Proxy { why, .. } => Some(*why),
            Self::Dns
            | Self::Refused
            | Self::Reset
            | Self::Unreachable(_)
            | Self::TimedOut
            | Self::Tls(_) => None,
        }
    }

    /// True when another address of the same name would say the same.
    fn is_last(&self) -> bool {
        match self {
            Self::Tls(_) => true,
            Self::Proxy { why, .. } => match why {
                ProxyFailure::Tls | ProxyFailure::Auth | ProxyFailure::Refused => true,
                ProxyFailure::Unreachable | ProxyFailure::TimedOut | ProxyFailure::Protocol => false,
            },
            Self::Dns | Self::Refused | Self::Reset | Self::Unreachable(_) | Self::TimedOut => false,
        }
    }
}

/// The proxy's fault, without more to say.
pub(crate) fn proxy(why: ProxyFailure) -> DialError {
    DialError::Proxy { why, status: None }
}

/// What it means when the connection to the proxy fails.
fn at_proxy(error: &DialError) -> DialError {
    proxy(match error {
        DialError::Dns | DialError::Refused | DialError::Unreachable(_) => ProxyFailure::Unreachable,
        DialError::Reset => ProxyFailure::Protocol,
        DialError::TimedOut => ProxyFailure::TimedOut,
        DialError::Tls(_) => ProxyFailure::Tls,
        DialError::Proxy { why, .. } => *why,
    })
}

async fn tcp(address: SocketAddr) -> Result<TcpStream, DialError> {
    let connect = async {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        Ok(socket)
    };
    connect.await.map_err(|error: io::Error| match error.kind() {
        io::ErrorKind::ConnectionRefused => DialError::Refused,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => DialError::Reset,
        io::ErrorKind::TimedOut => DialError::TimedOut,
        _ => DialError::Unreachable(error),
    })
}

async fn tls<S: Io>(
    client: Arc<ClientConfig>,
    host: &str,
    socket: S,
    protocols: &[&[u8]],
) -> Result<TlsStream<S>, DialError> {
    // One dot at the end is the root of the name system; certificates have none.
    let name = host.strip_suffix('.').unwrap_or(host).to_owned();
    let name = ServerName::try_from(name).map_err(|error| DialError::Tls(io::Error::other(error)))?;
    let protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let handshake = TlsConnector::from(client).with_alpn(protocols).connect(name, socket);
    Box::pin(handshake).await.map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
            DialError::Reset
        }
        _ => DialError::Tls(error),
    })
}

fn first_hop<'a>(origin: &'a Origin, way: &'a Way) -> (&'a str, u16) {
    match &way.proxy {
        Some(proxy) => (&proxy.url.host, proxy.url.port),
        None => (&origin.host, origin.port),
    }
}

/// `host:port`, the port always there.
fn authority(origin: &Origin) -> String {
    if origin.host.contains(':') {
        format!("[{}]:{}", origin.host, origin.port)
    } else {
        format!("{}:{}", origin.host, origin.port)
    }
}

fn proxy_text(why: ProxyFailure, status: Option<u16>) -> String {
    let text = match why {
        ProxyFailure::Unreachable => "the proxy cannot be reached",
        ProxyFailure::TimedOut => "the proxy did not open the way in time",
        ProxyFailure::Tls => "TLS with the proxy could not be agreed on",
        ProxyFailure::Auth => "the proxy does not accept the user name and password",
        ProxyFailure::Refused => "the proxy refused, or could not reach the server",
        ProxyFailure::Protocol => "the proxy did not answer as a proxy",
    };
    status.map_or_else(|| text.to_owned(), |status| format!("{text} ({status})"))
}

const H2: &[u8] = b"h2";
const HTTP_1: &[u8] = b"http/1.1";
