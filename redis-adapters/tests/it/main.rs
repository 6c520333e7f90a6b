//! The adapters against a real Redis: the suite that memory passes, faults, and both halves of the product on it.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod breakers;
mod budgets;
mod conformance;
mod faults;
mod halves;
mod journals;
mod nodes;
mod openings;
mod plane;
mod quotas;
mod redis;
mod responses;
mod sessions;
mod split;
mod usage;
