//! `claude-code-hub`: gateway and admin side in one process on SQLite. Composition only.
//!
//! One drain owns the end: seats' listener closed → streams done → consumer at its last record → database
//! closed → exit.

mod client;
mod config;
mod demo;
mod environment;
mod first_start;
mod hub;
mod publisher;
mod secrets;

use clap::{Parser, Subcommand};
use config::ProcessConfig;
use environment::Environment;
use std::io::Write;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(
    name = "claude-code-hub",
    version,
    about = "One address for all Claude Code, Codex and Gemini CLI seats"
)]
struct Cli {
    /// Check the environment variables and exit.
    #[arg(long)]
    check_config: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand, Clone, Copy)]
enum Command {
    /// Start on a throw-away database with a simulated upstream and show a short conversation.
    Demo,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let environment = match (cli.command, cli.check_config) {
        (Some(Command::Demo), _) => Environment::for_demo(),
        (None, true) => Environment::without_files(),
        (None, false) => Environment::with_files(),
    };
    let environment = match environment {
        Ok(environment) => environment,
        Err(error) => return fail(&format!("{error:#}"), ExitCode::from(2)),
    };
    let settings = match environment.read() {
        Ok(settings) => settings,
        Err(problems) => {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            return fail(&lines.join("\n"), ExitCode::from(2));
        }
    };
    if cli.check_config {
        say("the configuration is valid");
        return ExitCode::SUCCESS;
    }
    settings.process.log.start();
    let threads = settings.gateway.limits.threads;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start the runtime: {error}"), ExitCode::FAILURE),
    };
    let run = async {
        match cli.command {
            Some(Command::Demo) => hub::demo(settings).await,
            None => hub::serve(settings, &environment).await,
        }
    };
    match runtime.block_on(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("{error:#}"), ExitCode::FAILURE),
    }
}

/// A line for the person at the terminal.
fn say(text: &str) {
    // Nobody is there to read when standard output is closed.
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn fail(text: &str, code: ExitCode) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{text}");
    code
}

/// All that the process is told.
struct Settings {
    process: ProcessConfig,
    gateway: gateway::config::GatewayConfig,
    admin: admin_api::config::AdminConfig,
}
