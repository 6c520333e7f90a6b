//! An egress proxy on a free port, in the three kinds that there are, with the faults that proxies have.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// What a proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyKind {
    /// HTTP `CONNECT`.
    Http,
    /// The same inside TLS, with a certificate for `localhost` and `127.0.0.1`.
    Https,
    /// SOCKS5.
    Socks5,
}

/// What a proxy does with those it lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyManner {
    /// Opens the way.
    Serves,
    /// Says that it could not.
    Refuses,
    /// Says nothing.
    Hangs,
    /// Goes on saying things for ever.
    Babbles,
    /// Speaks before the server does.
    Interjects,
    /// Closes the connection.
    HangsUp,
}

/// A proxy, until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    kind: ProxyKind,
    ca_pem: Option<String>,
    state: Arc<State>,
    task: JoinHandle<()>,
}

/// What a proxy was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The server, as it was written.
    pub target: String,
    /// `user:password`.
    pub credentials: Option<String>,
}

struct State {
    manner: Mutex<ProxyManner>,
    credentials: Option<String>,
    names: Mutex<HashMap<String, SocketAddr>>,
    asked: Mutex<Vec<Asked>>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("State")
    }
}

impl Proxy {
    /// Starts one; with `credentials` (`user:password`) it lets only those in who have them.
    pub async fn start(kind: ProxyKind, credentials: Option<&str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (acceptor, ca_pem) = match kind {
            ProxyKind::Https => {
                let (acceptor, pem) = identity();
                (Some(acceptor), Some(pem))
            }
            ProxyKind::Http | ProxyKind::Socks5 => (None, None),
        };
        let state = Arc::new(State {
            manner: Mutex::new(ProxyManner::Serves),
            credentials: credentials.map(str::to_owned),
            names: Mutex::default(),
            asked: Mutex::default(),
        });
        let task = tokio::spawn(accept(listener, kind, acceptor, state.clone()));
        Self { address, kind, ca_pem, state, task }
    }

    /// Its URL, with credentials of the caller's.
    #[must_use]
    pub fn url(&self, credentials: &str) -> String {
        let scheme = match self.kind {
            ProxyKind::Http => "http",
            ProxyKind::Https => "https",
            ProxyKind::Socks5 => "socks5h",
        };
        let at = if credentials.is_empty() { String::new() } else { format!("{credentials}@") };
        format!("{scheme}://{at}{}", self.address)
    }

    /// The certificate that it speaks TLS with.
    #[must_use]
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// From now on it behaves like this.
    pub fn behaves(&self, manner: ProxyManner) {
        *self.state.manner.lock().unwrap() = manner;
    }

    /// A name that only it knows.
    pub fn knows(&self, name: &str, address: SocketAddr) {
        self.state.names.lock().unwrap().insert(name.to_owned(), address);
    }

    /// What it was asked for so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.state.asked.lock().unwrap().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, kind: ProxyKind, tls: Option<TlsAcceptor>, state: Arc<State>) {
    while let Ok((socket, _)) = listener.accept().await {
        let (tls, state) = (tls.clone(), state.clone());
        // A client that leaves is none of the test's business.
        tokio::spawn(async move {
            socket.set_nodelay(true)?;
            match tls {
                Some(tls) => serve(tls.accept(socket).await?, kind, &state).await,
                None => serve(socket, kind, &state).await,
            }
        });
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut socket: S,
    kind: ProxyKind,
    state: &State,
) -> io::Result<()> {
    let asked = match kind {
        ProxyKind::Http | ProxyKind::Https => asked_by_connect(&mut socket).await?,
        ProxyKind::Socks5 => asked_by_socks(&mut socket, state).await?,
    };
    let Some(asked) = asked else { return Ok(()) };
    let is_known = state.credentials.is_none() || state.credentials == asked.credentials;
    let target = asked.target.clone();
    state.asked.lock().unwrap().push(asked);
    let is_http = kind != ProxyKind::Socks5;
    if !is_known {
        return socket.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
    }
    let manner = *state.manner.lock().unwrap();
    match manner {
        ProxyManner::Serves => {}
        ProxyManner::Refuses => {
            let refusal: &[u8] =
                if is_http { b"HTTP/1.1 502 Bad Gateway\r\n\r\n" } else { &[5, 5, 0, 1, 0, 0, 0, 0, 0, 0] };
            return socket.write_all(refusal).await;
        }
        ProxyManner::Hangs => {
            let mut rest = [0];
            return socket.read(&mut rest).await.map(|_| ());
        }
        ProxyManner::Babbles => loop {
            socket.write_all(b"x-babble: 1\r\n").await?;
        },
        ProxyManner::Interjects => {
            return socket.write_all(b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n").await;
        }
        ProxyManner::HangsUp => return Ok(()),
    }
    let known = state.names.lock().unwrap().get(&target).copied();
    let upstream = match known {
        Some(address) => TcpStream::connect(address).await,
        None => TcpStream::connect(&target).await,
    };
    let Ok(mut upstream) = upstream else {
        let refusal: &[u8] =
            if is_http { b"HTTP/1.1 504 Gateway Timeout\r\n\r\n" } else { &[5, 4, 0, 1, 0, 0, 0, 0, 0, 0] };
        return socket.write_all(refusal).await;
    };
    upstream.set_nodelay(true)?;
    let opened: &[u8] = if is_http {
        b"HTTP/1.1 200 Connection established\r\nvia: 1.1 test\r\n\r\n"
    } else {
        &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    };
    socket.write_all(opened).await?;
    socket.flush().await?;
    copy_bidirectional(&mut socket, &mut upstream).await.map(|_| ())
}

async fn asked_by_connect<S: AsyncRead + Unpin>(socket: &mut S) -> io::Result<Option<Asked>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        // A byte at a time: what follows the head is the server's.
        head.push(socket.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.lines();
    let target = lines.next().and_then(|line| line.strip_prefix("CONNECT ")?.strip_suffix(" HTTP/1.1"));
    let credentials = lines.find_map(|line| line.strip_prefix("Proxy-Authorization: Basic "));
    let credentials = credentials.map(|text| String::from_utf8(STANDARD.decode(text).unwrap()).unwrap());
    Ok(Some(Asked { target: target.expect("a CONNECT request").to_owned(), credentials }))
}

async fn asked_by_socks<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut S,
    state: &State,
) -> io::Result<Option<Asked>> {
    assert_eq!(socket.read_u8().await?, 5);
    let mut methods = vec![0; usize::from(socket.read_u8().await?)];
    socket.read_exact(&mut methods).await?;
    let wanted = if state.credentials.is_some() { 2 } else { 0 };
    if !methods.contains(&wanted) {
        socket.write_all(&[5, 0xff]).await?;
        return Ok(None);
    }
    socket.write_all(&[5, wanted]).await?;
    let mut credentials = None;
    if wanted == 2 {
        assert_eq!(socket.read_u8().await?, 1);
        let (user, password) = (sized(socket).await?, sized(socket).await?);
        credentials = Some(format!("{user}:{password}"));
        let is_known = credentials == state.credentials;
        socket.write_all(&[1, u8::from(!is_known)]).await?;
        if !is_known {
            return Ok(None);
        }
    }
    let mut request = [0; 4];
    socket.read_exact(&mut request).await?;
    assert_eq!(request[..3], [5, 1, 0]);
    let host = match request[3] {
        1 => Ipv4Addr::from(socket.read_u32().await?).to_string(),
        3 => sized(socket).await?,
        4 => format!("[{}]", Ipv6Addr::from(socket.read_u128().await?)),
        other => panic!("an address of type {other}"),
    };
    Ok(Some(Asked { target: format!("{host}:{}", socket.read_u16().await?), credentials }))
}

async fn sized<S: AsyncRead + Unpin>(socket: &mut S) -> io::Result<String> {
    let mut bytes = vec![0; usize::from(socket.read_u8().await?)];
    socket.read_exact(&mut bytes).await?;
    Ok(String::from_utf8(bytes).unwrap())
}

fn identity() -> (TlsAcceptor, String) {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), cert.pem())
}
