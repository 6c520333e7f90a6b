//! Provider groups: which providers a key may use.

use crate::ids::GroupId;
use crate::money::Multiplier;
use serde::{Deserialize, Serialize};

/// A named set of providers, with a factor on the price of what they serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Row id.
    pub id: GroupId,
    /// Unique name; providers and keys refer to it.
    pub name: String,
    /// Factor on the price of a request served by a provider of this group.
    pub cost_multiplier: Multiplier,
}

/// A comma-separated list of group names, as users, keys and providers carry it.
///
/// Empty means [`GroupSet::DEFAULT`]; `*` on the caller's side means every provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct GroupSet(Vec<String>);

impl GroupSet {
    /// The group of whoever names none.
    pub const DEFAULT: &'static str = "default";
    /// On the caller's side: every provider.
    pub const ALL: &'static str = "*";

    /// Reads a list separated by commas (also `，`) or line ends; order is kept, repeats and blanks dropped.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut names: Vec<String> = Vec::new();
        for name in text.split([',', '，', '\n']).map(str::trim).filter(|n| !n.is_empty()) {
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        Self(names)
    }

    /// True when no group is named, so that the default applies.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names, in their order; `default` when none is given.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let fallback = self.0.is_empty().then_some(Self::DEFAULT);
        self.0.iter().map(String::as_str).chain(fallback)
    }

    /// True when a caller with these groups may use a provider tagged with `provider`.
    #[must_use]
    pub fn may_use(&self, provider: &GroupSet) -> bool {
        self.names().any(|mine| mine == Self::ALL || provider.names().any(|tag| tag == mine))
    }

    /// The first of the caller's groups that the provider carries: the one whose factor applies. A caller
    /// with `*` gets the provider's own first group.
    #[must_use]
    pub fn billing_group<'a>(&'a self, provider: &'a GroupSet) -> Option<&'a str> {
        let shared = self.names().find(|mine| provider.names().any(|tag| tag == *mine));
        shared.or_else(|| self.names().any(|n| n == Self::ALL).then(|| provider.names().next()).flatten())
    }
}

impl From<String> for GroupSet {
    fn from(text: String) -> Self {
        Self::parse(&text)
    }
}

impl From<GroupSet> for String {
    fn from(set: GroupSet) -> Self {
        set.0.join(",")
    }
}

impl std::fmt::Display for GroupSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> GroupSet {
        GroupSet::parse(text)
    }

    #[test]
    fn who_names_no_group_shares_the_default_one() {
        assert!(set("").may_use(&set("")));
        assert!(set("").may_use(&set("default, fast")));
        assert!(set("default").may_use(&set("")));
        assert!(!set("").may_use(&set("fast")));
        assert!(!set("fast").may_use(&set("")));
        assert!(set("*").may_use(&set("fast")));
        assert!(!set("fast").may_use(&set("*")));
    }

    #[test]
    fn the_callers_order_picks_the_group_that_is_billed() {
        assert_eq!(set("b,a").billing_group(&set("a,b")), Some("b"));
        assert_eq!(set("*").billing_group(&set("x,y")), Some("x"));
        assert_eq!(set("").billing_group(&set("")), Some("default"));
        assert_eq!(set("a").billing_group(&set("b")), None);
    }

    #[test]
    fn a_list_keeps_its_order_and_drops_repeats() {
        assert_eq!(set(" b，a\n b ,").to_string(), "b,a");
    }
}
