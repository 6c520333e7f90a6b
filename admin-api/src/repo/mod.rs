//! The database: connections, rows and queries. Knows nothing of HTTP, of rules or of secrets' plain text.
//!
//! Every query takes the connection it runs on, so that a service decides what is one transaction.

pub mod audit;
pub mod books;
pub mod budget_epoch;
pub mod budget_journals;
pub mod catalogue;
pub mod cut;
pub mod db;
pub mod entity;
pub mod error_rules;
pub mod journals;
pub mod limits;
pub mod log_parts;
pub mod logs;
pub mod principals;
pub mod providers;
pub mod quotas;
pub mod recount;
pub mod refusal;
pub mod revision;
pub mod snapshot;
pub mod spending;
pub mod sums;
pub mod usage_days;
mod wanted;

/// One page of rows and whether more follow.
#[derive(Debug, Clone)]
pub struct Rows<T> {
    /// At most as many as were asked for.
    pub items: Vec<T>,
    /// True when there is at least one more.
    pub has_more: bool,
}

impl<T> Rows<T> {
    /// Cuts a result that was queried with one row more than wanted.
    #[must_use]
    pub fn cut(mut items: Vec<T>, limit: u64) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_more = items.len() > limit;
        items.truncate(limit);
        Self { items, has_more }
    }

    /// The same page of what these rows are read as.
    pub fn try_map<U, E>(&self, read: impl Fn(&T) -> Result<U, E>) -> Result<Rows<U>, E> {
        let items = self.items.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Rows { items, has_more: self.has_more })
    }
}

/// `LIKE` pattern for "contains", with the wildcards in `text` taken literally (escape character `\`).
#[must_use]
pub fn contains_pattern(text: &str) -> String {
    let escaped = text.to_lowercase().replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    format!("%{escaped}%")
}
