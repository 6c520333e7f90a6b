//! What every process can be told by its environment, beyond what its parts read.

use shared::vars::Vars;
use std::io::IsTerminal;
use std::path::PathBuf;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// The process's own configuration.
pub struct ProcessConfig {
    /// `DATA_DIR`: what the process keeps on disk. Default `./data`.
    pub data_dir: PathBuf,
    /// How it logs.
    pub log: LogConfig,
}

/// How the process logs.
pub struct LogConfig {
    /// `LOG_LEVEL`: a level, or a filter such as `info,gateway=debug`. Default `info`.
    pub filter: String,
    /// `LOG_FORMAT`: `text` or `json`. Default `text`.
    pub is_json: bool,
}

impl ProcessConfig {
    /// Reads the variables; problems are left in `vars`.
    pub fn read(vars: &mut Vars<'_>) -> Self {
        Self {
            data_dir: vars.read("DATA_DIR", PathBuf::from("./data"), "a directory", |t| {
                // A path that is not text arrives with replacement characters: another directory.
                (!t.contains(char::REPLACEMENT_CHARACTER)).then(|| PathBuf::from(t))
            }),
            log: LogConfig {
                filter: vars
                    .read("LOG_LEVEL", "info".to_owned(), LEVELS, |t| is_filter(t).then(|| t.to_owned())),
                is_json: vars.read("LOG_FORMAT", false, "text or json", |t| match t {
                    "text" => Some(false),
                    "json" => Some(true),
                    _ => None,
                }),
            },
        }
    }
}

impl LogConfig {
    /// Starts logging to standard error. Called once, before anything is logged.
    pub fn start(&self) {
        // Checked when it was read; the fallback only satisfies the types.
        let filter = EnvFilter::try_new(&self.filter).unwrap_or_else(|_| EnvFilter::new("info"));
        // Pingora reports each broken connection as an error of its own; the summary line has it already. The
        // others tell a first start in twenty lines.
        let filter = QUIET.iter().filter_map(|d| d.parse().ok()).fold(filter, EnvFilter::add_directive);
        let builder = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal());
        if self.is_json {
            builder.json().flatten_event(true).init();
        } else {
            builder.init();
        }
    }
}

/// A misspelt level would be taken for the name of a module, and the process would run without a log.
fn is_filter(text: &str) -> bool {
    let mut parts = text.split(',').map(str::trim);
    parts.all(|part| part.contains('=') || part.parse::<LevelFilter>().is_ok())
        && EnvFilter::try_new(text).is_ok()
}

const LEVELS: &str = "error, warn, info, debug, trace, or a filter such as info,gateway=debug";
const QUIET: [&str; 4] =
    ["pingora_core=warn", "pingora_proxy=off", "actix_server=warn", "sea_orm_migration=warn"];

#[cfg(test)]
mod tests {
    use super::is_filter;

    #[test]
    fn a_misspelt_level_is_no_filter() {
        for right in ["info", "WARN", "off", "info,gateway=debug", "gateway=trace, warn"] {
            assert!(is_filter(right), "{right}");
        }
        for wrong in ["lots", "inof", "info,gateway", "gateway=lots"] {
            assert!(!is_filter(wrong), "{wrong}");
        }
    }
}
