//! nginx as a streaming reverse proxy, configured for this comparison in a directory of its own.

use crate::child;
use anyhow::{Result, bail};
use rustix::io::{FdFlags, fcntl_setfd};
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The program, if this machine has it: on `PATH`, or where Debian puts it.
#[must_use]
pub fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let candidates = std::env::split_paths(&path).map(|dir| dir.join("nginx")).chain([PathBuf::from(DEBIAN)]);
    candidates.into_iter().find(|candidate| candidate.is_file())
}

/// Its version, as it tells it.
#[must_use]
pub fn version(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("-v").output().ok()?;
    let text = String::from_utf8(output.stderr).ok()?;
    text.trim().rsplit_once('/').map(|(_, version)| version.to_owned())
}

/// Becomes nginx. Returns only when that does not work.
pub fn become_nginx(program: &Path, upstream: SocketAddr, directory: &Path) -> Result<()> {
    let listener = child::listen()?;
    let address = listener.local_addr()?;
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    let config = directory.join("nginx.conf");
    std::fs::write(&config, configuration(directory, address, upstream, workers))?;

    let test =
        Command::new(program).args(["-t", "-q", "-p"]).arg(directory).arg("-c").arg(&config).status()?;
    if !test.success() {
        bail!("nginx does not take its configuration");
    }
    // nginx takes listeners over that it finds in this variable (its way of upgrading itself): so it serves on
    // a port that the system chose, and nobody can take it in between.
    fcntl_setfd(&listener, FdFlags::empty())?;
    child::say(&[address])?;
    let error = Command::new(program)
        .arg("-p")
        .arg(directory)
        .arg("-c")
        .arg(&config)
        .env("NGINX", format!("{};", listener.as_raw_fd()))
        // It announces the take-over; what would be an error was told by the test above.
        .stderr(Stdio::null())
        .exec();
    bail!(anyhow::Error::new(error).context("cannot run nginx"))
}

fn configuration(directory: &Path, address: SocketAddr, upstream: SocketAddr, workers: usize) -> String {
    let dir = directory.display();
    format!(
        "daemon off;
worker_processes {workers};
worker_rlimit_nofile 20000;
pid {dir}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    client_body_buffer_size 1m;
    client_max_body_size 100m;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    upstream fast {{
        server {upstream};
        keepalive 128;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {address} backlog=4096;
        location / {{
            proxy_pass http://fast;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_buffering off;
            proxy_read_timeout 600s;
        }}
    }}
}}
"
    )
}

const DEBIAN: &str = "/usr/sbin/nginx";
