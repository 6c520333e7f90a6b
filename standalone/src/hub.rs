//! Puts both halves together with the in-process adapters, and takes them down in order.

use crate::client::{LocalClient, reachable};
use crate::environment::Environment;
use crate::first_start::{self, FromEnv, Made};
use crate::publisher::InForce;
use crate::{Settings, demo};
use admin_api::{AdminHandle, FarSides};
use anyhow::{Context, Result};
use gateway::{GatewayHandle, GatewayParts};
use process::{Signals, say};
use shared::memory::{
    MemoryBreakers, MemoryConfig, MemoryNodes, MemoryQuotas, MemoryResponses, MemorySessions, MemoryUsage,
};
use shared::secret::Secret;
use simulator::{Simulator, SimulatorConfig};
use std::sync::Arc;

/// Both halves, running.
struct Hub {
    gateway: GatewayHandle,
    admin: AdminHandle,
    admin_client: LocalClient,
}

impl Hub {
    async fn start(settings: Settings) -> Result<Self> {
        let Settings { gateway: gateway_config, admin: admin_config, .. } = settings;
        let config = Arc::new(MemoryConfig::new());
        let usage = Arc::new(MemoryUsage::new(USAGE_BOUND));
        let token = admin_config.admin_token.clone();
        let hub_key = Arc::clone(&admin_config.hub_key);
        let nodes = Arc::new(MemoryNodes::new());
        let breakers = Arc::new(MemoryBreakers::new(gateway::now));
        let ttl_ms = u64::try_from(gateway_config.session_ttl.as_millis()).unwrap_or(u64::MAX);
        let sessions = Arc::new(MemorySessions::new(ttl_ms, gateway::now));
        // Of both halves: the admin side opens what the gateway asks.
        let quotas = Arc::new(MemoryQuotas::new(gateway::now));
        let far = FarSides {
            publisher: Arc::new(InForce(config.clone())),
            usage: usage.clone(),
            nodes: nodes.clone(),
            breakers: breakers.clone(),
            sessions: sessions.clone(),
            quotas: quotas.clone(),
        };
        let admin = admin_api::start(admin_config, far).await?;
        let parts = GatewayParts {
            config: gateway_config,
            feed: config,
            usage,
            nodes,
            breakers,
            sessions,
            responses: Arc::new(MemoryResponses::new(gateway::now)),
            quotas,
            hub_key,
            metrics_parts: vec![admin.page()],
        };
        let gateway = gateway::start(parts).await?;
        // It is published in this process: who is told that the hub runs is to be served.
        gateway.configured().await;
        let admin_client = LocalClient::new(admin.address(), token);
        Ok(Self { gateway, admin, admin_client })
    }

    /// Streams first, then the books, then the database.
    async fn stop(self) -> Result<()> {
        self.gateway.stop().await;
        self.admin.stop().await.context("the admin side did not end in good order")
    }
}

/// Serves until it is told to stop.
pub async fn serve(settings: Settings, environment: &Environment) -> Result<()> {
    // Before anything starts: a signal during the start must not be lost.
    let mut signals = Signals::listen()?;
    let token = settings.admin.admin_token.clone();
    let hub = Hub::start(settings).await?;
    let accounts = first_start::accounts(&|name| environment.get(name));
    match first_start::bootstrap(&hub.admin_client, &accounts).await {
        Ok(made) => greet(&hub, environment.has_new_token.then_some(&token), &accounts, made.as_ref()),
        Err(error) => {
            hub.stop().await?;
            return Err(error.context("cannot make the first provider"));
        }
    }
    signals.stop().await;
    tracing::info!("stopping: running streams are finished first");
    tokio::select! {
        stopped = hub.stop() => stopped,
        // Who asks twice does not want to wait.
        () = signals.interrupted() => Ok(()),
    }
}

/// The demo, from start to end.
pub async fn demo(settings: Settings) -> Result<()> {
    let upstream = Simulator::start(SimulatorConfig::default()).await?;
    let hub = Hub::start(settings).await?;
    say(&format!(
        "gateway   http://{}\nadmin API http://{}/swagger-ui/\nupstream  {} (simulated)\n",
        reachable(hub.gateway.address),
        reachable(hub.admin.address()),
        upstream.base_url(),
    ));
    let shown = demo::run(&hub.admin_client, hub.gateway.address, &upstream).await;
    let stopped = hub.stop().await;
    upstream.shutdown().await;
    shown.and(stopped)
}

fn greet(hub: &Hub, new_token: Option<&Secret>, accounts: &[FromEnv], made: Option<&Made>) {
    let gateway = reachable(hub.gateway.address);
    say(&format!(
        "\nClaude Code Hub is running.\n  seats      http://{gateway}\n  admin API  http://{admin}/api/v1  (Swagger UI: http://{admin}/swagger-ui/)\n  operators  http://{ops}/metrics",
        admin = reachable(hub.admin.address()),
        ops = reachable(hub.gateway.ops_address),
    ));
    if let Some(token) = new_token {
        say(&format!("  admin token (kept in DATA_DIR/admin-token)  {}", token.expose()));
    }
    match made {
        Some(made) => {
            let variables: Vec<&str> = accounts.iter().map(|account| account.variable).collect();
            let lines: Vec<String> =
                accounts.iter().map(|account| account.seat_lines(gateway, &made.seat_key)).collect();
            say(&format!(
                "\nMade a provider from {}, a user and a key. A seat needs:\n{}",
                variables.join(", "),
                lines.join("\n"),
            ));
        }
        None if accounts.is_empty() => say(
            "\nNo upstream account in the environment: add a provider and a user in Swagger UI, or set\nANTHROPIC_API_KEY, OPENAI_API_KEY or GEMINI_API_KEY for the first start.",
        ),
        None => {}
    }
    say("\nCtrl-C stops it; running streams are finished first.");
}

/// Records that may wait for the books in memory, as in Redis; the others wait on disk.
const USAGE_BOUND: usize = 10_000;
