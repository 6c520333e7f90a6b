//! A Redis of a test's own, and the door to it: a forwarder on a free port that can lose what the test wants lost.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::watch;
use tokio::time::Instant;

/// How long anything in a test may take before the test says so.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A server and the door to it. Both are gone with this value.
pub struct Redis {
    child: Option<Child>,
    directory: TempDir,
    /// The way to it over TCP.
    pub door: Door,
}

impl Redis {
    /// Starts a server, and the door to it.
    pub async fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("cch-redis-").tempdir().unwrap();
        let door = Door::open(directory.path().join("redis.sock"), None).await;
        let mut redis = Self { child: None, directory, door };
        redis.start_server();
        redis
    }

    /// Where the server itself listens.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("redis.sock")
    }

    /// Runs a command at the server itself.
    pub fn cli(&self, args: &[&str]) -> String {
        String::from_utf8(self.cli_bytes(args)).unwrap().trim().to_owned()
    }

    /// The same for what is no text.
    #[must_use]
    pub fn cli_bytes(&self, args: &[&str]) -> Vec<u8> {
        let output = Command::new("redis-cli").arg("-s").arg(self.socket()).args(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Ends the server at once, with all it had.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts the server again, empty.
    pub fn start_server(&mut self) {
        let mut child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--dir"])
            .arg(self.directory.path())
            .arg("--unixsocket")
            .arg(self.socket())
            .stdout(Stdio::piped())
            .spawn()
            .expect("redis-server starts: install redis-server");
        let mut log = BufReader::new(child.stdout.take().unwrap());
        let mut told = String::new();
        while !told.contains("ready to accept connections") && !told.contains("Ready to accept connections") {
            assert_ne!(log.read_line(&mut told).unwrap(), 0, "redis-server did not start: {told}");
        }
        // The pipe must not fill up.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        self.child = Some(child);
    }

    /// Stops the server where it is; connections stay open and nothing answers.
    pub fn pause(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let id = i32::try_from(self.child.as_ref().unwrap().id()).unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(id).unwrap(), signal).unwrap();
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A forwarder from TCP to the server's socket.
pub struct Door {
    /// Where it is.
    pub address: SocketAddr,
    /// While it is true, what the server says to connections that subscribed is lost.
    is_deaf: Arc<AtomicBool>,
    cuts: watch::Sender<u64>,
}

impl Door {
    /// With TLS where a server configuration is given.
    pub async fn open(socket: PathBuf, tls: Option<Arc<tokio_rustls::rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let is_deaf = Arc::new(AtomicBool::new(false));
        let cuts = watch::Sender::new(0);
        let (deaf, cut) = (is_deaf.clone(), cuts.subscribe());
        tokio::spawn(async move {
            while let Ok((seat, _)) = listener.accept().await {
                seat.set_nodelay(true).unwrap();
                let (socket, tls, deaf, mut cut) = (socket.clone(), tls.clone(), deaf.clone(), cut.clone());
                cut.borrow_and_update();
                tokio::spawn(async move {
                    let Ok(server) = UnixStream::connect(socket).await else { return };
                    let forwarding = async {
                        match tls {
                            None => forward(seat, server, deaf).await,
                            Some(tls) => {
                                let acceptor = tokio_rustls::TlsAcceptor::from(tls);
                                if let Ok(seat) = acceptor.accept(seat).await {
                                    forward(seat, server, deaf).await;
                                }
                            }
                        }
                    };
                    tokio::select! {
                        () = forwarding => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self { address, is_deaf, cuts }
    }

    /// Cuts all connections.
    pub fn cut(&self) {
        self.cuts.send_modify(|count| *count += 1);
    }
}

async fn forward(seat: impl AsyncRead + AsyncWrite, server: UnixStream, deaf: Arc<AtomicBool>) {
    let (mut from_seat, mut to_seat) = tokio::io::split(seat);
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let listens = AtomicBool::new(false);
    let there = async {
        let mut bytes = vec![0; 16 << 10];
        while let Ok(count @ 1..) = from_seat.read(&mut bytes).await {
            if bytes[..count].windows(9).any(|word| word == b"SUBSCRIBE") {
                listens.store(true, Ordering::SeqCst);
            }
            if to_server.write_all(&bytes[..count]).await.is_err() {
                break;
            }
        }
    };
    let back = async {
        let mut bytes = vec![0; 16 << 10];
        while let Ok(count @ 1..) = from_server.read(&mut bytes).await {
            let is_lost = listens.load(Ordering::SeqCst) && deaf.load(Ordering::SeqCst);
            if !is_lost && to_seat.write_all(&bytes[..count]).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = there => {}
        () = back => {}
    }
}

impl Door {
    /// Announcements are lost from now on, or not any more.
    pub fn set_deaf(&self, is_deaf: bool) {
        self.is_deaf.store(is_deaf, Ordering::SeqCst);
    }
}

/// Looks until it is so.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let until = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < until, "in time: {what}");
        tokio::task::yield_now().await;
    }
}
