//! What the gateway can be told by its environment: one struct, one reader.

pub use crate::circuits::prober::Probing;

use crate::journal::JournalConfig;
use egress::{CA_FILE_ALLOWED, parse_ca_file};
use shared::rules::breaker::Policy;
use shared::rules::gate::THINKING_IDLE_MS;
use shared::rules::quota::outage::OutagePolicy;
use shared::secret::HubKey;
use shared::vars::{
    DEFAULT_SESSION_TTL, FLAG_ALLOWED, LISTEN_ALLOWED, SESSION_TTL_ALLOWED, Vars, parse_flag, parse_listen,
    parse_session_ttl,
};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// The gateway's configuration. Each field names its variable, unit and default.
#[derive(Debug)]
pub struct GatewayConfig {
    /// Where things listen.
    pub listen: Listen,
    /// `TRUSTED_PROXIES`: comma-separated addresses or networks whose `X-Forwarded-For` is believed. Default: none.
    pub trusted_proxies: TrustedProxies,
    /// How much the process may take.
    pub limits: Limits,
    /// `STREAM_KEEP_ALIVE_SECS`: seconds of silence after which a seat that waits for a stream gets a sign of life; 0 = it
    /// gets none. Default 15.
    pub stream_keep_alive: Option<Duration>,
    /// `STREAM_THINKING_IDLE_SECS`: seconds that a stream may make no progress while its model thinks, where its provider's own
    /// limit is shorter. Default 900.
    pub thinking_idle: Duration,
    /// How long a seat may take nothing of what it is sent before it counts as gone. Not a variable: a minute, for all.
    pub write_deadline: Duration,
    /// `SESSION_TTL`: seconds that a conversation stays with its provider after its last turn. Default 300.
    pub session_ttl: Duration,
    /// `ENABLE_CIRCUIT_BREAKER_ON_NETWORK_ERRORS`: failures of the network count against a provider. Default false.
    pub circuits: Policy,
    /// `ENABLE_SMART_PROBING`: providers whose breakers are open are asked small questions, so that they come back before
    /// their time. Default false: a question costs tokens.
    pub probing: Option<Probing>,
    /// `REDIS_OUTAGE_POLICY`: what budgets do while Redis does not answer: `bounded`, `open` or `closed`. Default `bounded`.
    pub outage_policy: OutagePolicy,
    /// `UPSTREAM_CA_FILE`: PEM file with the certificate authorities that providers are checked against,
    /// *instead of* the system's. Default: the system's.
    pub upstream_ca_file: Option<PathBuf>,
    /// Where requests are written down.
    pub journal: JournalConfig,
    /// Where the last configuration is kept, for a start with nobody to ask. Not a variable: the process that has a
    /// directory of its own says so. Default: nowhere.
    pub snapshot_file: Option<PathBuf>,
    /// `HUB_SECRET_KEY`: 64 hex characters; opens the sealed provider secrets. Standalone makes its own.
    pub hub_key: Option<HubKey>,
}

/// Where things listen.
#[derive(Debug, Clone)]
pub struct Listen {
    /// `GATEWAY_LISTEN`: address for the seats. Default `0.0.0.0:23000`.
    pub gateway: SocketAddr,
    /// `OPS_LISTEN`: address for `/live`, `/ready`, `/metrics`. Default `127.0.0.1:23002`.
    pub ops: SocketAddr,
}

/// How much the process may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// `BODY_MEMORY_MB`: MiB of request bodies held at a time. Default 1024.
    pub body_memory_bytes: usize,
    /// `GATEWAY_THREADS`: worker threads. Default: the number of cores.
    pub threads: usize,
    /// `DRAIN_DELAY_SECS`: seconds between "not ready" and closed listeners at a stop. Default 0.
    pub drain_delay: Duration,
    /// `SHUTDOWN_GRACE_SECS`: seconds that running streams may take at a stop. Default 600.
    pub shutdown_grace: Duration,
    /// `CONFIG_MAX_AGE_SECS`: seconds after which a configuration that nobody confirmed is not believed any more;
    /// requests are then refused with `config_stale`. Default 86400.
    pub config_max_age: Duration,
}

impl GatewayConfig {
    /// Reads all variables; problems are left in `vars`.
    pub fn read(vars: &mut Vars<'_>) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let secs = |text: &str| text.parse().ok().filter(|s| *s <= 86_400).map(Duration::from_secs);
        Self {
            listen: Listen {
                gateway: vars.read("GATEWAY_LISTEN", DEFAULT_LISTEN, LISTEN_ALLOWED, parse_listen),
                ops: vars.read("OPS_LISTEN", DEFAULT_OPS_LISTEN, LISTEN_ALLOWED, parse_listen),
            },
            trusted_proxies: vars.read(
                "TRUSTED_PROXIES",
                TrustedProxies::default(),
                "addresses or networks such as 10.0.0.0/8, separated by commas",
                TrustedProxies::parse,
            ),
            limits: Limits {
                body_memory_bytes: vars.read(
                    "BODY_MEMORY_MB",
                    1024 << 20,
                    "a whole number of MiB from 128 to 1048576",
                    |t| t.parse().ok().filter(|mb| (128..=1 << 20).contains(mb)).map(|mb: usize| mb << 20),
                ),
                threads: vars.read("GATEWAY_THREADS", cores, "a whole number from 1 to 1024", |t| {
                    t.parse().ok().filter(|n| (1..=1024).contains(n))
                }),
                drain_delay: vars.read("DRAIN_DELAY_SECS", Duration::ZERO, SECONDS, secs),
                shutdown_grace: vars.read("SHUTDOWN_GRACE_SECS", Duration::from_secs(600), SECONDS, secs),
                config_max_age: vars.read(
                    "CONFIG_MAX_AGE_SECS",
                    Duration::from_secs(86_400),
                    "a whole number of seconds from 60 to 31536000",
                    |t| {
                        let secs = t.parse().ok().filter(|s| (60..=31_536_000).contains(s));
                        secs.map(Duration::from_secs)
                    },
                ),
            },
            stream_keep_alive: vars.read(
                "STREAM_KEEP_ALIVE_SECS",
                Some(Duration::from_secs(15)),
                "a whole number of seconds from 0 to 300",
                |t| {
                    let secs = t.parse().ok().filter(|s| *s <= 300)?;
                    Some((secs > 0).then(|| Duration::from_secs(secs)))
                },
            ),
            thinking_idle: vars.read(
                "STREAM_THINKING_IDLE_SECS",
                Duration::from_millis(THINKING_IDLE_MS),
                "a whole number of seconds from 1 to 86400",
                |text| secs(text).filter(|idle| !idle.is_zero()),
            ),
            write_deadline: WRITE_DEADLINE,
            session_ttl: vars.read(
                "SESSION_TTL",
                DEFAULT_SESSION_TTL,
                SESSION_TTL_ALLOWED,
                parse_session_ttl,
            ),
            circuits: Policy {
                counts_network_errors: vars.read(
                    "ENABLE_CIRCUIT_BREAKER_ON_NETWORK_ERRORS",
                    false,
                    FLAG_ALLOWED,
                    parse_flag,
                ),
            },
            probing: read_probing(vars),
            outage_policy: vars.read(
                "REDIS_OUTAGE_POLICY",
                OutagePolicy::default(),
                "bounded, open or closed",
                OutagePolicy::parse,
            ),
            journal: JournalConfig {
                root: None,
                total_bytes: vars.read(
                    "JOURNAL_MAX_MB",
                    4096 << 20,
                    "a whole number of MiB from 64 to 1048576",
                    |t| t.parse().ok().filter(|mb| (64..=1 << 20).contains(mb)).map(|mb: u64| mb << 20),
                ),
            },
            snapshot_file: None,
            upstream_ca_file: vars.optional("UPSTREAM_CA_FILE", CA_FILE_ALLOWED, parse_ca_file),
            hub_key: vars.secret("HUB_SECRET_KEY", "64 hex characters (openssl rand -hex 32)", HubKey::parse),
        }
    }
}

fn read_probing(vars: &mut Vars<'_>) -> Option<Probing> {
    let ms = |text: &str, allowed: RangeInclusive<u64>| {
        text.parse().ok().filter(|ms| allowed.contains(ms)).map(Duration::from_millis)
    };
    let is_wanted = vars.read("ENABLE_SMART_PROBING", false, FLAG_ALLOWED, parse_flag);
    let probing = Probing {
        interval: vars.read(
            "PROBE_INTERVAL_MS",
            Duration::from_secs(10),
            "a whole number of milliseconds from 1000 to 3600000",
            |text| ms(text, 1_000..=3_600_000),
        ),
        timeout: vars.read(
            "PROBE_TIMEOUT_MS",
            Duration::from_secs(5),
            "a whole number of milliseconds from 500 to 120000",
            |text| ms(text, 500..=120_000),
        ),
    };
    is_wanted.then_some(probing)
}

/// Networks whose `X-Forwarded-For` is believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<Network>);

impl TrustedProxies {
    /// Reads addresses and networks separated by commas; `None` when one of them is neither.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let parts = text.split(',').map(str::trim).filter(|p| !p.is_empty());
        parts.map(Network::parse).collect::<Option<Vec<_>>>().map(Self)
    }

    /// The seat's address: the socket's, or, when that is a trusted proxy, the last one in
    /// `forwarded_for` that is not.
    #[must_use]
    pub fn client_ip(&self, socket: IpAddr, forwarded_for: Option<&str>) -> IpAddr {
        if !self.contains(socket) {
            return socket;
        }
        let hops = forwarded_for.unwrap_or_default().rsplit(',').map(str::trim);
        let mut nearest = socket;
        for hop in hops {
            let Some(address) = parse_hop(hop) else { break };
            nearest = address;
            if !self.contains(address) {
                break;
            }
        }
        nearest
    }

    fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse::<u8>().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let widest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(widest);
        (prefix <= widest).then_some(Self { address, prefix })
    }

    fn contains(&self, other: IpAddr) -> bool {
        match (self.address, other.to_canonical()) {
            (IpAddr::V4(mine), IpAddr::V4(other)) => {
                let shift = 32_u32.saturating_sub(u32::from(self.prefix));
                (u64::from(mine.to_bits()) >> shift) == (u64::from(other.to_bits()) >> shift)
            }
            (IpAddr::V6(mine), IpAddr::V6(other)) => {
                let shift = 128_u32.saturating_sub(u32::from(self.prefix));
                mine.to_bits().checked_shr(shift) == other.to_bits().checked_shr(shift)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// `1.2.3.4`, `1.2.3.4:5678`, `::1`, `[::1]`, `[::1]:5678`.
fn parse_hop(hop: &str) -> Option<IpAddr> {
    let bare = hop.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(hop);
    bare.parse().ok().or_else(|| hop.parse::<SocketAddr>().ok().map(|a| a.ip()))
}

const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 23000);
const DEFAULT_OPS_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 23002);
/// A client that takes nothing for this long is gone.
const WRITE_DEADLINE: Duration = Duration::from_secs(60);
const SECONDS: &str = "a whole number of seconds from 0 to 86400";

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn only_a_trusted_peer_can_name_another_address() {
        let trusted = TrustedProxies::parse("10.0.0.0/8, fd00::/8, 127.0.0.1").unwrap();
        assert_eq!(trusted.client_ip(ip("8.8.8.8"), Some("1.2.3.4")), ip("8.8.8.8"));
        assert_eq!(trusted.client_ip(ip("10.1.1.1"), Some("6.6.6.6, 1.2.3.4, 10.2.2.2")), ip("1.2.3.4"));
        assert_eq!(trusted.client_ip(ip("127.0.0.1"), Some("1.2.3.4:5678")), ip("1.2.3.4"));
        assert_eq!(trusted.client_ip(ip("fd00::1"), Some("[2001:db8::1]:443")), ip("2001:db8::1"));
        assert_eq!(trusted.client_ip(ip("::ffff:10.1.1.1"), Some("1.2.3.4")), ip("1.2.3.4"));
        assert_eq!(trusted.client_ip(ip("10.1.1.1"), Some("garbage")), ip("10.1.1.1"));
        assert_eq!(trusted.client_ip(ip("10.1.1.1"), None), ip("10.1.1.1"));
    }

    #[test]
    fn networks_have_a_sane_width() {
        assert_eq!(TrustedProxies::parse("10.0.0.0/33"), None);
        assert_eq!(TrustedProxies::parse("ten"), None);
        assert!(TrustedProxies::parse("0.0.0.0/0, ::/0").unwrap().contains(ip("9.9.9.9")));
    }

    #[test]
    fn a_file_without_authorities_is_refused_by_name() {
        let directory = std::env::temp_dir();
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        for wrong in [directory.to_str().unwrap(), manifest, "/nowhere/ca.pem"] {
            let lookup = |name: &str| (name == "UPSTREAM_CA_FILE").then(|| wrong.to_owned());
            let mut vars = Vars::new(&lookup);
            let config = GatewayConfig::read(&mut vars);
            let problems = vars.finish(config).unwrap_err();
            assert_eq!(problems[0].name(), "UPSTREAM_CA_FILE", "{wrong}");
        }
    }

    #[test]
    fn nobody_is_probed_unless_that_is_wanted_and_its_times_are_checked_all_the_same() {
        let read = |given: &[(&str, &str)]| {
            let lookup = |name: &str| given.iter().find(|(known, _)| *known == name).map(|g| g.1.to_owned());
            let mut vars = Vars::new(&lookup);
            let config = GatewayConfig::read(&mut vars);
            vars.finish(config.probing).map_err(|problems| problems[0].name())
        };
        assert_eq!(read(&[]), Ok(None));
        let probing = |interval, timeout| {
            let ms = Duration::from_millis;
            Ok(Some(Probing { interval: ms(interval), timeout: ms(timeout) }))
        };
        let wanted = ("ENABLE_SMART_PROBING", "true");
        assert_eq!(read(&[wanted]), probing(10_000, 5_000));
        let others = [wanted, ("PROBE_INTERVAL_MS", "1000"), ("PROBE_TIMEOUT_MS", "120000")];
        assert_eq!(read(&others), probing(1_000, 120_000));
        assert_eq!(read(&[("PROBE_INTERVAL_MS", "999")]), Err("PROBE_INTERVAL_MS"));
        assert_eq!(read(&[("PROBE_TIMEOUT_MS", "5s")]), Err("PROBE_TIMEOUT_MS"));
    }

    #[test]
    fn wrong_values_are_named_with_what_is_allowed() {
        let lookup = |name: &str| (name == "BODY_MEMORY_MB").then(|| "12".to_owned());
        let mut vars = Vars::new(&lookup);
        let config = GatewayConfig::read(&mut vars);
        let problems = vars.finish(config).unwrap_err();
        assert_eq!(
            problems[0].to_string(),
            "BODY_MEMORY_MB=\"12\" is not allowed: expected a whole number of MiB from 128 to 1048576"
        );
    }
}
