//! Does the process beside this one live? For images, which have no curl: `cch-gateway healthcheck`.
//!
//! Reads `OPS_LISTEN` alone, and asks `/live` there and nothing else: whoever restarts what is not healthy must not
//! restart a node for being drained or for waiting for its first configuration, which is what `/ready` tells.

use crate::{fail, refuse, variables};
use shared::vars::{LISTEN_ALLOWED, Vars, parse_listen};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The subcommand: status 0 when the process beside this one lives, else 1 and the reason.
#[must_use]
pub fn run() -> ExitCode {
    let variables = variables();
    let lookup = |name: &str| variables.get(name).cloned();
    let mut vars = Vars::new(&lookup);
    let ops = vars.read("OPS_LISTEN", DEFAULT_OPS_LISTEN, LISTEN_ALLOWED, parse_listen);
    match vars.finish(ops) {
        Ok(ops) => match is_live(ops) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error.to_string(), ExitCode::FAILURE),
        },
        Err(problems) => refuse(&problems),
    }
}

/// Why it is not believed to live.
#[derive(Debug)]
pub enum NotLive {
    /// It does not answer, or too late.
    Silent {
        /// Whom we asked.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// It answers something else than 200.
    Answers {
        /// Whom we asked.
        address: SocketAddr,
        /// The beginning of its answer.
        line: String,
    },
}

impl fmt::Display for NotLive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent { address, source } => write!(f, "http://{address}/live does not answer: {source}"),
            Self::Answers { address, line } => write!(f, "http://{address}/live answers {line:?}"),
        }
    }
}

impl std::error::Error for NotLive {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Silent { source, .. } => Some(source),
            Self::Answers { .. } => None,
        }
    }
}

/// Asks the process that listens for operators on `listen` (its `OPS_LISTEN`) whether it lives.
pub fn is_live(listen: SocketAddr) -> Result<(), NotLive> {
    let address = reachable(listen);
    let line = ask(address).map_err(|source| NotLive::Silent { address, source })?;
    let mut words = line.split(' ');
    let is_http = words.next().is_some_and(|word| word.starts_with("HTTP/1."));
    if is_http && words.next() == Some("200") { Ok(()) } else { Err(NotLive::Answers { address, line }) }
}

/// Who listens on all addresses is asked on loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// The answer's first line.
fn ask(address: SocketAddr) -> io::Result<String> {
    let until = Instant::now() + DEADLINE;
    let mut stream = TcpStream::connect_timeout(&address, DEADLINE)?;
    stream.set_write_timeout(Some(DEADLINE))?;
    stream.write_all(
        format!("GET /live HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut answer = Vec::new();
    let mut part = [0; LINE_MAX];
    while !answer.contains(&b'\n') && answer.len() < LINE_MAX {
        // One deadline for all: an answer in drops must not keep it waiting.
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(read) => answer.extend_from_slice(&part[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let line = answer.split(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok(String::from_utf8_lossy(line).trim_end().to_owned())
}

const DEFAULT_OPS_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 23002);
/// Below the three seconds that the images' `HEALTHCHECK` gives.
const DEADLINE: Duration = Duration::from_secs(2);
const LINE_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    /// A process that answers `answer` to the one request it gets; what it was asked comes back.
    fn answering(answer: &'static str) -> (SocketAddr, thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            let mut part = [0; 64];
            while !asked.ends_with(b"\r\n\r\n") {
                let read = stream.read(&mut part).unwrap();
                asked.extend_from_slice(&part[..read]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(asked).unwrap()
        });
        (address, asked)
    }

    #[test]
    fn a_200_on_live_is_life() {
        let (address, asked) = answering("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nlive\n");
        is_live(address).unwrap();
        assert!(asked.join().unwrap().starts_with("GET /live HTTP/1.1\r\n"));
    }

    #[test]
    fn anything_else_is_not() {
        for answer in
            ["HTTP/1.1 503 Service Unavailable\r\n\r\n", "HTTP/1.1 2000 Odd\r\n\r\n", "SSH-2.0 200\r\n", ""]
        {
            let (address, _) = answering(answer);
            let error = is_live(address).unwrap_err();
            assert!(matches!(error, NotLive::Answers { .. }), "{answer:?}: {error}");
        }
    }

    #[test]
    fn nobody_there_is_told_with_the_address() {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = is_live(address).unwrap_err();
        assert!(
            error.to_string().starts_with(&format!("http://{address}/live does not answer: ")),
            "{error}"
        );
    }

    #[test]
    fn who_listens_everywhere_is_asked_on_loopback() {
        for (listen, asked) in
            [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:1", "[::1]:1"), ("10.0.0.1:1", "10.0.0.1:1")]
        {
            assert_eq!(reachable(listen.parse().unwrap()), asked.parse().unwrap());
        }
    }
}
