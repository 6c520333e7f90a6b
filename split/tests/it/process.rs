//! A process under test: its log is read as it comes, and it is gone with its value.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::process::{ExitStatus, Stdio};
use testbed::PATIENCE;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::timeout;

pub const GATEWAY: &str = env!("CARGO_BIN_EXE_cch-gateway");
pub const ADMIN: &str = env!("CARGO_BIN_EXE_cch-admin");

pub struct Process {
    child: Child,
    log: watch::Receiver<Vec<String>>,
}

impl Process {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).kill_on_drop(true).spawn().expect("the binary starts");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (told, log) = watch::channel(Vec::new());
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                told.send_modify(|log| log.push(line));
            }
        });
        Self { child, log }
    }

    /// Waits for a line that holds this text; answers its fields.
    pub async fn says(&mut self, text: &str) -> Value {
        let line = |log: &[String]| log.iter().find(|line| line.contains(text)).cloned();
        let waiting = self.log.wait_for(|log| line(log).is_some());
        let found = match timeout(PATIENCE, waiting).await {
            Ok(Ok(log)) => line(&log),
            Ok(Err(_)) | Err(_) => None,
        };
        let found = found.unwrap_or_else(|| panic!("it says {text:?}: {:#?}", self.log()));
        serde_json::from_str(&found).unwrap_or(Value::String(found))
    }

    /// What it said so far.
    pub fn log(&self) -> Vec<String> {
        self.log.borrow().clone()
    }

    pub fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.id()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Waits for its end; answers its status and all it said.
    pub async fn ended(&mut self) -> (ExitStatus, Vec<String>) {
        let status = timeout(PATIENCE, self.child.wait()).await;
        let status = status.unwrap_or_else(|_| panic!("an end in time: {:#?}", self.log())).unwrap();
        // To the end of the pipe.
        while self.log.changed().await.is_ok() {}
        (status, self.log())
    }

    pub async fn stop(&mut self) -> Vec<String> {
        self.signal(Signal::TERM);
        let (status, log) = self.ended().await;
        assert!(status.success(), "{log:#?}");
        log
    }
}
