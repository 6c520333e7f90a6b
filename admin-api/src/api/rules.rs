//! Model rules of a provider (which models it serves and what it calls them), and client rules.

use super::types::MatchTypeName;
use crate::error::{Error, Violation};
use serde::{Deserialize, Serialize};
use shared::model::rules::{Pattern, RuleError};
use shared::model::{ClientPattern, ModelRule, Redirect};
use utoipa::ToSchema;

/// A model that a provider serves.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ModelRule)]
pub struct ModelRuleDocument {
    match_type: MatchTypeName,
    /// 1 to 255 characters.
    pattern: String,
}

/// What a provider calls a model.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ModelRedirect)]
pub struct RedirectDocument {
    match_type: MatchTypeName,
    /// Which requested models are renamed: 1 to 255 characters.
    source: String,
    /// The name the provider is asked for: 1 to 255 characters.
    target: String,
}

/// The rules, or every one that cannot work.
pub(super) fn model_rules(rules: Vec<ModelRuleDocument>) -> Result<Vec<ModelRule>, Error> {
    let parsed = rules.into_iter().enumerate().map(|(i, rule)| {
        let pattern = Pattern::new(rule.match_type.into(), &rule.pattern);
        pattern.map(ModelRule).map_err(|error| bad_rule(format!("allowed_models[{i}].pattern"), error))
    });
    all_or_violations(parsed)
}

/// The redirects, or every one that cannot work.
pub(super) fn redirects(redirects: Vec<RedirectDocument>) -> Result<Vec<Redirect>, Error> {
    let parsed = redirects.into_iter().enumerate().map(|(i, redirect)| {
        let source = Pattern::new(redirect.match_type.into(), &redirect.source)
            .map_err(|error| bad_rule(format!("model_redirects[{i}].source"), error))?;
        if !(1..=255).contains(&redirect.target.len()) || redirect.target.contains(char::is_control) {
            let message = "must have 1 to 255 characters, no control characters";
            return Err(Violation::new(format!("model_redirects[{i}].target"), message));
        }
        Ok(Redirect { source, target: redirect.target })
    });
    all_or_violations(parsed)
}

fn bad_rule(field: String, error: RuleError) -> Violation {
    Violation::new(field, error.to_string())
}

fn all_or_violations<T>(parsed: impl Iterator<Item = Result<T, Violation>>) -> Result<Vec<T>, Error> {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for item in parsed {
        match item {
            Ok(item) => good.push(item),
            Err(violation) => bad.push(violation),
        }
    }
    if bad.is_empty() { Ok(good) } else { Err(Error::Invalid(bad)) }
}

/// A rule as it is shown.
pub(super) fn rule_document(rule: &ModelRule) -> ModelRuleDocument {
    ModelRuleDocument { match_type: rule.0.match_type().into(), pattern: rule.0.text().to_owned() }
}

/// A redirect as it is shown.
pub(super) fn redirect_document(redirect: &Redirect) -> RedirectDocument {
    RedirectDocument {
        match_type: redirect.source.match_type().into(),
        source: redirect.source.text().to_owned(),
        target: redirect.target.clone(),
    }
}

/// Client rules of these texts.
pub(super) fn client_patterns(texts: Vec<String>) -> Vec<ClientPattern> {
    texts.into_iter().map(ClientPattern::new).collect()
}

/// Client rules as they are shown.
pub(super) fn client_texts(patterns: &[ClientPattern]) -> Vec<String> {
    patterns.iter().map(|pattern| pattern.text().to_owned()).collect()
}
