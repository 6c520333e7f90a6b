//! The control plane: owns the database, publishes configuration, books usage, answers admins.
//!
//! Arrows: `api` → `service` → `repo`; `jobs` → `service`, `repo`; only [`start`] knows them all. Knows nothing of
//! how requests are proxied: what crosses to the gateway is in `shared::contract`, through `shared::ports`.

pub mod api;
pub mod auth;
pub mod config;
mod door;
pub mod error;
pub mod extract;
pub mod jobs;
pub mod openapi;
pub mod ops;
mod outside;
pub mod repo;
pub mod routes;
pub mod service;
pub mod start;
pub mod telemetry;
pub mod upkeep;

pub use config::AdminConfig;
pub use start::{AdminHandle, FarSides, Options, StartError, StopError, WhenAway, start, start_with};
