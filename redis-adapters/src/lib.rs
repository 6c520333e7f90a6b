//! The ports of `shared` over Redis. For the composition roots of the split shape: neither `gateway` nor `admin-api`
//! knows this crate, and this crate knows neither of them.
//!
//! Everything goes through one [`Link`]: versioned Lua with a deadline, behind a breaker, so that Redis's absence
//! costs microseconds. What the scripts are, and all names, is in `shared::contract`.

mod breakers;
mod channel;
mod config;
mod connection;
mod feed;
mod link;
mod nodes;
mod publisher;
mod quotas;
mod responses;
mod sessions;
mod telemetry;
mod usage;

pub use breakers::RedisBreakers;
pub use config::{ConfigError, RedisConfig};
pub use feed::RedisFeed;
pub use link::Link;
pub use nodes::RedisNodes;
pub use publisher::RedisPublisher;
pub use quotas::RedisQuotas;
pub use responses::RedisResponses;
pub use sessions::RedisSessions;
pub use usage::{ConsumerName, Nobody, RedisUsage};
