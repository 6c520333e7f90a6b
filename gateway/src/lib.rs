//! The hot path: between seats and providers.
//!
//! Read `pipeline.rs` first: it shows the whole life of a request. Knows nothing of databases or of the admin
//! side: all that crosses processes goes through the traits in [`shared::ports`], which [`GatewayParts`] names.

mod background;
mod budgets;
mod circuits;
pub mod config;
mod ctx;
mod dispatch;
mod events;
mod guards;
mod heartbeat;
mod hub;
mod journal;
mod keep_alive;
mod live;
mod ops;
mod pages;
mod pipeline;
mod proxy;
mod ready;
mod reject;
mod relay;
mod responses;
mod seat;
mod server;
mod sessions;
mod settle;
mod telemetry;
mod wire;

pub use hub::now;
pub use server::{GatewayHandle, GatewayParts, Listeners, StartError, start, start_on};
