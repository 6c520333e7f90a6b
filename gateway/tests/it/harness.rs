//! A gateway and its upstreams on free ports, and a plain client.

use bytes::Bytes;
use gateway::config::GatewayConfig;
use gateway::{GatewayHandle, GatewayParts};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use shared::contract::snapshot::Snapshot;
use shared::contract::usage::UsageRecord;
use shared::memory::{
    MemoryBreakers, MemoryConfig, MemoryNodes, MemoryQuotas, MemoryResponses, MemorySessions, MemoryUsage,
};
use shared::model::{Provider, ProviderType};
use shared::ports::{Publisher, UsageSource};
use shared::testing;
use shared::vars::Vars;
use simulator::{Script, Simulator, SimulatorConfig};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::{Instant, timeout};

/// How long anything in a test may take before the test says so.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A running gateway.
pub struct Hub {
    pub handle: GatewayHandle,
    pub feed: Arc<MemoryConfig>,
    pub usage: Arc<MemoryUsage>,
    pub nodes: Arc<MemoryNodes>,
    pub breakers: Arc<MemoryBreakers>,
    pub quotas: Arc<MemoryQuotas>,
    pub client: Client<HttpConnector, Full<Bytes>>,
    data_dir: TempDir,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("the answer is JSON")
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).expect("the answer is text")
    }
}

pub async fn upstream() -> Simulator {
    Simulator::start(SimulatorConfig::default()).await.expect("a simulator starts")
}

pub async fn upstream_with(script: Script) -> Simulator {
    let upstream = upstream().await;
    upstream.set_script(script);
    upstream
}

/// A provider of this type at a simulator (or any other base URL).
pub fn provider(id: i64, provider_type: ProviderType, base_url: &str) -> Provider {
    Provider { provider_type, url: base_url.to_owned(), ..testing::provider(id) }
}

pub fn claude(id: i64, base_url: &str) -> Provider {
    provider(id, ProviderType::Claude, base_url)
}

impl Hub {
    pub async fn start(providers: Vec<Provider>) -> Self {
        Self::start_with(testing::snapshot(providers), None).await
    }

    pub async fn start_with(snapshot: Snapshot, upstream_ca_file: Option<PathBuf>) -> Self {
        Self::start_as(snapshot, |config| config.upstream_ca_file = upstream_ca_file).await
    }

    /// With what this makes of its configuration.
    pub async fn start_as(snapshot: Snapshot, change: impl FnOnce(&mut GatewayConfig)) -> Self {
        let sessions = Arc::new(MemorySessions::new(300_000, gateway::now));
        Self::start_beside(snapshot, sessions, change).await
    }

    /// With sessions that it shares with others.
    pub async fn start_beside(
        snapshot: Snapshot,
        sessions: Arc<MemorySessions>,
        change: impl FnOnce(&mut GatewayConfig),
    ) -> Self {
        let responses = Arc::new(MemoryResponses::new(gateway::now));
        Self::start_sharing(snapshot, sessions, responses, change).await
    }

    /// With sessions and responses that it shares with others.
    pub async fn start_sharing(
        snapshot: Snapshot,
        sessions: Arc<MemorySessions>,
        responses: Arc<MemoryResponses>,
        change: impl FnOnce(&mut GatewayConfig),
    ) -> Self {
        let lookup = |name: &str| match name {
            "GATEWAY_LISTEN" | "OPS_LISTEN" => Some("127.0.0.1:0".to_owned()),
            _ => None,
        };
        let mut vars = Vars::new(&lookup);
        let mut config = GatewayConfig::read(&mut vars);
        let data_dir = tempfile::tempdir().expect("a temporary directory");
        config.journal.root = Some(data_dir.path().join("journal"));
        change(&mut config);
        let feed = Arc::new(MemoryConfig::new());
        feed.publish(snapshot).await.expect("the first snapshot is newer than none");
        let usage = Arc::new(MemoryUsage::new(10_000));
        let breakers = Arc::new(MemoryBreakers::new(gateway::now));
        let quotas = Arc::new(MemoryQuotas::new(gateway::now));
        let nodes = Arc::new(MemoryNodes::new());
        let parts = GatewayParts {
            config,
            feed: feed.clone(),
            usage: usage.clone(),
            nodes: nodes.clone(),
            breakers: breakers.clone(),
            sessions,
            responses,
            quotas: quotas.clone(),
            hub_key: Arc::new(testing::hub_key()),
            metrics_parts: Vec::new(),
        };
        let handle = gateway::start(parts).await.expect("the gateway starts");
        let client = Client::builder(TokioExecutor::new()).build_http();
        let hub = Self { handle, feed, usage, nodes, breakers, quotas, client, data_dir };
        hub.ready().await;
        hub
    }

    async fn ready(&self) {
        let until = Instant::now() + PATIENCE;
        loop {
            let uri = format!("http://{}/ready", self.handle.ops_address);
            let request = Request::get(uri).body(Full::default()).expect("a request");
            if let Ok(answer) = self.client.request(request).await
                && answer.status() == StatusCode::OK
            {
                return;
            }
            assert!(Instant::now() < until, "the gateway is ready in time");
            tokio::task::yield_now().await;
        }
    }

    /// Where its journal is.
    pub fn journal_root(&self) -> PathBuf {
        self.data_dir.path().join("journal")
    }

    /// A figure of the operators' page.
    pub async fn figure(&self, name: &str) -> u64 {
        let uri = format!("http://{}/metrics", self.handle.ops_address);
        let page = self.send(Request::get(uri).body(Full::default()).expect("a request")).await.text();
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0, |figure| figure.parse().expect("a whole number"))
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.handle.address)
    }

    pub async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        let whole = async {
            let answer = self.client.request(request).await.expect("the gateway answers");
            let (head, body) = answer.into_parts();
            let body = body.collect().await.expect("the body is whole").to_bytes();
            Answer { status: head.status, headers: head.headers, body }
        };
        timeout(PATIENCE, whole).await.expect("an answer in time")
    }

    /// A POST with the seat's key.
    pub async fn post(&self, path: &str, body: impl Into<Bytes>) -> Answer {
        self.send(self.request(path).body(Full::new(body.into())).expect("a request")).await
    }

    pub fn request(&self, path: &str) -> http::request::Builder {
        Request::post(self.url(path))
            .header("x-api-key", testing::client_secret(1))
            .header("content-type", "application/json")
            .header("anthropic-version", "2023-06-01")
    }

    /// The records booked so far, once there are `count`.
    pub async fn records(&self, count: usize) -> Vec<UsageRecord> {
        let until = Instant::now() + PATIENCE;
        loop {
            let lent = self.usage.take(10_000).await.expect("memory answers");
            if lent.len() >= count {
                return lent.records.into_iter().map(|lent| lent.record).collect();
            }
            assert!(Instant::now() < until, "{count} records in time, got {}", lent.len());
            tokio::task::yield_now().await;
        }
    }
}

/// A Messages request.
pub fn message(is_stream: bool) -> String {
    serde_json::json!({
        "model": "claude-sonnet-4-5",
        "max_tokens": 64,
        "stream": is_stream,
        "messages": [{"role": "user", "content": "Say hello."}],
    })
    .to_string()
}

/// In hex, as the simulator writes it.
pub fn sha256(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}
