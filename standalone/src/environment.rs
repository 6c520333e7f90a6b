//! The environment as the single process sees it: the variables, and what stands in for those that are not set.

use crate::{Settings, first_start, secrets};
use admin_api::config::AdminConfig;
use anyhow::{Context, Result};
use gateway::config::GatewayConfig;
use process::ProcessConfig;
use shared::vars::{VarProblem, Vars};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Variables, with stand-ins.
pub struct Environment {
    set: HashMap<String, String>,
    stand_ins: HashMap<&'static str, String>,
    /// True when the admin token was made by this start, so that it must be shown.
    pub has_new_token: bool,
    /// The demo's data, gone with this.
    throw_away: Option<TempDir>,
}

impl Environment {
    /// For a normal start: makes the data directory, and the secrets in it that are not set.
    pub fn with_files() -> Result<Self> {
        let mut environment = Self::of_process();
        let data_dir = environment.data_dir();
        std::fs::create_dir_all(&data_dir)
            .with_context(|| format!("DATA_DIR={}: cannot be made", data_dir.display()))?;
        environment.database_in(&data_dir);
        if environment.is_unset("ADMIN_TOKEN") {
            let (token, is_new) = secrets::load_or_make(&data_dir.join("admin-token"), 24)?;
            environment.stand_ins.insert("ADMIN_TOKEN", token);
            environment.has_new_token = is_new;
        }
        if environment.is_unset("HUB_SECRET_KEY") {
            let (key, _) = secrets::load_or_make(&data_dir.join("hub-secret-key"), 32)?;
            environment.stand_ins.insert("HUB_SECRET_KEY", key);
        }
        Ok(environment)
    }

    /// For checking alone: nothing is made, secrets that would be made count as valid.
    pub fn without_files() -> Result<Self> {
        let mut environment = Self::of_process();
        let data_dir = environment.data_dir();
        environment.database_in(&data_dir);
        environment.stand_ins.insert("ADMIN_TOKEN", "0".repeat(48));
        environment.stand_ins.insert("HUB_SECRET_KEY", "0".repeat(64));
        Ok(environment)
    }

    /// For the demo: a throw-away database, free ports unless they are set, quiet logs.
    pub fn for_demo() -> Result<Self> {
        let mut environment = Self::of_process();
        // For its owner alone, under a name that nobody can have taken before.
        let throw_away = tempfile::Builder::new().prefix("claude-code-hub-demo-").tempdir()?;
        let data_dir = throw_away.path().to_owned();
        environment.set.remove("DSN");
        environment.set.insert("DATA_DIR".to_owned(), data_dir.display().to_string());
        environment.database_in(&data_dir);
        environment
            .set
            .insert("ADMIN_TOKEN".to_owned(), secrets::load_or_make(&data_dir.join("admin-token"), 24)?.0);
        environment
            .set
            .insert("HUB_SECRET_KEY".to_owned(), secrets::load_or_make(&data_dir.join("key"), 32)?.0);
        for name in ["GATEWAY_LISTEN", "ADMIN_LISTEN", "OPS_LISTEN"] {
            environment.stand_ins.insert(name, "127.0.0.1:0".to_owned());
        }
        environment.stand_ins.insert("LOG_LEVEL", "warn,gateway=info".to_owned());
        environment.throw_away = Some(throw_away);
        Ok(environment)
    }

    /// Reads everything, or tells all that is wrong.
    pub fn read(&self) -> Result<Settings, Vec<VarProblem>> {
        let lookup = |name: &str| self.get(name);
        let mut vars = Vars::new(&lookup);
        let process = ProcessConfig::read(&mut vars);
        let mut gateway = GatewayConfig::read(&mut vars);
        gateway.journal.root = Some(process.data_dir.join("journal"));
        let admin = AdminConfig::read(&mut vars);
        first_start::check(&mut vars);
        vars.finish_required(admin.map(|admin| Settings { process, gateway, admin }))
    }

    /// A variable, or what stands in for it.
    pub fn get(&self, name: &str) -> Option<String> {
        let set = self.set.get(name).filter(|v| !v.trim().is_empty());
        set.or_else(|| self.stand_ins.get(name)).cloned()
    }

    fn of_process() -> Self {
        Self { set: process::variables(), stand_ins: HashMap::new(), has_new_token: false, throw_away: None }
    }

    fn is_unset(&self, name: &str) -> bool {
        self.get(name).is_none()
    }

    fn data_dir(&self) -> PathBuf {
        PathBuf::from(self.get("DATA_DIR").unwrap_or_else(|| "./data".to_owned()))
    }

    fn database_in(&mut self, data_dir: &Path) {
        self.stand_ins.insert("DSN", format!("sqlite://{}", data_dir.join("hub.sqlite").display()));
    }
}
