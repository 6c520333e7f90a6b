//! Connections over each kind of proxy, and what is told when they do not come about.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use egress::{Connection, DialError, Dialer};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use shared::rules::upstream::{Authorities, BaseUrl, Origin, Proxy as By, ProxyFailure, ProxyUrl, Way};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use testbed::{Asked, PATIENCE, Proxy, ProxyKind, ProxyManner};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// Says back what it hears, in TLS with this certificate if wanted.
struct Echo {
    address: SocketAddr,
    ca_pem: Option<String>,
}

impl Echo {
    async fn start(is_tls: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (acceptor, ca_pem) = if is_tls {
            let CertifiedKey { cert, signing_key } =
                generate_simple_self_signed(vec!["server.test".to_owned(), "127.0.0.1".to_owned()]).unwrap();
            let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
            let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![cert.der().clone()], key)
                .unwrap();
            config.alpn_protocols = vec![b"h2".to_vec()];
            (Some(TlsAcceptor::from(Arc::new(config))), Some(cert.pem()))
        } else {
            (None, None)
        };
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    match acceptor {
                        Some(acceptor) => {
                            let Ok(mut socket) = acceptor.accept(socket).await else { return };
                            let (mut from, mut to) = tokio::io::split(&mut socket);
                            let _ = tokio::io::copy(&mut from, &mut to).await;
                        }
                        None => {
                            let (mut from, mut to) = socket.split();
                            let _ = tokio::io::copy(&mut from, &mut to).await;
                        }
                    }
                });
            }
        });
        Self { address, ca_pem }
    }
}

fn origin(url: &str) -> Arc<Origin> {
    BaseUrl::parse(url).unwrap().origin().clone()
}

fn way(proxy: &str, pem: &str, origin: &Origin) -> Way {
    let proxy = (!proxy.is_empty()).then(|| {
        let (url, password) = ProxyUrl::parse(proxy).unwrap();
        By { url, password }
    });
    Way::new(proxy, (!pem.is_empty()).then(|| Authorities::new(pem)), origin)
}

async fn dial(origin: &Origin, way: &Way, limit: Duration) -> Result<Connection, DialError> {
    let dialer = Dialer::new(None).unwrap();
    let addresses = dialer.addresses(origin, way).await?;
    dialer.dial(origin, way, &addresses, Instant::now() + limit).await
}

async fn echoes(mut connection: Connection) {
    connection.io.write_all(b"ping").await.unwrap();
    connection.io.flush().await.unwrap();
    let mut told = [0; 4];
    connection.io.read_exact(&mut told).await.unwrap();
    assert_eq!(&told, b"ping");
}

#[tokio::test]
async fn each_kind_of_proxy_opens_the_way_with_its_credentials_and_knows_the_name_itself() {
    for kind in [ProxyKind::Http, ProxyKind::Https, ProxyKind::Socks5] {
        for is_tls in [false, true] {
            for credentials in ["", "user:p@ss"] {
                let echo = Echo::start(is_tls).await;
                let proxy = Proxy::start(kind, Some(credentials).filter(|c| !c.is_empty())).await;
                proxy.knows("server.test:7", echo.address);
                let origin = origin(if is_tls { "https://server.test:7" } else { "http://server.test:7" });
                let pem = [echo.ca_pem.as_deref(), proxy.ca_pem()].map(Option::unwrap_or_default).concat();
                let way = way(&proxy.url(credentials), &pem, &origin);
                let connection = dial(&origin, &way, PATIENCE).await.unwrap();
                assert_eq!(connection.is_h2, is_tls, "{kind:?}");
                echoes(connection).await;
                let credentials = Some(credentials.to_owned()).filter(|c| !c.is_empty());
                assert_eq!(proxy.asked(), [Asked { target: "server.test:7".to_owned(), credentials }]);
            }
        }
    }
}

#[tokio::test]
async fn socks5_looks_names_up_here_and_socks5h_does_not() {
    let echo = Echo::start(false).await;
    let proxy = Proxy::start(ProxyKind::Socks5, None).await;
    let origin = origin(&format!("http://localhost:{}", echo.address.port()));
    let local = way(&proxy.url("").replace("socks5h", "socks5"), "", &origin);
    echoes(dial(&origin, &local, PATIENCE).await.unwrap()).await;
    let asked = proxy.asked().pop().unwrap().target;
    assert_eq!(asked, format!("127.0.0.1:{}", echo.address.port()), "the address that answers");
    let unknown = BaseUrl::parse("http://nobody.invalid").unwrap().origin().clone();
    assert!(matches!(dial(&unknown, &local, PATIENCE).await, Err(DialError::Dns)));
}

#[tokio::test]
async fn what_is_wrong_with_a_proxy_is_told_apart() {
    let origin = origin("http://server.test:7");
    for kind in [ProxyKind::Http, ProxyKind::Socks5] {
        for (manner, wanted) in [
            (ProxyManner::Refuses, ProxyFailure::Refused),
            (ProxyManner::HangsUp, ProxyFailure::Protocol),
            (ProxyManner::Babbles, ProxyFailure::Protocol),
            (ProxyManner::Interjects, ProxyFailure::Protocol),
            // It knows no such server.
            (ProxyManner::Serves, ProxyFailure::Refused),
        ] {
            let proxy = Proxy::start(kind, None).await;
            proxy.behaves(manner);
            let told = dial(&origin, &way(&proxy.url(""), "", &origin), PATIENCE).await.map(|_| ());
            assert!(
                matches!(told, Err(DialError::Proxy { why, .. }) if why == wanted),
                "{kind:?} {manner:?}: {told:?}"
            );
        }
        let proxy = Proxy::start(kind, Some("user:right")).await;
        for wrong in ["", "user:wrong"] {
            let told = dial(&origin, &way(&proxy.url(wrong), "", &origin), PATIENCE).await.map(|_| ());
            let is_auth = matches!(told, Err(DialError::Proxy { why: ProxyFailure::Auth, .. }));
            assert!(is_auth, "{kind:?}: {told:?}");
            assert!(!format!("{told:?}").contains("wrong"));
        }
    }
    for (url, wanted) in [
        ("http://nobody.invalid", ProxyFailure::Unreachable),
        ("socks5h://127.0.0.1:1", ProxyFailure::Unreachable),
    ] {
        let told = dial(&origin, &way(url, "", &origin), PATIENCE).await.map(|_| ());
        assert!(matches!(told, Err(DialError::Proxy { why, .. }) if why == wanted), "{url}: {told:?}");
    }
    let proxy = Proxy::start(ProxyKind::Https, None).await;
    let told = dial(&origin, &way(&proxy.url(""), "", &origin), PATIENCE).await.map(|_| ());
    assert!(matches!(told, Err(DialError::Proxy { why: ProxyFailure::Tls, .. })), "{told:?}");
}

#[tokio::test]
async fn a_proxy_that_says_nothing_holds_nobody_beyond_the_deadline() {
    let origin = origin("http://server.test:7");
    for kind in [ProxyKind::Http, ProxyKind::Socks5] {
        let proxy = Proxy::start(kind, None).await;
        proxy.behaves(ProxyManner::Hangs);
        let way = way(&proxy.url(""), "", &origin);
        let dialled = dial(&origin, &way, Duration::from_millis(50));
        let told = tokio::time::timeout(PATIENCE, dialled).await.expect("an end").map(|_| ());
        assert!(matches!(told, Err(DialError::Proxy { why: ProxyFailure::TimedOut, .. })), "{told:?}");
    }
    // Listens, and never speaks: neither TLS nor anything else.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", silent.local_addr().unwrap());
    let told = dial(&origin, &way(&url, "", &origin), Duration::from_millis(50)).await.map(|_| ());
    assert!(matches!(told, Err(DialError::Proxy { why: ProxyFailure::TimedOut, .. })), "{told:?}");
    let server = BaseUrl::parse(&url).unwrap().origin().clone();
    let told = dial(&server, &way("", "", &server), Duration::from_millis(50)).await.map(|_| ());
    assert!(matches!(told, Err(DialError::TimedOut)), "{told:?}");
}

#[tokio::test]
async fn a_certificate_is_believed_by_who_brings_its_authority_and_by_nobody_else() {
    let echo = Echo::start(true).await;
    let origin = origin(&format!("https://{}", echo.address));
    let dialer = Dialer::new(None).unwrap();
    let pem = echo.ca_pem.as_deref().unwrap();
    for (pem, is_believed) in [("", false), (pem, true), ("", false)] {
        let way = way("", pem, &origin);
        let deadline = Instant::now() + PATIENCE;
        let told = dialer.dial(&origin, &way, &[echo.address], deadline).await;
        assert_eq!(told.is_ok(), is_believed);
        assert!(is_believed || matches!(told, Err(DialError::Tls(_))), "{told:?}");
    }
}

#[tokio::test]
async fn failures_without_a_proxy_are_told_apart() {
    let refusing = TcpSocket::new_v4().unwrap();
    refusing.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let refused = origin(&format!("http://{}", refusing.local_addr().unwrap()));
    let told = dial(&refused, &Way::default(), PATIENCE).await;
    assert!(matches!(told, Err(DialError::Refused)), "{told:?}");
    let nobody = origin("http://nobody.invalid");
    let told = dial(&nobody, &Way::default(), PATIENCE).await;
    assert!(matches!(told, Err(DialError::Dns)), "{told:?}");
}

#[tokio::test]
async fn an_address_that_does_not_answer_leaves_the_names_next_one() {
    let echo = Echo::start(false).await;
    // Bound and never listening: refuses.
    let refusing = TcpSocket::new_v4().unwrap();
    refusing.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let addresses = [refusing.local_addr().unwrap(), echo.address];
    let dialer = Dialer::new(None).unwrap();
    let origin = origin("http://server.test:7");
    let deadline = Instant::now() + PATIENCE;
    let connection = dialer.dial(&origin, &Way::default(), &addresses, deadline).await.unwrap();
    assert_eq!(connection.address, echo.address);
    // And is asked first from now on.
    let known = dialer.addresses(&origin, &Way::default()).await.unwrap();
    assert_eq!(known[..], [echo.address, addresses[0]]);
}
