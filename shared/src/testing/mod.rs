//! Builders and fakes for tests of every crate (feature `testing`).
