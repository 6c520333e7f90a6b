//! Clients that hide nothing: a raw HTTP/1.1 one on a socket, and hyper's for HTTP/2 and TLS.

use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use simulator::{Script, Simulator, SimulatorConfig};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Long enough for any machine; reached only by a test that fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub const MESSAGES: &str = "/v1/messages";
pub const MESSAGES_BODY: &str =
    r#"{"model":"claude-x","max_tokens":99,"messages":[{"role":"user","content":"hi"}]}"#;
pub const STREAM_BODY: &str =
    r#"{"model":"claude-x","max_tokens":99,"stream":true,"messages":[{"role":"user","content":"hi"}]}"#;

/// A listener with this script.
pub async fn playing(script: Script) -> Simulator {
    let config = SimulatorConfig { default_script: script, ..SimulatorConfig::default() };
    Simulator::start(config).await.unwrap()
}

/// A record that has ended; waits for it.
pub async fn ended(simulator: &Simulator, index: usize) -> simulator::Served {
    let wait = async {
        loop {
            if let Some(served) = simulator.served().get(index).filter(|it| it.answer.ended.is_over()) {
                return served.clone();
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, wait).await.expect("the record ends")
}

/// Bytes on a socket.
pub struct Raw {
    socket: TcpStream,
    pub received: Vec<u8>,
}

impl Raw {
    pub async fn connect(simulator: &Simulator) -> Self {
        let socket = TcpStream::connect(simulator.addr()).await.unwrap();
        socket.set_nodelay(true).unwrap();
        Self { socket, received: Vec::new() }
    }

    /// Connects and sends a POST with a JSON body.
    pub async fn post(simulator: &Simulator, path: &str, body: &str) -> Self {
        let mut raw = Self::connect(simulator).await;
        raw.send(&request(path, body, "")).await;
        raw
    }

    pub async fn send(&mut self, text: &str) {
        self.socket.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads once; the number of bytes, 0 at the end.
    pub async fn read(&mut self) -> io::Result<usize> {
        timeout(PATIENCE, self.socket.read_buf(&mut self.received)).await.expect("something comes")
    }

    /// Reads until the peer closes. A reset counts as closing.
    pub async fn read_to_close(&mut self) -> String {
        while self.read().await.is_ok_and(|count| count > 0) {}
        self.text()
    }

    /// Reads until this text has come.
    pub async fn read_until(&mut self, text: &str) -> String {
        while !self.text().contains(text) {
            assert_ne!(self.read().await.unwrap(), 0, "closed before {text:?}: {}", self.text());
        }
        self.text()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.received).into_owned()
    }
}

pub fn request(path: &str, body: &str, headers: &str) -> String {
    let len = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: sim\r\ncontent-type: application/json\r\ncontent-length: {len}\r\n{headers}\r\n{body}"
    )
}

/// Head and payload of a whole response; chunks are put together and a truncated one is an error.
pub fn split(text: &str) -> (String, Result<String, String>) {
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let head = head.to_ascii_lowercase();
    if !head.contains("transfer-encoding: chunked") {
        return (head, Ok(body.to_owned()));
    }
    let mut rest = body;
    let mut payload = String::new();
    loop {
        let Some((len, after)) = rest.split_once("\r\n") else { return (head, Err(payload)) };
        let len = usize::from_str_radix(len, 16).expect("a chunk length");
        if len == 0 {
            return (head, Ok(payload));
        }
        let Some(chunk) = after.get(..len + 2) else { return (head, Err(payload + after)) };
        payload.push_str(&chunk[..len]);
        rest = &after[len + 2..];
    }
}

/// A request for hyper's clients.
pub fn post(uri: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post(uri).header("content-type", "application/json").body(Full::new(body.into())).unwrap()
}

pub type Http2 = hyper::client::conn::http2::SendRequest<Full<Bytes>>;

/// HTTP/2 with prior knowledge.
pub async fn http2(simulator: &Simulator) -> Http2 {
    let socket = TcpStream::connect(simulator.addr()).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// A TLS connection that trusts the listener's authority only, with what ALPN chose.
pub async fn tls(
    simulator: &Simulator,
    alpn: &[&str],
    name: &'static str,
) -> io::Result<(tokio_rustls::client::TlsStream<TcpStream>, Option<Vec<u8>>)> {
    let mut roots = RootCertStore::empty();
    let pem = simulator.ca_pem().expect("a TLS listener");
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let socket = TcpStream::connect(simulator.addr()).await?;
    let server = ServerName::try_from(name).unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(server, socket).await?;
    let chosen = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
    Ok((stream, chosen))
}

/// The whole body; the error when it was cut.
pub async fn collect(response: Response<Incoming>) -> Result<Bytes, hyper::Error> {
    let body = timeout(PATIENCE, response.into_body().collect()).await.expect("the body ends");
    body.map(http_body_util::Collected::to_bytes)
}
