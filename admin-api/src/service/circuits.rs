//! Breakers and cool-downs of providers: what they stand on, and how an admin takes them back.

use super::change::{Entry, record};
use super::{Actor, Admin, providers};
use crate::error::{Error, Resource};
use serde_json::json;
use shared::contract::breaker::{Cause, CircuitDoc, Order};
use shared::ids::ProviderId;
use shared::ports::Since;
use shared::rules::breaker::table::Table;
use shared::time::UnixMillis;

/// How a provider stands.
#[derive(Clone, Debug)]
pub struct CircuitNow {
    /// Its document; that of one that nothing is held against, when there is none.
    pub doc: CircuitDoc,
    /// The store's clock: its moments go by it.
    pub at: UnixMillis,
}

/// How a provider stands now. What was held against another account of it, or under other settings, is void.
pub async fn read(admin: Admin, id: ProviderId) -> Result<CircuitNow, Error> {
    let terms = providers::published(admin.clone(), id).await?.circuit_terms();
    let news = admin.breakers().read(None, Since::default()).await.map_err(Error::Circuits)?;
    let doc = news.docs.into_iter().find(|doc| doc.provider_id == id && doc.terms == terms);
    Ok(CircuitNow { doc: doc.unwrap_or_else(|| CircuitDoc::fresh(id, terms, news.floor)), at: news.at })
}

/// Nothing is held against the provider any more, on all gateways at once. In the audit log with what was.
pub async fn reset(admin: Admin, actor: Actor, id: ProviderId) -> Result<CircuitNow, Error> {
    let before = read(admin.clone(), id).await?;
    let order = Order::Reset { provider_id: id, terms: before.doc.terms, cause: Cause::Reset, only_if: None };
    let told = admin.breakers().order(&order).await.map_err(Error::Circuits)?;
    let state = |circuit: &CircuitNow| {
        json!({
            "state": circuit.doc.circuit.state(circuit.at).label(),
            "cooldowns": circuit.doc.cooldowns.len(),
        })
    };
    let doc = told.doc.unwrap_or_else(|| CircuitDoc::fresh(id, before.doc.terms, before.doc.generation));
    let after = CircuitNow { doc, at: told.at };
    let entry = Entry {
        verb: "circuit_reset",
        resource: Resource::Provider,
        id: id.to_string(),
        before: Some(state(&before)),
        after: Some(state(&after)),
    };
    record(&admin, &actor, entry).await?;
    Ok(after)
}

/// A provider was switched on or off: what was held against it is void. Gateways do the same when they see it switched
/// off, which one that reads both changes at once does not.
pub(super) async fn switched(admin: &Admin, id: ProviderId) {
    let Ok(before) = read(admin.clone(), id).await else { return };
    let terms = before.doc.terms;
    let order = Order::Reset { provider_id: id, terms, cause: Cause::TermsChanged, only_if: None };
    if let Err(error) = admin.breakers().order(&order).await {
        tracing::warn!(provider_id = id.0, error = error.label(), "the breaker cannot be reset");
    }
}

/// As a gateway knows it, with the store's clock; `None` while the store is away.
pub async fn table(admin: &Admin) -> Option<(Table, UnixMillis)> {
    let news = admin.breakers().read(None, Since::default()).await.ok()?;
    let (mut table, at) = (Table::default(), news.at);
    table.take_in(news, at);
    Some((table, at))
}
