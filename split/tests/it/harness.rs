//! The split shape: what its processes share, and calls to them.

use crate::load::{Load, short};
use crate::process::{ADMIN, GATEWAY, Process};
use http::Response;
use hyper::body::Incoming;
use serde_json::{Value, json};
use simulator::{Simulator, SimulatorConfig};
use std::net::SocketAddr;
use std::path::PathBuf;
use tempfile::TempDir;
use testbed::{Answer, Client, JSON, Postgres, Redis, eventually};
use tokio::process::Command;

pub const TOKEN: &str = "the-admin-token-of-the-tests";
pub const HUB_KEY: &str = "5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e";

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

    /// Where it all is.
    pub fn site(&self) -> Site {
        Site { dsn: self.dsn(), redis_url: self.redis_url(), directory: self.directory.path().to_owned() }
    }

    pub fn dsn(&self) -> String {
        self.postgres.dsn("hub")
    }

    pub fn redis_url(&self) -> String {
        format!("redis://{}", self.redis.door.address)
    }

    pub fn command(&self, binary: &str, name: &str) -> Command {
        self.site().command(binary, name)
    }

    pub async fn admin(&self, name: &str) -> Admin {
        Admin::up(Process::start(self.command(ADMIN, name))).await
    }

    pub async fn gateway(&self, name: &str) -> Gateway {
        Gateway::up(Process::start(self.command(GATEWAY, name))).await
    }
}

/// What a process of the shape must be told, for those who do not hold the shape itself.
#[derive(Clone)]
pub struct Site {
    pub dsn: String,
    pub redis_url: String,
    pub directory: PathBuf,
}

impl Site {
    /// A clean environment with everything that is needed; `name` is the data directory's.
    pub fn command(&self, binary: &str, name: &str) -> Command {
        let mut command = Command::new(binary);
        command
            .env_clear()
            .env("DATA_DIR", self.directory.join(name))
            .env("LOG_FORMAT", "json")
            .env("REDIS_URL", &self.redis_url)
            .env("HUB_SECRET_KEY", HUB_KEY)
            .env("OPS_LISTEN", "127.0.0.1:0");
        match binary == ADMIN {
            true => {
                command.env("ADMIN_LISTEN", "127.0.0.1:0").env("DSN", &self.dsn).env("ADMIN_TOKEN", TOKEN)
            }
            false => command.env("GATEWAY_LISTEN", "127.0.0.1:0"),
        };
        command
    }
}

/// A running `cch-admin`.
pub struct Admin {
    pub process: Process,
    pub api: Client,
    pub ops: Client,
}

impl Admin {
    pub async fn up(process: Process) -> Self {
        Self::up_under(process, TOKEN).await
    }

    pub async fn up_under(mut process: Process, token: &str) -> Self {
        let up = process.says("admin is up").await;
        Self { api: client(&up["api"]).under(token), ops: client(&up["ops"]), process }
    }

    pub async fn get(&self, path: &str) -> Value {
        self.api.get(path).await.expect(200)
    }

    pub async fn post(&self, path: &str, body: Value) -> Value {
        self.api.post(path, body).await.expect(201)
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
        self.api.patch(&path, json!({ "is_enabled": is_enabled })).await
    }

    /// Waits until so many gateways serve by the newest revision.
    pub async fn in_force_on(&self, nodes: u64) {
        eventually("the newest revision is in force", || async {
            let now = self.api.get("/api/v1/nodes").await;
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
    pub seats: Client,
    pub ops: Client,
}

impl Gateway {
    pub async fn up(mut process: Process) -> Self {
        let up = process.says("gateway is up").await;
        Self { seats: client(&up["seats"]), ops: client(&up["ops"]), process }
    }

    /// Where seats and operators are served.
    pub fn addresses(&self) -> (SocketAddr, SocketAddr) {
        (self.seats.address(), self.ops.address())
    }

    pub async fn ask(&self, secret: &str) -> Answer {
        Answer::whole(self.open(secret, &message(false)).await).await
    }

    pub async fn open(&self, secret: &str, body: &Value) -> Response<Incoming> {
        open(&self.seats, secret, &[], body).await
    }

    pub async fn answers(&self, secret: &str, status: u16) {
        eventually("the gateway answers so", || async { self.ask(secret).await.status == status }).await;
    }

    /// Seats with short streams.
    pub fn load(&self, secret: &str, seats: usize) -> Load {
        Load::start(&self.seats, secret, seats, &short())
    }
}

fn client(address: &Value) -> Client {
    Client::new(address.as_str().unwrap().parse().unwrap())
}

/// A seat's request, answered as soon as the answer begins.
pub async fn open(seats: &Client, secret: &str, more: &[(&str, &str)], body: &Value) -> Response<Incoming> {
    let mut headers = vec![("x-api-key", secret), ("anthropic-version", "2023-06-01"), JSON];
    headers.extend(more);
    seats.open("POST", "/v1/messages", &headers, &body.to_string()).await
}
