//! The control plane: owns the database, publishes configuration, books usage.

pub mod config;
pub mod repo;
pub mod error;
pub mod service;
pub mod jobs;
