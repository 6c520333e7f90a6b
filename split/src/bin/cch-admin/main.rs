//! `cch-admin`: the admin side as a process of its own, on Postgres, with Redis between it and the gateways.
//! Composition only.
//!
//! While the database is away a start waits and says so; Redis may be away at any time: changes are committed, and
//! published when it is back. The end: not ready → listener closed → usage booked to the last record → database closed.

mod config;

use admin_api::ops::Ops;
use admin_api::telemetry::Metrics;
use admin_api::upkeep::{self, Task};
use admin_api::{AdminHandle, FarSides, Options, WhenAway};
use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use config::Settings;
use process::Signals;
use redis_adapters::{
    ConsumerName, Link, RedisBreakers, RedisNodes, RedisPublisher, RedisQuotas, RedisSessions, RedisUsage,
};
use shared::time::UnixMillis;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(
    name = "cch-admin",
    version,
    about = "The admin side of Claude Code Hub: database, API, publishing, books"
)]
struct Cli {
    /// Check the environment variables and exit.
    #[arg(long)]
    check_config: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Ask the process that runs beside this one (OPS_LISTEN) whether it lives: status 0 or 1.
    Healthcheck,
    #[command(flatten)]
    Task(Task),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        Some(Command::Healthcheck) => return process::healthcheck::run(),
        Some(Command::Task(task)) if !cli.check_config => return look_after(&task),
        Some(Command::Task(_)) | None => {}
    }
    let settings = match process::enter(Settings::read, |settings| &settings.process, cli.check_config) {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    process::run(THREADS, live(settings))
}

/// Does a task beside the process that serves.
fn look_after(task: &Task) -> ExitCode {
    let settings = match Settings::read(&process::variables()) {
        Ok(settings) => settings,
        Err(problems) => return process::refuse(&problems),
    };
    process::run(THREADS, async { Ok(upkeep::run(task, &settings.admin.database, process::say).await?) })
}

async fn live(settings: Settings) -> Result<()> {
    // Before anything starts: a signal during the start must not be lost.
    let mut signals = Signals::listen()?;
    let link = Link::open(&settings.redis)?;
    let metrics = Arc::new(Metrics::new()?);
    let ops = Ops::open(settings.ops_listen, metrics.clone(), vec![link.clone()]).await?;
    let (ops_address, drain_delay) = (ops.address(), settings.drain_delay);
    let redis = settings.redis.address();
    let admin = tokio::select! {
        admin = start(settings, link.clone(), metrics) => admin?,
        () = signals.stop() => return Ok(()),
    };
    ops.serving(admin.page());
    tracing::info!(api = %admin.address(), ops = %ops_address, redis, "admin is up");
    signals.stop().await;
    tracing::info!("stopping: usage is booked first");
    tokio::select! {
        stopped = stop(admin, ops, &link, drain_delay) => stopped,
        // Who asks twice does not want to wait.
        () = signals.interrupted() => Ok(()),
    }
}

async fn start(settings: Settings, link: Arc<Link>, metrics: Arc<Metrics>) -> Result<AdminHandle> {
    let far = FarSides {
        publisher: RedisPublisher::new(link.clone()),
        usage: RedisUsage::taken_by(link.clone(), name()),
        nodes: RedisNodes::new(link.clone()),
        breakers: RedisBreakers::unannounced(link.clone()),
        sessions: RedisSessions::unannounced(link.clone(), settings.admin.session_ttl),
        quotas: RedisQuotas::unannounced(link),
    };
    let options = Options { config: settings.admin, far, listener: None, when_away: WhenAway::Wait, metrics };
    Ok(admin_api::start_with(options).await?)
}

async fn stop(admin: AdminHandle, ops: Ops, link: &Link, drain_delay: Duration) -> Result<()> {
    ops.draining();
    tokio::time::sleep(drain_delay).await;
    let stopped = admin.stop().await.context("the admin side did not end in good order");
    link.close().await;
    ops.close().await;
    stopped
}

/// A consumer's name is one process's: what it held when it died is taken over by another.
fn name() -> ConsumerName {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
    ConsumerName::of_process(now, &rand::random())
}

/// For Redis and signals; the API and the database have threads of their own.
const THREADS: usize = 1;
