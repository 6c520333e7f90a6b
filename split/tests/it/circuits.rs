//! Breakers over the fleet: real gateways, one store, and the one whose probe is out killed.

use crate::harness::{Admin, Gateway, Shape, message, open};
use crate::process::{GATEWAY, Process};
use serde_json::{Value, json};
use simulator::{Hang, Script, Simulator, SimulatorConfig};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use testbed::{Answer, Client, eventually};
use tokio::task::JoinHandle;

/// A provider that fails, a dearer one that serves, an admin, two gateways and a seat.
struct Fleet {
    shape: Shape,
    flaky: Simulator,
    flaky_id: i64,
    admin: Admin,
    a: Gateway,
    b: Gateway,
    secret: String,
}

impl Fleet {
    async fn new(open_duration_ms: u64) -> Self {
        Self::with(open_duration_ms, &[]).await
    }

    /// Its gateways are told these besides.
    async fn with(open_duration_ms: u64, variables: &[(&str, &str)]) -> Self {
        let shape = Shape::new().await;
        let flaky = Simulator::start(SimulatorConfig::default()).await.unwrap();
        let admin = shape.admin("admin").await;
        let gateway = |name| {
            let mut command = shape.command(GATEWAY, name);
            command.envs(variables.iter().copied());
            Gateway::up(Process::start(command))
        };
        let (a, b) = (gateway("a").await, gateway("b").await);
        let made = admin
            .post(
                "/api/v1/providers",
                json!({
                    "name": "flaky", "provider_type": "claude", "url": flaky.base_url(), "key": "sk-flaky", "max_attempts": 1,
                    "circuit_breaker_failure_threshold": 1, "circuit_breaker_open_duration_ms": open_duration_ms,
                }),
            )
            .await;
        let dearer = json!({
            "name": "good", "provider_type": "claude", "url": shape.upstream.base_url(), "key": "sk-good", "priority": 9,
        });
        admin.post("/api/v1/providers", dearer).await;
        let (_, secret) = admin.make_seat("Ada").await;
        admin.in_force_on(2).await;
        Self { shape, flaky, flaky_id: made["id"].as_i64().unwrap(), admin, a, b, secret }
    }

    fn circuit_path(&self) -> String {
        format!("/api/v1/providers/{}/circuit", self.flaky_id)
    }

    async fn circuit(&self) -> Value {
        self.admin.get(&self.circuit_path()).await
    }

    async fn is(&self, state: &str) {
        eventually(state, || async { self.circuit().await["state"] == state }).await;
    }

    /// One failure opens it, and both gateways know.
    async fn is_opened(&self) {
        self.flaky.set_script(Script::failing(500));
        assert_eq!(self.a.ask(&self.secret).await.status, 200);
        self.is("open").await;
        for gateway in [&self.a, &self.b] {
            self.passes_by(gateway).await;
        }
    }

    /// Waits until a gateway does not ask the flaky one any more.
    async fn passes_by(&self, gateway: &Gateway) {
        eventually("it is passed by", || async {
            let before = self.asked();
            gateway.ask(&self.secret).await.status == 200 && self.asked() == before
        })
        .await;
    }

    /// Waits until a gateway asks the flaky one.
    async fn comes_back(&self, gateway: &Gateway) {
        eventually("it is asked", || async {
            let before = self.asked();
            gateway.ask(&self.secret).await.status == 200 && self.asked() > before
        })
        .await;
    }

    fn asked(&self) -> u64 {
        self.flaky.totals().requests
    }

    /// Questions of the gateways' own: seats' requests are no streams here.
    fn probes(&self) -> usize {
        self.flaky.served().iter().filter(|served| served.request.is_stream).count()
    }

    /// Requests that the flaky one has not answered.
    fn under_way(&self) -> usize {
        self.flaky.served().iter().filter(|served| !served.answer.ended.is_over()).count()
    }
}

/// Seats that ask a gateway all the time, whatever they are answered.
struct Crowd {
    is_over: Arc<AtomicBool>,
    seats: Vec<JoinHandle<()>>,
}

impl Crowd {
    fn at(gateways: &[&Gateway], secret: &str) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let seat = |client: Client| {
            let (is_over, secret) = (is_over.clone(), secret.to_owned());
            tokio::spawn(async move {
                while !is_over.load(Ordering::SeqCst) {
                    let answer = Answer::whole(open(&client, &secret, &[], &message(false)).await).await;
                    assert_eq!(answer.status, 200, "{answer:?}");
                }
            })
        };
        let seats = gateways.iter().flat_map(|gateway| (0..6).map(|_| seat(gateway.seats.clone()))).collect();
        Self { is_over, seats }
    }

    async fn end(self) {
        self.is_over.store(true, Ordering::SeqCst);
        for seat in self.seats {
            seat.await.expect("each request of a crowd is served");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_under_load_let_one_request_probe_at_a_time() {
    let fleet = Fleet::new(1_000).await;
    fleet.is_opened().await;
    fleet.flaky.set_script(Script { first_byte_delay_ms: 250, ..Script::default() });
    let crowd = Crowd::at(&[&fleet.a, &fleet.b], &fleet.secret);
    let mut has_probed = false;
    eventually("two probes close it", || async {
        // Looked at in this order: what is under way while it is not closed yet can only be probes.
        let under_way = fleet.under_way();
        if fleet.circuit().await["state"] == "closed" {
            return true;
        }
        assert!(under_way <= 1, "{under_way} requests at a provider that is half open");
        false
    })
    .await;
    for served in fleet.flaky.served() {
        has_probed |= served.answer.status == Some(200);
    }
    assert!(has_probed, "it was closed by what it answered");
    crowd.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_probe_of_a_killed_gateway_is_free_for_another_and_each_transition_has_a_line_in_the_log() {
    let mut fleet = Fleet::new(1_000).await;
    fleet.is_opened().await;
    let id = fleet.flaky_id;
    let is_said = |line: &Value, state: &str, cause: &str| {
        let said = [&line["provider_id"], &line["state"], &line["cause"]];
        assert_eq!(said, [&json!(id), &json!(state), &json!(cause)], "{line}");
    };
    // By the gateway whose request it was, and with it.
    let opened = fleet.a.process.says("[CircuitBreaker] provider is not asked any more").await;
    is_said(&opened, "open", "failures");
    assert_eq!(opened["level"], "WARN");
    let evidence = opened["evidence"].as_str().unwrap();
    let request = evidence.strip_prefix("server_error 500 (").and_then(|rest| rest.strip_suffix(')'));
    let summary = fleet.a.process.says(&format!(r#""request_id":"{}""#, request.expect(evidence))).await;
    assert_eq!(summary["status"], 200, "another one served it: {summary}");
    fleet.flaky.set_script(Script::hanging(Hang::BeforeHead));
    let before = fleet.asked();
    let prober = {
        let (seats, secret) = (fleet.a.seats.clone(), fleet.secret.clone());
        tokio::spawn(async move {
            loop {
                Answer::whole(open(&seats, &secret, &[], &message(false)).await).await;
            }
        })
    };
    eventually("its probe is out", || async { fleet.asked() > before }).await;
    let probing = fleet.circuit().await;
    assert_eq!(probing["state"], "half_open", "{probing}");
    is_said(&fleet.a.process.says("[CircuitBreaker] provider is probed").await, "half_open", "due");
    assert!(probing["probing_node"].is_string(), "{probing}");
    fleet.passes_by(&fleet.b).await;
    fleet.a.process.kill().await;
    prober.abort();
    fleet.flaky.set_script(Script::default());
    fleet.comes_back(&fleet.b).await;
    eventually("it closes", || async {
        fleet.b.ask(&fleet.secret).await.status == 200 && fleet.circuit().await["state"] == "closed"
    })
    .await;
    is_said(&fleet.b.process.says("[CircuitBreaker] provider is asked again").await, "closed", "recovered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_a_switch_and_a_cold_start_clear_an_open_breaker_everywhere() {
    let mut fleet = Fleet::new(86_400_000).await;
    fleet.is_opened().await;
    fleet.flaky.set_script(Script::default());
    let reset = fleet.admin.api.post(&format!("{}/reset", fleet.circuit_path()), json!({})).await;
    assert!(reset.status < 300, "{reset:?}");
    for gateway in [&fleet.a, &fleet.b] {
        fleet.comes_back(gateway).await;
    }

    fleet.is_opened().await;
    fleet.flaky.set_script(Script::default());
    let provider = format!("/api/v1/providers/{}", fleet.flaky_id);
    for is_enabled in [false, true] {
        let patched = fleet.admin.api.patch(&provider, json!({ "is_enabled": is_enabled })).await;
        assert_eq!(patched.status, 200, "{patched:?}");
    }
    fleet.is("closed").await;
    for gateway in [&fleet.a, &fleet.b] {
        fleet.comes_back(gateway).await;
    }

    fleet.is_opened().await;
    fleet.flaky.set_script(Script::default());
    fleet.a.process.stop().await;
    // One gateway is still there: nothing is forgotten.
    fleet.a = fleet.shape.gateway("a").await;
    fleet.passes_by(&fleet.a).await;
    assert_eq!(fleet.circuit().await["state"], "open");
    fleet.a.process.stop().await;
    fleet.b.process.stop().await;
    fleet.a = fleet.shape.gateway("a").await;
    fleet.comes_back(&fleet.a).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_probe_as_often_as_one_and_both_come_back() {
    let told = [("ENABLE_SMART_PROBING", "true"), ("PROBE_INTERVAL_MS", "1000")];
    let fleet = Fleet::with(86_400_000, &told).await;
    let began = Instant::now();
    fleet.is_opened().await;
    eventually("four probes", || async { fleet.probes() >= 4 }).await;
    // Each by itself, they would have asked four times within two intervals.
    assert!(began.elapsed() >= Duration::from_secs(4), "{:?}", began.elapsed());
    assert_eq!(fleet.circuit().await["state"], "open");
    fleet.flaky.set_script(Script::default());
    fleet.is("half_open").await;
    for gateway in [&fleet.a, &fleet.b] {
        fleet.comes_back(gateway).await;
    }
}
