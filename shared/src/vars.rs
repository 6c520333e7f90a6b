//! Configuration variables: read through a look-up function, so that parsing is pure and testable.
//!
//! A reader asks for each variable with its default and what is allowed; problems are collected, so that one
//! start shows them all, one line each. A secret's value never appears in a problem.

use std::fmt;

/// One variable whose value cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VarProblem {
    /// The variable's name.
    pub name: &'static str,
    /// Its value; `None` for a secret.
    pub value: Option<String>,
    /// What is allowed, e.g. `a whole number from 1 to 64`.
    pub allowed: &'static str,
}

impl fmt::Display for VarProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value.as_deref().unwrap_or("***");
        write!(f, "{}={value:?} is not allowed: expected {}", self.name, self.allowed)
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
            self.problems.push(VarProblem { name, value: Some(text), allowed });
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
            self.problems.push(VarProblem { name, value: None, allowed });
        }
        parsed
    }

    /// Notes a problem that only shows when several variables are seen together.
    pub fn refuse(&mut self, name: &'static str, value: Option<String>, allowed: &'static str) {
        self.problems.push(VarProblem { name, value, allowed });
    }

    /// `value` when nothing was wrong, else all problems.
    pub fn finish<T>(self, value: T) -> Result<T, Vec<VarProblem>> {
        if self.problems.is_empty() { Ok(value) } else { Err(self.problems) }
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

/// What [`parse_flag`] takes, for a problem's text.
pub const FLAG_ALLOWED: &str = "true or false";

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
        let lines: Vec<_> = vars.finish(()).unwrap_err().iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "THREADS=\"many\" is not allowed: expected a whole number",
                "HUB_SECRET_KEY=\"***\" is not allowed: expected 64 hex characters",
            ]
        );
    }

    #[test]
    fn flags_are_words_that_people_write() {
        assert_eq!(parse_flag("On"), Some(true));
        assert_eq!(parse_flag("0"), Some(false));
        assert_eq!(parse_flag("maybe"), None);
    }
}
