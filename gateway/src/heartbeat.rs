//! Tells the registry that this node is there, which configuration it serves by, and what runs: every [`BEAT_MS`], and
//! at once when a newer configuration is in force, so that an admin sees it arrive, or when all that it holds was declared to
//! a store of budgets that had lost it.
//!
//! What runs is read from the journal's open begins when it is told; the requests themselves do nothing for it.

use crate::hub::{Hub, now};
use crate::journal::UsageJournal;
use crate::ready::Readiness;
use shared::contract::in_flight::{IN_FLIGHT_BOUND, IN_FLIGHT_SCHEMA, InFlight};
use shared::contract::node::{BEAT_MS, NODE_SCHEMA, NodeBeat, NodeKind};
use shared::ids::{JournalId, Revision};
use shared::ports::NodeRegistry;
use shared::time::UnixMillis;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

/// Who this node is.
pub struct Identity {
    /// Made at each start.
    pub id: String,
    host: String,
    started_at: UnixMillis,
}

impl Identity {
    /// A node that starts now. Its journal has the same name.
    #[must_use]
    pub fn new(journal: JournalId) -> Self {
        let started_at = now();
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self { id: journal.to_string(), host: host.trim().to_owned(), started_at }
    }

    fn beat(&self, hub: &Hub, is_draining: bool) -> NodeBeat {
        // Whoever reads of the revision opens budgets by it.
        let live = hub.budgets.notice();
        let revision = live.revision();
        let (budget_holds, under_way) = hub.budgets.under_way();
        let budget_escrowed = hub.budgets.escrowed();
        NodeBeat {
            schema: NODE_SCHEMA,
            id: self.id.clone(),
            kind: NodeKind::Gateway,
            host: self.host.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: self.started_at,
            at: now(),
            revision: (revision != Revision(0)).then_some(revision),
            is_ready: Readiness::of(hub, is_draining) == Readiness::Ready,
            quota_epoch: *hub.budgets.quota_epoch().borrow(),
            budget_holds: Some(budget_holds),
            budget_held: Some(under_way + budget_escrowed),
            budget_escrowed: Some(budget_escrowed),
            running_requests: u64::try_from(hub.load.running()).unwrap_or(u64::MAX),
        }
    }
}

/// Beats until `stop` is true, then leaves.
pub async fn run(
    nodes: Arc<dyn NodeRegistry>,
    hub: Arc<Hub>,
    mut is_draining: watch::Receiver<bool>,
    mut stop: watch::Receiver<bool>,
) {
    let identity = Identity::new(hub.journal.id());
    let mut revision = hub.live.revision();
    let mut quota_epoch = hub.budgets.quota_epoch();
    let mut tell_at = Instant::now();
    loop {
        quota_epoch.mark_unchanged();
        let draining = *is_draining.borrow_and_update();
        let mut in_flight = None;
        if tell_at <= Instant::now() {
            in_flight = running(&hub.journal).await;
            tell_at = Instant::now() + TELL_EVERY;
        }
        // A beat that is lost is told by its absence at `/api/v1/nodes`; the next one comes soon.
        let _ = nodes.beat(identity.beat(&hub, draining), in_flight).await;
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            Ok(()) = revision.changed() => {}
            Ok(()) = quota_epoch.changed() => {}
            Ok(()) = is_draining.changed() => {}
            () = sleep(Duration::from_millis(BEAT_MS)) => {}
        }
    }
    let _ = nodes.leave(&identity.id).await;
}

/// What runs now; `None` when the journal cannot be looked at. Read on a thread that serves no seat: two hundred records
/// are a millisecond.
async fn running(journal: &Arc<UsageJournal>) -> Option<InFlight> {
    let (journal, at) = (journal.clone(), now());
    let (records, left_out) = spawn_blocking(move || journal.running(IN_FLIGHT_BOUND)).await.ok()??;
    Some(InFlight {
        schema: IN_FLIGHT_SCHEMA,
        at,
        requests: records.into_iter().map(Into::into).collect(),
        left_out: u64::try_from(left_out).unwrap_or(u64::MAX),
    })
}

/// Changes of the configuration can come by the hundred; what runs is not told with each of them.
const TELL_EVERY: Duration = Duration::from_secs(1);
