//! Where Redis is, and whom it is believed to be.

use fred::rustls::pki_types::CertificateDer;
use fred::rustls::pki_types::pem::PemObject;
use fred::rustls::{ClientConfig, RootCertStore, crypto::ring};
use fred::types::config::Config;
use shared::secret::Secret;
use shared::vars::Vars;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;
use url::Url;

/// Where Redis is. Prints as its address, without the password.
#[derive(Clone)]
pub struct RedisConfig {
    /// `REDIS_URL`: `redis://` or, with TLS, `rediss://`. Must be set.
    url: Secret,
    /// `REDIS_CA_FILE`: PEM file with the authorities that the server's certificate is checked against, *instead of*
    /// the system's. Default: the system's.
    ca_file: Option<PathBuf>,
}

/// Why Redis cannot be connected to, whatever it does.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The URL is none.
    #[error("REDIS_URL=\"***\" is not allowed: expected {URLS}")]
    Url,
    /// The file with the authorities has none.
    #[error("REDIS_CA_FILE={file:?} is not allowed: expected a readable PEM file with certificates")]
    Authorities {
        /// The file.
        file: PathBuf,
    },
    /// The system knows no authorities.
    #[error("the system has no certificate authorities: install ca-certificates or set REDIS_CA_FILE")]
    NoSystemAuthorities,
    /// TLS cannot be set up: a bug.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] fred::rustls::Error),
    /// What is counted cannot be registered: two metrics have one name, a bug.
    #[error("the metrics of the link to Redis cannot be registered: {0}")]
    Metrics(#[from] prometheus::Error),
}

impl RedisConfig {
    /// Reads the variables; `None` after problems, which are left in `vars`.
    pub fn read(vars: &mut Vars<'_>) -> Option<Self> {
        let url = vars.required_secret("REDIS_URL", URLS, |text| parse(text).map(|_| Secret::new(text)));
        let ca_file = vars.optional("REDIS_CA_FILE", "a readable PEM file", |text| {
            let path = PathBuf::from(text);
            std::fs::File::open(&path).is_ok().then_some(path)
        });
        Some(Self { url: url?, ca_file })
    }

    /// Redis at this URL, believed by the authorities in this file.
    #[must_use]
    pub fn new(url: impl Into<String>, ca_file: Option<PathBuf>) -> Self {
        Self { url: Secret::new(url), ca_file }
    }

    /// `host:port`, for people.
    #[must_use]
    pub fn address(&self) -> String {
        let Some(url) = parse(self.url.expose()) else { return "?".to_owned() };
        format!("{}:{}", url.host_str().unwrap_or("?"), url.port().unwrap_or(DEFAULT_PORT))
    }

    /// As the client wants it.
    pub(crate) fn to_fred(&self) -> Result<Config, ConfigError> {
        let url = parse(self.url.expose()).ok_or(ConfigError::Url)?;
        // TLS is set up below: the client's own way reads the system's authorities alone.
        let plain = url.as_str().replacen("rediss://", "redis://", 1);
        let mut config = Config::from_url_centralized(&plain).map_err(|_| ConfigError::Url)?;
        // Or the first connection would be tried once.
        config.fail_fast = false;
        if url.scheme() == "rediss" {
            config.tls = Some(fred::types::config::TlsConnector::from(self.tls()?).into());
        }
        Ok(config)
    }

    fn tls(&self) -> Result<ClientConfig, ConfigError> {
        let mut roots = RootCertStore::empty();
        match &self.ca_file {
            Some(file) => {
                let error = || ConfigError::Authorities { file: file.clone() };
                let (added, _) = roots.add_parsable_certificates(certificates(file).ok_or_else(error)?);
                if added == 0 {
                    return Err(error());
                }
            }
            None => {
                let system = fred::rustls_native_certs::load_native_certs();
                let (added, _) = roots.add_parsable_certificates(system.certs);
                if added == 0 {
                    return Err(ConfigError::NoSystemAuthorities);
                }
            }
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(config)
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address())
    }
}

fn certificates(file: &Path) -> Option<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_file_iter(file).ok()?.collect::<Result<_, _>>().ok()
}

fn parse(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let is_ours = matches!(url.scheme(), "redis" | "rediss") && url.host_str().is_some_and(|h| !h.is_empty());
    let database = url.path().trim_start_matches('/');
    (is_ours && (database.is_empty() || database.parse::<u8>().is_ok())).then_some(url)
}

const DEFAULT_PORT: u16 = 6379;
const URLS: &str = "redis://user:password@host:6379/0, or rediss:// with TLS";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Result<RedisConfig, String> {
        let lookup = |name: &str| (name == "REDIS_URL").then(|| url.to_owned());
        let mut vars = Vars::new(&lookup);
        let config = RedisConfig::read(&mut vars);
        vars.finish_required(config).map_err(|problems| problems[0].to_string())
    }

    #[test]
    fn a_url_is_read_and_its_password_never_shown() {
        let config = read("redis://hub:hunter2@cache.example:7000/3").unwrap();
        assert_eq!(format!("{config:?}"), "cache.example:7000");
        let fred = config.to_fred().unwrap();
        assert_eq!((fred.username.as_deref(), fred.database), (Some("hub"), Some(3)));
        assert_eq!(read("redis://localhost").unwrap().address(), "localhost:6379");
        for wrong in
            ["hunter2", "http://hunter2@host", "redis://", "redis://host/hunter2", "redis://host/999"]
        {
            let problem = read(wrong).unwrap_err();
            assert!(problem.starts_with("REDIS_URL=\"***\" is not allowed: expected redis://"), "{problem}");
        }
        assert!(read("").unwrap_err().starts_with("REDIS_URL is not set"));
    }
}
