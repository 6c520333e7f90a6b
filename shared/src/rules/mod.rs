//! Decisions: `(facts, now, rng) -> verdict with its reason`. A file each.

pub mod access;
pub mod affinity;
pub mod breaker;
pub mod classify;
pub mod cooldown;
pub mod error_rules;
pub mod gate;
pub mod in_flight;
pub mod journal;
pub mod link;
pub mod log_days;
pub mod models;
pub mod old_journals;
pub mod pricing;
pub mod probe;
pub mod provider_test;
pub mod quota;
pub mod response;
pub mod retry;
pub mod select;
pub mod session;
pub mod spreadsheet;
pub mod upstream;
pub mod usage_days;
pub mod wait;
pub mod warmup;
