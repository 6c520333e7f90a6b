//! Starts the binary on free ports and reads what it prints.

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{Instant, timeout};

pub const PATIENCE: Duration = Duration::from_secs(60);
pub const ADMIN_TOKEN: &str = "a-token-for-tests-only-0123456789";

/// The binary with a clean environment.
pub fn command(data_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_claude-code-hub"));
    command.env_clear().env("DATA_DIR", data_dir).kill_on_drop(true);
    for name in ["GATEWAY_LISTEN", "ADMIN_LISTEN", "OPS_LISTEN"] {
        command.env(name, "127.0.0.1:0");
    }
    command
}

/// A running hub.
pub struct Hub {
    child: Child,
    stdout: Lines<BufReader<ChildStdout>>,
    pub printed: Vec<String>,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Hub {
    /// Starts and waits until it says that it runs.
    pub async fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the binary starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut printed = Vec::new();
        let read = async {
            while !printed.last().is_some_and(|line: &String| line.starts_with("Ctrl-C stops it")) {
                printed.push(stdout.next_line().await.expect("readable").expect("it says that it runs"));
            }
        };
        timeout(PATIENCE, read).await.expect("a start in time");
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { child, stdout, printed, client }
    }

    /// The word behind a label in the greeting.
    pub fn word_after(&self, label: &str) -> String {
        let line = self.printed.iter().find(|l| l.contains(label)).expect(label);
        let rest = line.split_once(label).expect("the label").1;
        rest.split_whitespace().next().expect("a word").to_owned()
    }

    pub fn seats(&self) -> String {
        self.word_after("seats ")
    }

    pub fn admin(&self) -> String {
        self.word_after("Swagger UI: ").trim_end_matches(')').trim_end_matches("/swagger-ui/").to_owned()
    }

    pub async fn call(
        &self,
        method: Method,
        url: &str,
        token: &str,
        body: Option<Value>,
    ) -> Response<Incoming> {
        let request = Request::builder()
            .method(method)
            .uri(url)
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .body(Full::new(body.map(|b| Bytes::from(b.to_string())).unwrap_or_default()))
            .unwrap();
        timeout(PATIENCE, self.client.request(request)).await.expect("an answer in time").expect("an answer")
    }

    pub async fn admin_json(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let answer = self.call(method, &format!("{}{path}", self.admin()), ADMIN_TOKEN, body).await;
        let status = answer.status();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(status.is_success(), "{path}: {status}: {}", String::from_utf8_lossy(&bytes));
        serde_json::from_slice(&bytes).unwrap_or(Value::Null)
    }

    /// The log, once it has `count` rows.
    pub async fn log_rows(&self, count: usize) -> Vec<Value> {
        let until = Instant::now() + PATIENCE;
        loop {
            let page = self.admin_json(Method::GET, "/api/v1/logs", None).await;
            let items = page["items"].as_array().expect("a page").clone();
            if items.len() >= count {
                return items;
            }
            assert!(Instant::now() < until, "{count} log rows in time: {page}");
            tokio::task::yield_now().await;
        }
    }

    pub fn terminate(&self) {
        let pid = i32::try_from(self.child.id().expect("it runs")).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
    }

    pub async fn ended(mut self) -> ExitStatus {
        while let Ok(Some(_)) = self.stdout.next_line().await {}
        timeout(PATIENCE, self.child.wait()).await.expect("an end in time").expect("a status")
    }
}
