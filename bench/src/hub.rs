//! The gateway as it ships, with the in-memory adapters: one user, one key, one priced `claude` provider.

use crate::bodies::MODEL;
use crate::child;
use anyhow::{Context, Result, anyhow};
use gateway::GatewayParts;
use gateway::config::GatewayConfig;
use shared::contract::snapshot::Snapshot;
use shared::memory::{
    MemoryBreakers, MemoryConfig, MemoryNodes, MemoryQuotas, MemoryResponses, MemorySessions, MemoryUsage,
};
use shared::model::price::{ModelPrice, Rates};
use shared::model::{Limits, Provider};
use shared::money::{NanoUsd, PicoUsd};
use shared::ports::{Publisher as _, QuotaStore};
use shared::rules::quota::{AccountId, Opening, epoch_of};
use shared::testing;
use shared::vars::Vars;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// What a seat sends to be let in.
#[must_use]
pub fn client_secret() -> String {
    testing::client_secret(1)
}

/// Serves until the process ends. `is_governed`: the user has limits that nothing reaches.
pub async fn serve(upstream: SocketAddr, is_governed: bool) -> Result<()> {
    let lookup =
        |name: &str| matches!(name, "GATEWAY_LISTEN" | "OPS_LISTEN").then(|| "127.0.0.1:0".to_owned());
    let mut vars = Vars::new(&lookup);
    let mut config = GatewayConfig::read(&mut vars);
    // As it ships: each request is written down twice.
    let data_dir = tempfile::tempdir()?;
    config.journal.root = Some(data_dir.path().join("journal"));
    let config = vars.finish(config).map_err(|problems| anyhow!("{problems:?}"))?;

    let feed = Arc::new(MemoryConfig::new());
    let mut in_force = feed.in_force();
    let provider = Provider { url: format!("http://{upstream}"), ..testing::provider(1) };
    let mut snapshot = testing::snapshot(vec![provider]);
    snapshot.core.prices.insert(MODEL.to_owned(), price());
    let quotas = Arc::new(MemoryQuotas::new(gateway::now));
    if is_governed {
        govern(&mut snapshot, &*quotas).await?;
    }
    feed.publish(snapshot).await?;

    let usage = Arc::new(MemoryUsage::new(USAGE_BOUND));
    let nodes = Arc::new(MemoryNodes::new());
    let hub_key = Arc::new(testing::hub_key());
    let breakers = Arc::new(MemoryBreakers::new(gateway::now));
    let sessions = Arc::new(MemorySessions::new(300_000, gateway::now));
    let parts = GatewayParts {
        config,
        feed,
        usage: usage.clone(),
        nodes,
        breakers,
        sessions,
        responses: Arc::new(MemoryResponses::new(gateway::now)),
        quotas,
        hub_key,
        metrics_parts: Vec::new(),
    };
    let handle = gateway::start(parts).await?;
    in_force.wait_for(Option::is_some).await.context("the configuration does not come into force")?;
    child::say(&[handle.address, handle.ops_address])?;

    // The consumer of the books is another process in the split shape: here records are only let go. In small
    // steps, because a request that ends meanwhile waits for the queue's lock.
    let mut tick = tokio::time::interval(DRAIN_EVERY);
    loop {
        tick.tick().await;
        usage.discard(DRAIN_AT_MOST);
    }
}

/// Puts the user under limits and opens its account, as the admin side would.
async fn govern(snapshot: &mut Snapshot, quotas: &dyn QuotaStore) -> Result<()> {
    let much = Some(NanoUsd(1_000_000_000_000_000));
    let user = &mut snapshot.principals.users[0];
    user.limits = Limits { five_hours: much, daily: much, monthly: much, ..Limits::default() };
    user.budget_generation = 1;
    quotas.begin(1).await?;
    testing::open_account(quotas, AccountId::User(user.id), epoch_of(1, 1), &Opening::default()).await?;
    Ok(())
}

fn price() -> ModelPrice {
    let rates = Rates {
        input: Some(PicoUsd(3_000_000)),
        output: Some(PicoUsd(15_000_000)),
        cache_write_5m: Some(PicoUsd(3_750_000)),
        cache_write_1h: Some(PicoUsd(6_000_000)),
        cache_read: Some(PicoUsd(300_000)),
        ..Rates::default()
    };
    ModelPrice { base: rates, ..ModelPrice::default() }
}

/// As in `standalone`.
const USAGE_BOUND: usize = 10_000;
/// 512 records every 10 ms are 51 200 requests/s, more than two cores serve.
const DRAIN_EVERY: Duration = Duration::from_millis(10);
const DRAIN_AT_MOST: usize = 512;
