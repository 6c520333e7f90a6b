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
    child: Option<Child>,
    directory: TempDir,
    is_durable: bool,
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
    #[must_use]
    pub fn dsn(&self, database: &str) -> String {
        format!("postgres://postgres@localhost/{database}?host={}", self.directory.path().display())
    }

    /// A server of the caller's own.
    #[must_use]
    pub fn start() -> Self {
        Self::start_as(false)
    }

    /// The same, and what it commits is on the disk, as in service: for figures, tests have no use for it.
    #[must_use]
    pub fn start_durable() -> Self {
        Self::start_as(true)
    }

    fn start_as(is_durable: bool) -> Self {
        let bin = bin_directory();
        let directory = tempfile::Builder::new().prefix("cch-pg-").tempdir().unwrap();
        give_to_postgres(directory.path());
        run(as_postgres(Path::new("cp")).arg("-a").arg(template(&bin)).arg(directory.path().join("data")));
        let mut server = Self { child: None, directory, is_durable };
        server.start_server();
        server
    }

    /// Starts the server again on the data it had.
    pub fn start_server(&mut self) {
        let directory = self.directory.path();
        let mut server = as_postgres(&bin_directory().join("postgres"));
        server.arg("-D").arg(directory.join("data")).arg("-k").arg(directory);
        let hasty = ["fsync=off", "full_page_writes=off", "synchronous_commit=off"];
        let hasty = if self.is_durable { &[][..] } else { &hasty };
        for setting in ["listen_addresses=", "shared_buffers=16MB", "max_connections=200"].iter().chain(hasty)
        {
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
        self.child = Some(child);
    }

    /// Ends the server with all its connections, at once but in good order: its data stay.
    pub fn stop_server(&mut self) {
        self.end("-INT");
    }

    /// Ends the server as a crash of it would: what it has in memory alone is gone, and its next start recovers.
    pub fn crash_server(&mut self) {
        self.end("-QUIT");
    }

    /// Stops the server and its connections where they are; nothing answers.
    pub fn pause(&self) {
        self.signal_all("-STOP");
    }

    /// Lets them go on.
    pub fn resume(&self) {
        self.signal_all("-CONT");
    }

    fn signal_all(&self, signal: &str) {
        let server = self.child.as_ref().unwrap().id();
        let send =
            |id: u32| Command::new("kill").args([signal, &id.to_string()]).stderr(Stdio::null()).status();
        // Stopped first and woken last, it starts no connection in between that would be missed.
        if signal == "-STOP" {
            send(server).unwrap();
        }
        for child in children(server) {
            // One may have ended by itself.
            let _ = send(child);
        }
        if signal == "-CONT" {
            send(server).unwrap();
        }
    }

    fn end(&mut self, signal: &str) {
        if let Some(mut child) = self.child.take() {
            let _ = Command::new("kill").arg(signal).arg(child.id().to_string()).status();
            let _ = child.wait();
        }
    }

    /// Runs SQL in a database as its superuser; answers what `psql` prints, bare.
    #[must_use]
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let psql = tool("psql");
        run(as_postgres(&psql).args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql]).arg(self.dsn(database)))
    }

    /// Everything in a database as SQL.
    #[must_use]
    pub fn dump(&self, database: &str) -> String {
        run(as_postgres(&tool("pg_dump")).arg(self.dsn(database)))
    }

    /// From now on this user must know this password; `postgres` is let in as before.
    pub fn make_user(&self, user: &str, password: &str) {
        let file = self.directory.path().join("data/pg_hba.conf");
        std::fs::write(file, format!("local all {user} scram-sha-256\nlocal all all trust\n")).unwrap();
        let _ = self.sql("postgres", &format!("CREATE ROLE {user} LOGIN SUPERUSER PASSWORD '{password}'"));
        let _ = self.sql("postgres", "SELECT pg_reload_conf()");
    }

    /// The directory of its socket, for the DSN of another user.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGQUIT: stops at once and cleans its shared memory up.
        self.end("-QUIT");
    }
}

fn children(parent: u32) -> Vec<u32> {
    let is_child = |stat: &str| {
        // pid (name) state parent …
        let behind_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        behind_name.split_whitespace().nth(1) == Some(parent.to_string().as_str())
    };
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| std::fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| is_child(&stat)))
        .collect()
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

/// Where the server's own programs are, which belong together.
fn bin_directory() -> PathBuf {
    let found = candidates().into_iter().find(|d| d.join("initdb").exists() && d.join("postgres").exists());
    found.expect("no initdb and postgres in PATH or /usr/lib/postgresql/*/bin: install postgresql")
}

/// A client program, which may be elsewhere.
fn tool(name: &str) -> PathBuf {
    let found = candidates().into_iter().map(|directory| directory.join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("no {name} in PATH or /usr/lib/postgresql/*/bin: install postgresql"))
}

fn candidates() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    candidates.extend(debian.map(|version| version.path().join("bin")));
    candidates
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
