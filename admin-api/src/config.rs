//! What the control plane is told from outside: its variables, read once.
//!
//! The reader is handed in, so that `standalone` reads both halves at once, supplies defaults of its own, and tests
//! need no globals. `DSN` may hold a password and counts as a secret.

use egress::{CA_FILE_ALLOWED, parse_ca_file};
use shared::secret::{HubKey, Secret};
use shared::time::Zone;
use shared::vars::{
    DEFAULT_SESSION_TTL, FLAG_ALLOWED, LISTEN_ALLOWED, SESSION_TTL_ALLOWED, Vars, parse_flag, parse_listen,
    parse_session_ttl,
};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The control plane's configuration. Each field names its variable, unit and default.
#[derive(Debug)]
pub struct AdminConfig {
    /// `DSN`: the database. Must be set; standalone supplies its own.
    pub database: DatabaseUrl,
    /// `AUTO_MIGRATE`: bring the schema up to date at the start, else refuse to start when steps are pending.
    /// Default: true.
    pub auto_migrate: bool,
    /// `ADMIN_TOKEN`: the admin's bearer token. Must be set; standalone makes one.
    pub admin_token: Secret,
    /// `HUB_SECRET_KEY`: seals every stored secret. Must be set; standalone makes one. Shared, because in one process
    /// the gateway opens what is sealed here.
    pub hub_key: Arc<HubKey>,
    /// `ADMIN_LISTEN`: address of the admin API. Default `127.0.0.1:23001`.
    pub listen: SocketAddr,
    /// `DB_POOL_MAX`: the most database connections; on SQLite the most readers (there is one writer). Default 10.
    pub pool_max: u32,
    /// `TZ`: the IANA name of the zone whose clock schedules go by, unless an admin sets one (`timezone`). Default: UTC.
    pub timezone: Zone,
    /// `SESSION_TTL`: seconds that a conversation counts as running after its last request; as the gateways are told it.
    /// Default 300.
    pub session_ttl: Duration,
    /// `UPSTREAM_CA_FILE`: PEM file with the certificate authorities that providers are checked against when they are
    /// tested, instead of the system's; as the gateways are told it.
    pub upstream_ca_file: Option<PathBuf>,
}

/// Where the database is.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// A server; the URL may hold a password.
    Postgres(Secret),
    /// A file.
    Sqlite(PathBuf),
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postgres(_) => f.write_str("postgres://***"),
            Self::Sqlite(path) => write!(f, "sqlite://{}", path.display()),
        }
    }
}

impl AdminConfig {
    /// Reads all variables; `None` after problems, which are left in `vars`.
    pub fn read(vars: &mut Vars<'_>) -> Option<Self> {
        // All are read before the first that is not there ends it: one start shows all problems.
        let database = vars.required_secret("DSN", DATABASES, parse_dsn);
        let auto_migrate = vars.read("AUTO_MIGRATE", true, FLAG_ALLOWED, parse_flag);
        let admin_token =
            vars.required_secret("ADMIN_TOKEN", "16 to 256 visible ASCII characters", parse_token);
        let hub_key = vars.required_secret("HUB_SECRET_KEY", HUB_KEYS, |t| HubKey::parse(t).map(Arc::new));
        let listen = vars.read("ADMIN_LISTEN", DEFAULT_LISTEN, LISTEN_ALLOWED, parse_listen);
        let pool_max = vars.read("DB_POOL_MAX", 10, "a whole number from 2 to 200", |t| {
            t.parse().ok().filter(|n| (2..=200).contains(n))
        });
        let timezone = vars.read("TZ", Zone::default(), ZONES, parse_zone);
        let session_ttl =
            vars.read("SESSION_TTL", DEFAULT_SESSION_TTL, SESSION_TTL_ALLOWED, parse_session_ttl);
        let upstream_ca_file = vars.optional("UPSTREAM_CA_FILE", CA_FILE_ALLOWED, parse_ca_file);
        Some(Self {
            database: database?,
            auto_migrate,
            admin_token: admin_token?,
            hub_key: hub_key?,
            listen,
            pool_max,
            timezone,
            session_ttl,
            upstream_ca_file,
        })
    }
}

fn parse_token(text: &str) -> Option<Secret> {
    let is_long_enough = (16..=256).contains(&text.len());
    (is_long_enough && text.bytes().all(|b| b.is_ascii_graphic())).then(|| Secret::new(text))
}

fn parse_dsn(text: &str) -> Option<DatabaseUrl> {
    if let Some(path) = text.strip_prefix("sqlite://").or_else(|| text.strip_prefix("sqlite:")) {
        // A database in memory would be another one for each connection.
        let is_file = !path.is_empty() && !path.contains(":memory:") && !path.contains('?');
        return is_file.then(|| DatabaseUrl::Sqlite(PathBuf::from(path)));
    }
    let text = text.replacen("postgresql://", "postgres://", 1);
    let url = url::Url::parse(&text).ok()?;
    let has_name = url.path().len() > 1 && !url.path()[1..].contains('/');
    (url.scheme() == "postgres" && has_name).then(|| DatabaseUrl::Postgres(Secret::new(text)))
}

/// As the C library takes it: a name, or the path of a zone's file. The machine's own file says no name; it is UTC then.
fn parse_zone(text: &str) -> Option<Zone> {
    let text = text.strip_prefix(':').unwrap_or(text);
    if text == "/etc/localtime" {
        return Some(Zone::default());
    }
    Zone::parse(text.strip_prefix("/usr/share/zoneinfo/").unwrap_or(text))
}

const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 23001);
const DATABASES: &str = "postgres://user:password@host:5432/name or sqlite:///path/to/file";
const ZONES: &str = "the IANA name of a time zone, such as Europe/Berlin or UTC";
const HUB_KEYS: &str = "64 hex characters (openssl rand -hex 32)";

#[cfg(test)]
mod tests {
    use super::*;
    use shared::vars::VarProblem;

    const TOKEN: &str = "0123456789abcdef";

    fn read(set: &[(&str, &str)]) -> Result<AdminConfig, Vec<VarProblem>> {
        let lookup =
            |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let mut vars = Vars::new(&lookup);
        let config = AdminConfig::read(&mut vars);
        vars.finish_required(config)
    }

    fn with(name: &str, value: &str) -> Result<AdminConfig, Vec<VarProblem>> {
        let key = "ab".repeat(32);
        let mut set = vec![("DSN", "sqlite://hub.db"), ("ADMIN_TOKEN", TOKEN), ("HUB_SECRET_KEY", &key)];
        set.retain(|(known, _)| *known != name);
        set.push((name, value));
        read(&set)
    }

    #[test]
    fn what_is_not_set_has_its_documented_default() {
        let config = with("AUTO_MIGRATE", "").unwrap();
        assert!(config.auto_migrate);
        assert_eq!(config.listen, "127.0.0.1:23001".parse().unwrap());
        assert_eq!(config.pool_max, 10);
        assert_eq!(config.timezone.name(), "UTC");
        assert_eq!(config.database, DatabaseUrl::Sqlite("hub.db".into()));
    }

    #[test]
    fn all_problems_are_told_at_once_one_line_each() {
        let problems = read(&[("ADMIN_LISTEN", "no\nwhere"), ("DB_POOL_MAX", "0")]).unwrap_err();
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(lines.len(), 5, "{lines:?}");
        for start in [
            "DSN is not set: expected postgres://",
            "ADMIN_TOKEN is not set: expected 16 to 256",
            "HUB_SECRET_KEY is not set: expected 64 hex",
            "ADMIN_LISTEN=\"no\\nwhere\" is not allowed: expected an address",
            "DB_POOL_MAX=\"0\" is not allowed: expected a whole number from 2 to 200",
        ] {
            assert_eq!(lines.iter().filter(|l| l.starts_with(start)).count(), 1, "{start}: {lines:?}");
        }
        assert!(lines.iter().all(|line| line.lines().count() == 1), "{lines:?}");
    }

    #[test]
    fn a_secrets_value_is_never_shown() {
        for (name, value) in [
            ("ADMIN_TOKEN", "short-secret"),
            ("HUB_SECRET_KEY", "not-hex-secret"),
            ("DSN", "mysql://u:secret@h/x"),
        ] {
            let text = with(name, value).unwrap_err()[0].to_string();
            assert!(text.starts_with(name) && !text.contains("secret@") && !text.contains(value), "{text}");
        }
        let config = with("DSN", "postgres://u:secret@localhost/hub").unwrap();
        assert!(!format!("{config:?}").contains("secret@"));
        assert!(!format!("{config:?}").contains(TOKEN));
    }

    #[test]
    fn each_value_is_held_to_what_is_allowed() {
        for (name, value) in [
            ("DSN", "sqlite::memory:"),
            ("DSN", "postgres://localhost"),
            ("DSN", "hub.db"),
            ("AUTO_MIGRATE", "maybe"),
            ("ADMIN_TOKEN", "with a blank in it"),
            ("ADMIN_LISTEN", "localhost"),
            ("DB_POOL_MAX", "201"),
            ("TZ", "CET-1CEST"),
            ("TZ", "Mars/Olympus"),
        ] {
            assert!(with(name, value).is_err(), "{name}={value}");
        }
        assert_eq!(with("ADMIN_LISTEN", ":80").unwrap().listen, "0.0.0.0:80".parse().unwrap());
        assert!(!with("AUTO_MIGRATE", "OFF").unwrap().auto_migrate);
        assert!(with("DSN", "postgresql://u@localhost/hub").is_ok());
        for (value, name) in [
            ("asia/shanghai", "Asia/Shanghai"),
            (":Europe/Berlin", "Europe/Berlin"),
            ("/usr/share/zoneinfo/Europe/Berlin", "Europe/Berlin"),
            (":/etc/localtime", "UTC"),
        ] {
            assert_eq!(with("TZ", value).unwrap().timezone.name(), name);
        }
    }
}
