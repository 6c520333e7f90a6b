//! Keeps this node's table level with the store's, and tells the store what attempts came to.

use super::Circuits;
use crate::live::InForce;
use shared::contract::breaker::{Cause, Circuit, CircuitDoc, Order, READ_MS, Report};
use shared::ports::PortError;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

/// Keeps it until `stop` is true, then goes: permits of this node are free.
pub async fn run(
    circuits: Arc<Circuits>,
    live: Arc<InForce>,
    reports: mpsc::Receiver<Report>,
    mut stop: watch::Receiver<bool>,
) {
    let work = async {
        tokio::join!(tell(&circuits, reports), follow(&circuits), void(&circuits, &live));
    };
    tokio::select! {
        () = work => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
    let _ = circuits.store.leave(&circuits.node).await;
}

/// One after the other: what ends first is counted first.
async fn tell(circuits: &Circuits, mut reports: mpsc::Receiver<Report>) {
    while let Some(report) = reports.recv().await {
        circuits.tell(&report).await;
    }
}

async fn follow(circuits: &Circuits) {
    // A cold start of the fleet clears all state. Who reads before it has joined would miss that.
    while circuits.store.join(&circuits.node).await.is_err() {
        sleep(RETRY).await;
    }
    loop {
        let pause = match read(circuits).await {
            Ok(()) => Duration::from_millis(READ_MS),
            Err(_) => RETRY,
        };
        let since = circuits.table().since();
        tokio::select! {
            () = circuits.store.changed(since) => {}
            () = sleep(pause) => {}
        }
    }
}

/// Reads what is new; what only this node knows, because the store was away, is told.
async fn read(circuits: &Circuits) -> Result<(), PortError> {
    let unsaved = circuits.table().unsaved();
    if !unsaved.is_empty() {
        circuits.store.merge(&unsaved).await?;
        circuits.change(|table| table.saved(&unsaved));
    }
    let since = circuits.table().since();
    let news = circuits.store.read(Some(&circuits.node), since).await?;
    let at = news.at;
    circuits.change(|table| table.take_in(news, at));
    Ok(())
}

/// State of a provider that is gone, switched off or another account by now is void, for everybody.
async fn void(circuits: &Circuits, live: &InForce) {
    let mut revision = live.revision();
    // The sender lives as long as the process.
    while revision.changed().await.is_ok() {
        let config = live.load_full();
        let table = circuits.table.load_full();
        for doc in table.docs() {
            let terms = config.circuit_terms(doc.provider_id);
            if terms == Some(doc.terms) || is_clean(doc) {
                continue;
            }
            let order = Order::Reset {
                provider_id: doc.provider_id,
                terms: terms.unwrap_or(doc.terms),
                cause: Cause::TermsChanged,
                only_if: Some(doc.generation),
            };
            // With the store away it is void here all the same, where the terms are others, and in the store with the next
            // word about it. One that was only switched off and on meanwhile is reset by the admin side.
            if let Ok(told) = circuits.store.order(&order).await {
                circuits.heard(told);
            }
        }
    }
}

/// True when nothing is held against it.
fn is_clean(doc: &CircuitDoc) -> bool {
    doc.circuit == Circuit::Closed { failures: 0 } && doc.cooldowns.is_empty()
}

/// How soon a store that does not answer is asked again.
const RETRY: Duration = Duration::from_millis(500);
