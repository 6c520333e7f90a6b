//! Configuration variables: read through a look-up function, so that parsing is pure and testable.
//!
//! A reader asks for each variable with its default and what is allowed; problems are collected, so that one
//! start shows them all, one line each. A secret's value never appears in a problem.

use std::net::SocketAddr;
use std::time::Duration;
use thiserror::Error;

/// One variable that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum VarProblem {
    /// It is needed and not set.
    #[error("{name} is not set: expected {allowed}")]
    Missing {
        /// The variable's name.
        name: &'static str,
        /// What is allowed, e.g. `a whole number from 1 to 64`.
        allowed: &'static str,
    },
    /// Its value cannot be used.
    #[error("{name}={value:?} is not allowed: expected {allowed}")]
    Bad {
        /// The variable's name.
        name: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// Its value cannot be used and must not be shown.
    #[error("{name}=\"***\" is not allowed: expected {allowed}")]
    BadSecret {
        /// The variable's name.
        name: &'static str,
        /// What is allowed.
        allowed: &'static str,
    },
}

impl VarProblem {
    /// The variable's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Missing { name, .. } | Self::Bad { name, .. } | Self::BadSecret { name, .. } => name,
        }
    }
}

/// Reads variables and collects what is wrong with them.
pub struct Vars<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    problems: Vec<VarProblem>,
}

impl<'a> Vars<'a> {
    /// A reader over `lookup`, usually the process environment.
    #[must_use]
    pub fn new(lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { lookup, problems: Vec::new() }
    }

    /// The raw text of a variable; blank counts as absent.
    #[must_use]
    pub fn text(&self, name: &'static str) -> Option<String> {
        (self.lookup)(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty())
    }

    /// A variable read by `parse`, or `default` when it is absent or wrong (then a problem is noted).
    pub fn read<T>(
        &mut self,
        name: &'static str,
        default: T,
        allowed: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> T {
        self.optional(name, allowed, parse).unwrap_or(default)
    }

    /// A variable without a default; a wrong one is noted and counts as absent.
    pub fn optional<T>(
        &mut self,
        name: &'static str,
        allowed: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(name)?;
        let parsed = parse(&text);
        if parsed.is_none() {
            self.note(VarProblem::Bad { name, value: text, allowed });
        }
        parsed
    }

    /// A secret without a default; its value is not shown when it is wrong.
    pub fn secret<T>(
        &mut self,
        name: &'static str,
        allowed: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let parsed = parse(&self.text(name)?);
        if parsed.is_none() {
            self.note(VarProblem::BadSecret { name, allowed });
        }
        parsed
    }

    /// A secret that must be set; `None` only after a problem was noted.
    pub fn required_secret<T>(
        &mut self,
        name: &'static str,
        allowed: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        if self.text(name).is_none() {
            self.note(VarProblem::Missing { name, allowed });
        }
        self.secret(name, allowed, parse)
    }

    /// `value` when nothing was wrong, else all problems, one a variable.
    pub fn finish<T>(self, value: T) -> Result<T, Vec<VarProblem>> {
        self.finish_required(Some(value))
    }

    /// The same for a value that needs required variables: `None` only after a problem was noted.
    pub fn finish_required<T>(self, value: Option<T>) -> Result<T, Vec<VarProblem>> {
        match value {
            Some(value) if self.problems.is_empty() => Ok(value),
            Some(_) | None => Err(self.problems),
        }
    }

    /// Two parts of a process may read one variable: what is wrong with it is told once.
    fn note(&mut self, problem: VarProblem) {
        if self.problems.iter().all(|known| known.name() != problem.name()) {
            self.problems.push(problem);
        }
    }
}

/// Reads `true`/`false`, `1`/`0`, `yes`/`no`, `on`/`off`, without case.
#[must_use]
pub fn parse_flag(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// Reads an address to listen on; `:port` alone means all addresses.
#[must_use]
pub fn parse_listen(text: &str) -> Option<SocketAddr> {
    match text.strip_prefix(':') {
        Some(port) => Some(SocketAddr::from(([0, 0, 0, 0], port.parse().ok()?))),
        None => text.parse().ok(),
    }
}

/// What [`parse_listen`] takes, for a problem's text.
pub const LISTEN_ALLOWED: &str =
    "an address with a port, such as 127.0.0.1:23001, or :port for all addresses";

/// What [`parse_flag`] takes, for a problem's text.
pub const FLAG_ALLOWED: &str = "true or false";

/// `SESSION_TTL`, which gateways and the admin side are told: seconds, 10 to 86 400.
#[must_use]
pub fn parse_session_ttl(text: &str) -> Option<Duration> {
    text.parse().ok().filter(|secs| (10..=86_400).contains(secs)).map(Duration::from_secs)
}

/// What [`parse_session_ttl`] takes.
pub const SESSION_TTL_ALLOWED: &str = "a whole number of seconds from 10 to 86400";
/// `SESSION_TTL` where nothing is said.
pub const DEFAULT_SESSION_TTL: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_problems_are_told_at_once_and_secrets_stay_secret() {
        let lookup = |name: &str| match name {
            "THREADS" => Some("many".to_owned()),
            "HUB_SECRET_KEY" => Some("hunter2".to_owned()),
            "BLANK" => Some("  ".to_owned()),
            _ => None,
        };
        let mut vars = Vars::new(&lookup);
        assert_eq!(vars.read("THREADS", 2, "a whole number", |t| t.parse().ok()), 2);
        assert_eq!(vars.secret("HUB_SECRET_KEY", "64 hex characters", |_| None::<()>), None);
        assert_eq!(vars.read("BLANK", 7, "a whole number", |t| t.parse().ok()), 7);
        assert_eq!(vars.required_secret("DSN", "a database", |_| Some(())), None);
        // The other half of the process reads it too.
        assert_eq!(vars.required_secret("HUB_SECRET_KEY", "a key", |_| None::<()>), None);
        let lines: Vec<_> = vars.finish(()).unwrap_err().iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "THREADS=\"many\" is not allowed: expected a whole number",
                "HUB_SECRET_KEY=\"***\" is not allowed: expected 64 hex characters",
                "DSN is not set: expected a database",
            ]
        );
    }

    #[test]
    fn flags_are_words_that_people_write() {
        assert_eq!(parse_flag("On"), Some(true));
        assert_eq!(parse_flag("0"), Some(false));
        assert_eq!(parse_flag("maybe"), None);
    }

    #[test]
    fn a_port_alone_is_listened_on_everywhere() {
        assert_eq!(parse_listen(":80"), Some("0.0.0.0:80".parse().unwrap()));
        assert_eq!(parse_listen("[::1]:80"), Some("[::1]:80".parse().unwrap()));
        for wrong in ["localhost:80", ":", ":70000", "80", "0.0.0.0"] {
            assert_eq!(parse_listen(wrong), None, "{wrong}");
        }
    }
}
