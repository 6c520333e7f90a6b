//! The schema of the control plane, one step a file, for Postgres and for SQLite.
//!
//! Every step but the one that cuts the request log into days runs unchanged on both databases: moments are `BIGINT`
//! Unix milliseconds in columns named `*_at_ms`, money is `BIGINT` nano-USD (`*_nano_usd`), multipliers are `BIGINT`
//! millionths, JSON is text. Steps only ever expand: a column goes away in a later release than the code that last
//! read it, so that an old and a new admin-api can share one database during a roll-out.
//!
//! Users, keys and providers are deleted softly (`deleted_at_ms`): log and ledger rows carry their ids without a
//! foreign key, names stay resolvable and an id is never used again. Their secrets are wiped at deletion.

mod column;
mod m20261123_000001_principals;
mod m20261123_000002_providers;
mod m20261123_000003_configuration;
mod m20261123_000004_audit_log;
mod m20261123_000005_usage;
mod m20261124_000006_usage_dead_letters;
mod m20261125_000007_usage_journals;
mod m20261125_000008_request_log_days;
mod m20261126_000009_group_priorities;
mod m20261126_000010_active_time;
mod m20261126_000011_client_rules;
mod m20261126_000012_usage_days;
mod m20261126_000013_circuit_breaker;
mod m20261126_000014_error_rules;
mod m20261126_000015_egress;
mod m20261126_000016_limits;
mod m20261126_000017_budgets;
mod m20261126_000018_premiums;
mod m20261126_000019_budget_journals;

use sea_orm_migration::prelude::*;

/// All steps, oldest first.
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261123_000001_principals::Migration),
            Box::new(m20261123_000002_providers::Migration),
            Box::new(m20261123_000003_configuration::Migration),
            Box::new(m20261123_000004_audit_log::Migration),
            Box::new(m20261123_000005_usage::Migration),
            Box::new(m20261124_000006_usage_dead_letters::Migration),
            Box::new(m20261125_000007_usage_journals::Migration),
            Box::new(m20261125_000008_request_log_days::Migration),
            Box::new(m20261126_000009_group_priorities::Migration),
            Box::new(m20261126_000010_active_time::Migration),
            Box::new(m20261126_000011_client_rules::Migration),
            Box::new(m20261126_000012_usage_days::Migration),
            Box::new(m20261126_000013_circuit_breaker::Migration),
            Box::new(m20261126_000014_error_rules::Migration),
            Box::new(m20261126_000015_egress::Migration),
            Box::new(m20261126_000016_limits::Migration),
            Box::new(m20261126_000017_budgets::Migration),
            Box::new(m20261126_000018_premiums::Migration),
            Box::new(m20261126_000019_budget_journals::Migration),
        ]
    }
}

pub use sea_orm_migration::MigratorTrait;
