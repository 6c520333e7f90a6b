//! The control plane as a whole: real HTTP, real SQLite, a real Postgres. Each promise is held to both databases.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod hub;

mod books;
mod budgets;
mod catalogue;
mod circuits;
mod conventions;
mod egress;
mod error_rules;
mod in_flight;
mod journals;
mod ledger_check;
mod lifecycle;
mod limit_resets;
mod limits;
mod log_days;
mod log_export;
mod measured;
mod metrics;
mod nodes;
mod principals;
mod provider_tests;
mod providers;
mod publishing;
mod quotas;
mod routing;
mod secrets;
mod sessions;
mod standing;
mod usage_days;
