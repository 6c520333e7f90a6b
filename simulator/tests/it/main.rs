//! The simulator as its clients see it: on real sockets, down to the bytes.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail their test")]

mod answers;
mod client;
mod faults;
mod protocols;
mod records;
