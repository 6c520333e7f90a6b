//! What the gateway and the admin side say to each other, and nothing else.
//!
//! These are wire types: tolerant of unknown fields, with a schema revision, so that an old reader lives
//! with a new writer and the reverse. `keys` names everything in Redis, `scripts` has the Lua.

pub mod begin;
pub mod breach;
pub mod breaker;
pub mod chain;
pub mod codec;
pub mod delta;
pub mod end;
pub mod in_flight;
pub mod keys;
pub mod node;
mod quantities;
pub mod response;
pub mod scripts;
pub mod session;
pub mod snapshot;
pub mod usage;

#[cfg(test)]
mod recorded;
