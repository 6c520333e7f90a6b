//! Which errors of upstreams are the request's own fault, by the admins' rules: no retry, no breaker, no cool-down, and
//! the upstream's words for the seat, or those that a rule puts in their place.
//!
//! Rules are asked in the order of their priority, the lowest number first, then the oldest; the first that matches
//! counts. What is looked at: the error's message, and the first [`INSPECTED_BYTES`] of the body as it came. A web page is
//! no error of an API and is not looked at. All patterns are one automaton, so that an error is read once however many
//! rules there are.
//!
//! What a rule may overrule is decided in [`crate::rules::classify`], not here. Knows nothing of attempts and bytes under way.

mod defaults;

pub use defaults::{DEFAULTS, DefaultRule, DefaultsError, default_rules};

use crate::contract::snapshot::ErrorRuleDoc;
use crate::ids::ErrorRuleId;
use crate::model::error_rule::{ErrorBody, ErrorMatch, ErrorPattern, MAX_COMPILED_BYTES};
use crate::protocol::Dialect;
use crate::rules::classify::{ErrorFacts, FailureClass};
use regex::{RegexSet, RegexSetBuilder};

/// A rule that can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorRule {
    /// Its id.
    pub id: ErrorRuleId,
    /// What the seat reads in the place of the upstream's error.
    pub override_response: Option<ErrorBody>,
    /// The status it is sent with.
    pub override_status_code: Option<u16>,
}

/// All rules of a configuration, ready to be asked.
#[derive(Clone, Debug)]
pub struct ErrorRules {
    rules: Vec<ErrorRule>,
    patterns: RegexSet,
}

/// A rule, or a part of it, that this release cannot use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// Which.
    pub id: ErrorRuleId,
    /// A fixed word: `match_type`, `pattern`, `too_large` (the rule is left out), `override_response`,
    /// `override_status_code` (it counts without it).
    pub reason: &'static str,
}

/// What a seat gets of an error that is the request's own fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The HTTP status.
    pub status: u16,
    /// The body; `None`: the upstream's, as it came.
    pub body: Option<Vec<u8>>,
}

impl Default for ErrorRules {
    fn default() -> Self {
        Self { rules: Vec::new(), patterns: RegexSet::empty() }
    }
}

impl ErrorRules {
    /// Compiles the published rules. One that cannot be used is left out and named; the others count.
    #[must_use]
    pub fn compile(docs: &[ErrorRuleDoc]) -> (Self, Vec<Unusable>) {
        let mut unusable = Vec::new();
        let mut usable = Vec::with_capacity(docs.len());
        for doc in docs {
            match read(doc, &mut unusable) {
                Ok(read) => usable.push((doc.priority, doc.id, read)),
                Err(reason) => unusable.push(Unusable { id: doc.id, reason }),
            }
        }
        usable.sort_by_key(|(priority, id, _)| (*priority, *id));
        let (patterns, rules): (Vec<_>, Vec<_>) = usable.into_iter().map(|(_, _, read)| read).unzip();
        let room = MAX_COMPILED_BYTES.saturating_mul(patterns.len().max(8));
        let set = RegexSetBuilder::new(patterns.iter().map(ErrorPattern::source))
            .case_insensitive(true)
            .size_limit(room)
            .build();
        match set {
            Ok(patterns) => (Self { rules, patterns }, unusable),
            Err(_) => {
                // Each is usable by itself, so together they are too large: that takes hundreds made to be.
                unusable.extend(rules.iter().map(|rule| Unusable { id: rule.id, reason: "too_large" }));
                (Self::default(), unusable)
            }
        }
    }

    /// The first rule that matches an error: its message, decoded, or its body as it came.
    #[must_use]
    pub fn find(&self, message: &str, body: &[u8]) -> Option<&ErrorRule> {
        self.matching(message, body).next()
    }

    /// All rules that match an error, in the order in which they are asked.
    pub fn matching<'a>(&'a self, message: &str, body: &[u8]) -> impl Iterator<Item = &'a ErrorRule> {
        let is_page = body.trim_ascii_start().starts_with(b"<");
        let body = String::from_utf8_lossy(body.get(..INSPECTED_BYTES).unwrap_or(body));
        let found = (!self.rules.is_empty() && !is_page)
            .then(|| (self.patterns.matches(message), self.patterns.matches(&body)));
        self.rules.iter().enumerate().filter_map(move |(i, rule)| {
            found.as_ref().is_some_and(|(a, b)| a.matched(i) || b.matched(i)).then_some(rule)
        })
    }

    /// A rule by its id.
    #[must_use]
    pub fn get(&self, id: ErrorRuleId) -> Option<&ErrorRule> {
        self.rules.iter().find(|rule| rule.id == id)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// True when there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

/// What a seat that is to read an upstream's refusal gets: its status and words, but for what the rule that decided
/// replaces. Where the refusal came under a success (`status` is below 400, or there was none), its own code stands for a
/// status, else 404 for what is missing and 400 for everything else.
#[must_use]
pub fn shown(
    rule: Option<&ErrorRule>,
    class: FailureClass,
    (status, facts): (Option<u16>, &ErrorFacts),
    dialect: Dialect,
    request_id: &str,
) -> Shown {
    let told = status.filter(|code| *code >= 400).or_else(|| facts.status_like_code());
    let told = told.unwrap_or(match class {
        FailureClass::ModelMissing | FailureClass::NotFound => 404,
        _ => 400,
    });
    let status = rule.and_then(|rule| rule.override_status_code).unwrap_or(told);
    let body = rule
        .and_then(|rule| rule.override_response.as_ref())
        .map(|body| body.render(dialect, status, request_id));
    Shown { status, body }
}

fn read(doc: &ErrorRuleDoc, unusable: &mut Vec<Unusable>) -> Result<(ErrorPattern, ErrorRule), &'static str> {
    let match_type = ErrorMatch::parse(&doc.match_type).ok_or("match_type")?;
    let pattern = ErrorPattern::new(match_type, &doc.pattern).map_err(|_| "pattern")?;
    let mut without = |reason| unusable.push(Unusable { id: doc.id, reason });
    let override_response = doc.override_response.as_deref().and_then(|text| {
        let body = serde_json::from_str(text).ok().and_then(|document| ErrorBody::new(document).ok());
        if body.is_none() {
            without("override_response");
        }
        body
    });
    let override_status_code = doc.override_status_code.filter(|code| (400..=599).contains(code));
    if override_status_code != doc.override_status_code {
        without("override_status_code");
    }
    Ok((pattern, ErrorRule { id: doc.id, override_response, override_status_code }))
}

/// As much of a body is looked at; errors are shorter.
pub const INSPECTED_BYTES: usize = 16 << 10;

#[cfg(test)]
mod tests;
