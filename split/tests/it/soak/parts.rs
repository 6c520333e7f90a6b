//! The parts of the shape, each with who does to it what is planned.

use super::plan::{Fault, OfAdmin, OfGateway, OfPostgres, OfRedis};
use crate::harness::{Admin, Gateway, Site};
use crate::process::{ADMIN, GATEWAY, Process};
use rustix::process::Signal;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use testbed::{Postgres, Redis, lasting_address};
use tokio::time::{Instant as At, sleep, sleep_until};

/// What was done, for the one who reads a failure.
pub type Done = Vec<String>;

/// When the round began, and what was done in it.
pub struct Diary {
    began: Instant,
    pub done: Done,
}

impl Diary {
    pub fn new(began: Instant) -> Self {
        Self { began, done: Done::new() }
    }

    async fn wait_for<K: std::fmt::Debug>(&mut self, part: &str, fault: &Fault<K>) {
        sleep_until(At::from_std(self.began + fault.at)).await;
        self.note(format!("{part}: {:?} for {:?}", fault.kind, fault.lasts));
    }

    fn note(&mut self, text: String) {
        self.done.push(format!("{:6} ms {text}", self.began.elapsed().as_millis()));
    }
}

/// A process was killed in between.
#[derive(Clone, Copy, Debug)]
pub struct Killed {
    pub from: Instant,
    pub to: Instant,
}

fn process(site: &Site, name: &str, (seats, ops): (SocketAddr, SocketAddr), arguments: &[&str]) -> Process {
    let mut command = site.command(GATEWAY, name);
    command.env("GATEWAY_LISTEN", seats.to_string()).env("OPS_LISTEN", ops.to_string());
    command.args(arguments);
    Process::start(command)
}

/// A gateway under one name and address, whichever process that is.
pub struct Node {
    pub name: &'static str,
    pub gateway: Gateway,
    pub kills: Vec<Killed>,
    site: Site,
    addresses: (SocketAddr, SocketAddr),
}

impl Node {
    pub async fn start(site: &Site, name: &'static str) -> Self {
        let addresses = (lasting_address(), lasting_address());
        let gateway = Gateway::up(process(site, name, addresses, &[])).await;
        Self { name, addresses, gateway, kills: Vec::new(), site: site.clone() }
    }

    pub fn address(&self) -> SocketAddr {
        self.addresses.0
    }

    fn process(&self, arguments: &[&str]) -> Process {
        process(&self.site, self.name, self.addresses, arguments)
    }

    async fn up(&self) -> Gateway {
        Gateway::up(self.process(&[])).await
    }

    async fn kill(&mut self) {
        let from = Instant::now();
        self.gateway.process.kill().await;
        self.kills.push(Killed { from, to: Instant::now() });
    }

    pub async fn suffer(mut self, faults: Vec<Fault<OfGateway>>, mut diary: Diary) -> (Self, Done) {
        for fault in faults {
            diary.wait_for(self.name, &fault).await;
            // A fault has its length, which the seed decides: the pauses below are that, not waiting for something.
            let lasts = fault.lasts;
            match fault.kind {
                OfGateway::Kill => {
                    self.kill().await;
                    sleep(lasts).await;
                    self.gateway = self.up().await;
                }
                OfGateway::KillTwice => {
                    self.kill().await;
                    self.gateway = self.up().await;
                    sleep(lasts / 10).await;
                    self.kill().await;
                    self.gateway = self.up().await;
                }
                OfGateway::KillStarting => {
                    self.kill().await;
                    let from = Instant::now();
                    let mut starting = self.process(&[]);
                    sleep(lasts / 5).await;
                    starting.kill().await;
                    self.kills.push(Killed { from, to: Instant::now() });
                    self.gateway = self.up().await;
                }
                OfGateway::Pause => {
                    self.gateway.process.signal(Signal::STOP);
                    sleep(lasts).await;
                    self.gateway.process.signal(Signal::CONT);
                }
                OfGateway::Restart => {
                    self.gateway.process.stop().await;
                    self.gateway = self.up().await;
                }
                OfGateway::Swap => {
                    let mut old = self.swap().await;
                    let (status, log) = old.process.ended().await;
                    assert!(status.success(), "{log:#?}");
                }
                OfGateway::SwapThenKill => {
                    let mut old = self.swap().await;
                    sleep(lasts / 4).await;
                    let from = Instant::now();
                    old.process.kill().await;
                    self.kills.push(Killed { from, to: Instant::now() });
                }
            }
            diary.note(format!("{}: over", self.name));
        }
        (self, diary.done)
    }

    /// Answers the predecessor.
    async fn swap(&mut self) -> Gateway {
        let mut new = self.process(&["--upgrade"]);
        new.says("waiting for the listeners").await;
        self.gateway.process.signal(Signal::QUIT);
        std::mem::replace(&mut self.gateway, Gateway::up(new).await)
    }
}

/// The admin side under one name.
pub struct Office {
    pub admin: Admin,
    site: Site,
}

impl Office {
    pub async fn start(site: &Site) -> Self {
        Self { admin: open(site, "admin").await, site: site.clone() }
    }

    pub async fn suffer(mut self, faults: Vec<Fault<OfAdmin>>, mut diary: Diary) -> (Self, Done) {
        for fault in faults {
            diary.wait_for("admin", &fault).await;
            let lasts = fault.lasts;
            match fault.kind {
                OfAdmin::Kill => {
                    self.admin.process.kill().await;
                    sleep(lasts).await;
                    self.admin = open(&self.site, "admin").await;
                }
                OfAdmin::Pause => {
                    self.admin.process.signal(Signal::STOP);
                    sleep(lasts).await;
                    self.admin.process.signal(Signal::CONT);
                }
                OfAdmin::Restart => {
                    self.admin.process.signal(Signal::TERM);
                    let _ = self.admin.process.ended().await;
                    self.admin = open(&self.site, "admin").await;
                }
                OfAdmin::SecondKilled => {
                    let mut second = open(&self.site, "second").await;
                    sleep(lasts * 3).await;
                    second.process.kill().await;
                }
                OfAdmin::SecondLeaves => {
                    let mut second = open(&self.site, "second").await;
                    sleep(lasts * 3).await;
                    second.process.signal(Signal::TERM);
                    let _ = second.process.ended().await;
                }
            }
            diary.note("admin: over".to_owned());
        }
        (self, diary.done)
    }
}

async fn open(site: &Site, name: &str) -> Admin {
    Admin::up(Process::start(site.command(ADMIN, name))).await
}

pub async fn redis_suffers(mut redis: Redis, faults: Vec<Fault<OfRedis>>, mut diary: Diary) -> (Redis, Done) {
    let kept = redis.socket().with_file_name("dump.rdb");
    for fault in faults {
        diary.wait_for("Redis", &fault).await;
        match fault.kind {
            OfRedis::Flush => {
                redis.cli(&["FLUSHALL"]);
            }
            OfRedis::Pause => {
                redis.pause();
                sleep(fault.lasts).await;
                redis.resume();
            }
            OfRedis::Empty => {
                redis.kill();
                sleep(fault.lasts).await;
                redis.start_server();
            }
            OfRedis::Back => {
                redis.cli(&["SAVE"]);
                sleep(fault.lasts).await;
                redis.kill();
                redis.start_server();
                std::fs::remove_file(&kept).unwrap();
            }
            OfRedis::Cut => redis.door.cut(),
        }
        diary.note("Redis: over".to_owned());
    }
    (redis, diary.done)
}

pub async fn postgres_suffers(
    mut postgres: Postgres,
    faults: Vec<Fault<OfPostgres>>,
    mut diary: Diary,
) -> (Postgres, Done) {
    for fault in faults {
        diary.wait_for("Postgres", &fault).await;
        match fault.kind {
            OfPostgres::Stop => {
                postgres.stop_server();
                sleep(fault.lasts).await;
                postgres.start_server();
            }
            OfPostgres::Crash => {
                postgres.crash_server();
                sleep(fault.lasts).await;
                postgres.start_server();
            }
            OfPostgres::Pause => {
                postgres.pause();
                sleep(fault.lasts).await;
                postgres.resume();
            }
        }
        diary.note("Postgres: over".to_owned());
    }
    (postgres, diary.done)
}

/// Two looks at something that takes its time.
pub const LOOK_EVERY: Duration = Duration::from_millis(50);
