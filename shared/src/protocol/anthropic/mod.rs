//! Placeholder.

pub mod error;
pub mod response;
pub mod usage;
