//! What the control plane is told from outside: its variables, read once.
//!
//! Parsing takes a look-up function, never the process environment, so that `standalone` can supply defaults of
//! its own and tests need no globals. All problems are reported at once, one line each; a line names the
//! variable and what is allowed, and the value unless it is (or may hold) a secret.

use shared::secret::{HubKey, Secret};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use thiserror::Error;

/// One variable of the environment, for `--help` and the documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What holds when it is not set; `None` = it must be set.
    pub default: Option<&'static str>,
    /// What it does, its unit and what is allowed.
    pub meaning: &'static str,
}

/// All variables that [`AdminConfig::from_lookup`] reads.
pub const VARIABLES: [Variable; 6] = [
    Variable {
        name: "DSN",
        default: None,
        meaning: "the database: postgres://user:password@host:5432/name (made when missing and AUTO_MIGRATE is on) \
                  or sqlite:///path/to/file",
    },
    Variable {
        name: "AUTO_MIGRATE",
        default: Some("true"),
        meaning: "true: bring the schema up to date at the start; false: refuse to start when steps are pending",
    },
    Variable {
        name: "ADMIN_TOKEN",
        default: None,
        meaning: "the admin's bearer token: 16 to 256 visible ASCII characters",
    },
    Variable {
        name: "HUB_SECRET_KEY",
        default: None,
        meaning: "seals every stored secret: 64 hex characters (32 bytes)",
    },
    Variable {
        name: "ADMIN_LISTEN",
        default: Some("127.0.0.1:23001"),
        meaning: "address:port of the admin API; :port for all addresses",
    },
    Variable {
        name: "DB_POOL_MAX",
        default: Some("10"),
        meaning: "the most database connections, 2 to 200; on SQLite the most readers (there is one writer)",
    },
];

/// The control plane's configuration.
#[derive(Debug)]
pub struct AdminConfig {
    /// `DSN`.
    pub database: DatabaseUrl,
    /// `AUTO_MIGRATE`.
    pub auto_migrate: bool,
    /// `ADMIN_TOKEN`.
    pub admin_token: Secret,
    /// `HUB_SECRET_KEY`; shared, because in one process the gateway opens what is sealed here.
    pub hub_key: Arc<HubKey>,
    /// `ADMIN_LISTEN`.
    pub listen: SocketAddr,
    /// `DB_POOL_MAX`, connections.
    pub pool_max: u32,
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

/// One variable that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// It is needed and not set.
    #[error("{name} is not set: {allowed}")]
    Missing {
        /// The variable.
        name: &'static str,
        /// What it must be.
        allowed: &'static str,
    },
    /// Its value is not allowed.
    #[error("{name}={value} is not allowed: {allowed}")]
    Bad {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        allowed: &'static str,
    },
    /// Its value is not allowed, and must not be shown.
    #[error("{name} is not allowed as it is set: {allowed}")]
    BadSecret {
        /// The variable.
        name: &'static str,
        /// What it must be.
        allowed: &'static str,
    },
}

/// Everything that is wrong, one line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

impl AdminConfig {
    /// Reads all variables through `lookup`; an empty value counts as not set.
    pub fn from_lookup(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigErrors> {
        let mut reader = Reader { lookup, errors: Vec::new() };
        let database = reader.secret("DSN", parse_dsn);
        let auto_migrate = reader.plain("AUTO_MIGRATE", parse_bool);
        let admin_token = reader.secret("ADMIN_TOKEN", parse_token);
        let hub_key = reader.secret("HUB_SECRET_KEY", |text| HubKey::parse(text).map(Arc::new));
        let listen = reader.plain("ADMIN_LISTEN", parse_listen);
        let pool_max = reader.plain("DB_POOL_MAX", |t| t.parse().ok().filter(|n| (2..=200).contains(n)));
        match (database, auto_migrate, admin_token, hub_key, listen, pool_max) {
            (
                Some(database),
                Some(auto_migrate),
                Some(admin_token),
                Some(hub_key),
                Some(listen),
                Some(pool_max),
            ) => Ok(Self { database, auto_migrate, admin_token, hub_key, listen, pool_max }),
            _ => Err(ConfigErrors(reader.errors)),
        }
    }
}

/// Looks variables up and collects what is wrong with them.
struct Reader<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    errors: Vec<ConfigError>,
}

impl Reader<'_> {
    fn plain<T>(&mut self, name: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        self.read(name, parse, |name, value, allowed| ConfigError::Bad { name, value, allowed })
    }

    fn secret<T>(&mut self, name: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        self.read(name, parse, |name, _, allowed| ConfigError::BadSecret { name, allowed })
    }

    fn read<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Option<T>,
        bad: impl FnOnce(&'static str, String, &'static str) -> ConfigError,
    ) -> Option<T> {
        let Variable { name, default, meaning } = VARIABLES.into_iter().find(|v| v.name == name)?;
        let text = (self.lookup)(name).map(|t| t.trim().to_owned()).filter(|t| !t.is_empty());
        let Some(text) = text.or_else(|| default.map(str::to_owned)) else {
            self.errors.push(ConfigError::Missing { name, allowed: meaning });
            return None;
        };
        let parsed = parse(&text);
        if parsed.is_none() {
            self.errors.push(bad(name, text, meaning));
        }
        parsed
    }
}

fn parse_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

fn parse_token(text: &str) -> Option<Secret> {
    let is_long_enough = (16..=256).contains(&text.len());
    (is_long_enough && text.bytes().all(|b| b.is_ascii_graphic())).then(|| Secret::new(text))
}

fn parse_listen(text: &str) -> Option<SocketAddr> {
    match text.strip_prefix(':') {
        Some(port) => Some(SocketAddr::from(([0, 0, 0, 0], port.parse().ok()?))),
        None => text.parse().ok(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn read(set: &[(&str, &str)]) -> Result<AdminConfig, ConfigErrors> {
        AdminConfig::from_lookup(&|name| {
            set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn with(name: &str, value: &str) -> Result<AdminConfig, ConfigErrors> {
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
        assert_eq!(config.database, DatabaseUrl::Sqlite("hub.db".into()));
    }

    #[test]
    fn all_problems_are_told_at_once_one_line_each() {
        let errors = read(&[("ADMIN_LISTEN", "nowhere"), ("DB_POOL_MAX", "0")]).unwrap_err().to_string();
        let lines: Vec<&str> = errors.lines().collect();
        assert_eq!(lines.len(), 5, "{errors}");
        for name in ["DSN", "ADMIN_TOKEN", "HUB_SECRET_KEY", "ADMIN_LISTEN=nowhere", "DB_POOL_MAX=0"] {
            assert_eq!(lines.iter().filter(|l| l.starts_with(name)).count(), 1, "{name}");
        }
    }

    #[test]
    fn a_secrets_value_is_never_shown() {
        for (name, value) in [
            ("ADMIN_TOKEN", "short-secret"),
            ("HUB_SECRET_KEY", "not-hex-secret"),
            ("DSN", "mysql://u:secret@h/x"),
        ] {
            let text = with(name, value).unwrap_err().to_string();
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
        ] {
            assert!(with(name, value).is_err(), "{name}={value}");
        }
        assert_eq!(with("ADMIN_LISTEN", ":80").unwrap().listen, "0.0.0.0:80".parse().unwrap());
        assert!(!with("AUTO_MIGRATE", "OFF").unwrap().auto_migrate);
        assert!(with("DSN", "postgresql://u@localhost/hub").is_ok());
    }
}
