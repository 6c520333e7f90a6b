//! What is known of an exchange, stage by stage. Each stage has its own type, so that nothing can be used
//! before it is known; [`Book`] gathers what the settlement needs.

use crate::budgets;
use crate::guards::receive::Held;
use crate::live::{Live, Principal};
use shared::contract::begin::Begin;
use shared::contract::breach::{Breach, CLIENT_CLOSED};
use shared::contract::usage::{
    AttemptEntry, Caller, ChainStep, DecisionChain, RequestEntry, SessionFacts, Timing, USAGE_SCHEMA,
    UsageRecord,
};
use shared::ids::{ProviderId, RequestId};
use shared::journal::Draft;
use shared::model::Client;
use shared::money::NanoUsd;
use shared::protocol::detect::{Endpoint, Family, PathModel};
use shared::protocol::scan::BodyFacts;
use shared::rules::affinity::served::{Served, served};
use shared::rules::session::SessionId;
use shared::time::UnixMillis;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// A request whose head was read.
pub struct Arrival {
    /// Its id: `x-request-id` of the answer.
    pub id: RequestId,
    /// When its head was read.
    pub at: UnixMillis,
    /// The same moment for measuring.
    pub clock: Instant,
    /// Where it came from.
    pub origin: Origin,
    /// The configuration it is served under.
    pub live: Arc<Live>,
}

/// Where a request came from.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The seat's address, or the last untrusted hop's.
    pub ip: IpAddr,
    /// `User-Agent`, cut at 256 bytes.
    pub client: Option<String>,
}

impl Origin {
    /// What the seat's program says it is.
    #[must_use]
    pub fn client(&self) -> Option<Client<'_>> {
        self.client.as_deref().map(Client)
    }
}

impl Arrival {
    /// Milliseconds since the head was read.
    #[must_use]
    pub fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The present, as the arrival's clock runs on.
    #[must_use]
    pub fn now(&self) -> UnixMillis {
        UnixMillis(self.at.0.saturating_add(i64::try_from(self.elapsed_ms()).unwrap_or(i64::MAX)))
    }
}

/// What the seat asks for.
pub struct Asked {
    /// The endpoint family.
    pub family: Family,
    /// Path and query as they came, credentials removed.
    pub target: Target,
    /// The model, from the body or the path.
    pub model: String,
    /// True when it asks for a stream.
    pub is_stream: bool,
    /// The body and what was read of it.
    pub body: Held,
    /// What the scanner found.
    pub facts: BodyFacts,
}

/// Path and query.
#[derive(Debug, Clone)]
pub struct Target {
    /// The path as it came.
    pub path: String,
    /// The query as it came.
    pub query: Option<String>,
    /// The model that the path names, and where (Gemini).
    pub path_model: Option<PathModel>,
}

impl Target {
    /// The path with another model in it; the path itself where it names none.
    #[must_use]
    pub fn path_for(&self, family: Family, model: &str) -> String {
        Endpoint { family, path: &self.path, path_model: self.path_model.clone() }.path_with_model(model)
    }
}

/// What the books will say of an exchange with a known caller.
pub struct Book {
    entry: RequestEntry,
    attempts: Vec<AttemptEntry>,
    /// What is put aside until the page is closed.
    holds: Vec<budgets::Held>,
    /// Bytes of the request's body.
    body_bytes: usize,
}

impl Book {
    /// Opens the page of a request to an endpoint family, or to what else the log calls it.
    #[must_use]
    pub fn open(arrival: &Arrival, principal: &Principal, endpoint: &'static str, seed: u64) -> Self {
        let entry = RequestEntry {
            id: arrival.id,
            started_at: arrival.at,
            admitted_at: None,
            held: NanoUsd::ZERO,
            caller: Caller {
                user_id: principal.user.id,
                key_id: principal.key.id,
                client_ip: Some(arrival.origin.ip.to_string()),
                client: arrival.origin.client.clone(),
            },
            endpoint: endpoint.to_owned(),
            model: None,
            is_stream: false,
            provider_id: None,
            status: CLIENT_CLOSED,
            blocked_by: None,
            error: None,
            stop_reason: None,
            upstream_request_id: None,
            timing: Timing::default(),
            session: SessionFacts::default(),
            decision_chain: DecisionChain { revision: arrival.live.revision(), seed, steps: Vec::new() },
        };
        Self { entry, attempts: Vec::new(), holds: Vec::new(), body_bytes: 0 }
    }

    /// What the request asks for is known.
    pub fn asked(&mut self, asked: &Asked) {
        self.entry.model = Some(cut(asked.model.clone(), MODEL_LIMIT));
        self.entry.is_stream = asked.is_stream;
        self.body_bytes = asked.body.bytes.len();
        self.entry.session.message_count = asked.facts.work.message_count;
    }

    /// It was refused here.
    pub fn refused(&mut self, status: u16, label: &'static str) {
        self.entry.status = status;
        self.entry.blocked_by = Some(label.to_owned());
    }

    /// It was answered here, and nobody asked.
    pub fn intercepted(&mut self, label: &'static str) {
        self.refused(200, label);
    }

    /// Its user's budget let it in: by the store's clock, else `now`.
    pub fn admitted(&mut self, hold: budgets::Held, held: NanoUsd, now: UnixMillis) {
        self.entry.admitted_at = Some(hold.at().unwrap_or(now));
        self.entry.held = held;
        self.holds.push(hold);
    }

    /// What is put aside for an attempt: it goes with the page.
    pub fn hold(&mut self, hold: Option<budgets::Held>) {
        self.holds.extend(hold);
    }

    /// Bytes of the request's body; 0 before it is known.
    #[must_use]
    pub fn body_bytes(&self) -> usize {
        self.body_bytes
    }

    /// Failed attempts that cost something which nothing is put aside for, now that another attempt is to be made: which, and how
    /// much. None where nobody counts on the most that the request can cost.
    #[must_use]
    pub fn uncovered(&self) -> Vec<(u32, NanoUsd)> {
        if !self.holds.iter().any(|hold| matches!(hold.bound(), Some((WHOLE_REQUEST, _)))) {
            return Vec::new();
        }
        let uncovered = self.attempts.iter().filter(|row| !row.is_covered && row.cost.total > NanoUsd::ZERO);
        uncovered.map(|row| (row.attempt, row.cost.total)).collect()
    }

    /// What this attempt cost is put aside by itself.
    pub fn cover(&mut self, attempt: u32, hold: budgets::Held) {
        for row in self.attempts.iter_mut().filter(|row| row.attempt == attempt) {
            row.is_covered = true;
            self.entry.held += row.cost.total;
        }
        self.holds.push(hold);
    }

    /// What cost more than it could: which attempt (0: the whole request, without what is covered by itself), the bound that was
    /// put aside for it, and its cost.
    #[must_use]
    pub fn above_bounds(&self) -> Vec<(u32, NanoUsd, NanoUsd)> {
        let cost_of = |attempt: u32| {
            let is_whole = attempt == WHOLE_REQUEST;
            let rows = self.attempts.iter();
            let rows = rows.filter(|row| if is_whole { !row.is_covered } else { row.attempt == attempt });
            rows.map(|row| row.cost.total).sum::<NanoUsd>()
        };
        let bounds = self.holds.iter().filter_map(budgets::Held::bound);
        let costs = bounds.map(|(attempt, bound)| (attempt, bound, cost_of(attempt)));
        costs.filter(|(_, bound, cost)| cost > bound).collect()
    }

    /// A provider was chosen, or none was left.
    pub fn chain(&mut self, step: ChainStep) {
        self.entry.decision_chain.steps.push(step);
    }

    /// What the attempt whose answer is relayed came to after all.
    pub fn ended(&mut self, attempt: u32, how: &str) {
        self.entry.decision_chain.ended(attempt, how);
    }

    /// The conversation is known; its draws may be others for that.
    pub fn session(&mut self, id: SessionId, seed: u64) {
        self.entry.session.session_id = Some(id.text);
        self.entry.decision_chain.seed = seed;
    }

    /// Who served the request to its end; `None`: nobody did.
    #[must_use]
    pub fn served(&self) -> Option<Served> {
        served(&self.entry, &self.attempts)
    }

    /// The seed of the draws.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.entry.decision_chain.seed
    }

    /// An attempt has its ledger row.
    pub fn attempt(&mut self, attempt: Option<AttemptEntry>) {
        self.attempts.extend(attempt);
    }

    /// This provider's answer goes to the seat under this status.
    pub fn answered(&mut self, provider_id: ProviderId, status: u16) {
        self.entry.provider_id = Some(provider_id);
        self.entry.status = status;
    }

    /// The seat left before it saw a head.
    pub fn client_closed(&mut self) {
        self.entry.status = CLIENT_CLOSED;
        self.broke(Breach::ClientClosed);
    }

    /// What went wrong after the head was sent.
    pub fn broke(&mut self, breach: Breach) {
        self.entry.error = Some(breach.as_str().to_owned());
    }

    /// The log row so far.
    #[must_use]
    pub fn entry(&self) -> &RequestEntry {
        &self.entry
    }

    /// Timings, stop reason and ids, for whoever learns them.
    pub fn entry_mut(&mut self) -> &mut RequestEntry {
        &mut self.entry
    }

    /// What is to be booked should the process die during this attempt.
    #[must_use]
    pub fn draft(&self, attempt: &AttemptEntry, elapsed_ms: u64) -> Option<Draft> {
        let chain = &self.entry.decision_chain;
        let fitted = chain.fitted();
        let begin = Begin {
            request: &self.entry,
            chain: fitted.as_ref().unwrap_or(chain),
            elapsed_ms,
            earlier: &self.attempts,
            attempt,
        };
        // Only memory could fail here.
        Draft::written(|bytes| begin.write(bytes)).ok()
    }

    /// Closes the page: what it says settles what is put aside.
    #[must_use]
    pub fn close(mut self, duration_ms: u64) -> UsageRecord {
        self.entry.timing.duration_ms = duration_ms;
        self.entry.decision_chain.fit();
        // What it cost is known.
        self.entry.held = NanoUsd::ZERO;
        for hold in &mut self.holds {
            hold.keep();
        }
        UsageRecord { schema: USAGE_SCHEMA, request: self.entry, attempts: self.attempts }
    }
}

/// At most `limit` bytes of a text, cut between characters.
#[must_use]
pub fn cut(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        let end = (0..=limit).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

/// In the place of an attempt's number.
const WHOLE_REQUEST: u32 = 0;
/// Longer model names are cut in the books.
const MODEL_LIMIT: usize = 128;
