//! The split shape as operators run it: real processes, a real Postgres and Redis, and what can happen to them.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; clippy only knows functions marked #[test]"
)]

mod balancer;
mod boot;
mod budgets;
mod circuits;
mod faults;
mod harness;
mod in_flight;
mod journal;
mod limit_resets;
mod load;
mod measured;
mod plane;
mod process;
mod secrets;
mod sessions;
mod soak;
mod stop;
mod swap;
