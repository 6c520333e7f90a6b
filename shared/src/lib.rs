//! The pure core of Claude Code Hub: what exists, what the wire says, and every decision.
//!
//! Knows nothing of sockets, files, databases, clocks, dice or the environment: a function here takes
//! its facts, `now` and an rng as arguments and returns a verdict with its reason. The processes around
//! it (`gateway`, `admin-api`) do the IO. `clippy.toml` beside this crate bans the leaks.
#![warn(missing_docs)]

pub mod contract;
pub mod ids;
pub mod journal;
pub mod memory;
pub mod model;
pub mod money;
pub mod ports;
pub mod protocol;
pub mod rules;
pub mod secret;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod time;
pub mod vars;
