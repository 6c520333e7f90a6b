//! A plain HTTP client for our own two doors, on loopback: what the first start and the demo call.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use shared::secret::Secret;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::time::timeout;

/// Calls one door with one token.
pub struct LocalClient {
    client: Client<HttpConnector, Full<Bytes>>,
    address: SocketAddr,
    token: Secret,
}

impl LocalClient {
    /// For the door at `address`, which may be bound to all addresses.
    #[must_use]
    pub fn new(address: SocketAddr, token: Secret) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { client, address: reachable(address), token }
    }

    /// A call that answers JSON; any status but 2xx is an error that quotes the answer.
    pub async fn json(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let whole = async {
            let answer = self.call(method.clone(), path, body).await?;
            let status = answer.status();
            let bytes = answer.into_body().collect().await.context("the answer broke off")?.to_bytes();
            if !status.is_success() {
                bail!("{method} {path}: {status}: {}", String::from_utf8_lossy(&bytes));
            }
            serde_json::from_slice(&bytes).with_context(|| format!("{method} {path}: not JSON"))
        };
        timeout(DEADLINE, whole).await.with_context(|| format!("{method} {path}: no answer in time"))?
    }

    /// A call whose body is read by the caller.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Response<Incoming>> {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address))
            .header("authorization", format!("Bearer {}", self.token.expose()))
            .header("content-type", "application/json")
            .header("anthropic-version", "2023-06-01")
            .body(Full::new(body.map(|b| Bytes::from(b.to_string())).unwrap_or_default()))?;
        self.client.request(request).await.with_context(|| format!("cannot reach {}", self.address))
    }
}

/// An address that can be called, for one that may mean "all addresses".
#[must_use]
pub fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

const DEADLINE: Duration = Duration::from_secs(30);
