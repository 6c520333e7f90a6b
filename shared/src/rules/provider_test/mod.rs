//! A test of a provider: what is asked, and what the answer means.
//!
//! The request is made by the rules that make those of seats ([`super::upstream`]), and an answer is judged by the
//! rules that judge theirs ([`super::classify`], [`super::gate`]), so that what passes here serves there. Knows nothing
//! of connections, clocks and stores.

mod preset;
mod text;
mod verdict;

pub use preset::{Preset, TestRequest, list_models};
pub use verdict::{Answered, Beginning, BodyEnd, Checks, Grade, Judged, judge, judge_end};

/// What a test asks for, so that a web page, an advertisement or an echo is not taken for an answer.
pub const EXPECTED: &str = "pong";
