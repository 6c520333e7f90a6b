//! The product as a person runs it: the binary, its output, its two doors, its end.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot be set up must stop; clippy only knows functions marked #[test]"
)]

mod explain;
mod harness;
mod life;
mod metrics;
