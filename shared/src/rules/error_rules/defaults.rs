//! The rules that come with a release: wordings of the vendors and of common relays that blame the request.

use crate::model::error_rule::{ErrorCategory, ErrorMatch, ErrorPattern};
use serde::Deserialize;
use std::collections::BTreeSet;
use thiserror::Error;

/// The rules as they are written: a JSON array.
pub const DEFAULTS: &str = include_str!("../../../seed/error-rules.json");

/// A rule of this release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultRule {
    /// What it is known by from release to release.
    pub name: String,
    /// How its pattern is compared.
    pub match_type: ErrorMatch,
    /// What it looks for.
    pub pattern: String,
    /// What it is about.
    pub category: ErrorCategory,
    /// A note for admins.
    pub description: String,
    /// When it is asked: after every rule with a lower number.
    pub priority: i32,
}

/// Why the rules of this release cannot be read. A test keeps this from being shipped.
#[derive(Debug, Error)]
pub enum DefaultsError {
    /// Not an array of rules.
    #[error("default error rules are not an array of rules")]
    NotRules(#[source] serde_json::Error),
    /// A rule cannot be used, or stands there twice.
    #[error("default error rule {0} cannot be used")]
    Rule(String),
}

/// The rules of this release.
pub fn default_rules() -> Result<Vec<DefaultRule>, DefaultsError> {
    let docs: Vec<Doc> = serde_json::from_str(DEFAULTS).map_err(DefaultsError::NotRules)?;
    let mut seen = BTreeSet::new();
    docs.into_iter()
        .map(|doc| {
            let is_new = seen.insert(doc.name.clone()) && seen.insert(doc.pattern.clone());
            let match_type = ErrorMatch::parse(&doc.match_type).filter(|_| is_new);
            match (match_type, ErrorCategory::parse(&doc.category)) {
                (Some(match_type), Some(category)) if ErrorPattern::new(match_type, &doc.pattern).is_ok() => {
                    let Doc { name, pattern, description, priority, .. } = doc;
                    Ok(DefaultRule { name, match_type, pattern, category, description, priority })
                }
                _ => Err(DefaultsError::Rule(doc.name)),
            }
        })
        .collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Doc {
    name: String,
    match_type: String,
    pattern: String,
    category: String,
    description: String,
    priority: i32,
}
