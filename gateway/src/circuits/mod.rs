//! Breakers and cool-downs as this gateway goes by them: a table that each choice reads, admissions, and what attempts
//! came to.
//!
//! What it means is decided in [`shared::rules::breaker`] and [`shared::rules::cooldown`]; who keeps it for the fleet is a
//! port. No request waits for that port but a probe: what attempts come to is told by a task beside them
//! ([`keeper`]), and with the store away this node goes on by itself. Questions of our own to providers whose breakers are
//! open are another task's ([`prober`]).

pub mod keeper;
pub mod prober;

use crate::events;
use crate::hub::now;
use arc_swap::{ArcSwap, Guard};
use shared::contract::breaker::{CoolAsk, Mark, Pass, PermitAsk, Report, Sample, Taken, Terms};
use shared::ids::{ProviderId, RequestId};
use shared::ports::{BreakerStore, Told};
use shared::rules::breaker::table::{Standing, Table};
use shared::rules::breaker::{Policy, mark};
use shared::rules::classify::Verdict;
use shared::rules::cooldown;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// What this node knows of its providers, and whom it tells.
pub struct Circuits {
    node: String,
    policy: Policy,
    store: Arc<dyn BreakerStore>,
    table: ArcSwap<Table>,
    /// Held by whoever changes the table.
    writing: Mutex<()>,
    reports: mpsc::Sender<Report>,
}

/// Who was admitted where.
#[derive(Debug, Clone)]
pub struct Entrant {
    /// The request.
    pub request_id: RequestId,
    /// The requested model.
    pub model: String,
    /// The provider.
    pub provider_id: ProviderId,
    /// Under which terms.
    pub terms: Terms,
}

/// An attempt that may be made. It ends with a word: one that is dropped without says that it came to nothing, so that
/// a permit goes back.
pub struct Admission {
    circuits: Arc<Circuits>,
    entrant: Entrant,
    pass: Pass,
    attempt: u32,
    is_told: bool,
}

impl Circuits {
    /// A node that knows nothing yet, and what [`keeper::run`] takes its reports from.
    #[must_use]
    pub fn new(
        node: String,
        policy: Policy,
        store: Arc<dyn BreakerStore>,
    ) -> (Arc<Self>, mpsc::Receiver<Report>) {
        let (reports, receiver) = mpsc::channel(WAITING_REPORTS);
        let table = ArcSwap::default();
        (Arc::new(Self { node, policy, store, table, writing: Mutex::new(()), reports }), receiver)
    }

    /// How all providers stand, for one choice.
    #[must_use]
    pub fn table(&self) -> Guard<Arc<Table>> {
        self.table.load()
    }

    /// Asks to make an attempt at a provider that stands like this. `None`: another one's probe is out by now. `hold_ms`
    /// is how long a probe may take.
    pub async fn admit(
        self: &Arc<Self>,
        entrant: Entrant,
        standing: Standing,
        hold_ms: u64,
    ) -> Option<Admission> {
        let pass = if standing == Standing::NeedsPermit {
            self.take_permit(&entrant, hold_ms).await?
        } else {
            self.table.load().pass()
        };
        Some(Admission { circuits: self.clone(), entrant, pass, attempt: 0, is_told: false })
    }

    async fn take_permit(&self, entrant: &Entrant, hold_ms: u64) -> Option<Pass> {
        let ask = PermitAsk {
            provider_id: entrant.provider_id,
            terms: entrant.terms,
            seen: self.table.load().pass().seen,
            node: self.node.clone(),
            hold_ms,
        };
        let taken = match self.store.take_permit(&ask).await {
            Ok((taken, told)) => {
                self.heard(told);
                taken
            }
            Err(_) => self.change(|table| table.ask_here(&ask, now())),
        };
        match taken {
            Taken::Granted(pass) | Taken::Unneeded(pass) => Some(pass),
            Taken::Refused => None,
        }
    }

    /// Takes in what the store said.
    fn heard(&self, told: Told) {
        let Told { at, doc: Some(doc), has_moved } = told else { return };
        if has_moved {
            events::circuit_moved(&doc, at);
        }
        self.change(|table| table.put(doc, at));
    }

    /// Tells the store, or goes by itself.
    async fn tell(&self, report: &Report) {
        match self.store.report(report).await {
            Ok(told) => self.heard(told),
            Err(_) => self.report_here(report),
        }
    }

    fn report_here(&self, report: &Report) {
        let at = now();
        if self.change(|table| table.report_here(report, at))
            && let Some(doc) = self.table.load().doc(report.provider_id)
        {
            events::circuit_moved(doc, at);
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Table) -> T) -> T {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = Table::clone(&self.table.load());
        let answer = change(&mut table);
        self.table.store(Arc::new(table));
        answer
    }

    fn ended(&self, report: Report) {
        if !self.table.load().is_news(&report, now()) {
            return;
        }
        if let Err(mpsc::error::TrySendError::Full(report) | mpsc::error::TrySendError::Closed(report)) =
            self.reports.try_send(report)
        {
            // Nobody keeps up. What this node knows is told when the store is read next.
            self.report_here(&report);
        }
    }
}

impl Admission {
    /// The attempt begins: its number in the request.
    pub fn begins(&mut self, attempt: u32) {
        self.attempt = attempt;
    }

    /// The answer is real. For a probe that is all that is asked: its permit would wait for a long stream's end.
    pub fn opened(&mut self, status: u16) {
        if self.pass.fence.is_some() && !self.is_told {
            self.tell(Mark::Success, None, Some(status), "served");
        }
    }

    /// The upstream served to the end.
    pub fn served(mut self, status: u16) {
        if !self.is_told {
            self.tell(Mark::Success, None, Some(status), "served");
        }
    }

    /// It failed; `retry_after_secs` is how long the upstream asked to wait.
    pub fn failed(mut self, verdict: &Verdict, status: Option<u16>, retry_after_secs: Option<u64>) {
        if self.is_told {
            return;
        }
        let hint_ms = retry_after_secs.map(|secs| secs.saturating_mul(1_000));
        let cool = cooldown::ask(verdict, Some(&self.entrant.model), hint_ms, &mut rand::rng());
        self.tell(mark(verdict, self.circuits.policy), cool, status, verdict.label);
    }

    fn tell(&mut self, mark: Mark, cool: Option<CoolAsk>, status: Option<u16>, label: &'static str) {
        self.is_told = true;
        let Entrant { request_id, provider_id, terms, .. } = self.entrant;
        let sample = Sample {
            at: now(),
            request_id: Some(request_id),
            attempt: self.attempt,
            model: cooldown::kept_model(&self.entrant.model),
            status,
            label: label.to_owned(),
        };
        self.circuits.ended(Report { provider_id, terms, pass: self.pass, mark, cool, sample });
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if !self.is_told {
            self.tell(Mark::Neutral, None, None, "cancelled");
        }
    }
}

/// Reports that wait for the store. A storm of failures is told by its first ones.
const WAITING_REPORTS: usize = 1_024;
