//! The split shape: what its processes share, and calls to them.

use crate::process::{ADMIN, GATEWAY, Process};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use simulator::{Script, Simulator, SimulatorConfig};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;
use testbed::{PATIENCE, Postgres, Redis, eventually};
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub const TOKEN: &str = "the-admin-token-of-the-tests";
pub const HUB_KEY: &str = "5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e";

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

pub fn client() -> Client<HttpConnector, Full<Bytes>> {
    Client::builder(TokioExecutor::new()).build_http()
}

/// A call over a connection of its own.
pub async fn send(method: Method, url: &str, token: &str, body: &Value) -> Response<Incoming> {
    let request = Request::builder()
        .method(method)
        .uri(url)
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .header("anthropic-version", "2023-06-01");
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let request = request.body(Full::from(body)).unwrap();
    timeout(PATIENCE, client().request(request)).await.expect("an answer in time").expect("an answer")
}

pub async fn call(method: Method, url: &str, token: &str, body: &Value) -> Answer {
    let (head, body) = send(method, url, token, body).await.into_parts();
    let bytes =
        timeout(PATIENCE, body.collect()).await.expect("an end in time").expect("a whole body").to_bytes();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    Answer { status: head.status.as_u16(), headers: head.headers, text }
}

pub fn message(is_stream: bool) -> Value {
    json!({
        "model": "claude-sonnet-4-5",
        "max_tokens": 64,
        "stream": is_stream,
        "messages": [{"role": "user", "content": "hello"}],
    })
}

/// What the processes share.
pub struct Shape {
    pub postgres: Postgres,
    pub redis: Redis,
    pub upstream: Simulator,
    pub directory: TempDir,
}

impl Shape {
    pub async fn new() -> Self {
        Self {
            postgres: Postgres::start(),
            redis: Redis::start().await,
            upstream: Simulator::start(SimulatorConfig::default()).await.unwrap(),
            directory: tempfile::tempdir().unwrap(),
        }
    }

    pub fn dsn(&self) -> String {
        self.postgres.dsn("hub")
    }

    pub fn redis_url(&self) -> String {
        format!("redis://{}", self.redis.door.address)
    }

    pub fn data_dir(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A clean environment with everything that is needed; `name` is the data directory's.
    pub fn command(&self, binary: &str, name: &str) -> Command {
        let mut command = Command::new(binary);
        command
            .env_clear()
            .env("DATA_DIR", self.data_dir(name))
            .env("LOG_FORMAT", "json")
            .env("REDIS_URL", self.redis_url())
            .env("HUB_SECRET_KEY", HUB_KEY)
            .env("OPS_LISTEN", "127.0.0.1:0");
        match binary == ADMIN {
            true => {
                command.env("ADMIN_LISTEN", "127.0.0.1:0").env("DSN", self.dsn()).env("ADMIN_TOKEN", TOKEN)
            }
            false => command.env("GATEWAY_LISTEN", "127.0.0.1:0"),
        };
        command
    }

    pub async fn admin(&self, name: &str) -> Admin {
        Admin::up(Process::start(self.command(ADMIN, name))).await
    }

    pub async fn gateway(&self, name: &str) -> Gateway {
        Gateway::up(Process::start(self.command(GATEWAY, name))).await
    }
}

/// A running `cch-admin`.
pub struct Admin {
    pub process: Process,
    pub api: String,
    pub ops: String,
}

impl Admin {
    pub async fn up(mut process: Process) -> Self {
        let up = process.says("admin is up").await;
        let url = |name: &str| format!("http://{}", up[name].as_str().unwrap());
        Self { api: url("api"), ops: url("ops"), process }
    }

    pub async fn call(&self, method: Method, path: &str, body: Value) -> Answer {
        call(method, &format!("{}{path}", self.api), TOKEN, &body).await
    }

    pub async fn get(&self, path: &str) -> Value {
        let answer = self.call(Method::GET, path, Value::Null).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    pub async fn post(&self, path: &str, body: Value) -> Value {
        let answer = self.call(Method::POST, path, body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()
    }

    pub async fn make_provider(&self, shape: &Shape) -> Value {
        let body = json!({
            "name": "simulated", "provider_type": "claude", "url": shape.upstream.base_url(), "key": "sk-simulated",
        });
        self.post("/api/v1/providers", body).await
    }

    /// A user with a key: the key's id and secret.
    pub async fn make_seat(&self, name: &str) -> (i64, String) {
        let made = self.post("/api/v1/users", json!({ "name": name })).await;
        (made["key"]["id"].as_i64().unwrap(), made["key"]["secret"].as_str().unwrap().to_owned())
    }

    pub async fn set_enabled(&self, key_id: i64, is_enabled: bool) -> Answer {
        let path = format!("/api/v1/keys/{key_id}");
        self.call(Method::PATCH, &path, json!({ "is_enabled": is_enabled })).await
    }

    /// Waits until so many gateways serve by the newest revision.
    pub async fn in_force_on(&self, nodes: u64) {
        eventually("the newest revision is in force", || async {
            let now = self.call(Method::GET, "/api/v1/nodes", Value::Null).await;
            now.status == 200 && now.json()["total"] == nodes && now.json()["up_to_date"] == nodes
        })
        .await;
    }

    pub async fn logs(&self, count: usize) {
        eventually("the requests are in the log", || async {
            self.get("/api/v1/logs?limit=200").await["items"].as_array().unwrap().len() >= count
        })
        .await;
    }
}

/// A running `cch-gateway`.
pub struct Gateway {
    pub process: Process,
    pub seats: String,
    pub ops: String,
}

impl Gateway {
    pub async fn up(mut process: Process) -> Self {
        let up = process.says("gateway is up").await;
        let url = |name: &str| format!("http://{}", up[name].as_str().unwrap());
        Self { seats: url("seats"), ops: url("ops"), process }
    }

    pub async fn ask(&self, secret: &str) -> Answer {
        call(Method::POST, &format!("{}/v1/messages", self.seats), secret, &message(false)).await
    }

    pub async fn answers(&self, secret: &str, status: u16) {
        eventually("the gateway answers so", || async { self.ask(secret).await.status == status }).await;
    }

    pub fn load(&self, shape: &Shape, secret: &str, streams: usize) -> Load {
        Load::start(shape, &self.seats, secret, streams)
    }
}

pub async fn get(url: &str) -> Answer {
    call(Method::GET, url, "", &Value::Null).await
}

/// Seats that stream without a pause, each stream over a connection of its own. A stream that is refused or cut fails
/// the test at the end.
pub struct Load {
    is_over: Arc<AtomicBool>,
    seats: Vec<JoinHandle<usize>>,
}

impl Load {
    fn start(shape: &Shape, gateway: &str, secret: &str, streams: usize) -> Self {
        shape.upstream.set_script(Script { events: Some(20), spacing_ms: 10, ..Script::default() });
        let is_over = Arc::new(AtomicBool::new(false));
        let seats = (0..streams).map(|_| {
            let (is_over, url, secret) =
                (is_over.clone(), format!("{gateway}/v1/messages"), secret.to_owned());
            tokio::spawn(async move {
                let mut served = 0;
                while !is_over.load(Ordering::SeqCst) {
                    let answer = call(Method::POST, &url, &secret, &message(true)).await;
                    assert_eq!(answer.status, 200, "{answer:?}");
                    assert!(answer.text.contains("event: message_stop"), "a cut stream: {answer:?}");
                    served += 1;
                }
                served
            })
        });
        let seats = seats.collect();
        Self { is_over, seats }
    }

    /// Ends it; answers how many streams were served.
    pub async fn end(self) -> usize {
        self.is_over.store(true, Ordering::SeqCst);
        let mut served = 0;
        for seat in self.seats {
            served += seat.await.expect("no stream fails");
        }
        served
    }
}
