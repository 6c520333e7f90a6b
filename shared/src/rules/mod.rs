//! Decisions: `(facts, now, rng) -> verdict with its reason`. A file each.

pub mod pricing;
pub mod select;
