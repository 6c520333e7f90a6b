//! `cch-gateway`: the hot path as a process of its own, with Redis between it and the admin side. Composition only.
//!
//! It needs nobody for its start: without Redis it serves by the configuration kept on disk, or says on `/ready` that it
//! waits for its first. The end: not ready → listeners closed → streams done → usage handed over → exit. SIGQUIT hands
//! the listeners to a successor first.

mod config;
mod swap;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use config::Settings;
use gateway::{GatewayHandle, GatewayParts};
use process::{Signal, Signals};
use redis_adapters::{
    Link, RedisBreakers, RedisFeed, RedisNodes, RedisQuotas, RedisResponses, RedisSessions, RedisUsage,
};
use std::process::ExitCode;
use std::sync::Arc;
use swap::Predecessor;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(
    name = "cch-gateway",
    version,
    about = "The gateway of Claude Code Hub: between seats and providers"
)]
struct Cli {
    /// Check the environment variables and exit.
    #[arg(long)]
    check_config: bool,
    /// Take the listeners over from the gateway that runs on the same DATA_DIR, once it gets SIGQUIT.
    #[arg(long)]
    upgrade: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Ask the process that runs beside this one (OPS_LISTEN) whether it lives: status 0 or 1.
    Healthcheck,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(Command::Healthcheck) = cli.command {
        return process::healthcheck::run();
    }
    let settings = match process::enter(Settings::read, |settings| &settings.process, cli.check_config) {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    process::run(settings.gateway.limits.threads, live(settings, cli.upgrade))
}

async fn live(settings: Settings, is_upgrade: bool) -> Result<()> {
    // Before anything starts: a signal during the start must not be lost.
    let mut signals = Signals::listen()?;
    let door = swap::door(&settings.process.data_dir);
    let predecessor = match is_upgrade {
        true => tokio::select! {
            predecessor = Predecessor::wait(&door) => Some(predecessor.context("no gateway handed its listeners over")?),
            () = signals.stop() => return Ok(()),
        },
        false => None,
    };
    let node = Node::start(settings, predecessor).await?;
    loop {
        match signals.next().await {
            Signal::Stop => {
                tracing::info!("stopping: running streams are finished first");
                tokio::select! {
                    () = node.stop() => {}
                    // Who asks twice does not want to wait.
                    () = signals.interrupted() => {}
                }
                return Ok(());
            }
            Signal::HandOver => match swap::hand_over(node.gateway.listeners(), &door).await {
                Ok(()) => {
                    tracing::info!("the successor serves; running streams are finished here");
                    node.stop_for_successor().await;
                    return Ok(());
                }
                Err(error) => {
                    tracing::error!(
                        error = format!("{error:#}"),
                        "nothing was handed over; this gateway goes on"
                    );
                }
            },
        }
    }
}

/// A gateway and what joins it to Redis.
struct Node {
    gateway: GatewayHandle,
    feed: Arc<RedisFeed>,
    breakers: Arc<RedisBreakers>,
    sessions: Arc<RedisSessions>,
    quotas: Arc<RedisQuotas>,
    link: Arc<Link>,
}

impl Node {
    async fn start(settings: Settings, predecessor: Option<Predecessor>) -> Result<Self> {
        let Settings { gateway: config, redis, hub_key, .. } = settings;
        let link = Link::open(&redis)?;
        let feed = RedisFeed::open(&redis, link.clone())?;
        let breakers = RedisBreakers::open(&redis, link.clone())?;
        let sessions = RedisSessions::open(&redis, link.clone(), config.session_ttl)?;
        let quotas = RedisQuotas::open(&redis, link.clone())?;
        let parts = GatewayParts {
            config,
            feed: feed.clone(),
            usage: RedisUsage::new(link.clone()),
            nodes: RedisNodes::new(link.clone()),
            breakers: breakers.clone(),
            sessions: sessions.clone(),
            responses: RedisResponses::new(link.clone()),
            quotas: quotas.clone(),
            hub_key,
            metrics_parts: vec![link.clone()],
        };
        let gateway = match predecessor {
            None => gateway::start(parts).await?,
            Some(predecessor) => {
                let (listeners, confirm) = predecessor.into_parts();
                let gateway = gateway::start_on(listeners, parts).await?;
                // Until then the predecessor serves as before.
                confirm
                    .confirm(&gateway)
                    .await
                    .context("the predecessor does not hear that this gateway serves")?;
                gateway
            }
        };
        let (seats, ops) = (gateway.address, gateway.ops_address);
        tracing::info!(%seats, %ops, redis = redis.address(), "gateway is up");
        Ok(Self { gateway, feed, breakers, sessions, quotas, link })
    }

    async fn stop(self) {
        self.gateway.stop().await;
        self.feed.close().await;
        self.breakers.close().await;
        self.sessions.close().await;
        self.quotas.close().await;
        self.link.close().await;
    }

    async fn stop_for_successor(self) {
        self.gateway.stop_for_successor().await;
        self.feed.close().await;
        self.breakers.close().await;
        self.sessions.close().await;
        self.quotas.close().await;
        self.link.close().await;
    }
}
