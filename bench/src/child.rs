//! The measured processes: each role is this program again, told its part by arguments. It prints its
//! addresses in one line and serves until it is terminated; what it used is read from `/proc`.

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

/// A running role.
pub struct Child {
    /// Where it serves.
    pub address: SocketAddr,
    /// Where the gateway tells its metrics.
    pub ops_address: Option<SocketAddr>,
    process: tokio::process::Child,
    pid: Pid,
}

impl Child {
    /// Starts `program` with these arguments and waits for its addresses.
    pub async fn start(program: &Path, args: &[String]) -> Result<Self> {
        let mut process = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let pid =
            process.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)).context("no process id")?;
        let stdout = process.stdout.take().context("no standard output")?;
        let mut line = String::new();
        let read = timeout(START_PATIENCE, BufReader::new(stdout).read_line(&mut line)).await;
        let addresses: Vec<SocketAddr> = line.split_whitespace().filter_map(|a| a.parse().ok()).collect();
        let Some(&address) = addresses.first() else {
            let _ = kill_process(pid, Signal::TERM);
            bail!("{args:?} did not say where it serves: {read:?}");
        };
        Ok(Self { address, ops_address: addresses.get(1).copied(), process, pid })
    }

    /// CPU time of the process and its children since their start, user and system together, in seconds.
    pub fn cpu_s(&self) -> Result<f64> {
        let ticks: u64 = self.family()?.iter().map(|stat| stat.ticks).sum();
        Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }

    /// Resident memory of the process and its children, in bytes. Pages that they share count for each.
    pub fn resident_bytes(&self) -> Result<u64> {
        let mut bytes = 0;
        for stat in self.family()? {
            let status = std::fs::read_to_string(format!("/proc/{}/status", stat.pid))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
            let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
            bytes += kib << 10;
        }
        Ok(bytes)
    }

    /// Ends it and waits until it is gone.
    pub async fn stop(mut self) -> Result<()> {
        kill_process(self.pid, Signal::TERM)?;
        timeout(STOP_PATIENCE, self.process.wait()).await.context("a role does not end")??;
        Ok(())
    }

    /// The process and its children.
    fn family(&self) -> Result<Vec<Stat>> {
        let own = self.pid.as_raw_pid();
        let mut family = Vec::new();
        for entry in std::fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
            // Other processes come and go between the listing and the reading.
            let Some(stat) = Stat::read(pid) else { continue };
            if stat.pid == own || stat.parent == own {
                family.push(stat);
            }
        }
        if family.is_empty() {
            bail!("a role has ended");
        }
        Ok(family)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Gone already after `stop`. TERM, not KILL: nginx takes its workers along.
        if matches!(self.process.try_wait(), Ok(None)) {
            let _ = kill_process(self.pid, Signal::TERM);
        }
    }
}

struct Stat {
    pid: i32,
    parent: i32,
    ticks: u64,
}

impl Stat {
    fn read(pid: i32) -> Option<Self> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in brackets, may itself have brackets and blanks.
        let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(1);
        let parent = fields.next()?.parse().ok()?;
        let user: u64 = fields.nth(9)?.parse().ok()?;
        let system: u64 = fields.next()?.parse().ok()?;
        Some(Self { pid, parent, ticks: user + system })
    }
}

/// What each role does first: it ends with its parent, and may open as many files as the system lets it.
pub fn prepare() -> Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
    raise_file_limit()
}

/// Lets this process open as many files as the system allows it.
pub fn raise_file_limit() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?)
}

/// A listener on a port that the system chose, on which a thousand clients may knock at once.
pub fn listen() -> Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    // The standard library's backlog is 128; a full one resets connections.
    rustix::net::listen(&listener, BACKLOG)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Tells the parent where this role serves.
pub fn say(addresses: &[SocketAddr]) -> Result<()> {
    let line: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{}", line.join(" "))?;
    Ok(stdout.flush()?)
}

const BACKLOG: i32 = 4096;
const START_PATIENCE: Duration = Duration::from_secs(30);
const STOP_PATIENCE: Duration = Duration::from_secs(10);
