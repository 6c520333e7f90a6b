//! Both halves of the product in the test's process, with nothing but Redis between them.

use crate::redis::{Linked, Redis, eventually, named};
use admin_api::config::AdminConfig;
use admin_api::telemetry::Metrics;
use admin_api::{AdminHandle, FarSides, Options, WhenAway};
use gateway::config::GatewayConfig;
use gateway::{GatewayHandle, GatewayParts};
use redis_adapters::{
    Link, RedisBreakers, RedisFeed, RedisNodes, RedisPublisher, RedisQuotas, RedisResponses, RedisSessions,
    RedisUsage,
};
use serde_json::{Value, json};
use shared::secret::HubKey;
use shared::vars::Vars;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use testbed::{Answer, Client, JSON};

const TOKEN: &str = "the-admin-token-of-the-tests";
const HUB_KEY: [u8; 32] = [0x5e; 32];

/// A control plane on SQLite.
pub struct Admin {
    pub handle: AdminHandle,
}

impl Admin {
    /// `name` is its consumer of usage; several may share a directory, and so a database.
    pub async fn start(redis: &Redis, directory: &Path, name: &str) -> Self {
        Self::start_on(redis, format!("sqlite://{}", directory.join("hub.sqlite").display()), name).await
    }

    /// On this database.
    pub async fn start_on(redis: &Redis, dsn: String, name: &str) -> Self {
        let hub_key = HUB_KEY.map(|byte| format!("{byte:02x}")).concat();
        let lookup = |variable: &str| match variable {
            "DSN" => Some(dsn.clone()),
            "ADMIN_TOKEN" => Some(TOKEN.to_owned()),
            "HUB_SECRET_KEY" => Some(hub_key.clone()),
            "DB_POOL_MAX" => Some("4".to_owned()),
            _ => None,
        };
        let mut vars = Vars::new(&lookup);
        let config = AdminConfig::read(&mut vars);
        let config = vars.finish_required(config).unwrap();
        let link = Link::open(&redis.config()).unwrap();
        let far = FarSides {
            publisher: RedisPublisher::new(link.clone()),
            usage: RedisUsage::taken_by(link.clone(), named(name)),
            nodes: RedisNodes::new(link.clone()),
            breakers: RedisBreakers::unannounced(link.clone()),
            sessions: RedisSessions::unannounced(link.clone(), Duration::from_secs(300)),
            quotas: RedisQuotas::unannounced(link),
        };
        let metrics = Arc::new(Metrics::new().unwrap());
        let listener = Some(TcpListener::bind("127.0.0.1:0").unwrap());
        let handle =
            admin_api::start_with(Options { config, far, listener, when_away: WhenAway::Fail, metrics })
                .await
                .unwrap();
        Self { handle }
    }

    pub fn client(&self) -> Client {
        Client::new(self.handle.address()).under(TOKEN)
    }

    pub async fn get(&self, path: &str) -> Value {
        self.client().get(path).await.expect(200)
    }

    pub async fn post(&self, path: &str, body: Value) -> Value {
        self.client().post(path, body).await.expect(201)
    }

    pub async fn make_provider(&self, url: &str) -> Value {
        let body =
            json!({ "name": "simulated", "provider_type": "claude", "url": url, "key": "sk-simulated" });
        self.post("/api/v1/providers", body).await
    }

    /// A user with a key: the key's id and secret.
    pub async fn make_seat(&self, name: &str) -> (i64, String) {
        let made = self.post("/api/v1/users", json!({ "name": name })).await;
        (made["key"]["id"].as_i64().unwrap(), made["key"]["secret"].as_str().unwrap().to_owned())
    }

    pub async fn set_enabled(&self, key_id: i64, is_enabled: bool) -> Answer {
        let path = format!("/api/v1/keys/{key_id}");
        self.client().patch(&path, json!({ "is_enabled": is_enabled })).await
    }

    /// Waits until so many gateways serve by the newest revision.
    pub async fn in_force_on(&self, nodes: u64) {
        eventually("the newest revision is in force", || async {
            let now = self.get("/api/v1/nodes").await;
            now["total"] == nodes && now["up_to_date"] == nodes
        })
        .await;
    }
}

/// A gateway with its shipper.
pub struct Gateway {
    pub handle: GatewayHandle,
}

impl Gateway {
    pub async fn start(redis: &Redis) -> Self {
        Self::start_with(redis, None, Duration::from_secs(86_400)).await
    }

    pub async fn start_with(redis: &Redis, snapshot_file: Option<PathBuf>, max_age: Duration) -> Self {
        Self::start_under(redis, snapshot_file, max_age, HubKey::from_bytes(&HUB_KEY).unwrap()).await
    }

    /// With the key that opens the secrets of its configuration.
    pub async fn start_under(
        redis: &Redis,
        snapshot_file: Option<PathBuf>,
        max_age: Duration,
        hub_key: HubKey,
    ) -> Self {
        let lookup = |name: &str| match name {
            "GATEWAY_LISTEN" | "OPS_LISTEN" => Some("127.0.0.1:0".to_owned()),
            _ => None,
        };
        let mut config = GatewayConfig::read(&mut Vars::new(&lookup));
        config.snapshot_file = snapshot_file;
        config.limits.config_max_age = max_age;
        let link = Link::open(&redis.config()).unwrap();
        let parts = GatewayParts {
            config,
            feed: RedisFeed::open(&redis.config(), link.clone()).unwrap(),
            usage: RedisUsage::new(link.clone()),
            nodes: RedisNodes::new(link.clone()),
            breakers: RedisBreakers::open(&redis.config(), link.clone()).unwrap(),
            sessions: RedisSessions::open(&redis.config(), link.clone(), Duration::from_secs(300)).unwrap(),
            responses: RedisResponses::new(link.clone()),
            quotas: RedisQuotas::open(&redis.config(), link.clone()).unwrap(),
            hub_key: Arc::new(hub_key),
            metrics_parts: vec![link],
        };
        let handle = gateway::start(parts).await.unwrap();
        Self { handle }
    }

    /// A seat's request, not streamed.
    pub async fn ask(&self, secret: &str) -> Answer {
        let body = json!({
            "model": "claude-sonnet-4-5",
            "max_tokens": 16,
            "messages": [{"role": "user", "content": "Say hello."}],
        });
        let headers = [("x-api-key", secret), ("anthropic-version", "2023-06-01"), JSON];
        Client::new(self.handle.address).send("POST", "/v1/messages", &headers, &body.to_string()).await
    }

    pub async fn ops(&self, path: &str) -> Answer {
        Client::new(self.handle.ops_address).get(path).await
    }

    /// Records that are not in the books yet.
    pub async fn unbooked(&self) -> u64 {
        let page = self.ops("/metrics").await.text;
        let line = page.lines().find(|line| line.starts_with("cch_journal_unbooked_records ")).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    pub async fn answers(&self, secret: &str, status: u16) {
        eventually("the gateway answers so", || async { self.ask(secret).await.status == status }).await;
    }

    pub async fn stop(self) {
        self.handle.stop().await;
    }
}
