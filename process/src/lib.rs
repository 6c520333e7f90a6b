//! What every binary does alike: reads its environment, logs, waits for signals, ends with a status.
//!
//! Status 0: ended in good order, 1: cannot start or did not end well, 2: a variable is wrong. What a person must read
//! at a start is one line each on standard error. Knows nothing of gateways and databases.

mod config;
pub mod healthcheck;
mod signals;

pub use config::{LogConfig, ProcessConfig};
pub use signals::{Signal, Signals};

use shared::vars::VarProblem;
use std::collections::HashMap;
use std::future::Future;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

/// The process's variables.
#[must_use]
pub fn variables() -> HashMap<String, String> {
    // Not `vars()`: it panics on a variable that is not text. Such a value is kept with replacement characters, so
    // that whoever reads it refuses it by name instead of finding it unset.
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
        .collect()
}

/// A line for the person at the terminal.
pub fn say(text: &str) {
    // Nobody is there to read when standard output is closed.
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// A line on standard error, and the status to end with.
#[must_use]
pub fn fail(text: &str, code: ExitCode) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{text}");
    code
}

/// Wrong variables, one line each: status 2.
#[must_use]
pub fn refuse(problems: &[VarProblem]) -> ExitCode {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    fail(&lines.join("\n"), ExitCode::from(2))
}

/// How a process that keeps a directory of its own begins: reads its variables, makes `DATA_DIR`, starts to log. `Err` is
/// the status to end with at once: a variable is wrong, or only its check was asked for.
pub fn enter<S>(
    read: impl FnOnce(&HashMap<String, String>) -> Result<S, Vec<VarProblem>>,
    process: impl FnOnce(&S) -> &ProcessConfig,
    is_check: bool,
) -> Result<S, ExitCode> {
    let settings = read(&variables()).map_err(|problems| refuse(&problems))?;
    if is_check {
        return Err(is_valid());
    }
    let ProcessConfig { data_dir, log } = process(&settings);
    if let Err(error) = std::fs::create_dir_all(data_dir) {
        let text = format!("DATA_DIR={}: cannot be made: {error}", data_dir.display());
        return Err(fail(&text, ExitCode::from(2)));
    }
    log.start();
    Ok(settings)
}

/// `--check-config` found nothing wrong.
#[must_use]
pub fn is_valid() -> ExitCode {
    say("the configuration is valid");
    ExitCode::SUCCESS
}

/// Runs a process on so many threads; its error is one line.
#[must_use]
pub fn run(threads: usize, life: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start the runtime: {error}"), ExitCode::FAILURE),
    };
    let ended = runtime.block_on(life);
    // A thread that waits for a disk that does not answer would wait for ever.
    runtime.shutdown_timeout(LEFT_BEHIND);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("{error:#}"), ExitCode::FAILURE),
    }
}

/// For threads that end by themselves.
const LEFT_BEHIND: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_process_ends_though_one_of_its_threads_waits_for_ever() {
        let (never, waits) = mpsc::channel::<()>();
        let code = run(1, async move {
            // Detached: nobody waits for it but the runtime.
            drop(tokio::task::spawn_blocking(move || waits.recv()));
            Ok(())
        });
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::SUCCESS));
        drop(never);
    }
}
