//! Tells the registry that this node is there, which configuration it serves by, and what runs: every [`BEAT_MS`], and
//! at once when a newer configuration is in force, so that an admin sees it arrive, when all that it holds was declared to
//! a store of budgets that had lost it, or when a dead process's journal is in its hands.
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
use std::pin::pin;
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
        // What is in hands is so under this epoch.
        let quota_epoch = *hub.budgets.quota_epoch().borrow();
        let scan = hub.journal.scan().borrow().clone();
        let there = scan.as_ref().map_or(&[][..], |scan| &scan.there);
        let journals = hub.budgets.journals(quota_epoch, there);
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
            quota_epoch,
            budget_holds: Some(budget_holds),
            budget_held: Some(under_way + budget_escrowed),
            budget_escrowed: Some(budget_escrowed),
            journals: Some(journals),
            journals_adopted: Some(hub.journal.adopting()),
            journal_root: scan.as_ref().and_then(|scan| scan.root.clone()),
            scanned_at: scan.as_ref().map(|scan| scan.at),
            journals_there: scan.map(|scan| scan.there),
            running_requests: u64::try_from(hub.load.running()).unwrap_or(u64::MAX),
        }
    }

    /// It is no node any more, and nothing of it is left.
    fn last_word(&self, hub: &Hub) -> NodeBeat {
        NodeBeat { kind: NodeKind::Left, revision: None, journals: Some(Vec::new()), ..self.beat(hub, true) }
    }
}

/// Beats until what it holds is told and its journal is handed over, as far as that goes, then leaves. `ended` says whether
/// nothing of it is left: then its last word is that, so that nobody waits for it.
pub async fn run(
    nodes: Arc<dyn NodeRegistry>,
    hub: Arc<Hub>,
    mut is_draining: watch::Receiver<bool>,
    ended: impl Future<Output = bool>,
) {
    let identity = Identity::new(hub.journal.id());
    let mut revision = hub.live.revision();
    let mut quota_epoch = hub.budgets.quota_epoch();
    let (mut taken, mut scan) = (hub.budgets.taken(), hub.journal.scan());
    let mut tell_at = Instant::now();
    let mut ended = pin!(ended);
    let is_nothing_left = loop {
        quota_epoch.mark_unchanged();
        taken.mark_unchanged();
        scan.mark_unchanged();
        let draining = *is_draining.borrow_and_update();
        let mut in_flight = None;
        if tell_at <= Instant::now() {
            in_flight = running(&hub.journal).await;
            tell_at = Instant::now() + TELL_EVERY;
        }
        // A beat that is lost is told by its absence at `/api/v1/nodes`; the next one comes soon.
        let _ = nodes.beat(identity.beat(&hub, draining), in_flight).await;
        tokio::select! {
            is_nothing_left = &mut ended => break is_nothing_left,
            Ok(()) = revision.changed() => {}
            Ok(()) = quota_epoch.changed() => {}
            Ok(()) = taken.changed() => {}
            Ok(()) = scan.changed() => {}
            Ok(()) = is_draining.changed() => {}
            () = sleep(Duration::from_millis(BEAT_MS)) => {}
        }
    };
    let _ = match is_nothing_left {
        true => nodes.beat(identity.last_word(&hub), running(&hub.journal).await).await,
        false => nodes.leave(&identity.id).await,
    };
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
