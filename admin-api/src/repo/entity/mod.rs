//! The rows as the database has them: one file a table, no rules.

pub mod audit_log;
pub mod budget_epoch;
pub mod budget_journals;
pub mod config_revision;
pub mod error_rules;
pub mod error_rules_removed;
pub mod keys;
pub mod ledger;
pub mod model_prices;
pub mod provider_groups;
pub mod providers;
pub mod request_log;
pub mod settings;
pub mod usage_dead_letters;
pub mod usage_hourly;
pub mod usage_journals;
pub mod usage_journals_ahead;
pub mod users;
