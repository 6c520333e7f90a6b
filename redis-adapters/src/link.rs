//! One connection to Redis: calls with a deadline, behind a breaker, back without a restart.
//!
//! Failure policy: a call that is not answered in time, or finds no connection, fails and counts for the breaker
//! ([`shared::rules::link`]); while that is open, calls fail at once. A call that Redis answers with an error is an
//! answer: it fails with [`PortError::Refused`] and opens nothing. Nothing is sent twice by itself, but for a script that Redis
//! does not have: then nothing was done.

use crate::config::{ConfigError, RedisConfig};
use crate::connection::{Upkeep, connect};
use crate::telemetry::{CallResult, LinkMetrics};
use async_trait::async_trait;
use bytes::Bytes;
use fred::bytes_utils::Str;
use fred::clients::Client;
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, LuaInterface};
use fred::types::Value;
use fred::types::config::Options;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use shared::contract::scripts::ScriptCall;
use shared::ports::{MetricsPart, PortError};
use shared::rules::link::{CallError, LinkBreaker, is_answer};
use shared::time::UnixMillis;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// A connection that looks after itself. Lives on the runtime it was opened on; calls may come from any.
pub struct Link {
    client: Client,
    breaker: Mutex<LinkBreaker>,
    began: Instant,
    address: String,
    scripts: Names,
    /// Redis's last answer was an error: told once, not with each call.
    is_refusing: AtomicBool,
    /// What is counted.
    metrics: LinkMetrics,
    upkeep: Upkeep,
}

impl Link {
    /// Begins to connect, and keeps at it. Needs the runtime that the connection will live on.
    pub fn open(config: &RedisConfig) -> Result<Arc<Self>, ConfigError> {
        let (client, upkeep) = connect(config)?;
        Ok(Arc::new(Self {
            client,
            breaker: Mutex::default(),
            began: Instant::now(),
            address: config.address(),
            scripts: Names::default(),
            is_refusing: AtomicBool::new(false),
            metrics: LinkMetrics::new()?,
            upkeep,
        }))
    }

    /// Waits until there is a connection.
    pub async fn connected(&self) {
        // In slices: a connection that comes between the client's look and its wait is seen by the next look.
        while !self.client.is_connected() {
            let _ = timeout(LOOK_AGAIN, self.client.wait_for_connect()).await;
        }
    }

    /// Ends the connection; calls fail from now on. Returns when nothing of it is left.
    pub async fn close(&self) {
        self.upkeep.close().await;
    }

    /// True while calls are refused because Redis is away.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner).is_open()
    }

    /// Runs a script.
    pub(crate) async fn eval(
        &self,
        script: &'static str,
        call: ScriptCall,
        deadline: Duration,
    ) -> Result<Value, PortError> {
        let began = self.now();
        if !self.with_breaker(|breaker| breaker.admit(began)) {
            self.count(CallResult::NotSent);
            return Err(PortError::Unavailable);
        }
        let options =
            Options { max_attempts: Some(1), timeout: Some(deadline), fail_fast: true, ..Options::default() };
        let client = self.client.with_options(&options);
        let args: Vec<Value> = call.args.into_iter().map(Value::Bytes).collect();
        let keys = call.keys;
        let name = self.scripts.name(script);
        let said = async {
            match client.evalsha(name, keys.clone(), args.clone()).await {
                // It has begun anew, or never had it: now it has.
                Err(error) if code(&error) == NO_SCRIPT => client.eval(script, keys, args).await,
                said => said,
            }
        };
        // The client's own deadline ends the call; this one holds should the client itself not answer.
        let answer = timeout(deadline + GRACE, said).await;
        match answer {
            Ok(Ok(value)) => {
                self.count(CallResult::Answered);
                self.answered();
                self.is_refusing.store(false, Ordering::Relaxed);
                Ok(value)
            }
            Ok(Err(error)) if is_answer(call_error(error.kind()), code(&error)) => {
                self.count(CallResult::Refused);
                self.answered();
                if !self.is_refusing.swap(true, Ordering::Relaxed) {
                    tracing::error!(redis = %self.address, code = code(&error), "Redis refuses");
                }
                Err(PortError::Refused)
            }
            Ok(Err(error)) => Err(self.not_answered(began, error.kind().to_str())),
            Err(_) => Err(self.not_answered(began, "Timeout Error")),
        }
    }

    fn answered(&self) {
        if self.with_breaker(LinkBreaker::succeeded) {
            tracing::info!(redis = %self.address, "Redis answers again");
        }
    }

    fn not_answered(&self, began: UnixMillis, reason: &'static str) -> PortError {
        self.count(CallResult::NotAnswered);
        let now = self.now();
        if self.with_breaker(|breaker| breaker.failed(began, now)) {
            tracing::warn!(redis = %self.address, reason, "Redis is away; going on without it");
        }
        PortError::Unavailable
    }

    fn count(&self, result: CallResult) {
        self.metrics.count(result);
    }

    fn with_breaker<T>(&self, ask: impl FnOnce(&mut LinkBreaker) -> T) -> T {
        ask(&mut self.breaker.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Of a clock that only goes forward: the breaker's pauses are no matter of the calendar.
    fn now(&self) -> UnixMillis {
        UnixMillis(i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX))
    }
}

#[async_trait]
impl MetricsPart for Link {
    async fn text(&self) -> String {
        self.metrics.text(self.is_open())
    }
}

/// What Redis calls scripts: the SHA-1 of each, made once. By where they stand in memory and how long they are: they are constants.
#[derive(Default)]
struct Names(Mutex<HashMap<(usize, usize), Str>>);

impl Names {
    fn name(&self, script: &'static str) -> Str {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.entry((script.as_ptr() as usize, script.len())).or_insert_with(|| sha1(script)).clone()
    }
}

fn sha1(script: &str) -> Str {
    let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, script.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

/// The first word of the message: Redis's code. The rest may quote what was sent.
fn code(error: &Error) -> &str {
    error.details().split_whitespace().next().unwrap_or_default()
}

fn call_error(kind: &ErrorKind) -> CallError {
    match kind {
        ErrorKind::Unknown | ErrorKind::InvalidArgument | ErrorKind::InvalidCommand | ErrorKind::NotFound => {
            CallError::Reply
        }
        ErrorKind::Auth => CallError::NotKnown,
        ErrorKind::Cluster | ErrorKind::Sentinel | ErrorKind::Routing => CallError::Elsewhere,
        ErrorKind::Config
        | ErrorKind::IO
        | ErrorKind::Url
        | ErrorKind::Protocol
        | ErrorKind::Tls
        | ErrorKind::Canceled
        | ErrorKind::Timeout
        | ErrorKind::Parse
        | ErrorKind::Backpressure => CallError::NoAnswer,
    }
}

/// The text behind a value, if it is one.
pub(crate) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.to_string()),
        Value::Bytes(bytes) => String::from_utf8(bytes.to_vec()).ok(),
        Value::Integer(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The bytes behind a value, if it is such.
pub(crate) fn bytes(value: Value) -> Option<Bytes> {
    match value {
        Value::String(text) => Some(text.into_inner()),
        Value::Bytes(bytes) => Some(bytes),
        _ => None,
    }
}

/// The items of a list; nothing at all is an empty one.
pub(crate) fn items(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(items) => Some(items),
        Value::Null => Some(Vec::new()),
        _ => None,
    }
}

/// Redis's code for a script that it does not have.
const NO_SCRIPT: &str = "NOSCRIPT";
/// How much later than its own deadline the client is given up.
const GRACE: Duration = Duration::from_millis(50);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
