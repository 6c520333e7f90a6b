//! A Postgres server of the tests' own, shared by the tests of one process and gone with the last of them.
//!
//! `initdb` runs once per machine and version; each server starts on a copy of what it made. As root, everything
//! runs as `postgres`: the server refuses to run as root.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, Weak};
use tempfile::TempDir;

/// A running server.
pub struct Postgres {
    child: Child,
    directory: TempDir,
}

impl Postgres {
    /// The process's server; started when nobody holds one.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start());
            *shared = Arc::downgrade(&server);
            server
        })
    }

    /// The DSN of a database on this server.
    pub fn dsn(&self, database: &str) -> String {
        format!("postgres://postgres@localhost/{database}?host={}", self.directory.path().display())
    }

    fn start() -> Self {
        let bin = bin_directory();
        let directory = tempfile::Builder::new().prefix("cch-pg-").tempdir().unwrap();
        give_to_postgres(directory.path());
        let data = directory.path().join("data");
        run(as_postgres(Path::new("cp")).arg("-a").arg(template(&bin)).arg(&data));
        let mut server = as_postgres(&bin.join("postgres"));
        server.arg("-D").arg(&data).arg("-k").arg(directory.path());
        for setting in [
            "listen_addresses=",
            "fsync=off",
            "full_page_writes=off",
            "synchronous_commit=off",
            "shared_buffers=16MB",
            "max_connections=200",
        ] {
            server.arg("-c").arg(setting);
        }
        let mut child = server.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut told = String::new();
        while !told.contains("ready to accept connections") {
            assert_ne!(log.read_line(&mut told).unwrap(), 0, "postgres did not start: {told}");
        }
        // The pipe must not fill up.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { child, directory }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGQUIT: stops at once and cleans its shared memory up.
        let _ = Command::new("kill").arg("-QUIT").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

/// What initdb made, ready to be copied.
fn template(bin: &Path) -> PathBuf {
    let version = run(Command::new(bin.join("postgres")).arg("--version"));
    let version: String = version.chars().filter(char::is_ascii_alphanumeric).collect();
    let base = std::env::temp_dir();
    let template =
        base.join(format!("cch-pg-template-{version}-{}", if is_root() { "root" } else { "user" }));
    // Many test processes start at once: one of them makes it, the others wait.
    let lock = File::create(template.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    if !template.is_dir() {
        let part = tempfile::Builder::new().prefix("cch-pg-initdb-").tempdir().unwrap();
        give_to_postgres(part.path());
        let data = part.path().join("data");
        run(as_postgres(&bin.join("initdb"))
            .args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-locale"])
            .arg("-D")
            .arg(&data));
        std::fs::rename(&data, &template).unwrap();
    }
    template
}

fn bin_directory() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    candidates.extend(debian.map(|version| version.path().join("bin")));
    let found = candidates.into_iter().find(|d| d.join("initdb").exists() && d.join("postgres").exists());
    found.expect("no initdb and postgres in PATH or /usr/lib/postgresql/*/bin: install postgresql")
}

/// A command as the user `postgres` when we are root.
fn as_postgres(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
    command
}

fn give_to_postgres(path: &Path) {
    if is_root() {
        run(Command::new("chown").arg("postgres:").arg(path));
    }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

fn run(command: &mut Command) -> String {
    let output = command.current_dir("/").output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
