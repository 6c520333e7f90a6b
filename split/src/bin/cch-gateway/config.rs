//! What `cch-gateway` is told by its environment.

use gateway::config::GatewayConfig;
use process::ProcessConfig;
use redis_adapters::RedisConfig;
use shared::secret::HubKey;
use shared::vars::{VarProblem, Vars};
use std::collections::HashMap;
use std::sync::Arc;

/// All of it.
pub struct Settings {
    /// Directory and log.
    pub process: ProcessConfig,
    /// The gateway's own.
    pub gateway: GatewayConfig,
    /// `REDIS_URL`, `REDIS_CA_FILE`.
    pub redis: RedisConfig,
    /// `HUB_SECRET_KEY`: must be set, the same as the admin side's.
    pub hub_key: Arc<HubKey>,
}

impl Settings {
    /// Reads everything, or tells all that is wrong.
    pub fn read(variables: &HashMap<String, String>) -> Result<Self, Vec<VarProblem>> {
        let lookup = |name: &str| variables.get(name).cloned();
        let mut vars = Vars::new(&lookup);
        let hub_key = vars.required_secret("HUB_SECRET_KEY", HUB_KEYS, |t| HubKey::parse(t).map(Arc::new));
        let process = ProcessConfig::read(&mut vars);
        let mut gateway = GatewayConfig::read(&mut vars);
        gateway.snapshot_file = Some(process.data_dir.join("config.snapshot"));
        gateway.journal.root = Some(process.data_dir.join("journal"));
        let redis = RedisConfig::read(&mut vars);
        let settings = hub_key.zip(redis);
        vars.finish_required(settings.map(|(hub_key, redis)| Self { process, gateway, redis, hub_key }))
    }
}

const HUB_KEYS: &str = "64 hex characters, the same as the admin side's";
