//! The books at scale: fills a Postgres of its own with millions of requests, then measures what the admin API reads.
//!
//! `cargo run -p admin-api --example log_at_scale -- ROWS [DIRECTORY]`. Ten million rows take 17 GB. With DIRECTORY (empty,
//! owned by `postgres`) the ledger, the sums and the log's indexes lie there instead of in the temporary directory.
//! Figures and what they say: `bench/LOGS.md`.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a tool for developers, which may break off")]

mod measure;
mod seed;

use admin_api::config::AdminConfig;
use admin_api::jobs::days::Days;
use admin_api::telemetry::Metrics;
use admin_api::{AdminHandle, FarSides, Options, WhenAway, start_with};
use jiff::tz::TimeZone;
use shared::memory::{MemoryBreakers, MemoryConfig, MemoryNodes, MemoryQuotas, MemorySessions, MemoryUsage};
use shared::time::UnixMillis;
use shared::vars::Vars;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Instant;
use testbed::Postgres;

const TOKEN: &str = "the-admin-token-of-the-measurement";

fn main() {
    let mut arguments = std::env::args().skip(1);
    let rows: u64 = arguments.next().map_or(100_000, |text| text.parse().unwrap());
    let server = Postgres::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let hub = start(&server).await;
        seed::fill(&server, rows, arguments.next().as_deref());
        sum_days(&server, &hub).await;
        measure::all(&server, &hub).await;
        hub.stop().await.unwrap();
    });
}

/// What the start does with the days that are there, before the last of them is over.
async fn sum_days(server: &Postgres, hub: &AdminHandle) {
    let newest = seed::value(server, "SELECT max(hour_start_ms) FROM usage_hourly").parse().unwrap();
    let began = Instant::now();
    let days = Days::new(hub.admin().db().clone(), TimeZone::UTC).step(UnixMillis(newest)).await.unwrap();
    let seconds = began.elapsed().as_secs_f64();
    println!("{days} days summed in {seconds:.1} s, {:.0} ms each", 1000.0 * seconds / days as f64);
    let _ = server.sql("hub", "VACUUM ANALYZE usage_daily_keys, usage_daily_models, usage_days");
    println!("{}", server.sql("hub", seed::DAYS_SIZES));
}

/// The control plane itself: it makes the schema, and is asked over HTTP.
async fn start(server: &Postgres) -> AdminHandle {
    let dsn = server.dsn("hub");
    let lookup = |name: &str| match name {
        "DSN" => Some(dsn.clone()),
        "ADMIN_TOKEN" => Some(TOKEN.to_owned()),
        "HUB_SECRET_KEY" => Some("5e".repeat(32)),
        _ => None,
    };
    let mut vars = Vars::new(&lookup);
    let config = AdminConfig::read(&mut vars);
    let config = vars.finish_required(config).unwrap();
    let far = FarSides {
        publisher: Arc::new(MemoryConfig::new()),
        usage: Arc::new(MemoryUsage::new(10)),
        nodes: Arc::new(MemoryNodes::new()),
        breakers: Arc::new(MemoryBreakers::new(|| UnixMillis(0))),
        sessions: Arc::new(MemorySessions::new(1, || UnixMillis(0))),
        quotas: Arc::new(MemoryQuotas::new(|| UnixMillis(0))),
    };
    let listener = Some(TcpListener::bind("127.0.0.1:0").unwrap());
    let metrics = Arc::new(Metrics::new().unwrap());
    start_with(Options { config, far, listener, when_away: WhenAway::Fail, metrics }).await.unwrap()
}
