//! Postgres and Redis of a test's own, as child processes on free ports or sockets; an egress proxy; a small HTTP
//! client; and what tests need to wait.
//! For tests alone: what cannot be set up panics.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod client;
mod figures;
mod ports;
mod postgres;
mod proxy;
mod redis;

pub use client::{Answer, Client, JSON};
pub use figures::Times;
pub use ports::lasting_address;
pub use postgres::Postgres;
pub use proxy::{Asked, Proxy, ProxyKind, ProxyManner};
pub use redis::{Door, PATIENCE, Redis, eventually};
