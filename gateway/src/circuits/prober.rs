//! Smart probing: asks the providers of open breakers small questions of our own, and tells the store who is well again.
//!
//! When, by which node and for which model is decided in [`shared::rules::probe`]; what is asked and what an answer means
//! in [`shared::rules::provider_test`]. Asked is who is open, in the configuration and switched on at that moment; what
//! comes of it counts for the opening it was asked in, and for no other. With the store away nobody is asked: nobody
//! could be told. Runs only where an operator wants it ([`Probing`]).

use super::Circuits;
use crate::dispatch::question::{self, Heard};
use crate::events;
use crate::hub::{Hub, now};
use crate::live::Live;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use shared::contract::breaker::{Circuit, CircuitDoc, Mark, Order, Pass, Report, Sample};
use shared::contract::node::NodeKind;
use shared::ids::ProviderId;
use shared::ports::NodeRegistry;
use shared::rules::breaker::table::Table;
use shared::rules::cooldown::kept_model;
use shared::rules::probe::{self, Facts, Plan};
use shared::rules::provider_test::Preset;
use shared::time::UnixMillis;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// How it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probing {
    /// `PROBE_INTERVAL_MS`: milliseconds between two questions to a provider, of the whole fleet. Default 10 000.
    pub interval: Duration,
    /// `PROBE_TIMEOUT_MS`: milliseconds for a whole exchange. Default 5 000.
    pub timeout: Duration,
}

/// Probes until `stop` is true.
pub async fn run(
    probing: Probing,
    hub: Arc<Hub>,
    nodes: Arc<dyn NodeRegistry>,
    mut stop: watch::Receiver<bool>,
) {
    let prober = Prober {
        probing,
        hub,
        nodes,
        ring: Vec::new(),
        ring_read: None,
        plans: HashMap::new(),
        asking: HashSet::new(),
    };
    tokio::select! {
        () = prober.work() => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

struct Prober {
    probing: Probing,
    hub: Arc<Hub>,
    nodes: Arc<dyn NodeRegistry>,
    /// The gateways that take turns.
    ring: Vec<String>,
    ring_read: Option<Instant>,
    plans: HashMap<ProviderId, Planned>,
    /// Who is being asked.
    asking: HashSet<ProviderId>,
}

#[derive(Clone, Copy)]
struct Planned {
    generation: u64,
    plan: Plan,
}

impl Prober {
    async fn work(mut self) {
        let mut out: FuturesUnordered<BoxFuture<'static, ProviderId>> = FuturesUnordered::new();
        loop {
            let (table, live) = (self.hub.circuits.table.load_full(), self.hub.live.load_full());
            self.follow(&table, &live).await;
            for (doc, count) in self.due(&table, AT_A_TIME - out.len().min(AT_A_TIME)) {
                out.push(Box::pin(ask(self.hub.clone(), live.clone(), doc, count, self.probing.timeout)));
            }
            tokio::select! {
                Some(id) = out.next(), if !out.is_empty() => {
                    self.asking.remove(&id);
                }
                () = sleep(self.pause()) => {}
            }
        }
    }

    /// Plans for all that are open, and forgets the others.
    async fn follow(&mut self, table: &Table, live: &Live) {
        let open: HashMap<ProviderId, &CircuitDoc> =
            table.docs().filter(|doc| is_open(doc, live, now())).map(|doc| (doc.provider_id, doc)).collect();
        let is_current = |id: &ProviderId, planned: &Planned| {
            open.get(id).is_some_and(|doc| doc.generation == planned.generation)
        };
        self.plans.retain(|id, planned| is_current(id, planned));
        if open.is_empty() {
            return;
        }
        self.read_ring().await;
        for doc in open.into_values() {
            if !self.plans.contains_key(&doc.provider_id) {
                self.plan(doc);
            }
        }
    }

    fn plan(&mut self, doc: &CircuitDoc) {
        let interval_ms = u64::try_from(self.probing.interval.as_millis()).unwrap_or(u64::MAX);
        let facts = Facts { doc, interval_ms, ring: &self.ring, node: &self.hub.circuits.node };
        let plan = probe::plan(&facts, now(), &mut rand::rng());
        self.plans.insert(doc.provider_id, Planned { generation: doc.generation, plan });
    }

    /// Which gateways are there. With the store away none, as far as one can know.
    async fn read_ring(&mut self) {
        if self.ring_read.is_some_and(|read| read.elapsed() < RING_EVERY) {
            return;
        }
        let beats = self.nodes.nodes().await.unwrap_or_default();
        self.ring_read = Some(Instant::now());
        let gateways = beats.into_iter().filter(|beat| beat.kind == NodeKind::Gateway && beat.is_ready);
        let ring: Vec<String> = gateways.map(|beat| beat.id).collect();
        if ring != self.ring {
            self.ring = ring;
            self.plans.clear();
        }
    }

    /// Who is to be asked now, at most so many, the longest due first; with the count that goes with each.
    fn due(&mut self, table: &Table, places: usize) -> Vec<(CircuitDoc, u32)> {
        let at_present = now();
        let due = |(id, planned): (&ProviderId, &Planned)| match planned.plan {
            Plan::Ask { at, count } if at <= at_present => Some((at, *id, count)),
            Plan::Ask { .. } | Plan::Wait(_) => None,
        };
        let mut due: Vec<(UnixMillis, ProviderId, u32)> = self.plans.iter().filter_map(due).collect();
        due.sort_unstable();
        let mut asked = Vec::new();
        for (_, id, count) in due {
            let Some(doc) = table.doc(id) else { continue };
            if self.asking.contains(&id) {
                // It takes longer than its interval: this turn is over.
                self.plan(doc);
            } else if asked.len() < places {
                self.plan(doc);
                self.asking.insert(id);
                asked.push((doc.clone(), count));
            }
        }
        asked
    }

    /// Until there may be something to do.
    fn pause(&self) -> Duration {
        let at_present = now();
        let next = self.plans.values().filter_map(|planned| match planned.plan {
            // One that is due already waits for a place.
            Plan::Ask { at, .. } => Some(at.since(at_present)).filter(|ms| *ms > 0),
            Plan::Wait(_) => None,
        });
        next.min().map_or(LOOK_EVERY, |ms| LOOK_EVERY.min(Duration::from_millis(ms)))
    }
}

/// True for who is to be asked: open, switched on, and still the account that it is about.
fn is_open(doc: &CircuitDoc, live: &Live, at: UnixMillis) -> bool {
    let is_open = matches!(doc.circuit, Circuit::Open { until } if at < until);
    is_open && doc.terms.failure_threshold > 0 && live.circuit_terms(doc.provider_id) == Some(doc.terms)
}

/// Asks one provider, and tells the store when it is well.
async fn ask(hub: Arc<Hub>, live: Arc<Live>, doc: CircuitDoc, count: u32, limit: Duration) -> ProviderId {
    let id = doc.provider_id;
    let Some((provider, route)) = live.provider(id) else { return id };
    let Some(preset) = Preset::streaming(provider.provider_type) else { return id };
    // What is said of it from here on is newer than the answer.
    let pass = hub.circuits.table().pass();
    let model = probe::model(provider, &doc.samples, preset.model);
    let request = preset.smallest(route, &provider.model_redirects, model);
    let began = Instant::now();
    let Heard { status, judged } = question::ask(&hub.upstreams, route, request, preset.family, limit).await;
    let result = if judged.is_answer() { "ok" } else { judged.reason };
    events::provider_probed(id, result, judged.label, status, began.elapsed());
    hub.metrics.count_probe(result);
    let is_same = hub.live.load().circuit_terms(id) == Some(doc.terms);
    if judged.is_answer() && is_same {
        let label = "served".to_owned();
        let model = kept_model(model);
        let sample = Sample { at: now(), request_id: None, attempt: count, model, status, label };
        hub.circuits.found_well(&doc, pass, sample).await;
    }
    id
}

impl Circuits {
    /// The provider of this opening answered a question of ours that was asked when `pass` was the newest.
    async fn found_well(&self, doc: &CircuitDoc, pass: Pass, sample: Sample) {
        let CircuitDoc { provider_id, generation, terms, .. } = *doc;
        // As after an answer to a seat, the account is not refused any more. First, because after a transition an answer
        // from before it would count for nothing.
        let mark = Mark::Success;
        let report = Report { provider_id, terms, pass, mark, cool: None, sample: sample.clone() };
        if self.table().is_news(&report, now()) {
            self.tell(&report).await;
        }
        let order = Order::Probed { provider_id, generation, sample };
        match self.store.order(&order).await {
            Ok(told) => self.heard(told),
            Err(error) => events::probe_not_told(provider_id, error),
        }
    }
}

/// Questions at a time. More that are due wait.
const AT_A_TIME: usize = 8;
/// How soon a breaker that opens is seen.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How old the list of gateways may be: about as old as what it says.
const RING_EVERY: Duration = Duration::from_secs(2);
