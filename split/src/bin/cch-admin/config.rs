//! What `cch-admin` is told by its environment.

use admin_api::AdminConfig;
use process::ProcessConfig;
use redis_adapters::RedisConfig;
use shared::vars::{LISTEN_ALLOWED, VarProblem, Vars, parse_listen};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// All of it.
pub struct Settings {
    /// Directory and log.
    pub process: ProcessConfig,
    /// The admin side's own.
    pub admin: AdminConfig,
    /// `REDIS_URL`, `REDIS_CA_FILE`.
    pub redis: RedisConfig,
    /// `OPS_LISTEN`: address for `/live`, `/ready`, `/metrics`. Default `127.0.0.1:23002`.
    pub ops_listen: SocketAddr,
    /// `DRAIN_DELAY_SECS`: seconds between "not ready" and a closed listener at a stop. Default 0.
    pub drain_delay: Duration,
}

impl Settings {
    /// Reads everything, or tells all that is wrong.
    pub fn read(variables: &HashMap<String, String>) -> Result<Self, Vec<VarProblem>> {
        let lookup = |name: &str| variables.get(name).cloned();
        let mut vars = Vars::new(&lookup);
        let process = ProcessConfig::read(&mut vars);
        let admin = AdminConfig::read(&mut vars);
        let redis = RedisConfig::read(&mut vars);
        let ops_listen = vars.read("OPS_LISTEN", DEFAULT_OPS_LISTEN, LISTEN_ALLOWED, parse_listen);
        let drain_delay = vars.read("DRAIN_DELAY_SECS", Duration::ZERO, SECONDS, |text| {
            text.parse().ok().filter(|secs| *secs <= 86_400).map(Duration::from_secs)
        });
        let settings = admin.zip(redis);
        vars.finish_required(settings.map(|(admin, redis)| Self {
            process,
            admin,
            redis,
            ops_listen,
            drain_delay,
        }))
    }
}

const DEFAULT_OPS_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 23002);
const SECONDS: &str = "a whole number of seconds from 0 to 86400";
