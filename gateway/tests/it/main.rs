//! The gateway as a process part: real Pingora, real sockets, a simulated upstream with scripted faults.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot be set up must stop; clippy only knows functions marked #[test]"
)]

mod attempt_costs;
mod bad_input;
mod budgets;
mod circuits;
mod client_gone;
mod dialects;
mod egress;
mod endings;
mod error_rules;
mod failover;
mod faults;
mod fidelity;
mod harness;
mod journal;
mod probing;
mod responses;
mod routing;
mod sessions;
mod slow_seats;
mod stopping;
mod waiting;
mod warmup;
