//! `bench`: the command line, and the roles that it starts itself in.

use anyhow::{Context, Result};
use bench::bodies::{CASES, Case};
use bench::load::{Load, Span};
use bench::streams::StreamsSetup;
use bench::{Setup, bare, child, hub, nginx, upstream};
use clap::{Args, Parser, Subcommand};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(name = "bench", about = "Measures the gateway beside bare Pingora and nginx")]
struct Cli {
    #[command(subcommand)]
    role: Option<RoleCommand>,
    #[command(flatten)]
    plan: Plan,
}

#[derive(Args)]
struct Plan {
    /// Rounds of each case; figures are medians over them.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Seconds of each run.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Requests of each run, instead of seconds.
    #[arg(long)]
    requests: Option<usize>,
    /// What to measure: json_2k, json_200k, sse_2k, sse_200k, sse_burst_2k, sse_burst_200k, streams, or all.
    #[arg(long, default_value = "all", value_delimiter = ',')]
    case: Vec<String>,
    /// Connections, each with one request at a time.
    #[arg(long, default_value = "32,1", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: Vec<u16>,
    /// Write the report to this file, too.
    #[arg(long)]
    out: Option<PathBuf>,
}

#[derive(Subcommand)]
enum RoleCommand {
    /// A part that the program starts itself.
    #[command(subcommand, hide = true)]
    Role(Role),
}

#[derive(Subcommand)]
enum Role {
    Upstream {
        #[arg(long, default_value_t = 1_000)]
        slow_ms: u64,
    },
    /// Load alone, for a profile of a proxy started by hand.
    Load {
        #[arg(long)]
        address: SocketAddr,
        #[arg(long)]
        case: String,
        #[arg(long, default_value_t = 10.0)]
        seconds: f64,
        #[arg(long, default_value_t = 32)]
        concurrency: usize,
    },
    Bare {
        #[arg(long)]
        upstream: SocketAddr,
    },
    Gateway {
        #[arg(long)]
        upstream: SocketAddr,
        /// Its user has a budget.
        #[arg(long)]
        governed: bool,
    },
    Nginx {
        #[arg(long)]
        program: PathBuf,
        #[arg(long)]
        directory: PathBuf,
        #[arg(long)]
        upstream: SocketAddr,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.role {
        Some(RoleCommand::Role(role)) => play(role),
        None => measure(&cli.plan),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn play(role: Role) -> Result<()> {
    child::prepare()?;
    match role {
        Role::Upstream { slow_ms } => all_cores()?.block_on(async {
            let listener = TcpListener::from_std(child::listen()?)?;
            child::say(&[listener.local_addr()?])?;
            upstream::serve(listener, Duration::from_millis(slow_ms)).await;
            Ok(())
        }),
        Role::Load { address, case, seconds, concurrency } => {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let run = runtime.block_on(async {
                let mut load = Load::open(address, named(&case)?, &hub::client_secret(), concurrency).await?;
                load.run(Span::Time(Duration::try_from_secs_f64(seconds)?)).await
            })?;
            Ok(writeln!(
                std::io::stdout(),
                "{} requests, {:.0}/s",
                run.latencies.len(),
                run.requests_per_s()
            )?)
        }
        Role::Bare { upstream } => all_cores()?.block_on(bare::serve(upstream)),
        Role::Gateway { upstream, governed } => all_cores()?.block_on(hub::serve(upstream, governed)),
        Role::Nginx { program, directory, upstream } => nginx::become_nginx(&program, upstream, &directory),
    }
}

/// A runtime as `claude-code-hub` builds it: a thread per core.
fn all_cores() -> Result<Runtime> {
    Ok(Builder::new_multi_thread().enable_all().build()?)
}

fn measure(plan: &Plan) -> Result<()> {
    let setup = plan.setup()?;
    let facts = machine(&setup);
    let mut screen = std::io::stderr();
    let progress = |what: &str| {
        let _ = writeln!(screen, "… {what}");
    };
    // One thread: the load generator takes as little of the machine as it can.
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(bench::run(&setup, progress))?;
    let text = format!("{facts}\n{report}");
    if let Some(out) = &plan.out {
        std::fs::write(out, &text).with_context(|| format!("cannot write {}", out.display()))?;
    }
    Ok(write!(std::io::stdout(), "{text}")?)
}

fn named(name: &str) -> Result<Case> {
    CASES.into_iter().find(|case| case.name == name).with_context(|| format!("--case {name}: no such case"))
}

impl Plan {
    fn setup(&self) -> Result<Setup> {
        let mut cases: Vec<Case> = Vec::new();
        let mut has_streams = false;
        for name in &self.case {
            match name.as_str() {
                "all" => {
                    cases.extend(CASES);
                    has_streams = true;
                }
                "streams" => has_streams = true,
                name => cases.push(named(name)?),
            }
        }
        let rounds = usize::from(self.rounds);
        let span = match self.requests {
            Some(count) => Span::Requests(count),
            None => Span::Time(Duration::try_from_secs_f64(self.seconds).context("--seconds")?),
        };
        Ok(Setup {
            program: std::env::current_exe()?,
            nginx: nginx::find(),
            rounds,
            span,
            cases,
            concurrency: self.concurrency.iter().map(|&c| usize::from(c)).collect(),
            streams: StreamsSetup {
                rounds: if has_streams { rounds } else { 0 },
                served_before: 10_000,
                open: 1_000,
                event_every: Duration::from_secs(1),
            },
        })
    }
}

/// The machine and the command, as a reader of the figures needs to know them.
fn machine(setup: &Setup) -> String {
    let first_line = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).output().ok()?;
        Some(String::from_utf8(output.stdout).ok()?.lines().next()?.to_owned())
    };
    let unknown = || "unknown".to_owned();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpu = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").map(|text| text.trim().to_owned());
    let load = std::fs::read_to_string("/proc/loadavg").ok();
    let load = load.as_deref().and_then(|text| text.split(' ').next()).unwrap_or("unknown");
    let nginx = match setup.nginx.as_deref() {
        Some(program) => nginx::version(program).unwrap_or_else(unknown),
        None => "not on this machine, left out".to_owned(),
    };
    let args: Vec<String> = std::env::args().skip(1).collect();
    format!(
        "- command: `bench {}`\n- machine: {cores} cores, {}, Linux {}, load {load} at the start\n- {}, nginx {nginx}\n",
        args.join(" "),
        cpu.unwrap_or_else(unknown),
        kernel.unwrap_or_else(|_| unknown()),
        first_line("rustc", &["--version"]).unwrap_or_else(unknown),
    )
}
