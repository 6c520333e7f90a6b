//! `claude-code-hub`: gateway and admin side in one process on SQLite. Composition only.
//!
//! One drain owns the end: seats' listener closed → streams done → consumer at its last record → database
//! closed → exit.

mod client;
mod demo;
mod environment;
mod first_start;
mod hub;
mod publisher;
mod secrets;

use admin_api::upkeep::{self, Task};
use clap::{Parser, Subcommand};
use environment::Environment;
use process::{ProcessConfig, fail};
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

#[derive(Subcommand)]
enum Command {
    /// Start on a throw-away database with a simulated upstream and show a short conversation.
    Demo,
    #[command(flatten)]
    Task(Task),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let environment = match (&cli.command, cli.check_config) {
        (Some(Command::Demo), _) => Environment::for_demo(),
        (Some(Command::Task(_)), _) | (None, true) => Environment::without_files(),
        (None, false) => Environment::with_files(),
    };
    let environment = match environment {
        Ok(environment) => environment,
        Err(error) => return fail(&format!("{error:#}"), ExitCode::from(2)),
    };
    let settings = match environment.read() {
        Ok(settings) => settings,
        Err(problems) => return process::refuse(&problems),
    };
    if cli.check_config {
        return process::is_valid();
    }
    let threads = settings.gateway.limits.threads;
    if let Some(Command::Task(task)) = &cli.command {
        let done = async { Ok(upkeep::run(task, &settings.admin.database, process::say).await?) };
        return process::run(threads, done);
    }
    settings.process.log.start();
    let life = async {
        match cli.command {
            Some(Command::Demo) => hub::demo(settings).await,
            Some(Command::Task(_)) | None => hub::serve(settings, &environment).await,
        }
    };
    process::run(threads, life)
}

/// All that the process is told.
struct Settings {
    process: ProcessConfig,
    gateway: gateway::config::GatewayConfig,
    admin: admin_api::config::AdminConfig,
}
