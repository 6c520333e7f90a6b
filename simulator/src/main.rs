//! The simulated upstream as a process.

use anyhow::Context;
use clap::Parser;
use simulator::{Script, Simulator, SimulatorConfig};
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::signal::unix::{SignalKind, signal};

/// A simulated Anthropic, OpenAI and Gemini upstream with scripted faults.
///
/// Scripts come from --script, POST /__sim/script, or a request's x-sim-script header. What was served is at
/// GET /__sim/served and /__sim/totals; DELETE /__sim/served forgets it.
#[derive(Parser)]
struct Arguments {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:24000")]
    listen: SocketAddr,
    /// The script of requests that bring none, as JSON.
    #[arg(long, default_value = "{}")]
    script: Script,
    /// Speak TLS and write the authority to trust into this file.
    #[arg(long, value_name = "FILE")]
    tls_ca_out: Option<PathBuf>,
    /// How many records to keep.
    #[arg(long, default_value_t = 200_000)]
    served_cap: usize,
    /// Take no SHA-256 of bodies.
    #[arg(long)]
    no_digests: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut terminate = signal(SignalKind::terminate())?;
    let simulator = Simulator::start(SimulatorConfig {
        tls: arguments.tls_ca_out.is_some(),
        default_script: arguments.script,
        bind: arguments.listen,
        served_cap: arguments.served_cap,
        digest_bodies: !arguments.no_digests,
    })
    .await
    .with_context(|| format!("cannot listen on {}", arguments.listen))?;
    if let (Some(path), Some(pem)) = (&arguments.tls_ca_out, simulator.ca_pem()) {
        std::fs::write(path, pem).with_context(|| format!("cannot write {}", path.display()))?;
    }
    writeln!(std::io::stdout(), "simulator listens on {}", simulator.base_url())?;
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    simulator.shutdown().await;
    Ok(())
}
