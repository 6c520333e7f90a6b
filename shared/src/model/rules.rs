//! Ordered matching rules on model names: which models a provider serves and what it calls them.

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use std::fmt;
use thiserror::Error;

/// How a rule's text is compared with a model name. Case matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MatchType {
    /// The whole name.
    Exact,
    /// The name begins with the text.
    Prefix,
    /// The name ends with the text.
    Suffix,
    /// The text occurs in the name.
    Contains,
    /// The regular expression matches somewhere in the name.
    Regex,
}

/// Why a rule cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RuleError {
    /// The text is empty.
    #[error("pattern is empty")]
    Empty,
    /// The text is longer than 255 bytes.
    #[error("pattern is longer than 255 bytes")]
    TooLong,
    /// The text is no regular expression, or one that needs too much memory.
    #[error("is not a usable regular expression")]
    BadRegex,
}

/// A compiled pattern.
#[derive(Clone)]
pub struct Pattern {
    match_type: MatchType,
    text: String,
    regex: Option<Regex>,
}

impl Pattern {
    /// Checks and compiles a pattern.
    pub fn new(match_type: MatchType, text: &str) -> Result<Self, RuleError> {
        if text.is_empty() {
            return Err(RuleError::Empty);
        }
        if text.len() > 255 {
            return Err(RuleError::TooLong);
        }
        let regex = match match_type {
            MatchType::Regex => {
                // Rules come from admins, yet one of them must not be able to eat the process.
                let built = RegexBuilder::new(text).size_limit(1 << 20).build();
                Some(built.map_err(|_| RuleError::BadRegex)?)
            }
            MatchType::Exact | MatchType::Prefix | MatchType::Suffix | MatchType::Contains => None,
        };
        Ok(Self { match_type, text: text.to_owned(), regex })
    }

    /// How it compares.
    #[must_use]
    pub fn match_type(&self) -> MatchType {
        self.match_type
    }

    /// What it compares with.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// True when `name` fits.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        match self.match_type {
            MatchType::Exact => name == self.text,
            MatchType::Prefix => name.starts_with(&self.text),
            MatchType::Suffix => name.ends_with(&self.text),
            MatchType::Contains => name.contains(&self.text),
            MatchType::Regex => self.regex.as_ref().is_some_and(|r| r.is_match(name)),
        }
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({:?})", self.match_type, self.text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.match_type == other.match_type && self.text == other.text
    }
}

impl Eq for Pattern {}

/// One line of `allowed_models`: `{"match_type": "prefix", "pattern": "claude-"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ModelRuleDoc", into = "ModelRuleDoc")]
pub struct ModelRule(pub Pattern);

/// One line of `model_redirects`: `{"match_type": "exact", "source": "opus", "target": "claude-opus-4-5"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RedirectDoc", into = "RedirectDoc")]
pub struct Redirect {
    /// Which requested models are renamed.
    pub source: Pattern,
    /// The name the provider is asked for.
    pub target: String,
}

/// True when the rules let `model` through: no rules, or one that matches.
#[must_use]
pub fn allows(rules: &[ModelRule], model: &str) -> bool {
    rules.is_empty() || rules.iter().any(|rule| rule.0.matches(model))
}

/// What the provider is asked for instead of `model`, when a redirect applies.
#[must_use]
pub fn redirected<'a>(redirects: &'a [Redirect], model: &str) -> Option<&'a str> {
    redirects.iter().find(|r| r.source.matches(model)).map(|r| r.target.as_str())
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelRuleDoc {
    match_type: MatchType,
    pattern: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RedirectDoc {
    match_type: MatchType,
    source: String,
    target: String,
}

impl TryFrom<ModelRuleDoc> for ModelRule {
    type Error = RuleError;

    fn try_from(doc: ModelRuleDoc) -> Result<Self, RuleError> {
        Pattern::new(doc.match_type, &doc.pattern).map(Self)
    }
}

impl From<ModelRule> for ModelRuleDoc {
    fn from(rule: ModelRule) -> Self {
        Self { match_type: rule.0.match_type, pattern: rule.0.text }
    }
}

impl TryFrom<RedirectDoc> for Redirect {
    type Error = RuleError;

    fn try_from(doc: RedirectDoc) -> Result<Self, RuleError> {
        if doc.target.is_empty() {
            return Err(RuleError::Empty);
        }
        if doc.target.len() > 255 {
            return Err(RuleError::TooLong);
        }
        Ok(Self { source: Pattern::new(doc.match_type, &doc.source)?, target: doc.target })
    }
}

impl From<Redirect> for RedirectDoc {
    fn from(redirect: Redirect) -> Self {
        Self { match_type: redirect.source.match_type, source: redirect.source.text, target: redirect.target }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(match_type: MatchType, text: &str) -> ModelRule {
        ModelRule(Pattern::new(match_type, text).unwrap())
    }

    #[test]
    fn each_match_type_compares_its_own_way() {
        use MatchType::{Contains, Exact, Prefix, Regex, Suffix};
        for (match_type, text, yes, no) in [
            (Exact, "opus", "opus", "opus-4"),
            (Prefix, "claude-", "claude-opus", "my-claude-"),
            (Suffix, "-mini", "gpt-5-mini", "gpt-5-mini-high"),
            (Contains, "sonnet", "claude-sonnet-4", "claude-opus"),
            (Regex, "^gpt-[0-9]+$", "gpt-5", "gpt-5-mini"),
        ] {
            assert!(allows(&[rule(match_type, text)], yes), "{match_type:?}");
            assert!(!allows(&[rule(match_type, text)], no), "{match_type:?}");
        }
        assert!(allows(&[], "anything"));
    }

    #[test]
    fn the_first_matching_redirect_applies() {
        let json = r#"[{"match_type":"exact","source":"opus","target":"a"},
                       {"match_type":"prefix","source":"op","target":"b"}]"#;
        let redirects: Vec<Redirect> = serde_json::from_str(json).unwrap();
        assert_eq!(redirected(&redirects, "opus"), Some("a"));
        assert_eq!(redirected(&redirects, "opal"), Some("b"));
        assert_eq!(redirected(&redirects, "sonnet"), None);
        let back = serde_json::to_string(&redirects).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Redirect>>(&back).unwrap(), redirects);
    }

    #[test]
    fn rules_that_cannot_work_cannot_be_written_down() {
        assert_eq!(Pattern::new(MatchType::Regex, "("), Err(RuleError::BadRegex));
        assert_eq!(Pattern::new(MatchType::Regex, "(a{1000}){1000}"), Err(RuleError::BadRegex));
        assert_eq!(Pattern::new(MatchType::Exact, ""), Err(RuleError::Empty));
        assert!(serde_json::from_str::<ModelRule>(r#"{"match_type":"glob","pattern":"x"}"#).is_err());
        assert!(serde_json::from_str::<ModelRule>(r#"{"match_type":"exact","pattern":"x","y":1}"#).is_err());
    }
}
