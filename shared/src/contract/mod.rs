//! What the gateway and the admin side say to each other, and nothing else.
//!
//! These are wire types: tolerant of unknown fields, with a schema revision, so that an old reader lives
//! with a new writer and the reverse. Keys, channels and scripts join them with the Redis adapters.

pub mod chain;
pub mod snapshot;
pub mod usage;
