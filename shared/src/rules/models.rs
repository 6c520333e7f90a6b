//! Which models a caller is shown: those its groups' providers serve. Knows nothing of the list's wire shape.

use crate::model::rules::allows;
use crate::model::{GroupSet, MatchType, Provider};
use crate::protocol::Dialect;
use std::collections::BTreeMap;

/// A model that a caller may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub id: String,
    /// Whose model it is, as OpenAI's list calls it.
    pub owner: &'static str,
}

/// The models that enabled providers of these groups and dialects serve, sorted, each once.
///
/// A provider that names its models (exact rules, exact redirects) lists those. One that serves whatever it
/// is asked for lists what the price catalogue knows of its vendor.
pub fn listed<'a>(
    providers: &[Provider],
    groups: &GroupSet,
    dialects: &[Dialect],
    catalogue: impl Iterator<Item = &'a str> + Clone,
) -> Vec<Listed> {
    let mut models: BTreeMap<String, &'static str> = BTreeMap::new();
    let usable = providers.iter().filter(|p| {
        p.is_enabled && dialects.contains(&p.provider_type.dialect()) && groups.may_use(&p.group_tag)
    });
    for provider in usable {
        let owner = owner(provider.provider_type.dialect());
        let exact = |p: &&crate::model::rules::Pattern| p.match_type() == MatchType::Exact;
        let rules = provider.allowed_models.iter().map(|rule| &rule.0);
        let redirects = provider.model_redirects.iter().map(|r| &r.source);
        let named = rules.filter(exact).map(|p| p.text());
        let renamed = redirects.filter(exact).map(|p| p.text());
        for name in named.chain(renamed.filter(|name| allows(&provider.allowed_models, name))) {
            models.insert(name.to_owned(), owner);
        }
        let has_open_rule = provider.allowed_models.is_empty()
            || provider.allowed_models.iter().any(|rule| rule.0.match_type() != MatchType::Exact);
        if has_open_rule {
            let of_vendor = catalogue.clone().filter(|name| is_of(provider.provider_type.dialect(), name));
            for name in of_vendor.filter(|name| allows(&provider.allowed_models, name)) {
                models.insert(name.to_owned(), owner);
            }
        }
    }
    models.into_iter().map(|(id, owner)| Listed { id, owner }).collect()
}

fn owner(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Anthropic => "anthropic",
        Dialect::OpenaiChat | Dialect::OpenaiResponses => "openai",
        Dialect::Gemini => "google",
    }
}

/// The catalogue names many hosts' copies; only a vendor's own plain names are shown.
fn is_of(dialect: Dialect, name: &str) -> bool {
    let prefixes: &[&str] = match dialect {
        Dialect::Anthropic => &["claude-"],
        Dialect::OpenaiChat | Dialect::OpenaiResponses => &["gpt-", "o1", "o3", "o4", "codex-"],
        Dialect::Gemini => &["gemini-"],
    };
    !name.contains(['/', ':', '@']) && prefixes.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::provider;

    const CATALOGUE: [&str; 5] = ["claude-a", "claude-b", "vertex_ai/claude-a", "gpt-5", "gemini-3"];

    fn ids(providers: &[Provider], groups: &str) -> Vec<String> {
        let groups = GroupSet::parse(groups);
        let models = listed(providers, &groups, &[Dialect::Anthropic], CATALOGUE.into_iter());
        models.into_iter().map(|m| m.id).collect()
    }

    #[test]
    fn an_open_provider_lists_its_vendors_models() {
        assert_eq!(ids(&[provider(1)], ""), ["claude-a", "claude-b"]);
        assert_eq!(ids(&[provider(1)], "other"), [""; 0]);
    }

    #[test]
    fn a_provider_that_names_its_models_lists_only_those() {
        let mut named = provider(1);
        named.allowed_models = serde_json::from_str(
            r#"[{"match_type":"exact","pattern":"x"},{"match_type":"suffix","pattern":"-b"}]"#,
        )
        .unwrap();
        named.model_redirects = serde_json::from_str(
            r#"[{"match_type":"exact","source":"y-b","target":"z"},{"match_type":"exact","source":"hidden","target":"z"}]"#,
        )
        .unwrap();
        assert_eq!(ids(&[named.clone()], ""), ["claude-b", "x", "y-b"]);
        named.is_enabled = false;
        assert_eq!(ids(&[named], ""), [""; 0]);
    }
}
